//! The log as a whole: each line tells its source, and no line of another crate is in it.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::{debug, error, error_span, info, trace, warn};

use super::*;

#[derive(Default, Clone)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that are written, without the times, when `asked` is the filter.
fn written(asked: &str, logging: impl FnOnce()) -> Vec<String> {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = lines(EnvFilter::new(asked), Limit::default(), move || writer.clone());
    tracing::subscriber::with_default(subscriber, logging);
    let text = String::from_utf8(written.0.lock().clone()).expect("lines are text");
    text.lines().map(|line| line.split_once(' ').expect("a time").1.trim_start().to_owned()).collect()
}

#[test]
fn a_line_tells_of_which_source_it_is_and_steers_no_terminal() {
    let lines = written("warn", || {
        let _source = error_span!("source", name = "far").entered();
        warn!("\x1b[31mred\nnext {}", "x".repeat(10_000));
        info!("not asked for");
    });
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(line.starts_with("WARN source far: ␛[31mred␊next xxx") && line.ends_with("x…"), "{line}");
    assert!(line.len() < 5000, "{}", line.len());
}

#[test]
fn other_crates_say_nothing_whatever_is_asked_for() {
    for asked in ["trace", "trace,reqsign_core=trace", "reqsign_core=debug,kitovufs=trace"] {
        let lines = written(asked, || {
            debug!(target: "reqsign_core::api", "Trying credential provider: hunter2");
            error!(target: "suppaftp", "PASS hunter2");
            error!(target: "kitovufs_of_somebody_else", "hunter2");
            trace!("ours");
        });
        assert_eq!(lines, ["TRACE ours"], "{asked}");
    }
    let fuser = || {
        warn!(target: "fuser::request", "an operation that need not be known");
        error!(target: "fuser::session", "broken");
        error!(target: "fuser::reply", "nobody waits for this answer");
    };
    assert_eq!(written("warn", fuser), ["ERROR broken"]);
}

#[test]
fn libraries_are_told_what_is_not_written() {
    let lines = lines(EnvFilter::new("warn,kitovufs=info"), Limit::default(), Written::default);
    assert_eq!(lines.max_level_hint(), Some(LevelFilter::INFO));
}

#[test]
fn what_is_asked_for_is_not_counted_and_the_rest_is() {
    let logging = || {
        for number in 0..1000 {
            debug!("request {number}");
            warn!("failure {number}");
        }
    };
    let lines = written("debug", logging);
    let of = |level: &str| lines.iter().filter(|line| line.starts_with(level)).count();
    assert_eq!(of("DEBUG"), 1000);
    assert!((1..60).contains(&of("WARN")), "{}", of("WARN"));
}
