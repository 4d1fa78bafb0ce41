//! `Client`: questions to one SFTP server over any pair of byte streams, as many at once as wanted. It knows no paths of sources.
//!
//! A question is on its way as soon as it is asked; the future that asking returns is its answer. Answers find their question by its
//! number, in whatever order they come.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::codec::{Attrs, MAX_PACKET, Malformed, Name, Reply, Request, SAFE_READ, hello, init, max_read};
use super::failure::Failure;
use super::window::Window;
use super::wire::{packet, send};

/// Room in a packet for everything but the bytes of a file.
const HEADROOM: u32 = 1024;

/// Questions to one server. The connection ends with this value.
#[derive(Debug)]
pub(super) struct Client {
    shared: Arc<Shared>,
    max_read: u32,
    /// The server's limits, until they are there.
    limits: Option<Asked<Option<Bytes>>>,
    /// Reader and writer; they end with this value.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    queue: mpsc::UnboundedSender<Vec<u8>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u32,
    waiting: HashMap<u32, Waiting>,
    window: Window,
    lost: Option<Failure>,
}

/// Where an answer goes, and since when it is waited for.
#[derive(Debug)]
struct Waiting(oneshot::Sender<Result<Answer, Failure>>, Instant);

/// An answer. If it is a handle and is dropped, the handle is closed.
#[derive(Debug)]
enum Answer {
    Handle(Handle),
    Other(Reply),
}

/// An open file or directory at the server; closed with this value.
#[derive(Debug)]
pub(super) struct Handle {
    bytes: Bytes,
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The answer is not waited for.
        drop(self.shared.ask(Request::Close(&self.bytes)));
    }
}

/// The answer to a question that was asked.
#[derive(Debug)]
pub(super) struct Asked<T> {
    answer: oneshot::Receiver<Result<Answer, Failure>>,
    read: fn(Answer) -> Result<T, Failure>,
}

impl<T> Future for Asked<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let read = self.read;
        Pin::new(&mut self.answer).poll(context).map(|answer| match answer {
            Ok(answer) => read(answer?),
            Err(_) => Err(Failure::lost("the connection was given up")),
        })
    }
}

impl Client {
    /// Begins a conversation: exchanges versions and asks for limits, for which [`Client::settle`] waits.
    pub(super) async fn start<R, W>(reader: R, mut writer: W) -> Result<Self, Failure>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let mut reader = BufReader::with_capacity(64 * 1024, reader);
        let written = async {
            writer.write_all(&init()).await?;
            writer.flush().await
        };
        written.await.map_err(|e| Failure::lost(e.to_string()))?;
        let has_limits = hello(packet(&mut reader).await?)?;

