//! `Language`: in what a first plugin can be written.

/// A language that there is a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Python 3, standard library only: a program that keeps the protocol.
    Python,
    /// Python 3: a class that keeps kitovu's contract.
    Kitovu,
    /// A POSIX shell.
    Sh,
    /// Rust, with serde_json.
    Rust,
}
