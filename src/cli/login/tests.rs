//! Logging in without a server: the questions, the refusals, the places of secrets.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::keyring::InMemory;

/// A request for the secret of `cloud` in a configuration. Logins that need a server are tested from end to end.
fn request(text: &str) -> (tempfile::TempDir, LoginRequest) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text).expect("written");
    (dir, LoginRequest { file, source: "cloud".into(), username: None })
}

const CLOUD: &str =
    "[sources.cloud]\ntype = 'webdav'\nendpoint = 'http://127.0.0.1:9'\nusername = 'anna'\ntimeout = '2s'\n";

fn refused(text: &str, typed: &str) -> (String, Failure) {
    let (_dir, request) = request(text);
    let mut asked = String::new();
    let failure = perform(
        &request,
        &mut |what| {
            asked.push_str(what);
            Ok(typed.into())
        },
        &InMemory::default(),
    );
    (asked, failure.expect_err("it is refused"))
}

#[test]
fn what_cannot_be_kept_is_not_asked_for() {
    for password in ["password = { env = 'PATH' }", "password = { command = 'true' }", ""] {
        let (asked, failure) = refused(&format!("{CLOUD}{password}"), "hunter2");
        assert_eq!((asked.as_str(), failure.exit_code()), ("", 2));
        assert!(failure.to_string().contains("{ keyring = true }"), "{failure}");
    }
    let (asked, failure) = refused(&CLOUD.replace("cloud", "clouds"), "hunter2");
    assert_eq!((asked.as_str(), failure.exit_code()), ("", 2));
    assert!(failure.to_string().contains("did you mean `clouds`?"), "{failure}");
}

#[test]
fn nothing_is_stored_before_it_has_worked() {
    let (_dir, request) = request(&format!("{CLOUD}password = {{ keyring = true }}"));
    let store = InMemory::default();
    let failure = perform(&request, &mut |_| Ok("hunter2".into()), &store).expect_err("nobody is there");
    assert_eq!(failure.exit_code(), 1, "{failure}");
    assert!(!failure.to_string().contains("hunter2"), "{failure}");
    let item = keyring::Item { service: "kitovu-webdav".into(), identifier: "anna@http://127.0.0.1:9".into() };
    assert_eq!(store.get(&item).expect("the store works"), None);
}

#[test]
fn nothing_typed_is_nothing_tried() {
    let (asked, failure) = refused(&format!("{CLOUD}password = {{ file = 'pw' }}"), "");
    assert_eq!(asked, "cloud (webdav), password: ");
    assert!(failure.to_string().contains("nothing was typed"), "{failure}");
}

#[test]
fn a_file_is_for_its_owner_only_and_keeps_its_other_lines() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("deeper/secret");
    let mode = || path.metadata().expect("it is there").permissions().mode() & 0o777;
    write(&path, &Revealed::new("first")).expect("written");
    assert_eq!((fs::read_to_string(&path).expect("read").as_str(), mode()), ("first\n", 0o600));
    fs::write(&path, "old\nuser: anna\n").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("linked");
    write(&link, &Revealed::new("second")).expect("written");
    assert_eq!((fs::read_to_string(&path).expect("read").as_str(), mode()), ("second\nuser: anna\n", 0o600));
    assert!(link.is_symlink());
    assert_eq!(Secret::File(link).reveal().expect("it is there").expose(), "second");
}
