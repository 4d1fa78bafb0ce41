//! The messages of the protocol as types, and how paths and times are written. It sends and receives nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ErrorKind;
use crate::source::permission_bits;
use crate::sources::records::Records;

/// The version that is spoken here.
pub const PROTOCOL: u32 = 1;

/// The code of an unknown method, from JSON-RPC.
pub const UNKNOWN_METHOD: i64 = -32601;

/// A path as it is written: text, or bytes that are no text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// UTF-8.
    Plain(String),
    /// Anything else.
    Coded {
        /// The bytes.
        base64: String,
    },
}

impl Text {
    /// As it is written.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Plain(text.to_owned()),
            Err(_) => Self::coded(bytes),
        }
    }

    /// The same, in base64 even if it is text.
    pub fn coded(bytes: &[u8]) -> Self {
        Self::Coded { base64: BASE64_STANDARD.encode(bytes) }
    }

    /// The bytes of the path; none if that is not valid base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(text) => Some(text.clone().into_bytes()),
            Self::Coded { base64 } => BASE64_STANDARD.decode(base64).ok(),
        }
    }
}

/// A time as it is written: seconds since 1970, or their decimal digits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Time {
    /// As near as a double is.
    Number(serde_json::Number),
    /// To the nanosecond.
    Digits(String),
}

impl Time {
    /// As it is written, to the nanosecond.
    pub fn of(time: SystemTime) -> Self {
        let digits = |sign, distance: Duration| format!("{sign}{}.{:09}", distance.as_secs(), distance.subsec_nanos());
        Self::Digits(match time.duration_since(UNIX_EPOCH) {
            Ok(distance) => digits("", distance),
            Err(before) => digits("-", before.duration()),
        })
    }

    /// The time; none for what cannot be one.
    pub fn time(&self) -> Option<SystemTime> {
        match self {
            Self::Number(number) => match number.as_i64() {
                Some(seconds) => at(seconds, 0),
                None => {
                    let seconds = number.as_f64().filter(|seconds| seconds.abs() < 1e15)?;
                    let whole = seconds.floor();
                    at(whole as i64, ((seconds - whole) * 1e9) as u32)
                }
            },
            Self::Digits(text) => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
                let unsigned = whole.strip_prefix('-').unwrap_or(whole);
                if unsigned.is_empty() || !digits(unsigned) || !digits(fraction) {
                    return None;
                }
                let nanoseconds: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
                match (whole.parse().ok()?, whole.starts_with('-'), nanoseconds) {
                    (seconds, true, 1..) => at(seconds - 1, 1_000_000_000 - nanoseconds),
                    (seconds, _, nanoseconds) => at(seconds, nanoseconds),
                }
            }
        }
    }
}

fn at(seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    whole?.checked_add(Duration::from_nanos(nanoseconds.into()))
}

/// The answer to `hello`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hello {
    /// The version that the plugin speaks.
    pub protocol: u32,
    /// Its kind of source, for people.
    pub name: String,
    /// Its own version, for people.
    #[serde(default)]
    pub version: Option<String>,
    /// What it can do beyond the bare contract.
    #[serde(default)]
    pub capabilities: Abilities,
    /// A JSON Schema of its settings.
    #[serde(default)]
    pub schema: Option<Value>,
}

/// What a plugin says that it can do; `docs/plugin-protocol.md` says what each means.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the words are the protocol's")]
pub struct Abilities {
    pub attributes: bool,
    pub one_level: bool,
    pub conditional: bool,
    pub ranges: bool,
    pub ordered: bool,
    pub digest_from_listing: bool,
    pub content_digest: Option<Hash>,
    pub notify: bool,
    pub concurrency: Option<usize>,
    pub cancel: bool,
    pub progress: bool,
}

impl Abilities {
    /// How many requests may be unanswered at once.
    pub fn concurrency(&self) -> usize {
        self.concurrency.unwrap_or(1).clamp(1, 64)
    }

    /// Whether what is in a staging file may be handed on while it grows.
    pub fn can_be_followed(&self) -> bool {
        self.ordered && self.conditional
    }
}

/// A hash that a digest can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "their names say it")]
pub enum Hash {
    Md5,
    Sha1,
    Sha256,
}

