//! Edge cases: paths that are not there, messages that it does not expect, cancelled calls, the end of its input.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;

use super::super::calls::Event;
use super::super::session::Session;
use super::exchange::Checker;
use super::sorted;

/// A path that no source has.
const MISSING_PATH: &str = "/kitovufs-no-such-name-5e1f";

/// How long a cancelled call may take to be answered, and a process to exit after its input has ended.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
const EXIT_TIMEOUT: Duration = Duration::from_millis(900);

impl Checker<'_> {
    /// Asks for paths that do not exist.
    pub async fn missing_paths(&mut self, session: &Session) {
        let missing = |kind: &str| matches!(kind, "not_found" | "unknown_path");
        let outcome = self.ask("create_remote_digest", json!({ "path": MISSING_PATH })).await;
        let wanted = "a path that is not there is `not_found` or `unknown_path`";
        self.refused("create_remote_digest", wanted, &outcome, |refusal| missing(&refusal.data.kind));
        if session.hello.capabilities.one_level {
            let outcome = self.list(MISSING_PATH).await;
            self.refused("list_path", wanted, &outcome, |refusal| missing(&refusal.data.kind));
        }
        let outcome = self.ask("create_remote_digest", json!({"path": "/../../../../../../etc/passwd"})).await;
        self.refused("create_remote_digest", "a path that leads out of the source is refused", &outcome, |_| true);
    }

    /// Sends unknown notifications, cancels a call, and makes several calls at once.
    pub async fn unexpected_messages(&mut self, session: &Session) {
        let abilities = &session.hello.capabilities;
        for line in [
            r#"{"jsonrpc":"2.0","method":"kitovufs/unheard-of","params":{"a":[1]}}"#,
            r#"{"jsonrpc":"2.0","method":"cancel","params":{"id":999999}}"#,
        ] {
            self.connection.write_raw(line).await;
        }
        let outcome = self.list("/").await;
        let wanted = "unknown notifications, and a `cancel` of nothing, are ignored";
        self.expect("notifications", wanted, &outcome, |_| Ok(()));
        if abilities.cancel {
            let began = Instant::now();
            let wrong = match self.connection.call("list_path", json!({"path": "/"})).await {
                Ok(mut call) => {
                    self.connection
                        .write_raw(
                            &json!({"jsonrpc": "2.0", "method": "cancel", "params": {"id": call.id()}}).to_string(),
                        )
                        .await;
                    let end = timeout(CANCEL_TIMEOUT, async {
                        while let Ok(Event::Entries(_) | Event::Progress) = call.next().await {}
                    })
                    .await;
                    end.is_err().then(|| "it was not answered".to_owned())
                }
                Err(failure) => Some(failure.error("list_path", &self.log).to_string()),
            };
            let took = format!("the end, after {} ms", began.elapsed().as_millis());
            self.find("cancel", "a cancelled call is answered within 2 s", "cancel".into(), took, wrong);
        }
        if abilities.concurrency() > 1 {
            let asking = (0..abilities.concurrency()).map(|_| self.connection.ask("list_path", json!({"path": "/"})));
            let answers = timeout(self.timeout, futures::future::join_all(asking)).await;
            let wrong = match answers {
                Ok(answers) if answers.iter().all(Result::is_ok) => None,
                Ok(_) => Some("not all succeeded".to_owned()),
                Err(_) => Some("not all were answered".into()),
            };
            let wanted = "with `concurrency`, as many calls at once are all answered";
            self.find("concurrency", wanted, format!("{} × list_path", abilities.concurrency()), String::new(), wrong);
        }
    }

    /// Disconnects, connects again, and ends the process.
    pub async fn reconnect_and_end(&mut self, session: &Session) {
        let before = self.list("/").await;
        let gone = self.ask("disconnect", json!({})).await;
        self.expect("disconnect", "it succeeds", &gone, |_| Ok(()));
        let back = self.ask("connect", json!({})).await;
        if !matches!(&back.end, Some(Err(refusal)) if refusal.is_unknown_method()) {
            self.expect("connect", "it succeeds again", &back, |_| Ok(()));
        }
        let after = self.list("/").await;
        self.expect("list_path", "after another `connect`, the root is the same", &after, |_| {
            if sorted(&before) == sorted(&after) { Ok(()) } else { Err("it is another listing".into()) }
        });
        let _ = self.ask("disconnect", json!({})).await;
        let noise_lines = self.connection.noise_lines();
        let wrong = (noise_lines > 0)
            .then(|| format!("{noise_lines} lines are no messages; the log shows them (KITOVUFS_LOG=warn)"));
        self.find("standard output", "nothing but messages is written to it", String::new(), String::new(), wrong);
        let began = Instant::now();
        let how = session.connection.end().await;
        let wrong = (began.elapsed() > EXIT_TIMEOUT).then(|| "it had to be made to end".to_owned());
        self.find(
            "end",
            "the process ends by itself when its standard input does",
            "(end of input)".into(),
            how,
            wrong,
        );
    }
}
