//! `autostart`: whether the configured sources are mounted at login, by a unit of systemd of this user. It starts nothing itself.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use etcetera::BaseStrategy as _;

use super::Failure;
use super::output::outln;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// The name of the unit.
const UNIT: &str = "kitovufs.service";

/// The unit as packages install it.
const TEMPLATE: &str = include_str!("../../packaging/systemd/user/kitovufs.service");

/// The program as the unit of a package names it.
const PACKAGED: &str = "/usr/bin/kitovufs";

/// There on a machine that systemd runs (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// Whether to mount at login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Mount at login
    On,
    /// Mount no longer
    Off,
    /// Say which of the two it is
    Status,
}

/// Switches mounting at login, or tells how it is. The result is the exit code.
///
/// # Errors
/// systemd does not run here, or the unit cannot be written.
pub fn autostart(switch: Switch) -> Result<u8, Failure> {
    let failed = |e: io::Error| Error::new("autostart", ErrorKind::Other).caused_by(e);
    let dir = etcetera::choose_base_strategy()
        .map_err(|_| {
            Error::new("autostart", ErrorKind::Other).because("there is no home directory; set the variable HOME")
        })?
        .config_dir()
        .join("systemd/user");
    match switch {
        Switch::On => {
            if !Path::new(BOOTED).is_dir() {
                // In full: cron's PATH is short.
                let program = std::env::current_exe().map_err(failed)?;
                let why = format!(
                    "systemd does not run here; with cron: add `@reboot {} mount` to what `crontab -e` shows",
                    program.display()
                );
                return Err(Error::new("autostart", ErrorKind::Unsupported).because(why).into());
            }
            let (config, problems) = Config::examine(&Config::default_path())?;
            problems.or(())?;
            if config.mountpoint.is_none() {
                return Err(Failure::Usage(
                    "the configuration names no mountpoint; add mountpoint = \"~/kitovu\" at its top".into(),
                ));
            }
            let program = std::env::current_exe().map_err(failed)?;
            turn_on(&dir, &program).map_err(failed)?;
            reload();
            outln!("mounted at login from now on; at once: systemctl --user start {UNIT}");
        }
        Switch::Off => {
            turn_off(&dir).map_err(failed)?;
            reload();
            outln!("not mounted at login any more");
        }
        Switch::Status if is_on(&dir) => outln!("on: {} is enabled", dir.join(UNIT).display()),
        Switch::Status => outln!("off; kitovufs autostart on"),
    }
    Ok(0)
}

fn wanted(dir: &Path) -> PathBuf {
    dir.join("default.target.wants").join(UNIT)
}

fn is_on(dir: &Path) -> bool {
    wanted(dir).symlink_metadata().is_ok()
}

/// Writes the unit, and lets the login want it, as `systemctl --user enable` does.
fn turn_on(dir: &Path, program: &Path) -> io::Result<()> {
    let wanted = wanted(dir);
    fs::create_dir_all(wanted.parent().unwrap_or(dir))?;
    let unit = dir.join(UNIT);
    if unit.is_symlink() {
        let why = format!("{}: it is a link, as of a unit that is masked; take it away first", unit.display());
        return Err(io::Error::other(why));
    }
    fs::write(&unit, TEMPLATE.replace(PACKAGED, &quoted(program)))?;
    match symlink(&unit, &wanted) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

fn turn_off(dir: &Path) -> io::Result<()> {
    for file in [wanted(dir), dir.join(UNIT)] {
        match fs::remove_file(file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// A word of a command line of systemd (systemd.service(5)).
fn quoted(program: &Path) -> String {
    let text =
        program.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{text}\"")
}

/// Lets the user's systemd read its units again. One that does not run reads them when it begins.
fn reload() {
    let mut command = Command::new("systemctl");
    command.args(["--user", "daemon-reload"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(e) = command.status() {
        tracing::debug!("systemctl: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_this_program_and_goes_again() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(!is_on(dir.path()));
        for _ in 0..2 {
            turn_on(dir.path(), Path::new("/home/a b/%/kitovufs")).expect("written");
        }
        let unit = fs::read_to_string(wanted(dir.path())).expect("the link leads to the unit");
        assert!(unit.contains("\nExecStart=\"/home/a b/%%/kitovufs\" mount -f\n"), "{unit}");
        assert!(unit.contains("\nType=notify\n") && !unit.contains(PACKAGED), "{unit}");
        assert!(is_on(dir.path()));
        for _ in 0..2 {
            turn_off(dir.path()).expect("removed");
        }
        assert!(!is_on(dir.path()) && !dir.path().join(UNIT).exists());
    }

    #[test]
    fn a_masked_unit_stays_masked() {
        let dir = tempfile::tempdir().expect("a directory");
        symlink("/dev/null", dir.path().join(UNIT)).expect("a link");
        let why = turn_on(dir.path(), Path::new("/usr/bin/kitovufs")).expect_err("it is masked").to_string();
        assert!(why.contains("masked") && !is_on(dir.path()), "{why}");
    }
}
