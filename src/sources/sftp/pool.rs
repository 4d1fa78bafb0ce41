//! `Pool`: the connections of a source to its server. One answers everything; beside it up to three bring bytes, as long as these come
//! faster that way (`growth`). It retrieves nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::config::Config;
use super::connection::Connection;
use super::growth::Growth;
use super::stamp::Stamp;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;

/// How many bytes all retrievals together have under way, as long as each has a read.
const OF_ALL: usize = 16 << 20;

/// How many bytes that is for one of eight.
pub(super) const OF_EACH: u64 = OF_ALL as u64 / 8;

/// How many reads one retrieval has under way at most.
const MAX_READS: usize = 128;

/// A retrieval of so many bytes is long: it takes more than a few round trips.
const LONG: u64 = 1 << 20;

/// A reader who takes so long for bytes is what limits the retrieval.
const HELD: Duration = Duration::from_millis(100);

/// After how long without a long retrieval the additional connections end.
const IDLE: Duration = Duration::from_secs(30);

/// How long an additional connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is looked whether a connection that is to end is out of use.
const OUT_OF_USE: Duration = Duration::from_millis(100);

/// The connections of a source.
#[derive(Debug)]
pub(super) struct Pool {
    /// The one that answers everything.
    pub(super) main: Arc<Connection>,
    /// How others are made; `None` if there are to be none.
    config: Option<Config>,
    retrievals: AtomicUsize,
    long_retrievals: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The additional ones.
    more: Vec<Arc<Connection>>,
    growth: Growth,
    /// Whether others are being made.
    connecting: bool,
    /// When bytes of a long retrieval came last.
    used: Instant,
    closed: bool,
}

impl Pool {
    /// Connects once. `may_grow` says whether others may be connected without anybody being asked for anything.
    pub(super) async fn open(config: &Config, may_grow: bool) -> Result<Arc<Self>> {
        let main = Connection::open(config).await?;
        Ok(Self::of(main, may_grow.then(|| config.clone())))
    }

    /// The pool of one connection; others are made with `config`.
    pub(super) fn of(main: Arc<Connection>, config: Option<Config>) -> Arc<Self> {
        let (more, growth, used) = (Vec::new(), Growth::default(), Instant::now());
        let state = State { more, growth, connecting: false, used, closed: false };
        let (retrievals, long_retrievals) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { main, config, retrievals, long_retrievals, state: Mutex::new(state) })
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        let more = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.more)
        };
        join_all(more.iter().chain([&self.main]).map(|connection| connection.close())).await;
    }

    /// A place for a retrieval of so many bytes (see [`place`]).
    pub(super) fn lease(self: &Arc<Self>, path: &RemotePath, stamp: Stamp, bytes: u64) -> Lease {
        let mut state = self.state.lock();
        drop_lost(&mut state);
        let (connections, is_long) = (self.all(&state).collect::<Vec<_>>(), bytes >= LONG);
        let known = connections
            .iter()
            .map(|connection| (connection.retrievals.load(Ordering::Relaxed), connection.kept.has(path, stamp)));
        let chosen = place(&known.collect::<Vec<_>>(), is_long);
        Lease::new(self, Arc::clone(connections[chosen]), is_long)
    }

    fn all<'a>(&'a self, state: &'a State) -> impl Iterator<Item = &'a Arc<Connection>> {
        [&self.main].into_iter().chain(&state.more)
    }

    /// The connection with the fewest retrievals, among those that work.
    fn least_busy(&self, state: &mut State) -> Arc<Connection> {
        drop_lost(state);
        let least = self.all(state).min_by_key(|connection| connection.retrievals.load(Ordering::Relaxed));
        Arc::clone(least.unwrap_or(&self.main))
    }

    /// Bytes of a long retrieval came; `was_held` if its reader did not take them at once.
    fn came(self: &Arc<Self>, bytes: u64, was_held: bool) {
        let (now, mut state) = (Instant::now(), self.state.lock());
        state.used = now;
        if state.connecting {
            return state.growth.came_meanwhile(bytes, now, was_held);
        }
        let Some(config) = self.config.as_ref().filter(|_| !state.closed) else { return };
        if was_held || !state.more.iter().all(|connection| connection.has_brought.load(Ordering::Relaxed)) {
            return state.growth.measure_anew();
        }
        let connections = 1 + state.more.len();
        let retrievals = self.long_retrievals.load(Ordering::Relaxed);
        let wanted = state.growth.came(bytes, now, retrievals, connections);
        if wanted > connections {
            state.connecting = true;
            tokio::spawn(connect(Arc::downgrade(self), config.clone(), wanted - connections));
        }
        for surplus in state.more.split_off(wanted.min(connections) - 1) {
            debug!("bytes come no faster over {connections} connections than over {wanted}");
            tokio::spawn(end_after_use(surplus));
        }
    }

    /// More connections are there, or the server does not want them.
    pub(super) fn connected(self: &Arc<Self>, made: Vec<Result<Arc<Connection>>>) {
        let mut state = self.state.lock();
        state.connecting = false;
        state.growth.measure_anew();
        let had_none = state.more.is_empty();
        for made in made {
            match made {
                Ok(connection) if state.closed => drop(tokio::spawn(end_after_use(connection))),
                Ok(connection) => state.more.push(connection),
                Err(error) => {
                    debug!("there is no further connection to the server: {error}");
                    state.growth.refused();
                }
            }
        }
        if had_none && !state.more.is_empty() {
            tokio::spawn(end_idle(Arc::downgrade(self)));
        }
    }
}

