//! kitovufs: remote sources as ordinary folders, read-only. (The map of the crate is written here at the end of the change.)

pub mod cli;
pub mod config;
pub mod digest;
pub mod error;
pub mod path;
pub mod secret;
pub mod source;
pub mod sources;
