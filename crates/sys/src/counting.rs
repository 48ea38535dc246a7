//! Owns an allocator that counts, for tests that say how often something may allocate.
//! Leaves allocating to the system's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator; to be made the global one of a test.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// How often the calling thread has taken memory.
pub fn allocations() -> u64 {
    COUNT.get()
}

fn count() {
    // A thread that is ending may still allocate; nobody counts that.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came, which keeps the trait's contract;
// counting neither allocates nor unwinds. There is no safe way to be an allocator.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the trait's contract is the caller's to keep.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as above.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    // SAFETY: as above.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}
