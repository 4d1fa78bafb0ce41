//! What is done with a store as a whole: it is tried, looked at, made smaller, emptied. It opens no value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use tokio::time::timeout;

use super::key::random_name;
use super::leases::Leases;
use super::store::{Store, Stored};
use super::tier::Role;
use crate::error::{Error, ErrorKind, Result};

/// The time that a store has for an answer while it is tried.
const TRIAL: Duration = Duration::from_secs(10);

/// How many values are removed at once.
const REMOVED_AT_ONCE: usize = 8;

/// Who takes a lease for a trial.
const TRIER: &str = "a check";

/// What a value for a trial holds.
const VALUE: &[u8] = b"kitovufs has tried whether this store works";

/// Whether a mount of this role could use the store. What is put there for that is removed.
///
/// # Errors
/// Why not.
pub async fn try_out(store: &dyn Store, role: Role) -> Result<()> {
    let failed = |why: &str| Error::new("try the shared store", ErrorKind::Protocol).because(why);
    let name = random_name().map_err(|_| failed("the system has no random bytes"))?;
    let trying = async {
        if role != Role::Read {
            store.put_if_absent(&name, Bytes::from_static(VALUE)).await?;
        }
        let found = store.get(&name, 0..VALUE.len() as u64).await;
        if role != Role::Read {
            store.delete(&name).await?;
        }
        match (found?, role) {
            (None, Role::Read) => Ok(()),
            (Some(found), Role::ReadWrite | Role::Write) if found == VALUE => Ok(()),
            _ => Err(failed("it has not given back what was put there")),
        }
    };
    let late = || Error::new("try the shared store", ErrorKind::TimedOut);
    let limit = humantime::format_duration(TRIAL);
    timeout(TRIAL, trying).await.unwrap_or_else(|_| Err(late().because(format!("it has not answered within {limit}"))))
}

/// Whether who retrieves something could be agreed on.
///
/// # Errors
/// Why not.
pub async fn try_leases(leases: &dyn Leases) -> Result<()> {
    let failed = |why: &str| Error::new("try leases", ErrorKind::Protocol).because(why);
    let name = random_name().map_err(|_| failed("the system has no random bytes"))?;
    let trying = async {
        let other = leases.take(&name, TRIER, None).await?;
        leases.release(&name, TRIER).await?;
        other.map_or(Ok(()), |_| Err(failed("somebody has a lease that nobody has taken")))
    };
    let late = || Error::new("try leases", ErrorKind::TimedOut);
    let limit = humantime::format_duration(TRIAL);
    timeout(TRIAL, trying).await.unwrap_or_else(|_| Err(late().because(format!("nobody has answered within {limit}"))))
}

/// What is in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Values.
    pub values: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is in the place of a value and is none: directories, keys of another type.
    pub odd: usize,
    /// When that was last used which has not been for longest, and when any was, as far as the store tells.
    pub used: Option<(SystemTime, SystemTime)>,
}

impl Tally {
    fn of(stored: &[Stored]) -> Self {
        let times = stored.iter().map(|stored| stored.used).filter(|used| *used > SystemTime::UNIX_EPOCH);
        let used = times.clone().min().zip(times.max());
        let odd = stored.iter().filter(|stored| stored.is_odd).count();
        Self { values: stored.len() - odd, bytes: stored.iter().map(|stored| stored.size).sum(), odd, used }
    }
}

/// How far the work with a store is, for who waits.
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// How much was found so far.
    pub found: Arc<AtomicU64>,
    /// How much is to be removed; 0 until that is known.
    pub to_remove: Arc<AtomicU64>,
    /// How much of that was.
    pub removed: Arc<AtomicU64>,
}

/// Counts what is there. A store that does not answer is found out before all of it is listed, which may take long.
///
/// # Errors
/// The store cannot be listed, or does not answer.
pub async fn tally(store: &dyn Store, work: &Work) -> Result<Tally> {
    let name = random_name().map_err(|_| Error::new("ask the shared store", ErrorKind::Other))?;
    let limit = humantime::format_duration(TRIAL);
    let late = |_| Error::new("ask the shared store", ErrorKind::TimedOut).because(format!("no answer within {limit}"));
    timeout(TRIAL, store.get(&name, 0..1)).await.map_err(late)??;
    Ok(Tally::of(&store.list(&work.found).await?))
}

