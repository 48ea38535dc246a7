//! Owns the ring of answers on the worker's side: pushing records, waiting for room, and when the
//! front is woken.
//! Leaves what the records say to `answer`.
//!
//! Waking a sleeping front is dear: a system call here, on some machines an interrupt that the
//! hypervisor delivers, and a switch there. So a finished answer may wait for company while at
//! least as many requests wait in the ring as answers are held, for its client has waited behind
//! as many; but no more than [`MOST_HELD`], and none for longer than [`HOLD_LIMIT`] as far as the
//! time of the last request tells how long the next will take. The front is woken at once when
//! few requests wait and when it wants to give more. It also looks by itself every few milliseconds
//! while requests wait in the ring, and finds what is held behind a request that takes longer than
//! the last one did.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use canter_channel::{Answers, Full, Kind, RecordHead, SlotId, Watch};
use canter_sys::fds;
use canter_sys::process::exit_now;
use pyo3::prelude::*;

use crate::failure;
use crate::os;
use crate::wake_policy;
use crate::worker::Worker;

/// Answers held back at most: fewer wakings than this would save next to nothing.
const MOST_HELD: u32 = 16;

/// How long an answer may be held: little to a client that has waited in line, and enough for
/// company where a request takes a millisecond.
const HOLD_LIMIT: Duration = Duration::from_millis(5);

/// The front wakes who waits for room; the limit covers a wake-up that went to another thread.
const ROOM_LIMIT: Duration = Duration::from_millis(5);

/// Nobody reads the answer any more: the client has left, or the front has gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unwanted;

pub(crate) struct Outbox {
    answers: Mutex<Answers>,
    /// Held while a descriptor and its record are sent, so that both sides see one order. Only
    /// ever waited for without the interpreter's lock.
    files: Mutex<()>,
    /// Answers held back since the front was last woken or last took all. A race loses a count,
    /// which costs an early or a late waking.
    held: AtomicU32,
    /// When the first of them was held, as in [`canter_channel::trace::now_us`].
    held_since: AtomicU32,
}

impl Outbox {
    pub fn new(answers: Answers) -> Self {
        Self {
            answers: Mutex::new(answers),
            files: Mutex::new(()),
            held: AtomicU32::new(0),
            held_since: AtomicU32::new(0),
        }
    }

    /// Pushes one record, waiting for room without the interpreter's lock. Does not wake.
    pub fn push(
        &self,
        py: Python<'_>,
        worker: &Worker,
        head: RecordHead,
        parts: &[&[u8]],
    ) -> Result<(), Unwanted> {
        if self.try_push(head, parts).is_ok() {
            return Ok(());
        }
        py.detach(|| self.push_waiting(worker, head, parts))
    }

    /// Sends a record of kind `File` and the file's descriptor.
    pub fn push_file(
        &self,
        py: Python<'_>,
        worker: &Worker,
        head: RecordHead,
        parts: &[&[u8]],
        file: &OwnedFd,
    ) -> Result<(), Unwanted> {
        end_if_fork();
        py.detach(|| {
            let _order = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            fds::send(&worker.files, b"f", &[file.as_fd()]).map_err(|_| Unwanted)?;
            // The descriptor is on its way: the record follows also for a client that has left.
            let head = RecordHead { last: true, ..head };
            self.push_waiting(worker, head, parts)
        })
    }

    /// Pushes one record if there is room for it now.
    pub fn offer(&self, head: RecordHead, payload: &[u8]) {
        let _ = self.try_push(head, &[payload]);
    }

    fn try_push(&self, head: RecordHead, parts: &[&[u8]]) -> Result<(), Full> {
        end_if_fork();
        // Held for one copy, never while waiting for anything.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.held.load(Ordering::Relaxed) != 0 && answers.are_taken() {
            self.held.store(0, Ordering::Relaxed);
        }
        answers.push(head, parts)
    }

    fn push_waiting(
        &self,
        worker: &Worker,
        head: RecordHead,
        parts: &[&[u8]],
    ) -> Result<(), Unwanted> {
        while self.try_push(head, parts).is_err() {
            // The last record is owed also to a client that has left: it frees the slot.
            let is_cancelled = !head.last && worker.watch.is_cancelled(head.slot);
            if is_cancelled || worker.front_has_gone() {
                return Err(Unwanted);
            }
            worker.watch.wait_for_room(ROOM_LIMIT);
        }
        Ok(())
    }

    /// After an answer's last record; the request has run from `since` until `now`, in the time of
    /// [`canter_channel::trace::now_us`].
    pub fn wake_or_hold(&self, watch: &Watch, since: u32, now: u32) {
        let past = |then: u32| Duration::from_micros(now.wrapping_sub(then).into());
        let took = past(since);
        if took > wake_policy::SLOW {
            wake_policy::leaves();
        }
        let held = self.held.load(Ordering::Relaxed);
        if held == 0 {
            self.held_since.store(now, Ordering::Relaxed);
        }
        let first = self.held_since.load(Ordering::Relaxed);
        let holding = Holding {
            held,
            waiting: watch.untaken(),
            so_far: past(first),
            took,
        };
        if !holding.may_go_on() || watch.front_wants_waking() {
            self.wake(watch);
        } else {
            self.held.store(held + 1, Ordering::Relaxed);
        }
    }

    /// Wakes the front if an answer was held back.
    pub fn flush(&self, watch: &Watch) {
        if self.held.load(Ordering::Relaxed) != 0 {
            self.wake(watch);
        }
    }

    /// Wakes the front if it sleeps.
    pub fn wake(&self, watch: &Watch) {
        self.held.store(0, Ordering::Relaxed);
        watch.wake_front();
    }
}

/// What speaks for and against holding another answer back.
struct Holding {
    /// Answers held already.
    held: u32,
    /// Requests in the ring.
    waiting: u32,
    /// Since the first answer was held.
    so_far: Duration,
    /// The request just answered; the next may take as long.
    took: Duration,
}

impl Holding {
    fn may_go_on(&self) -> bool {
        self.held < self.waiting.min(MOST_HELD) && self.so_far + self.took <= HOLD_LIMIT
    }
}

/// A child that the app has forked shares the ring with the worker, and must not write to it: when
/// it returns from the app instead of ending there, it ends here.
fn end_if_fork() {
    if os::is_fork() {
        failure::log_text(
            "a process forked by the app has come back from it and is ended; \
             end such a process with os._exit()",
        );
        exit_now(1);
    }
}

/// The head of a record that answers a request.
pub(crate) fn record(kind: Kind, last: bool, slot: SlotId, number: u64) -> RecordHead {
    RecordHead {
        kind,
        last,
        slot,
        number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_held_for_company_only() {
        let us = Duration::from_micros;
        let row = |held, waiting, so_far, took| {
            let holding = Holding {
                held,
                waiting,
                so_far: us(so_far),
                took: us(took),
            };
            holding.may_go_on()
        };
        // Nobody waits behind it.
        assert!(!row(0, 0, 0, 10));
        assert!(row(0, 1, 0, 10) && row(4, 5, 0, 10) && !row(5, 5, 0, 10));
        assert!(row(MOST_HELD - 1, 1000, 0, 10) && !row(MOST_HELD, 1000, 0, 10));
        // The next request may take as long as this one, and the first held answer waits for it.
        assert!(row(0, 9, 0, 1000) && row(4, 9, 4000, 1000) && !row(4, 9, 4500, 1000));
        assert!(!row(0, 9, 0, 6000));
    }
}