        let (queue, questions) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { queue, state: Mutex::default() });
        let mut tasks = JoinSet::new();
        let for_reader = Arc::clone(&shared);
        tasks.spawn(async move {
            let why = receive(&mut reader, &for_reader).await;
            for_reader.lose(&why);
        });
        let for_writer = Arc::clone(&shared);
        tasks.spawn(async move {
            if let Err(e) = send(writer, questions).await {
                for_writer.lose(&Failure::lost(e.to_string()));
            }
        });
        let mut client = Self { shared, max_read: SAFE_READ, limits: None, _tasks: tasks };
        if has_limits {
            client.limits = Some(client.asked(Request::Limits, |answer| match answer {
                Answer::Other(Reply::Extended(bytes)) => Ok(Some(bytes)),
                // Offered and then refused: nothing was promised.
                Answer::Other(Reply::Status { .. }) => Ok(None),
                other => Err(other.unexpected()),
            }));
        }
        Ok(client)
    }

    /// Waits for the server's limits. What was asked in the meantime is under way beside that question.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        let Some(answer) = self.limits.take() else { return Ok(()) };
        if let Some(limits) = answer.await? {
            let most = u64::from(u32::try_from(MAX_PACKET).unwrap_or(u32::MAX) - HEADROOM);
            // 0 stands for "no limit".
            let told = Some(max_read(limits)?).filter(|told| *told > 0).unwrap_or(most);
            self.max_read = u32::try_from(told.min(most)).unwrap_or(SAFE_READ);
        }
        Ok(())
    }

    /// How many bytes one read may ask for.
    pub(super) fn max_read(&self) -> u32 {
        self.max_read
    }

    /// How many bytes of files may be asked for and not got.
    pub(super) fn window(&self) -> usize {
        self.shared.state.lock().window.bytes()
    }

    /// Why the connection is of no more use, if it is not.
    pub(super) fn lost(&self) -> Option<Failure> {
        self.shared.state.lock().lost.clone()
    }

    /// Gives the connection up: all questions without an answer fail.
    pub(super) fn give_up(&self) {
        self.shared.lose(&Failure::lost("the connection was closed"));
    }

    /// Opens a file for reading.
    pub(super) fn open(&self, path: &[u8]) -> Asked<Handle> {
        self.asked(Request::Open(path), Answer::handle)
    }

    /// Opens a directory for reading.
    pub(super) fn open_dir(&self, path: &[u8]) -> Asked<Handle> {
        self.asked(Request::OpenDir(path), Answer::handle)
    }

    /// The next names of a directory; `None` at its end.
    pub(super) fn read_dir(&self, handle: &Handle) -> Asked<Option<Vec<Name>>> {
        self.asked(Request::ReadDir(&handle.bytes), |answer| match answer.names() {
            Err(failure) if failure.is_eof() => Ok(None),
            names => names.map(Some),
        })
    }

    /// Bytes of a file: at least one and at most `len`, unless the end is reached.
    pub(super) fn read(&self, handle: &Handle, offset: u64, len: u32) -> Asked<Bytes> {
        self.asked(Request::Read { handle: &handle.bytes, offset, len }, |answer| match answer {
            Answer::Other(Reply::Data(bytes)) => Ok(bytes),
            other => Err(other.unexpected()),
        })
    }

    /// Attributes of what is open.
    pub(super) fn fstat(&self, handle: &Handle) -> Asked<Attrs> {
        self.asked(Request::Fstat(&handle.bytes), Answer::attrs)
    }

    /// Attributes of what a path names, a link being one itself.
    pub(super) fn lstat(&self, path: &[u8]) -> Asked<Attrs> {
        self.asked(Request::Lstat(path), Answer::attrs)
    }

    /// Attributes of what a path leads to.
    pub(super) fn stat(&self, path: &[u8]) -> Asked<Attrs> {
        self.asked(Request::Stat(path), Answer::attrs)
    }

    /// The path that a path leads to, absolute and without links.
    pub(super) fn real_path(&self, path: &[u8]) -> Asked<Bytes> {
        self.asked(Request::RealPath(path), Answer::path)
    }

    /// The text of a symbolic link.
    pub(super) fn read_link(&self, path: &[u8]) -> Asked<Bytes> {
        self.asked(Request::ReadLink(path), Answer::path)
    }

    fn asked<T>(&self, request: Request<'_>, read: fn(Answer) -> Result<T, Failure>) -> Asked<T> {
        Asked { answer: self.shared.ask(request), read }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Shared {
    fn ask(&self, request: Request<'_>) -> oneshot::Receiver<Result<Answer, Failure>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if let Some(lost) = &state.lost {
            // The receiver is gone if the answer is no longer waited for.
            let _ = sender.send(Err(lost.clone()));
            return receiver;
        }
        state.last_id = state.last_id.wrapping_add(1);
        let id = state.last_id;
        state.waiting.insert(id, Waiting(sender, Instant::now()));
        // Under the lock, so that questions leave in the order of their numbers. A writer that has gone says why itself.
        let _ = self.queue.send(request.encode(id));
        receiver
    }

    fn answer(self: &Arc<Self>, id: u32, reply: Reply) -> Result<(), Failure> {
        let waiting = {
            let mut state = self.state.lock();
            let waiting = state.waiting.remove(&id);
            let waiting = waiting.ok_or(Malformed("the server answered what was not asked"))?;
            let bytes = if let Reply::Data(bytes) = &reply { bytes.len() } else { 0 };
            state.window.answered(bytes, waiting.1.elapsed());
            waiting.0
        };
        let answer = match reply {
            Reply::Handle(bytes) => Answer::Handle(Handle { bytes, shared: Arc::clone(self) }),
            other => Answer::Other(other),
        };
        // An answer that is no longer waited for is dropped, and a handle thereby closed.
        let _ = waiting.send(Ok(answer));
        Ok(())
    }

    /// Marks the connection as lost, for the first reason given, and fails all questions without an answer.
    fn lose(&self, why: &Failure) {
        let waiting = {
            let mut state = self.state.lock();
            state.lost.get_or_insert_with(|| why.clone());
            std::mem::take(&mut state.waiting)
        };
        for Waiting(sender, _) in waiting.into_values() {
            let _ = sender.send(Err(why.clone()));
        }
    }
}

impl Answer {
    fn handle(self) -> Result<Handle, Failure> {
        match self {
            Self::Handle(handle) => Ok(handle),
            other => Err(other.unexpected()),
        }
    }

    fn names(self) -> Result<Vec<Name>, Failure> {
        match self {
            Self::Other(Reply::Names(names)) => Ok(names),
            other => Err(other.unexpected()),
        }
    }

    fn path(self) -> Result<Bytes, Failure> {
        match self.names()?.into_iter().next() {
            Some(name) => Ok(name.name),
            None => Err(Malformed("the server answered with no path").into()),
        }
    }

    fn attrs(self) -> Result<Attrs, Failure> {
        match self {
            Self::Other(Reply::Attrs(attrs)) => Ok(attrs),
            other => Err(other.unexpected()),
        }
    }

    /// The failure that an answer means that is not the wanted one.
    fn unexpected(self) -> Failure {
        match self {
            Self::Other(Reply::Status { code, message }) if code != 0 => Failure::Status { code, message },
            _ => Malformed("the server answered something else than was asked").into(),
        }
    }
}

/// Hands answers to those who wait for them, until the connection ends; returns why it did.
async fn receive(reader: &mut (impl AsyncRead + Unpin), shared: &Arc<Shared>) -> Failure {
    loop {
        let answered = match packet(reader).await {
            Ok(packet) => match Reply::decode(packet) {
                Ok((id, reply)) => shared.answer(id, reply),
                Err(malformed) => Err(malformed.into()),
            },
            Err(failure) => Err(failure),
        };
        if let Err(failure) = answered {
            return failure;
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
