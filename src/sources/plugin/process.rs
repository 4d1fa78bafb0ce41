//! `Process`: a program of its own process group, and how it ends. It knows no protocol.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::children::{Group, starting};
use crate::error::{Error, ErrorKind, Result};
use crate::source::settings::PASSWORD_VARIABLE;

/// How long a process may take to end after each hint: its standard input closed, then SIGTERM. SIGKILL takes no time.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// How a plugin is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables of its environment beyond the host's own.
    pub env: Vec<(OsString, OsString)>,
    /// Variables of the host's that it does not get: secrets of other sources.
    pub withheld: Vec<String>,
    /// Bytes of the longest file that it may write.
    pub longest_file: Option<u64>,
}

/// A running program. Dropped without [`Process::end`], it and its whole group are killed at once.
#[derive(Debug)]
pub struct Process {
    end: Option<oneshot::Sender<()>>,
    ended: watch::Receiver<Option<String>>,
}

/// The pipes of a process.
#[derive(Debug)]
pub struct Pipes {
    /// Requests.
    pub stdin: ChildStdin,
    /// Answers and notifications.
    pub stdout: ChildStdout,
    /// Its log.
    pub stderr: ChildStderr,
}

/// RestartBackoff a program.
///
/// # Errors
/// `Unsupported` if it cannot be run.
pub fn start(launch: &Launch) -> Result<(Process, Pipes)> {
    let failed = |why: &str| Error::new("start", ErrorKind::Unsupported).on(launch.program.display()).because(why);
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).envs(launch.env.iter().map(|(name, value)| (name, value)));
    // The password of a URL is for the source of that URL.
    command.env_remove(PASSWORD_VARIABLE);
    for name in &launch.withheld {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A working directory on a mount would keep that from being unmounted.
    command.current_dir("/").kill_on_drop(true);
    let not_run = |e| failed("the program cannot be run").caused_by(e);
    let starting = starting(command.as_std_mut()).map_err(not_run)?;
    let mut child = command.spawn().map_err(not_run)?;
    let group = child.id().map(|id| starting.group(id));
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err(failed("it started without its pipes")) };
    if let Some(longest) = launch.longest_file {
        // Children inherit the limit. The process was told of no file to write yet.
        let limit = Rlimit { current: Some(longest), maximum: Some(longest) };
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        prlimit(id, Resource::Fsize, limit).map_err(|e| failed("its files cannot be limited").caused_by(e))?;
    }
    let (end, ending) = oneshot::channel();
    let (tell, ended) = watch::channel(None);
    tokio::spawn(async move {
        let end = wait_or_end(child, group, ending).await;
        tell.send_replace(Some(end));
    });
    Ok((Process { end: Some(end), ended }, Pipes { stdin, stdout, stderr }))
}

impl Process {
    /// Gets to know how the process ended.
    pub fn watch(&self) -> watch::Receiver<Option<String>> {
        self.ended.clone()
    }

    /// Ends the process, of which the standard input must be closed by now, and returns how when it is gone.
    pub async fn end(mut self) -> String {
        if let Some(end) = self.end.take() {
            // An error says that it has ended already.
            let _ = end.send(());
        }
        let end = self.ended.wait_for(Option::is_some).await.map(|end| end.clone());
        end.ok().flatten().unwrap_or_else(|| "the process was ended".into())
    }
}

/// Waits for the process to end, or ends it: in steps if `ending` says so, at once if the sender is dropped.
async fn wait_or_end(mut child: Child, group: Option<Group>, mut ending: oneshot::Receiver<()>) -> String {
    let is_graceful = tokio::select! {
        status = child.wait() => return describe_exit(status),
        asked = &mut ending => asked.is_ok(),
    };
    if is_graceful {
        if let Ok(status) = timeout(EXIT_TIMEOUT, child.wait()).await {
            return describe_exit(status);
        }
        if let Some(group) = &group {
            group.signal(Signal::TERM);
        }
        if let Ok(status) = timeout(EXIT_TIMEOUT, child.wait()).await {
            return describe_exit(status);
        }
    }
    if let Some(group) = &group {
        group.signal(Signal::KILL);
    }
    describe_exit(child.wait().await)
}

fn describe_exit(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("the process ended ({status})"),
        Err(e) => format!("the process was lost: {e}"),
    }
}
