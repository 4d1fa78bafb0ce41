//! The test kit: what an end-to-end test needs in order to be four lines long.

pub mod azurite;
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
pub mod python;
pub mod reaper;
pub mod samba;
pub mod servers;
pub mod slow;
pub mod sshd;
pub mod wait;
pub mod web;
