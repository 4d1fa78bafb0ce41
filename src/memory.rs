//! What the allocator does with memory that is free again. It allocates for nobody.

/// What the allocator learns to keep, in bytes.
const LESSON: usize = 8 << 20;

/// Teaches glibc's allocator to keep the buffers that transfers free, for those that they ask for next.
///
/// It gives pages back to the kernel as soon as more than a little is free, and gets them again, zeroed one by one, for the next
/// buffer: half the time of a fast transfer. It keeps twice as much as the largest block that was ever freed (mallopt(3),
/// "dynamic mmap threshold"), so one that nobody touches, and that therefore costs nothing, is freed first.
/// Other allocators are not impressed.
pub fn keep_freed_buffers() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LESSON)));
}
