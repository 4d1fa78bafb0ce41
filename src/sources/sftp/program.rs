//! The program `ssh` as the way to a server: it reads its own configuration, and never prompts.

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::config::Program;
use crate::children::{Group, starting};
use crate::error::{Error, ErrorKind};
use crate::path::Printable;
use crate::source::settings::PASSWORD_VARIABLE;

/// How many bytes of what it says last are kept.
const MAX_STDERR_BYTES: usize = 2048;

/// How long a program that has closed its output may take to say why.
const STDERR_TIMEOUT: Duration = Duration::from_secs(2);

/// Options before all others; the first word counts with `ssh`, so its configuration cannot undo them.
const OPTIONS: [&str; 9] = [
    "BatchMode=yes",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
];

/// A running `ssh`; it ends with this value.
#[derive(Debug)]
pub(super) struct Running {
    child: Mutex<Option<(Child, Option<Group>)>>,
    last_words: Arc<Mutex<Vec<u8>>>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

/// Starts `ssh` with the SFTP subsystem of a host at its other end.
///
/// # Errors
/// `Unsupported` if there is no such program.
pub(super) fn start(host: &str, program: &Program) -> Result<(Running, ChildStdout, ChildStdin), Error> {
    let failed = |why: &str| Error::new("connect", ErrorKind::Unsupported).because(why);
    let mut command = Command::new("ssh");
    command.args(arguments(host, program)).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove(PASSWORD_VARIABLE);
    for name in &program.withheld {
        command.env_remove(name);
    }
    let not_run = |e| failed("cannot run ssh, which `ssh_config` asks for: is OpenSSH installed?").caused_by(e);
    let starting = starting(command.as_std_mut()).map_err(not_run)?;
    let mut child = command.spawn().map_err(not_run)?;
    let group = child.id().map(|id| starting.group(id));
    let pipes = (child.stdout.take(), child.stdin.take(), child.stderr.take());
    let (Some(stdout), Some(stdin), Some(stderr)) = pipes else {
        return Err(failed("ssh started without its pipes"));
    };
    let last_words = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::spawn(listen(stderr, Arc::clone(&last_words)));
    let running = Running { child: Mutex::new(Some((child, group))), last_words, listener: Mutex::new(Some(listener)) };
    Ok((running, stdout, stdin))
}

fn arguments(host: &str, program: &Program) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
    for option in OPTIONS {
        add("-o", option.into());
    }
    if let Some(file) = &program.file {
        add("-F", file.into());
    }
    if let Some(port) = program.port {
        add("-p", port.to_string().into());
    }
    if let Some(username) = &program.username {
        add("-l", username.into());
    }
    if let Some(key) = &program.key {
        add("-i", key.into());
    }
    for (option, file) in [("UserKnownHostsFile", &program.known_hosts), ("IdentityAgent", &program.agent)] {
        if let Some(file) = file {
            // Quotes keep blanks together; ssh has no way to write a quote inside.
            add("-o", format!("{option}=\"{}\"", file.display()).into());
        }
    }
    arguments.extend(["-s", "--", host, "sftp"].map(OsString::from));
    arguments
}

async fn listen(mut stderr: ChildStderr, last_words: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(len @ 1..) = stderr.read(&mut buffer).await {
        let mut words = last_words.lock();
        words.extend_from_slice(&buffer[..len]);
        let surplus = words.len().saturating_sub(MAX_STDERR_BYTES);
        words.drain(..surplus);
    }
}

impl Running {
    /// Why `ssh` ended before there was a conversation.
    pub(super) async fn error_output(&self) -> Error {
        let listener = self.listener.lock().take();
        if let Some(listener) = listener {
            let _ = tokio::time::timeout(STDERR_TIMEOUT, listener).await;
        }
        let words = String::from_utf8_lossy(&self.last_words.lock()).into_owned();
        let kind = match words.as_str() {
            w if w.contains("Permission denied (") || w.contains("Too many authentication failures") => {
                ErrorKind::Unauthenticated
            }
            w if w.contains("subsystem request failed") => ErrorKind::Unsupported,
            w if w.contains("Bad configuration option") || w.contains("Can't open user config") => {
                ErrorKind::InvalidConfig
            }
            _ => ErrorKind::Unreachable,
        };
        let words: Vec<_> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let words = Printable(words.join(" / ").as_bytes()).to_string();
        Error::new("connect", kind).because(format!("ssh gave up: {words}"))
    }

    /// Ends the program and waits until it has gone.
    pub(super) async fn end(&self) {
        let child = self.child.lock().take();
        if let Some((mut child, _group)) = child {
            // An error says that it has ended by itself.
            let _ = child.kill().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_can_never_be_an_option() {
        let program = Program { username: Some("-oProxyCommand=x".into()), port: Some(7), ..Program::default() };
        let arguments = arguments("-h", &program);
        let end: Vec<_> = arguments.iter().rev().take(8).rev().map(|a| a.to_str().expect("text")).collect();
        assert_eq!(end, ["-p", "7", "-l", "-oProxyCommand=x", "-s", "--", "-h", "sftp"]);
    }
}
