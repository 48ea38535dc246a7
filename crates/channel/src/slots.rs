//! Owns the state of each request under way, one word in shared memory:
//!
//! ```text
//!            front: offer              worker: start             front: free
//!   Free ───────────────▶ Offered ────────────────▶ Started ───────────────▶ Free
//!                            │ front: reclaim          │ front: cancel (client gone)
//!                            ▼                         ▼
//!                        Reclaimed ──▶ Free        Cancelled ──▶ Free
//!                         worker: skips the record
//! ```
//!
//! Leaves which request holds which slot to the dispatch.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::bell;
use crate::layout::{SLOTS, Shared, SlotWords, UNTOLD};
use crate::trace;

const FREE: u32 = 0;
const OFFERED: u32 = 1;
const STARTED: u32 = 2;
const RECLAIMED: u32 = 3;
const CANCELLED: u32 = 4;

/// The number of a slot, always within range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(u16);

impl SlotId {
    pub(crate) const ZERO: Self = Self(0);

    /// All slots of a worker.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..SLOTS as u16).map(Self)
    }

    /// For a table with one row per slot.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn to_wire(self) -> u16 {
        self.0
    }

    pub(crate) fn from_wire(number: u16) -> Option<Self> {
        (usize::from(number) < SLOTS).then_some(Self(number))
    }
}

/// The words of all slots of one worker.
#[derive(Clone)]
pub(crate) struct Slots(pub Shared);

impl Slots {
    fn words(&self, slot: SlotId) -> &SlotWords {
        // In range by the definition of SlotId.
        &self.0.header().slots[slot.index()]
    }

    /// Front: the record of this request is about to be pushed.
    pub fn offer(&self, slot: SlotId) {
        let words = self.words(slot);
        words.thread.store(0, Ordering::Relaxed);
        words.hold.store(0, Ordering::Relaxed);
        words.state.store(OFFERED, Ordering::Release);
    }

    /// Worker: when it is started. None means that the front has taken the request back; the slot is then free.
    /// `waited_us` is how long the thread has waited for the interpreter's lock before.
    pub fn start(&self, slot: SlotId, thread: u32, waited_us: u32) -> Option<u32> {
        let words = self.words(slot);
        words.thread.store(thread, Ordering::Relaxed);
        let now = trace::now_us();
        words.started.store(now, Ordering::Relaxed);
        words.waited.store(waited_us, Ordering::Relaxed);
        words.computed.store(UNTOLD, Ordering::Relaxed);
        let moved =
            words
                .state
                .compare_exchange(OFFERED, STARTED, Ordering::AcqRel, Ordering::Acquire);
        if moved.is_err() {
            words.state.store(FREE, Ordering::Release);
        }
        moved.is_ok().then_some(now)
    }

    /// Front: true means that the worker will not run the request.
    pub fn reclaim(&self, slot: SlotId) -> bool {
        let state = &self.words(slot).state;
        state
            .compare_exchange(OFFERED, RECLAIMED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Front: whether the worker has begun the request in a slot that carries one. A state that
    /// cannot be counts as begun: what may have run is not run again.
    pub fn has_started(&self, slot: SlotId) -> bool {
        self.words(slot).state.load(Ordering::Acquire) != OFFERED
    }

    /// Front: whether a slot may be used again. A reclaimed one may once its record was skipped.
    pub fn is_free(&self, slot: SlotId) -> bool {
        self.words(slot).state.load(Ordering::Acquire) == FREE
    }

    /// Front: nobody reads the answer any more; the worker may stop producing it.
    pub fn cancel(&self, slot: SlotId) {
        let state = &self.words(slot).state;
        let _ = state.compare_exchange(STARTED, CANCELLED, Ordering::AcqRel, Ordering::Acquire);
        self.set_hold(slot, false);
    }

    /// Front: whether the worker should pause producing this answer.
    pub fn set_hold(&self, slot: SlotId, hold: bool) {
        let word = &self.words(slot).hold;
        if word.swap(u32::from(hold), Ordering::AcqRel) == 1 && !hold {
            bell::wake(word);
        }
    }

    /// Worker: how much CPU time the request took since this was last said, before the last record of its answer.
    /// Only the thread that runs it says so.
    pub fn note_computed(&self, slot: SlotId, us: u32) {
        let before = self.computed(slot).unwrap_or(0);
        let us = before.saturating_add(us).min(UNTOLD - 1);
        self.words(slot).computed.store(us, Ordering::Relaxed);
    }

    /// Front: how much CPU time the request took, in microseconds, where the worker has said so.
    /// Means something once the last record has been read.
    pub fn computed(&self, slot: SlotId) -> Option<u32> {
        let us = self.words(slot).computed.load(Ordering::Relaxed);
        (us != UNTOLD).then_some(us)
    }

    /// Worker: whether to pause before the next record of this answer.
    pub fn is_held(&self, slot: SlotId) -> bool {
        self.words(slot).hold.load(Ordering::Acquire) == 1
    }

    /// Worker: waits while held, at most `limit`.
    pub fn wait_while_held(&self, slot: SlotId, limit: Duration) {
        bell::sleep(&self.words(slot).hold, Some(limit));
    }

    /// Worker: whether the front has lost interest in the rest of the answer.
    pub fn is_cancelled(&self, slot: SlotId) -> bool {
        self.words(slot).state.load(Ordering::Acquire) == CANCELLED
    }

    /// Front: the last record of the answer has been read.
    pub fn free(&self, slot: SlotId) {
        self.words(slot).state.store(FREE, Ordering::Release);
    }

    /// Front: when the request was started, and how long its thread had waited for the
    /// interpreter's lock; see [`trace::now_us`]. Means something once it has started.
    pub fn stamps(&self, slot: SlotId) -> (u32, u32) {
        let words = self.words(slot);
        let started = words.started.load(Ordering::Relaxed);
        (started, words.waited.load(Ordering::Relaxed))
    }

    /// Front: the kernel's number of the thread that runs the request, once it has started.
    pub fn thread(&self, slot: SlotId) -> u32 {
        self.words(slot).thread.load(Ordering::Relaxed)
    }
}
