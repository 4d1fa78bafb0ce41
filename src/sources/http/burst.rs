//! `Bursts`: one confirmation for all bytes of a file that have arrived by then. It asks nothing by itself.
//!
//! The headers of an answer tell what the file is when the server opens it. So an answer of a version confirms all bytes of it that had
//! arrived before that answer was asked for: in a burst, and while several requests bring a file, the next one does. Only where none
//! comes soon somebody must ask, for all.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::digest::Digest;
use crate::error::Result;
use crate::path::RemotePath;
use crate::source::{Retrieval, Urgency};

/// For how long bytes that are being read already wait for the next answer about their file.
const BURST: Duration = Duration::from_millis(250);

/// For how long others wait at most, where no reader waits for them.
const LONGEST_PATIENCE: Duration = Duration::from_millis(100);

/// How long an answer is waited for that somebody else has asked for.
const ASKED_BY_OTHERS: Duration = Duration::from_secs(1);

/// How often is checked whether a reader waits by now, or other requests want the place of one that waits.
const CHECK: Duration = Duration::from_millis(10);

/// For how long bytes that have arrived wait for an answer before somebody asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources) enum Patience {
    /// They are being read already.
    Read,
    /// A reader has them once they are confirmed: so long, unless it waits for them by then.
    Held(Duration),
}

/// The files of a source of which bytes wait for a confirmation.
#[derive(Debug, Default)]
pub(in crate::sources) struct Bursts(Mutex<HashMap<(RemotePath, Digest), Weak<Burst>>>);

/// A version of which bytes wait, or that is asked about.
#[derive(Debug, Default)]
struct Burst(watch::Sender<Questions>);

/// The requests to which the answer tells the version.
#[derive(Debug, Default)]
struct Questions {
    /// When those were sent that are not answered yet.
    under_way: Vec<Instant>,
    /// When the latest was sent whose answer was of this version.
    confirmed: Option<Instant>,
}

/// A request to which the answer tells the version; without an answer of this version once it is dropped.
#[derive(Debug)]
pub(in crate::sources) struct Question {
    burst: Arc<Burst>,
    sent: Instant,
    is_confirmed: bool,
}

impl Questions {
    /// Whether what had arrived by then is of this version.
    fn confirm(&self, arrived: Instant) -> bool {
        self.confirmed.is_some_and(|sent| sent >= arrived)
    }

    /// Whether the answer to one that is under way could tell.
    fn could_confirm(&self, arrived: Instant) -> bool {
        self.under_way.iter().any(|sent| *sent >= arrived)
    }
}

impl Burst {
    fn question(self: Arc<Self>) -> Question {
        let sent = Instant::now();
        self.0.send_modify(|questions| questions.under_way.push(sent));
        Question { burst: self, sent, is_confirmed: false }
    }
}

impl Question {
    /// The answer is of the version that was asked about.
    pub(in crate::sources) fn confirmed(mut self) {
        self.is_confirmed = true;
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let Self { sent, is_confirmed, .. } = *self;
        self.burst.0.send_modify(|questions| {
            if let Some(place) = questions.under_way.iter().position(|other| *other == sent) {
                questions.under_way.swap_remove(place);
            }
            if is_confirmed {
                questions.confirmed = questions.confirmed.max(Some(sent));
            }
        });
    }
}

impl Bursts {
    /// The wanted version is asked for by a request that is sent now.
    pub(in crate::sources) fn question(&self, wanted: &Retrieval<'_>) -> Question {
        self.join(wanted).question()
    }

