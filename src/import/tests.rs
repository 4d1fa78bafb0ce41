//! Conversions of kitovu's configurations.

use super::*;
use crate::config::Config;

const COURSES: &str = "
root-dir: ~/HSR
global-ignore: [Thumbs.db, '*.tmp']
connections:
  - name: skripte
    plugin: smb
    username: mmuster
    hostname: files.example.edu
    share: scripts
    domain: EXAMPLE
  - name: moodle
    plugin: moodle
    url: https://moodle.example.edu/
  - name: ilias
    plugin: ilias
    url: https://ilias.example.edu
    retries: 3
    options: {deep: true, langs: [de, en], nothing: null}
subjects:
  - name: EPJ
    sources:
      - connection: skripte
        remote-dir: /Informatik/Fachbereich/EPJ/
        ignore: [Rezepte]
      - connection: moodle
        remote-dir: EPJ HS26
  - name: HS26/An
    sources:
      - connection: skripte
        remote-dir: Informatik/An
";

fn loaded(toml: &str) -> Config {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, toml).expect("written");
    Config::load(&path).unwrap_or_else(|problems| panic!("{problems}\n{toml}"))
}

#[test]
fn connections_become_sources_and_subjects_folders() {
    let Imported { toml, notes } = convert(COURSES).expect("it is one of kitovu's");
    let expected = r#"mountpoint = "~/HSR"

[sources.skripte]
type = "smb"
hostname = "files.example.edu"
share = "scripts"
domain = "EXAMPLE"
username = "mmuster"
password = { keyring = true }
hidden = true

[sources.moodle]
type = "moodle"
url = "https://moodle.example.edu/"
token = { keyring = true }
number_sections = true
hidden = true

[sources.ilias]
type = "python"
plugin = "ilias"
retries = 3
url = "https://ilias.example.edu"

[[folders]]
path = "EPJ"
from = [
    { source = "skripte", path = "Informatik/Fachbereich/EPJ", ignore = ["Rezepte"] },
    { source = "moodle", path = "EPJ HS26" },
]
ignore = ["Thumbs.db", "*.tmp"]

[[folders]]
path = "HS26/An"
from = [{ source = "skripte", path = "Informatik/An" }]
ignore = ["Thumbs.db", "*.tmp"]
"#;
    assert_eq!(toml, expected);
    let said = |words: &str| assert!(notes.iter().any(|note| note.contains(words)), "{words}: {notes:#?}");
    said("`options` is left out");
    said("plugin `ilias` must be installed");
    said("move them away, or change `mountpoint`");
    assert_eq!(notes.len(), 3, "{notes:#?}");
    let (before, after) = (toml.find("[sources.ilias]"), toml.find("[[folders]]"));
    let config = loaded(&[&toml[..before.expect("written")], &toml[after.expect("written")..]].concat());
    let identifier =
        |source: usize, key: &str| config.sources[source].settings.values[key]["keyring"]["identifier"].as_str();
    assert_eq!(config.sources.iter().map(|source| &*source.name).collect::<Vec<_>>(), ["moodle", "skripte"]);
    assert_eq!(identifier(0, "token"), Some("https://moodle.example.edu/"));
    assert_eq!(identifier(1, "password"), Some("mmuster\nEXAMPLE\nfiles.example.edu"));
}

