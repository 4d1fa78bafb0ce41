//! `Connection`: keeps one source connected and knows whether it answers. While it does not, calls fail at once and a probe goes on: a circuit
//! breaker.

use std::mem::discriminant;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::poll_fn;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, error_span, info, warn};

use super::retry::{MAX_REQUESTED_WAIT, wait_for_end};
use super::{Capabilities, Changes, EntryStream, LocalCopy, RemoteDigest, Retrieval, Retrieved, Sink, Source};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;

/// Waits between probes of an unreachable source: the first comes at once, then doubling from one to the other.
const PROBE_WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// Waits between probes are no longer than this until an outage is more than a short break.
const MAX_PROBE_WAIT_IN_BREAK: Duration = Duration::from_secs(1);

/// Waits between probes after the credentials were not accepted: servers lock accounts that try often.
const LOGIN_WAIT: Duration = Duration::from_secs(300);

/// The longest time for which a source is left alone that asks for it: caps absurd `Retry-After` values, such as a date in another year.
const MAX_REST: Duration = Duration::from_secs(900);

/// The longest that other calls wait for the first probe after a connection broke.
const FIRST_PROBE_WAIT: Duration = Duration::from_secs(1);

/// Connects `inner` before its first remote call, or earlier ([`Connection::connect_early`]), and again after an outage.
///
/// A call that fails with an outage ([`ErrorKind::is_outage`]) marks the source as down. From then on calls fail at once with that
/// error, so that nothing waits in line for a dead server, while one background task probes until the source answers. Only after a
/// broken connection calls wait for the first probe: perhaps only that connection broke. Reads of files that were opened before wait for
/// the end of a short break.
///
/// A source that asks to be left alone for a while ([`Error::wait`]) is asked nothing meanwhile, probes included: calls wait for the end of
/// it if that is near, and fail otherwise.
pub struct Connection {
    inner: Box<dyn Source>,
    /// The longest break that reads wait out.
    short_break: Duration,
    state: Mutex<State>,
    /// Told when the source answers again.
    up: Notify,
    /// Held over `connect` and `disconnect`, so that they strictly alternate.
    connected: tokio::sync::Mutex<bool>,
    /// Whether a call has needed the source.
    is_needed: AtomicBool,
    /// Told when nobody will need it any longer.
    leaving: Notify,
    /// The place of the latest answer that was of no use, if it was not the root, and nothing was answered well since.
    doubted: Mutex<Option<String>>,
    /// Until when the source wants to be left alone, and the error that said so.
    rest: Mutex<Option<(Instant, Error)>>,
    /// Around everything that the source does, so that the lines that it logs carry its name.
    span: Span,
    me: Weak<Self>,
}

#[derive(Debug, Clone)]
struct State {
    health: Health,
    since: SystemTime,
    began: Instant,
    /// True once the first probe of an outage is over; `None` if no call has to wait for one.
    first_probe_done: Option<watch::Receiver<bool>>,
}

/// Whether a source answers.
#[derive(Debug, Clone)]
pub enum Health {
    /// Nothing was asked yet.
    Idle,
    /// The latest call was answered, if only with a refusal of what was asked for.
    Up,
    /// The latest calls were answered, but with nothing of use: a setting or a secret is wrong, or another server answers. One file alone,
    /// as a busy one, says nothing of its source.
    Failing(Error),
    /// The source does not answer, or does not accept the credentials; the error says which.
    Down(Error),
}

