//! Plugins through a real mount: what one does wrong stays in its own folder.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::kit::home::{Home, local};
use crate::kit::mount::{Mount, requests};
use crate::kit::odd::Odd;
use crate::kit::reaper;
use crate::kit::wait::eventually;

fn section(name: &str, table: &str) -> String {
    format!("[sources.{name}]\n{table}\n")
}

fn odd() -> Odd {
    Odd::with_files(&[("/a", "one"), ("/d/b", "two"), ("/d/e/c", "three")])
}

/// The processes that run this plugin.
fn processes(odd: &Odd) -> Vec<u32> {
    let running = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line);
        let is_it = line.contains("odd.py") && line.contains(&odd.journal_path());
        is_it.then(|| entry.file_name().to_string_lossy().parse().ok()).flatten()
    });
    running.collect()
}

#[test]
fn a_folder_that_hangs_for_ever_hangs_alone() {
    let dir = reaper::temporary();
    fs::write(dir.path().join("file"), "here").unwrap();
    for method in ["list_path", "connect", "create_remote_digest"] {
        let odd = odd().wrong(method, "hang");
        let config = format!("{}{}timeout = \"5s\"\n", local("docs", dir.path()), section("odd", &odd.table()));
        let mut mount = Mount::of(&config);
        let hung = std::thread::spawn({
            let place = mount.path("odd/a");
            move || fs::read(place)
        });
        eventually("the plugin hangs", || odd.count(method) > 0);
        assert_eq!(processes(&odd).len(), 1, "{method}");
        assert_eq!(fs::read_dir(mount.path("")).unwrap().count(), 2);
        assert_eq!(fs::read_to_string(mount.path("docs/file")).unwrap(), "here");
        assert!(!hung.is_finished(), "{method}: others are served while it hangs");
        assert!(hung.join().unwrap().is_err(), "{method}");
        mount.unmount();
        assert!(processes(&odd).is_empty(), "{method}");
    }
}

#[test]
fn a_plugin_that_does_not_even_say_who_it_is_keeps_nobody_from_being_mounted() {
    let dir = reaper::temporary();
    fs::write(dir.path().join("file"), "here").unwrap();
    let odd = odd().wrong("hello", "hang");
    let mut mount =
        Mount::of(&format!("{}{}timeout = \"5s\"\n", local("docs", dir.path()), section("odd", &odd.table())));
    assert_eq!(fs::read_to_string(mount.path("docs/file")).unwrap(), "here");
    assert!(fs::read_dir(mount.path("odd")).is_err());
    mount.unmount();
}

#[test]
fn sizes_and_bytes_are_right_though_the_contract_has_no_sizes() {
    let odd = odd().set("sizes", json!(false)).set("strict", json!(true));
    let mut mount = Mount::of(&section("odd", &odd.table()));
    let listed = mount.sh("find odd -type f -printf '%p %s\\n' | sort");
    assert_eq!(listed, "odd/a 3\nodd/d/b 3\nodd/d/e/c 5\n");
    assert_eq!(mount.sh("cat odd/a odd/d/b odd/d/e/c"), "onetwothree");
    assert_eq!(mount.sh("tar cf - odd | tar xOf -"), "onetwothree");
    // The time is the one that came with the bytes, to the nanosecond.
    let modified = fs::metadata(mount.path("odd/a")).unwrap();
    assert_eq!((modified.mtime(), modified.mtime_nsec()), (1_700_000_000, 250_000_000));
    assert_eq!((odd.count("list_path"), odd.count("retrieve_file")), (1, 3));
    mount.unmount();
    assert_eq!(odd.journal().last().map(String::as_str), Some("disconnect"));
}

#[test]
fn a_plugin_that_is_killed_in_the_middle_of_a_retrieval_is_started_again_and_the_reader_notices_nothing() {
    let odd = odd().wrong("retrieve_file", "once hang");
    let mut mount = Mount::of(&section("odd", &odd.table()));
    let reader = std::thread::spawn({
        let place = mount.path("odd/d/b");
        move || fs::read_to_string(place)
    });
    eventually("the retrieval is under way", || odd.count("retrieve_file") > 0);
    let [process] = processes(&odd)[..] else { panic!("one process serves") };
    assert!(Command::new("kill").args(["-9", &process.to_string()]).status().unwrap().success());
    assert_eq!(reader.join().unwrap().unwrap(), "two");
    assert_eq!(odd.count("start"), 2);
    mount.unmount();
    assert!(processes(&odd).is_empty());
}

