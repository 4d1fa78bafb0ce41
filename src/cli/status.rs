//! `status`: asks a mount for its status, and shows it. It asks through the mount itself, by an extended attribute of its root.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::error::{Error, ErrorKind, Result};
use crate::mount::ask::{Answer, Asked};
use crate::mount::point::{self, Mounted};
use crate::path::picture;
use crate::status::{CacheStatus, Requests, SourceStatus, Status, WaitingStatus};

/// For whom the status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// People: whether everything works, and what to do if not.
    Short,
    /// The same with counters.
    Verbose,
    /// Scripts.
    Json,
}

/// The output of the status command, for one mount or, without `mountpoint`, for all of this user's; and the mounts that did not
/// answer.
///
/// # Errors
/// There is no such mount.
pub fn show(mountpoint: Option<&Path>, form: Form) -> Result<(String, Vec<Error>)> {
    let mountpoints = match mountpoint {
        Some(path) => vec![ours_at("status", path)?],
        None => ours("status")?,
    };
    // All at once, so that one that does not answer takes no time from another.
    let asked: Vec<_> = mountpoints.into_iter().map(|path| (Asked::of(&path), path)).collect();
    let (mut out, mut failures) = (String::new(), Vec::new());
    for (asked, path) in asked {
        let shown = asked.and_then(|asked| read(&path, asked.answer(), form));
        shown.map_or_else(|error| failures.push(error), |shown| out.push_str(&shown));
    }
    Ok((out, failures))
}

/// This user's mounts.
///
/// # Errors
/// There are none.
pub fn ours(op: &'static str) -> Result<Vec<PathBuf>> {
    let ours: Vec<_> = point::mounted().into_iter().filter(Mounted::is_ours).map(|mounted| mounted.path).collect();
    if ours.is_empty() {
        return Err(Error::new(op, ErrorKind::Other).because("nothing is mounted; `kitovufs mount` does"));
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

fn read(mountpoint: &Path, answer: Answer, form: Form) -> Result<String> {
    let mut out = String::new();
    let bytes = said(mountpoint, answer)?;
    if form == Form::Json {
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| odd(mountpoint, e))?;
        writeln!(out, "{}", safe(&format!("{value:#}"))).expect("writing to a string cannot fail");
    } else {
        describe(&understood(mountpoint, &bytes)?, form == Form::Verbose, &mut out);
    }
    Ok(out)
}

/// The status in an answer, if this version of the program understands it.
pub fn understood(mountpoint: &Path, answer: &[u8]) -> Result<Status> {
    serde_json::from_slice(answer).map_err(|e| odd(mountpoint, e))
}

/// The status of the mount at `mountpoint`.
///
/// # Errors
/// It does not answer.
pub fn of(mountpoint: &Path) -> Result<Status> {
    understood(mountpoint, &said(mountpoint, Asked::of(mountpoint)?.answer())?)
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

fn describe(status: &Status, verbose: bool, out: &mut String) {
    let Status { version, mountpoint, pid, passthrough, sources, cache } = status;
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let details = format!("  (kitovufs {version}, process {pid}, passthrough {passthrough})");
    line(format!("{}{}", mountpoint.display(), if verbose { &*details } else { "" }));
    let width = sources.keys().map(|name| name.chars().count()).chain([5]).max().unwrap_or_default();
    for (name, source) in sources {
        line(format!("  {name:width$}  {}", state(name, source)));
        for note in &source.notes {
            line(format!("    {note}"));
        }
        if source.left_out > 0 {
            line(format!("    {} names left out of listings, as the log tells", source.left_out));
        }
        if verbose {
            counters(source).into_iter().for_each(|text| line(format!("    {text}")));
        }
    }
    line(format!(
        "  {:width$}  {} of {} in {} copies{}",
        "cache",
        ByteSize::b(cache.bytes),
        ByteSize::b(cache.max_bytes),
        cache.copies,
        if cache.quarantined > 0 { format!(", {} quarantined", cache.quarantined) } else { String::new() }
    ));
    if let Some(why) = &cache.no_room {
        line(format!("    no room: {why}; files are read through"));
    }
    if verbose {
        let CacheStatus { hits, misses, evicted, dir, .. } = cache;
        line(format!("    {hits} hits, {misses} misses, {evicted} evicted"));
        line(format!("    {}", dir.display()));
    }
}

/// How a source is, and what to do if it does not work.
pub fn state(name: &str, source: &SourceStatus) -> String {
    let since = format!("since {}", local_time(&source.since));
    let why = source.last_error.as_deref().unwrap_or("no error is known");
    let again = source.asked_again.as_deref().map(|time| format!("; it is asked again at {}", local_time(time)));
    let again = again.unwrap_or_default();
    match (&*source.state, &source.waiting) {
        (_, Some(waiting)) => no_answer(waiting),
        ("idle", _) => "not used yet".into(),
        ("ok", _) => format!("works  {} fetched", ByteSize::b(source.bytes_retrieved)),
        ("slow", _) => format!("SLOW {since}: known answers are given meanwhile"),
        ("failing", _) => format!("FAILS {since}: {why}{again}"),
        ("unauthorized", _) => format!("LOGIN REFUSED {since}: {why}; run: kitovufs login {name}"),
        _ => format!("NO ANSWER {since}: {why}{again}"),
    }
}

/// For how long a source has been silent, and who waits for it.
fn no_answer(waiting: &WaitingStatus) -> String {
    let WaitingStatus { request, seconds, seconds_left, programs, .. } = waiting;
    let programs = match programs {
        0 => "no program waits".to_owned(),
        1 => "1 program waits".to_owned(),
        many => format!("{many} programs wait"),
    };
    let left = seconds_left.map(|left| format!(", at most {left:.0} s more")).unwrap_or_default();
    format!("NO ANSWER for {seconds:.0} s to {request} ({programs}{left})")
}

fn counters(source: &SourceStatus) -> Vec<String> {
    let SourceStatus { source_type, requests, errors, files_ahead, files_ahead_used, .. } = source;
    let Requests { list_path, create_remote_digest, retrieve_file, .. } = requests;
    let retrieved = ByteSize::b(source.bytes_retrieved);
    let mut lines = vec![format!(
        "{source_type}: {list_path} listings, {create_remote_digest} digests, {retrieve_file} retrievals, {retrieved} retrieved, {errors} errors"
    )];
    if *files_ahead > 0 {
        lines.push(format!("{files_ahead} files retrieved ahead, {files_ahead_used} of them opened"));
    }
    lines
}

/// A time as people here write it: without the date if that is today's; as it is if it cannot be read.
pub fn local_time(time: &str) -> String {
    let Ok(timestamp) = time.parse::<jiff::Timestamp>() else { return time.to_owned() };
    let (time, now) = (timestamp.to_zoned(jiff::tz::TimeZone::system()), jiff::Zoned::now());
    time.strftime(if time.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" }).to_string()
}
