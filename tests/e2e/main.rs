//! End to end: the real program, real mounts, real servers; the counters of `status --json` are the evidence.
//!
//! No test depends on another, on a port, or on luck with time: what takes time is waited for, with a bound. A source that is
//! to be asked again has `fresh_for = "300ms"`, one that is not has `"1h"`.

#![allow(clippy::unwrap_used, reason = "in a test, whatever the world causes is a failed test")]

mod ahead;
mod attributes;
mod broken;
mod cachedir;
mod check;
mod cloud;
mod configuration;
mod control;
mod counts;
mod deletions;
mod diagnosis;
mod disk;
mod documents;
mod early;
mod endings;
mod every_source;
mod far;
mod faults;
mod fleet;
mod folders;
mod import;
mod integrity;
mod interrupts;
mod keeping;
mod kept_listings;
mod lies;
mod lifecycle;
mod limits;
mod listings;
mod live;
mod log;
mod login;
mod memory;
mod moodle;
mod names;
mod offline;
mod one_name;
mod outage;
mod package;
mod patience;
mod plugin;
mod programs;
mod python;
mod read_only;
mod refusals;
mod restart;
mod secrets;
mod semantics;
mod services;
mod setup;
mod sharing;
mod sizes;
mod stopped;
mod top;
mod transfer;
mod trees;
mod unmounting;
mod unsized_files;
mod versions;
mod walks;
mod warm;
mod web;

use kit::{self, remote};
