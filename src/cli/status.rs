//! `status`: asks the daemon of a mount for its status, and shows it. It does not touch the mount, which may hang.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use bytesize::ByteSize;
use serde_json::Value;

use crate::control::client::{Client, Unanswered};
use crate::error::{Error, ErrorKind, Result};
use crate::mount::point::{self, Mounted};
use crate::path::picture;
use crate::status::{CacheStatus, Requests, ServiceStatus, SharedStatus, SourceStatus, Status, WaitingStatus};

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
    let mounts = meant(mountpoint)?;
    // All at once, so that one that does not answer takes no time from another.
    let shown: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = mounts.iter().map(|mounted| scope.spawn(move || shown(mounted, form))).collect();
        asked.into_iter().map(|asked| asked.join().expect("it does not panic")).collect()
    });
    let (mut out, mut failures) = (String::new(), Vec::new());
    for shown in shown {
        shown.map_or_else(|error| failures.push(error), |shown| out.push_str(&shown));
    }
    Ok((out, failures))
}

/// The mount at `mountpoint`, or all of this user's.
///
/// # Errors
/// There is no such mount.
pub fn meant(mountpoint: Option<&Path>) -> Result<Vec<Mounted>> {
    match mountpoint {
        Some(path) => Ok(vec![ours_at("status", path)?]),
        None => ours("status"),
    }
}

/// This user's mounts.
///
/// # Errors
/// There are none.
pub fn ours(op: &'static str) -> Result<Vec<Mounted>> {
    let ours: Vec<_> = point::mounted().into_iter().filter(Mounted::is_ours).collect();
    if ours.is_empty() {
        return Err(Error::new(op, ErrorKind::Other).because("nothing is mounted; `kitovufs mount` does"));
    }
    Ok(ours)
}

/// Our mount at `path`, which may be a link to it.
///
/// # Errors
/// There is none, or another user's.
pub fn ours_at(op: &'static str, path: &Path) -> Result<Mounted> {
    let failed = |why: String| Err(Error::new(op, ErrorKind::Other).on(path.display()).because(why));
    match point::mounted_at(path) {
        Some(mounted) if mounted.is_ours() => Ok(mounted),
        Some(mounted) if mounted.is_kitovufs() => failed(format!("not yours: {}", point::described(&mounted))),
        _ => {
            failed("no kitovufs mount (its root is what must be named); `kitovufs status` shows those there are".into())
        }
    }
}

fn shown(mounted: &Mounted, form: Form) -> Result<String> {
    let mut out = String::new();
    let status = said(mounted)?;
    if form == Form::Json {
        writeln!(out, "{}", safe(&format!("{status:#}"))).expect("writing to a string cannot fail");
    } else {
        describe(&understood(mounted, status)?, form == Form::Verbose, &mut out);
    }
    Ok(out)
}

/// The status of a mount.
///
/// # Errors
/// It does not answer.
pub fn of(mounted: &Mounted) -> Result<Status> {
    understood(mounted, said(mounted)?)
}

fn said(mounted: &Mounted) -> Result<Value> {
    connected(mounted)?.ask("status", Value::Null).map_err(|failure| unanswered("status", mounted, failure))
}

fn understood(mounted: &Mounted, status: Value) -> Result<Status> {
    serde_json::from_value(status).map_err(|e| {
        let why = "the mount is served by another version of kitovufs";
        Error::new("status", ErrorKind::Protocol).on(mounted.path.display()).because(why).caused_by(e)
    })
}

/// A connection to the daemon of a mount.
///
/// # Errors
/// It does not answer.
pub fn connected(mounted: &Mounted) -> Result<Client> {
    let number = mounted.connection.ok_or_else(|| io::Error::other("/proc/self/mountinfo does not tell its number"));
    let client = number.map_err(Unanswered::Failed).and_then(Client::connect);
    client.map_err(|failure| unanswered("connect", mounted, failure))
}

