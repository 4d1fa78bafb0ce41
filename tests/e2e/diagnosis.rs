//! `log` shows what mounts in the background write, `doctor` whether everything is there that a mount needs.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::home::{Home, local, text};
use crate::kit::servers::free_port;
use crate::kit::wait::{SOON, eventually, wait};

/// The exit code, standard output and standard error of a command.
fn run(home: &Home, words: &[&str]) -> (i32, String, String) {
    let output = home.kitovufs(words);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), said(&output.stdout), said(&output.stderr))
}

fn log(home: &Home) -> PathBuf {
    home.dir().join("state/kitovufs/kitovufs.log")
}

fn line(source: &str, number: usize) -> String {
    format!("2026-11-29T09:00:00Z  WARN source {source}: failure {number}\n")
}

fn append(path: &PathBuf, lines: &str) {
    File::options().append(true).create(true).open(path).unwrap().write_all(lines.as_bytes()).unwrap();
}

/// A home whose log was put aside after the second of four lines, two for each source.
fn with_log() -> Home {
    let home = Home::of("");
    fs::create_dir(log(&home).parent().unwrap()).unwrap();
    fs::write(log(&home).with_extension("log.old"), line("far", 1) + &line("near", 2)).unwrap();
    fs::write(log(&home), line("far", 3) + &line("near", 4)).unwrap();
    home
}

fn following(home: &Home, words: &[&str], stdout: Stdio) -> Child {
    home.command(home.binary()).args(["log", "-f"]).args(words).stdout(stdout).spawn().unwrap()
}

#[test]
fn log_shows_what_a_mount_in_the_background_says() {
    let home = Home::of(&local("near", "/usr/share".as_ref()));
    let (code, shown, said) = run(&home, &["log"]);
    assert_eq!((code, &*shown), (1, ""));
    assert!(said.contains("kitovufs.log: there is no log yet: mounts in the background write it"), "{said}");

    let far = format!("[sources.far]\ntype = \"http\"\nurl = \"http://127.0.0.1:{}/\"\n", free_port());
    home.configure(&format!("{}{far}", local("near", "/usr/share".as_ref())));
    let (code, _, said) = run(&home, &["mount", "-q", "-c", &text(home.config()), &text(home.mountpoint())]);
    assert_eq!(code, 0, "{said}");
    fs::read_dir(home.mountpoint().join("far")).unwrap_err();
    // For a moment, a child that another test forks may have something open there.
    eventually("it is unmounted", || run(&home, &["unmount", &text(home.mountpoint())]).0 == 0);

    let (code, shown, said) = run(&home, &["log"]);
    assert_eq!((code, &*said), (0, ""));
    assert!(shown.contains(": mounted\n") && shown.contains(": unmounted\n"), "{shown}");
    let (_, far, _) = run(&home, &["log", "far"]);
    assert!(!far.is_empty() && far.lines().all(|line| line.contains(" source far: ")), "{far}");
    assert_eq!(
        run(&home, &["log", "near"]),
        (0, String::new(), "kitovufs: the log has no line of a source near\n".into())
    );
}

#[test]
fn log_shows_the_last_lines_of_one_source_and_what_was_put_aside() {
    let home = with_log();
    let shown = |words: &[&str]| run(&home, words).1;
    assert_eq!(shown(&["log"]), [line("far", 1), line("near", 2), line("far", 3), line("near", 4)].concat());
    assert_eq!(shown(&["log", "near"]), line("near", 2) + &line("near", 4));
    assert_eq!(shown(&["log", "-n", "3"]), line("near", 2) + &line("far", 3) + &line("near", 4));
    assert_eq!(shown(&["log", "-n", "1", "far"]), line("far", 3));
    assert_eq!(shown(&["log", "-n", "0", "far"]), "");
    fs::remove_file(log(&home)).unwrap();
    assert_eq!(shown(&["log", "far"]), line("far", 1), "the next log has not begun");
}

#[test]
fn log_goes_on_as_the_log_grows_and_is_put_aside() {
    let home = with_log();
    let shown = home.dir().join("shown");
    let mut follower = following(&home, &["-n", "1", "far"], File::create(&shown).unwrap().into());
    let mut wanted = line("far", 3);
    let mut shows = |more: &str| {
        wanted += more;
        eventually(&wanted, || fs::read_to_string(&shown).unwrap() == wanted);
    };
    shows("");
    append(&log(&home), &(line("near", 5) + &line("far", 6)));
    shows(&line("far", 6));
    let (begun, end) = (&line("far", 7)[..40], &line("far", 7)[40..]);
    append(&log(&home), begun);
    append(&log(&home), end);
    append(&log(&home), &line("far", 8));
    fs::rename(log(&home), log(&home).with_extension("log.old")).unwrap();
    append(&log(&home), &(line("far", 9) + &line("near", 10)));
    shows(&[line("far", 7), line("far", 8), line("far", 9)].concat());
    append(&log(&home), &line("far", 11));
    shows(&line("far", 11));

    kill_process(Pid::from_child(&follower), Signal::INT).unwrap();
    assert!(wait(&mut follower, SOON).is_some(), "Ctrl-C ends it");
}

