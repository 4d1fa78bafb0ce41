//! `Faulty`: a source that wraps another one, counts its calls and fails as a test tells it to, at run time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Capabilities, Changes, Entry, EntryStream, LeftOut, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source,
};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;

/// One method of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `connect`.
    Connect,
    /// `disconnect`; it can hang or be late, but has no way to fail.
    Disconnect,
    /// `preconnect`, which tells of no failure.
    Preconnect,
    /// `list_path`.
    ListPath,
    /// `create_remote_digest`.
    CreateRemoteDigest,
    /// `create_local_digest`.
    CreateLocalDigest,
    /// `retrieve_file`.
    RetrieveFile,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Preconnect => "preconnect",
            Self::ListPath => "list_path",
            Self::CreateRemoteDigest => "create_remote_digest",
            Self::CreateLocalDigest => "create_local_digest",
            Self::RetrieveFile => "retrieve_file",
        }
    }
}

/// A failure to inject. Numbers count entries in `list_path` and delivered bytes in `retrieve_file`; other methods treat a fault
/// "after n" as one at once, and know no flipped or missing bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails at once.
    Fail(ErrorKind),
    /// The call fails, and the source asks to be left alone for that long.
    Busy(Duration),
    /// The call takes 100 ms (by tokio's clock), and fails as at a busy server if so many are under way.
    Crowded(usize),
    /// The call panics.
    Panic,
    /// The call does not return until the fault is cleared.
    Hang,
    /// The call waits (by tokio's clock) and then goes on.
    Delay(Duration),
    /// The first `n` arrive, then the call fails.
    FailAfter(u64, ErrorKind),
    /// The first `n` arrive, then nothing more until the fault is cleared.
    HangAfter(u64),
    /// The byte at this offset of the *file* arrives with its lowest bit flipped.
    Flip(u64),
    /// The first `n` arrive, then the call ends as if that were all.
    Truncate(u64),
    /// The bytes are shown before they are proven. 100 ms later (by tokio's clock) the call fails, or they arrive.
    Show(Option<ErrorKind>),
    /// Bytes from this offset of the *file* on come from others, and are withheld. If they cannot be, the source's own bytes come, and also once a
    /// whole copy was found wrong.
    Others {
        /// The first offset that others bring.
        from: u64,
        /// A byte of the file that is not what the source has.
        lie_at: Option<u64>,
    },
    /// The first `n` entries of a listing arrive, and the others are records that cannot be read.
    Garble(u64),
}

/// The handle of a test: sets faults, reads counts. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    faults: HashMap<Method, (Fault, Option<u64>)>,
    calls: HashMap<Method, u64>,
    bytes: u64,
    /// Calls that [`Fault::Crowded`] lets through and that have not ended.
    crowd: usize,
}

impl Faults {
    /// From now on, every call of `method` has this fault.
    pub fn set(&self, method: Method, fault: Fault) {
        self.0.state.lock().faults.insert(method, (fault, None));
        self.0.changed.notify_waiters();
    }

    /// The next `times` calls of `method` have this fault; later ones work.
    pub fn set_times(&self, method: Method, fault: Fault, times: u64) {
        self.0.state.lock().faults.insert(method, (fault, Some(times)));
        self.0.changed.notify_waiters();
    }

    /// `method` works again; calls that hang go on.
    pub fn clear(&self, method: Method) {
        self.0.state.lock().faults.remove(&method);
        self.0.changed.notify_waiters();
    }

    /// Everything works again; calls that hang go on.
    pub fn clear_all(&self) {
        self.0.state.lock().faults.clear();
        self.0.changed.notify_waiters();
    }

    /// Every remote method has this fault: an outage of the whole source.
    pub fn set_all(&self, fault: Fault) {
        for method in [Method::Connect, Method::ListPath, Method::CreateRemoteDigest, Method::RetrieveFile] {
            self.set(method, fault);
        }
    }

    /// The number of calls of `method`, faulty or not.
    pub fn calls(&self, method: Method) -> u64 {
        self.0.state.lock().calls.get(&method).copied().unwrap_or_default()
    }

    /// Bytes that `retrieve_file` has handed on.
    pub fn bytes(&self) -> u64 {
        self.0.state.lock().bytes
    }

