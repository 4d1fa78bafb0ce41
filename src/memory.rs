//! What the allocator does with memory that is free again. It allocates for nobody.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What the allocator learns to keep, in bytes.
const LESSON: usize = 8 << 20;

/// How glibc is told how many arenas it may have (mallopt(3)), and that it may have one; it reads this once, when the process starts.
const ARENAS: (&str, &str) = ("MALLOC_ARENA_MAX", "1");

/// Begins the program anew with one arena for all threads, unless the environment says how many there are. Only for a process that serves
/// a mount; its children do not inherit the variable ([`as_usual`]).
///
/// By default glibc has eight arenas for each core, and each keeps what its threads have freed: large listings that different threads
/// read one after another add up, although none of them is there any more. The process stays the same, with its number and its files.
/// Other allocators are not impressed.
pub fn share_one_arena() {
    let (name, one) = ARENAS;
    if env::var_os(name).is_some() {
        return;
    }
    let mut arguments = env::args_os();
    let (Some(typed), Ok(program)) = (arguments.next(), env::current_exe()) else { return };
    // It returns only if it fails, and then there are more arenas.
    let _ = Command::new(program).arg0(typed).args(arguments).env(name, one).exec();
}

/// Lets a child have its memory as if this process had not begun anew.
pub fn as_usual(command: &mut Command) -> &mut Command {
    let (name, one) = ARENAS;
    if env::var_os(name).is_some_and(|value| value == one) {
        command.env_remove(name);
    }
    command
}

/// Teaches glibc's allocator to keep the buffers that transfers free, for those that they ask for next.
///
/// It gives pages back to the kernel as soon as more than a little is free, and gets them again, zeroed one by one, for the next
/// buffer: half the time of a fast transfer. It keeps twice as much as the largest block that was ever freed (mallopt(3),
/// "dynamic mmap threshold"), so one that nobody touches, and that therefore costs nothing, is freed first.
/// Other allocators are not impressed.
pub fn keep_freed_buffers() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LESSON)));
}
