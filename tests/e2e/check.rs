//! `kitovufs check` says within seconds what works, what does not and why, and what to try.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::kit::ftp::Ftp;
use crate::kit::home::{Home, local, text};
use crate::kit::mount::Mount;
use crate::kit::reaper;
use crate::kit::samba::Samba;
use crate::kit::servers::{S3, Webdav, free_port, with_port};
use crate::kit::sshd::{Sshd, user};
use crate::kit::web::Web;

/// For all of a configuration, some of which hang, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(15);

/// A source that does not work, and the words that say why and what to try.
type Case = (&'static str, String, &'static [&'static str]);

/// A directory with one file, as servers show it.
fn shown() -> TempDir {
    let dir = reaper::temporary();
    fs::create_dir(dir.path().join("bucket")).unwrap();
    fs::write(dir.path().join("bucket/file"), "bytes").unwrap();
    dir
}

/// Who accepts connections and says nothing.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Lines without that of a key.
fn without(table: &str, key: &str) -> String {
    table.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect()
}

/// Checks all of them and one that works.
fn assert_told(works: &str, cases: &[Case]) {
    let mut config = format!("[sources.works]\n{works}\n");
    for (name, table, _) in cases {
        config += &format!("[sources.\"{name}\"]\n{table}\ntimeout = \"5s\"\n");
    }
    let home = Home::of(&config);
    let begun = Instant::now();
    let output = home.kitovufs(["check", "-c", &text(home.config())]);
    let told = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(begun.elapsed() < DEADLINE, "it took {:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("  ok      retrieved and verified /file"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    for (name, _, words) in cases {
        let block = told.split_once(&format!("\n{name} (")).unwrap_or_else(|| panic!("{name} is not in:\n{told}")).1;
        let block: String = block.lines().skip(1).take_while(|line| line.starts_with("  ")).collect();
        assert!(!block.contains("  ok "), "{name}: {block}");
        for word in *words {
            assert!(block.contains("  FAILED  ") && block.contains(word), "{name}: {word:?} is not in:\n{block}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_webdav_server() {
    let dir = shown();
    let dav = Webdav::rclone_with_password(&dir.path().join("bucket"));
    let web = Web::apache(dir.path());
    let (_silent, silent) = silent();
    let table = dav.table();
    assert_told(
        &table,
        &[
            ("password", table.replace("kit-password", "hunter2"), &["401", "Check who logs in"]),
            ("nobody", without(&without(&table, "username"), "password"), &["401", "Check who logs in"]),
            ("closed", with_port(&table, dav.port(), free_port()), &["nothing listens there; check"]),
            ("silent", with_port(&table, dav.port(), silent), &["no progress for 5s", "Check host and port"]),
            ("root", format!("{table}root = \"gone\""), &["are `endpoint` and `root` right?"]),
            ("tls", table.replace("http:", "https:"), &["no TLS with this server; check"]),
            ("web", format!("type = \"webdav\"\nendpoint = \"{}\"", web.url()), &["is `endpoint` right?"]),
            ("host", table.replace("127.0.0.1", "nowhere.invalid"), &["source unreachable", "dns"]),
        ],
    );
}

#[test]
fn a_keyring_that_is_not_there_is_told_and_not_the_address() {
    let home = Home::of(
        "[sources.dav]\ntype = \"webdav\"\nendpoint = \"http://127.0.0.1:9/\"\nusername = \"a\"\npassword = { keyring = true }",
    );
    let home = home.with_env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
    let output = home.kitovufs(["check", "-c", &text(home.config())]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("no keyring") && told.contains("{ command = "), "{told}");
    assert!(!told.contains("address,"), "{told}");
}

#[test]
fn what_is_wrong_with_a_web_directory() {
    let dir = shown();
    let web = Web::apache(dir.path());
    let table = web.table("bucket/");
    assert_told(
        &table,
        &[
            ("gone", web.table("gone/"), &["is `url` right?"]),
            ("closed", with_port(&table, web.port(), free_port()), &["nothing listens there; check"]),
            ("tls", table.replace("http:", "https:"), &["no TLS with this server; check"]),
        ],
    );
}

#[test]
fn a_page_in_place_of_an_index_is_a_file() {
    let dir = shown();
    let page = "<html><title>Welcome</title></html>";
    fs::write(dir.path().join("index.html"), page).unwrap();
    let web = Web::apache(dir.path());
    let mount: Mount = Home::of(&format!("[sources.web]\n{}", web.table(""))).mount();
    assert_eq!(mount.sh("ls web; cat web/index.html"), format!("index.html\n{page}"));
    // The page tells no names, so the server is asked for each.
    assert_eq!(mount.sh("cat web/bucket/file; ls web/bucket; ! ls web/gone"), "bytesfile\n");
}

#[test]
fn live_is_told_to_have_no_effect_where_it_has_none() {
    let dir = shown();
    for (web, told) in [(Web::python(dir.path()), true), (Web::apache(dir.path()), false)] {
        let home = Home::of(&format!("[sources.web]\nlive = [\"*.log\"]\n{}", web.table("")));
        let output = home.kitovufs(["check", "-c", &text(home.config())]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains("`live` has no effect") == told, "{said}");
    }
}

#[test]
fn what_is_wrong_with_a_cache_directory() {
    let home = Home::of("");
    let file = home.dir().join("file");
    fs::write(&file, "").unwrap();
    let check = |cache: String| {
        let source = "[sources.docs]\ntype = \"local\"\npath = \"/usr/share/common-licenses\"\n";
        home.configure(&format!("[cache]\n{cache}\n{source}"));
        let output = home.kitovufs(["check", "-c", &text(home.config())]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = check(format!("dir = {file:?}"));
    assert!(code == Some(2) && told.contains("it is no directory; give cache.dir"), "{told}");
    let (code, told) = check("dir = \"/proc/kitovufs\"".into());
    assert!(code == Some(2) && told.contains("cannot make it in /proc; set cache.dir"), "{told}");
    let (code, told) = check("min_free = \"1000PiB\"".into());
    assert!(code == Some(0) && told.contains("nothing is kept; set cache.min_free lower"), "{told}");
}

#[test]
fn what_is_wrong_with_a_bucket() {
    let dir = shown();
    let s3 = S3::rclone(dir.path());
    let web = Web::apache(dir.path());
    let table = s3.table("bucket");
    let container =
        |port: u16| format!("type = \"azblob\"\ncontainer = \"c\"\nendpoint = \"http://127.0.0.1:{port}\"\n");
    assert_told(
        &table,
        &[
            ("key", table.replace("kit-secret", "hunter2"), &["SignatureDoesNotMatch", "Check who logs in"]),
            ("bucket", s3.table("gone"), &["NoSuchBucket", "check the name of the bucket"]),
            ("root", format!("{table}root = \"gone\""), &["is `root` right?"]),
            ("tls", table.replace("http:", "https:"), &["no TLS with this server; check"]),
            (
                "web",
                with_port(&s3.table("gone"), s3.port(), web.port()),
                &["are `bucket`, `endpoint` and `region` right?"],
            ),
            (
                "google",
                with_port(&s3.table("gone"), s3.port(), free_port())
                    .replace("\"s3\"", "\"gcs\"")
                    .replace("region", "#"),
                &["nothing listens there; check"],
            ),
            ("container", container(web.port()), &["are `container`, `endpoint` and the credentials right?"]),
            ("no container", container(free_port()), &["nothing listens there; check"]),
        ],
    );
}

#[test]
fn what_is_wrong_with_an_ssh_host() {
    let dir = shown();
    let shown = dir.path().join("bucket");
    let (ssh, changed) = (Sshd::run(&shown), Sshd::run(&shown));
    changed.change_host_key();
    let web = Web::apache(dir.path());
    let (_silent, silent) = silent();
    let table = ssh.table();
    let known = fs::read_to_string(ssh.file("known_hosts")).unwrap();
    let strange = ssh.file("nobody_known");
    fs::write(&strange, "").unwrap();
    assert!(!known.is_empty());
    assert_told(
        &table,
        &[
            ("closed", with_port(&table, ssh.port(), free_port()), &["cannot reach 127.0.0.1 port", "refused"]),
            ("silent", with_port(&table, ssh.port(), silent), &["no progress for 5s", "Check host and port"]),
            ("no key", ssh.table_without_key(), &["set `key` or `password`"]),
            (
                "user",
                table.replace(&format!("\"{}\"", user()), "\"nobody-knows\""),
                &["does not let nobody-knows in", "Check who logs in"],
            ),
            ("root", table.replace("/bucket\"", "/gone\""), &["is `root` right?"]),
            ("web", with_port(&table, ssh.port(), web.port()), &["no SSH connection"]),
            ("changed", changed.table(), &["is not the one in", "ssh-keygen -R"]),
            ("unknown", table.replace("/known_hosts\"", "/nobody_known\""), &["host key"]),
        ],
    );
}

#[test]
fn what_is_wrong_with_a_share() {
    let dir = shown();
    let samba = Samba::run(&dir.path().join("bucket"));
    let web = Web::apache(dir.path());
    let (_silent, silent) = silent();
    let table = samba.table("kit");
    let password = format!("{}password = \"hunter2\"", without(&table, "password"));
    assert_told(
        &table,
        &[
            ("password", password, &["no such user and password", "Check who logs in"]),
            ("share", samba.table("gone"), &["is `share` right?"]),
            ("root", format!("{table}root = \"gone\""), &["is `root` right?"]),
            ("closed", with_port(&table, samba.port(), free_port()), &["is the server up, and the port right?"]),
            ("silent", with_port(&table, samba.port(), silent), &["no progress for 5s", "Check host and port"]),
            ("web", with_port(&table, samba.port(), web.port()), &["source unreachable"]),
        ],
    );
}

#[test]
fn what_is_wrong_with_an_ftp_server() {
    let dir = shown();
    let shown = dir.path().join("bucket");
    let (ftp, tls) = (Ftp::python(&shown), Ftp::tls(&shown));
    let (_silent, silent) = silent();
    let table = ftp.table();
    let stranger = without(&without(&table, "username"), "password");
    let stranger = format!("{stranger}username = \"a\"\npassword = \"hunter2\"");
    assert_told(
        &table,
        &[
            ("password", stranger, &["530", "Check who logs in"]),
            ("root", format!("{table}root = \"gone\""), &["is `root` right?"]),
            ("closed", with_port(&table, ftp.port(), free_port()), &["refused"]),
            ("silent", with_port(&table, ftp.port(), silent), &["no progress for 5s", "Check host and port"]),
            ("no tls", format!("{}tls = true", without(&table, "tls")), &["no encrypted connection", "check `tls`"]),
            (
                "certificate",
                format!("{}tls = true", without(&tls.table(), "tls")),
                &["no encrypted connection", "certificate"],
            ),
        ],
    );
}

#[test]
fn the_page_is_tried() {
    let dir = shown();
    let (_taken, port) = silent();
    let of = |port: u16, token: &str| {
        format!(
            "[web]\nlisten = \"127.0.0.1:{port}\"\n{token}[sources.s]\ntype = \"local\"\npath = \"{}\"\n",
            text(dir.path())
        )
    };
    let checked = |home: &Home| {
        let output = home.kitovufs(["check", "-c", &text(home.config())]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let home = Home::of(&of(port, "token = { file = \"nowhere\" }\n"));
    let (code, told) = checked(&home);
    assert_eq!(code, Some(1), "{told}");
    let block = told.split_once("\nweb\n").unwrap_or_else(|| panic!("{told}")).1;
    assert!(block.contains(&format!("  FAILED  listen = \"127.0.0.1:{port}\"")) && block.contains("in use"), "{told}");
    assert_eq!(block.matches("  FAILED  ").count(), 2, "the token, too: {told}");
    assert!(block.contains("nowhere") && told.contains("1 of 1 sources work"), "{told}");

    let home = Home::of(&of(0, "token = \"correct horse battery\"\n"));
    let (code, told) = checked(&home);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("127.0.0.1:0 can be listened on") && told.contains("the token is there"), "{told}");
    assert!(!told.contains("correct horse"), "{told}");

    let port = free_port();
    let mount = Mount::of(&of(port, ""));
    let (code, told) = checked(mount.home());
    assert!(code == Some(0) && told.contains(&format!("a mount of yours listens on 127.0.0.1:{port}")), "{told}");
}

#[test]
fn scripts_get_an_object_for_each_thing_that_is_checked() {
    let dir = shown();
    let works = local("works", dir.path());
    let refused = format!("[sources.refused]\ntype = \"webdav\"\nendpoint = \"http://127.0.0.1:{}\"\n", free_port());
    let home = Home::of(&format!("{works}{refused}"));
    for (command, kinds) in [
        ("check", &["configuration", "source", "source"][..]),
        ("doctor", &["machine", "configuration", "source", "source"]),
    ] {
        let output = home.kitovufs([command, "--json", "-c", &text(home.config())]);
        let said = String::from_utf8(output.stdout).unwrap();
        let all: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(all.iter().map(|one| one["kind"].as_str().unwrap()).collect::<Vec<_>>(), kinds, "{said}");
        assert!(all.iter().all(|one| one["kind"] != "configuration" || one["name"] == "configuration"), "{said}");
        let [.., works, refused] = &all[..] else { panic!("{said}") };
        assert_eq!((&works["name"], &works["works"], &works["type"]), (&"works".into(), &true.into(), &"local".into()));
        assert!(works["findings"][0]["milliseconds"].is_u64(), "{works}");
        assert_eq!((&refused["name"], &refused["works"]), (&"refused".into(), &false.into()));
        let failed = refused["findings"].as_array().unwrap().iter().find(|finding| finding["result"] == "failed");
        assert!(failed.unwrap()["text"].as_str().unwrap().contains("nothing listens there"), "{refused}");
    }
}

#[test]
fn scripts_are_told_of_a_configuration_that_is_wrong_or_not_there() {
    let home = Home::of("");
    let missing = text(home.dir().join("nothere.toml"));
    for (wrong, why) in [
        ("[sources.wrong]\ntype = \"wbdav\"\n", "wbdav"),
        ("[sources.wrong\n", "TOML"),
        ("fresh_for = \"1 parsec\"\n", "fresh_for"),
        ("", "nothere.toml"),
    ] {
        home.configure(wrong);
        let file = if wrong.is_empty() { missing.clone() } else { text(home.config()) };
        for (command, code, lines) in [("check", 2, 1), ("doctor", 1, 2)] {
            let output = home.kitovufs([command, "--json", "-c", &file]);
            let said = String::from_utf8(output.stdout).unwrap();
            assert_eq!((output.status.code(), said.lines().count()), (Some(code), lines), "{command} {wrong}: {said}");
            let told: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
            assert_eq!([&told["kind"], &told["name"]], ["configuration"; 2], "{said}");
            assert_eq!((&told["works"], &told["findings"][0]["result"]), (&false.into(), &"failed".into()), "{said}");
            let reasons = told["findings"].to_string();
            assert!(reasons.contains(why), "{command} {wrong}: {reasons}");
        }
    }
}
