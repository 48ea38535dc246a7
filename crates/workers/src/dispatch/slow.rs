//! Owns looking at requests while they are slow: at the ages of `--slow-request` their thread is
//! asked where it is, so that the log has it before a router gives up at 30 s; again just before its time is
//! over, so that whoever gives it up can say what it was doing; and again and again while somebody watches the
//! dashboard.
//! Leaves deadlines to `clock`, and how the answer is shown to the program.

use std::time::{Duration, Instant};

use canter_channel::trace::Moment;
use canter_channel::{Control, StackSample};

use super::{Dispatch, Entry, Inner, Named, Notice, Place, WorkerId};

/// Requests looked at in one sweep: formatting a stack takes the interpreter's lock.
const MOST: usize = 4;
/// Between two looks at the same request for somebody who watches.
const FRESH: Duration = Duration::from_secs(2);
/// So long before its time is over a request is looked at: by then its statement may be cancelled.
pub(super) const AHEAD: Duration = Duration::from_millis(250);
/// What was seen longer ago may be another line.
const STALE: Duration = Duration::from_secs(1);

/// Who awaits an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Log,
    Watcher,
    End,
}

/// How often a request was looked at, and whether an answer is awaited.
#[derive(Debug, Default)]
pub(super) struct Looks {
    done: usize,
    awaited: Option<Awaited>,
    asked: Option<Instant>,
    /// The end before which it was asked.
    ahead_of: Option<Instant>,
    /// What was seen last, and when.
    seen: StackSample,
    seen_at: Option<Instant>,
}

impl Looks {
    /// What it was seen doing just now; nothing where nobody has looked.
    pub fn fresh(&self, now: Instant) -> StackSample {
        let is_fresh = self
            .seen_at
            .is_some_and(|at| now.saturating_duration_since(at) <= STALE);
        if is_fresh {
            self.seen.clone()
        } else {
            StackSample::default()
        }
    }
}

/// What an answer was for.
pub(super) enum Answered {
    /// The log.
    Told(Notice),
    /// Whoever watches.
    Shown,
    /// None of these.
    Not(StackSample),
}

/// A request under way for a while.
#[derive(Clone, Debug)]
pub struct Slow {
    /// Which one.
    pub request: Named,
    /// How long ago it was handed in.
    pub age: Duration,
    /// It waits for a thread.
    pub queued: bool,
    /// What its thread was seen doing when it was asked last.
    pub sample: StackSample,
}

impl Dispatch {
    /// Requests that are older than `least`, the oldest first. When they are watched, their threads
    /// are asked where they are, for the next time.
    pub fn slow(&self, least: Duration, most: usize, watched: bool) -> Vec<Slow> {
        let (mut inner, now) = (self.0.borrow_mut(), Instant::now());
        let entries = inner.entries.iter();
        let mut old: Vec<_> = entries
            .filter(|(_, entry)| entry.mailbox.is_some() || entry.stuck)
            .filter(|(_, entry)| now.duration_since(entry.submitted) >= least)
            .map(|(key, entry)| (entry.number, key))
            .collect();
        old.sort_unstable();
        old.truncate(most);
        if watched {
            let stale = old.iter().map(|(_, key)| *key).filter(|key| {
                let asked = inner.entries.get(*key).and_then(|entry| entry.looks.asked);
                asked.is_none_or(|asked| now.duration_since(asked) >= FRESH)
            });
            for key in stale.take(MOST).collect::<Vec<_>>() {
                inner.ask(key, Awaited::Watcher, now);
            }
        }
        let shown = old.into_iter().filter_map(|(_, key)| {
            let entry = inner.entries.get(key)?;
            Some(Slow {
                request: Named::read(&entry.message),
                age: now.duration_since(entry.submitted),
                queued: !inner.has_begun(entry.place),
                sample: entry.looks.seen.clone(),
            })
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
        let ages = &self.settings.slow_after;
        let is_due = |entry: &Entry| {
            let age = ages.get(entry.looks.done);
            !entry.stuck
                && entry.mailbox.is_some()
                && age.is_some_and(|age| now.duration_since(entry.submitted) >= *age)
                // Those that wait are many, and nobody can be asked about them.
                && self.has_begun(entry.place)
        };
        let due = self.entries.iter().filter(|(_, entry)| is_due(entry));
        for key in due.map(|(key, _)| key).take(MOST).collect::<Vec<_>>() {
            if self.ask(key, Awaited::Log, now)
                && let Some(entry) = self.entries.get_mut(key)
            {
                let passed = |age: &Duration| now.duration_since(entry.submitted) >= *age;
                // Ages that passed while it waited for a thread are not told one after the other.
                entry.looks.done = self
                    .settings
                    .slow_after
                    .iter()
                    .filter(|age| passed(age))
                    .count();
            }
        }
    }

    /// Asks about requests whose time is nearly over.
    pub(super) fn look_ahead(&mut self, now: Instant) {
        let is_due = |entry: &Entry| {
            let end = entry.end();
            let is_near = end.is_some_and(|end| end.saturating_duration_since(now) <= AHEAD);
            is_near
                && !entry.answered
                && !entry.stuck
                && entry.looks.ahead_of != end
                && self.has_begun(entry.place)
        };
        let due = self.entries.iter().filter(|(_, entry)| is_due(entry));
        for key in due.map(|(key, _)| key).take(MOST).collect::<Vec<_>>() {
            self.ask(key, Awaited::End, now);
            if let Some(entry) = self.entries.get_mut(key) {
                entry.looks.ahead_of = entry.end();
            }
        }
    }

    /// Asks the thread of a request where it is; false when none runs it.
    fn ask(&mut self, key: usize, awaited: Awaited, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        let Place::Given(id, slot) = entry.place else {
            return false;
        };
        let Some(worker) = self.workers.iter().find(|worker| worker.id == id) else {
            return false;
        };
        if !worker.end.has_started(slot) {
            return false;
        }
        if let Some(trace) = &entry.trace
            && trace.started.get().is_none()
        {
            trace.note_started(worker.end.stamps(slot), Moment::now());
        }
        // The log goes first: an answer that it awaits is shown to whoever watches as well.
        if entry.looks.awaited != Some(Awaited::Log) {
            entry.looks.awaited = Some(awaited);
        }
        entry.looks.asked = Some(now);
        worker.say(Control::Dump {
            slot,
            number: entry.number,
        });
        true
    }
}

/// The answer to it.
pub(super) fn answered(
    entry: &mut Entry,
    worker: WorkerId,
    sample: StackSample,
    now: Instant,
) -> Answered {
    let awaited = entry.looks.awaited.take();
    let (Some(awaited), false) = (awaited, entry.stuck) else {
        return Answered::Not(sample);
    };
    sample.clone_into(&mut entry.looks.seen);
    entry.looks.seen_at = Some(now);
    match awaited {
        Awaited::Watcher | Awaited::End => Answered::Shown,
        Awaited::Log => Answered::Told(Notice::Slow {
            worker,
            request: Named::read(&entry.message),
            after: now.duration_since(entry.submitted),
            sample,
        }),
    }
}
