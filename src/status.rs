//! The status report: every counter as JSON. The names are an interface; they grow and stay.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::cache::Pin;
use crate::fs::{FileSystem, Looked, MountedSource, Tally};
use crate::path::{Exact, Printable};
use crate::source::connection::Health;
use crate::source::operation::{BOUNDS, Operation};
use crate::source::waits::{Transfer, Waiting, Waits};

/// The most retrievals of a source that a status tells of one by one.
const MAX_TRANSFERS: usize = 16;

/// All texts of the field `state` of a source.
pub const STATES: [&str; 6] = ["idle", "ok", "slow", "failing", "unreachable", "unauthorized"];

/// The most programs that wait for a source that a status names.
const MAX_PROGRAMS: usize = 8;

/// The status that `kitovufs status --json` prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Of the program that serves the mount.
    pub version: String,
    /// The mount point.
    #[serde(with = "exact")]
    pub mountpoint: PathBuf,
    /// The process that serves it.
    pub pid: u32,
    /// `on`, or `off: why`: whether the kernel reads whole copies itself.
    pub passthrough: String,
    /// The address of the page (`[web]` in the configuration); `off`, or `off: why`, if there is none.
    #[serde(default)]
    pub web: String,
    /// Files, directories and links that the kernel knows: each takes memory until the kernel forgets it.
    #[serde(default)]
    pub inodes: usize,
    /// The places that are pinned, by path below the mount point; what is no text in it is shown as people read it.
    #[serde(default)]
    pub pins: BTreeMap<String, PinStatus>,
    /// By folder name.
    pub sources: BTreeMap<String, SourceStatus>,
    /// The cache.
    pub cache: CacheStatus,
    /// What machines have in common; `null` if nothing is shared.
    #[serde(default)]
    pub shared: Option<SharedStatus>,
}

/// Paths of this machine as [`Exact`] ones.
mod exact {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::path::Exact;

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        Exact::of(path.as_os_str().as_bytes()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Exact::deserialize(from).map(|path| OsString::from_vec(path.bytes().to_owned()).into())
    }
}

/// A pinned place.
#[derive(Debug, Serialize, Deserialize)]
pub struct PinStatus {
    /// Its path below the mount point, exactly.
    pub path: Exact,
    /// When it was last looked at (RFC 3339).
    pub looked_at: Option<String>,
    /// Files that it had then.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files and directories that could not be kept then.
    pub failed: u64,
}

/// One source.
#[derive(Debug, Serialize, Deserialize)]
pub struct SourceStatus {
    /// As configured.
    #[serde(rename = "type")]
    pub source_type: String,
    /// `idle` (not asked yet), `ok`, `slow` (it is waited for, see `waiting`, or has been for longer than `patience`), `failing` (the
    /// latest answer was of no use: see `last_error`), `unreachable` or `unauthorized`.
    pub state: String,
    /// Since when it is in that state (RFC 3339).
    pub since: String,
    /// The latest failure, if any.
    pub last_error: Option<String>,
    /// When it is asked again (RFC 3339), if it wants to be left alone until then.
    #[serde(default)]
    pub asked_again: Option<String>,
    /// What the source has found out about its server.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The longest wait; `null` unless a request has been without an answer for half a second.
    #[serde(default)]
    pub waiting: Option<WaitingStatus>,
    /// Requests by kind.
    pub requests: Requests,
    /// How these ended, by kind: a method of the contract.
    #[serde(default)]
    pub operations: BTreeMap<String, OperationStatus>,
    /// The retrievals that are under way, those first that began first: so many at most as [`MAX_TRANSFERS`].
    #[serde(default)]
    pub transfers: Vec<TransferStatus>,
    /// How many are under way.
    #[serde(default)]
    pub transfers_under_way: usize,
    /// Content bytes that arrived.
    pub bytes_retrieved: u64,
    /// Files that were retrieved before a program opened them.
    #[serde(default)]
    pub files_ahead: u64,
    /// How many of these were opened then.
    #[serde(default)]
    pub files_ahead_used: u64,
    /// Large files whose ends were asked for when they were opened.
    #[serde(default)]
    pub ends_ahead: u64,
    /// How many of these ends were read before what is in front of them.
    #[serde(default)]
    pub ends_ahead_used: u64,
    /// Directories that were listed before a program opened them.
    #[serde(default)]
    pub listings_ahead: u64,
    /// How many of these were opened then.
    #[serde(default)]
    pub listings_ahead_used: u64,
    /// Names that listings left out, as a link that leads elsewhere or a record that could not be read; the log tells which, and why.
    #[serde(default)]
    pub left_out: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Versions opened since the mount that count though their two digests differ, so that nothing proves their bytes.
    pub unconverged_digests: usize,
}