/// An entry of a listing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// From the root of the source.
    pub path: Text,
    /// File or directory, where the plugin says.
    #[serde(default)]
    pub kind: Option<Kind>,
    /// Bytes of a file.
    #[serde(default)]
    pub size: Option<u64>,
    /// Time of the last change.
    #[serde(default)]
    pub modified: Option<Time>,
    /// Identifies the file's version.
    #[serde(default)]
    pub digest: Option<String>,
    /// The permission bits of a file or directory, as in Unix: 420 is 0644.
    #[serde(default)]
    pub permissions: Option<u32>,
    /// Whether it is a program: as much as permissions 0755.
    #[serde(default)]
    pub executable: bool,
}

impl Entry {
    /// The permission bits that the plugin tells, one way or the other.
    pub fn permission_bits(&self) -> Option<u16> {
        self.permissions.map(permission_bits).or(self.executable.then_some(0o755))
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "their names say it")]
pub enum Kind {
    File,
    Directory,
}

/// The answer to `list_path`: entries that did not come before.
#[derive(Debug, Default, Deserialize)]
pub struct Listed {
    /// The last, or all, of the entries.
    #[serde(default)]
    pub entries: Records<Entry>,
}

/// The answer to `create_remote_digest` and `create_local_digest`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Digested {
    /// Identifies the version.
    pub digest: String,
    /// Bytes of that version.
    #[serde(default)]
    pub size: Option<u64>,
    /// Time of its last change.
    #[serde(default)]
    pub modified: Option<Time>,
}

/// The answer to `retrieve_file`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Filled {
    /// Time of the version's last change.
    #[serde(default)]
    pub modified: Option<Time>,
    /// Bytes of the whole remote file.
    #[serde(default)]
    pub size: Option<u64>,
}

/// Why a plugin did not do what it was asked.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// [`UNKNOWN_METHOD`], or anything else.
    pub code: i64,
    /// For people.
    pub message: String,
    /// For the host.
    pub data: Reason,
}

/// The part of a refusal that is for the host.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// One of the protocol's kinds.
    pub kind: String,
    /// The setting that `invalid_config` is about.
    pub key: Option<Box<str>>,
    /// Whether that setting is missing or invalid.
    pub problem: Option<Box<str>>,
    /// Seconds for which `rate_limited` asks.
    pub retry_after: Option<f64>,
    /// Where in the plugin an exception was raised that it did not expect, for its author.
    pub traceback: Option<Box<str>>,
}

impl Refusal {
    /// Whether the plugin does not know the method.
    pub fn is_unknown_method(&self) -> bool {
        self.code == UNKNOWN_METHOD
    }

    /// The kind of error that it is to the mount.
    pub fn kind(&self) -> ErrorKind {
        match self.data.kind.as_str() {
            "not_found" | "unknown_path" => ErrorKind::NotFound,
            "not_a_directory" => ErrorKind::NotADirectory,
            "is_a_directory" => ErrorKind::IsADirectory,
            "permission_denied" => ErrorKind::PermissionDenied,
            "unauthenticated" => ErrorKind::Unauthenticated,
            "unreachable" => ErrorKind::Unreachable,
            "timed_out" => ErrorKind::TimedOut,
            "rate_limited" => ErrorKind::RateLimited,
            "changed" => ErrorKind::Changed,
            "invalid_config" => ErrorKind::InvalidConfig,
            "unsupported" => ErrorKind::Unsupported,
            _ if self.is_unknown_method() => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        }
    }
}

/// Any line of a plugin, sorted by what it has.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    /// Ends a call.
    Answer {
        /// The call.
        id: u64,
        /// Its end.
        result: Result<Value, Refusal>,
    },
    /// Says something by itself.
    Notification {
        /// Its method.
        method: String,
        /// The rest.
        params: Value,
    },
}