    /// Returns when the bytes of a part of a file are confirmed that are here now: by another answer about their file or, if none comes
    /// in time, by `ask`. Nobody else asks about a file of which all bytes come at once.
    ///
    /// # Errors
    /// Those of `ask`.
    pub(in crate::sources) async fn confirmed(
        &self,
        wanted: &Retrieval<'_>,
        patience: Patience,
        ask: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        if wanted.is_whole() {
            return ask.await;
        }
        let (arrived, burst) = (Instant::now(), self.join(wanted));
        let mut questions = burst.0.subscribe();
        tokio::select! {
            _ = questions.wait_for(|questions| questions.confirm(arrived)) => return Ok(()),
            () = patience.ends(&wanted.urgency) => {}
        }
        let is_over = |questions: &Questions| questions.confirm(arrived) || !questions.could_confirm(arrived);
        if let Ok(Ok(questions)) = timeout(ASKED_BY_OTHERS, questions.wait_for(is_over)).await
            && questions.confirm(arrived)
        {
            return Ok(());
        }
        let question = burst.question();
        ask.await?;
        question.confirmed();
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

impl Patience {
    /// Returns when an answer about the file is no longer waited for.
    async fn ends(self, urgency: &Urgency) {
        let (most, is_read) = match self {
            Self::Read => (BURST, true),
            Self::Held(most) => (most.min(LONGEST_PATIENCE), false),
        };
        let until = Instant::now() + most;
        let is_over = || urgency.is_turn_wanted() || (!is_read && urgency.is_interactive());
        while !is_over() && Instant::now() < until {
            sleep(CHECK.min(until - Instant::now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::{Error, ErrorKind};

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// A source whose every question takes 40 ms.
    #[derive(Default)]
    struct Server {
        bursts: Bursts,
        questions: Cell<usize>,
    }

    impl Server {
        /// Confirms a part of this version that has just arrived.
        async fn confirm(&self, digest: &str, patience: Patience, urgency: Urgency, result: Result<()>) -> Result<()> {
            let (path, digest) = (RemotePath::root(), Digest::new(digest));
            let ask = async {
                self.questions.set(self.questions.get() + 1);
                sleep(milliseconds(40)).await;
                result
            };
            let wanted = Retrieval { urgency, ..Retrieval::new(&path, &digest, 10, 0..5) };
            self.bursts.confirmed(&wanted, patience, ask).await
        }

        /// The same of a part that is being read already.
        async fn read(&self, result: Result<()>) -> Result<()> {
            self.confirm("1", Patience::Read, Urgency::interactive(), result).await
        }

        /// The same of one that is held so long, where a reader waits for it.
        async fn held(&self, patience: u64, urgency: Urgency) {
            let patience = Patience::Held(milliseconds(patience));
            self.confirm("1", patience, urgency, Ok(())).await.expect("it is of this version");
        }

        /// Another request is sent after so many milliseconds, and answered so much later; with this version, if `is_of_it`.
        async fn other(&self, digest: &str, after: u64, takes: u64, is_of_it: bool) {
            sleep(milliseconds(after)).await;
            let (path, digest) = (RemotePath::root(), Digest::new(digest));
            let question = self.bursts.question(&Retrieval::new(&path, &digest, 10, 5..10));
            sleep(milliseconds(takes)).await;
            if is_of_it {
                question.confirmed();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_answer_confirms_what_had_arrived_before_it_was_asked_for() {
        let (server, began) = (Server::default(), Instant::now());
        let (confirmed, ()) = tokio::join!(server.read(Ok(())), server.other("1", 50, 50, true));
        assert!(confirmed.is_ok());
        assert_eq!((server.questions.get(), began.elapsed()), (0, milliseconds(100)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_question_another_version_or_none_confirms_nothing() {
        for (digest, after, is_of_it) in [("1", 0, true), ("2", 50, true), ("1", 50, false)] {
            let server = Server::default();
            let late = async {
                sleep(milliseconds(1)).await;
                server.read(Ok(())).await
            };
            let (confirmed, ()) = tokio::join!(late, server.other(digest, after, 50, is_of_it));
            assert!(confirmed.is_ok());
            assert_eq!(server.questions.get(), 1, "version {digest}, asked after {after} ms, {is_of_it}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_burst_one_asks_for_all() {
        let (server, began) = (Server::default(), Instant::now());
        let late = async {
            sleep(milliseconds(20)).await;
            server.read(Ok(())).await
        };
        let all = tokio::join!(server.read(Ok(())), server.read(Ok(())), late);
        assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok());
        assert_eq!((server.questions.get(), began.elapsed()), (1, BURST + milliseconds(40)));
        assert!(server.bursts.0.lock().values().all(|burst| burst.strong_count() == 0), "nothing of it stays");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_under_way_is_waited_for_but_not_long() {
        for (takes, questions, ends) in [(900, 0, 1_000), (60_000, 1, 250 + 1_000 + 40)] {
            let (server, began) = (Server::default(), Instant::now());
            let other = async {
                server.other("1", 100, takes, true).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                confirmed = server.read(Ok(())) => assert!(confirmed.is_ok()),
                () = other => {}
            }
            assert_eq!((server.questions.get(), began.elapsed()), (questions, milliseconds(ends)), "{takes} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn parts_that_nobody_waits_for_wait_a_little_and_share_a_question() {
        let (server, began) = (Server::default(), Instant::now());
        tokio::join!(
            server.held(30, Urgency::ahead()),
            server.held(70, Urgency::ahead()),
            server.held(60_000, Urgency::ahead())
        );
        assert_eq!((server.questions.get(), began.elapsed()), (1, milliseconds(70)));
        server.held(60_000, Urgency::ahead()).await;
        assert_eq!((server.questions.get(), began.elapsed()), (2, milliseconds(70 + 100 + 40)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_for_a_part_has_no_patience() {
        let (server, began) = (Server::default(), Instant::now());
        server.held(100, Urgency::interactive()).await;
        assert_eq!((server.questions.get(), began.elapsed()), (1, milliseconds(40)));
        let urgency = Urgency::ahead();
        let raised = async {
            sleep(milliseconds(15)).await;
            urgency.raise();
        };
        tokio::join!(server.held(100, urgency.clone()), raised);
        assert_eq!((server.questions.get(), began.elapsed()), (2, milliseconds(40 + 20 + 40)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_file_is_asked_about_at_once() {
        let (server, began) = (Server::default(), Instant::now());
        let (path, digest) = (RemotePath::root(), Digest::new("1"));
        let whole = Retrieval::new(&path, &digest, 10, 0..10);
        let ask = async {
            server.questions.set(1);
            Ok(())
        };
        assert!(server.bursts.confirmed(&whole, Patience::Read, ask).await.is_ok());
        assert_eq!((server.questions.get(), began.elapsed()), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_is_gone_is_confirmed_for_nobody() {
        let server = Server::default();
        let gone = || Err(Error::new("retrieve_file", ErrorKind::Changed));
        let both = tokio::join!(server.read(gone()), server.read(gone()));
        assert!(both.0.is_err() && both.1.is_err());
    }
}
