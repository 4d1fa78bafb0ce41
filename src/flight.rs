//! `Flights`: shares one answer among all who ask for the same while it is on its way (single flight). It knows neither questions
//! nor answers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// Answers that are on their way.
#[derive(Debug)]
pub struct Flights<K, V>(Mutex<HashMap<K, Flight<V>>>);

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer that is on its way to `key`, or else that of `begin`, which becomes a task of its own: the answer is worth having
    /// even if the first caller is gone. `None` if that task ended without an answer.
    ///
    /// An answer may have arrived since the caller looked for one: the task should begin by looking again.
    pub async fn join<F>(self: &Arc<Self>, key: K, begin: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.start(key, begin).answer().await
    }

    /// As [`Flights::join`], for a caller that may not wait for the answer. It is on its way when this returns, and goes on if no
    /// caller waits.
    pub fn start<F>(self: &Arc<Self>, key: K, begin: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = self.0.lock();
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let (done, answer) = watch::channel(None);
        let flight = Flight { begun: Instant::now(), answer };
        flights.insert(key.clone(), flight.clone());
        let (landing, asking) = (Landing { flights: self.clone(), key }, begin());
        tokio::spawn(async move {
            let answer = asking.await;
            drop(landing);
            done.send_replace(Some(answer));
        });
        flight
    }

    /// The answer that is on its way to `key`, if one is.
    pub fn get(&self, key: &K) -> Option<Flight<V>> {
        self.0.lock().get(key).cloned()
    }

    /// The number of answers that are on their way.
    pub fn under_way(&self) -> usize {
        self.0.lock().len()
    }
}

/// An answer that is on its way.
#[derive(Debug, Clone)]
pub struct Flight<V> {
    begun: Instant,
    answer: watch::Receiver<Option<V>>,
}

impl<V: Clone> Flight<V> {
    /// When the first caller asked.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// The answer; `None` if the task ended without one.
    pub async fn answer(mut self) -> Option<V> {
        self.answer.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// Ends a flight, however it ends.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.flights.0.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_meanwhile_get_one_answer_and_later_ones_another() {
        let flights: Arc<Flights<&str, u8>> = Arc::default();
        let (go, begun) = (Arc::new(Notify::new()), Mutex::new(0));
        let ask = |answer: u8| {
            let (go, begun) = (go.clone(), &begun);
            flights.join("key", move || {
                *begun.lock() += 1;
                async move {
                    go.notified().await;
                    answer
                }
            })
        };
        let asked = join_all((0..10).map(ask));
        go.notify_one();
        assert_eq!(asked.await, [Some(0); 10]);
        go.notify_one();
        assert_eq!((ask(7).await, *begun.lock()), (Some(7), 2));
    }

    #[tokio::test]
    async fn different_questions_do_not_wait_for_each_other() {
        let flights: Arc<Flights<&str, u8>> = Arc::default();
        let (waiting, other) = (flights.clone(), flights.join("other", || ready(1)));
        let hung = tokio::spawn(async move { waiting.join("hangs", pending).await });
        assert_eq!(other.await, Some(1));
        hung.abort();
    }

    #[tokio::test]
    async fn an_answer_arrives_for_others_when_who_asked_first_is_gone() {
        let flights: Arc<Flights<&str, u8>> = Arc::default();
        let go = Arc::new(Notify::new());
        let (waiting, late) = (flights.clone(), go.clone());
        let first = tokio::spawn(async move {
            waiting
                .join("key", || async move {
                    late.notified().await;
                    1
                })
                .await
        });
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.is_err());
        let second = flights.join("key", || ready(2));
        go.notify_one();
        assert_eq!(second.await, Some(1));
    }

    #[tokio::test]
    async fn a_question_that_ends_without_an_answer_can_be_asked_again() {
        let flights: Arc<Flights<&str, u8>> = Arc::default();
        let lost = flights.join("key", || async { panic!("as a bug would") });
        assert_eq!(lost.await, None);
        assert_eq!(flights.join("key", || ready(1)).await, Some(1));
    }
}