/// Sorts a line; none if it is no message.
pub fn read(line: &[u8]) -> Option<Incoming> {
    #[derive(Deserialize)]
    struct Any {
        #[serde(default)]
        id: Option<u64>,
        #[serde(default)]
        method: Option<String>,
        #[serde(default)]
        params: Value,
        #[serde(default)]
        result: Value,
        #[serde(default)]
        error: Option<Value>,
    }
    let any: Any = serde_json::from_slice(line).ok()?;
    match any {
        Any { method: Some(method), id: None, params, .. } => Some(Incoming::Notification { method, params }),
        Any { method: None, id: Some(id), error: Some(error), .. } => {
            // Words that are not of the protocol's form are a failure all the same.
            let refusal = serde_json::from_value(error).unwrap_or_default();
            Some(Incoming::Answer { id, result: Err(refusal) })
        }
        Any { method: None, id: Some(id), result, .. } => Some(Incoming::Answer { id, result: Ok(result) }),
        Any { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fuzz::{Corpus, Input};

    #[test]
    fn times_are_exact_where_they_can_be() {
        let time = |value: Value| serde_json::from_value::<Time>(value).ok().and_then(|time| time.time());
        let after = |nanoseconds| Some(UNIX_EPOCH + Duration::from_nanos(nanoseconds));
        assert_eq!(time(json!(5)), after(5_000_000_000));
        assert_eq!(time(json!(1.5)), after(1_500_000_000));
        assert_eq!(time(json!("1700000000.123456789")), after(1_700_000_000_123_456_789));
        assert_eq!(time(json!("3.0000000019")), after(3_000_000_001));
        assert_eq!(time(json!("-1.25")), Some(UNIX_EPOCH - Duration::from_millis(1250)));
        assert_eq!(time(json!(-1.25)), Some(UNIX_EPOCH - Duration::from_millis(1250)));
        for digits in ["1700000000.123456789", "-1.250000000", "0.000000000"] {
            let time = Time::Digits(digits.into());
            assert_eq!(time.time().map(Time::of), Some(time));
        }
        for nonsense in
            [json!("soon"), json!(""), json!("-"), json!("1e5"), json!(1e300), json!("99999999999999999999")]
        {
            assert_eq!(time(nonsense.clone()), None, "{nonsense}");
        }
    }

    #[test]
    fn a_path_that_is_no_text_survives_the_way() {
        for bytes in [b"a/b".as_slice(), b"\xff\xfe", "ü\n".as_bytes()] {
            let written = serde_json::to_string(&Text::of(bytes)).expect("it can be written");
            let read: Text = serde_json::from_str(&written).expect("it can be read");
            assert_eq!(read.bytes().as_deref(), Some(bytes), "{written}");
        }
    }

    #[test]
    fn lines_are_sorted() {
        let read = |value: Value| read(value.to_string().as_bytes());
        assert_eq!(read(json!({"id": 1, "result": null})), Some(Incoming::Answer { id: 1, result: Ok(Value::Null) }));
        let Some(Incoming::Answer { result: Err(refusal), .. }) =
            read(json!({"id": 1, "error": {"code": -32000, "message": "m", "data": {"kind": "changed", "new": 1}}}))
        else {
            panic!("it is an error")
        };
        assert_eq!((refusal.kind(), refusal.message.as_str()), (ErrorKind::Changed, "m"));
        for error in [json!("broken"), json!({}), json!({"data": {"kind": 7}}), json!({"data": null})] {
            let Some(Incoming::Answer { result: Err(refusal), .. }) = read(json!({"id": 1, "error": error})) else {
                panic!("it is an error")
            };
            assert_eq!(refusal.kind(), ErrorKind::Other);
        }
        for garbage in [json!([]), json!("x"), json!({"id": "x"}), json!({"id": 1, "method": "hello"}), json!({})] {
            assert_eq!(read(garbage.clone()), None, "{garbage}");
        }
    }

    #[test]
    fn fuzz_plugin_line() {
        let corpus = Corpus::of("plugin_line");
        bolero::check!().with_type::<Input>().for_each(|input| {
            let bytes = corpus.bytes(input);
            let Some(message) = read(&bytes) else { return };
            let value = match message {
                Incoming::Answer { result: Ok(result), .. } => result,
                Incoming::Answer { result: Err(refusal), .. } => {
                    let _ = refusal.kind();
                    return;
                }
                Incoming::Notification { params, .. } => params["entries"][0].clone(),
            };
            if let Ok(entry) = serde_json::from_value::<Entry>(value.clone()) {
                let _ = (entry.path.bytes(), entry.modified.map(|time| time.time()));
            }
            if let Ok(hello) = serde_json::from_value::<Hello>(value.clone()) {
                let _ = (hello.capabilities.concurrency(), hello.capabilities.can_be_followed());
            }
            let _ = serde_json::from_value::<Listed>(value.clone());
            let _ = serde_json::from_value::<Digested>(value.clone());
            let _ = serde_json::from_value::<Filled>(value);
        });
    }
}
