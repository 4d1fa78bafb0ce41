//! What end-to-end tests share.

pub mod servers;
pub mod slow;
pub mod sshd;
