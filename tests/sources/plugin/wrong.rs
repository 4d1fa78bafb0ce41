//! What a plugin may do wrong, and what comes of it: an error of a kind that says it, a new process, nothing worse.

use std::time::Instant;

use kitovufs::internals::Deadline;
use tokio::time::timeout;

use super::*;

fn odd() -> Odd {
    Odd::with_files(&[("/a", "one"), ("/b", "two")]).set("capabilities", json!({"attributes": true}))
}

#[tokio::test]
async fn a_plugin_that_dies_once_is_started_again_and_nobody_notices() {
    for (method, what) in [
        ("list_path", "once die"),
        ("create_remote_digest", "once die in mid-frame"),
        ("retrieve_file", "once die while writing"),
        ("list_path", "once fork"),
        ("create_remote_digest", "once long line"),
        ("create_remote_digest", "once no line end"),
        ("create_remote_digest", "once flood"),
    ] {
        let odd = odd().wrong(method, what);
        let source = source(&odd.table()).await;
        assert_eq!(names(&*source, "").await.unwrap(), ["a", "b"], "{what}");
        assert_eq!(read(&*source, "a").await.as_deref(), Ok("one"), "{what}");
        assert_eq!(odd.count("start"), 2, "{what}: {:?}", odd.journal());
        source.disconnect().await;
    }
}

#[tokio::test]
async fn a_plugin_that_always_dies_is_unreachable_after_two_starts() {
    for what in ["die", "say and die", "die in mid-frame", "fork"] {
        let odd = odd().wrong("list_path", what);
        let source = source(&odd.table()).await;
        let error = list(&*source, "").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert_eq!(error.to_string().contains("no module named x"), what == "say and die", "{error}");
        assert_eq!(odd.count("start"), 2);
    }
}

#[tokio::test]
async fn a_crash_of_its_own_fails_one_call_and_starts_it_anew() {
    let odd = odd().wrong("create_remote_digest", "once fail:crashed");
    let source = source(&odd.table()).await;
    assert_eq!(digest(&*source, "a").await, Err(ErrorKind::Other));
    assert!(digest(&*source, "a").await.is_ok());
    assert_eq!(odd.count("start"), 2);
}

#[tokio::test]
async fn every_kind_of_error_is_what_it_says() {
    for (word, expected) in [
        ("not_found", ErrorKind::NotFound),
        ("is_a_directory", ErrorKind::IsADirectory),
        ("permission_denied", ErrorKind::PermissionDenied),
        ("unauthenticated", ErrorKind::Unauthenticated),
        ("unreachable", ErrorKind::Unreachable),
        ("timed_out", ErrorKind::TimedOut),
        ("rate_limited", ErrorKind::RateLimited),
        ("changed", ErrorKind::Changed),
        ("unsupported", ErrorKind::Unsupported),
        ("failed", ErrorKind::Other),
        ("something new", ErrorKind::Other),
    ] {
        let odd = odd().wrong("create_remote_digest", &format!("fail:{word}"));
        let source = source(&odd.table()).await;
        assert_eq!(digest(&*source, "a").await, Err(expected), "{word}");
        assert_eq!(odd.count("start"), 1, "{word}");
    }
}

#[tokio::test]
async fn a_path_that_the_plugin_forgot_is_listed_again_once_and_then_not_found() {
    let odd = odd().wrong("create_remote_digest", "once fail:unknown_path");
    let source = source(&odd.table()).await;
    assert!(digest(&*source, "a").await.is_ok());
    assert_eq!(odd.count("list_path"), 2);
    let odd = Odd::with_files(&[("/a", "x")]).set("capabilities", json!({"attributes": true}));
    let odd = odd.wrong("create_remote_digest", "fail:unknown_path");
    let source = crate::source(&odd.table()).await;
    assert_eq!(digest(&*source, "a").await, Err(ErrorKind::NotFound));
    assert_eq!((odd.count("list_path"), odd.count("create_remote_digest")), (2, 2));
}

