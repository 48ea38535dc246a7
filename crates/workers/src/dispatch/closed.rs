//! Owns the time in which no worker takes requests, as while the app is loaded: what those are told that
//! cannot wait longer, that the log says so once, and that waiting for the app is not running in it.
//! Leaves waiting to `line`, and starting workers to the supervisor.

use std::time::{Duration, Instant};

use canter_channel::call::{Answer, Failure};
use canter_channel::trace::Trace;

use super::worker::Standing;
use super::{Inner, Key, Notice, Place};

/// What is known of the time without workers.
#[derive(Debug, Default)]
pub(super) struct Closed {
    /// A worker has taken requests since the front was started.
    was_open: bool,
    /// The log has been told since the last worker became ready.
    is_told: bool,
    /// The import of the app has failed, and no other has begun.
    has_import_failed: bool,
}

impl Inner {
    pub(super) fn is_open(&self) -> bool {
        let mut workers = self.workers.iter();
        workers.any(|worker| worker.standing == Standing::Open)
    }

    /// Nobody has ever taken requests: the app is being imported, or its first workers are on the way.
    pub(super) fn is_loading(&self) -> bool {
        !self.closed.was_open && !self.is_open()
    }

    /// The app cannot be imported, and there is none that was imported before.
    pub(super) fn is_import_broken(&self) -> bool {
        self.closed.has_import_failed && self.is_loading()
    }

    /// The import has failed, or another begins: who waits for one that has failed would do so in vain,
    /// until somebody mends the code.
    pub(super) fn import(&mut self, has_failed: bool, now: Instant) {
        self.closed.has_import_failed = has_failed;
        if !self.is_import_broken() {
            return;
        }
        let entries = self.entries.iter();
        let queued = entries.filter(|(_, entry)| entry.place == Place::Queued);
        let queued: Vec<_> = queued.map(|(key, entry)| (key, entry.rank)).collect();
        for (key, rank) in queued {
            self.fail_unstarted(key, now);
            self.leaves_line(rank);
        }
    }

    /// Why a request cannot wait longer: what is said of the workers, unless there is none. A slow import
    /// is no overload.
    pub(super) fn reason(&mut self, of_open: Failure, now: Instant) -> Failure {
        if self.stopping || self.is_open() {
            return of_open;
        }
        if self.is_import_broken() {
            return Failure::NotImported;
        }
        let was_open = self.closed.was_open;
        if !self.closed.is_told {
            self.closed.is_told = true;
            (self.notices)(Notice::Closed {
                was_open,
                after: now.duration_since(self.started),
            });
        }
        if was_open {
            Failure::NoWorker
        } else {
            Failure::Loading
        }
    }

    /// Settles a request that has not begun and cannot wait longer.
    pub(super) fn fail_unstarted(&mut self, key: Key, now: Instant) {
        let failure = self.reason(Failure::QueuedTooLong, now);
        let Some(entry) = self.entries.try_remove(key) else {
            return;
        };
        if matches!(failure, Failure::Loading | Failure::NotImported) {
            note(
                entry.trace.as_deref(),
                now.saturating_duration_since(entry.submitted),
            );
        }
        if let Some(mailbox) = &entry.mailbox {
            mailbox.borrow_mut().deliver(Answer::Failed(failure));
        }
    }

    /// A worker takes requests. Those that have waited for the first one begin their time now: what was
    /// spent in an import says nothing of them, and would have them cut off, and their threads taken for
    /// stuck, when they have hardly begun. How long a router waits is not for us to say.
    pub(super) fn opens(&mut self, now: Instant) {
        self.closed.is_told = false;
        if std::mem::replace(&mut self.closed.was_open, true) {
            return;
        }
        for (_, entry) in &mut self.entries {
            if entry.place == Place::Queued {
                let waited = now.saturating_duration_since(entry.submitted);
                entry.deadline = entry.deadline.and_then(|at| at.checked_add(waited));
                entry.submitted = now;
                note(entry.trace.as_deref(), waited);
            }
        }
    }
}

/// Writes down how long a request has waited for the app to be loaded.
fn note(trace: Option<&Trace>, waited: Duration) {
    if let Some(trace) = trace {
        trace.loading.set(waited);
    }
}
