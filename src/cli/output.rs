//! Standard output of the commands. It knows no command.

use std::fmt;
use std::io::{self, Write as _};

use crate::children;
use crate::path::PrintableLines;

/// Prints to standard output, as `print!` does, which panics where that is closed or full.
macro_rules! out {
    ($($text:tt)*) => { $crate::cli::output::print(format_args!($($text)*)) };
}

/// Prints a line to standard output, as `println!` does.
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints to standard error, as `eprint!` does, which panics where that is closed or full: then nobody is told, and the work goes on.
macro_rules! err {
    ($($text:tt)*) => { $crate::cli::output::print_error(format_args!($($text)*)) };
}

/// Prints a line to standard error, as `eprintln!` does.
macro_rules! errln {
    ($($text:tt)*) => { $crate::cli::output::print_error(format_args!("{}\n", format_args!($($text)*))) };
}

pub(super) use {err, errln, out, outln};

/// Prints this. Where nobody reads it any longer (`check | head`), the process ends, as programs do that SIGPIPE ends; where it cannot be
/// written (a full disk), the process ends as failed.
pub(super) fn print(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(e) = out.write_fmt(text).and_then(|()| out.flush()) {
        children::end_all();
        if e.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        errln!("kitovufs: write standard output: {e}");
        std::process::exit(1);
    }
}

/// Prints this to standard error, if it can be written.
pub(super) fn print_error(text: fmt::Arguments<'_>) {
    let mut err = io::stderr().lock();
    let _ = err.write_fmt(text).and_then(|()| err.flush());
}

/// Prints lines that may quote a source.
pub(super) fn say(lines: &str) {
    print(format_args!("{}", PrintableLines(lines)));
}
