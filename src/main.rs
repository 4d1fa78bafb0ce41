//! The program. [`kitovufs::cli::run`] is all of it.

/// musl's own allocator has one lock for all threads, and gives every freed buffer back to the kernel.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    kitovufs::cli::run()
}