/// The requests of a source that wait for an answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct WaitingStatus {
    /// The request that has been silent for longest: a method of the contract and its path.
    #[serde(rename = "for")]
    pub request: String,
    /// Since when it has brought nothing (RFC 3339).
    pub since: String,
    /// For how many seconds.
    pub seconds: f64,
    /// For how many seconds more it is waited for, if it stays silent.
    #[serde(default)]
    pub seconds_left: Option<f64>,
    /// The number of requests that the source has not answered, those included for which no program waits.
    pub requests: usize,
    /// The number of programs that wait for the source.
    pub programs: usize,
    /// Some of them, by name and process.
    #[serde(default)]
    pub names: Vec<String>,
}

/// What came of the requests of one kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperationStatus {
    /// By how they ended: `ok`, `abandoned`, or the kind of the error. Those that never happened are missing.
    pub outcomes: BTreeMap<String, u64>,
    /// How long the answers took.
    pub latency: LatencyStatus,
}

/// A histogram of latencies.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LatencyStatus {
    /// The upper bounds of its buckets, in seconds.
    pub bounds: Vec<f64>,
    /// The number of answers in each, and last of those that took longer.
    pub counts: Vec<u64>,
    /// The seconds that all of them took together.
    pub seconds: f64,
}

/// A retrieval that is under way.
#[derive(Debug, Serialize, Deserialize)]
pub struct TransferStatus {
    /// The file.
    pub path: String,
    /// The bytes of all of it, where they are known.
    pub size: Option<u64>,
    /// The first byte that was asked for.
    pub start: u64,
    /// The one after the last, where it is known.
    pub end: Option<u64>,
    /// How many of these have arrived.
    pub arrived: u64,
    /// For how many seconds it has been under way.
    pub seconds: f64,
}

/// Requests by the method of the contract.
#[derive(Debug, Serialize, Deserialize)]
pub struct Requests {
    /// Connections begun.
    pub connect: u64,
    /// Listings.
    pub list_path: u64,
    /// Digests of single files.
    pub create_remote_digest: u64,
    /// Retrievals of files or parts of them.
    pub retrieve_file: u64,
}

/// The cache.
#[derive(Debug, Serialize, Deserialize)]
pub struct CacheStatus {
    /// Its directory.
    #[serde(with = "exact")]
    pub dir: PathBuf,
    /// Bytes on disk, index included.
    pub bytes: u64,
    /// Those of them that the index takes, its journal included.
    #[serde(default)]
    pub index_bytes: u64,
    /// Bytes on disk at most.
    pub max_bytes: u64,
    /// Why files are read through at present, where the cache has no room for them.
    #[serde(default)]
    pub no_room: Option<String>,
    /// Copies, partial ones included.
    pub copies: usize,
    /// Copies that are pinned, and never evicted; they are among `copies`.
    #[serde(default)]
    pub pinned_copies: usize,
    /// Bytes that they take; they are among `bytes`.
    #[serde(default)]
    pub pinned_bytes: u64,
    /// Opens that found a whole copy.
    pub hits: u64,
    /// Opens that did not.
    pub misses: u64,
    /// Copies removed for room.
    pub evicted: u64,
    /// Blocks that were hashed and agreed.
    pub verified: u64,
    /// Bytes that were hashed, where a hash of the content proves a copy, while others were still arriving.
    pub hashed_along: u64,
    /// Bytes that were left to hash when the last one had arrived.
    pub hashed_after: u64,
    /// Copies whose file was found altered or damaged.
    pub quarantined: u64,
}

