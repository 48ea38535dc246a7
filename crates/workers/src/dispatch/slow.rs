//! Owns looking at requests while they are slow: after 5, 15 and 25 s their thread is asked where
//! it is, so that the log has it before a router gives up at 30 s.
//! Leaves deadlines to `clock`, and how the answer is shown to the program.

use std::time::{Duration, Instant};

use canter_channel::Control;

use super::{Dispatch, Entry, Inner, Notice, Place, WorkerId, describe};

/// When a request is looked at.
const LOOKS: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(25),
];

/// Requests looked at in one sweep: formatting a stack takes the interpreter's lock.
const MOST: usize = 4;

/// How often a request was looked at, and whether an answer is awaited.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looks {
    done: usize,
    asked: bool,
}

/// A request under way for a while.
#[derive(Clone, Debug)]
pub struct Slow {
    /// Method and path.
    pub request: String,
    /// Its id.
    pub id: String,
    /// How long ago it was handed in.
    pub age: Duration,
    /// It waits for a thread.
    pub queued: bool,
    /// Where its thread was when it was asked.
    pub stack: String,
}

impl Dispatch {
    /// Requests that are older than `least`, the oldest first.
    pub fn slow(&self, least: Duration, most: usize) -> Vec<Slow> {
        let (inner, now) = (self.0.borrow(), Instant::now());
        let entries = inner.entries.iter().map(|(_, entry)| entry);
        let mut old: Vec<&Entry> = entries
            .filter(|entry| entry.mailbox.is_some() || entry.stuck)
            .filter(|entry| now.duration_since(entry.submitted) >= least)
            .collect();
        old.sort_by_key(|entry| entry.number);
        let shown = old.into_iter().take(most).map(|entry| {
            let described = describe(&entry.message);
            let (request, id) = described.split_once(" (request ").unwrap_or_default();
            Slow {
                request: request.to_owned(),
                id: id.trim_end_matches(')').to_owned(),
                age: now.duration_since(entry.submitted),
                queued: !inner.has_begun(entry.place),
                stack: entry
                    .trace
                    .as_ref()
                    .map_or_else(String::new, |trace| trace.stack.borrow().clone()),
            }
        });
        shown.collect()
    }
}

impl Inner {
    fn has_begun(&self, place: Place) -> bool {
        match place {
            Place::Queued => false,
            Place::Given(id, slot) => self
                .worker(id)
                .is_some_and(|worker| worker.end.has_started(slot)),
        }
    }

    /// Asks about requests that have become slow.
    pub(super) fn look_at_slow(&mut self, now: Instant) {
        let due = self.entries.iter_mut().filter(|(_, entry)| {
            let look = LOOKS.get(entry.looks.done);
            !entry.stuck
                && entry.mailbox.is_some()
                && look.is_some_and(|look| now.duration_since(entry.submitted) >= *look)
        });
        for (_, entry) in due.take(MOST) {
            let Place::Given(id, slot) = entry.place else {
                continue;
            };
            let Some(worker) = self.workers.iter().find(|worker| worker.id == id) else {
                continue;
            };
            if !worker.end.has_started(slot) {
                continue;
            }
            if let Some(trace) = &entry.trace
                && trace.started.get().is_none()
            {
                trace.note_started(worker.end.stamps(slot), now);
            }
            entry.looks.done += 1;
            entry.looks.asked = true;
            worker.say(Control::Dump {
                slot,
                number: entry.number,
            });
        }
    }
}

/// The answer to a look; None when the request was not asked about for being slow.
pub(super) fn answered(
    entry: &mut Entry,
    worker: WorkerId,
    text: &str,
    now: Instant,
) -> Option<Notice> {
    if !std::mem::take(&mut entry.looks.asked) || entry.stuck {
        return None;
    }
    if let Some(trace) = &entry.trace {
        text.clone_into(&mut trace.stack.borrow_mut());
    }
    Some(Notice::Slow {
        worker,
        request: describe(&entry.message),
        after: now.duration_since(entry.submitted),
        text: text.to_owned(),
    })
}