#[test]
fn courses_of_moodle_are_found_by_the_names_that_kitovu_has_for_them() {
    for (remote_dir, path) in [
        ("Renamed / course", "path = \"Renamed \u{ff0f} course\""),
        ("/Analysis I: \u{dc}bungen &amp; x/", "path = \"Analysis I: \u{dc}bungen & x\""),
        ("a &lt; b", r#"path = "a < b""#),
    ] {
        let yaml = format!(
            "connections: [{{name: m, plugin: moodle, url: 'https://m.example'}}]\n\
             subjects: [{{name: S, sources: [{{connection: m, remote-dir: '{remote_dir}'}}]}}]\n"
        );
        let Imported { toml, .. } = convert(&yaml).expect("it is one of kitovu's");
        assert!(toml.contains(path), "{remote_dir}: {toml}");
    }
}

#[test]
fn what_kitovu_takes_for_granted_is_written_down_and_what_is_settled_here_is_not() {
    let yaml = "
connections:
  - {name: s, plugin: smb, username: u, use_ntlm_v2: false, is_direct_tcp: false, port: 139, sign_options: never, debug: true, x: 1}
";
    let Imported { toml, notes } = convert(yaml).expect("it is one of kitovu's");
    let config = loaded(&toml);
    let settings = &config.sources[0].settings.values;
    assert_eq!(settings["hostname"].as_str(), Some("svm-c213.hsr.ch"));
    assert_eq!((settings["share"].as_str(), settings["domain"].as_str()), (Some("skripte"), Some("HSR")));
    assert_eq!(settings["password"]["keyring"]["identifier"].as_str(), Some("u\nHSR\nsvm-c213.hsr.ch"));
    assert_eq!(settings.len(), 5, "{settings:?}");
    assert!(!config.sources[0].hidden, "nothing else would show it");
    for key in ["hostname", "share", "domain", "use_ntlm_v2", "is_direct_tcp", "port", "sign_options", "debug", "x"] {
        assert_eq!(notes.iter().filter(|note| note.contains(&format!("`{key}`"))).count(), 1, "{key}: {notes:#?}");
    }
    let kept = "connections: [{name: s, plugin: smb, username: u, port: 4450, sign_options: when_supported}]";
    let settings = loaded(&convert(kept).expect("right").toml).sources[0].settings.values.clone();
    assert_eq!(
        (settings["port"].as_integer(), settings["sign_options"].as_str()),
        (Some(4450), Some("when_supported"))
    );
}

#[test]
fn what_cannot_be_carried_is_told_and_the_rest_is_right() {
    let yaml = "
root-dir: /home/u/HSR
unknown: 1
global-ignore: ['a/b', '[']
connections:
  - {name: a/b, plugin: smb, username: u, hostname: h, share: s, domain: d}
  - {name: idle, plugin: smb, username: u, hostname: h, share: t, domain: d}
subjects:
  - {name: Elsewhere, sources: [{connection: a/b, remote-dir: x, local-dir: /srv/x}]}
  - {name: Inside, sources: [{connection: a/b, remote-dir: y, local-dir: /home/u/HSR/deep/er}]}
  - {name: Within, sources: [{connection: a/b, remote-dir: y, local-dir: /home/u/HSR/deep/er/y}]}
  - {name: More, sources: [{connection: a/b, remote-dir: z, local-dir: /home/u/HSR/deep/er}]}
  - {name: Lost, sources: [{connection: none, remote-dir: x}, {connection: a/b, remote-dir: ../x}]}
  - {name: .., sources: [{connection: a/b, remote-dir: x}]}
  - {name: Nothing, sources: []}
  - {name: idle, sources: [{connection: a/b, remote-dir: x}]}
";
    let Imported { toml, notes } = convert(yaml).expect("it is one of kitovu's");
    let config = loaded(&toml);
    let paths: Vec<_> = config.folders.iter().map(|folder| folder.path.join("/")).collect();
    assert_eq!(paths, ["Elsewhere", "deep/er", "idle"]);
    let parts = |folder: usize| config.folders[folder].parts.iter().map(|part| part.path.join("/")).collect::<Vec<_>>();
    assert_eq!(parts(1), ["y", "z"], "two subjects in one place are one folder");
    assert!(config.folders[0].parts[0].ignore.is_match("["), "kitovu compares literally");
    let names: Vec<_> = config.sources.iter().map(|source| (source.name.as_str(), source.hidden)).collect();
    assert_eq!(names, [("a-b", true), ("idle 2", false)]);
    for words in [
        "`unknown`",
        "`a/b` is no longer ignored",
        "connection `a/b` is the source `a-b`",
        "`/srv/x`, outside of `root-dir`",
        "`deep/er/y` is left out",
        "from `none` is left out",
        "`../x` leads elsewhere",
        "subject `..` is left out",
        "subject `Nothing` is left out",
    ] {
        assert_eq!(notes.iter().filter(|note| note.contains(words)).count(), 1, "{words}: {notes:#?}");
    }
}

#[test]
fn settings_of_other_plugins_pass_unless_they_mean_something_here() {
    let yaml = "connections: [{name: p, plugin: my.plugin, timeout: 3, path: /x, deep: {a: [1, 2.5, true, text]}}]";
    let Imported { toml, notes } = convert(yaml).expect("it is one of kitovu's");
    assert!(toml.contains("deep = { a = [1, 2.5, true, \"text\"] }\n"), "{toml}");
    assert!(!toml.contains("timeout") && !toml.contains("/x"), "{toml}");
    assert_eq!(notes.len(), 3, "{notes:#?}");
}

#[test]
fn what_is_none_of_kitovus_is_refused_without_quoting_it() {
    for (text, words) in [
        ("password: [hunter2", "not YAML"),
        ("- hunter2", "no configuration of kitovu"),
        ("root-dir: hunter2", "`connections`"),
        ("connections: []", "`connections`"),
        ("", "no configuration of kitovu"),
    ] {
        let why = convert(text).expect_err("it is refused");
        assert!(why.contains(words) && !why.contains("hunter2"), "{why}");
    }
}
