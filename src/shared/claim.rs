//! `Claims`: which of the machines retrieves an extent that is in no store yet. It knows no source, and what it says is never needed for
//! being right: at worst several retrieve the same.
//!
//! | case | lease of the extent | decision |
//! |---|---|---|
//! | C1 | free | take it; look once more in the store, and retrieve |
//! | C2 | this machine has it | retrieve: what has it is on its way for another reader |
//! | C3 | another has it | wait for its end, for three times what an extent takes, a second at most, or twice what the source takes for it |
//! | C4 | it has ended, and the extent is in the store | read it there |
//! | C5 | it has ended without | try again, from C1 |
//! | C6 | it has not ended in that time | its holder has died, or is slow: take it over. One of those who wait can, and the others wait for that one |
//! | C7 | two seconds have passed, or three times what the source takes for it | retrieve, without a lease |
//! | C8 | nobody tells | retrieve, without a lease |

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use super::backend::{Backend, Patience};
use super::breaker::Breaker;
use super::counts::{Counts, up};
use super::leases::{Ends, Leases};
use super::usual::average;
use crate::cache::block::SMALL;
use crate::digest::hex;
use crate::error::Result;

/// How long a reader waits for other machines at most. Where the source takes long, it is three times what it takes, up to the second of
/// these: all who wait would otherwise ask it at once, and make it take longer still.
const LONGEST_WAIT: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(10);

/// How long it waits for one of them: so many times what an extent takes, but no less and no more.
const USUAL_TIMES: u32 = 3;
const TURN: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(1);

/// How long it waits for an answer about a lease.
const ANSWER: Duration = Duration::from_millis(100);

/// How often a lease is renewed.
const RENEWED_EACH: Duration = Duration::from_secs(3);

/// The leases that a mount asks for.
pub(super) struct Claims {
    leases: Arc<dyn Leases>,
    counts: Arc<Counts>,
    patience: Option<Duration>,
    breaker: Breaker,
    last_error: Mutex<Option<String>>,
    /// Begins the names of this mount's holders.
    machine: String,
    holders: AtomicU64,
    /// How long small values and others take from their lease until they are in the store, on average.
    usual: Mutex<[Option<Duration>; 2]>,
}

/// What is waited for: the one takes a moment, the other may take longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// A file of up to 1 MiB, or a listing.
    Small,
    /// Anything else.
    Large,
}

impl Size {
    /// That of an extent of a file of so many bytes.
    pub(super) fn of_file(bytes: u64) -> Self {
        if bytes <= SMALL { Self::Small } else { Self::Large }
    }
}

/// Who retrieves an extent.
pub(super) enum Claim {
    /// This mount, for all.
    Mine(Lease),
    /// Nobody: it is in the store.
    There,
    /// Whoever needs it.
    Without,
}

enum Asked {
    Mine(Lease),
    Held(String),
    Failed,
}

