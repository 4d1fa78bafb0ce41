//! kitovufs: remote sources as ordinary folders, read-only. (The map of the crate is written here at the end of the change.)

pub mod cache;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod db;
pub mod digest;
pub mod error;
pub mod freshness;
pub mod fs;
pub mod fuse;
pub mod memory;
pub mod mount;
pub mod name;
pub mod path;
pub mod secret;
pub mod source;
pub mod sources;
pub mod status;
pub mod transfer;
