//! Patience: how long a source may take to confirm a known answer before that is served. It decides by `freshness`, and knows no
//! listings.

use std::hash::Hash;
use std::sync::Arc;

use tokio::time::{Instant, timeout};

use super::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::flight::{Flight, Flights};
use crate::freshness::{WhileAsking, spares_question, while_asking};

/// The outcome of a question.
pub(super) enum Asked<T, K> {
    /// The source's answer, or its failure.
    Answered(Result<T>),
    /// The known answer. The source has not answered yet; the question goes on.
    Overdue(K),
}

/// Whether a source takes longer than `patience`.
#[derive(Debug, Default)]
pub(super) struct Slowness {
    is_slow: bool,
    /// When a question ended last.
    ended: Option<Instant>,
}

impl Slowness {
    /// A question that began then has had `patience`.
    fn overdue(&mut self, begun: Instant) {
        // An answer to another one in the meantime shows that only this one takes long.
        self.is_slow |= self.ended.is_none_or(|ended| ended <= begun);
    }

    fn ended(&mut self) {
        (self.is_slow, self.ended) = (false, Some(Instant::now()));
    }
}

impl Catalog {
    /// Whether a question has waited for longer than `patience`, so that known answers are served at once.
    pub fn is_slow(&self) -> bool {
        self.slowness.lock().is_slow
    }

    /// Asks `question`, unless the same is under way: returns its answer, or `known` if the source takes too long. `joined`: since when
    /// this caller has waited for a question that was begun before any caller did.
    pub(super) async fn ask<Q, T, K, F>(
        self: &Arc<Self>,
        under_way: &Arc<Flights<Q, Result<T>>>,
        key: Q,
        question: impl FnOnce() -> F,
        joined: Option<Instant>,
        known: impl Future<Output = Option<K>>,
    ) -> Asked<T, K>
    where
        Q: Clone + Eq + Hash + Send + 'static,
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (offline, patience) = (self.policy.offline, self.policy.patience);
        let start = move || self.start(under_way, key, question);
        let questions = self.under_way.under_way() + self.checks.under_way();
        if spares_question(self.is_slow(), questions, offline) {
            return match known.await {
                Some(known) => Asked::Overdue(known),
                None => Asked::Answered(answer_of(start()).await),
            };
        }
        let flight = start();
        let begun = joined.unwrap_or(flight.begun());
        let decide = || while_asking(true, self.is_slow(), begun.elapsed(), patience, offline);
        if let WhileAsking::WaitFor(left) = decide()
            && let Ok(answer) = timeout(left, answer_of(flight.clone())).await
        {
            return Asked::Answered(answer);
        }
        // It may have to come from the database: only now does it matter.
        if decide() == WhileAsking::Serve
            && let Some(known) = known.await
        {
            self.slowness.lock().overdue(begun);
            return Asked::Overdue(known);
        }
        Asked::Answered(answer_of(flight).await)
    }

    /// Asks `question`, unless the same is under way, and notes when it ends.
    pub(super) fn start<Q, T, F>(
        self: &Arc<Self>,
        under_way: &Arc<Flights<Q, Result<T>>>,
        key: Q,
        question: impl FnOnce() -> F,
    ) -> Flight<Result<T>>
    where
        Q: Clone + Eq + Hash + Send + 'static,
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        under_way.start(key, || {
            let (catalog, question) = (self.clone(), question());
            async move {
                let answer = question.await;
                catalog.slowness.lock().ended();
                answer
            }
        })
    }
}

pub(super) async fn answer_of<T: Clone>(flight: Flight<Result<T>>) -> Result<T> {
    flight
        .answer()
        .await
        .unwrap_or_else(|| Err(Error::new("ask the source", ErrorKind::Other).because("the question was abandoned")))
}
