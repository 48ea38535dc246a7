//! Unnamed statements of the same text that come again and again, as of drivers that send text and
//! parameters apart and name nothing: PostgreSQL would read and plan each of them anew. From a few
//! times on, one that comes outside of a transaction is a shared statement under a name of ours (C1),
//! which the server has prepared once.
//!
//! Owns which texts come often, and for which `Bind` the shared one may stand in. The client cannot
//! know of it, so it must not meet what only a prepared statement can meet: a plan that is refused
//! because a result has another shape now is prepared anew and run once more (`super::again`). Where
//! that could not be done the text is sent as the client sent it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::again::{self, Replay};
use super::known::Stands;
use super::owed::{Owed, Parsed};
use super::pending::is_noted;
use super::request::{Message, Step};
use super::statement::{self, Statement};
use super::{Io, Relay, planning};
use crate::sql::{self, Seen, Verb};
use crate::wire::message::Parse;
use crate::wire::{TxStatus, build};

/// How often a text has come when it is shared, as drivers count that prepare by themselves (psycopg's
/// `prepare_threshold`, the `prepareThreshold` of PostgreSQL's for Java).
const OFTEN: u32 = 5;

/// Texts that are counted at once. One that falls on another's place takes it over.
const COUNTED: usize = 1024;

/// One that was prepared before that is prepared anew: PostgreSQL holds on to the types of parameters that the
/// client left open, and to the schema it has found a table in.
const AGE: Duration = Duration::from_secs(1);

#[cfg(not(test))]
fn age() -> Duration {
    AGE
}

/// Tests must not depend on how long they take.
#[cfg(test)]
fn age() -> Duration {
    OLD.get().unwrap_or(AGE * 1000)
}

/// A longer one is not kept for others.
const MOST: usize = 16 << 10;

#[cfg(test)]
thread_local! {
    static OLD: std::cell::Cell<Option<Duration>> = const { std::cell::Cell::new(None) };
    static SOON: std::cell::Cell<u32> = const { std::cell::Cell::new(OFTEN) };
}

/// From now on a text is shared from so many times on, by this thread.
#[cfg(test)]
pub(crate) fn share_from(times: u32) {
    SOON.set(times);
}

thread_local! {
    /// By place: the rest of the hash, and how often it came.
    static COUNTS: RefCell<Vec<(u32, u32)>> = const { RefCell::new(Vec::new()) };
}

/// From now on what was prepared longer ago is prepared anew, by this thread.
#[cfg(test)]
pub(crate) fn share_for(age: Duration) {
    OLD.set(Some(age));
}

/// What is counted of a text that is not shared.
const NEVER: u32 = u32::MAX;

/// Notes that a text is not shared however often it comes.
fn is_never_shared(hash: u64) {
    COUNTS.with_borrow_mut(|counts| {
        if let Some(count) = counts.get_mut(hash as usize % COUNTED) {
            *count = ((hash >> 32) as u32, NEVER);
        }
    });
}

/// Counts a text by its hash; whether it comes often.
fn comes_often(hash: u64) -> bool {
    COUNTS.with_borrow_mut(|counts| {
        if counts.is_empty() {
            counts.resize(COUNTED, (0, 0));
        }
        let (place, rest) = (hash as usize % COUNTED, (hash >> 32) as u32);
        let Some(count) = counts.get_mut(place) else {
            return false;
        };
        if count.0 != rest {
            *count = (rest, 0);
        }
        if count.1 == NEVER {
            return false;
        }
        count.1 = count.1.saturating_add(1).min(NEVER - 1);
        #[cfg(not(test))]
        let often = OFTEN;
        #[cfg(test)]
        let often = SOON.get();
        count.1 >= often
    })
}

/// Whether a statement of this kind is planned, and running it leaves nothing behind in its session.
fn is_shareable(seen: &Seen) -> bool {
    let is_planned = matches!(
        seen.verbs.first(),
        Some(
            Verb::Select
                | Verb::Insert
                | Verb::Update
                | Verb::Delete
                | Verb::Merge
                | Verb::With
                | Verb::Values
                | Verb::Table
        )
    );
    seen.statements == 1 && is_planned && !is_noted(seen) && !planning::may_read_otherwise(seen)
}

