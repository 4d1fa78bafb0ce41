//! Asking a mount for its status, by an extended attribute of its root, for a limited time. It does not read the answer.
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
use crate::fuse::{LOGIN_XATTR, STATUS_XATTR};

/// The time that a mount has for its answer. The whole command, which has other work as well, must end within 2 s.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// The largest value of an extended attribute (`XATTR_SIZE_MAX`), in bytes.
const XATTR_MAX: usize = 65_536;

/// The prefix that the asking process writes before the number of an error. A status begins otherwise.
const FAILED: &str = "errno ";

/// The answer of a mount.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its status, as JSON.
    Status(Vec<u8>),
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
        Self::of_attribute(mountpoint, STATUS_XATTR)
    }

    /// Tells the mount at `mountpoint` that the secret of a source is another.
    ///
    /// # Errors
    /// This program cannot be started again.
    pub fn to_log_in(mountpoint: &Path, source: &str) -> Result<Self> {
        Self::of_attribute(mountpoint, &format!("{LOGIN_XATTR}{source}"))
    }

    fn of_attribute(mountpoint: &Path, attribute: &str) -> Result<Self> {
        let failed = |e| Error::new("ask", ErrorKind::Other).on(mountpoint.display()).caused_by(e);
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.arg("ask").arg("--").arg(mountpoint).arg(attribute).current_dir("/");
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
        understand(said)
    }
}

fn understand(said: Vec<u8>) -> Answer {
    let errno = str::from_utf8(&said).ok().and_then(|said| said.strip_prefix(FAILED)?.parse().ok());
    match errno.map(Errno::from_raw_os_error) {
        Some(Errno::NOTCONN) => Answer::Dead,
        Some(errno) => Answer::Failed(errno),
        // It ended without a word.
        None if said.is_empty() => Answer::Failed(Errno::IO),
        None => Answer::Status(said),
    }
}

/// Asks in this process, and writes the form that [`Asked`] reads to standard output. Only for a process that exists for it.
///
/// # Errors
/// If the reader of standard output is gone.
pub fn ask_here(mountpoint: &Path, attribute: &str) -> std::io::Result<()> {
    let mut buffer = vec![0; XATTR_MAX];
    let mut stdout = std::io::stdout().lock();
    match getxattr(mountpoint, attribute, &mut buffer[..]) {
        Ok(length) => stdout.write_all(&buffer[..length])?,
        Err(errno) => write!(stdout, "{FAILED}{}", errno.raw_os_error())?,
    }
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_understood() {
        assert_eq!(understand(b"{}".to_vec()), Answer::Status(b"{}".to_vec()));
        assert_eq!(understand(format!("{FAILED}{}", libc::ENOTCONN).into()), Answer::Dead);
        assert_eq!(understand(format!("{FAILED}{}", libc::ENODATA).into()), Answer::Failed(Errno::NODATA));
        assert_eq!(understand(Vec::new()), Answer::Failed(Errno::IO));
    }
}
