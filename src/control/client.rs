//! `Client`: asks the daemon of a mount, and waits for its answer for a limited time. It knows no method.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::place;
use super::wire::{self, Said};

/// How long a daemon has for an answer that it knows. The whole command, which has other work as well, must end within 2 s.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long it may be silent with what takes longer, of which it tells something every second.
const SILENCE: Duration = Duration::from_secs(10);

/// How long it may be silent while it waits for a source, which has a `timeout` of its own, and is asked more than once.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a daemon that has just mounted may take to make its socket, and how often to look for that.
const STARTING: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(10));

/// Why a daemon has not done what it was asked.
#[derive(Debug)]
pub enum Unanswered {
    /// The process that served the mount is gone.
    Dead,
    /// It said nothing in time.
    Silent,
    /// It closed the connection, as at the end of the mount.
    Closed,
    /// It does not do that; why not, in words.
    Refused(String),
    /// It cannot be asked.
    Failed(io::Error),
}

impl From<io::Error> for Unanswered {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::ConnectionRefused => Self::Dead,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Failed(e),
        }
    }
}

/// A connection to the daemon of a mount.
pub struct Client {
    stream: BufReader<UnixStream>,
    next_id: u64,
}

impl Client {
    /// Connects to the daemon of the mount whose FUSE connection has this number.
    ///
    /// # Errors
    /// It is gone, or cannot be asked.
    pub fn connect(mount: u32) -> Result<Self, Unanswered> {
        // On a thread, which is left behind where too many wait for a daemon that is stopped: connect(2) has no time limit.
        let (tell, connected) = mpsc::channel();
        let connect = move || {
            // After the timeout there is no receiver.
            let _ = tell.send(connect_to(mount));
        };
        thread::Builder::new().name("connect".into()).spawn(connect)?;
        let stream = connected.recv_timeout(ANSWER_TIMEOUT).map_err(|_| Unanswered::Silent)??;
        Self::over(stream)
    }