#[tokio::test]
async fn half_a_listing_is_none() {
    for (what, expected) in [
        ("half:failed", ErrorKind::Other),
        ("half:unreachable", ErrorKind::Unreachable),
        ("broken entries", ErrorKind::Protocol),
    ] {
        let odd = odd().wrong("list_path", what);
        let source = source(&odd.table()).await;
        assert_eq!(names(&*source, "").await, Err(expected), "{what}");
    }
}

#[tokio::test]
async fn what_is_no_message_is_skipped() {
    let odd = odd().wrong("list_path", "garbage").wrong("retrieve_file", "noise");
    let source = source(&odd.table()).await;
    assert_eq!(names(&*source, "").await.unwrap(), ["a", "b"]);
    assert_eq!(read(&*source, "b").await.as_deref(), Ok("two"));
    assert_eq!(odd.count("start"), 1);
}

#[tokio::test]
async fn answers_that_mean_nothing_are_errors_of_the_protocol() {
    for answer in ["{}", "7", "null", "{\"digest\":\"\"}", "{\"digest\":5}", "{\"digest\":\"x\",\"size\":-1}"] {
        let odd = odd().wrong("create_remote_digest", &format!("answer:{answer}"));
        let source = source(&odd.table()).await;
        assert_eq!(digest(&*source, "a").await, Err(ErrorKind::Protocol), "{answer}");
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_costs_its_timeout_and_is_replaced() {
    for what in ["once hang", "once close"] {
        let able = json!({"attributes": true, "cancel": what == "once hang"});
        let odd = odd().wrong("create_remote_digest", what).set("capabilities", able);
        let source = Deadline::new(source(&odd.table()).await, Duration::from_secs(3), Default::default());
        assert_eq!(timeout(ENOUGH, digest(&source, "a")).await.unwrap(), Err(ErrorKind::TimedOut), "{what}");
        // Whoever comes next waits until the hung process was given up and another one has started, and not for ever.
        timeout(ENOUGH, digest(&**source.inner(), "a")).await.unwrap().unwrap();
        // Whoever hangs does not hear that it is called off; the next process must not be told so.
        assert_eq!((odd.count("start"), odd.count("cancel")), (2, 0), "{what}");
    }
}

#[tokio::test]
async fn a_plugin_that_brings_something_has_all_the_time_it_wants() {
    let files = ["/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h"].map(|path| (path, "12345678"));
    let odd = Odd::with_files(&files).set("capabilities", json!({"attributes": true}));
    let odd = odd.wrong("list_path", "slowly").wrong("retrieve_file", "slowly");
    let source = Deadline::new(source(&odd.table()).await, Duration::from_secs(2), Default::default());
    let began = Instant::now();
    assert_eq!(names(&source, "").await.unwrap().len(), files.len());
    assert_eq!(read(&source, "a").await.as_deref(), Ok("12345678"));
    assert!(began.elapsed() > Duration::from_secs(4), "each took longer than the timeout");
}

#[tokio::test]
async fn a_plugin_that_says_something_for_ever_and_brings_nothing_is_timed_out_and_replaced() {
    let limit = Duration::from_secs(2);
    for (method, what) in [
        ("list_path", "once progress for ever"),
        ("list_path", "once the same entries for ever"),
        ("create_remote_digest", "once progress for ever"),
        ("retrieve_file", "once progress for ever"),
    ] {
        let odd = odd().set("capabilities", json!({"attributes": true, "cancel": true})).wrong(method, what);
        let source = Deadline::new(source(&odd.table()).await, limit, Default::default());
        assert_eq!(timeout(ENOUGH, read(&source, "a")).await.unwrap(), Err(ErrorKind::TimedOut), "{method}: {what}");
        // It goes on saying it, though it was told that nobody listens.
        let next = timeout(ENOUGH, read(&**source.inner(), "a")).await.unwrap();
        assert_eq!(next.as_deref(), Ok("one"), "{method}: {what}");
        assert_eq!(odd.count("start"), 2, "{method}: {what}");
    }
}

#[tokio::test]
async fn whatever_a_plugin_puts_in_place_of_its_staging_file_keeps_nobody_waiting() {
    for what in ["nothing", "fifo", "socket", "directory", "link"] {
        let odd = odd().wrong("retrieve_file", &format!("once replace:{what}"));
        let source = source(&odd.table()).await;
        let read = |path| timeout(ENOUGH, read(&*source, path));
        assert_eq!(read("a").await.expect("nobody waits"), Err(ErrorKind::Protocol), "{what}");
        assert_eq!(read("a").await.expect("nobody waits").as_deref(), Ok("one"), "{what}");
    }
}

#[tokio::test]
async fn settings_that_are_wrong_are_told_with_their_key_and_all_at_once() {
    let problems = |odd: Odd| async move { configured(&odd.table()).await.err().expect("it is refused") };
    let missing = problems(odd().wrong("configure", "missing:url")).await;
    assert!(
        missing.len() == 1 && missing[0].key.is_none() && missing[0].message.contains("`url` is missing"),
        "{missing:?}"
    );
    let invalid = problems(odd().wrong("configure", "invalid:url")).await;
    assert_eq!(invalid[0].key.as_deref(), Some("url"));
    let schema = json!({"required": ["url", "user"], "properties": {"port": {"type": "integer"}}});
    let told = problems(odd().set("schema", schema)).await;
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_wrong_setting() {
    for command in
        ["['/nonexistent/plugin']", "['no-such-program-anywhere']", "['./relative']", "[]", "'text'", "['/etc/passwd']"]
    {
        let problems = configured(&format!("type = 'plugin'\ncommand = {command}")).await.err().expect("it is refused");
        assert!(problems.len() == 1 && problems[0].message.contains("command"), "{command}: {problems:?}");
    }
}

#[tokio::test]
async fn a_plugin_that_cannot_begin_does_not_keep_others_from_being_mounted() {
    for what in ["say and die", "fail:failed", "answer:7"] {
        let source = configured(&odd().wrong("hello", what).table()).await.expect("it may be better tomorrow");
        let error = source.connect().await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_process_that_was_ended() {
    let odd = odd();
    let source = source(&odd.table()).await;
    names(&*source, "").await.unwrap();
    assert_eq!(processes(&odd), 1);
    source.disconnect().await;
    assert_eq!(processes(&odd), 0);
    let idle = configured(&odd.table()).await.unwrap();
    assert_eq!(processes(&odd), 1);
    drop(idle);
    gone(&odd.journal_path()).await;
}

#[tokio::test]
async fn a_process_that_ignores_every_hint_is_killed() {
    // No other run of this test looks for this time.
    let time = format!("77.{:010}", std::process::id());
    // The shell ignores SIGTERM and the end of its input, and so does what it started.
    let program = "trap '' TERM; read hello; echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocol\":1,\"name\":\"x\"}}'; \
        while read line; do id=$((id+1)); echo \"{\\\"jsonrpc\\\":\\\"2.0\\\",\\\"id\\\":$((id+1)),\\\"result\\\":{}}\"; done; \
        sleep $1 & sleep $1; sleep $1";
    let command = toml::Value::from(["sh", "-c", program, "sh", &time].map(str::to_owned).to_vec());
    let source = source(&format!("type = 'plugin'\ncommand = {command}")).await;
    timeout(ENOUGH, source.disconnect()).await.unwrap();
    gone(&time).await;
}

/// How many processes run this plugin; zombies have no command line and do not count, so they are looked for by their parent.
fn processes(odd: &Odd) -> usize {
    running(&odd.journal_path())
}

fn running(word: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(word) && !line.starts_with(b"bash")).count()
}

async fn gone(word: &str) {
    for _ in 0..600 {
        if running(word) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is still there");
}
