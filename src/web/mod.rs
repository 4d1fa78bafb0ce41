//! The page, the metrics and the status of a mount for browsers and Prometheus: a small server within the mount's daemon.
//!
//! It tells what [`crate::status`] tells, which is taken once a second at most for all clients together ([`sample`]). [`guard`] says who
//! may ask. Nothing can be changed over it.

mod guard;
mod metrics;
mod page;
mod peer;
mod sample;
mod seats;
mod server;
mod token;

pub use server::{Server, try_address, url_of};
pub use token::try_token;
