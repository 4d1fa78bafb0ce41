//! What end-to-end tests share.

pub mod samba;
pub mod servers;