#[test]
fn a_plugin_ends_with_a_killed_mount_and_its_staging_files_with_the_next() {
    let odd = odd().wrong("retrieve_file", "once die while writing");
    let mut mount = Mount::of(&section("odd", &odd.table()));
    assert_eq!(fs::read_to_string(mount.path("odd/a")).unwrap(), "one");
    let staging = mount.home().cache().join("staging");
    assert_eq!(fs::metadata(&staging).unwrap().permissions().mode() & 0o777, 0o700);
    let own: Vec<_> = fs::read_dir(&staging).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(own.iter().map(|dir| fs::read_dir(dir).unwrap().count()).sum::<usize>(), 0, "no file stays");
    mount.kill9();
    eventually("the plugin has ended", || processes(&odd).is_empty());
    assert!(own.iter().all(|dir| dir.exists()));
    mount.remount();
    assert_eq!(fs::read_to_string(mount.path("odd/d/b")).unwrap(), "two");
    assert!(own.iter().all(|dir| !dir.exists()));
}

#[test]
fn courses_are_directories_in_the_mount() {
    let odd = Odd::with_files(&[("Maths/w1/a", "1"), ("Arts/Music/c", "3")]).set("strict", json!(true));
    let odd = odd.set("courses", json!(["Maths", "Arts/Music"])).set("sizes", json!(false));
    let mount = Mount::of(&section("odd", &odd.table()));
    assert_eq!(mount.sh("find odd -type f -printf '%p %s\\n' | sort"), "odd/Arts/Music/c 1\nodd/Maths/w1/a 1\n");
}

#[test]
fn a_change_that_a_plugin_reports_is_seen_at_once() {
    let dir = reaper::temporary();
    let files = dir.path().join("file");
    fs::write(&files, "before").unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kit/telling.py");
    let command =
        toml::Value::from(vec!["python3".to_owned(), script.display().to_string(), files.display().to_string()]);
    let mount = Mount::of(&section("told", &format!("type = \"plugin\"\ncommand = {command}\nfresh_for = \"1h\"")));
    let read = || fs::read_to_string(mount.path("told/file")).unwrap_or_default();
    assert_eq!(read(), "before");
    fs::write(&files, "behind!").unwrap();
    eventually("the change is seen", || read() == "behind!");
    assert!(requests(&mount.status(), "told").0 < 20, "it was told, and not asked for ever");
}

#[test]
fn the_examples_mount() {
    let dir = reaper::temporary();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let commands = "git init -q . && mkdir -p 'a dir' && printf hello > 'a dir/ü \"q\".txt' && printf '#!/bin/sh\\n' > run && chmod +x run &&
        git add -A && git -c user.name=a -c user.email=a@example.org commit -qm first";
    let made = Command::new("sh").args(["-ec", commands]).current_dir(dir.path()).status().unwrap();
    assert!(made.success());
    let path = dir.path().display();
    let mut mount = Mount::of(&format!(
        "[sources.git]\ntype = \"plugin\"\ncommand = [\"{0}/git.sh\"]\nrepository = \"{path}\"\n\
         [sources.dir]\ntype = \"plugin\"\ncommand = [\"{0}/directory.py\"]\npath = \"{path}\"\n",
        examples.display()
    ));
    for source in ["git", "dir"] {
        assert_eq!(mount.sh(&format!("cat '{source}/a dir/ü \"q\".txt'")), "hello");
        assert_eq!(mount.sh(&format!("find {source} -name '*.txt' -printf '%s'")), "5");
        assert_eq!(mount.sh(&format!("test -x {source}/run && echo yes")), "yes\n");
    }
    mount.unmount();
}

