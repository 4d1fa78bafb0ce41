//! Waiting: for what happens by itself, and not for ever. It knows nothing of what is waited for.

use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything that is allowed to happen, shorter than patience.
pub const SOON: Duration = Duration::from_secs(30);

/// Waits until a process has ended, and says how; `None` if it does not in time.
pub fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let mut status = None;
    let ended = holds_within(deadline, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    ended.then_some(status).flatten()
}

/// Ends a process.
pub fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits until `condition` holds and says whether it ever did.
#[must_use]
pub fn holds_within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begun.elapsed() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `number` is the same twice, so long apart, and says which it is; `None` if it still changes at the deadline.
pub fn settles_within(deadline: Duration, apart: Duration, mut number: impl FnMut() -> u64) -> Option<u64> {
    let mut latest = number();
    let settles = holds_within(deadline, || {
        thread::sleep(apart);
        let former = std::mem::replace(&mut latest, number());
        former == latest
    });
    settles.then_some(latest)
}

/// The same within [`SOON`]; fails the test if it still changes then.
#[track_caller]
pub fn settled(what: &str, apart: Duration, number: impl FnMut() -> u64) -> u64 {
    settles_within(SOON, apart, number).unwrap_or_else(|| panic!("it still changes, after {SOON:?}: {what}"))
}

/// Waits until `condition` holds; fails the test if it does not within [`SOON`].
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(SOON, condition), "still not, after {SOON:?}: {what}");
}
