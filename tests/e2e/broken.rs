//! A source that does not work is a folder that gives an error: the others are mounted, and `mount` says what is wrong.

use std::fs;
use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::kit::home::{Home, is_mounted, local, text};
use crate::kit::mount::number;
use crate::kit::proxy::{Fate, Link, Proxy};
use crate::kit::servers::free_port;
use crate::kit::wait::eventually;
use crate::remote::Remote;

/// Whoever mounts does not wait longer; the rest is for a busy machine.
const PROMISED: Duration = Duration::from_secs(12);

fn webdav(name: &str, port: u16, password: &str) -> String {
    format!(
        "[sources.{name}]\ntype = \"webdav\"\nendpoint = \"http://127.0.0.1:{port}/\"\nusername = \"anna\"\npassword = {password}\n"
    )
}

/// A home with one source that works, and these.
fn home(others: &str) -> Home {
    let home = Home::of("");
    fs::create_dir(home.dir().join("origin")).unwrap();
    fs::write(home.dir().join("origin/file"), "bytes").unwrap();
    home.configure(&format!("{}{others}", local("works", &home.dir().join("origin"))));
    home
}

fn mount(home: &Home, options: &[&str]) -> (Output, String) {
    let (config, mountpoint) = (text(home.config()), text(home.mountpoint()));
    let begun = Instant::now();
    let output = home.kitovufs(["mount"].iter().chain(options).chain(&["-c", &config, &mountpoint]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(begun.elapsed() < PROMISED, "it took {:?}: {said}", begun.elapsed());
    (output, said)
}

fn unmount(home: &Home) {
    assert!(home.kitovufs(["unmount", &text(home.mountpoint())]).status.success());
    assert!(!is_mounted(&home.mountpoint()));
}

fn errno(path: std::path::PathBuf) -> Option<Errno> {
    fs::read_dir(path).err().and_then(|error| Errno::from_io_error(&error))
}

#[test]
fn what_is_not_there_keeps_no_other_source_from_being_mounted() {
    let home = home("");
    let (secret, disk) = (home.dir().join("secret"), home.dir().join("disk"));
    let others = [
        webdav("variable", free_port(), "{ env = \"KITOVUFS_TEST_UNSET\" }"),
        webdav("secret", free_port(), &format!("{{ file = {:?} }}", text(&secret))),
        local("disk", &disk),
        local("works", &home.dir().join("origin")),
    ];
    home.configure(&format!("[defaults]\nfresh_for = \"0s\"\n{}", others.concat()));
    let (output, said) = mount(&home, &[]);
    assert!(output.status.success(), "{said}");
    for line in [
        format!("source disk does not work: configure: {}:", text(home.config())),
        format!("cannot open {}", text(&disk)),
        "source secret does not work: ".to_owned(),
        "source variable does not work: ".to_owned(),
    ] {
        assert!(said.contains(&line), "{line:?} is not in:\n{said}");
    }
    assert!(said.contains("KITOVUFS_TEST_UNSET is not set") && said.contains(&text(&secret)), "{said}");
    assert_eq!(fs::read(home.mountpoint().join("works/file")).unwrap(), b"bytes");
    for name in ["variable", "secret", "disk"] {
        assert_eq!(errno(home.mountpoint().join(name)), Some(Errno::HOSTUNREACH), "{name}");
    }
    // Once it is there, it works without another mount.
    fs::create_dir(&disk).unwrap();
    fs::write(disk.join("file"), "of the disk").unwrap();
    eventually("the disk is there", || {
        fs::read(home.mountpoint().join("disk/file")).is_ok_and(|bytes| bytes == b"of the disk")
    });
    unmount(&home);
}

#[test]
fn mistakes_in_the_file_are_still_errors() {
    let home = home("[sources.wrong]\ntype = \"webdav\"\nendpoint = 7\npassword = { env = \"KITOVUFS_TEST_UNSET\" }\n");
    let (output, said) = mount(&home, &[]);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`endpoint` must be a string") && said.contains("KITOVUFS_TEST_UNSET is not set"), "{said}");
    assert!(!is_mounted(&home.mountpoint()));
}

#[test]
fn a_server_that_does_not_answer_is_told_and_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = home(
        &[webdav("closed", free_port(), "\"x\""), webdav("silent", silent.local_addr().unwrap().port(), "\"x\"")]
            .concat(),
    );
    let (output, said) = mount(&home, &[]);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("source closed does not work: ") && said.contains("nothing listens there"), "{said}");
    assert!(said.contains("source silent has not answered within 2 s"), "{said}");
    assert!(!said.contains("source works does") && !said.contains("source works has"), "{said}");
    assert_eq!(fs::read(home.mountpoint().join("works/file")).unwrap(), b"bytes");
    let told = || String::from_utf8(home.kitovufs(["status", &text(home.mountpoint())]).stdout).unwrap();
    // A question of a moment ago is not overdue yet, also if it was asked before on another connection.
    let mut status = told();
    let words = ["closed  NO ANSWER since ", "silent  NO ANSWER for ", "works   works  5 B fetched"];
    eventually("each is told", || {
        status = told();
        words.iter().all(|words| status.contains(words))
    });
    assert!(!status.contains("listings"), "{status}");
    let status = String::from_utf8(home.kitovufs(["status", "-v", &text(home.mountpoint())]).stdout).unwrap();
    assert!(status.contains("local: 1 listings, "), "{status}");
    unmount(&home);
}

