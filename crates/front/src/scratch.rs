//! Owns room for bytes that are used at once: those of a body, or of a piece of a file.
//! Leaves what is done with them to who borrows it.

use std::cell::RefCell;

/// Bytes of it.
pub(crate) const SCRATCH: usize = 64 * 1024;

thread_local! {
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the room of this thread, [`SCRATCH`] bytes; whoever has it must not ask for it again.
pub(crate) fn with_scratch<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    ROOM.with_borrow_mut(|room| {
        room.resize(SCRATCH, 0);
        use_it(room)
    })
}
