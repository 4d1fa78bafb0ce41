//! `Preconnected`: connections to a source's host that are ready before the source is connected. It knows no file, no login and no protocol but
//! HTTP.

use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use reqwest::{Client, Version};
use tokio::time::timeout;
use url::Url;

use super::redirect::{Named, Redirects};
use super::transport::{Transport, connections};
use crate::error::Result;
use crate::sources::authorities::Authorities;

/// How long the requests for the sake of connections may take, all together: a server may send interim answers (1xx) without end, each of
/// which is read.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The client whose connections are opened early, for the first who connects.
#[derive(Debug, Default)]
pub(in crate::sources) struct Preconnected(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// No connection was opened.
    #[default]
    Unused,
    /// Connections are open, or being opened.
    Ready(Client),
    /// Somebody has connected.
    Over,
}

impl Preconnected {
    /// Opens connections to the host of `url`, about `most` of them where each serves one request at a time, for whoever takes the client;
    /// none once somebody has connected without them.
    ///
    /// A client connects for a request only. Here that is `HEAD /`: its answer has no body, so that the connection is free at once, and
    /// of no interest, whatever it says. It carries no login, though a request to the source would: so no secret is revealed, no program
    /// started, and no account locked.
    pub(in crate::sources) async fn open(&self, url: &str, authorities: &Authorities, most: usize) {
        let (Ok(mut url), Ok(client)) = (Url::parse(url), connections(authorities)) else { return };
        url.set_path("/");
        // Before anything is waited for: who connects meanwhile finds the connection that comes.
        {
            let mut state = self.0.lock();
            if !matches!(*state, State::Unused) {
                return;
            }
            *state = State::Ready(client.clone());
        }
        let opening = async {
            let Some(version) = ask(&client, &url).await else { return };
            if version < Version::HTTP_2 && most > 1 {
                // At once, since one after the other would take the same connection.
                join_all((0..most).map(|_| ask(&client, &url))).await;
            }
            tracing::debug!("connected before the first request");
        };
        if timeout(TIMEOUT, opening).await.is_err() {
            // The connections of requests that are given up are closed.
            tracing::debug!("not connected before the first request: no answer for {TIMEOUT:?}");
        }
    }

    /// A transport as [`Transport::new`] makes it, over the connections that are ready, unless there are none, or another has them.
    pub(in crate::sources) fn transport(
        &self,
        redirects: Redirects,
        named: Named,
        authorities: Authorities,
    ) -> Result<Transport> {
        match std::mem::replace(&mut *self.0.lock(), State::Over) {
            State::Ready(client) => Ok(Transport::over(client, redirects, named, authorities)),
            State::Unused | State::Over => Transport::new(redirects, named, authorities),
        }
    }
}

/// Sends a request for the sake of its connection; the version of HTTP that this speaks, if there is an answer.
async fn ask(client: &Client, url: &Url) -> Option<Version> {
    match client.head(url.clone()).send().await {
        Ok(response) => Some(response.version()),
        Err(error) => {
            // Who needs the source finds out by himself, and that is told then.
            tracing::debug!("not connected before the first request: {error}");
            None
        }
    }
}
