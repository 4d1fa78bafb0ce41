//! `Share`: the part of a connection that one of several retrievals may use, so that all together stay within memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::client::Client;

/// Counts a retrieval while it lives.
#[derive(Debug)]
pub(super) struct Share<'a>(&'a AtomicUsize);

impl<'a> Share<'a> {
    pub(super) fn of(client: &'a Client) -> Self {
        client.retrievals.fetch_add(1, Ordering::Relaxed);
        Self(&client.retrievals)
    }

    /// How many of `all` reads under way belong to one retrieval; at least one.
    pub(super) fn part(&self, all: usize, most: usize) -> usize {
        (all / self.0.load(Ordering::Relaxed).max(1)).clamp(1, most)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
