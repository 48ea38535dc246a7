//! Owns the ring of answers on the worker's side: pushing records, waiting for room, and when the
//! front is woken.
//! Leaves what the records say to `answer`.
//!
//! Waking a sleeping front costs a system call here and a switch there, so a finished answer may
//! wait for company, but never behind a request that may be slow: the front is woken when the
//! ring of requests is empty, when the front wants to give more, when the request just answered
//! took long (so the next may too), or when an answer has been held for [`LONGEST_HOLD`].

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use canter_channel::{Answers, Full, Kind, RecordHead, SlotId, Watch};
use canter_sys::fds;
use pyo3::prelude::*;

use crate::worker::Worker;

const LONGEST_HOLD: Duration = Duration::from_micros(100);

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
    /// When the first held-back answer was pushed, in nanoseconds since `epoch`; 0 for none.
    held: AtomicU64,
    epoch: Instant,
}

impl Outbox {
    pub fn new(answers: Answers) -> Self {
        Self {
            answers: Mutex::new(answers),
            files: Mutex::new(()),
            held: AtomicU64::new(0),
            epoch: Instant::now(),
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
        py.detach(|| {
            let _order = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            fds::send(&worker.files, b"f", &[file.as_fd()]).map_err(|_| Unwanted)?;
            // The descriptor is on its way: the record follows also for a client that has left.
            let head = RecordHead { last: true, ..head };
            self.push_waiting(worker, head, parts)
        })
    }

    fn try_push(&self, head: RecordHead, parts: &[&[u8]]) -> Result<(), Full> {
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
        if !watch.has_requests() || watch.front_wants_waking() || took >= LONGEST_HOLD {
            return self.wake(watch);
        }
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match self.held.load(Ordering::Relaxed) {
            0 => self.held.store(now.max(1), Ordering::Relaxed),
            since if u128::from(now.saturating_sub(since)) >= LONGEST_HOLD.as_nanos() => {
                self.wake(watch);
            }
            _ => {}
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

/// The head of a record that answers a request.
pub(crate) fn record(kind: Kind, last: bool, slot: SlotId, number: u64) -> RecordHead {
    RecordHead {
        kind,
        last,
        slot,
        number,
    }
}