#[test]
fn every_new_plugin_and_every_example_keeps_the_protocol() {
    let home = Home::of("");
    for (language, file) in [("python", "plugin.py"), ("sh", "plugin.sh")] {
        let dir = home.dir().join(language);
        let made = home.kitovufs(["plugin", "new", "--lang", language, dir.to_str().unwrap()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let again = home.kitovufs(["plugin", "new", "--lang", language, dir.to_str().unwrap()]);
        assert_eq!(again.status.code(), Some(1), "nothing is replaced");
        let program = dir.join(file);
        let checked = home.kitovufs(["plugin", "check", "--set", "greeting=Hello", program.to_str().unwrap()]);
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
        let without = home.kitovufs(["plugin", "check", program.to_str().unwrap()]);
        assert_eq!(without.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&without.stdout).contains("`greeting` is missing"));
    }
    let dir = home.dir().join("kitovu");
    let dir = dir.to_str().unwrap();
    assert!(home.kitovufs(["plugin", "new", "--lang", "kitovu", dir]).status.success());
    let path = format!("path={dir}");
    let class = ["plugin", "check", "--python", "my_plugin:MyPlugin", "--set", &path];
    let checked = home.kitovufs(class.into_iter().chain(["--set", "greeting=Hello"]));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    assert_eq!(home.kitovufs(class).status.code(), Some(1), "without the greeting");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--offline", "--example", "plugin-template"]);
    assert!(
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success(),
        "the template in Rust is not built"
    );
    let rust = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join("plugin-template");
    let checked = home.kitovufs(["plugin", "check", "--set", "greeting=Hello", rust.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/directory.py");
    let path = format!("path={}", Path::new(env!("CARGO_MANIFEST_DIR")).join("src").display());
    let checked = home.kitovufs(["plugin", "check", "--set", &path, directory.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn a_plugin_that_breaks_the_protocol_does_not_pass() {
    for (method, what) in [
        ("list_path", "garbage"),
        ("list_path", "half:failed"),
        ("create_remote_digest", "answer:{\"digest\":\"\"}"),
        ("retrieve_file", "answer:{}"),
        ("create_local_digest", "answer:{\"digest\":\"x\"}"),
        ("disconnect", "fail:failed"),
        ("connect", "die"),
    ] {
        let odd = odd().wrong(method, what);
        let home = Home::of(&section("odd", &odd.table()));
        let checked = home.kitovufs(["plugin", "check", "-c", home.config().to_str().unwrap(), "--source", "odd"]);
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{method} {what}: {said}");
        assert!(said.contains("FAILED"), "{said}");
    }
}

#[test]
fn secrets_of_other_sources_are_not_in_a_plugins_environment() {
    let names = ["OWN_SECRET", "OTHERS_SECRET", "AWS_SECRET_ACCESS_KEY", "KITOVUFS_PASSWORD", "NO_SECRET"];
    let odd = odd().set("variables", json!(names));
    let other = Odd::with_files(&[("/x", "x")]).set("variables", json!(names));
    let s3 = "type = \"s3\"\nbucket = \"b\"\nendpoint = \"http://127.0.0.1:9\"\ndisable_config_load = false\n";
    let table = |odd: &Odd, name: &str| format!("{}token = {{ env = \"{name}\" }}\n", odd.table());
    let config = section("odd", &table(&odd, "OWN_SECRET"))
        + &section(
            "other",
            &format!(
                "{}[sources.other.inner]\npassword = {{ env = \"OWN_SECRET\" }}\n",
                table(&other, "OTHERS_SECRET")
            ),
        )
        + &section("amazon", s3);
    let home = names.into_iter().fold(Home::of(&config), |home, name| home.with_env(name, "value"));
    let mut mount = home.mount();
    assert_eq!(fs::read_to_string(mount.path("odd/a")).unwrap(), "one");
    assert_eq!(fs::read_to_string(mount.path("other/x")).unwrap(), "x");
    let has = |odd: &Odd| odd.journal().into_iter().filter(|line| line.starts_with("has ")).collect::<Vec<_>>();
    assert_eq!(has(&odd), ["has OWN_SECRET", "has NO_SECRET"]);
    assert_eq!(has(&other), ["has OWN_SECRET", "has OTHERS_SECRET", "has NO_SECRET"], "both name it");
    mount.unmount();
}

/// A mount whose cache may take 16 MiB.
fn narrow(odd: &Odd) -> Mount {
    Mount::of(&format!("[cache]\nmax_size = \"16MiB\"\n{}timeout = \"30s\"\n", section("odd", &odd.table())))
}

/// What the files below a directory take on the disk, in bytes.
fn taken(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .map(|path| if path.is_dir() { taken(&path) } else { path.metadata().map_or(0, |file| file.blocks() * 512) })
        .sum()
}

#[test]
fn what_a_plugin_writes_counts_towards_the_limits_of_the_cache() {
    let odd = odd().set("sizes", json!(false)).set("limits", json!(true)).wrong("retrieve_file", "once write for ever");
    let mut mount = narrow(&odd);
    let staging = mount.home().cache().join("staging");
    let reader = std::thread::spawn({
        let place = mount.path("odd/a");
        move || fs::read(place)
    });
    let mut most = 0;
    while !reader.is_finished() {
        most = most.max(taken(&staging));
    }
    let error = reader.join().unwrap().expect_err("there is no room for so much");
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    assert!(most <= 16 << 20, "{most} bytes were written");
    assert_eq!((odd.count("longest file 16777216"), taken(&staging)), (1, 0));
    assert!(mount.log().contains("leave no room"), "{}", mount.log());
    assert_eq!(fs::read_to_string(mount.path("odd/d/b")).unwrap(), "two");
    assert_eq!((odd.count("start"), processes(&odd).len()), (2, 1), "the process that wrote was ended");
    mount.unmount();
}

#[test]
fn a_file_takes_its_room_once_though_it_is_staged_and_copied() {
    let content = "0123456789abcdef".repeat(640 << 10);
    for sizes in [true, false] {
        let odd = Odd::with_files(&[("/big", &content)]).set("sizes", json!(sizes));
        let mut mount = narrow(&odd);
        for _ in 0..2 {
            assert!(fs::read_to_string(mount.path("odd/big")).unwrap() == content);
        }
        assert_eq!(odd.count("retrieve_file"), 1, "10 of 16 MiB: the copy was kept");
        assert_eq!(taken(&mount.home().cache().join("staging")), 0);
        mount.unmount();
    }
}
