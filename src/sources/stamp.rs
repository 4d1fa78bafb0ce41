//! `Stamp`: the tag, size and time by which an answer tells a version of a file, and the digest made of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderMap, LAST_MODIFIED};

use crate::content::Algorithm;
use crate::digest::{Digest, UNSETTLED};
use crate::path::RemotePath;
use crate::source::packed::Reader;
use crate::source::{Entry, EntryKind, RemoteDigest};
use crate::sources::heap::Pack;
use crate::sources::observation;

/// Servers keep times in whole seconds: a younger version may share them, and the tag made of them, with the next.
const TICK_SECONDS: i64 = 2;
/// A time so far ahead of the server's clock is no recent change.
const SKEW_SECONDS: i64 = 60;

/// The tag, size and time that an answer gives of a version. Sizes in bytes, times in whole seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The entity tag without quotes and without its mark of weakness.
    tag: Option<String>,
    /// The server itself does not vouch for every byte.
    weak: bool,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<i64>,
}

impl Stamp {
    /// From the texts in which servers say so.
    pub(super) fn new(tag: Option<&str>, size: Option<u64>, modified: Option<i64>) -> Self {
        let text = tag.map(str::trim).unwrap_or_default();
        let rest = text.strip_prefix("W/");
        // An empty tag, which `rclone serve s3` gives where it has none, is that of every version: it tells nothing.
        let bare = Some(rest.unwrap_or(text).trim_matches('"')).filter(|bare| !bare.is_empty());
        Self { tag: bare.map(str::to_owned), weak: rest.is_some() && bare.is_some(), size, modified }
    }

    /// From the headers of an answer that carries, or describes, the whole file.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let size = text(CONTENT_LENGTH).and_then(|text| text.parse().ok());
        Self::new(text(ETAG), size, text(LAST_MODIFIED).and_then(http_date))
    }

    /// The entity tag, without its quotes.
    pub(super) fn tag(&self) -> Option<String> {
        self.tag.clone()
    }

    /// The same version, of which no tag is known.
    pub(super) fn without_tag(&self) -> Self {
        Self { tag: None, weak: false, ..self.clone() }
    }

    /// Whether two stamps of a file have different tags, and the same size and time.
    pub(super) fn differs_only_by_tag(&self, other: &Self) -> bool {
        let is_told = self.size.is_some() && self.modified.is_some();
        is_told && self.tag != other.tag && self.without_tag() == other.without_tag()
    }

    /// Whether another version can no longer have its time, once the server's clock says `now`.
    pub(super) fn is_settled(&self, now: i64) -> bool {
        self.modified.is_some_and(|modified| is_settled(modified, now))
    }

    pub(super) fn modified_time(&self) -> Option<SystemTime> {
        time(self.modified?)
    }

    /// The digest where a tag alone identifies the bytes, and is their MD5 if it looks like one (a tag of several parts has a `-`).
    pub(super) fn tag_digest(&self) -> Option<Digest> {
        let tag = self.tag.as_ref()?;
        let as_hash = Digest::new(format!("{MD5}{tag}"));
        Some(if Algorithm::of(&as_hash).is_some() { as_hash } else { Digest::new(format!("{TAG}{tag}")) })
    }

    /// The digest where tags are made of times and sizes, seen when the server's clock said `now`.
    ///
    /// A version that may still change unnoticed gets a text of its own, which never equals a later one.
    pub(super) fn digest(&self, now: i64) -> Digest {
        let mut text = match &self.tag {
            Some(tag) => format!("{TAG}{tag}"),
            None => "stat:".to_owned(),
        };
        if let Some(size) = self.size {
            text += &format!("{SIZE}{size}");
        }
        if let Some(modified) = self.modified
            && (self.weak || self.tag.is_none())
        {
            text += &format!("{MODIFIED}{modified}");
        }
        let settled = match self.modified {
            Some(modified) => is_settled(modified, now),
            None => self.tag.is_some() && !self.weak,
        };
        if settled { Digest::new(text) } else { unsettled(text) }
    }

    /// Whether it tells one version from another: a size alone does not.
    pub(super) fn identifies(&self) -> bool {
        self.tag.is_some() || self.modified.is_some()
    }

    /// The answer of `create_remote_digest` about a file with this stamp.
    pub(super) fn remote_digest(&self, digest: Digest) -> RemoteDigest {
        RemoteDigest { digest, size: self.size, modified: self.modified_time() }
    }

    /// The listed entry of a file with this stamp.
    pub(super) fn file(&self, path: RemotePath, digest: Option<Digest>) -> Entry {
        let (kind, permissions) = (EntryKind::File, None);
        Entry {
            name: path.name().to_vec(),
            path,
            kind,
            permissions,
            size: self.size,
            modified: self.modified_time(),
            digest,
        }
    }

    /// The listed entry of a directory with this stamp, of which the time counts.
    pub(super) fn directory(&self, path: RemotePath) -> Entry {
        Entry { kind: EntryKind::Directory, size: None, ..self.file(path, None) }
    }
}