/// Removes the values that have not been used for longest, until the others take no more than `max_bytes`, and what is none in the place of
/// one. What was removed, and what stays.
///
/// # Errors
/// The store cannot be listed; the first failure to remove something, once everything was tried.
pub async fn shrink(store: &dyn Store, max_bytes: u64, work: &Work) -> Result<(Tally, Tally)> {
    let mut stored = store.list(&work.found).await?;
    // Those that stay first; of two that were used at once, the one whose name comes first.
    stored.sort_by(|one, other| (one.is_odd, other.used, &one.name).cmp(&(other.is_odd, one.used, &other.name)));
    let mut bytes = 0;
    let fits = |stored: &&Stored| {
        bytes += stored.size;
        bytes <= max_bytes && !stored.is_odd
    };
    let stay = stored.iter().take_while(fits).count();
    let (stay, go) = stored.split_at(stay);
    work.to_remove.store(go.len() as u64, Ordering::Relaxed);
    let mut failure = None;
    let mut removing = stream::iter(go).map(|value| store.delete(&value.name)).buffer_unordered(REMOVED_AT_ONCE);
    while let Some(removed) = removing.next().await {
        work.removed.fetch_add(1, Ordering::Relaxed);
        match removed {
            // Without an answer, the next one would be asked for in vain too.
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Unreachable) => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
            Ok(()) => {}
        }
    }
    drop(removing);
    failure.map_or_else(|| Ok((Tally::of(go), Tally::of(stay))), Err)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::shared::store::memory::Memory;
    use crate::shared::store::{Place, open};

    #[tokio::test(start_paused = true)]
    async fn a_store_is_tried_as_it_will_be_used_and_left_as_it_was() {
        for role in [Role::ReadWrite, Role::Read, Role::Write] {
            let store = Memory::default();
            try_out(&store, role).await.expect("it works");
            assert!(store.values.lock().is_empty(), "{role:?}");
            store.broken.store(true, Ordering::Relaxed);
            let error = try_out(&store, role).await.expect_err("it is broken");
            assert!(error.to_string().contains("broken"), "{error}");
            store.silent.store(true, Ordering::Relaxed);
            assert_eq!(try_out(&store, role).await.expect_err("it hangs").kind(), ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_says_nothing_is_found_out_before_it_is_listed() {
        let store = Memory::default();
        store.silent.store(true, Ordering::Relaxed);
        let error = tally(&store, &Work::default()).await.expect_err("it hangs");
        assert_eq!((error.kind(), store.asked.load(Ordering::Relaxed)), (ErrorKind::TimedOut, 1));
    }

    #[tokio::test]
    async fn what_is_no_value_goes_first_and_what_cannot_be_removed_keeps_nothing_else() {
        let dir = kit::reaper::temporary();
        let place = Place::of(url::Url::from_directory_path(dir.path()).expect("a URL"));
        let store = open(&place).expect("it is a directory");
        let names: Vec<_> = (0..3).map(|_| random_name().expect("there is randomness")).collect();
        for name in &names[..2] {
            store.put_if_absent(name, Bytes::from_static(b"value")).await.expect("it takes it");
        }
        fs::create_dir_all(dir.path().join(&names[2]).join("more")).expect("a directory");
        let all = tally(&*store, &Work::default()).await.expect("it works");
        assert_eq!((all.values, all.bytes, all.odd), (2, 10, 1));
        let work = Work::default();
        let (gone, left) = shrink(&*store, 1000, &work).await.expect("it works");
        let counts = [&work.found, &work.to_remove, &work.removed].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts, [3, 1, 1], "it is told how far it is");
        assert_eq!(((gone.values, gone.odd), (left.values, left.odd)), ((0, 1), (2, 0)));
        assert!(!dir.path().join(&names[2]).exists());
    }

    #[tokio::test]
    async fn what_was_used_least_lately_goes_first() {
        let dir = kit::reaper::temporary();
        let place = Place::of(url::Url::from_directory_path(dir.path()).expect("a URL"));
        let store: Arc<dyn Store> = open(&place).expect("it is a directory");
        let mut names = Vec::new();
        for age in 0..4_u64 {
            let name = random_name().expect("there is randomness");
            store.put_if_absent(&name, Bytes::from(vec![0; 100])).await.expect("it takes it");
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age);
            let times = fs::FileTimes::new().set_modified(used).set_accessed(used);
            let file = fs::File::options().write(true).open(dir.path().join(&name)).expect("it is there");
            file.set_times(times).expect("they can be set");
            names.push(name);
        }
        let counts = |(gone, left): (Tally, Tally)| (gone.values, gone.bytes, left.values, left.bytes);
        assert_eq!(counts(shrink(&*store, 1000, &Work::default()).await.expect("it works")), (0, 0, 4, 400));
        assert_eq!(counts(shrink(&*store, 299, &Work::default()).await.expect("it works")), (2, 200, 2, 200));
        let left: Vec<_> = names.iter().map(|name| dir.path().join(name).exists()).collect();
        assert_eq!(left, [true, true, false, false]);
        assert_eq!(tally(&*store, &Work::default()).await.expect("it works").bytes, 200);
        assert_eq!(counts(shrink(&*store, 0, &Work::default()).await.expect("it works")), (2, 200, 0, 0));
        assert_eq!(tally(&*store, &Work::default()).await.expect("it works"), Tally::default());
    }
}
