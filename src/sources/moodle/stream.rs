//! `Stream`: the body of an answer that was found to be of the wanted version, delivered in parts. It judges no answer.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use reqwest::Response;

use super::answered::Answered;
use super::ledger::Tag;
use crate::content::{Algorithm, Hasher};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::Sink;
use crate::sources::http::transport::failure;
use crate::sources::purpose::Purpose;

/// A body on its way.
pub(super) struct Stream {
    /// None: all of it is here.
    response: Option<Response>,
    /// Bytes that were received beyond the part that was wanted last.
    left: Bytes,
    /// Which byte of the file comes next.
    at: u64,
    end: u64,
    /// Of a body that is the whole file: what its bytes must have.
    proof: Option<(Hasher, String)>,
}

impl Stream {
    pub(super) fn new(answered: Answered) -> Self {
        let Answered { response, sent, size, tag, .. } = answered;
        let proof = match tag {
            Some(Tag::Sha1(hex)) if sent == (0..size) => Some((Hasher::new(Algorithm::Sha1), hex)),
            _ => None,
        };
        Self { response: Some(response), left: Bytes::new(), at: sent.start, end: sent.end, proof }
    }

    /// A file that is here, and proven.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let end = bytes.len() as u64;
        Self { response: None, left: bytes, at: 0, end, proof: None }
    }

    /// Which bytes of the file are still to come.
    pub(super) fn bytes(&self) -> Range<u64> {
        self.at..self.end
    }

    /// Whether the body still holds all bytes from this one on.
    fn has(&self, start: u64) -> bool {
        self.at <= start && self.at < self.end
    }

    /// Delivers these bytes, and passes over what comes before them. The end of a whole file is delivered once all its bytes are proven.
    pub(super) async fn deliver(
        &mut self,
        purpose: Purpose<'_>,
        wanted: &Range<u64>,
        out: &mut dyn Sink,
    ) -> Result<()> {
        let mut held = Bytes::new();
        while self.at < wanted.end {
            let mut chunk = self.next(purpose).await?;
            let begins = self.at - chunk.len() as u64;
            let before = wanted.start.saturating_sub(begins).min(chunk.len() as u64);
            let beyond = self.at.saturating_sub(wanted.end).min(chunk.len() as u64);
            self.left = chunk.split_off(chunk.len() - beyond as usize);
            self.at -= beyond;
            let chunk = chunk.split_off(before as usize);
            if !chunk.is_empty() {
                let ready = std::mem::replace(&mut held, chunk);
                if !ready.is_empty() {
                    out.write(ready).await?;
                }
            }
        }
        if self.at == self.end
            && let Some((hash, expected)) = self.proof.take()
            && hash.finish() != expected
        {
            let why = "the bytes are not those whose SHA-1 the site tells";
            return Err(purpose.error(ErrorKind::ChangedDuringRead).because(why));
        }
        out.write(held).await
    }

    /// The next bytes, at least one.
    async fn next(&mut self, purpose: Purpose<'_>) -> Result<Bytes> {
        let mut chunk = std::mem::take(&mut self.left);
        while chunk.is_empty() {
            let received = match &mut self.response {
                Some(response) => response.chunk().await.map_err(|e| failure(purpose, e))?,
                None => None,
            };
            chunk = received.ok_or_else(|| {
                let missing = self.end - self.at;
                purpose.error(ErrorKind::Unreachable).because(format!("the connection ended {missing} bytes early"))
            })?;
            if chunk.len() as u64 > self.end - self.at {
                return Err(purpose.protocol("the answer is longer than it said"));
            }
            if let Some((hash, _)) = &mut self.proof {
                hash.update(&chunk);
            }
        }
        self.at += chunk.len() as u64;
        Ok(chunk)
    }
}

/// How many bodies are kept for readers that may go on.
const MAX_KEPT_BODIES: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");

/// The bodies of files of which the site sends no parts (text, above all), each where its last reader stopped. A reader that goes
/// forward gets the file in one transfer, part by part, and not its beginning again with each part.
pub(super) struct Streams(Mutex<LruCache<(RemotePath, Digest), Turn>>);

/// The retrieval that holds the lock reads on. The others wait for it, since they want bytes that come later.
pub(super) type Turn = Arc<tokio::sync::Mutex<Option<Stream>>>;

impl Default for Streams {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_KEPT_BODIES)))
    }
}

impl Streams {
    /// The body of a version, if the site is known to send it whole only.
    pub(super) fn of(&self, path: &RemotePath, digest: &Digest) -> Option<Turn> {
        self.0.lock().get(&(path.clone(), digest.clone())).cloned()
    }

    /// Keeps a body for the next retrieval that reads on.
    pub(super) fn keep(&self, path: &RemotePath, digest: &Digest, stream: Stream) {
        if !stream.bytes().is_empty() {
            let turn = Arc::new(tokio::sync::Mutex::new(Some(stream)));
            self.0.lock().put((path.clone(), digest.clone()), turn);
        }
    }

    /// Lets go of all connections.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}

/// Delivers bytes from a body that waits, if it has them. False: nothing was delivered.
pub(super) async fn go_on(
    waiting: &mut Option<Stream>,
    purpose: Purpose<'_>,
    wanted: &Range<u64>,
    out: &mut dyn Sink,
) -> Result<bool> {
    let Some(mut stream) = waiting.take_if(|stream| stream.has(wanted.start)) else { return Ok(false) };
    stream.deliver(purpose, wanted, out).await?;
    *waiting = Some(stream);
    Ok(true)
}