impl Claims {
    /// Those of a mount that waits for the store for so long, if that is configured.
    pub(super) fn new(leases: Arc<dyn Leases>, counts: Arc<Counts>, patience: Option<Duration>) -> Arc<Self> {
        let mut id = [0; 8];
        // Without randomness two mounts may take each other for one, and then do not wait for each other.
        let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id);
        let (breaker, last_error, holders, usual) = Default::default();
        Arc::new(Self { leases, counts, patience, breaker, last_error, machine: hex(&id), holders, usual })
    }

    /// Whether nobody is asked at present, after failures, and why.
    pub(super) fn resting(&self) -> Option<String> {
        self.breaker.is_open().then(|| self.last_error.lock().clone().unwrap_or_default())
    }

    /// Who retrieves the extent of this name, which `backend` has not had a moment ago. The source takes `source` for it at least, as far as is
    /// known.
    pub(super) async fn claim(
        self: &Arc<Self>,
        name: &str,
        backend: &Arc<Backend>,
        of: Size,
        source: Duration,
    ) -> Claim {
        let patience = Patience { configured: self.patience, source };
        let longest = (source * USUAL_TIMES).clamp(*LONGEST_WAIT.start(), *LONGEST_WAIT.end());
        let deadline = Instant::now() + self.at_least(longest);
        let is_there = async || timeout_at(deadline, backend.has(name, patience)).await.unwrap_or(false);
        let (mut from, mut ends) = (None::<String>, None::<Ends>);
        loop {
            let holder = match self.ask(name, from.take(), of).await {
                Asked::Mine(_) if is_there().await => return Claim::There,
                Asked::Mine(lease) => {
                    up(&self.counts.leases_won, 1);
                    return Claim::Mine(lease);
                }
                Asked::Failed => return Claim::Without,
                Asked::Held(holder) if holder.starts_with(&self.machine) => return Claim::Without,
                Asked::Held(holder) => holder,
            };
            let Some(ends) = &mut ends else {
                up(&self.counts.leases_waited, 1);
                let Some(listening) = self.answer(self.leases.listen(name)).await else { return Claim::Without };
                // It may have ended before that.
                ends = Some(listening);
                continue;
            };
            if Instant::now() >= deadline {
                return Claim::Without;
            }
            let turn = deadline.min(Instant::now() + self.turn(of, source));
            match timeout_at(turn, ends.next()).await {
                Ok(()) if is_there().await => return Claim::There,
                Ok(()) => {}
                Err(_) => from = Some(holder),
            }
        }
    }

    /// Takes the lease of an extent that is not in `backend`, if that can be had at once; nothing if this mount has it already.
    pub(super) async fn take(self: &Arc<Self>, name: &str, backend: &Arc<Backend>, of: Size) -> Option<Option<Lease>> {
        let lease = match self.ask(name, None, of).await {
            Asked::Mine(lease) => lease,
            Asked::Held(holder) if holder.starts_with(&self.machine) => return Some(None),
            Asked::Held(_) | Asked::Failed => return None,
        };
        if backend.has(name, Patience::short(self.patience)).await {
            return None;
        }
        up(&self.counts.leases_won, 1);
        Some(Some(lease))
    }

    async fn ask(self: &Arc<Self>, name: &str, from: Option<String>, of: Size) -> Asked {
        let holder = format!("{}-{}", self.machine, self.holders.fetch_add(1, Ordering::Relaxed));
        match self.answer(self.leases.take(name, &holder, from.as_deref())).await {
            None => Asked::Failed,
            Some(Some(other)) => Asked::Held(other),
            Some(None) => Asked::Mine(Lease::new(self.clone(), name.to_owned(), holder, of)),
        }
    }

    /// The answer to a question about a lease, if there is one in time.
    async fn answer<T>(&self, asking: impl Future<Output = Result<T>>) -> Option<T> {
        if self.breaker.is_open() {
            return None;
        }
        let asked = Instant::now();
        let limit = self.at_least(ANSWER);
        let why = match timeout(limit, asking).await {
            Ok(Ok(answer)) => {
                self.breaker.worked();
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("nobody has answered about leases within {} ms", limit.as_millis()),
        };
        self.counts.note_error(&why);
        *self.last_error.lock() = Some(why.clone());
        if self.breaker.failed(asked) {
            warn!("shared: {why}; nobody is asked for leases for 30 s, and several machines may retrieve the same");
        } else {
            debug!("shared: {why}");
        }
        None
    }

    /// How long one holder is waited for.
    fn turn(&self, of: Size, source: Duration) -> Duration {
        let usual = self.usual.lock()[of as usize];
        let longest = self.at_least(*TURN.end()).max(source * 2).min(*LONGEST_WAIT.end());
        usual.map_or(longest, |usual| (usual * USUAL_TIMES).clamp(*TURN.start(), longest))
    }

    /// This time, or the patience with the store if that is configured and longer.
    fn at_least(&self, time: Duration) -> Duration {
        self.patience.map_or(time, |patience| patience.max(time))
    }
}

/// A lease that this mount has. It ends with this value.
pub(super) struct Lease {
    claims: Arc<Claims>,
    name: String,
    holder: String,
    of: Size,
    began: Instant,
    renewing: AbortHandle,
    runtime: tokio::runtime::Handle,
}

impl Lease {
    fn new(claims: Arc<Claims>, name: String, holder: String, of: Size) -> Self {
        let (leases, renewed, mine) = (claims.leases.clone(), name.clone(), holder.clone());
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWED_EACH).await;
                // A renewal that fails is tried again; one that comes too late has no lease any more.
                if let Ok(Ok(false)) = timeout(RENEWED_EACH, leases.renew(&renewed, &mine)).await {
                    break;
                }
            }
        });
        let (began, renewing) = (Instant::now(), renewing.abort_handle());
        Self { claims, name, holder, of, began, renewing, runtime: tokio::runtime::Handle::current() }
    }

    /// Renews it no more: it ends by itself, if this value does not do so earlier.
    pub(super) fn let_run_out(&self) {
        self.renewing.abort();
    }

    /// The extent is in the store.
    pub(super) fn given(&self) {
        average(&mut self.claims.usual.lock()[self.of as usize], self.began.elapsed());
    }

    /// Leaves it as a holder does that is killed.
    #[cfg(test)]
    pub(super) fn die(self) {
        self.renewing.abort();
        std::mem::forget(self);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
        let (claims, name, holder) =
            (self.claims.clone(), std::mem::take(&mut self.name), std::mem::take(&mut self.holder));
        self.runtime.spawn(async move {
            claims.answer(claims.leases.release(&name, &holder)).await;
        });
    }
}
