//! Whoever waits for a source that does not answer can be killed and interrupted.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::home::Home;
use crate::kit::mount::Mount;
use crate::kit::proxy::{Link, Proxy};
use crate::kit::wait::{SOON, eventually, holds_within, kill, wait};
use crate::remote::Remote;

/// What the source may take: longer than any test waits.
const TIMEOUT: &str = "timeout = \"120s\"\n";

/// Within this, a program is gone (1 s is promised; the rest is for a busy machine).
const GONE: Duration = Duration::from_secs(10);

/// Without delay or fault.
const PROMPT: Link =
    Link { delay: Duration::ZERO, bandwidth: None, line: None, until: None, fate: None, refuses: false };

/// Says nothing until the link is another; then everything that was asked is answered.
const SILENT: Link = Link { until: Some(0), ..PROMPT };

/// A mount of a source that has told of `file` and `dir`, and is now silent.
fn hanging(home: impl FnOnce(&str) -> Home) -> (Mount, Remote, Proxy) {
    let remote = Remote::apache();
    remote.put("file", vec![7; 4 << 20]);
    remote.put("dir/below", "bytes");
    let (table, proxy) = remote.table_over("far", Proxy::to);
    let mount = home(&format!("{table}fresh_for = \"1h\"\n{TIMEOUT}")).mount();
    assert_eq!(mount.sh("ls far").trim(), "dir\nfile");
    proxy.set(SILENT);
    (mount, remote, proxy)
}

/// Begins a program in the mounted folder, as the mount's user.
fn begin(mount: &Mount, script: &str) -> Child {
    let mut command = mount.home().command("sh");
    command.arg("-c").arg(format!("cd mnt; {script}")).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Waits until programs wait for the source, which an interpreter that imports does not.
fn until_the_source_is_waited_for(mount: &Mount) {
    eventually("a program waits", || is_waited_for(mount));
}

fn is_waited_for(mount: &Mount) -> bool {
    mount.status()["sources"]["far"]["waiting"]["programs"] == 1
}

/// Waits until a process that runs `program` sleeps, which such a one does nowhere but in the file system.
fn until_it_waits(child: &Child, program: &str) {
    let stat = format!("/proc/{}/stat", child.id());
    let sleeps = || fs::read_to_string(&stat).unwrap().contains(&format!("({program}) S"));
    let lasting = || {
        let sleeps = sleeps();
        thread::sleep(Duration::from_millis(100));
        sleeps
    };
    eventually("the program waits", || lasting() && sleeps());
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A signal ends each program that waits, and as it is meant to.
fn ends(mount: &Mount, program: &str, signal: Signal) {
    // Without a core, which SIGQUIT would leave. A shell that runs the tests in the background has them ignore SIGINT and SIGQUIT.
    let script = format!("ulimit -c 0; exec env --default-signal {program}");
    let mut child = begin(mount, &script);
    until_it_waits(&child, program.split(' ').next().expect("its name"));
    send(&child, signal);
    let begun = Instant::now();
    let status = wait(&mut child, GONE);
    let took = begun.elapsed();
    println!("{script}, {signal:?}: {status:?} after {took:?}");
    let Some(status) = status else {
        kill(&mut child);
        panic!("{script} is still there {GONE:?} after {signal:?}");
    };
    assert_eq!(status.signal(), Some(signal.as_raw()), "{script}");
}

fn every_program_ends(mount: &Mount, signals: &[Signal]) {
    for &signal in signals {
        for program in ["ls far/dir", "stat far/dir/below", "cat far/file", "cp far/file /dev/null"] {
            ends(mount, program, signal);
        }
    }
}

#[test]
fn a_program_that_waits_ends_by_any_signal_that_ends_programs() {
    let (mount, _remote, _proxy) = hanging(Home::of);
    every_program_ends(&mount, &[Signal::KILL, Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT]);
}

#[test]
fn a_program_that_waits_ends_for_a_user_without_privileges_too() {
    let (mount, _remote, _proxy) = hanging(Home::of_nobody);
    every_program_ends(&mount, &[Signal::KILL, Signal::INT]);
}

#[test]
fn a_handler_runs_while_its_thread_waits() {
    let (mount, _remote, _proxy) = hanging(Home::of);
    for (script, code) in [
        // Python asks again after its handler; this one ends the program.
        ("import os, signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\nos.stat('far/dir/below')", 3),
        // Another thread waits, and Python's handlers run in the first.
        (
            "import os, signal, sys, threading\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(4))\n\
             threading.Thread(target=lambda: open('far/file').read()).start()\nos.listdir('far/dir')",
            4,
        ),
    ] {
        let mut command = mount.home().command("python3");
        command.current_dir(mount.path("")).args(["-c", script]).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        until_the_source_is_waited_for(&mount);
        send(&child, Signal::TERM);
        let status = wait(&mut child, GONE).unwrap_or_else(|| {
            kill(&mut child);
            panic!("it is still there:\n{script}")
        });
        assert_eq!(status.code(), Some(code), "{script}");
    }
}

/// The shell's `cd` asks several times, and only the first is interrupted by the signal itself.
#[test]
fn ctrl_c_brings_an_interactive_shell_back() {
    let (mount, _remote, _proxy) = hanging(Home::of);
    let script = "import os, pty, select, signal, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.environ['PS1'] = 'PROMPT '
    os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])
said = b''
def until(text):
    global said
    end = time.monotonic() + 30
    while text not in said:
        left = end - time.monotonic()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            os.kill(pid, signal.SIGKILL)
            sys.exit(f'no {text} in {said}')
        said += os.read(terminal, 4096)
    said = said.split(text, 1)[1]
until(b'PROMPT ')
os.write(terminal, b'cd far/dir/below\\n')
until(b'below\\r\\n')
sys.stdin.readline()
assert b'PROMPT' not in said, f'cd does not wait: {said}'
begun = time.monotonic()
os.write(terminal, b'\\x03')
until(b'PROMPT ')
print(time.monotonic() - begun)
os.write(terminal, b'exit\\n')
os.waitpid(pid, 0)
";
    let mut command = mount.home().command("python3");
    command.current_dir(mount.path("")).args(["-c", script]);
    let mut terminal = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waits = holds_within(SOON, || is_waited_for(&mount) || terminal.try_wait().unwrap().is_some());
    // The end of its input lets it go on.
    let output = terminal.wait_with_output().unwrap();
    let [said, failed] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    println!("the prompt came back after {} s", said.trim());
    assert!(waits && output.status.success(), "`cd` waits: {waits}; {said}{failed}");
}

