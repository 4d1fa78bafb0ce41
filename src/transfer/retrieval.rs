//! Carrying out requests: each is a task of its own, which brings its blocks into the copy. It decides not what is requested.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::debug;

use super::request::Request;
use super::sink::BlockSink;
use super::{OpenVersion, State, Version};
use crate::cache::block::{BLOCK, bytes_of};
use crate::error::{ErrorKind, Result};
use crate::source::retry::retry_read;
use crate::source::{Capabilities, Retrieval};

impl OpenVersion {
    /// Begins to carry out a request. Others that would come to the same blocks later end before them.
    pub(super) fn launch(self: &Arc<Self>, state: &mut State, request: Request) {
        for other in &state.requests {
            other.end_before(request.first);
        }
        let request = Arc::new(request);
        self.transfer.in_flight.fetch_add(1, Ordering::Relaxed);
        state.requests.push(request.clone());
        let version = self.clone();
        // A task of its own: a reader that gives up must not take the bytes from the others.
        tokio::spawn(async move {
            let result = version.carry_out(&request).await;
            version.transfer.in_flight.fetch_sub(1, Ordering::Relaxed);
            if let Err(error) = &result {
                debug!("{error}");
            }
            version.state.lock().requests.retain(|other| !Arc::ptr_eq(other, &request));
            request.progress.send_modify(|progress| progress.result = Some(result));
        });
    }

    async fn carry_out(self: &Arc<Self>, request: &Request) -> Result<()> {
        let (first, end) = (request.first, request.end());
        let sink = tokio::sync::Mutex::new(BlockSink::new(self, request, end));
        let Capabilities { ranges, buffer, .. } = self.transfer.source.capabilities();
        let asked = bytes_of(&(first..end), self.version.size);
        let held = self.transfer.memory.reserve(buffer.min(asked.end - asked.start) + BLOCK).await;
        let progress = || request.progress.borrow().upto as u64;
        let retrieving = retry_read(self.transfer.short_break, progress, async || {
            let mut sink = sink.lock().await;
            sink.begin(if ranges { None } else { Some(first) });
            let range = bytes_of(&(sink.next..end), self.version.size);
            if range.is_empty() {
                return Ok(());
            }
            let Version { path, digest, size, .. } = &self.version;
            let (urgency, opened) = (request.urgency.clone(), self.opened);
            let retrieval = Retrieval { path, digest, size: Some(*size), range: range.clone(), urgency, opened };
            let retrieved = self.transfer.source.retrieve_file(&retrieval, &mut *sink).await?;
            if retrieved.modified.is_some() {
                self.state.lock().retrieved_modified = retrieved.modified;
            }
            sink.expect_end(&range)
        });
        let result = tokio::select! {
            result = retrieving => result,
            () = request.is_cut_off() => {
                debug!("{}: the request for blocks {first} to {end} was cut off", self.version.path);
                Ok(())
            }
        };
        drop(held);
        let mut sink = sink.into_inner();
        sink.note_pace();
        match result {
            // What came before the source noticed may be of the new version: nobody must find it here.
            Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::ChangedDuringRead) => {
                self.copy.forget(&self.transfer.cache, first..sink.next);
                Err(error)
            }
            Err(error) => Err(error),
            Ok(()) if sink.complete => self.prove().await,
            Ok(()) => Ok(()),
        }
    }
}