/// What came of asking the store that machines have in common.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SharedStatus {
    /// Where it is.
    pub store: String,
    /// `ok`; `partly`: one of its services does not work; `resting`: it has failed again and again, and is left alone for half a minute.
    pub state: String,
    /// The latest failure, if any.
    pub last_error: Option<String>,
    /// Why a value was refused that was refused last.
    #[serde(default)]
    pub last_refusal: Option<String>,
    /// What it is made of.
    #[serde(default)]
    pub services: Vec<ServiceStatus>,
    /// Why a source shares nothing, by the names of those that have not got the key of their circle.
    #[serde(default)]
    pub keyless: BTreeMap<String, String>,
    /// Reads that it answered.
    pub hits: u64,
    /// Reads for which it had nothing.
    pub misses: u64,
    /// Content bytes that came from it.
    pub bytes_in: u64,
    /// Content bytes that were given to it.
    pub bytes_out: u64,
    /// Values that were not what belongs there.
    pub refused: u64,
    /// Reads that it did not answer in time, so that the source was asked.
    pub hedged: u64,
    /// Extents that this mount retrieved for the others.
    #[serde(default)]
    pub leases_won: u64,
    /// Extents for which it waited, because another machine was retrieving them.
    #[serde(default)]
    pub leases_waited: u64,
    /// Listings that came from another machine.
    #[serde(default)]
    pub listings: u64,
    /// Reads that it answered and that were compared with the source.
    #[serde(default)]
    pub audited: u64,
    /// Those of them for which another machine had given wrong bytes.
    #[serde(default)]
    pub lies: u64,
}

/// A service that machines have in common.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Where it is.
    pub url: String,
    /// `ok`; `takes nothing`: it is asked, and given nothing for half a minute; `resting`: it is left alone for half a minute.
    pub state: String,
    /// Why it is not `ok`.
    pub why: Option<String>,
}

/// All texts of the field `state` of what is shared.
pub const SHARED_STATES: [&str; 3] = ["ok", "partly", "resting"];

/// Tells what came of sharing, if anything is shared.
type TellShared = dyn Fn() -> Option<SharedStatus> + Send + Sync;

/// Makes reports about one mount.
pub struct Report {
    fs: Arc<FileSystem>,
    mountpoint: PathBuf,
    passthrough: Box<dyn Fn() -> String + Send + Sync>,
    shared: Box<TellShared>,
    web: OnceLock<String>,
}

impl Report {
    /// Reports about `fs`, mounted at `mountpoint`; the kernel's side tells the text of the field `passthrough`, and `shared` what came of
    /// sharing.
    pub fn new(
        fs: Arc<FileSystem>,
        mountpoint: PathBuf,
        passthrough: impl Fn() -> String + Send + Sync + 'static,
        shared: impl Fn() -> Option<SharedStatus> + Send + Sync + 'static,
    ) -> Self {
        let (passthrough, shared) = (Box::new(passthrough), Box::new(shared));
        Self { fs, mountpoint, passthrough, shared, web: OnceLock::new() }
    }

    /// From now on tells where the page is, or why there is none: the text of the field `web`.
    pub fn note_web(&self, text: String) {
        // It is told once, at the beginning.
        let _ = self.web.set(text);
    }

    /// Whether a source is in another state than in an earlier report.
    pub fn has_changed(&self, before: &Status) -> bool {
        self.fs.sources().iter().any(|source| {
            let is_waited_for = waiting(&source.counters.waits, source.timeout).is_some();
            let state = state(source, &source.connection.health().0, is_waited_for);
            before.sources.get(&Printable(&source.name).to_string()).is_none_or(|before| before.state != state)
        })
    }

