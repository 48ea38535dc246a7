//! Owns what is counted of one request: its statements, by place, and how their values repeat.
//! Leaves who asks for what, and when, to `hook`.

use std::time::{Duration, Instant};

use canter_insight::operations::{self, What};
use canter_insight::rules::MANY_WRITES;
use pyo3::prelude::*;

use super::placing::Spot;
use super::statement::{Purpose, Statement};

/// Statements, and statements by place, that are told apart in one request.
const MOST_GROUPS: usize = 64;
/// Of these, those that ask for nothing, such as writes: they leave room for loops.
const MOST_PLAIN: usize = MOST_GROUPS / 2;
/// Different values of a group that are told apart: more would not change what is said of it.
const MOST_VALUES: usize = 64;
/// Of the Python before a statement, no more than this counts as its price.
const MOST_GAP: Duration = Duration::from_millis(2);
/// A pause this long within a transaction is one that holds a connection for nothing.
pub(super) const HELD_GAP: Duration = Duration::from_millis(50);
/// What takes this long may become a finding by itself: its place is looked up.
const LONG: Duration = Duration::from_millis(50);
/// Writes at one place whose place is looked up each time, until many rows have come together: what is told of
/// these is told of their line.
const MOST_OPEN: u32 = 64;
/// From how many different values on a repeat is looked into.
pub(super) const MANY: usize = 5;

/// For what a repeat is looked into.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Look {
    /// A value came again: several rows may have one row in common.
    Again,
    /// Many differ.
    Many,
    /// Many rows are written one by one.
    Written,
}

impl Look {
    /// As `canter.insight` has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::Many => "many",
            Self::Written => "written",
        }
    }
}

/// What of a repeat is no fault.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Meant {
    #[default]
    Nothing,
    /// Another value each time.
    Others,
    /// The same one, too.
    All,
}

/// The same statement at the same place.
#[derive(Default)]
pub(crate) struct Group {
    /// Which of the request's statements.
    pub row: usize,
    /// What that is for.
    purpose: Purpose,
    pub spot: Spot,
    /// Whose habit its place is.
    pub view: usize,
    /// Its place was not looked up each time.
    pub is_taken: bool,
    /// What was looked into last, for its values.
    looked: Option<Look>,
    pub meant: Meant,
    pub count: u32,
    pub total: Duration,
    pub most: Duration,
    pub price: Duration,
    pub repeats: u32,
    pub distinct: Vec<u64>,
    seen: Vec<u64>,
    epoch: u32,
    /// The transaction of the last write, and how many there were.
    transaction: u64,
    transactions: usize,
}

impl Group {
    /// Why it is to be looked into now, if it is and was not before.
    fn look(&mut self) -> Option<Look> {
        let look = if self.has_many() {
            match self.purpose {
                Purpose::Asks => Look::Many,
                // Each of them, or nearly so, is to stand or fall by itself.
                _ if 2 * self.transactions > self.distinct.len() => return None,
                _ => Look::Written,
            }
        } else if self.repeats > 0 {
            Look::Again
        } else {
            return None;
        };
        if self.is_taken || self.looked >= Some(look) {
            return None;
        }
        self.looked = Some(look);
        Some(look)
    }

    /// Whether it is yet to be seen that many rows are written here. What writes the same row again and again
    /// is looked up so often alone.
    fn is_open(&self) -> bool {
        let is_near = self.distinct.len() + 1 >= MANY_WRITES as usize;
        matches!(self.purpose, Purpose::Adds | Purpose::Changes)
            && !self.has_many()
            && (is_near || self.count < MOST_OPEN)
    }

    /// Whether so many differ that a finding could follow.
    fn has_many(&self) -> bool {
        let many = match self.purpose {
            Purpose::Asks => MANY,
            _ => MANY_WRITES as usize,
        };
        self.distinct.len() >= many
    }

    /// How many different values, and how many again, a finding may follow from.
    pub fn values(&self) -> (u64, u64) {
        let (distinct, repeats) = (self.distinct.len() as u64, u64::from(self.repeats));
        match self.meant {
            Meant::Nothing => (distinct, repeats),
            Meant::Others => (0, repeats),
            Meant::All => (0, 0),
        }
    }

    /// Whether a finding could follow from its values or its length.
    pub fn is_notable(&self) -> bool {
        self.repeats > 0 || self.has_many() || self.most >= LONG
    }

