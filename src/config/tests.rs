//! Configuration files: their meaning, and the messages about wrong ones.

use std::os::unix::fs::PermissionsExt;

use super::*;

const SOURCE: &str = "[sources.docs]\ntype = \"local\"\npath = \"/usr/share/doc\"\n";

/// A file with `text` in a directory of its own, and what `Config::examine` says about it.
pub(super) struct Written {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Written {
    pub(super) fn new(text: impl AsRef<[u8]>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).expect("the file is written");
        Self { dir, path }
    }

    fn mode(self, mode: u32) -> Self {
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(mode)).expect("the mode is set");
        self
    }

    pub(super) fn problems(&self) -> Vec<(Option<usize>, String)> {
        let Err(Diagnostics(all)) = Config::load(&self.path) else { return Vec::new() };
        assert!(all.iter().all(|d| d.file.as_deref() == Some(&*self.path)), "{all:?}");
        all.into_iter().map(|d| (d.line, d.message)).collect()
    }
}

pub(super) fn good(text: &str) -> Config {
    Config::load(&Written::new(text).path).expect("the file is right")
}

/// The only problem of a wrong file.
fn problem(text: &str) -> (Option<usize>, String) {
    let mut problems = Written::new(text).problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

fn with_source(text: &str) -> String {
    format!("{text}\n{SOURCE}")
}

#[track_caller]
pub(super) fn assert_problem(text: &str, line: usize, words: &[&str]) {
    let (found, message) = problem(text);
    assert_eq!(found, Some(line), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn a_minimal_file_gets_the_defaults() {
    let config = good(SOURCE);
    assert_eq!((config.cache.max_size, config.cache.min_free), (20 << 30, 2 << 30));
    assert!(config.cache.dir.ends_with("kitovufs") && config.cache.dir.is_absolute());
    assert_eq!((config.mountpoint, config.at_root), (None, false));
    let [source] = &config.sources[..] else { panic!("one source: {:?}", config.sources) };
    assert_eq!((&*source.name, &*source.type_name), ("docs", "local"));
    assert_eq!(source.settings.values.keys().collect::<Vec<_>>(), ["path"], "without the common keys");
    assert_eq!(source.settings.name, "docs");
    let seconds = [source.fresh_for, source.timeout, source.patience].map(|time| time.as_secs());
    assert_eq!(seconds, [30, 30, 2]);
    assert_eq!(source.offline, Offline::Serve);
}

#[test]
fn everything_can_be_said() {
    let config = good(
        "mountpoint = '/mnt/k'\n\
         cache = { dir = '/var/k', max_size = '1MiB', min_free = 0 }\n\
         defaults = { fresh_for = '5m', timeout = '10s', patience = '500ms', offline = 'fail', max_requests = 3 }\n\
         sources.a = { type = 's3', timeout = '1s', patience = '1s', bucket = 'b', n = 7, f = 1.5, t = true, l = [1, 'x'] }\n\
         [sources.\"b ü\"]\ntype = 'webdav'\nfresh_for = '0s'\noffline = 'serve'\nmax_requests = 2\nmax_bandwidth = '1MiB'\n",
    );
    assert_eq!(config.mountpoint, Some("/mnt/k".into()));
    assert_eq!(config.cache, CacheConfig { dir: "/var/k".into(), max_size: 1 << 20, min_free: 0 });
    let [a, b] = &config.sources[..] else { panic!("two sources: {:?}", config.sources) };
    assert_eq!((a.fresh_for.as_secs(), a.timeout.as_secs(), a.offline), (300, 1, Offline::Fail));
    assert_eq!([a.patience, b.patience].map(|patience| patience.as_millis()), [1000, 500]);
    assert_eq!((b.fresh_for.as_secs(), b.timeout.as_secs(), b.offline), (0, 10, Offline::Serve));
    assert_eq!((a.max_requests, a.max_bandwidth), (Some(3), None));
    assert_eq!((b.max_requests, b.max_bandwidth), (Some(2), Some(1 << 20)));
    assert_eq!(b.name, "b ü");
    let own: toml::Table = "bucket = 'b'\nn = 7\nf = 1.5\nt = true\nl = [1, 'x']".parse().expect("TOML");
    assert_eq!(a.settings.values, own.into_iter().collect());
}

#[test]
fn relative_paths_start_at_the_file() {
    let text = "mountpoint = 'mnt'\ncache.dir = 'c/d'\n[sources.a]\ntype = 'webdav'\npassword = { file = 'pw' }\n";
    let file = Written::new(text);
    let config = Config::load(&file.path).expect("the file is right");
    assert_eq!(config.mountpoint, Some(file.dir.path().join("mnt")));
    assert_eq!(config.cache.dir, file.dir.path().join("c/d"));
    let secret = file.dir.path().join("pw");
    assert_eq!(config.sources[0].settings.values["password"]["file"].as_str(), secret.to_str());
    assert_eq!(config.file, Some(file.path.clone()));
    let home = etcetera::home_dir().expect("tests have a home");
    assert_eq!(good(&with_source("mountpoint = '~/k'")).mountpoint, Some(home.join("k")));
}

#[test]
fn all_problems_are_reported_at_once_with_their_lines() {
    let file = Written::new(
        "mountpont = '/mnt'\n\
         [cache]\n\
         max_size = 'lots'\n\
         min_free = true\n\
         max-size = 1\n\
         \n\
         [defaults]\n\
         offline = 'maybe'\n\
         max_size = '1GiB'\n\
         [sources.a]\n\
         type = 'webdaw'\n\
         timeout = 30\n\
         [sources.'b/c']\n\
         path = '/'\n",
    );
    let problems = file.problems();
    let expected = [
        (1, "unknown key `mountpont`; did you mean `mountpoint`?"),
        (3, "`max_size` is no size: \"lots\"; write for example \"20GiB\", or a number of bytes"),
        (4, "`min_free` must be a size, not a boolean; write for example \"20GiB\", or a number of bytes"),
        (5, "unknown key `max-size`; did you mean `max_size`?"),
        (
            8,
            "`offline` must be \"serve\" (show what is cached while the source is unreachable) or \"fail\", not \"maybe\"",
        ),
        (
            9,
            "unknown key `max_size`; the known keys are `dir_mode`, `file_mode`, `fresh_for`, `gid`, `max_bandwidth`, `max_requests`, `offline`, `patience`, `read_ahead`, `timeout`, `uid`, `umask`, `unknown_size`",
        ),
        (
            11,
            "source `a`: unknown type \"webdaw\"; did you mean `webdav`? the known types are `azblob`, `ftp`, `gcs`, `http`, `local`, `moodle`, `plugin`, `python`, `s3`, `sftp`, `smb`, `webdav`",
        ),
        (
            12,
            "source `a`: `timeout` must be a duration with its unit, not an integer; write for example \"30s\" or \"5m\"",
        ),
        (13, "the name of a source is the name of its folder, and this one `b/c` contains `/`; rename it"),
        (
            13,
            "source `b/c`: `type` is missing; add for example: type = \"local\" (`azblob`, `ftp`, `gcs`, `http`, `local`, `moodle`, `plugin`, `python`, `s3`, `sftp`, `smb`, `webdav` are known)",
        ),
    ];
    let found: Vec<_> = problems.iter().map(|(line, message)| (line.unwrap_or(0), message.as_str())).collect();
    assert_eq!(found, expected);
    let shown = Config::load(&file.path).expect_err("it is wrong").to_string();
    assert!(shown.starts_with(&format!("{}:1: unknown key `mountpont`", file.path.display())), "{shown}");
    assert_eq!(shown.lines().count(), expected.len());
}

#[test]
fn syntax_errors_are_reported_with_what_else_is_wrong() {
    let file = Written::new(
        "mountpoint = /mnt\n[cache]\nmax_sise = '1GiB'\n[sources.a\ntype = 'local'\n[sources.b]\ntype = \n",
    );
    let problems = file.problems();
    let lines: Vec<_> = problems.iter().filter_map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 3, 4, 7], "{problems:#?}");
    assert!(problems[0].1.starts_with("this is not TOML: "), "{problems:#?}");
    assert!(problems[1].1.contains("did you mean `max_size`?"), "{problems:#?}");
}

#[test]
fn a_broken_line_makes_nothing_else_wrong() {
    for broken in ["type = local", "type local", "type = 'local", "= 'local'", "type : 'local'", "type == 'local'"] {
        let text = format!("[sources.docs]\npath = '/'\n{broken}\n[cache]\nmax_size = '1GiB'\n");
        let problems = Written::new(&text).problems();
        assert!(matches!(&problems[..], [(Some(3), _)]), "{broken}: {problems:#?}");
    }
}

#[test]
fn a_broken_header_makes_nothing_below_it_wrong() {
    for broken in ["cache]", "[cache", "[cache]]", "[ca che]", "[]"] {
        let problems =
            Written::new(format!("{SOURCE}{broken}\nmax_size = '1GiB'\n[defaults]\noffline = 1\n")).problems();
        assert!(matches!(&problems[..], [(Some(4), _), (Some(7), _)]), "{broken}: {problems:#?}");
    }
}

#[test]
fn a_bracket_that_is_never_closed_is_not_a_problem_of_every_line() {
    let problems = Written::new(format!("[cache]\nmin_free = 1\n[sources.a]\nx = [1,\n{SOURCE}{SOURCE}")).problems();
    assert!((1..=2).contains(&problems.len()), "{problems:#?}");
    let problems = Written::new(format!("{SOURCE}a = [1 2]\nb = 1\nc = [1 2]\n")).problems();
    assert!(matches!(&problems[..], [(Some(4), _), (Some(6), _)]), "{problems:#?}");
}

#[test]
fn duplicates_are_reported_at_the_second() {
    assert_problem(&format!("{SOURCE}{SOURCE}"), 4, &["`docs`", "second time"]);
    assert_problem(&with_source("[cache]\nmin_free = 1\nmin_free = 2"), 3, &["`min_free`"]);
}

#[test]
fn wrong_types_are_named() {
    assert_problem(&with_source("mountpoint = 7"), 1, &["`mountpoint` must be a path in quotes, not an integer"]);
    assert_problem(&with_source("cache = '/c'"), 1, &["`cache` must be a table", "[cache]"]);
    assert_problem(&with_source("[[defaults]]"), 1, &["`defaults` must be a table, not an array"]);
    assert_problem("sources.docs = '/usr/share/doc'", 1, &["`docs` must be a table: [sources.docs]"]);
    assert_problem("[[sources]]\nname = 'docs'", 1, &["[sources.docs]"]);
    assert_problem("[sources.a]\ntype = ['s3']", 2, &["`type` must be a string, not an array"]);
    assert_problem("[sources.a]\ntype = 's3'\nn = 99999999999999999999", 3, &["source `a`: `n`", "64 bits"]);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    assert_problem(&with_source("cache.max_size = 1048575"), 1, &["at least \"1MiB\""]);
    assert_problem(&with_source("cache.min_free = '20EiB'"), 1, &["more than any disk"]);
    assert_problem(&with_source("defaults.timeout = '0s'"), 1, &["`timeout`", "\"30s\""]);
}

#[test]
fn a_file_without_sources_teaches_how_to_add_one() {
    for text in ["", "[sources]\n", "mountpoint = '/mnt'\n"] {
        let (line, message) = problem(text);
        assert_eq!(line, None);
        assert!(message.contains("[sources.docs]"), "{message}");
    }
    assert_problem("[source.docs]\ntype = 'local'", 1, &["did you mean `sources`?"]);
    assert_problem("[docs]\ntype = 'local'", 1, &["[sources.docs]"]);
}

#[test]
fn what_a_source_finds_wrong_gets_its_line() {
    let file = Written::new(format!("\n{SOURCE}"));
    let config = Config::load(&file.path).expect("the file is right");
    let about = |key: Option<&str>| config.sources[0].locate(&Problem::new(key, "bad")).to_string();
    let path = file.path.display();
    assert_eq!(about(Some("path")), format!("{path}:4: source `docs`: bad"));
    assert_eq!(about(None), format!("{path}:2: source `docs`: bad"), "a missing key: where the source begins");
    let from_url = Config::from_url("/").expect("the root is a directory");
    let problem = Problem::new(Some("path"), "bad");
    assert_eq!(from_url.sources[0].locate(&problem).to_string(), "source `local`: bad");
}

#[test]
fn what_is_right_is_understood_beside_what_is_wrong() {
    let file = Written::new(format!("mountpoint = 1\n{SOURCE}[sources.bad]\n"));
    let (config, problems) = Config::examine(&file.path).expect("the file can be read");
    assert_eq!(problems.0.len(), 2);
    assert_eq!(config.sources.iter().map(|source| &*source.name).collect::<Vec<_>>(), ["docs"]);
}

#[test]
fn only_a_file_that_nobody_else_can_read_is_private() {
    for (mode, private) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o644, false)] {
        let file = Written::new(SOURCE).mode(mode);
        let config = Config::load(&file.path).expect("the file is right");
        assert_eq!(config.sources[0].settings.private, private, "{mode:o}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let right = Written::new("[sources.a]\ntype = 'webdav'\npassword = 'hunter2'\n");
    let config = Config::load(&right.path).expect("the file is right");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!config.sources[0].identity().contains("hunter2"));
    for wrong in [
        "[sources.a]\ntype = 'webdav'\npassword = 'hunter2\n",
        "[sources.a]\ntype = 'webdav'\npassword = hunter2\n",
        "[sources.a]\ntype = 'webdav'\npassword 'hunter2'\n",
        "[sources.a]\ntype = 'webdav'\npassword = 'x'\npassword = 'hunter2'\n",
        "[sources.a]\ntype = 'webdav'\npassword = { plain = 'hunter2 }\n",
        "[cache]\nmax_size = '''1GiB'\n[sources.a]\npassword = 'hunter2'\n",
        "[sources.a]\ntype = '''s3'\npassword = 'hunter2'\n",
        "[sources.a]\ntype = 'webdav'\ntyp = 1\npassword = \"hunter2\\q\"\n",
    ] {
        let error = Config::load(&Written::new(wrong).path).expect_err("the file is wrong");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn identity_is_about_the_remote_only() {
    let identity = |text: &str| good(text).sources[0].identity();
    let one = identity("[sources.a]\ntype = 's3'\nbucket = 'b'\nroot = '/r'\nsecret_access_key = { env = 'X' }\n");
    let two = identity("[sources.z]\nroot = '/r'\ntimeout = '1s'\nbucket = 'b'\ntype = 's3'\noffline = 'fail'\n");
    assert_eq!(one, two);
    assert_ne!(one, identity("[sources.a]\ntype = 's3'\nbucket = 'c'\nroot = '/r'\n"));
    assert_ne!(one, identity("[sources.a]\ntype = 'webdav'\nbucket = 'b'\nroot = '/r'\n"));
}

#[test]
fn sources_with_the_same_settings_have_identities_of_their_own() {
    let site = |name: &str, token: &str| {
        format!(
            "[sources.{name}]\ntype = 'moodle'\nurl = 'https://moodle.example.org'\ntoken = {{ env = '{token}' }}\n"
        )
    };
    let [anna, teacher] = [("anna", "A"), ("teacher", "T")].map(|(name, token)| site(name, token));
    let both = identities(good(&format!("{anna}{teacher}")).sources.iter());
    assert_ne!(both[0], both[1]);
    let alone = identities(good(&anna).sources.iter());
    assert_eq!(alone[0], good(&anna).sources[0].identity());
    assert!(!both.contains(&alone[0]), "neither finds what the other had alone");
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = Config::load(&dir.path().join("none.toml")).expect_err("there is no file").to_string();
    assert!(missing.contains("none.toml: there is no such file") && missing.contains("-c FILE"), "{missing}");
    assert!(Config::load(dir.path()).expect_err("a directory").to_string().contains("cannot read the file"));
    let (line, message) = problem("").clone();
    assert_eq!((line, message.is_empty()), (None, false));
    let latin1 = Written::new(b"# a\n# \xfc\n");
    assert!(matches!(&latin1.problems()[..], [(Some(2), message)] if message.contains("UTF-8")));
}

#[test]
fn the_example_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.example.toml");
    let config = Config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    let types: Vec<_> = config.sources.iter().map(|source| source.type_name.as_str()).collect();
    for known in crate::sources::KINDS.map(|kind| kind.type_name()) {
        assert!(types.contains(&known), "the example shows a source of type {known}");
    }
    let text = std::fs::read_to_string(&path).expect("the example");
    for key in [
        "mountpoint",
        "dir",
        "max_size",
        "min_free",
        "fresh_for",
        "timeout",
        "patience",
        "offline",
        "max_requests",
        "max_bandwidth",
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{key} = "))), "the example shows `{key}`");
    }
}

#[test]
fn a_url_is_one_source_at_the_root() {
    let config = Config::from_url("/").expect("the root is a directory");
    assert!(config.at_root && config.file.is_none() && config.mountpoint.is_none());
    assert_eq!(config.sources.len(), 1);
    let dir = |url| Config::from_url(url).expect("a URL").cache.dir;
    assert_eq!(dir("webdav://h/a"), dir("webdav://h/a/"));
    assert_ne!(dir("webdav://h/a"), dir("webdav://h/b"), "both can be mounted at once");
    let refused = Config::from_url("webdav://a:hunter2@h").expect_err("a password in a URL");
    assert!(!refused.to_string().contains("hunter2"));
}

proptest::proptest! {
    #[test]
    fn no_edit_of_a_file_makes_reading_it_panic(
        edits in proptest::collection::vec((0usize..2000, "[\\[\\]{}='\"\n.#aü0]{0,3}"), 1..6)
    ) {
        let mut text = include_str!("../../docs/config.example.toml").to_owned() + SOURCE;
        for (at, put) in edits {
            text = text.chars().take(at).chain(put.chars()).chain(text.chars().skip(at + 1)).collect();
        }
        let place = parse::Place {
            shown: Path::new("c"), file: Path::new("/c"), private: true, cache_dir: "/cache".into(),
        };
        let (config, problems) = parse::parse(&text, &place);
        let _shown = format!("{config:?} {problems}");
    }
}

/// The messages about a file name its lines.
#[test]
fn fuzz_config() {
    let corpus = crate::fuzz::Corpus::of("config");
    bolero::check!().with_type::<crate::fuzz::Input>().for_each(|input| {
        let bytes = corpus.bytes(input);
        let Ok(text) = std::str::from_utf8(&bytes) else { return };
        let file = Path::new("/nonexistent/config.toml");
        let place = parse::Place { shown: file, file, private: true, cache_dir: "/nonexistent/cache".into() };
        let (_, Diagnostics(all)) = parse::parse(text, &place);
        let lines = text.lines().count().max(1) + 1;
        assert!(all.iter().all(|diagnostic| diagnostic.line.is_none_or(|line| (1..=lines).contains(&line))), "{all:?}");
    });
}

#[test]
fn a_page_is_served_where_the_file_says_and_to_others_with_a_token_only() {
    let web = |text: &str| good(&with_source(&format!("[web]\n{text}"))).web;
    assert_eq!(good(SOURCE).web, None);
    for address in ["127.0.0.1:8765", "[::1]:8765"] {
        let config = web(&format!("listen = '{address}'")).expect("there is one");
        assert_eq!((config.listen.to_string(), config.token), (address.to_owned(), None));
    }
    let config = web("listen = '0.0.0.0:80'\ntoken = { env = 'T' }").expect("there is one");
    assert_eq!(config.token, Some(Secret::Env("T".into())));
    let written = Written::new(with_source("[web]\nlisten = '127.0.0.1:80'\ntoken = { file = 't' }"));
    let token = Config::load(&written.path).expect("the file is right").web.and_then(|web| web.token);
    assert_eq!(token, Some(Secret::File(written.dir.path().join("t"))));

    let wrong = |text: &str, line, words: &[&str]| assert_problem(&with_source(&format!("[web]\n{text}")), line, words);
    wrong("listen = '0.0.0.0:8765'", 2, &["`listen`", "other machines", "`token`"]);
    wrong("listen = 'localhost'", 2, &["`listen` is no IP address with a port", "127.0.0.1:8765"]);
    wrong("listen = 8765", 2, &["`listen` must be an address with a port"]);
    wrong("listen = '127.0.0.1:1'\ntokn = 'x'", 3, &["did you mean `token`"]);
    wrong("listen = '127.0.0.1:1'\ntoken = { keyring = true }", 3, &["`token`", "keyring"]);
    wrong("listen = '127.0.0.1:1'\ntoken = 'in a file that others can read'", 3, &["`token`", "chmod 600"]);
    for text in ["'in a file that others can read'", "''", "{ keyring = false }", "{ x = 'y' }", "{ keyring = true }"] {
        let (_, told) = problem(&with_source(&format!("[web]\nlisten = '127.0.0.1:1'\ntoken = {text}")));
        assert!(!told.contains("{ keyring"), "what is not possible is not advised: {told}");
    }
    wrong("token = { env = 'T' }", 1, &["[web] has no `listen`", "127.0.0.1:8765"]);
}
