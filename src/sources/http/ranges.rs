//! `Ranges`: whether a server sends parts of files. It asks nothing.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

use reqwest::header::{ACCEPT_RANGES, HeaderValue};
use reqwest::{Response, StatusCode};

use super::body::content_range;
use crate::source::Retrieval;

/// Unknown, yes, or no. A server is asked for parts until it has shown that it does not send them.
#[derive(Debug, Default)]
pub(in crate::sources) struct Ranges(AtomicU8);

impl Ranges {
    const YES: u8 = 1;
    const NO: u8 = 2;

    /// Notes what an answer about a file tells.
    pub(in crate::sources) fn learn(&self, response: &Response) {
        let promise = response.headers().get(ACCEPT_RANGES).map(HeaderValue::as_bytes);
        if response.status() == StatusCode::PARTIAL_CONTENT {
            self.0.store(Self::YES, Ordering::Relaxed);
        } else if promise == Some(b"none") {
            self.refused();
        } else if promise == Some(b"bytes") {
            let _ = self.0.compare_exchange(0, Self::YES, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// One file may be made on the fly on a server that sends parts of all others.
    fn refused(&self) {
        let _ = self.0.compare_exchange(0, Self::NO, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether parts may be asked for.
    pub(in crate::sources) fn are_possible(&self) -> bool {
        self.0.load(Ordering::Relaxed) != Self::NO
    }

    /// The bytes that an answer has: the wanted ones, or all of them from a server that sends no parts.
    pub(in crate::sources) fn sent(&self, wanted: &Retrieval<'_>, response: &Response) -> Range<u64> {
        let is_part = response.status() == StatusCode::PARTIAL_CONTENT || content_range(response.headers()).is_some();
        if is_part || wanted.is_whole() {
            return wanted.range.clone();
        }
        self.refused();
        0..wanted.size.unwrap_or(u64::MAX)
    }
}