    /// Starts counting anew.
    pub fn reset_counts(&self) {
        let mut state = self.0.state.lock();
        state.calls.clear();
        state.bytes = 0;
    }

    /// Brings nothing from others any more, since a whole copy was found wrong.
    fn leave_others(&self) {
        let mut state = self.0.state.lock();
        if let Some((Fault::Others { .. }, _)) = state.faults.get(&Method::RetrieveFile) {
            state.faults.remove(&Method::RetrieveFile);
        }
    }

    fn begin(&self, method: Method) -> Option<Fault> {
        let mut state = self.0.state.lock();
        *state.calls.entry(method).or_default() += 1;
        match state.faults.get_mut(&method) {
            Some((fault, None)) => Some(*fault),
            Some((fault, Some(times))) if *times > 0 => {
                *times -= 1;
                Some(*fault)
            }
            _ => None,
        }
    }

    /// Waits until the method's fault is no longer one that hangs.
    async fn hang(&self, method: Method) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let fault = self.0.state.lock().faults.get(&method).map(|(fault, _)| *fault);
            if !matches!(fault, Some(Fault::Hang | Fault::HangAfter(_))) {
                return;
            }
            changed.await;
        }
    }

    /// Counts the call and does what its fault asks for before it starts. Returns the fault if it concerns entries or bytes.
    async fn enter(&self, method: Method) -> Result<Option<Fault>> {
        let fault = self.begin(method);
        let streams = matches!(method, Method::ListPath | Method::RetrieveFile);
        match fault {
            Some(Fault::Fail(kind)) => return Err(injected(method, kind)),
            Some(Fault::Busy(rest)) => return Err(injected(method, ErrorKind::RateLimited).retry_after(rest)),
            Some(Fault::FailAfter(_, kind)) if !streams => return Err(injected(method, kind)),
            Some(Fault::Crowded(most)) => {
                {
                    let mut state = self.0.state.lock();
                    if state.crowd >= most {
                        return Err(injected(method, ErrorKind::RateLimited));
                    }
                    state.crowd += 1;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                self.0.state.lock().crowd -= 1;
            }
            Some(Fault::Panic) => panic!("{} (injected)", method.name()),
            Some(Fault::Hang) => self.hang(method).await,
            Some(Fault::HangAfter(_)) if !streams => self.hang(method).await,
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            _ => return Ok(fault),
        }
        Ok(None)
    }
}

fn injected(method: Method, kind: ErrorKind) -> Error {
    Error::new(method.name(), kind).because(format!("{} (injected)", kind.describe()))
}

/// A source with faults; see [`Faults`].
pub struct Faulty {
    inner: Box<dyn Source>,
    faults: Faults,
}

