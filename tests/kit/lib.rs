//! The test kit: what an end-to-end test needs in order to be four lines long. The tests and the benchmark of `kitovufs` depend on it.
//!
//! It links nothing of the program, but runs it: see [`home::program`].

#![allow(clippy::unwrap_used, reason = "in a test, whatever the world causes is a failed test")]

pub mod azurite;
pub mod cpu;
pub mod disk;
pub mod files;
pub mod flood;
pub mod ftp;
pub mod gcs;
pub mod home;
pub mod liar;
pub mod listener;
pub mod moodle;
pub mod moto;
pub mod mount;
pub mod odd;
pub mod proxy;
pub mod reaper;
pub mod redis;
pub mod remote;
pub mod samba;
pub mod seaweed;
pub mod servers;
pub mod slow;
pub mod sshd;
pub mod wait;
pub mod web;
