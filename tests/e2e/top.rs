//! The live view on a real terminal, that of tmux: what it shows, and that it leaves the terminal as it was.

use std::process::{Command, Output};

use crate::kit::home::{Home, local, text};
use crate::kit::mount::Mount;
use crate::kit::wait::{SOON, eventually, holds_within};

/// A terminal in which a shell runs, and gone with the test.
struct Terminal<'a> {
    home: &'a Home,
}

impl<'a> Terminal<'a> {
    fn of(home: &'a Home, width: u16, height: u16) -> Self {
        let terminal = Self { home };
        let (width, height) = (width.to_string(), height.to_string());
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-s",
            "t",
            "-x",
            &width,
            "-y",
            &height,
            "env PS1='$ ' sh",
        ]);
        terminal
    }

    fn command(&self) -> Command {
        let mut command = self.home.command("tmux");
        command
            .arg("-u")
            .arg("-S")
            .arg(self.home.dir().join("tmux"))
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color");
        command
    }

    fn tmux(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command().args(words).output().unwrap();
        assert!(status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-t", "t", "-l", line]);
        self.key("Enter");
    }

    fn key(&self, key: &str) {
        self.tmux(&["send-keys", "-t", "t", key]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-t", "t", "-p"])
    }

    #[track_caller]
    fn shows(&self, words: &[&str]) {
        let mut screen = String::new();
        let is_there = holds_within(SOON, || {
            screen = self.screen();
            words.iter().all(|word| screen.contains(word))
        });
        assert!(is_there, "{words:?} are not all in\n{screen}");
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}

fn sources(count: usize) -> String {
    (0..count).map(|n| local(&format!("source{n:02}"), "/usr/share".as_ref())).collect()
}

fn top(mount: &Mount) -> String {
    format!("{} top {}", text(mount.home().binary()), text(mount.home().mountpoint()))
}

#[test]
fn three_sources_are_watched_and_any_end_leaves_the_terminal_as_it_was() {
    let mount = Mount::of(&sources(3));
    let terminal = Terminal::of(mount.home(), 80, 24);
    for (ended, key) in ["q", "C-c", "Escape"].into_iter().enumerate() {
        terminal.types(&top(&mount));
        terminal.shows(&["SOURCE", "source00", "source02", "CACHE", "q quits"]);
        assert_eq!(terminal.tmux(&["display", "-t", "t", "-p", "#{alternate_on}"]).trim(), "1");
        terminal.key(key);
        eventually("it has ended", || terminal.tmux(&["display", "-t", "t", "-p", "#{alternate_on}"]).trim() == "0");
        terminal
            .types(&format!("echo code$?-{ended}; stty -a | tr ' ;' '\\n\\n' | grep -cx -e icanon -e echo -e isig"));
        terminal.shows(&[&format!("code0-{ended}"), "\n3\n"]);
        terminal.types("clear");
    }
    assert_eq!(terminal.tmux(&["display", "-t", "t", "-p", "#{cursor_flag}"]).trim(), "1");
}

#[test]
fn a_signal_ends_the_view_and_leaves_the_terminal_as_it_was() {
    let mount = Mount::of(&sources(1));
    let terminal = Terminal::of(mount.home(), 80, 24);
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        terminal.types(&top(&mount));
        terminal.shows(&["SOURCE", "source00", "q quits"]);
        let shell = terminal.tmux(&["display", "-t", "t", "-p", "#{pane_pid}"]);
        mount.sh(&format!("kill -{signal} $(pgrep -P {})", shell.trim()));
        eventually("it has ended", || terminal.tmux(&["display", "-t", "t", "-p", "#{alternate_on}"]).trim() == "0");
        terminal
            .types(&format!("echo code$?-{signal}; stty -a | tr ' ;' '\\n\\n' | grep -cx -e icanon -e echo -e isig"));
        terminal.shows(&[&format!("code1-{signal}"), "\n3\n"]);
        terminal.types("clear");
    }
    assert_eq!(terminal.tmux(&["display", "-t", "t", "-p", "#{cursor_flag}"]).trim(), "1");
}

/// Runs a program in a terminal of its own until it has drawn, and closes that; prints how the program ended. With `is_controlling`, the
/// kernel tells the program so by SIGHUP too.
const CLOSE_TERMINAL: &str = r"
import fcntl, os, pty, struct, sys, termios, time
is_controlling, program = sys.argv[1] == 'controlling', sys.argv[2:]
master, slave = pty.openpty()
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
child = os.fork()
if child == 0:
    os.setsid()
    if is_controlling:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(slave, number)
    os.close(master)
    os.closerange(3, 64)
    os.execv(program[0], program)
os.close(slave)
drawn = b''
while b'source00' not in drawn:
    drawn += os.read(master, 65536)
os.close(master)
end = time.monotonic() + float(os.environ['SECONDS'])
while time.monotonic() < end:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        print('ended', os.waitstatus_to_exitcode(status))
        sys.exit()
    time.sleep(0.05)
os.kill(child, 9)
os.waitpid(child, 0)
print('still there')
";

#[test]
fn the_view_ends_with_its_terminal() {
    let mount = Mount::of(&sources(1));
    for kind in ["controlling", "other"] {
        let mut command = mount.home().command("python3");
        command.args(["-c", CLOSE_TERMINAL, kind]).arg(mount.home().binary()).arg("top").arg(mount.home().mountpoint());
        command.env("TERM", "xterm-256color").env("SECONDS", SOON.as_secs().to_string());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "ended 1\n", "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_happens_is_seen_and_the_end_of_the_mount_is_told() {
    let mut mount = Mount::of(&sources(3));
    let home = Home::of("");
    let terminal = Terminal::of(&home, 200, 50);
    let run = format!("XDG_RUNTIME_DIR={} {}", text(mount.home().dir().join("run")), top(&mount));
    terminal.types(&run);
    terminal.shows(&["○ idle", "IN ALL", "ERRORS"]);
    mount.sh("ls source01 >/dev/null");
    terminal.shows(&["● works"]);
    mount.unmount();
    terminal.shows(&["source01", "is gone"]);
    terminal.key("q");
}

#[test]
fn a_process_that_was_stopped_is_waited_for() {
    let mount = Mount::of(&sources(1));
    let terminal = Terminal::of(mount.home(), 80, 24);
    terminal.types(&top(&mount));
    terminal.shows(&["source00", "q quits, ↑"]);
    let process = mount.status()["pid"].as_u64().expect("a number");
    mount.sh(&format!("kill -STOP {process}"));
    terminal.shows(&["source00", "does not answer; waiting for it"]);
    mount.sh(&format!("kill -CONT {process}"));
    terminal.shows(&["source00", "q quits, ↑"]);
    terminal.key("q");
}

#[test]
fn fifty_sources_fit_every_size_and_a_resize_while_it_runs() {
    let mount = Mount::of(&sources(50));
    let terminal = Terminal::of(mount.home(), 80, 24);
    terminal.types(&top(&mount));
    terminal.shows(&["SOURCE 1–", "of 50", "source00", "LATENCY"]);
    terminal.key("End");
    terminal.shows(&["source49", "–50 of 50"]);
    terminal.tmux(&["resize-window", "-t", "t", "-x", "200", "-y", "60"]);
    terminal.shows(&["source00", "source49", "DIGEST", "IN ALL"]);
    terminal.tmux(&["resize-window", "-t", "t", "-x", "80", "-y", "12"]);
    terminal.shows(&["source49", "LATENCY", "q quits"]);
    terminal.key("q");
}

#[test]
fn without_a_terminal_an_error_names_what_programs_use() {
    let mount = Mount::of(&sources(1));
    let output = mount.home().kitovufs(["top", &text(mount.home().mountpoint())]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("needs a terminal") && said.contains("status --json --follow"), "{said}");
}
