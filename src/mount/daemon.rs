//! Leaving a process behind: `mount` starts itself again, and returns when that one says that the folder answers.
//!
//! Nothing is forked: the new process begins afresh, so no thread, lock or descriptor is inherited half-way.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use rustix::process::{Signal, chdir, set_parent_process_death_signal, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::error::{Error, ErrorKind, Result};

/// The word that the new process prints when the folder answers.
const READY: &str = "ready";

/// Starts this program again to serve. Returns the exit code: 0 if the folder answers, else that of the process, which has
/// said why.
pub fn spawn() -> Result<u8> {
    let failed = |e: std::io::Error| Error::new("start in the background", ErrorKind::Other).caused_by(e);
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .args(arguments(std::env::args_os().skip(1)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let stdout = child.stdout.take().expect("the output is piped");
    let said = BufReader::new(stdout).lines().next().transpose().map_err(failed)?;
    if said.as_deref() == Some(READY) {
        return Ok(0);
    }
    let status = child.wait().map_err(failed)?;
    if let Some(signal) = status.signal() {
        let why = format!("its process was ended by signal {signal}; `kitovufs log` may say more");
        return Err(Error::new("mount", ErrorKind::Other).because(why));
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0).unwrap_or(1))
}

fn arguments(typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = typed.collect();
    let command = arguments.iter().position(|word| word == "mount").expect("the request is to mount");
    arguments.insert(command + 1, "--daemon".into());
    arguments
}

/// Lets this process end with the one that started it, until it is [`ready`].
pub fn follow_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|e| Error::new("start in the background", ErrorKind::Other).caused_by(std::io::Error::from(e)))
}

/// Says that the folder answers, and lets go of the terminal and the directory that `mount` was typed in.
///
/// # Errors
/// If the process that started this one is gone.
pub fn ready() -> Result<()> {
    let failed = |e: std::io::Error| Error::new("go to the background", ErrorKind::Other).caused_by(e);
    set_parent_process_death_signal(None).map_err(|e| failed(e.into()))?;
    // A process group leader cannot begin a session; this process is none, having just been started.
    setsid().map_err(|e| failed(e.into()))?;
    chdir("/").map_err(|e| failed(e.into()))?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{READY}").and_then(|()| stdout.flush()).map_err(failed)?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map_err(failed)?;
    for redirected in [dup2_stdin(&null), dup2_stdout(&null), dup2_stderr(&null)] {
        redirected.map_err(|e| failed(e.into()))?;
    }
    Ok(())
}
