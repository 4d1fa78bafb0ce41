//! The program. [`kitovufs::cli::run`] is all of it.

fn main() -> std::process::ExitCode {
    kitovufs::cli::run()
}
