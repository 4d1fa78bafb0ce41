//! Other users look into a mount that lets them in, and into no other.

use std::fs;
use std::process::{Command, Output};

use crate::kit::home::{Home, text};
use crate::kit::reaper;

/// The program, run by whoever runs the tests in the home of another user.
fn ours(home: &Home, args: &[&str]) -> Output {
    let mut command = Command::new(home.binary());
    reaper::mark(&mut command).env("XDG_CACHE_HOME", home.dir().join("cache-of-root")).env("HOME", home.dir());
    command.args(args).output().unwrap()
}

fn home() -> Home {
    let home = Home::of_nobody("[sources.docs]\ntype = \"local\"\npath = \"/usr/share/common-licenses\"\n");
    home.configure(&format!("[cache]\nmin_free = \"1MiB\"\n{}", fs::read_to_string(home.config()).unwrap()));
    home
}

#[test]
fn another_user_reads_where_allow_other_lets_it() {
    let home = home();
    let (config, place) = (text(home.config()), text(home.mountpoint()));
    let reads = || home.command("cat").arg(home.mountpoint().join("docs/BSD")).output().unwrap();
    for (options, may) in [("allow_other", true), ("allow_root", false), ("ro", false)] {
        let mounted = ours(&home, &["mount", "-q", "-o", options, "-c", &config, &place]);
        assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
        let read = reads();
        let status = home.kitovufs(["status", &place]);
        let gone = ours(&home, &["unmount", &place]);
        assert!(gone.status.success(), "{}", String::from_utf8_lossy(&gone.stderr));
        assert!(!status.status.success(), "the status is not for others");
        assert_eq!(read.status.success(), may, "{options}: {}", String::from_utf8_lossy(&read.stderr));
        if may {
            assert_eq!(read.stdout, fs::read("/usr/share/common-licenses/BSD").unwrap());
        }
    }
}

#[test]
fn a_user_whom_the_system_does_not_let_share_hears_what_to_write() {
    let home = home();
    let conf = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    assert!(!conf.lines().any(|line| line.trim() == "user_allow_other"), "this test needs the system's default");
    for setting in ["allow_other", "allow_root"] {
        home.configure(&format!("{setting} = true\n[sources.docs]\ntype = \"local\"\npath = \"/usr/share\"\n"));
        let (code, said) = home.refusal();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(setting) && said.contains("user_allow_other | sudo tee -a /etc/fuse.conf"), "{said}");
        let output = home.kitovufs(["check", "-c", &text(home.config())]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.code() == Some(1) && said.contains("mount\n  FAILED  ") && said.contains(setting),
            "{said}"
        );
    }
}
