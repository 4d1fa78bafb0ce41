//! `status`: asks a mount for its status, and shows it. It asks through the mount itself, by an extended attribute of its root.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::error::{Error, ErrorKind, Result};
use crate::mount::ask::{Answer, Asked};
use crate::mount::point::{self, Mounted};
use crate::path::picture;
use crate::status::{Status, WaitingStatus};

/// The output of the status command, for one mount or, without `mountpoint`, for all of this user's; and the mounts that did not
/// answer.
///
/// # Errors
/// There is no such mount.
pub fn show(mountpoint: Option<&Path>, json: bool) -> Result<(String, Vec<Error>)> {
    let mountpoints = match mountpoint {
        Some(path) => vec![ours_at("status", path)?],
        None => ours()?,
    };
    // All at once, so that one that does not answer takes no time from another.
    let asked: Vec<_> = mountpoints.into_iter().map(|path| (Asked::of(&path), path)).collect();
    let (mut out, mut failures) = (String::new(), Vec::new());
    for (asked, path) in asked {
        let shown = asked.and_then(|asked| read(&path, asked.answer(), json));
        shown.map_or_else(|error| failures.push(error), |shown| out.push_str(&shown));
    }
    Ok((out, failures))
}

fn ours() -> Result<Vec<PathBuf>> {
    let ours: Vec<_> = point::mounted().into_iter().filter(Mounted::is_ours).map(|mounted| mounted.path).collect();
    if ours.is_empty() {
        return Err(Error::new("status", ErrorKind::Other).because("nothing is mounted; `kitovufs mount` does"));
    }
    Ok(ours)
}

/// The place of our mount at `path`, which may be a link to it.
///
/// # Errors
/// There is none, or another user's.
pub fn ours_at(op: &'static str, path: &Path) -> Result<PathBuf> {
    let failed = |why: String| Err(Error::new(op, ErrorKind::Other).on(path.display()).because(why));
    match point::mounted_at(path) {
        Some(mounted) if mounted.is_ours() => Ok(mounted.path),
        Some(mounted) if mounted.is_kitovufs() => failed(format!("not yours: {}", point::described(&mounted))),
        _ => {
            failed("no kitovufs mount (its root is what must be named); `kitovufs status` shows those there are".into())
        }
    }
}

fn read(mountpoint: &Path, answer: Answer, json: bool) -> Result<String> {
    let mut out = String::new();
    let bytes = said(mountpoint, answer)?;
    if json {
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| odd(mountpoint, e))?;
        writeln!(out, "{}", safe(&format!("{value:#}"))).expect("writing to a string cannot fail");
    } else {
        describe(&understood(mountpoint, &bytes)?, &mut out);
    }
    Ok(out)
}

/// The status in an answer, if this version of the program understands it.
pub fn understood(mountpoint: &Path, answer: &[u8]) -> Result<Status> {
    serde_json::from_slice(answer).map_err(|e| odd(mountpoint, e))
}

fn odd(mountpoint: &Path, e: serde_json::Error) -> Error {
    Error::new("status", ErrorKind::Protocol)
        .on(mountpoint.display())
        .because("the mount is served by another version of kitovufs")
        .caused_by(e)
}

fn said(mountpoint: &Path, answer: Answer) -> Result<Vec<u8>> {
    let failed = || Error::new("status", ErrorKind::Other).on(mountpoint.display());
    let unmount = || format!("kitovufs unmount {} takes it away", mountpoint.display());
    match answer {
        Answer::Status(said) => Ok(said),
        Answer::Dead => Err(failed()
            .because(format!("the process that served this mount is gone; {}, mounting again heals it", unmount()))),
        Answer::Silent => {
            Err(failed().because(format!("the process that serves this mount does not answer; {}", unmount())))
        }
        Answer::Failed(e) => Err(failed().caused_by(std::io::Error::from(e))),
    }
}

/// The request that is waited for, for how long, and by how many programs.
fn told(waiting: &WaitingStatus) -> String {
    let WaitingStatus { request, seconds, programs, .. } = waiting;
    let programs = match programs {
        0 => "no program waits".to_owned(),
        1 => "1 program waits".to_owned(),
        many => format!("{many} programs wait"),
    };
    format!("waiting {seconds:.0} s for {request}, {programs}")
}

/// The same JSON, in which nothing steers a terminal.
fn safe(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || picture(c).is_none() {
            safe.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            safe.push_str(&units);
        }
    }
    safe
}

fn describe(status: &Status, out: &mut String) {
    let Status { version, mountpoint, pid, passthrough, sources, cache } = status;
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("{}  (kitovufs {version}, process {pid}, passthrough {passthrough})", mountpoint.display()));
    for (name, source) in sources {
        let requests = &source.requests;
        line(format!("  {name}  {} {} since {}", source.source_type, source.state, source.since));
        line(format!(
            "    {} listings, {} digests, {} retrievals, {} retrieved, {} errors",
            requests.list_path,
            requests.create_remote_digest,
            requests.retrieve_file,
            ByteSize::b(source.bytes_retrieved),
            source.errors
        ));
        if let Some(waiting) = &source.waiting {
            line(format!("    {}", told(waiting)));
        }
        if let Some(error) = source.last_error.as_ref().filter(|_| source.state != "ok") {
            line(format!("    {error}"));
        }
    }
    line(format!(
        "  cache  {} of {} in {} copies, {} hits, {} misses, {} evicted, {} quarantined",
        ByteSize::b(cache.bytes),
        ByteSize::b(cache.max_bytes),
        cache.copies,
        cache.hits,
        cache.misses,
        cache.evicted,
        cache.quarantined
    ));
    if let Some(why) = &cache.no_room {
        line(format!("         no room: {why}; files are read through"));
    }
    line(format!("         {}", cache.dir.display()));
}
