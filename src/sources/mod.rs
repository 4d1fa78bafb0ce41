//! The sources that come with kitovufs, by type name.
