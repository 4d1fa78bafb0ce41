//! However a mount ends: its process is gone within two seconds, whatever its sources do, and what it has started is gone before.

use std::fs::{self, File};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::kit::home::{Home, is_mounted, text};
use crate::kit::mount::Mount;
use crate::kit::odd::Odd;
use crate::kit::wait::{SOON, eventually, wait};

/// 2 s are promised; the rest is for a busy machine.
const PROMISED: Duration = Duration::from_secs(4);

/// A program that neither ends nor says anything, whatever it is told, nor does one that it starts.
const STUBBORN: &str = "import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 2:
    subprocess.Popen([sys.executable, *sys.orig_argv[1:], 'inner'])
time.sleep(1000)
";

/// Sources of which each starts programs that hang: two of them each, of which all have the home's path in their command lines.
fn stubborn(home: &Home) -> String {
    let script = home.dir().join("stubborn.py");
    fs::write(&script, STUBBORN).unwrap();
    let mark = |name: &str| text(home.dir().join(name));
    let ssh_config = home.dir().join("ssh_config");
    // `exec` is what ssh itself puts before it: the shell stays, as the program that waits for the other.
    let proxy = format!("sh -c \"python3 {} {}; true\"", text(&script), mark("behind-ssh"));
    fs::write(&ssh_config, format!("Host far\n  ProxyCommand {proxy}\n")).unwrap();
    let command = format!("python3 {} {}; true", text(&script), mark("behind-command"));
    let plugin = json!(["python3", text(&script), mark("behind-plugin")]);
    format!(
        "[sources.plugin]\ntype = \"plugin\"\ncommand = {plugin}\n\
         [sources.secret]\ntype = \"http\"\nurl = \"http://127.0.0.1:9/\"\nusername = \"a\"\npassword = {{ command = {command:?} }}\n\
         [sources.ssh]\ntype = \"sftp\"\nhost = \"far\"\nssh_config = {ssh_config:?}\n"
    )
}

/// The processes that have the home's path, and this word, in their command lines.
fn processes(home: &Home, word: &str) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (line.contains(&text(home.dir())) && line.contains(word)).then_some(line)
    });
    lines.collect()
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn what_a_mount_has_started_ends_before_it_does() {
    let home = Home::of("");
    home.configure(&stubborn(&home));
    let mut mount = home.mount();
    let waiting = ["plugin", "secret", "ssh"].map(|source| {
        let path = mount.path(source);
        thread::spawn(move || fs::read_dir(path).map(drop))
    });
    for word in ["behind-plugin inner", "behind-command inner", "behind-ssh inner"] {
        eventually(word, || !processes(mount.home(), word).is_empty());
    }
    let begun = Instant::now();
    send(mount.pid(), Signal::TERM);
    let status = mount.ended().expect("it ends");
    let left = processes(mount.home(), "");
    println!("gone after {:?}", begun.elapsed());
    assert!(status.success() && left.is_empty(), "{status}: {left:#?}\n{}", mount.log());
    assert!(begun.elapsed() < PROMISED, "{:?}", begun.elapsed());
    for waiting in waiting {
        assert!(waiting.join().unwrap().is_err());
    }
}

#[test]
fn what_was_started_for_a_mount_that_is_called_off_ends_with_it() {
    for command in ["mount", "check"] {
        let home = Home::of("");
        home.configure(&stubborn(&home));
        let mut daemon = home.command(home.binary());
        daemon.args([command, "-c"]).arg(home.config()).stdout(Stdio::null()).stderr(Stdio::null());
        if command == "mount" {
            daemon.arg("-f").arg(home.mountpoint());
        }
        let mut daemon = daemon.spawn().unwrap();
        eventually("the plugin runs", || !processes(&home, "behind-plugin inner").is_empty());
        let begun = Instant::now();
        send(daemon.id(), Signal::INT);
        let status = wait(&mut daemon, SOON).expect("it ends");
        let left = processes(&home, "");
        println!("{command} gone after {:?}: {status}", begun.elapsed());
        assert!(!status.success() && left.is_empty(), "{command}: {status}: {left:#?}");
        assert!(begun.elapsed() < PROMISED, "{command}: {:?}", begun.elapsed());
        assert!(!is_mounted(&home.mountpoint()));
    }
}

#[test]
fn a_source_that_does_not_let_go_delays_no_end() {
    for way in ["fusermount3 -u", "kitovufs unmount", "SIGTERM", "SIGTERM while a file is open"] {
        let odd = Odd::with_files(&[("/a", "one")]).wrong("disconnect", "hang");
        let mut mount = Mount::of(&format!("[sources.odd]\n{}", odd.table()));
        assert_eq!(fs::read_to_string(mount.path("odd/a")).unwrap(), "one");
        let open = way.ends_with("open").then(|| File::open(mount.path("odd/a")).unwrap());
        let mountpoint = text(mount.home().mountpoint());
        let begun = Instant::now();
        match way {
            "fusermount3 -u" => drop(mount.home().command("fusermount3").arg("-u").arg(&mountpoint).output().unwrap()),
            "kitovufs unmount" => drop(mount.home().kitovufs(["unmount", &mountpoint])),
            _ => send(mount.pid(), Signal::TERM),
        }
        let status = mount.ended().expect("it ends");
        println!("{way}: gone after {:?}", begun.elapsed());
        assert!(status.success(), "{way}: {status}: {}", mount.log());
        assert!(begun.elapsed() < PROMISED, "{way}: {:?}", begun.elapsed());
        assert_eq!(odd.count("disconnect"), 1, "{way}");
        drop(open);
    }
}
