//! `LoginCheck`: whether a server that refuses a request (401) refuses the login, or only the place that was asked for. It sends nothing.
//!
//! The status alone does not tell: Apache answers 401 to a user whose login is right and who may not read one file. So the source's root is
//! asked for, once for all requests that are refused meanwhile. Its answer proves a login only where it is given to nobody without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::sync::Mutex;

use crate::error::Result;

/// The login of one connection, as far as refusals have told of it.
#[derive(Debug)]
pub(in crate::sources) struct LoginCheck {
    root: Request<Bytes>,
    /// Whether the latest answer about the login has refused it. Outlives the connection.
    is_refused: Arc<AtomicBool>,
    /// How many times the root has been asked for.
    asked: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether the root is shown to those who do not log in.
    is_open: Option<bool>,
    /// Whether the root was given to this login when it was last asked for.
    takes_login: bool,
}

/// What a refused request has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The login.
    Login,
    /// Nothing, since the server that refused it is not the one of the login.
    Elsewhere,
    /// Nothing, since there is no login.
    Stranger,
}

/// Asks for the root.
#[async_trait]
pub(super) trait Ask: Sync {
    /// The status of the answer.
    async fn ask(&self, asking: Asking) -> Result<StatusCode>;
}

/// How the root is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    LoggedIn,
    Stranger,
}

impl LoginCheck {
    /// A check by this request for the root.
    pub(in crate::sources) fn new(root: Request<Bytes>, is_refused: Arc<AtomicBool>) -> Self {
        Self { root, is_refused, asked: AtomicU64::new(0), known: Mutex::default() }
    }

    /// The request for the root.
    pub(super) fn root(&self) -> Request<Bytes> {
        self.root.clone()
    }

    /// Whether the latest answer about the login has refused it.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Notes whether the root was refused to the login.
    pub(super) fn note(&self, is_refused: bool) {
        self.is_refused.store(is_refused, Ordering::Relaxed);
    }

    /// Whether a refusal is about its place alone. A login that was refused once is not sent again.
    ///
    /// # Errors
    /// The root cannot be asked for.
    pub(super) async fn is_of_place(&self, refused: Refused, root: &dyn Ask) -> Result<bool> {
        let asked = self.asked.load(Ordering::Acquire);
        let mut known = self.known.lock().await;
        if self.is_refused() {
            return Ok(false);
        }
        let is_open = match known.is_open {
            Some(is_open) => is_open,
            None => match root.ask(Asking::Stranger).await? {
                status if status.is_success() => true,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => false,
                _ => return Ok(false),
            },
        };
        known.is_open = Some(is_open);
        if is_open || refused == Refused::Stranger {
            return Ok(is_open && refused != Refused::Login);
        }
        // Otherwise the root was asked for while this waited.
        if asked == self.asked.load(Ordering::Acquire) {
            let status = root.ask(Asking::LoggedIn).await?;
            self.note(status == StatusCode::UNAUTHORIZED);
            known.takes_login = status.is_success();
            self.asked.fetch_add(1, Ordering::Release);
        }
        Ok(known.takes_login)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::error::{Error, ErrorKind};

    fn check() -> LoginCheck {
        LoginCheck::new(Request::new(Bytes::new()), Arc::default())
    }

    /// A root that answers so, and every question about it.
    struct Root {
        stranger: u16,
        logged_in: u16,
        asked: parking_lot::Mutex<Vec<Asking>>,
    }

    impl Root {
        fn new(stranger: u16, logged_in: u16) -> Self {
            Self { stranger, logged_in, asked: parking_lot::Mutex::default() }
        }

        async fn judge(&self, check: &LoginCheck, refused: Refused) -> Option<bool> {
            check.is_of_place(refused, self).await.ok()
        }
    }

    #[async_trait]
    impl Ask for Root {
        async fn ask(&self, asking: Asking) -> Result<StatusCode> {
            self.asked.lock().push(asking);
            tokio::task::yield_now().await;
            let status = if asking == Asking::Stranger { self.stranger } else { self.logged_in };
            StatusCode::from_u16(status).map_err(|_| Error::new("list_path", ErrorKind::Unreachable))
        }
    }

    #[tokio::test]
    async fn a_refusal_is_of_its_place_where_the_root_takes_the_login_and_nobody_else() {
        use Refused::{Elsewhere, Login, Stranger};
        const SILENT: u16 = 0;
        for (stranger, logged_in, refused, of_place) in [
            (401, 207, Login, Some(true)),
            (403, 200, Login, Some(true)),
            (401, 207, Elsewhere, Some(true)),
            (401, 401, Login, Some(false)),
            (401, 401, Elsewhere, Some(false)),
            // No answer, or one that proves nothing.
            (401, 503, Login, Some(false)),
            (503, 207, Login, Some(false)),
            (302, 207, Login, Some(false)),
            (401, SILENT, Login, None),
            (SILENT, 207, Login, None),
            // Everybody gets it: it says nothing of a login, and enough where there is none.
            (207, 207, Login, Some(false)),
            (207, 207, Elsewhere, Some(true)),
            (207, 207, Stranger, Some(true)),
            (401, 207, Stranger, Some(false)),
        ] {
            let case = format!("{stranger} {logged_in} {refused:?}");
            let (root, check) = (Root::new(stranger, logged_in), check());
            assert_eq!(root.judge(&check, refused).await, of_place, "{case}");
            let sent = root.asked.lock().iter().filter(|asking| **asking == Asking::LoggedIn).count();
            assert!(sent <= usize::from(stranger != 207 && refused != Stranger), "{case}");
        }
    }

    #[tokio::test]
    async fn all_that_are_refused_at_once_ask_once_and_a_refused_login_is_sent_no_more() {
        use Asking::{LoggedIn, Stranger};
        let (mut root, check) = (Root::new(401, 207), check());
        let judged = join_all((0..9).map(|_| root.judge(&check, Refused::Login))).await;
        assert_eq!(judged, [Some(true); 9]);
        assert_eq!(*root.asked.lock(), [Stranger, LoggedIn]);
        // Another refusal later is another question: the password may have been changed since.
        assert_eq!(root.judge(&check, Refused::Login).await, Some(true));
        assert_eq!(*root.asked.lock(), [Stranger, LoggedIn, LoggedIn]);

        root.logged_in = 401;
        let judged = join_all((0..9).map(|_| root.judge(&check, Refused::Login))).await;
        assert_eq!(judged, [Some(false); 9]);
        assert_eq!(root.judge(&check, Refused::Login).await, Some(false));
        assert_eq!(*root.asked.lock(), [Stranger, LoggedIn, LoggedIn, LoggedIn]);
        assert!(check.is_refused());
    }

    #[tokio::test]
    async fn an_answer_that_proves_nothing_is_asked_for_again() {
        let (mut root, check) = (Root::new(401, 503), check());
        assert_eq!(root.judge(&check, Refused::Login).await, Some(false));
        assert!(!check.is_refused(), "that was no refusal");
        root.logged_in = 207;
        assert_eq!(root.judge(&check, Refused::Login).await, Some(true));
    }
}
