//! Asking a mount whether it answers, by an extended attribute of its root, for a limited time.
//!
//! A process that asks a mount whose daemon is stopped waits for it, and cannot always be killed. So this program is started once
//! more to ask, and left behind if it does not come back.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::fs::getxattr;
use rustix::io::Errno;
use tracing::debug;

use crate::error::{Error, ErrorKind, Result};

/// The time that a mount has for its answer. The whole command, which has other work as well, must end within 2 s.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// An attribute that the root need not have: the kernel asks the daemon for it anew each time.
const ATTRIBUTE: &str = "user.kitovufs.state";

/// The answer of a mount.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It works.
    Alive,
    /// The process that served it is gone.
    Dead,
    /// The process that serves it did not answer in time.
    Silent,
    /// It could not be asked, or is no mount of ours.
    Failed(Errno),
}

/// A question that is on its way.
pub struct Asked {
    child: Child,
    said: Receiver<Vec<u8>>,
    until: Instant,
}

impl Asked {
    /// Asks the mount at `mountpoint`.
    ///
    /// # Errors
    /// This program cannot be started again.
    pub fn of(mountpoint: &Path) -> Result<Self> {
        let failed = |e| Error::new("ask", ErrorKind::Other).on(mountpoint.display()).caused_by(e);
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.arg("ask").arg("--").arg(mountpoint).current_dir("/");
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(failed)?;
        let mut stdout = child.stdout.take().expect("the output is piped");
        let (tell, said) = mpsc::channel();
        let listen = move || {
            let mut all = Vec::new();
            if stdout.read_to_end(&mut all).is_ok() {
                // After the timeout there is no receiver.
                let _ = tell.send(all);
            }
        };
        std::thread::Builder::new().name("ask".into()).spawn(listen).map_err(failed)?;
        Ok(Self { child, said, until: Instant::now() + ANSWER_TIMEOUT })
    }

    /// Waits for the answer, at most until the time is over that counts from the question.
    pub fn answer(mut self) -> Answer {
        let left = self.until.saturating_duration_since(Instant::now());
        let Ok(said) = self.said.recv_timeout(left) else {
            // The child may wait where no signal reaches it, so its end is not waited for.
            if let Err(e) = self.child.kill() {
                debug!("the process that asks stays: {e}");
            }
            return Answer::Silent;
        };
        if let Err(e) = self.child.wait() {
            debug!("the process that asked: {e}");
        }
        understand(&said)
    }
}

fn understand(said: &[u8]) -> Answer {
    let errno = str::from_utf8(said).ok().and_then(|said| said.parse().ok()).map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::NODATA) => Answer::Alive,
        Some(Errno::NOTCONN) => Answer::Dead,
        Some(errno) => Answer::Failed(errno),
        // It ended without a word.
        None => Answer::Failed(Errno::IO),
    }
}

/// Asks in this process, and writes the number of the error to standard output, which [`Asked`] reads. Only for a process that exists for it.
///
/// # Errors
/// If the reader of standard output is gone.
pub fn ask_here(mountpoint: &Path) -> std::io::Result<()> {
    // A value is an answer too.
    let errno = getxattr(mountpoint, ATTRIBUTE, &mut [0; 64][..]).err().unwrap_or(Errno::NODATA);
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{}", errno.raw_os_error())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_understood() {
        let understood = |errno: i32| understand(errno.to_string().as_bytes());
        assert_eq!(understood(libc::ENODATA), Answer::Alive);
        assert_eq!(understood(libc::ENOTCONN), Answer::Dead);
        assert_eq!(understood(libc::ENOENT), Answer::Failed(Errno::NOENT));
        assert_eq!(understand(b""), Answer::Failed(Errno::IO));
    }
}