#[test]
fn log_ends_without_a_word_where_nobody_reads_on() {
    let home = with_log();
    let said = home.dir().join("said");
    let mut command = home.command(home.binary());
    command.args(["log", "-f"]).stdout(Stdio::piped()).stderr(File::create(&said).unwrap());
    let mut follower = command.spawn().unwrap();
    drop(follower.stdout.take());
    let status = wait(&mut follower, SOON).expect("it ends, though no line is added");
    assert!(status.success(), "{status}");
    assert_eq!(fs::read_to_string(&said).unwrap(), "");
    let full = home.command("sh").arg("-c").arg(format!("{} log >/dev/full", text(home.binary()))).output().unwrap();
    assert_eq!(full.status.code(), Some(1));
}

#[test]
fn a_full_standard_error_changes_no_exit_code() {
    let home = with_log();
    let config = text(home.config());
    for (args, code) in [
        (vec!["remove", "-c", &config, "none"], 2),
        (vec!["check", "-c", "/nowhere"], 2),
        (vec!["fetch", "/nowhere"], 1),
        (vec!["unmount", "/nowhere"], 1),
        (vec!["why", "/nowhere"], 1),
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let status = home.command(home.binary()).args(&args).stderr(full).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}");
    }
}

fn doctor(home: &Home) -> (i32, String) {
    let (code, shown, said) = run(home, &["doctor", "-c", &text(home.config())]);
    assert_eq!(said, "");
    (code, shown)
}

fn assert_missing((code, shown): &(i32, String), wanted: &[&str]) {
    assert_eq!(*code, 1, "{shown}");
    for words in wanted {
        let told = shown.lines().any(|line| line.starts_with("  FAILED  ") && line.contains(words));
        assert!(told, "{words:?} is not in:\n{shown}");
    }
    assert!(shown.ends_with("\nnot everything that a mount needs is there: see the lines with FAILED\n"), "{shown}");
}

#[test]
fn doctor_tells_that_everything_is_there() {
    let home = Home::of_nobody(&local("near", "/usr/share/common-licenses".as_ref()));
    let (code, shown) = doctor(&home);
    assert_eq!(code, 0, "{shown}");
    for told in [
        "/dev/fuse can be opened",
        "fusermount3",
        "Linux ",
        "the clock says ",
        "retrieved and verified ",
        "1 of 1 sources work",
    ] {
        assert!(shown.contains(told), "{told:?} is not in:\n{shown}");
    }
    assert!(!shown.contains("FAILED") && shown.ends_with("\neverything that a mount needs is there\n"), "{shown}");
}

#[test]
fn doctor_tells_what_is_missing_and_what_to_do() {
    let far = format!("[sources.far]\ntype = \"http\"\nurl = \"http://127.0.0.1:{}/\"\n", free_port());
    let home = Home::of_nobody(&far);
    assert_missing(&doctor(&home), &["nothing listens there"]);
    home.configure("sorces = 1\n");
    assert_missing(&doctor(&home), &["unknown key `sorces`"]);
    fs::remove_file(home.config()).unwrap();
    assert_missing(&doctor(&home), &["there is no such file"]);
}

#[test]
fn doctor_tells_of_a_helper_that_may_not_mount() {
    let home = Home::of_nobody(&local("near", "/usr/share/common-licenses".as_ref()));
    let programs = home.dir().join("programs");
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("fusermount3"), "").unwrap();
    let home = home.with_env("PATH", &text(&programs));
    let helper = text(programs.join("fusermount3"));
    assert_missing(
        &doctor(&home),
        &[&format!("{helper}: it is not setuid root, so that only root may mount; as root: ")],
    );
}

#[test]
fn the_bundle_of_a_report_has_everything_but_secrets() {
    let home = with_log();
    let far = format!(
        "# once hunter2-comment\n[sources.far]\ntype = \"webdav\"\nendpoint = \"http://127.0.0.1:{}/\"\nusername = \"anna\"\n",
        free_port()
    );
    let own = "[sources.own]\ntype = \"plugin\"\ncommand = [\"/bin/false\", \"--key=hunter2-argument\"]\npin = \"hunter2-pin\"\n";
    for (report, key) in [("right.txt", "password"), ("mistyped.txt", "pasword")] {
        home.configure(&format!("{far}{key} = \"hunter2-secret\"\n{own}"));
        let (code, shown, said) = run(&home, &["doctor", "-c", &text(home.config()), "--bundle", report]);
        assert_eq!((code, &*said), (1, ""), "{shown}");
        assert!(shown.contains("read it before you give it to somebody"), "{shown}");
        let report = home.dir().join(report);
        assert_eq!(fs::metadata(&report).unwrap().permissions().mode() & 0o777, 0o600);
        let bundle = fs::read_to_string(report).unwrap();
        let line = line("near", 4);
        for told in [
            "kitovufs 0.",
            "  ok      Linux ",
            "source far: webdav: endpoint = http://127.0.0.1:",
            key,
            "source own: plugin: ",
            "pin",
            &line,
        ] {
            assert!(bundle.contains(told), "{told:?} is not in:\n{bundle}");
        }
        assert!(!bundle.contains("hunter2"), "{bundle}");
    }
    let (code, _, said) = run(&home, &["doctor", "-c", &text(home.config()), "--bundle", "right.txt"]);
    assert!(code == 1 && said.contains("right.txt"), "what is there stays: {said}");
}