impl Faulty {
    /// Wraps a source, and gives the handle that sets its faults.
    pub fn new(inner: impl Source) -> (Self, Faults) {
        let faults = Faults::default();
        (Self { inner: Box::new(inner), faults: faults.clone() }, faults)
    }
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faulty").field("faults", &self.faults).finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl Source for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn connect(&self) -> Result<()> {
        self.faults.enter(Method::Connect).await?;
        self.inner.connect().await
    }

    async fn disconnect(&self) {
        // `disconnect` has no way to report a failure.
        let _ = self.faults.enter(Method::Disconnect).await;
        self.inner.disconnect().await;
    }

    async fn preconnect(&self, most: usize) {
        if self.faults.enter(Method::Preconnect).await.is_ok() {
            self.inner.preconnect(most).await;
        }
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let fault = self.faults.enter(Method::ListPath).await?;
        let entries = self.inner.list_path(dir).await?;
        if let Some(Fault::Garble(limit)) = fault {
            let left_out = LeftOut::default();
            let garbled = left_out.clone();
            let entries = entries.enumerate().filter_map(move |(number, entry)| {
                let is_readable = (number as u64) < limit;
                if let (Ok(entry), false) = (&entry, is_readable) {
                    garbled.add_unreadable(&entry.name, "it is garbled");
                }
                futures::future::ready(is_readable.then_some(entry))
            });
            return Ok(EntryStream::noting(entries, left_out));
        }
        let (Some(Fault::FailAfter(limit, _) | Fault::HangAfter(limit) | Fault::Truncate(limit)), Some(fault)) =
            (fault, fault)
        else {
            return Ok(entries);
        };
        let first = entries.take(usize::try_from(limit).unwrap_or(usize::MAX));
        let last = futures::stream::once(async move {
            match fault {
                Fault::FailAfter(_, kind) => Some(Err::<Entry, _>(injected(Method::ListPath, kind).on(dir))),
                Fault::HangAfter(_) => {
                    self.faults.hang(Method::ListPath).await;
                    Some(Err(injected(Method::ListPath, ErrorKind::Unreachable).on(dir)))
                }
                _ => None,
            }
        });
        Ok(EntryStream::new(first.chain(last.filter_map(futures::future::ready))))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        self.faults.enter(Method::CreateRemoteDigest).await?;
        self.inner.create_remote_digest(file).await
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.faults.enter(Method::CreateLocalDigest).await?;
        let local = self.inner.create_local_digest(copy).await?;
        if local != *copy.retrieved_as {
            self.faults.leave_others();
        }
        Ok(local)
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let fault = self.faults.enter(Method::RetrieveFile).await?;
        if let Some(Fault::Show(failure)) = fault {
            let mut bytes = Vec::new();
            let retrieved = self.inner.retrieve_file(request, &mut bytes).await?;
            out.preview(&mut vec![bytes.clone().into()]);
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Some(kind) = failure {
                return Err(injected(Method::RetrieveFile, kind).on(request.path));
            }
            return out.write(bytes.into()).await.map(|()| retrieved);
        }
        let mut sink =
            FaultySink { out, faults: &self.faults, fault, offset: request.range.start, delivered: 0, ended: None };
        let result = self.inner.retrieve_file(request, &mut sink).await;
        match sink.ended {
            None => result,
            Some(ErrorKind::Other) => Ok(Retrieved::default()),
            Some(kind) => Err(injected(Method::RetrieveFile, kind).on(request.path)),
        }
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }
}

/// Hands bytes on, and applies the fault to them.
struct FaultySink<'a> {
    out: &'a mut dyn Sink,
    faults: &'a Faults,
    fault: Option<Fault>,
    offset: u64,
    delivered: u64,
    /// The reason why nothing more is delivered; `Other` stands for an end that looks like success.
    ended: Option<ErrorKind>,
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its sink can do")]
#[async_trait]
impl Sink for FaultySink<'_> {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        if let Some(Fault::FailAfter(limit, _) | Fault::HangAfter(limit) | Fault::Truncate(limit)) = self.fault {
            let room = usize::try_from(limit - self.delivered).unwrap_or(usize::MAX);
            if bytes.len() > room {
                bytes.truncate(room);
                self.deliver(bytes).await?;
                return self.end().await;
            }
        }
        if let Some(Fault::Others { from, .. }) = self.fault
            && self.offset >= from
            && !self.out.withhold()
        {
            self.fault = None;
        }
        if let Some(Fault::Flip(at) | Fault::Others { lie_at: Some(at), .. }) = self.fault
            && let Some(index) = at.checked_sub(self.offset).and_then(|index| usize::try_from(index).ok())
            && index < bytes.len()
        {
            let mut damaged = bytes.to_vec();
            damaged[index] ^= 1;
            bytes = damaged.into();
        }
        self.deliver(bytes).await
    }

    fn preview(&mut self, bytes: &mut Vec<Bytes>) -> bool {
        self.out.preview(bytes)
    }

    fn withhold(&mut self) -> bool {
        self.out.withhold()
    }
}

impl FaultySink<'_> {
    async fn deliver(&mut self, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        if len == 0 {
            return Ok(());
        }
        // Counted before a reader has the bytes, so that a reader always finds its bytes counted.
        self.faults.0.state.lock().bytes += len;
        self.out.write(bytes).await?;
        self.offset += len;
        self.delivered += len;
        Ok(())
    }

    /// Ends the retrieval: the wrapped source sees a sink that wants no more.
    async fn end(&mut self) -> Result<()> {
        let kind = match self.fault {
            Some(Fault::FailAfter(_, kind)) => kind,
            Some(Fault::HangAfter(_)) => {
                self.faults.hang(Method::RetrieveFile).await;
                ErrorKind::Unreachable
            }
            _ => ErrorKind::Other,
        };
        self.ended = Some(kind);
        Err(injected(Method::RetrieveFile, kind))
    }
}

#[cfg(test)]
mod tests;