impl Connection {
    /// Wraps `inner`, already configured. `name` is for log lines; reads that are under way wait for a source that has become unreachable
    /// for at most `short_break`.
    pub fn new(inner: Box<dyn Source>, name: &str, short_break: Duration) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            inner,
            short_break,
            state: Mutex::new(State::now(Health::Idle, None)),
            up: Notify::new(),
            connected: tokio::sync::Mutex::new(false),
            is_needed: AtomicBool::new(false),
            leaving: Notify::new(),
            doubted: Mutex::default(),
            rest: Mutex::default(),
            span: error_span!("source", name),
            me: me.clone(),
        })
    }

    /// Whether the source answers, and since when.
    pub fn health(&self) -> (Health, SystemTime) {
        let state = self.state.lock().clone();
        (state.health, state.since)
    }

    /// For how much longer a read of a file that was opened then waits for the end of an outage; `None` if there is none, or it does not.
    fn left_of_break(&self, opened: Instant) -> Option<Duration> {
        let State { health, began, .. } = self.state.lock().clone();
        let Health::Down(error) = health else { return None };
        wait_for_end(error.kind(), began.elapsed(), opened.elapsed(), self.short_break)
    }

    /// Returns when the source answers, or when a read of a file that was opened then waits no longer for it.
    async fn wait_out_short_break(&self, opened: Instant) {
        loop {
            let mut up = pin!(self.up.notified());
            up.as_mut().enable();
            let Some(left) = self.left_of_break(opened) else { return };
            // The outcome does not matter: the next turn of the loop looks at the health.
            let _ = tokio::time::timeout(left, up).await;
        }
    }

    /// [`Connection::ready`] for a read of a file that was opened then. It also waits for the end of a break that begins while it waits for a
    /// connection, but not for one break after another for ever.
    async fn ready_to_read(&self, opened: Instant) -> Result<()> {
        let began = Instant::now();
        loop {
            self.wait_out_short_break(opened).await;
            match self.ready().await {
                Err(error)
                    if error.is_remembered()
                        && began.elapsed() < self.short_break
                        && self.left_of_break(opened).is_some() => {}
                result => return result,
            }
        }
    }

    /// Connects before the first call, so that it need not wait for that. A source that is not there yet is no outage while nobody
    /// needs it: the first call tries itself.
    pub async fn connect_early(self: Arc<Self>) {
        let mut connected = self.connected.lock().await;
        if self.is_needed.load(Ordering::Relaxed) {
            return;
        }
        let result = tokio::select! {
            result = self.in_span(self.inner.connect()) => result,
            () = self.leaving.notified() => return,
        };
        *connected = result.is_ok();
        match &result {
            // A call that waits for this attempt must not wait for another one.
            Err(error) if may_be_too_early(error.kind()) && !self.is_needed.load(Ordering::Relaxed) => {
                self.log_failure(error);
            }
            result => self.note(result, None),
        }
    }

    async fn ready(&self) -> Result<()> {
        self.is_needed.store(true, Ordering::Relaxed);
        loop {
            let first_probe_done = self.state.lock().first_probe_done.clone();
            if let Some(mut first_probe_done) = first_probe_done {
                // The outcome does not matter: `health`, read below, is what counts.
                let _ = tokio::time::timeout(FIRST_PROBE_WAIT, first_probe_done.wait_for(|over| *over)).await;
            }
            if let Health::Down(error) = &self.state.lock().health {
                return Err(error.clone().remembered());
            }
            self.wait_for_rest().await?;
            let mut connected = self.connected.lock().await;
            if *connected {
                return Ok(());
            }
            // Another call may have tried while this one waited for the lock.
            if matches!(self.state.lock().health, Health::Down(_)) {
                continue;
            }
            let result = self.in_span(self.inner.connect()).await;
            *connected = result.is_ok();
            self.note(&result, None);
            return result;
        }
    }

    /// After how long the source is asked again, if it wants to be left alone until then.
    pub fn asked_again(&self) -> Option<Duration> {
        self.rest_left().map(|(left, _)| left)
    }

    /// How long the source wants to be left alone from now on, and why.
    fn rest_left(&self) -> Option<(Duration, Error)> {
        let (until, error) = self.rest.lock().clone()?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some((left, error))
    }

    /// Returns when the source may be asked; fails at once if that takes longer than [`MAX_REQUESTED_WAIT`].
    async fn wait_for_rest(&self) -> Result<()> {
        while let Some((left, error)) = self.rest_left() {
            if left > MAX_REQUESTED_WAIT {
                return Err(error.remembered());
            }
            tokio::time::sleep(left).await;
        }
        Ok(())
    }

    async fn ensure_connected(&self) -> Result<()> {
        let mut connected = self.connected.lock().await;
        if !*connected {
            self.in_span(self.inner.connect()).await?;
            *connected = true;
        }
        Ok(())
    }

    async fn ensure_disconnected(&self) {
        let mut connected = self.connected.lock().await;
        if std::mem::take(&mut *connected) {
            self.in_span(self.inner.disconnect()).await;
        }
    }

    /// Makes a call about this place and notes what its result says about the source.
    async fn call<T>(&self, place: &RemotePath, call: impl Future<Output = Result<T>>) -> Result<T> {
        let result = self.in_span(call).await;
        self.note(&result, Some(place));
        result
    }

    /// Lets the next call connect anew, with the secret that is kept by now, also while the source rests after a refused login.
    pub async fn log_in_anew(&self) {
        self.ensure_disconnected().await;
        if matches!(self.health().0, Health::Down(error) if error.kind() == ErrorKind::Unauthenticated) {
            self.end_outage(Health::Up, "the next request logs in with the new secret");
        }
    }

    /// The span that names the source in the log.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    fn in_span<F: Future>(&self, asking: F) -> impl Future<Output = F::Output> {
        asking.instrument(self.span.clone())
    }

    fn note<T>(&self, result: &Result<T>, place: Option<&RemotePath>) {
        match result {
            Err(error) if error.kind().is_outage() => self.went_down(error),
            Err(error) => {
                self.note_requested_rest(error);
                self.log_failure(error);
                self.note_answer(error, place);
            }
            Ok(_) => self.note_well(),
        }
    }

    /// Notes besides that a listing has failed. Whatever the source answers elsewhere: without a root there is nothing to show.
    fn note_listed<T>(&self, result: &Result<T>, dir: &RemotePath) {
        if let Err(error) = result
            && dir.is_root()
            && !error.kind().is_outage()
        {
            self.set_health(Health::Failing(error.clone()));
        }
    }

    /// Notes an answer as it should be.
    fn note_well(&self) {
        *self.doubted.lock() = None;
        self.set_health(Health::Up);
    }

    /// Whether an answer of no use is about one place alone, as are all such since the source last answered well: a file that another
    /// program has locked, say. The root, and the wish to be left alone, are about the source.
    fn is_of_one_place(&self, error: &Error, place: Option<&RemotePath>) -> bool {
        let place = place.map(RemotePath::to_string).or_else(|| error.path().map(str::to_owned));
        let Some(place) = place.filter(|place| *place != RemotePath::root().to_string()) else { return false };
        if error.kind() == ErrorKind::InvalidConfig || error.wait().is_some() {
            return false;
        }
        *self.doubted.lock().get_or_insert_with(|| place.clone()) == place
    }

    /// Logs a failure of a source that answers, at a level that depends on what the failure means for users. The log itself limits how often
    /// the same line appears.
    pub fn log_failure(&self, error: &Error) {
        use ErrorKind::{Changed, IsADirectory, NotADirectory, NotFound};
        let _of_this_source = self.span.enter();
        match error.kind() {
            NotFound | NotADirectory | IsADirectory => {}
            Changed => info!("{error}"),
            _ => warn!("{error}"),
        }
    }

    /// Notes that the content that the source delivered was of no use, unless the source is known to be down by now.
    pub fn note_unusable(&self, error: &Error) {
        if !matches!(self.state.lock().health, Health::Down(_)) {
            self.note_answer(error, None);
        }
    }

    /// Notes what an error of a source that answers says about the source; without a `place`, it is about that which it names, if any.
    fn note_answer(&self, error: &Error, place: Option<&RemotePath>) {
        use ErrorKind::{Changed, IsADirectory, NotADirectory, NotFound, PermissionDenied};
        match error.kind() {
            // A refusal is an answer too.
            NotFound | NotADirectory | IsADirectory | PermissionDenied | Changed => self.note_well(),
            _ if self.is_of_one_place(error, place) => {
                if !matches!(self.state.lock().health, Health::Failing(_)) {
                    self.end_outage(Health::Up, "answers again");
                }
            }
            _ => self.set_health(Health::Failing(error.clone())),
        }
    }

    /// Notes the health of a source that answers, and ends the outage if there was one.
    fn set_health(&self, health: Health) {
        self.end_outage(health, "answers again");
    }

    /// Notes this health, and ends the outage if there was one; the log says why.
    fn end_outage(&self, health: Health, why: &str) {
        let was_down = {
            let mut state = self.state.lock();
            let was_down = matches!(state.health, Health::Down(_));
            if discriminant(&state.health) != discriminant(&health) {
                *state = State::now(health, None);
            }
            was_down
        };
        if was_down {
            self.up.notify_waiters();
            self.span.in_scope(|| info!("{why}"));
        }
    }

    /// Notes how long the source wants to be left alone.
    fn note_requested_rest(&self, error: &Error) {
        if let Some(wait) = error.wait() {
            *self.rest.lock() = Some((Instant::now() + wait.min(MAX_REST), error.clone()));
        }
    }

    fn went_down(&self, error: &Error) {
        self.note_requested_rest(error);
        let (over, first_probe_done) = watch::channel(false);
        {
            let mut state = self.state.lock();
            if matches!(state.health, Health::Down(_)) {
                return;
            }
            let first_probe_done = (error.kind() == ErrorKind::Unreachable).then_some(first_probe_done);
            *state = State::now(Health::Down(error.clone()), first_probe_done);
        }
        self.span.in_scope(|| warn!("does not answer: {error}"));
        if let Some(me) = self.me.upgrade() {
            tokio::spawn(async move { me.probe(over).await });
        }
    }

    /// Tries until the source answers or the last user of this connection is gone.
    async fn probe(self: Arc<Self>, over: watch::Sender<bool>) {
        let me = Arc::downgrade(&self);
        let mut connection = self;
        let began = connection.state.lock().began;
        let mut wait = PROBE_WAITS.0;
        loop {
            let (Health::Down(error), _) = connection.health() else { return };
            if let Some((left, _)) = connection.rest_left() {
                wait = left;
            } else if error.kind() == ErrorKind::Unauthenticated {
                wait = LOGIN_WAIT;
            } else {
                connection.ensure_disconnected().await;
                match connection.try_root().await {
                    Err(error) if error.kind().is_outage() => connection.note_requested_rest(&error),
                    Err(error) => return connection.note_answer(&error, None),
                    Ok(()) => return connection.set_health(Health::Up),
                }
            }
            over.send_replace(true);
            drop(connection);
            tokio::time::sleep(wait).await;
            let Some(alive) = me.upgrade() else { return };
            connection = alive;
            // That outage is over; another one has a probe of its own.
            if connection.state.lock().began != began {
                return;
            }
            let lasts = began.elapsed();
            let longest = if lasts < connection.short_break { MAX_PROBE_WAIT_IN_BREAK } else { PROBE_WAITS.1 };
            wait = (wait * 2).min(longest);
            if error.kind() == ErrorKind::Unauthenticated {
                // The user may have mended the credentials: connecting reads them anew.
                connection.ensure_disconnected().await;
                return connection.end_outage(Health::Up, "the next request tries to log in again");
            }
        }
    }

    async fn try_root(&self) -> Result<()> {
        self.ensure_connected().await?;
        self.inner.list_path(&RemotePath::root()).await?.next().await.transpose().map(|_| ())
    }
}