#[test]
fn a_url_that_does_not_answer_is_told_without_naming_a_configuration() {
    let home = Home::of("");
    fs::remove_file(home.config()).unwrap();
    let (url, mountpoint) = (format!("http://127.0.0.1:{}/", free_port()), text(home.mountpoint()));
    let output = home.kitovufs(["mount", &url, &mountpoint]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("nothing listens there"), "{said}");
    assert!(!said.contains("kitovufs check"), "{said}");
    assert!(said.contains(&format!("`kitovufs unmount {mountpoint}`")), "{said}");
    unmount(&home);
}

#[test]
fn strict_mounts_all_or_nothing() {
    let home = home(&webdav("closed", free_port(), "\"x\""));
    let (output, said) = mount(&home, &["--strict"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("source closed does not work: ") && said.contains("--strict"), "{said}");
    assert!(!is_mounted(&home.mountpoint()));
    home.configure(&local("works", &home.dir().join("origin")));
    let (output, said) = mount(&home, &["--strict"]);
    assert!(output.status.success() && said.is_empty(), "{said}");
    unmount(&home);
}

#[test]
fn strict_waits_for_an_answer_also_where_a_listing_is_known() {
    let remote = Remote::webdav();
    remote.put("file", "bytes");
    let home = Home::of("");
    let (table, line) = remote.table_over("far", Proxy::to);
    home.configure(&format!("{table}fresh_for = \"1ms\"\npatience = \"200ms\"\ntimeout = \"4s\"\n"));
    let (output, said) = mount(&home, &["--strict"]);
    assert!(output.status.success() && said.is_empty(), "{said}");
    unmount(&home);
    // Connections are taken, and nothing is said.
    line.set(Link { fate: Some((0, Fate::Stall)), ..Link::default() });
    let (output, said) = mount(&home, &["--strict"]);
    assert!(output.status.code() == Some(1) && said.contains("source far does not work"), "{said}");
    assert!(!is_mounted(&home.mountpoint()));
}

#[test]
fn quiet_asks_nobody_and_says_nothing() {
    let home = home(&webdav("closed", free_port(), "\"x\""));
    let (output, said) = mount(&home, &["-q"]);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let status = home.kitovufs(["status", "--json", &text(home.mountpoint())]).stdout;
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    for name in ["closed", "works"] {
        assert_eq!(number(&status, &format!("/sources/{name}/requests/list_path")), 0, "{status:#}");
    }
    unmount(&home);
}