    /// The state now.
    pub fn now(&self) -> Status {
        let sources =
            self.fs.sources().iter().map(|source| (Printable(&source.name).to_string(), source_status(source)));
        let cache = self.fs.cache();
        let counters = cache.counters();
        let (copies, pinned_copies, pinned_bytes) = cache.count();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            mountpoint: self.mountpoint.clone(),
            pid: std::process::id(),
            passthrough: (self.passthrough)(),
            web: self.web.get().map_or("off", String::as_str).to_owned(),
            inodes: self.fs.known_inodes(),
            pins: self.fs.pinned().iter().map(|(pin, looked)| pin_status(pin, looked.as_ref())).collect(),
            sources: sources.collect(),
            cache: CacheStatus {
                dir: cache.dir().to_owned(),
                bytes: cache.bytes(),
                index_bytes: cache.index_bytes(),
                max_bytes: cache.limits().max_size,
                no_room: cache.no_room(),
                copies,
                pinned_copies,
                pinned_bytes,
                hits: count(&counters.hits),
                misses: count(&counters.misses),
                evicted: count(&counters.evicted),
                verified: count(&counters.verified),
                hashed_along: count(&counters.hashed_along),
                hashed_after: count(&counters.hashed_after),
                quarantined: count(&counters.quarantined),
            },
            shared: (self.shared)(),
        }
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn pin_status(pin: &Pin, looked: Option<&Looked>) -> (String, PinStatus) {
    let Tally { files, bytes, failed, .. } = looked.map(|looked| looked.tally.clone()).unwrap_or_default();
    let looked_at = looked.map(|looked| rfc3339(looked.at));
    let path = Exact::of(&pin.path);
    let name = match &path {
        Exact::Text(text) => text.clone(),
        Exact::Bytes(bytes) => Printable(bytes).to_string(),
    };
    (name, PinStatus { path, looked_at, files, bytes, failed })
}

/// The text of the field `state` of a source, for which somebody may be waiting.
fn state(source: &MountedSource, health: &Health, is_waited_for: bool) -> &'static str {
    match health {
        Health::Idle | Health::Up | Health::Failing(_) if is_waited_for || source.catalog.is_slow() => "slow",
        Health::Idle => "idle",
        Health::Up => "ok",
        Health::Failing(_) => "failing",
        Health::Down(error) if error.kind() == crate::error::ErrorKind::Unauthenticated => "unauthorized",
        Health::Down(_) => "unreachable",
    }
}

fn source_status(source: &MountedSource) -> SourceStatus {
    let (health, since) = source.connection.health();
    let counters = &source.counters;
    let waiting = waiting(&counters.waits, source.timeout);
    let state = state(source, &health, waiting.is_some());
    let (transfers, transfers_under_way) = counters.waits.transfers(MAX_TRANSFERS);
    // Uses first: what is used meanwhile was counted as ahead before.
    let [files_ahead_used, ends_ahead_used, listings_ahead_used] = source
        .ahead
        .as_ref()
        .map_or([0; 3], |ahead| [count(&ahead.used), count(&ahead.ends_used), count(&ahead.walks.used)]);
    let since = match &waiting {
        Some(waiting) if state == "slow" => waiting.since.clone(),
        _ => rfc3339(since),
    };
    SourceStatus {
        source_type: source.source_type.clone(),
        state: state.into(),
        since,
        last_error: counters.last_error.lock().clone(),
        asked_again: source.connection.asked_again().map(|left| rfc3339(SystemTime::now() + left)),
        notes: source.notes.all(),
        waiting,
        requests: Requests {
            connect: counters.connect.begun(),
            list_path: counters.list_path.begun(),
            create_remote_digest: counters.create_remote_digest.begun(),
            retrieve_file: counters.retrieve_file.begun(),
        },
        operations: BTreeMap::from([
            ("connect".into(), operation_status(&counters.connect)),
            ("list_path".into(), operation_status(&counters.list_path)),
            ("create_remote_digest".into(), operation_status(&counters.create_remote_digest)),
            ("retrieve_file".into(), operation_status(&counters.retrieve_file)),
        ]),
        transfers: transfers.into_iter().map(transfer_status).collect(),
        transfers_under_way,
        bytes_retrieved: count(&counters.bytes_retrieved),
        files_ahead: source.ahead.as_ref().map_or(0, |ahead| count(&ahead.fetched)),
        files_ahead_used,
        ends_ahead: source.ahead.as_ref().map_or(0, |ahead| count(&ahead.ends_fetched)),
        ends_ahead_used,
        listings_ahead: source.ahead.as_ref().map_or(0, |ahead| count(&ahead.walks.listed)),
        listings_ahead_used,
        left_out: source.catalog.left_out(),
        errors: count(&counters.errors),
        unconverged_digests: source.transfer.unconverged(),
    }
}