impl State {
    fn now(health: Health, first_probe_done: Option<watch::Receiver<bool>>) -> Self {
        Self { health, since: SystemTime::now(), began: Instant::now(), first_probe_done }
    }
}

#[deny(clippy::missing_trait_methods, reason = "a wrapper passes on what its source can do")]
#[async_trait]
impl Source for Connection {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn connect(&self) -> Result<()> {
        self.ready().await
    }

    async fn disconnect(&self) {
        self.leaving.notify_one();
        self.ensure_disconnected().await;
    }

    async fn preconnect(&self, most: usize) {
        // A call has a connection of its own by now, or is about to.
        if self.is_needed.load(Ordering::Relaxed) {
            return;
        }
        tokio::select! {
            () = self.in_span(self.inner.preconnect(most)) => {}
            () = self.leaving.notified() => {}
        }
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        self.ready().await?;
        let mut entries = self.call(dir, self.inner.list_path(dir)).await;
        if lost_its_turn(&entries) {
            self.ready().await?;
            entries = self.call(dir, self.inner.list_path(dir)).await;
        }
        self.note_listed(&entries, dir);
        Ok(entries?.through(|mut entries| {
            let entries = poll_fn(move |context| self.span.in_scope(|| entries.poll_next_unpin(context)));
            entries.inspect(|entry| {
                self.note(entry, Some(dir));
                self.note_listed(entry, dir);
            })
        }))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        self.ready().await?;
        let mut digest = self.call(file, self.inner.create_remote_digest(file)).await;
        if lost_its_turn(&digest) {
            self.ready().await?;
            digest = self.call(file, self.inner.create_remote_digest(file)).await;
        }
        digest
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        self.in_span(self.inner.create_local_digest(copy)).await
    }