impl Pack for Stamp {
    fn pack(&self, out: &mut Vec<u8>) {
        self.tag.pack(out);
        self.weak.pack(out);
        self.size.pack(out);
        self.modified.pack(out);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        let (tag, weak) = (Pack::unpack(packed), Pack::unpack(packed));
        Self { tag, weak, size: Pack::unpack(packed), modified: Pack::unpack(packed) }
    }
}

const TAG: &str = "etag:";
const MD5: &str = "md5:";

/// The time of a number of seconds since 1970.
pub(super) fn time(seconds: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds >= 0 { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) }
}

/// Whether another version can no longer have the same time, once the server's clock says `now`.
pub(super) fn is_settled(modified: i64, now: i64) -> bool {
    !(-SKEW_SECONDS..TICK_SECONDS).contains(&(now - modified))
}

/// The digest of a version that may still change without its text showing it.
pub(super) fn unsettled(text: String) -> Digest {
    Digest::new(format!("{text}{UNSETTLED}{}", observation()))
}

const SIZE: &str = ";size=";
const MODIFIED: &str = ";modified=";

/// Waits until a change to this version would show in its digest.
pub(super) async fn settle(digest: &Digest) {
    tokio::time::sleep(settles_in(digest)).await;
}

/// How much longer a change to this version may not show in its digest.
pub(super) fn settles_in(digest: &Digest) -> Duration {
    let Some(since) = digest.unsettled_since() else { return Duration::ZERO };
    Duration::from_secs(TICK_SECONDS.unsigned_abs()).saturating_sub(since.elapsed().unwrap_or_default())
}

/// The version that a digest of this module asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted<'a> {
    tag: Option<&'a str>,
    modified: Option<i64>,
    settled: bool,
}

/// Whether an answer that must be of one version is of that version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// The wanted version.
    Same,
    /// Another one.
    Other,
    /// The answer does not say.
    Unknown,
}

impl<'a> Wanted<'a> {
    pub(super) fn parse(digest: &'a Digest) -> Self {
        let text = digest.as_str();
        let (text, settled) = match text.rsplit_once(UNSETTLED) {
            Some((text, _)) => (text, false),
            None => (text, true),
        };
        let (text, modified) = match text.rsplit_once(MODIFIED) {
            Some((text, seconds)) => (text, seconds.parse().ok()),
            None => (text, None),
        };
        let text = text.rsplit_once(SIZE).map_or(text, |(text, _)| text);
        Self { tag: text.strip_prefix(TAG).or_else(|| text.strip_prefix(MD5)), modified, settled }
    }

    /// Whether only size and time tell the version.
    pub(super) fn is_without_tag(&self) -> bool {
        self.tag.is_none()
    }

    /// The tag for `If-Match`; none unless the server compares it strongly.
    pub(super) fn if_match(&self) -> Option<String> {
        let strong = self.settled && self.modified.is_none();
        self.tag.filter(|_| strong).map(|tag| format!("\"{tag}\""))
    }

    /// Whether an answer is of the wanted version.
    pub(super) fn compare(&self, seen: &Stamp) -> Match {
        let compare = |wanted: bool, same: Option<bool>| match (wanted, same) {
            (false, _) | (true, Some(true)) => Match::Same,
            (true, Some(false)) => Match::Other,
            (true, None) => Match::Unknown,
        };
        let tag = compare(self.tag.is_some(), seen.tag.as_deref().map(|tag| self.tag == Some(tag)));
        let time = compare(self.modified.is_some(), seen.modified.map(|time| self.modified == Some(time)));
        match (tag, time) {
            (Match::Other, _) | (_, Match::Other) => Match::Other,
            (Match::Unknown, _) | (_, Match::Unknown) => Match::Unknown,
            _ => Match::Same,
        }
    }
}

/// Seconds since 1970 of a date in any of the three forms of HTTP (RFC 9110, 5.6.7), with a numeric zone, or as ISO 8601 writes it; none if
/// it is not one.
pub(super) fn http_date(text: &str) -> Option<i64> {
    static PARSER: jiff::fmt::rfc2822::DateTimeParser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let text = text.trim();
    let usual = PARSER.parse_timestamp(text).ok().map(jiff::Timestamp::as_second);
    usual.or_else(|| old_http_date(text)).or_else(|| iso_date(text))
}

/// `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`. The day of the week is not compared with the date.
fn old_http_date(text: &str) -> Option<i64> {
    let time = match text.split_once(", ") {
        Some((_, rest)) => jiff::civil::DateTime::strptime("%d-%b-%y %H:%M:%S GMT", rest),
        None => jiff::civil::DateTime::strptime("%b %e %H:%M:%S %Y", text.split_once(' ')?.1),
    };
    jiff::tz::Offset::UTC.to_timestamp(time.ok()?).ok().map(jiff::Timestamp::as_second)
}

/// Seconds since 1970 of a time as FTP writes it, in which fractions may follow; none if it is not one.
pub(super) fn ftp_time(text: &str) -> Option<i64> {
    let seconds = text.trim().split('.').next().unwrap_or_default();
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", seconds).ok()?;
    jiff::tz::Offset::UTC.to_timestamp(time).ok().map(jiff::Timestamp::as_second)
}

