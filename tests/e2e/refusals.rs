//! A server that refuses one file to a login that is right, and later the login: each takes away what it is about, and no more.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::kit::files::set_modified;
use crate::kit::mount::Mount;
use crate::kit::reaper;
use crate::kit::servers::{FORBIDDEN, Server, Webdav};
use crate::kit::web::Web;

const HOUR: Duration = Duration::from_secs(3600);

/// Files of this size are not retrieved at once.
const LARGE: usize = 3 << 20;

fn files() -> tempfile::TempDir {
    let dir = reaper::temporary();
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        // What has just changed is another version once it has not.
        set_modified(&path, SystemTime::now() - HOUR);
    };
    for name in ["small", "other", FORBIDDEN] {
        put(name, b"bytes");
    }
    for name in ["large".to_owned(), format!("{FORBIDDEN} large")] {
        put(&name, &vec![1; LARGE]);
    }
    dir
}

fn takes_away_what_it_is_about(table: &str, server: &Server) {
    let mount = Mount::of(&format!("[sources.cloud]\n{table}fresh_for = \"1h\"\nread_ahead = false\n"));
    let path = |name: &str| -> PathBuf { mount.path("cloud").join(name) };
    let refused = |name: &str| {
        let error = fs::read(path(name)).expect_err("nobody may read it");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}");
    };
    let state = || mount.status()["sources"]["cloud"]["state"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        for name in [FORBIDDEN.to_owned(), format!("{FORBIDDEN} large")] {
            refused(&name);
            assert_eq!(state(), "ok", "{}", mount.log());
        }
        assert_eq!(fs::read(path("small")).unwrap(), b"bytes");
        assert_eq!(fs::read(path("large")).unwrap(), vec![1; LARGE]);
    }
    let asked = server.requests().len();
    for _ in 0..5 {
        refused(FORBIDDEN);
    }
    // Five seconds may pass meanwhile. At each open that would be two requests.
    assert!(server.requests().len() < asked + 10, "what was refused is not asked for at each open");
    mount.home().kitovufs(["refresh", path(FORBIDDEN).to_str().unwrap()]);
    refused(FORBIDDEN);
    assert!(server.requests().len() > asked, "but after a refresh");
    let log = mount.log();
    assert!(log.contains("401 Unauthorized; the login is right, and must not read this"), "{log}");
    assert!(!log.contains("does not answer"), "{log}");

    server.change_password(false);
    refused("other");
    assert_eq!(state(), "unauthorized", "{}", mount.log());
    let asked = server.requests().len();
    refused("other");
    refused(FORBIDDEN);
    assert_eq!(server.requests().len(), asked, "a refused password is not sent again");
    assert_eq!(fs::read(path("small")).unwrap(), b"bytes", "it is in the cache, and of the same account");
}

#[test]
fn a_refusal_of_the_webdav_of_apache_takes_away_what_it_is_about() {
    let dir = files();
    let server = Webdav::apache_with_digest(dir.path());
    takes_away_what_it_is_about(&server.table(), &server);
}

#[test]
fn a_refusal_of_an_index_of_apache_takes_away_what_it_is_about() {
    let dir = files();
    let server = Web::apache_with_digest(dir.path());
    takes_away_what_it_is_about(&server.table(""), &server);
}