    fn note_value(&mut self, (value, key): (u64, u64), epoch: u32) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.seen.clear();
        }
        if self.seen.contains(&value) {
            self.repeats += 1;
        } else if self.seen.len() < MOST_VALUES {
            self.seen.push(value);
            if self.distinct.len() < MOST_VALUES && !self.distinct.contains(&key) {
                self.distinct.push(key);
            }
        }
    }
}

/// A statement of the request.
pub(crate) struct Row {
    pub statement: Py<Statement>,
    purpose: Purpose,
    /// How often it ran.
    pub times: u32,
    /// The group it belonged to last.
    last: Option<usize>,
}

/// One run of a statement.
pub(crate) struct Run {
    pub began: Instant,
    pub ended: Instant,
    pub in_transaction: bool,
    pub what: What,
}

/// What is known of the request under way.
#[derive(Default)]
pub(crate) struct Request {
    pub queries: u32,
    pub writes: u32,
    pub sql: Duration,
    pub held: Duration,
    /// How long statements took, by kind.
    pub times: Vec<operations::Row>,
    ended: Option<Instant>,
    /// Within a transaction since the last statement.
    in_transaction: bool,
    ended_transactions: u32,
    /// Counts what writes: what is asked from there on may have another answer.
    epoch: u32,
    gap: Duration,
    pub rows: Vec<Row>,
    /// The code objects of its places, by number: whatever is forgotten meanwhile, these can be named.
    codes: Vec<(u64, Py<PyAny>)>,
    groups: Vec<Group>,
    /// Groups in use; the others keep their memory for the next request.
    used: usize,
    /// What rows were read for, by group.
    pub captured: Vec<(usize, Py<PyAny>)>,
    /// Runs that belong to no group, because there were too many.
    pub crowded_out: u32,
}

impl Request {
    pub fn clear(&mut self) {
        let (mut rows, mut codes, mut times, groups) = (
            std::mem::take(&mut self.rows),
            std::mem::take(&mut self.codes),
            std::mem::take(&mut self.times),
            std::mem::take(&mut self.groups),
        );
        rows.clear();
        codes.clear();
        times.clear();
        *self = Self {
            times,
            rows,
            codes,
            groups,
            ..Self::default()
        };
    }

    pub fn groups(&self) -> &[Group] {
        self.groups.get(..self.used).unwrap_or_default()
    }

    /// The code object of a place of this request.
    pub fn code(&self, number: u64) -> Option<&Py<PyAny>> {
        let found = self.codes.iter().find(|(other, _)| *other == number);
        found.map(|(_, code)| code)
    }

    /// Keeps a code object until the request is told of. One for each group is enough.
    pub fn keep_code(&mut self, number: u64, code: Py<PyAny>) {
        if self.codes.len() < MOST_GROUPS && self.code(number).is_none() {
            self.codes.push((number, code));
        }
    }

    /// Counts a run, whatever it was.
    pub fn count(&mut self, run: &Run) {
        self.gap = match self.ended {
            Some(ended) => run.began.saturating_duration_since(ended),
            None => Duration::ZERO,
        };
        self.ended = Some(run.ended);
        self.queries += 1;
        let took = run.ended - run.began;
        self.sql += took;
        operations::count(&mut self.times, run.what, us(took));
        if run.in_transaction {
            if self.in_transaction && self.gap >= HELD_GAP {
                self.held += self.gap;
            }
            self.in_transaction = true;
        }
    }

    /// A transaction ends: until here a connection was held.
    pub fn end_transaction(&mut self, now: Instant) {
        self.ended_transactions += 1;
        if std::mem::take(&mut self.in_transaction)
            && let Some(ended) = self.ended
        {
            let gap = now.saturating_duration_since(ended);
            if gap >= HELD_GAP {
                self.held += gap;
            }
        }
    }

    /// The row of a statement that has run once more; None where there are too many.
    pub fn row(&mut self, statement: &Bound<'_, Statement>) -> Option<(usize, u32)> {
        let found = self.rows.iter().position(|row| row.statement.is(statement));
        let purpose = statement.get().purpose;
        let at = match found {
            Some(at) => at,
            None if has_room(self.rows.iter(), purpose) => {
                self.rows.push(Row {
                    statement: statement.clone().unbind(),
                    purpose,
                    times: 0,
                    last: None,
                });
                self.rows.len() - 1
            }
            None => {
                self.crowded_out += 1;
                return None;
            }
        };
        let row = self.rows.get_mut(at)?;
        row.times += 1;
        Some((at, row.times - 1))
    }