/// Those that are lost are used no more.
fn drop_lost(state: &mut State) {
    state.more.retain(|connection| connection.client.lost().is_none());
}

/// Which of these connections takes a retrieval, by how many others each has and whether the file is open there: one with the fewest others;
/// for a short retrieval one more is less than an `open`, for a long one a part of the line is more.
fn place(connections: &[(usize, bool)], is_long: bool) -> usize {
    let fewest = connections.iter().map(|(others, _)| *others).min().unwrap_or_default();
    let most = fewest + usize::from(!is_long);
    let is_open = connections.iter().position(|(others, is_open)| *is_open && *others <= most);
    is_open.or_else(|| connections.iter().position(|(others, _)| *others == fewest)).unwrap_or_default()
}

async fn connect(pool: Weak<Pool>, config: Config, number: usize) {
    let late = |_| Error::new("connect", ErrorKind::Unreachable).because("it took too long");
    let attempts = (0..number).map(|_| async { timeout(CONNECT_TIMEOUT, Connection::open(&config)).await });
    let made = join_all(attempts).await.into_iter().map(|made| made.map_err(late).flatten()).collect::<Vec<_>>();
    let Some(pool) = pool.upgrade() else { return };
    let same = |made: Arc<Connection>| match made.shows_the_same_as(&pool.main) {
        true => Ok(made),
        false => Err(Error::new("connect", ErrorKind::Protocol).because("the root is elsewhere there")),
    };
    pool.connected(made.into_iter().map(|made| made.and_then(same)).collect());
}

/// Ends a connection once nothing is retrieved over it.
async fn end_after_use(connection: Arc<Connection>) {
    while connection.retrievals.load(Ordering::Relaxed) > 0 {
        sleep(OUT_OF_USE).await;
    }
    connection.close().await;
}

/// Ends the additional connections when they were idle for a while.
async fn end_idle(pool: Weak<Pool>) {
    loop {
        sleep(IDLE).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.state.lock();
        if state.used.elapsed() >= IDLE {
            for connection in std::mem::take(&mut state.more) {
                tokio::spawn(end_after_use(connection));
            }
        }
        if state.more.is_empty() {
            return;
        }
    }
}

/// The place of one retrieval on a connection; given back with this value.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
    connection: Arc<Connection>,
    is_long: bool,
}

