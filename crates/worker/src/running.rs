//! Owns the table of requests under way: which thread runs the request of a slot.
//! Leaves what to do with that to `dump`, and the slots' states to the channel.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use canter_channel::{SLOTS, SlotId};

/// What identifies a thread to Python and to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadFacts {
    /// As in `threading.get_ident()`.
    pub ident: u64,
    /// As in `threading.get_native_id()`.
    pub tid: u32,
}

#[derive(Default)]
struct Row {
    /// The request's number plus one; 0 while none runs.
    number: AtomicU64,
    ident: AtomicU64,
    tid: AtomicU32,
}

/// One row per slot, written by the thread that runs the request, read by any.
pub(crate) struct Running {
    rows: Box<[Row]>,
}

impl Running {
    pub fn new() -> Self {
        Self {
            rows: (0..SLOTS).map(|_| Row::default()).collect(),
        }
    }

    pub fn begin(&self, slot: SlotId, number: u64, thread: ThreadFacts) {
        let row = &self.rows[slot.index()];
        row.ident.store(thread.ident, Ordering::Relaxed);
        row.tid.store(thread.tid, Ordering::Relaxed);
        row.number.store(number.wrapping_add(1), Ordering::Release);
    }

    pub fn end(&self, slot: SlotId) {
        self.rows[slot.index()].number.store(0, Ordering::Release);
    }

    /// The threads that run requests, by Python's number and by the kernel's.
    pub fn threads(&self) -> Vec<(u64, u32)> {
        let running = |row: &&Row| row.number.load(Ordering::Acquire) != 0;
        let rows = self.rows.iter().filter(running);
        let threads = rows.map(|row| {
            (
                row.ident.load(Ordering::Relaxed),
                row.tid.load(Ordering::Relaxed),
            )
        });
        threads.collect()
    }

    /// The thread that runs request `number` in this slot, if it still does.
    pub fn thread(&self, slot: SlotId, number: u64) -> Option<ThreadFacts> {
        let row = &self.rows[slot.index()];
        if row.number.load(Ordering::Acquire) != number.wrapping_add(1) {
            return None;
        }
        Some(ThreadFacts {
            ident: row.ident.load(Ordering::Relaxed),
            tid: row.tid.load(Ordering::Relaxed),
        })
    }
}
