//! The sources that come with kitovufs, by type name.

pub mod memory;