impl Relay {
    /// Takes an unnamed `Parse` as that of a shared statement, where that comes to the same.
    pub(super) fn parse_shared(
        &mut self,
        message: Message<'_>,
        parse: Parse<'_>,
        conforming: bool,
        io: &mut Io<'_>,
    ) -> Option<Step> {
        // A segment of its own, before which nothing can fail, of a session that shares all.
        let is_plain = self.begins
            && self.owed.is_empty()
            && self.told == TxStatus::Idle
            && self.probe.is_none()
            && self.pins.is_empty()
            && self.pending.is_empty()
            && !self.is_in_doubt()
            && message.frame.total() <= MOST;
        let known = io.known.as_deref_mut()?;
        if !is_plain || known.status != TxStatus::Idle {
            return None;
        }
        let planning = self.planning(&known.params);
        let entry = match statement::find(parse.text, parse.types, planning) {
            Ok(entry) => entry,
            Err(hash) if comes_often(hash) => {
                let may_be = is_shareable(&sql::scan(parse.text, conforming));
                if !may_be || sql::tells_time(parse.text) {
                    is_never_shared(hash);
                    return None;
                }
                statement::intern(parse.text, parse.types, planning, conforming)
            }
            Err(_) => return None,
        };
        if !is_shareable(entry.seen()) {
            return None;
        }
        let stands = match known.prepared.touch(&entry) {
            Stands::Sent(_) | Stands::Going(_) => return None,
            // What clients have given names to stays.
            Stands::Absent if known.prepared.is_full() => return None,
            Stands::Ready if known.prepared.is_older(&entry, age()) => Stands::Stale,
            stands => stands,
        };
        self.forget_unnamed();
        self.unnamed.extend_from_slice(message.whole());
        self.unnamed_here = false;
        self.unnamed_touches = false;
        self.unnamed_segment = self.segments;
        self.shared = Some(Rc::clone(&entry));
        if stands == Stands::Ready {
            self.owed.push(Owed::Local(build::PARSE_COMPLETE));
            self.settle(io);
        } else {
            if stands == Stands::Stale {
                self.close_stale(&entry, io);
            }
            if let Some(known) = io.known.as_deref_mut() {
                known.prepared.sent(&entry, self.segments);
            }
            self.counts.server_parses = self.counts.server_parses.wrapping_add(1);
            entry.push_parse(io.to_server);
            self.owed.push(Owed::Parse(Box::new(Parsed {
                statement: entry,
                name: Some(Box::default()),
                refused: false,
            })));
        }
        Some(Step::Took(message.whole().len()))
    }

    /// The shared statement that a `Bind` of the unnamed one may go to: it was sent in this segment, and the
    /// segment can be sent again should the plan be refused.
    pub(super) fn shared_for(
        &mut self,
        message: Message<'_>,
        io: &mut Io<'_>,
    ) -> Option<Rc<Statement>> {
        if self.unnamed_here || self.unnamed_segment != self.segments {
            return None;
        }
        let entry = Rc::clone(self.shared.as_ref()?);
        let is_bound = self.shared_bound == self.segments;
        // It may be gone by then.
        if self.pending.discards() {
            return None;
        }
        match io.known.as_deref_mut()?.prepared.touch(&entry) {
            // What was prepared a moment ago is not refused, nor what was bound in the same transaction.
            Stands::Sent(segment) if segment == self.segments => {}
            Stands::Ready if is_bound || self.may_be_sent_again(message, io) => {}
            _ => return None,
        }
        self.shared_bound = self.segments;
        Some(entry)
    }

    /// The `Bind` of a shared statement failed. Whatever is wrong, it may be so of what was prepared a while
    /// ago only, and nothing ran yet: whether it is prepared anew and bound once more.
    pub(super) fn shared_is_bound_anew(&mut self, code: [u8; 5], io: &mut Io<'_>) -> bool {
        const CANCELED: [u8; 5] = *b"57014";
        let Some(Owed::BindShared(statement)) = self.owed.front() else {
            return false;
        };
        if self.replay == Replay::Off || code == CANCELED {
            return false;
        }
        if let Some(known) = io.known.as_deref_mut() {
            known.prepared.now(statement, Stands::Stale);
        }
        self.take_it_back(io);
        true
    }

    /// Whether a message of this length waits for the answer to a `Bind` of a shared statement: behind it the
    /// segment could not be sent again.
    pub(super) fn waits_for_shared(&self, length: usize, io: &Io<'_>) -> bool {
        let kept = io.known.as_deref().map_or(0, |known| known.replay.len());
        matches!(self.owed.front(), Some(Owed::BindShared(_)))
            && match self.replay {
                Replay::Off => false,
                Replay::Open => kept + length > again::MOST,
                Replay::Whole => true,
            }
    }

    /// Whether the unnamed statement is a shared one whose `Parse`, in an earlier segment, may yet fail.
    pub(super) fn doubts_shared(&self) -> bool {
        self.shared.is_some() && !self.unnamed_here && self.owed.doubts(b"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_often_is_counted_by_its_hash() {
        let came =
            |times: u32, hash: u64| (0..times).map(|_| comes_often(hash)).collect::<Vec<_>>();
        assert_eq!(came(5, 1 << 40), [false, false, false, false, true]);
        // Another one on its place.
        assert_eq!(came(1, 2 << 40), [false]);
        assert_eq!(came(5, 1 << 40), [false, false, false, false, true]);
    }

    #[test]
    fn only_what_is_planned_and_leaves_nothing_is_shared() {
        for text in [
            "select a from b where c = $1",
            "insert into a values ($1) returning b",
            "with a as (select 1) update b set c = $1",
            "/* from somewhere */ delete from a",
        ] {
            assert!(is_shareable(&sql::scan(text.as_bytes(), true)), "{text}");
        }
        for text in [
            "",
            "begin",
            "commit",
            "set a = b",
            "deallocate all",
            "select set_config('a', $1, false)",
            "select pg_advisory_lock($1)",
            "select nextval('a')",
            "create table a (b int)",
            "select 1; select 2",
            "explain select 1",
        ] {
            assert!(!is_shareable(&sql::scan(text.as_bytes(), true)), "{text}");
        }
    }
}
