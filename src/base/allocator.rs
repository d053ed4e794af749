//! What the allocator keeps of the memory that was given back to it.

use std::hint::black_box;

/// Has the allocator give back to the system what has been free for a while. It does so by itself,
/// yet only when somebody takes or leaves a whole page of it: a process with little to do would keep
/// what its last flood of clients took. Of the memory that is taken here for that nothing is touched,
/// so that none of it comes into being.
pub fn settle() {
    drop(black_box(Vec::<u8>::with_capacity(PAGE)));
}

/// 1 MiB: a page of its own, with any usual allocator.
const PAGE: usize = 1 << 20;