impl Lease {
    fn new(pool: &Arc<Pool>, connection: Arc<Connection>, is_long: bool) -> Self {
        connection.retrievals.fetch_add(1, Ordering::Relaxed);
        pool.retrievals.fetch_add(1, Ordering::Relaxed);
        pool.long_retrievals.fetch_add(usize::from(is_long), Ordering::Relaxed);
        Self { pool: Arc::clone(pool), connection, is_long }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// How many reads the retrieval may have under way: its part of what the connection carries, and of what all may hold.
    pub(super) fn reads(&self) -> usize {
        let client = &self.connection.client;
        let part = |all: usize, retrievals: &AtomicUsize| all / retrievals.load(Ordering::Relaxed).max(1);
        let bytes = part(client.window(), &self.connection.retrievals).min(part(OF_ALL, &self.pool.retrievals));
        (bytes / client.max_read() as usize).clamp(1, MAX_READS)
    }

    /// Bytes came over a connection, which may be the one before, and were taken within this time.
    pub(super) fn came(&self, connection: &Connection, bytes: u64, taken: Duration) {
        connection.has_brought.store(true, Ordering::Relaxed);
        if self.is_long {
            self.pool.came(bytes, taken > HELD);
        }
    }

    /// Goes on over another connection if that has fewer retrievals, also with this one. Answers whether it does.
    pub(super) fn move_on(&mut self) -> bool {
        let mut state = self.pool.state.lock();
        let least = self.pool.least_busy(&mut state);
        let here = self.connection.retrievals.load(Ordering::Relaxed);
        let moves = least.retrievals.load(Ordering::Relaxed) + 1 < here;
        if moves {
            // Under the lock, so that not all move at once.
            switch(&mut self.connection, least);
        }
        moves
    }

    /// Goes on over the first connection, if it is on another.
    pub(super) fn fall_back(&mut self) -> bool {
        let moves = !Arc::ptr_eq(&self.connection, &self.pool.main);
        if moves {
            switch(&mut self.connection, Arc::clone(&self.pool.main));
        }
        moves
    }
}

/// Counts a retrieval at another connection.
fn switch(from: &mut Arc<Connection>, to: Arc<Connection>) {
    to.retrievals.fetch_add(1, Ordering::Relaxed);
    std::mem::replace(from, to).retrievals.fetch_sub(1, Ordering::Relaxed);
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.retrievals.fetch_sub(1, Ordering::Relaxed);
        self.pool.retrievals.fetch_sub(1, Ordering::Relaxed);
        self.pool.long_retrievals.fetch_sub(usize::from(self.is_long), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::pair;
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A connection to a server that says nothing.
    async fn connection() -> Arc<Connection> {
        let (client, server) = pair().await;
        tokio::spawn(async move {
            let _server = server;
            std::future::pending::<()>().await;
        });
        Arc::new(Connection::of_test(client))
    }

    fn lease(pool: &Arc<Pool>) -> Lease {
        let stamp = Stamp::parse(&crate::digest::Digest::new("stat:10-1".to_owned())).expect("a stamp");
        pool.lease(&RemotePath::root(), stamp, 100 * MIB)
    }

    fn retrievals(pool: &Pool) -> Vec<usize> {
        let state = pool.state.lock();
        pool.all(&state).map(|connection| connection.retrievals.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn a_long_retrieval_goes_where_the_line_is_free_and_a_short_one_where_the_file_is_open() {
        for (connections, short, long) in [
            ([(0, false), (0, true)], 1, 1),
            ([(0, false), (1, true)], 1, 0),
            ([(0, false), (2, true)], 0, 0),
            ([(3, true), (2, false)], 0, 1),
            ([(2, false), (1, false)], 1, 1),
        ] {
            assert_eq!([place(&connections, false), place(&connections, true)], [short, long], "{connections:?}");
        }
    }

    #[tokio::test]
    async fn retrievals_share_what_may_be_under_way() {
        let pool = Pool::of(connection().await, None);
        let bytes = |lease: &Lease| lease.reads() * pool.main.client.max_read() as usize;
        let one = lease(&pool);
        assert_eq!(bytes(&one), 4 << 20);
        let others: Vec<_> = (0..7).map(|_| lease(&pool)).collect();
        assert_eq!(bytes(&one), 512 << 10);
        drop(others);
        assert_eq!(bytes(&one), 4 << 20);
    }

    #[tokio::test]
    async fn retrievals_spread_over_the_connections_that_there_are() {
        let pool = Pool::of(connection().await, None);
        let mut leases: Vec<_> = (0..5).map(|_| lease(&pool)).collect();
        assert!(!leases[0].move_on(), "there is no other connection");
        pool.connected(vec![Ok(connection().await)]);
        for lease in &mut leases {
            lease.move_on();
        }
        assert_eq!(retrievals(&pool), [3, 2]);
        leases.extend([lease(&pool)]);
        assert_eq!(retrievals(&pool), [3, 3]);
        drop(leases);
        assert_eq!(retrievals(&pool), [0, 0]);
    }

    #[tokio::test]
    async fn a_lost_connection_is_used_no_more() {
        let pool = Pool::of(connection().await, None);
        let lost = connection().await;
        pool.connected(vec![Ok(Arc::clone(&lost))]);
        let mut leases = [lease(&pool), lease(&pool)];
        assert_eq!(retrievals(&pool), [1, 1]);
        lost.client.give_up();
        assert_eq!(leases.each_mut().map(Lease::fall_back), [false, true]);
        drop(lease(&pool));
        assert_eq!(retrievals(&pool), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn additional_connections_end_when_they_are_idle() {
        let pool = Pool::of(connection().await, None);
        let additional = connection().await;
        pool.connected(vec![Ok(Arc::clone(&additional))]);
        sleep(IDLE * 2).await;
        assert_eq!(retrievals(&pool), [0]);
        assert!(additional.client.lost().is_some() && pool.main.client.lost().is_none());
    }

    #[tokio::test]
    async fn connections_that_come_after_the_goodbye_are_ended() {
        let pool = Pool::of(connection().await, None);
        pool.close().await;
        let late = connection().await;
        pool.connected(vec![Ok(Arc::clone(&late))]);
        while late.client.lost().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(retrievals(&pool), [0]);
    }
}