/// Why a mount has not done what it was asked, and what to do.
pub fn unanswered(op: &'static str, mounted: &Mounted, failure: Unanswered) -> Error {
    let failed = |why: String| Error::new(op, ErrorKind::Other).on(mounted.path.display()).because(why);
    let unmount = format!("kitovufs unmount {} takes it away", mounted.path.display());
    match failure {
        Unanswered::Dead | Unanswered::Closed => {
            failed(format!("the process that served this mount is gone; {unmount}, mounting again heals it"))
        }
        Unanswered::Silent => failed(format!("the process that serves this mount does not answer; {unmount}")),
        Unanswered::Refused(why) => failed(why),
        Unanswered::Failed(e) if e.kind() == io::ErrorKind::NotFound => failed(
            "the socket of the process that serves this mount is not found; if it was mounted with another XDG_RUNTIME_DIR and \
             XDG_STATE_HOME, set them as they were"
                .into(),
        )
        .caused_by(e),
        Unanswered::Failed(e) => {
            failed(format!("its process cannot be asked; {unmount}, mounting again heals it")).caused_by(e)
        }
    }
}

/// The same JSON, in which nothing steers a terminal.
pub(super) fn safe(json: &str) -> String {
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
    let Status { version, mountpoint, pid, passthrough, web, inodes: _, pins, sources, cache, shared } = status;
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let details = format!("  (kitovufs {version}, process {pid}, passthrough {passthrough})");
    line(format!("{}{}", mountpoint.display(), if verbose { &*details } else { "" }));
    // Where one is configured, and where it does not work in any case.
    if web.starts_with("off:") || web.starts_with("http") && verbose {
        line(format!("  page  {web}"));
    }
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
    if !pins.is_empty() {
        let (copies, bytes) = (cache.pinned_copies, ByteSize::b(cache.pinned_bytes));
        line(format!(
            "    {bytes} of them in {copies} {} are pinned: {}",
            if copies == 1 { "copy" } else { "copies" },
            pins.keys().map(|path| shown_pin(path)).collect::<Vec<_>>().join(", ")
        ));
    }
    if let Some(why) = &cache.no_room {
        line(format!("    no room: {why}; files are read through"));
    }
    if verbose {
        let CacheStatus { hits, misses, evicted, index_bytes, dir, .. } = cache;
        line(format!("    {hits} hits, {misses} misses, {evicted} evicted"));
        line(format!("    {} of it are the index and its journal", ByteSize::b(*index_bytes)));
        line(format!("    {}", dir.display()));
    }
    if let Some(shared) = shared {
        line(format!("  {:width$}  {}", "shared", shared_state(shared)));
        let SharedStatus { hits, misses, hedged, refused, services, keyless, state, .. } = shared;
        if shared.lies > 0 {
            line(format!(
                "    {} times another machine gave WRONG BYTES; nothing is taken from it any more",
                shared.lies
            ));
        }
        keyless.iter().for_each(|(name, why)| line(format!("    {name} shares NOTHING: {why}")));
        if verbose {
            let (listings, audited) = (shared.listings, shared.audited);
            line(format!("    {hits} hits, {misses} misses, {hedged} not in time, {refused} refused"));
            line(format!("    {listings} listings from other machines, {audited} reads compared with the source"));
        }
        for service in services {
            match (&*service.state, &*service.url) {
                ("ok", url) if verbose => line(format!("    {url}")),
                // All of it is told above.
                ("ok", _) => {}
                (_, url) if state == "resting" && services.len() == 1 && verbose => line(format!("    {url}")),
                _ if state == "resting" && services.len() == 1 => {}
                _ => line(format!("    {}", service_state(service))),
            }
        }
    }
}

/// How the store is that machines have in common, and what came of it.
fn shared_state(shared: &SharedStatus) -> String {
    let SharedStatus { state, last_error, last_refusal, bytes_in, bytes_out, refused, .. } = shared;
    let known = |why: &Option<String>| why.clone().unwrap_or_else(|| "no error is known".into());
    if state == "resting" {
        return format!("LEFT ALONE for half a minute, and sources are asked: {}", known(last_error));
    }
    let refused = match refused {
        0 => String::new(),
        1 => format!(", 1 value REFUSED: {}", known(last_refusal)),
        _ => format!(", {refused} values REFUSED: {}", known(last_refusal)),
    };
    format!("{} came from other machines, {} given{refused}", ByteSize::b(*bytes_in), ByteSize::b(*bytes_out))
}

/// How a service is that does not work, or not wholly.
fn service_state(service: &ServiceStatus) -> String {
    let why = service.why.as_deref().unwrap_or("no error is known");
    let what = match &*service.state {
        "resting" => "LEFT ALONE for half a minute",
        _ => "TAKES NOTHING for half a minute, and is asked all the same",
    };
    format!("{}: {what}: {why}", service.url)
}

/// A pinned path as people read it.
pub fn shown_pin(path: &str) -> &str {
    if path.is_empty() { "everything" } else { path }
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
