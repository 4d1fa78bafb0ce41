//! `doctor`: tells of everything that a mount needs whether it is there, and what to do if not: this machine, then what `check` tells.
//! It mounts nothing.

use std::path::Path;

use jiff::Timestamp;

use super::check::report::Report;
use super::output::say;
use super::{Failure, check};
use crate::config::{Access, Config};
use crate::error::Result;
use crate::mount::point;

/// No clock that is right tells a time before this one (the year 2025), or after the next (the year 2100).
const EARLIEST: Timestamp = Timestamp::constant(1_735_689_600, 0);
const LATEST: Timestamp = Timestamp::constant(4_102_444_800, 0);

/// The first Linux that can read copies by itself, which is called passthrough.
const PASSTHROUGH: (u32, u32) = (6, 9);

/// Looks at this machine, the configuration in `file` and its sources, and prints a line for each finding, or an object for each thing. The
/// result is the exit code: 0 if everything is there.
///
/// # Errors
/// The configuration cannot be read.
pub fn doctor(file: &Path, json: bool) -> Result<u8, Failure> {
    // `check` tells what is wrong with it.
    let access = Config::examine(file).map_or(Access::Owner, |(config, _)| config.access);
    let mut here = Report::about("machine", "this machine");
    for finding in machine(access) {
        match finding {
            Ok(fine) => here.ok(fine),
            Err(missing) => here.fail(missing),
        }
    }
    here.print(json);
    let works = match check::carry_out(file, json) {
        Ok(code) => code == 0,
        Err(Failure::Config(problems)) => {
            check::wrong(&problems).print(json);
            false
        }
        Err(failure) => return Err(failure),
    };
    let all = works && here.works();
    if !json {
        say(if all {
            "everything that a mount needs is there\n"
        } else {
            "not everything that a mount needs is there: see the lines with FAILED\n"
        });
    }
    Ok(u8::from(!all))
}

/// What is right, or what is not and what to do.
type Finding = std::result::Result<String, String>;

fn machine(access: Access) -> [Finding; 5] {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let said = |checked: Result<()>, fine: &str| checked.map(|()| fine.to_owned()).map_err(|e| e.to_string());
    [
        said(point::check_device(), "/dev/fuse can be opened"),
        point::check_helper().map_err(|e| e.to_string()),
        said(
            point::check_access(access),
            match access {
                Access::Owner => "/etc/fuse.conf need not let other users in: the configuration does not",
                Access::Root | Access::Everyone => "this user may let others in",
            },
        ),
        Ok(kernel(release.trim())),
        clock(Timestamp::now()),
    ]
}

fn kernel(release: &str) -> String {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let reads = match version >= PASSTHROUGH {
        true => "it reads copies by itself if root mounts (passthrough)",
        false => "reads go through kitovufs; from Linux 6.9 on, the kernel reads copies by itself if root mounts",
    };
    format!("Linux {release}: {reads}")
}

fn clock(now: Timestamp) -> Finding {
    let shown = now.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M");
    if (EARLIEST..LATEST).contains(&now) {
        return Ok(format!("the clock says {shown}"));
    }
    Err(format!(
        "the clock says {shown}, when no certificate is valid; set it, for example: sudo timedatectl set-ntp true"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_another_age_is_told() {
        let at = |time: &str| clock(time.parse().expect("a time"));
        assert!(at("2026-11-29T09:00:00Z").is_ok());
        let reset = at("1970-01-01T00:00:12Z").expect_err("the battery is empty");
        assert!(reset.contains("timedatectl"), "{reset}");
        assert!(at("2107-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn a_kernel_with_passthrough_is_known() {
        for with in ["6.9.0", "6.18.44-fc", "7.0-rc1"] {
            assert!(kernel(with).contains("it reads copies by itself"), "{with}");
        }
        for without in ["6.1.0-28-amd64", "6.8.12", ""] {
            assert!(kernel(without).contains("reads go through kitovufs"), "{without}");
        }
    }
}