fn operation_status(operation: &Operation) -> OperationStatus {
    let outcomes = operation.outcomes().map(|(outcome, count)| (outcome.to_owned(), count)).collect();
    let (bounds, counts, seconds) = (BOUNDS.to_vec(), operation.latencies(), operation.seconds());
    OperationStatus { outcomes, latency: LatencyStatus { bounds, counts, seconds } }
}

fn transfer_status(transfer: Transfer) -> TransferStatus {
    let Transfer { path, size, range, arrived, lasts } = transfer;
    let end = Some(range.end).filter(|end| *end < u64::MAX);
    TransferStatus { path: path.to_string(), size, start: range.start, end, arrived, seconds: rounded(lasts) }
}

fn waiting(waits: &Waits, timeout: Duration) -> Option<WaitingStatus> {
    let Waiting { call, silent, calls } = waits.now()?;
    let programs: BTreeSet<_> = waits.threads().into_iter().map(program_of).collect();
    Some(WaitingStatus {
        request: call,
        since: rfc3339(SystemTime::now() - silent),
        seconds: rounded(silent),
        seconds_left: Some(rounded(timeout.saturating_sub(silent))),
        requests: calls,
        programs: programs.len(),
        names: programs.into_iter().filter(|program| *program != 0).take(MAX_PROGRAMS).map(named).collect(),
    })
}

/// In seconds, to the tenth.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

/// The process that has this thread, or the thread where that is not seen.
fn program_of(thread: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    process.unwrap_or(thread)
}