    /// Whether the run that was counted last is so long, or came so late, that its place matters by
    /// itself.
    pub fn is_long(&self, run: &Run) -> bool {
        run.ended - run.began >= LONG || self.gap >= LONG
    }

    /// Whether the row's next run may make a loop of writes of where it ran last.
    pub fn is_open(&self, row: usize) -> bool {
        let last = self.rows.get(row).and_then(|row| row.last);
        last.and_then(|at| self.groups.get(at))
            .is_some_and(Group::is_open)
    }

    /// Adds the run that was counted last to the row's group at `spot`, or to that it belonged
    /// to last where there is none.
    pub fn add(&mut self, row: usize, spot: Option<Spot>, run: &Run) -> Option<&mut Group> {
        let at = match spot {
            Some(spot) => self.group(row, spot),
            None => self.rows.get(row)?.last,
        };
        if at.is_none() {
            self.crowded_out += 1;
        }
        self.rows.get_mut(row)?.last = at;
        let group = self.groups.get_mut(at?)?;
        let spent = run.ended - run.began;
        group.count += 1;
        group.total += spent;
        group.most = group.most.max(spent);
        group.price += spent + self.gap.min(MOST_GAP);
        Some(group)
    }

    /// Notes in which transaction the run was that was added last to the row: 0 for one of no meaning, 1 for that
    /// which the app has begun last, else a savepoint's.
    pub fn note_transaction(&mut self, row: usize, begun: u64) {
        let number = match begun {
            1 => u64::from(self.ended_transactions) + 1,
            other => other,
        };
        let at = self.rows.get(row).and_then(|row| row.last);
        if let Some(group) = at.and_then(|at| self.groups.get_mut(at))
            && number != 0
            && group.transaction != number
        {
            group.transaction = number;
            group.transactions += 1;
        }
    }

    /// Notes the values of the run that was added last to the row, all of them and those of its key; answers
    /// the group, and why, where it is to be looked into.
    pub fn note_value(&mut self, row: usize, value: (u64, u64)) -> Option<(usize, Look)> {
        let at = self.rows.get(row)?.last?;
        let group = self.groups.get_mut(at)?;
        group.note_value(value, self.epoch);
        Some((at, group.look()?))
    }

    /// What was found out of a group by looking into it.
    pub fn capture(&mut self, group: usize, meant: Meant, found: Option<Py<PyAny>>) {
        if let Some(group) = self.groups.get_mut(group) {
            group.meant = meant;
        }
        let is_known = self.captured.iter().any(|(other, _)| *other == group);
        if let Some(found) = found.filter(|_| !is_known) {
            self.captured.push((group, found));
        }
    }

    /// What ran last has written.
    pub fn note_write(&mut self) {
        self.epoch += 1;
        self.writes += 1;
    }

    fn group(&mut self, row: usize, spot: Spot) -> Option<usize> {
        let mut used = self.groups().iter();
        if let Some(at) = used.position(|group| group.row == row && group.spot == spot) {
            return Some(at);
        }
        let rows = self.groups().iter().filter_map(|it| self.rows.get(it.row));
        let purpose = self.rows.get(row)?.purpose;
        if !has_room(rows, purpose) {
            return None;
        }
        if self.used == self.groups.len() {
            self.groups.push(Group::default());
        }
        let group = self.groups.get_mut(self.used)?;
        let (mut distinct, mut seen) = (
            std::mem::take(&mut group.distinct),
            std::mem::take(&mut group.seen),
        );
        distinct.clear();
        seen.clear();
        *group = Group {
            row,
            purpose,
            spot,
            distinct,
            seen,
            ..Group::default()
        };
        self.used += 1;
        Some(self.used - 1)
    }
}

/// Whether there may be one more beside those there are.
fn has_room<'a>(there: impl Iterator<Item = &'a Row>, purpose: Purpose) -> bool {
    let (all, plain) = there.fold((0, 0), |(all, plain), row| {
        (all + 1, plain + usize::from(row.purpose != Purpose::Asks))
    });
    all < MOST_GROUPS && (purpose == Purpose::Asks || plain < MOST_PLAIN)
}

pub(super) fn us(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}
