//! `Bursts`: one confirmation for all bytes of a file that are read early in a burst. It asks nothing by itself.
//!
//! The headers of an answer tell what the file is when the server opens it. So an answer of a version confirms all bytes of it that had
//! arrived before that answer was asked for: in a burst the next answer does, and only after the last one somebody must ask.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::digest::Digest;
use crate::error::Result;
use crate::path::RemotePath;
use crate::source::{Retrieval, Urgency};

/// For how long bytes wait for the next answer about their file.
const BURST: Duration = Duration::from_millis(250);

/// How often is checked whether other requests want the place of one that waits.
const TURN_CHECK: Duration = Duration::from_millis(10);

/// The files of a source of which bytes wait for a confirmation.
#[derive(Debug, Default)]
pub(in crate::sources) struct Bursts(Mutex<HashMap<(RemotePath, Digest), Weak<Burst>>>);

/// A version of which bytes wait.
#[derive(Debug, Default)]
struct Burst {
    /// When the latest answer was asked for that was of this version.
    confirmed: watch::Sender<Option<Instant>>,
    /// Held by who asks for all.
    asking: tokio::sync::Mutex<()>,
}

impl Burst {
    /// What had arrived by `asked` is of this version.
    fn confirm(&self, asked: Instant) {
        self.confirmed.send_modify(|latest| *latest = (*latest).max(Some(asked)));
    }
}

impl Bursts {
    /// An answer of the wanted version has come that was asked for at this time.
    pub(in crate::sources) fn note(&self, wanted: &Retrieval<'_>, asked: Instant) {
        let of = (wanted.path.clone(), wanted.digest.clone());
        let burst = self.0.lock().get(&of).and_then(Weak::upgrade);
        if let Some(burst) = burst {
            burst.confirm(asked);
        }
    }

    /// Returns when the bytes are confirmed that are here now: by the next answer about their file or, if none comes, by `ask`.
    ///
    /// # Errors
    /// Those of `ask`.
    pub(in crate::sources) async fn confirmed(
        &self,
        wanted: &Retrieval<'_>,
        ask: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let (arrived, burst) = (Instant::now(), self.join(wanted));
        let mut confirmed = burst.confirmed.subscribe();
        let is_confirmed = |asked: &Option<Instant>| asked.is_some_and(|asked| asked >= arrived);
        tokio::select! {
            _ = confirmed.wait_for(is_confirmed) => return Ok(()),
            () = wait(&wanted.urgency) => {}
        }
        let _asking = burst.asking.lock().await;
        if is_confirmed(&confirmed.borrow()) {
            return Ok(());
        }
        let asked = Instant::now();
        ask.await?;
        burst.confirm(asked);
        Ok(())
    }

    fn join(&self, wanted: &Retrieval<'_>) -> Arc<Burst> {
        let mut bursts = self.0.lock();
        let of = (wanted.path.clone(), wanted.digest.clone());
        if let Some(burst) = bursts.get(&of).and_then(Weak::upgrade) {
            return burst;
        }
        bursts.retain(|_, burst| burst.strong_count() > 0);
        let burst = Arc::default();
        bursts.insert(of, Arc::downgrade(&burst));
        burst
    }
}

/// Returns when an answer about the file is no longer waited for, since the burst is over or others want the place of this request.
async fn wait(urgency: &Urgency) {
    let until = Instant::now() + BURST;
    while Instant::now() < until && !urgency.is_turn_wanted() {
        sleep(TURN_CHECK).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::{Error, ErrorKind};

    /// A source whose every question takes 40 ms.
    #[derive(Default)]
    struct Server {
        bursts: Bursts,
        questions: Cell<usize>,
    }

    impl Server {
        /// Confirms a part of this version that has just arrived.
        async fn confirm(&self, digest: &str, result: Result<()>) -> Result<()> {
            let (path, digest) = (RemotePath::root(), Digest::new(digest));
            let ask = async {
                self.questions.set(self.questions.get() + 1);
                sleep(Duration::from_millis(40)).await;
                result
            };
            self.bursts.confirmed(&Retrieval::new(&path, &digest, 10, 0..5), ask).await
        }

        /// An answer of this version comes that was asked for so long ago.
        fn answer(&self, digest: &str, ago: Duration) {
            let (path, digest) = (RemotePath::root(), Digest::new(digest));
            self.bursts.note(&Retrieval::new(&path, &digest, 10, 5..10), Instant::now() - ago);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_answer_confirms_what_had_arrived_before_it_was_asked_for() {
        let (server, began) = (Server::default(), Instant::now());
        let answer = async {
            sleep(Duration::from_millis(100)).await;
            server.answer("1", Duration::from_millis(50));
        };
        let (confirmed, ()) = tokio::join!(server.confirm("1", Ok(())), answer);
        assert!(confirmed.is_ok());
        assert_eq!((server.questions.get(), began.elapsed()), (0, Duration::from_millis(100)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_question_or_another_version_confirms_nothing() {
        for (digest, ago) in [("1", 101), ("2", 50)] {
            let server = Server::default();
            let answer = async {
                sleep(Duration::from_millis(100)).await;
                server.answer(digest, Duration::from_millis(ago));
            };
            let (confirmed, ()) = tokio::join!(server.confirm("1", Ok(())), answer);
            assert!(confirmed.is_ok());
            assert_eq!(server.questions.get(), 1, "version {digest}, {ago} ms ago");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_burst_one_asks_for_all() {
        let (server, began) = (Server::default(), Instant::now());
        let late = async {
            sleep(Duration::from_millis(20)).await;
            server.confirm("1", Ok(())).await
        };
        let all = tokio::join!(server.confirm("1", Ok(())), server.confirm("1", Ok(())), late);
        assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok());
        assert_eq!((server.questions.get(), began.elapsed()), (1, BURST + Duration::from_millis(40)));
        assert!(server.bursts.0.lock().values().all(|burst| burst.strong_count() == 0), "nothing of it stays");
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_is_gone_is_confirmed_for_nobody() {
        let server = Server::default();
        let gone = || Err(Error::new("retrieve_file", ErrorKind::Changed));
        let both = tokio::join!(server.confirm("1", gone()), server.confirm("1", gone()));
        assert!(both.0.is_err() && both.1.is_err());
    }
}