/// The name of a process, and its number.
fn named(process: u32) -> String {
    let name = std::fs::read(format!("/proc/{process}/comm")).unwrap_or_default();
    format!("{} ({process})", Printable(name.trim_ascii()))
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;

    /// A status in which nothing is missing.
    pub(crate) fn complete() -> Status {
        let waiting = WaitingStatus {
            request: "list_path /".into(),
            since: rfc3339(SystemTime::UNIX_EPOCH),
            seconds: 1.5,
            seconds_left: Some(28.5),
            requests: 2,
            programs: 1,
            names: vec!["less (4242)".into()],
        };
        let latency = LatencyStatus { bounds: vec![0.5], counts: vec![1, 0], seconds: 0.25 };
        let operation = OperationStatus { outcomes: BTreeMap::from([("OUTCOME".to_owned(), 1)]), latency };
        let transfer =
            TransferStatus { path: "/a/b".into(), size: Some(9), start: 0, end: Some(9), arrived: 4, seconds: 0.5 };
        let source = SourceStatus {
            source_type: "webdav".into(),
            state: "slow".into(),
            since: rfc3339(SystemTime::UNIX_EPOCH),
            last_error: None,
            asked_again: None,
            notes: Vec::new(),
            waiting: Some(waiting),
            requests: Requests { connect: 1, list_path: 2, create_remote_digest: 3, retrieve_file: 4 },
            operations: BTreeMap::from([("OPERATION".to_owned(), operation)]),
            transfers: vec![transfer],
            transfers_under_way: 1,
            bytes_retrieved: 5,
            files_ahead: 6,
            files_ahead_used: 7,
            ends_ahead: 8,
            ends_ahead_used: 9,
            listings_ahead: 10,
            listings_ahead_used: 11,
            left_out: 12,
            errors: 13,
            unconverged_digests: 14,
        };
        let cache = CacheStatus {
            dir: "/cache".into(),
            bytes: 1,
            index_bytes: 1,
            max_bytes: 2,
            no_room: None,
            copies: 3,
            pinned_copies: 1,
            pinned_bytes: 1,
            hits: 4,
            misses: 5,
            evicted: 6,
            verified: 7,
            hashed_along: 8,
            hashed_after: 9,
            quarantined: 10,
        };
        let shared = SharedStatus {
            store: "file:///mnt/lab".into(),
            state: "resting".into(),
            last_error: None,
            last_refusal: None,
            services: vec![ServiceStatus { url: "file:///mnt/lab".into(), state: "resting".into(), why: None }],
            keyless: BTreeMap::from([("NAME".to_owned(), "why".to_owned())]),
            hits: 1,
            misses: 2,
            bytes_in: 3,
            bytes_out: 4,
            refused: 5,
            hedged: 6,
            leases_won: 7,
            leases_waited: 8,
            listings: 9,
            audited: 10,
            lies: 11,
        };
        let pin = PinStatus { path: Exact::of(b"PATH"), looked_at: None, files: 1, bytes: 2, failed: 0 };
        Status {
            version: "0.1.0".into(),
            mountpoint: "/mnt".into(),
            pid: 1,
            passthrough: "on".into(),
            web: "off".into(),
            inodes: 15,
            pins: BTreeMap::from([("PATH".to_owned(), pin)]),
            sources: BTreeMap::from([("NAME".to_owned(), source)]),
            cache,
            shared: Some(shared),
        }
    }

    /// The fields of an object that have a value of their own, or may be `null`, by their names from the top.
    fn fields(value: &Value, above: &str, found: &mut BTreeSet<String>) {
        if let Value::Array(items) = value {
            // All are alike: those of the first are those of all.
            let above = format!("{}[].", above.trim_end_matches('.'));
            items.first().into_iter().for_each(|item| fields(item, &above, found));
        }
        let Value::Object(object) = value else { return };
        for (name, value) in object {
            let name = format!("{above}{name}");
            fields(value, &format!("{name}."), found);
            if !value.is_object() || name.ends_with(".waiting") || name == "shared" {
                found.insert(name);
            }
        }
    }

    #[test]
    fn every_field_is_documented_and_every_documented_field_is_there() {
        let text = include_str!("../docs/status.md");
        let (_, table) = text.split_once("| field | unit | meaning |").expect("the document has a table");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let documented: BTreeSet<_> = rows
            .map(|row| {
                let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
                let [field, unit, meaning] = cells[..] else { panic!("not three columns: {row}") };
                assert!(!unit.is_empty() && !meaning.is_empty(), "{row}");
                field.trim_matches('`').to_owned()
            })
            .collect();
        let mut there = BTreeSet::new();
        fields(&serde_json::to_value(complete()).expect("it can be written"), "", &mut there);
        assert_eq!(documented, there);
    }

    #[test]
    fn every_outcome_is_documented() {
        let text = include_str!("../docs/status.md");
        let (_, table) = text.split_once("| outcome | meaning |").expect("the document has a table");
        let (table, _) = table.split_once("\n\n").expect("it ends");
        let documented: Vec<_> = table.split('`').skip(1).step_by(2).filter(|word| *word != "timeout").collect();
        for (index, kind) in crate::error::ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{kind:?} has its place");
            assert!(documented.contains(&kind.name()), "{kind:?}");
        }
        assert_eq!(documented.len(), crate::error::ErrorKind::ALL.len() + 2, "{documented:?}");
    }

    #[test]
    fn a_status_survives_the_way() {
        let written = serde_json::to_string(&complete()).expect("it can be written");
        let read: Status = serde_json::from_str(&written).expect("it can be read");
        assert_eq!(serde_json::to_string(&read).expect("it can be written"), written);
    }
}
