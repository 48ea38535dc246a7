//! Owns the ring of answers on the worker's side: pushing records, waiting for room, and when the
//! front is woken.
//! Leaves what the records say to `answer`.
//!
//! Waking a sleeping front costs a system call here and a switch there, so a finished answer may
//! wait for company while twice as many requests wait in the ring as answers are held: its client
//! has waited for longer than that, and no more than [`MOST_HELD`] are held. The front is woken at
//! once when few requests wait, when it wants to give more, and after a slow request. Whatever is
//! held meanwhile the front finds within a millisecond or two: it looks by itself as often as that
//! while requests wait in the ring.

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
use crate::worker::Worker;

/// Answers held back at most: fewer wakings than this would save next to nothing.
const MOST_HELD: u32 = 16;

/// A request that took this long may be followed by another such, and a waking is little to it.
const SLOW: Duration = Duration::from_micros(250);

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
    /// Answers held back since the front was last woken. A race loses a count, which costs an
    /// early or a late waking.
    held: AtomicU32,
}

impl Outbox {
    pub fn new(answers: Answers) -> Self {
        Self {
            answers: Mutex::new(answers),
            files: Mutex::new(()),
            held: AtomicU32::new(0),
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

    fn try_push(&self, head: RecordHead, parts: &[&[u8]]) -> Result<(), Full> {
        end_if_fork();
        // Held for one copy, never while waiting for anything.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// After an answer's last record, `took` the time the request has run.
    pub fn wake_or_hold(&self, watch: &Watch, took: Duration) {
        let held = self.held.load(Ordering::Relaxed) + 1;
        let company = (watch.untaken() / 2).min(MOST_HELD);
        if held > company || took >= SLOW || watch.front_wants_waking() {
            self.wake(watch);
        } else {
            self.held.store(held, Ordering::Relaxed);
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
