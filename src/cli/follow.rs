//! `status --follow`: prints what mounts tell of themselves, a line of JSON each time, until they go.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use serde_json::Value;

use super::output::outln;
use super::progress::tell;
use super::status::{self, safe, unanswered};
use crate::control::client::Unanswered;
use crate::error::Result;
use crate::mount::point::{self, Mounted};

/// Follows the mount at `mountpoint`, or all of this user's. Returns the mounts that did not answer, or not until their end.
///
/// # Errors
/// There is no such mount.
pub fn follow(mountpoint: Option<&Path>) -> Result<Vec<crate::error::Error>> {
    let mounts = status::meant(mountpoint)?;
    Ok(thread::scope(|scope| {
        let following: Vec<_> = mounts.iter().map(|mounted| scope.spawn(move || follow_one(mounted))).collect();
        following.into_iter().filter_map(|following| following.join().expect("it does not panic").err()).collect()
    }))
}

fn follow_one(mounted: &Mounted) -> Result<()> {
    let mut client = status::connected(mounted)?;
    let is_told = Cell::new(false);
    let hear = |status: Value| {
        is_told.set(false);
        outln!("{}", safe(&status.to_string()));
    };
    // It may have been stopped, and goes on when it continues.
    let silent = || {
        if !point::mounted().contains(mounted) {
            return ControlFlow::Break(());
        }
        if !is_told.replace(true) {
            let place = mounted.path.display();
            tell(&format!("{place}: the process that serves this mount does not answer; waiting for it"));
        }
        ControlFlow::Continue(())
    };
    match client.follow("follow", hear, silent) {
        // A clean end takes the mount away first.
        Err(Unanswered::Closed | Unanswered::Silent) if !point::mounted().contains(mounted) => Ok(()),
        Err(failure) => Err(unanswered("status", mounted, failure)),
        Ok(()) => Ok(()),
    }
}
