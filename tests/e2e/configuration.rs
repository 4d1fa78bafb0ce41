//! What is wrong with a configuration is said at once, with its lines, and with exit code 2.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::kit::home::{Home, is_mounted, text};

/// Asserts that `config` is refused, and that for each of `problems` (words on its line, words of the message) there is a
/// message that begins with file and line.
#[track_caller]
fn assert_refused(config: &str, problems: &[(&str, &[&str])]) {
    let home = Home::of(config);
    let (code, said) = home.refusal();
    assert_eq!(code, 2, "{said}");
    for (on_line, words) in problems {
        let number = 1 + config.lines().position(|line| line.contains(on_line)).expect("the line is in the test");
        let place = format!("{}:{number}: ", text(home.config()));
        let found = said.lines().any(|line| line.contains(&place) && words.iter().all(|word| line.contains(word)));
        assert!(found, "nothing says {words:?} at line {number} in:\n{said}");
    }
    assert!(!is_mounted(&home.mountpoint()));
}

#[test]
fn everything_wrong_is_said_at_once() {
    assert_refused(
        r#"
            [cache]
            max_size = true
            max_sise = "1GiB"

            [defaults]
            fresh_fro = "30s"

            [sources.docs]
            type = "lokal"
            path = "/usr/share/doc"

            [sources.here]
            type = "local"
            pfad = "/usr/share/doc"

            [sources.web]
            type = "webdav"
            endpoint = "http://localhost"
            username = "anna"
            password = { env = "KITOVUFS_TEST_UNSET" }
        "#,
        &[
            ("max_size", &["max_size", "boolean"]),
            ("max_sise", &["max_sise", "`max_size`"]),
            ("fresh_fro", &["fresh_fro", "`fresh_for`"]),
            ("lokal", &["lokal", "`local`"]),
            ("pfad", &["pfad", "`path`"]),
            ("[sources.here]", &["`path`", "missing"]),
            ("password", &["password", "KITOVUFS_TEST_UNSET"]),
        ],
    );
}

#[test]
fn a_folder_that_is_there_twice_is_refused() {
    let home = Home::of(
        "[sources.docs]\ntype = \"local\"\npath = \"/usr\"\n\n[sources.docs]\ntype = \"local\"\npath = \"/etc\"\n",
    );
    let (code, said) = home.refusal();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(":5: ") && said.contains("docs"), "{said}");
}

#[test]
fn a_secret_in_a_file_that_others_can_read_is_refused_and_not_shown() {
    let config = "[sources.web]\ntype = \"webdav\"\nendpoint = \"http://localhost\"\npassword = \"hunter2\"\n";
    let home = Home::of(config);
    fs::set_permissions(home.config(), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = home.refusal();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(":4: ") && said.contains("chmod 600"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_missing_configuration_tells_how_to_begin() {
    let home = Home::of("");
    fs::remove_file(home.config()).unwrap();
    let (code, said) = home.refusal();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(&text(home.config())), "{said}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let home = Home::of("");
    for args in [&["mont"][..], &["mount", "--no-such-flag"], &["status", "a", "b"]] {
        assert_eq!(home.kitovufs(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn help_and_version_are_there() {
    let home = Home::of("");
    let help = String::from_utf8(home.kitovufs(["--help"]).stdout).unwrap();
    for word in ["mount", "unmount", "status", "check", "config.toml"] {
        assert!(help.contains(word), "{word} is not in:\n{help}");
    }
    let version = String::from_utf8(home.kitovufs(["--version"]).stdout).unwrap();
    assert_eq!(version.trim(), concat!("kitovufs ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn check_tells_which_source_does_not_work() {
    let config = |endpoint: &str| {
        format!(
            "[sources.near]\ntype = \"local\"\npath = \"/usr/share\"\n\n\
             [sources.far]\ntype = \"webdav\"\nendpoint = \"{endpoint}\"\ntimeout = \"3s\"\n"
        )
    };
    // Port 9 discards, where anything listens there at all.
    let home = Home::of(&config("http://127.0.0.1:9"));
    let output = home.kitovufs(["check", "-c", &text(home.config())]);
    let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("far") && said.contains("near"), "{said}");

    home.configure("[sources.near]\ntype = \"local\"\npath = \"/usr/share\"\n");
    let output = home.kitovufs(["check", "-c", &text(home.config())]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
