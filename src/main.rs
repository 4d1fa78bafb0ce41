//! The program: turns what [`kitovufs::cli::run`] did into an exit code and a message.

use std::process::ExitCode;

use kitovufs::path::PrintableLines;

fn main() -> ExitCode {
    kitovufs::allocator::keep_freed_buffers();
    match kitovufs::cli::run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("kitovufs: {}", PrintableLines(&failure.to_string()));
            ExitCode::from(failure.exit_code())
        }
    }
}
