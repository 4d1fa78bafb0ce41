//! Tuning of glibc's allocator: how many arenas it has, and which freed memory it keeps. It allocates nothing that lasts.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The size of the block whose release raises glibc's thresholds, in bytes.
const THRESHOLD_RAISING_BLOCK: usize = 8 << 20;

/// The variable that limits glibc's arenas (mallopt(3)), and the limit: one. glibc reads it once, when the process starts.
const ARENA_LIMIT: (&str, &str) = ("MALLOC_ARENA_MAX", "1");

/// Executes the program anew with one arena for all threads, unless the environment says how many there are. Only for a process that serves
/// a mount; its children do not inherit the variable ([`without_arena_limit`]).
///
/// By default glibc has eight arenas for each core, and each keeps what its threads have freed: large listings that different threads
/// read one after another add up, although all of them have been freed. With two, threads wait less for each other (a copy of 10,000 small
/// files took up to 15 % less of the daemon's time), but a plugin's listing of 300,000 names takes 30 MiB more. The process stays the same,
/// with its number and its files. Other allocators ignore the variable.
pub fn share_one_arena() {
    let (name, one) = ARENA_LIMIT;
    if env::var_os(name).is_some() {
        return;
    }
    let mut arguments = env::args_os();
    let (Some(typed), Ok(program)) = (arguments.next(), env::current_exe()) else { return };
    // `exec` returns only if it fails; the process then goes on with more arenas.
    let _ = Command::new(program).arg0(typed).args(arguments).env(name, one).exec();
}

/// Lets a child allocate as usual: takes the limit that [`share_one_arena`] sets out of its environment. Another limit stays.
pub fn without_arena_limit(command: &mut Command) -> &mut Command {
    let (name, one) = ARENA_LIMIT;
    if env::var_os(name).is_some_and(|value| value == one) {
        command.env_remove(name);
    }
    command
}

/// Makes glibc's allocator keep the buffers that transfers free, and use them for the next ones.
///
/// By default it gives pages back to the kernel as soon as more than a little is free, and gets them again, zeroed one by one, for the
/// next buffer, which takes half the time of a fast transfer. It keeps twice as much as the largest block that was ever freed (mallopt(3),
/// "dynamic mmap threshold"), so this frees one block that is never written to, and therefore takes no pages. Other allocators do not
/// change.
pub fn keep_freed_buffers() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(THRESHOLD_RAISING_BLOCK)));
}
