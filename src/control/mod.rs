//! The control socket of a mount: its daemon answers requests of its user, and the commands ask.
//!
//! Each mount has a socket of its own, in a directory that only its user may enter ([`place`]). What is said is JSON-RPC 2.0, a message
//! a line ([`wire`]); [`service`] has the methods. A mount itself is never asked for its status: one that hangs would keep who asks.

pub mod client;
mod place;
mod server;
pub mod service;
mod wire;

pub use place::forget;
pub use server::Server;