/// Seconds since 1970 of a date as S3's listings write it; none if it is not one.
pub(super) fn iso_date(text: &str) -> Option<i64> {
    text.trim().parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};

    const NOW: i64 = 1_700_000_000;

    #[test]
    fn dates_are_read_in_every_form_of_http() {
        for text in [
            "Tue, 14 Nov 2023 22:13:20 GMT",
            "Tuesday, 14-Nov-23 22:13:20 GMT",
            "Tue Nov 14 22:13:20 2023",
            "Mon, 14 Nov 2023 22:13:20 GMT",
            "Tue, 14 Nov 2023 23:13:20 +0100",
            "2023-11-14T22:13:20Z",
            " 2023-11-14T23:13:20+01:00 ",
        ] {
            assert_eq!(http_date(text), Some(NOW), "{text}");
        }
        assert_eq!(http_date("Sun Nov  6 08:49:37 1994"), Some(784_111_777));
        for text in ["", "yesterday", "14 Nov", "Tue Nov 14", "Tuesday, 14-Nov-23"] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }

    #[test]
    fn the_same_version_has_the_same_digest_however_the_server_quotes_its_tag() {
        let stat = Stamp::new(Some("\"ab\""), Some(3), Some(NOW - 9)).digest(NOW);
        assert_eq!(stat, Stamp::new(Some("ab"), Some(3), Some(NOW - 9)).digest(NOW + 5));
        assert_eq!(stat.as_str(), "etag:ab;size=3");
    }

    #[test]
    fn a_version_that_may_still_change_never_equals_a_later_one() {
        for stamp in [
            Stamp::new(Some("W/\"ab\""), Some(3), Some(NOW - 1)),
            Stamp::new(Some("\"ab\""), Some(3), Some(NOW)),
            Stamp::new(Some("W/\"ab\""), Some(3), None),
            Stamp::new(None, Some(3), None),
        ] {
            let digest = stamp.digest(NOW);
            assert_ne!(digest, stamp.digest(NOW), "{stamp:?}");
            assert_eq!(Wanted::parse(&digest).compare(&stamp), Match::Same);
            assert_eq!(Wanted::parse(&digest).if_match(), None);
        }
    }

    #[test]
    fn a_server_whose_tags_are_always_weak_settles_by_time() {
        let stamp = Stamp::new(Some("W/\"ab\""), Some(3), Some(NOW - 9));
        let digest = stamp.digest(NOW);
        assert_eq!(digest, stamp.digest(NOW + 1));
        let later = Stamp::new(Some("W/\"ab\""), Some(3), Some(NOW - 8));
        assert_eq!(Wanted::parse(&digest).compare(&later), Match::Other);
    }

    #[test]
    fn a_tag_that_is_a_hash_says_so_where_it_alone_identifies() {
        let hash = "D41D8CD98F00B204E9800998ECF8427E";
        for (tag, text) in [(hash.to_owned(), format!("md5:{hash}")), (format!("{hash}-2"), format!("etag:{hash}-2"))] {
            let stamp = Stamp::new(Some(&tag), Some(3), Some(NOW - 9));
            let digest = stamp.tag_digest().expect("it has a tag");
            assert_eq!(digest.as_str(), text);
            assert_eq!(Wanted::parse(&digest).compare(&stamp), Match::Same);
            assert_eq!(Wanted::parse(&digest).if_match(), Some(format!("\"{tag}\"")));
            assert_eq!(stamp.digest(NOW).as_str(), format!("etag:{tag};size=3"));
        }
    }

    #[test]
    fn without_a_tag_size_and_time_identify() {
        let stamp = Stamp::new(None, Some(3), Some(NOW - 9));
        let digest = stamp.digest(NOW);
        assert_eq!(digest.as_str(), format!("stat:;size=3;modified={}", NOW - 9));
        for empty in ["", "\"\"", "W/\"\""] {
            let stamp = Stamp::new(Some(empty), Some(3), Some(NOW - 9));
            assert_eq!((stamp.digest(NOW), stamp.tag_digest()), (digest.clone(), None), "{empty}");
        }
        let wanted = Wanted::parse(&digest);
        assert_eq!(wanted.compare(&Stamp::new(Some("x"), None, Some(NOW))), Match::Other);
        assert_eq!(wanted.compare(&Stamp::new(Some("x"), None, None)), Match::Unknown);
    }

    #[test]
    fn dates_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(iso_date("1994-11-06T08:49:37.123Z"), Some(784_111_777));
        assert_eq!(ftp_time("19941106084937.123"), Some(784_111_777));
        assert_eq!(ftp_time("19941306084937"), None);
    }

    #[test]
    fn fuzz_times() {
        let corpus = Corpus::of("times");
        bolero::check!().with_type::<Input>().for_each(|input| {
            let bytes = corpus.bytes(input);
            let text = String::from_utf8_lossy(&bytes);
            let _ = (http_date(&text), ftp_time(&text), iso_date(&text));
        });
    }
}
