//! The program: turns what [`kitovufs::cli::run`] did into an exit code and a message.

use std::process::ExitCode;

fn main() -> ExitCode {
    kitovufs::memory::keep_freed_buffers();
    match kitovufs::cli::run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("kitovufs: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