#[test]
fn clocks_and_notices_interrupt_nothing() {
    let (mount, _remote, proxy) = hanging(Home::of);
    // Its handlers do not restart what they interrupt, so that EINTR would show; ctypes, because Python itself would ask again.
    let script = "import ctypes, os, signal, sys
for number in (signal.SIGALRM, signal.SIGWINCH, signal.SIGURG):
    signal.signal(number, lambda *_: None)
    signal.siginterrupt(number, True)
libc = ctypes.CDLL(None, use_errno=True)
found = libc.access(b'far/dir/below', 0)
sys.exit(ctypes.get_errno() if found else 0)
";
    let mut command: Command = mount.home().command("python3");
    command.current_dir(mount.path("")).args(["-c", script]);
    let mut child = command.spawn().unwrap();
    until_the_source_is_waited_for(&mount);
    // Much longer than a signal that counts takes.
    for _ in 0..20 {
        for signal in [Signal::ALARM, Signal::WINCH, Signal::URG] {
            send(&child, signal);
        }
        thread::sleep(Duration::from_millis(100));
    }
    proxy.set(PROMPT);
    let status = wait(&mut child, SOON).expect("the source answers");
    assert_eq!(status.code(), Some(0), "an errno, if it failed");
}

/// What a reader left behind must not keep the next from what has come meanwhile.
#[test]
fn whoever_comes_after_one_that_was_killed_is_served() {
    let (mount, _remote, proxy) = hanging(Home::of);
    for script in ["cat far/file", "ls far/dir", "stat far/dir/below"] {
        ends(&mount, script, Signal::KILL);
    }
    proxy.set(PROMPT);
    assert_eq!(mount.sh("cat far/file | wc -c; ls far/dir; cat far/dir/below").trim(), "4194304\nbelow\nbytes");
}
