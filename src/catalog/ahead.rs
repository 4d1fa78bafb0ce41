//! Listings ahead: directories that are listed before a reader opens them. It decides no directory: `fs::ahead` does.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::patience::answer_of;
use super::{Catalog, Listing};
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::Urgency;

/// A listing ahead for which no reader has come by then is given up.
const WANTED_WITHIN: Duration = Duration::from_secs(10);

/// Where answers count for less, they would often be asked for again when their reader comes.
const WORTH_FROM: Duration = Duration::from_secs(5);

/// The listings that were begun ahead and are under way.
#[derive(Default)]
pub(super) struct Begun(Mutex<HashMap<RemotePath, Urgency>>);

impl Begun {
    /// A reader waits for the listing of `dir` from now on; `None` if that was not begun ahead.
    pub(super) fn want(&self, dir: &RemotePath) -> Option<Instant> {
        self.0.lock().get(dir)?.raise();
        Some(Instant::now())
    }

    /// Notes that `dir` is being listed ahead, until the guard is dropped; `None` if it is already.
    fn note(&self, dir: &RemotePath, urgency: &Urgency) -> Option<Noted<'_>> {
        match self.0.lock().entry(dir.clone()) {
            Place::Occupied(_) => None,
            Place::Vacant(place) => {
                place.insert(urgency.clone());
                Some(Noted { begun: self, dir: dir.clone() })
            }
        }
    }
}

struct Noted<'a> {
    begun: &'a Begun,
    dir: RemotePath,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.begun.0.lock().remove(&self.dir);
    }
}

impl Catalog {
    /// Whether a listing of `dir` is known that counts without asking.
    pub fn is_fresh(&self, dir: &RemotePath) -> bool {
        let mut state = self.state.lock();
        state.fresh_listing(dir, self.policy).is_some() || state.stored(dir, self.policy).is_some()
    }

    /// Whether `dir` is being listed ahead.
    pub fn is_listed_ahead(&self, dir: &RemotePath) -> bool {
        self.ahead.0.lock().contains_key(dir)
    }

    /// Whether listings ahead are of use now.
    pub fn lists_ahead(&self) -> bool {
        self.policy.fresh_for >= WORTH_FROM && !self.is_slow()
    }

    /// Lists `dir` for a reader who is expected to open it; one who comes meanwhile joins. `None` if it is fresh, or asked for already.
    ///
    /// # Errors
    /// Those of [`Catalog::list`]; or no reader has come in time.
    pub async fn list_ahead(self: &Arc<Self>, dir: &RemotePath) -> Option<Result<Arc<Listing>>> {
        if self.is_fresh(dir) {
            return None;
        }
        let urgency = Urgency::ahead();
        // Until the answer is there: a reader sees either.
        let _noted = self.ahead.note(dir, &urgency)?;
        let mut is_begun = false;
        let flight = self.start(&self.under_way, dir.clone(), || {
            is_begun = true;
            let question = self.clone().question(dir.clone());
            async move { urgency.during(while_expected(&urgency, question)).await }
        });
        if !is_begun {
            return None;
        }
        Some(answer_of(flight).await.map(|answer| answer.value))
    }
}

/// Runs `question`, which ends early if no reader wants its answer.
async fn while_expected<T>(urgency: &Urgency, question: impl Future<Output = Result<T>>) -> Result<T> {
    let mut question = pin!(question);
    match timeout(WANTED_WITHIN, &mut question).await {
        Ok(answer) => answer,
        Err(_) if urgency.is_interactive() => question.await,
        Err(_) => Err(Error::new("list_path", ErrorKind::Other).because("no reader has come for it")),
    }
}