    fn over(stream: UnixStream) -> Result<Self, Unanswered> {
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { stream: BufReader::new(stream), next_id: 0 })
    }

    /// Asks for what the daemon knows.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub fn ask(&mut self, method: &str, params: Value) -> Result<Value, Unanswered> {
        self.stream.get_ref().set_read_timeout(Some(ANSWER_TIMEOUT))?;
        self.carry_out(method, params, &mut |_, _| {})
    }

    /// Asks for what may take long, and hears what is told on the way: what it is, and the rest.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub fn ask_hearing(
        &mut self,
        method: &str,
        params: Value,
        mut hear: impl FnMut(&str, Value),
    ) -> Result<Value, Unanswered> {
        self.stream.get_ref().set_read_timeout(Some(SILENCE))?;
        self.carry_out(method, params, &mut hear)
    }

    /// Asks for what may have to wait for a source.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub fn ask_patiently(&mut self, method: &str, params: Value) -> Result<Value, Unanswered> {
        self.stream.get_ref().set_read_timeout(Some(SOURCE_TIMEOUT))?;
        self.carry_out(method, params, &mut |_, _| {})
    }

    /// Asks for what has no end, and hears what is told, until the daemon closes the connection. Where it falls silent, as one that was
    /// stopped does, `silent` decides whether to wait for it.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub fn follow(
        &mut self,
        method: &str,
        mut hear: impl FnMut(Value),
        mut silent: impl FnMut() -> ControlFlow<()>,
    ) -> Result<(), Unanswered> {
        self.stream.get_ref().set_read_timeout(Some(SILENCE))?;
        self.send(method, Value::Null)?;
        let mut line = Vec::new();
        loop {
            match self.said(&mut line) {
                Ok(Said::Told { params, .. }) => hear(params),
                Ok(Said::End(result)) => {
                    return result.map(drop).map_err(|refusal| Unanswered::Refused(refusal.message));
                }
                Err(Unanswered::Silent) if silent().is_continue() => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    fn send(&mut self, method: &str, params: Value) -> Result<(), Unanswered> {
        self.next_id += 1;
        match self.stream.get_mut().write_all(&wire::request(self.next_id, method, params)).map_err(Unanswered::from) {
            // Why it has closed the connection may be there to be read.
            Err(Unanswered::Closed) => Ok(()),
            sent => sent,
        }
    }

    /// What the daemon says next. `line` has the beginning of a message of which the rest has not come in time.
    fn said(&mut self, line: &mut Vec<u8>) -> Result<Said, Unanswered> {
        self.stream.read_until(b'\n', line)?;
        if line.is_empty() {
            return Err(Unanswered::Closed);
        }
        let said = wire::read(line);
        line.clear();
        said.ok_or_else(|| Unanswered::Refused("it says what this version does not understand".into()))
    }

    fn carry_out(
        &mut self,
        method: &str,
        params: Value,
        hear: &mut dyn FnMut(&str, Value),
    ) -> Result<Value, Unanswered> {
        self.send(method, params)?;
        let mut line = Vec::new();
        loop {
            match self.said(&mut line)? {
                Said::Told { method, params } => hear(&method, params),
                Said::End(result) => return result.map_err(|refusal| Unanswered::Refused(refusal.message)),
            }
        }
    }
}

fn connect_to(mount: u32) -> io::Result<UnixStream> {
    let begun = Instant::now();
    loop {
        match place::connect(mount) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && begun.elapsed() < STARTING.0 => thread::sleep(STARTING.1),
            connected => return connected,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a client makes of these lines of a daemon, which closes the connection then, or stays silent.
    fn made_of(lines: &[Vec<u8>], closes: bool) -> (Result<Value, Unanswered>, Vec<(String, Value)>) {
        let (ours, mut daemon) = UnixStream::pair().expect("a pair");
        lines.iter().for_each(|line| daemon.write_all(line).expect("written"));
        let mut client = Client::over(ours).expect("a client");
        let (mut heard, mut kept) = (Vec::new(), Some(daemon));
        if closes {
            // It still reads what it is asked.
            kept.as_ref().expect("it is there").shutdown(std::net::Shutdown::Write).expect("shut");
        }
        let end = client.ask_hearing("m", Value::Null, |method, params| heard.push((method.to_owned(), params)));
        kept.take();
        (end, heard)
    }

    #[test]
    fn what_is_told_comes_before_the_end() {
        let (end, heard) = made_of(&[wire::told("progress", &1), wire::end(&json!(1), Ok(json!("done")))], false);
        assert_eq!((end.expect("it was done"), heard), (json!("done"), vec![("progress".into(), json!(1))]));
    }

    #[test]
    fn why_a_daemon_closed_the_connection_before_it_was_asked_is_told() {
        let (ours, mut daemon) = UnixStream::pair().expect("a pair");
        let refusal = wire::Refusal::new(wire::INVALID_REQUEST, "32 clients are connected already");
        daemon.write_all(&wire::end(&Value::Null, Err(refusal))).expect("written");
        drop(daemon);
        let end = Client::over(ours).expect("a client").ask("m", Value::Null);
        assert!(matches!(&end, Err(Unanswered::Refused(why)) if why.starts_with("32 clients")), "{end:?}");
    }

    #[test]
    fn a_daemon_that_falls_silent_in_the_middle_of_a_message_is_heard_to_its_end() {
        let (ours, mut daemon) = UnixStream::pair().expect("a pair");
        let mut client = Client::over(ours).expect("a client");
        ours_is_impatient(&client);
        let message = wire::told("status", &json!({"a": 1}));
        let (first, rest) = message.split_at(10);
        daemon.write_all(first).expect("written");
        let mut line = Vec::new();
        assert!(matches!(client.said(&mut line), Err(Unanswered::Silent)));
        daemon.write_all(rest).expect("written");
        let said = client.said(&mut line).expect("it is there");
        assert_eq!(said, Said::Told { method: "status".into(), params: json!({"a": 1}) });
    }

    fn ours_is_impatient(client: &Client) {
        client.stream.get_ref().set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    }

    #[test]
    fn the_ends_of_a_daemon_are_told_apart() {
        let refusal = wire::end(&json!(1), Err(wire::Refusal::new(wire::FAILED, "no")));
        assert!(matches!(made_of(&[refusal], false).0, Err(Unanswered::Refused(why)) if why == "no"));
        assert!(matches!(made_of(&[b"hello\n".to_vec()], false).0, Err(Unanswered::Refused(_))));
        assert!(matches!(made_of(&[], true).0, Err(Unanswered::Closed)));
        let (mut silent, _daemon) = {
            let (ours, daemon) = UnixStream::pair().expect("a pair");
            (Client::over(ours).expect("a client"), daemon)
        };
        assert!(matches!(silent.ask("m", Value::Null), Err(Unanswered::Silent)));
    }
}