    async fn retrieve_file(&self, request: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        self.ready_to_read(request.opened).await?;
        let mut result = self.call(request.path, self.inner.retrieve_file(request, out)).await;
        if lost_its_turn(&result) {
            self.ready_to_read(request.opened).await?;
            result = self.call(request.path, self.inner.retrieve_file(request, out)).await;
        }
        result
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }
}

/// Whether a source that failed so may answer when it is needed: a machine may be started before its network is there.
fn may_be_too_early(kind: ErrorKind) -> bool {
    kind.is_outage() && kind != ErrorKind::Unauthenticated
}

/// Whether a call failed while it waited for its turn, because a connection of another broke: the source was not asked, and may be there.
fn lost_its_turn<T>(result: &Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.is_remembered() && error.kind() == ErrorKind::Unreachable)
}

#[cfg(test)]
mod turn_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::deadline::Deadline;
    use crate::source::fault::{Fault, Faults, Faulty, Method};
    use crate::sources::memory::Memory;

    fn flaky_connection() -> (Arc<Connection>, Faults) {
        let memory = Memory::new();
        memory.put("a", "hello");
        let (source, faults) = Faulty::new(memory);
        (Connection::new(Box::new(source), "far", Duration::from_secs(10)), faults)
    }

    #[tokio::test(start_paused = true)]
    async fn one_connection_that_broke_is_no_outage_for_others() {
        let (connection, faults) = flaky_connection();
        let file = RemotePath::parse(b"a").expect("a plain path");
        faults.set_times(Method::CreateRemoteDigest, Fault::Fail(ErrorKind::Unreachable), 1);
        assert!(connection.create_remote_digest(&file).await.is_err());
        connection.create_remote_digest(&file).await.expect("the source answers");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_during_an_outage_fails_at_once_when_one_probe_has_failed() {
        let (connection, faults) = flaky_connection();
        let file = RemotePath::parse(b"a").expect("a plain path");
        connection.create_remote_digest(&file).await.expect("the source answers");
        for method in [Method::Connect, Method::ListPath, Method::CreateRemoteDigest] {
            faults.set(method, Fault::Fail(ErrorKind::Unreachable));
        }
        for _ in 0..5 {
            assert!(connection.create_remote_digest(&file).await.is_err());
        }
        // The first by itself, and its probe by connecting anew.
        assert_eq!((faults.calls(Method::CreateRemoteDigest), faults.calls(Method::Connect)), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_call_finds_a_source_that_was_connected_early() {
        let (connection, faults) = flaky_connection();
        faults.set(Method::Connect, Fault::Delay(Duration::from_secs(5)));
        let early = tokio::spawn(connection.clone().connect_early());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let began = Instant::now();
        let file = RemotePath::parse(b"a").expect("a plain path");
        connection.create_remote_digest(&file).await.expect("the source answers");
        assert_eq!((faults.calls(Method::Connect), began.elapsed().as_secs()), (1, 3));
        early.await.expect("it connects");
        connection.clone().connect_early().await;
        assert_eq!(faults.calls(Method::Connect), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_not_there_early_is_asked_no_more_until_it_is_needed() {
        let (connection, faults) = flaky_connection();
        faults.set(Method::Connect, Fault::Fail(ErrorKind::Unreachable));
        connection.clone().connect_early().await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(matches!(connection.health().0, Health::Idle));
        assert_eq!((faults.calls(Method::Connect), faults.calls(Method::ListPath)), (1, 0));
        faults.clear_all();
        let file = RemotePath::parse(b"a").expect("a plain path");
        connection.create_remote_digest(&file).await.expect("it is there now");
        // A login that is refused is worth knowing early, and is not tried again soon.
        let (connection, faults) = flaky_connection();
        faults.set(Method::Connect, Fault::Fail(ErrorKind::Unauthenticated));
        connection.clone().connect_early().await;
        assert!(matches!(connection.health().0, Health::Down(_)));
        assert!(connection.create_remote_digest(&file).await.is_err());
        assert_eq!(faults.calls(Method::Connect), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_an_early_attempt_and_for_no_second_one() {
        let (source, faults) = Faulty::new(Memory::new());
        let source = Deadline::new(source, Duration::from_secs(30), Arc::default());
        let connection = Connection::new(Box::new(source), "far", Duration::from_secs(10));
        faults.set(Method::Connect, Fault::Hang);
        let early = tokio::spawn(connection.clone().connect_early());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        let file = RemotePath::parse(b"a").expect("a plain path");
        let error = connection.create_remote_digest(&file).await.expect_err("it does not answer");
        assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::TimedOut, 29));
        early.await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn saying_goodbye_does_not_wait_for_an_early_attempt() {
        let (connection, faults) = flaky_connection();
        faults.set(Method::Connect, Fault::Hang);
        let early = tokio::spawn(connection.clone().connect_early());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        connection.disconnect().await;
        early.await.expect("it ends");
        assert_eq!((began.elapsed(), faults.calls(Method::Disconnect)), (Duration::ZERO, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_connections_that_are_opened_early_and_they_say_nothing_of_the_source() {
        let (connection, faults) = flaky_connection();
        faults.set(Method::Preconnect, Fault::Hang);
        let opening = tokio::spawn({
            let connection = connection.clone();
            async move { connection.preconnect(2).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(matches!(connection.health().0, Health::Idle));
        let began = Instant::now();
        let file = RemotePath::parse(b"a").expect("a plain path");
        connection.create_remote_digest(&file).await.expect("the source answers");
        // By now a call has what it needs.
        connection.preconnect(2).await;
        assert_eq!((faults.calls(Method::Preconnect), faults.calls(Method::Connect)), (1, 1));
        connection.disconnect().await;
        opening.await.expect("it ends");
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_well_only_if_what_it_answers_is_of_use() {
        let (connection, faults) = flaky_connection();
        let [file, other] = [&b"a"[..], b"b"].map(|path| RemotePath::parse(path).expect("a plain path"));
        for kind in [ErrorKind::InvalidConfig, ErrorKind::Protocol, ErrorKind::Other, ErrorKind::RateLimited] {
            faults.set_times(Method::CreateRemoteDigest, Fault::Fail(kind), 3);
            for _ in 0..2 {
                assert!(connection.create_remote_digest(&file).await.is_err());
                let is_failing = matches!(connection.health().0, Health::Failing(_));
                assert_eq!(is_failing, kind == ErrorKind::InvalidConfig, "{kind:?} of one file");
            }
            assert!(connection.create_remote_digest(&other).await.is_err());
            assert!(matches!(connection.health().0, Health::Failing(error) if error.kind() == kind));
            connection.create_remote_digest(&file).await.expect("the source answers");
            assert!(matches!(connection.health().0, Health::Up));
        }
        for kind in [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::Changed] {
            faults.set_times(Method::CreateRemoteDigest, Fault::Fail(kind), 1);
            assert!(connection.create_remote_digest(&file).await.is_err());
            assert!(matches!(connection.health().0, Health::Up), "{kind:?} is an answer");
        }
        faults.set_times(Method::ListPath, Fault::Fail(ErrorKind::NotFound), 1);
        assert!(connection.list_path(&RemotePath::root()).await.is_err());
        assert!(matches!(connection.health().0, Health::Failing(_)), "without a root there is nothing to show");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_asks_to_be_left_alone_is_not_asked_meanwhile() {
        let (connection, faults) = flaky_connection();
        let file = RemotePath::parse(b"a").expect("a plain path");
        faults.set_times(Method::CreateRemoteDigest, Fault::Busy(Duration::from_secs(60)), 1);
        for _ in 0..5 {
            let error = connection.create_remote_digest(&file).await.expect_err("it is to be left alone");
            assert_eq!(error.kind(), ErrorKind::RateLimited);
        }
        assert_eq!(faults.calls(Method::CreateRemoteDigest), 1);
        // A call shortly before the end waits for it.
        tokio::time::sleep(Duration::from_secs(55)).await;
        let began = Instant::now();
        connection.create_remote_digest(&file).await.expect("the source answers");
        assert_eq!(began.elapsed().as_secs(), 5);
        assert_eq!(faults.calls(Method::CreateRemoteDigest), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_leave_a_source_alone_too_but_not_for_a_year() {
        let (connection, faults) = flaky_connection();
        let file = RemotePath::parse(b"a").expect("a plain path");
        let year = Duration::from_secs(365 * 24 * 3600);
        let closed = Error::new("x", ErrorKind::Unreachable).retry_after(year);
        connection.went_down(&closed);
        tokio::time::sleep(MAX_REST - Duration::from_secs(1)).await;
        assert!(connection.create_remote_digest(&file).await.is_err());
        assert_eq!(faults.calls(Method::Connect), 0);
        tokio::time::sleep(Duration::from_secs(20)).await;
        connection.create_remote_digest(&file).await.expect("the source answers");
    }
}
