//! `Early`: whether bytes are read before it is confirmed that they are of the wanted version. Pure decisions over numbered cases.
//!
//! The headers of an answer tell what the file was when the server opened it; only a file that is overwritten in place from then on
//! has other bytes below them. So bytes that follow their headers at once, of a file that has long been left alone, are almost
//! certainly right. A reader gets them, and they are kept once they are confirmed.
//!
//! | case | the answer | its bytes |
//! |---|---|---|
//! | E1 | of a source with `confirm = "strict"` | wait to be confirmed |
//! | E2 | to a request for more than 1 MiB, or for all of a file of unknown size | wait |
//! | E3 | without the tag that the source tells of the file (see `Tags`, G2 and G3) | wait |
//! | E4 | tells not when it was given or when the file was changed, or less than a minute lies between | wait |
//! | E5 | whose last byte came more than half a second after its headers | wait |
//! | E6 | any other | are read at once |

use std::time::Duration;

use reqwest::header::HeaderMap;

use super::transport::date;
use crate::source::Retrieval;
use crate::source::settings::Reader;
use crate::sources::stamp::Stamp;

/// The most bytes that are read early.
const MOST_BYTES: u64 = 1 << 20;
/// How long after its headers the last byte of an answer comes at most that is read early.
pub(super) const AT_ONCE: Duration = Duration::from_millis(500);
/// A file that was not changed for so long, in seconds by the server's clock, is not one that somebody is changing.
const LEFT_ALONE_SECONDS: i64 = 60;

/// When bytes are read, as the setting `confirm` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::sources) enum Confirming {
    /// Before they are confirmed, where that is all but safe: the default.
    #[default]
    Early,
    /// Once they are confirmed.
    Strict,
}

impl Confirming {
    /// What the setting says.
    pub(in crate::sources) fn read(reader: &mut Reader<'_>) -> Self {
        match reader.string("confirm").as_deref() {
            None | Some("early") => Self::Early,
            Some("strict") => Self::Strict,
            Some(_) => {
                reader.problem(Some("confirm"), "`confirm` must be \"early\" or \"strict\"");
                Self::Strict
            }
        }
    }
}

/// What is known of an answer by its headers.
#[derive(Debug, Clone, Copy)]
pub(in crate::sources) struct Early {
    confirming: Confirming,
    /// How many bytes are wanted of it, if that is known.
    bytes: Option<u64>,
    /// Whether it has the tag that the source tells of the file.
    by_tag: bool,
    /// How long before the answer the file was changed, in seconds by the server's clock, if it tells both times.
    unchanged_for: Option<i64>,
}

impl Early {
    /// What is known of an answer with this stamp and these headers to a request for what is wanted.
    pub(in crate::sources) fn of(
        confirming: Confirming,
        wanted: &Retrieval<'_>,
        stamp: &Stamp,
        by_tag: bool,
        headers: &HeaderMap,
    ) -> Self {
        let bytes = wanted.size.map(|_| wanted.range.end - wanted.range.start);
        let unchanged_for = stamp.modified.zip(date(headers)).map(|(modified, date)| date - modified);
        Self { confirming, bytes, by_tag, unchanged_for }
    }

    /// Cases E1 to E6: whether the bytes are read early that have all arrived so long after the headers.
    pub(in crate::sources) fn allows(&self, took: Duration) -> bool {
        self.confirming == Confirming::Early
            && self.bytes.is_some_and(|bytes| bytes <= MOST_BYTES)
            && self.by_tag
            && self.unchanged_for.is_some_and(|seconds| seconds >= LEFT_ALONE_SECONDS)
            && took <= AT_ONCE
    }
}

#[cfg(test)]
impl Early {
    /// An answer of case E6.
    pub(super) const SAFE: Self = Self {
        confirming: Confirming::Early,
        bytes: Some(MOST_BYTES),
        by_tag: true,
        unchanged_for: Some(LEFT_ALONE_SECONDS),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: Early = Early::SAFE;

    #[test]
    fn case_e1_a_strict_source() {
        assert!(!Early { confirming: Confirming::Strict, ..SAFE }.allows(AT_ONCE));
    }

    #[test]
    fn case_e2_many_bytes_or_nobody_knows_how_many() {
        assert!(!Early { bytes: Some(MOST_BYTES + 1), ..SAFE }.allows(AT_ONCE));
        assert!(!Early { bytes: None, ..SAFE }.allows(AT_ONCE));
    }

    #[test]
    fn case_e3_tags_that_say_little() {
        assert!(!Early { by_tag: false, ..SAFE }.allows(AT_ONCE));
    }

    #[test]
    fn case_e4_a_file_that_may_be_changing() {
        for unchanged_for in [None, Some(LEFT_ALONE_SECONDS - 1), Some(0), Some(-3600)] {
            assert!(!Early { unchanged_for, ..SAFE }.allows(AT_ONCE), "{unchanged_for:?}");
        }
    }

    #[test]
    fn case_e5_bytes_that_came_slowly() {
        assert!(!SAFE.allows(AT_ONCE + Duration::from_millis(1)));
    }

    #[test]
    fn case_e6_a_file_left_alone() {
        assert!(SAFE.allows(Duration::ZERO) && SAFE.allows(AT_ONCE));
    }
}
