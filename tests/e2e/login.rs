//! `login`: a secret is stored where the configuration says, once it has worked; the keyring is a real one on a bus of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use tempfile::TempDir;

use crate::kit::home::{Home, text};
use crate::kit::moodle::{Moodle, PASSWORD, TOKEN, USER};
use crate::kit::mount::Mount;
use crate::kit::reaper;
use crate::kit::servers::Webdav;

/// A server that knows one user, the table of a source there without the password, and the password.
fn server() -> (Webdav, TempDir, String, String) {
    let dir = reaper::temporary();
    fs::write(dir.path().join("file"), "bytes").unwrap();
    let server = Webdav::rclone_with_password(dir.path());
    let table = format!("[sources.cloud]\n{}", server.table());
    let (rest, password): (Vec<_>, Vec<_>) = table.lines().partition(|line| !line.starts_with("password"));
    let password = password[0].split('"').nth(1).expect("a quoted password").to_owned();
    (server, dir, rest.join("\n") + "\n", password)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_secret_goes_into_its_file_once_it_has_worked() {
    let (_server, _dir, table, password) = server();
    let home = Home::of(&format!("{table}password = {{ file = \"secrets/cloud\" }}\n"));
    let secret = home.dir().join("secrets/cloud");
    let login = |typed: &str| home.kitovufs_told(["login", "-c", &text(home.config()), "cloud"], typed);

    let wrong = login("not-the-password\n");
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
    assert!(!secret.exists() && !said(&wrong).contains("not-the-password"), "{}", said(&wrong));

    let right = login(&format!("{password}\n"));
    assert_eq!(right.status.code(), Some(0), "{}", said(&right));
    assert!(said(&right).contains(&text(&secret)) && !said(&right).contains(&password), "{}", said(&right));
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let mount: Mount = home.mount();
    assert_eq!(fs::read(mount.path("cloud/file")).unwrap(), b"bytes");
}

#[test]
fn a_mounted_source_takes_the_new_secret_at_once() {
    let (_server, _dir, table, password) = server();
    let home = Home::of(&format!("{table}password = {{ file = \"secret\" }}\n"));
    fs::write(home.dir().join("secret"), "not-the-password\n").unwrap();
    let mount: Mount = home.mount();
    assert!(fs::read(mount.path("cloud/file")).is_err());
    assert_eq!(mount.status()["sources"]["cloud"]["state"], "unauthorized");

    let config = text(mount.home().config());
    let login = mount.home().kitovufs_told(["login", "-c", &config, "cloud"], &format!("{password}\n"));
    assert_eq!(login.status.code(), Some(0), "{}", said(&login));
    assert_eq!(fs::read(mount.path("cloud/file")).unwrap(), b"bytes");
}

#[test]
fn a_password_for_moodle_is_given_up_for_a_token() {
    let site = Moodle::start();
    let rest = site.table().lines().take(2).collect::<Vec<_>>().join("\n");
    let home = Home::of(&format!("[sources.uni]\n{rest}\ntoken = {{ file = \"token\" }}\n"));
    let stored = home.dir().join("token");
    let login = |typed: &str| home.kitovufs_told(["login", "-u", USER, "uni", "-c", &text(home.config())], typed);

    let wrong = login("not-the-password\n");
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
    assert!(!stored.exists() && !said(&wrong).contains("not-the-password"), "{}", said(&wrong));

    let right = login(&format!("{PASSWORD}\n"));
    assert_eq!(right.status.code(), Some(0), "{}", said(&right));
    assert!(!said(&right).contains(PASSWORD) && !said(&right).contains(TOKEN), "{}", said(&right));
    assert_eq!(fs::read_to_string(&stored).unwrap(), format!("{TOKEN}\n"), "the token, and not the password");
    let mount: Mount = home.mount();
    assert!(fs::read_dir(mount.path("uni")).unwrap().count() > 0);

    let elsewhere = Home::of("[sources.uni]\ntype = \"smb\"\npassword = { file = \"x\" }\n");
    let refused = elsewhere.kitovufs(["login", "-u", "anna", "uni", "-c", &text(elsewhere.config())]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
}

/// Runs a script on a bus of its own with an empty, unlocked keyring of GNOME.
pub fn with_keyring(home: &Home, script: &str) -> Output {
    let unlock = "printf '\\n' | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1";
    let script = format!("{unlock}\n{script}");
    let mut command = home.command("dbus-run-session");
    command.args(["--", "timeout", "60", "sh", "-euc", &script]);
    command.env("KITOVUFS", home.binary()).env("CONFIG", home.config());
    command.output().unwrap()
}

#[test]
fn a_secret_goes_into_the_keyring_once_it_has_worked() {
    let (_server, _dir, table, password) = server();
    let home = Home::of(&format!("{table}password = {{ keyring = true }}\n"));
    let endpoint = table.split('"').find(|text| text.starts_with("http")).expect("an endpoint").to_owned();
    let user = table.lines().find_map(|line| line.strip_prefix("username = ")).expect("a user").replace('"', "");
    let run = |script: &str| {
        let output = with_keyring(&home, script);
        assert!(!said(&output).contains(&password), "{}", said(&output));
        (output.status.code(), said(&output))
    };
    fs::write(home.dir().join("right"), &password).unwrap();
    // What kitovu's Python would ask for.
    let search = format!(
        "dbus-send --session --print-reply --dest=org.freedesktop.secrets /org/freedesktop/secrets \
         org.freedesktop.Secret.Service.SearchItems dict:string:string:service,kitovu-webdav,username,{user}@{endpoint}"
    );

    let (code, shown) =
        run(&format!("! echo wrong | $KITOVUFS login -c $CONFIG cloud; {search}; $KITOVUFS check -c $CONFIG"));
    assert_eq!(code, Some(1), "{shown}");
    assert!(!shown.contains("/org/freedesktop/secrets/collection"), "nothing was stored: {shown}");
    assert!(shown.contains("the keyring has no secret for it") && shown.contains("kitovufs login"), "{shown}");

    let (code, shown) = run(&format!(
        "$KITOVUFS login -c $CONFIG cloud <right; $KITOVUFS login -c $CONFIG cloud <right; {search}; $KITOVUFS check -c $CONFIG"
    ));
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(shown.matches("object path \"/org/freedesktop/secrets/collection").count(), 1, "one item: {shown}");
    assert!(shown.contains("retrieved and verified /file"), "{shown}");

    let lock = "dbus-send --session --print-reply --dest=org.freedesktop.secrets /org/freedesktop/secrets \
                org.freedesktop.Secret.Service.Lock array:objpath:/org/freedesktop/secrets/collection/login";
    let (code, shown) = run(&format!("{lock}; $KITOVUFS check -c $CONFIG"));
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("the keyring is locked"), "nobody is asked: {shown}");
}

#[test]
fn without_a_keyring_the_other_forms_are_named_before_anybody_types() {
    let config = "[sources.cloud]\ntype = \"webdav\"\nendpoint = \"http://127.0.0.1:9\"\nusername = \"anna\"\n\
                  password = { keyring = true }\n";
    let home = Home::of(config).with_env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    for command in ["login", "check"] {
        let args = ["-c", &text(home.config()), "cloud"];
        let args = if command == "login" { &args[..] } else { &args[..2] };
        let output = home.kitovufs(std::iter::once(command).chain(args.iter().copied()));
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("no D-Bus session") && said.contains("{ file = "), "{said}");
    }
}
