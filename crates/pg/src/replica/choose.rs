//! The replicas of one target: what is known of each, and which gets the next read (H1 to H5).

use std::time::{Duration, Instant};

use super::ban::Ban;
use super::floor::Need;
use super::history::History;
use super::learned::Learned;
use super::{Floor, Rules, Sample};
use crate::sql::{Flags, Route, Seen};

/// What is known of the replicas of one target.
#[derive(Debug)]
pub struct Replicas {
    rules: Rules,
    list: Vec<Replica>,
    history: History,
    learned: Learned,
    /// Where the search among equals begins.
    turn: usize,
}

#[derive(Debug, Default)]
struct Replica {
    ban: Ban,
    /// The last answer, and when it came.
    sample: Option<(Sample, Instant)>,
    leased: u32,
}

/// Where a statement goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// To the replica of this number.
    Replica(usize),
    /// To the primary.
    Primary(Why),
}

/// Why the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The text is no plain read.
    NoRead,
    /// The session has something that only its own server has: a transaction, a pin.
    Bound,
    /// It failed on a replica before.
    Learned,
    /// The visitor wrote, and no replica has it yet.
    Fresh,
    /// No replica is up and near enough.
    NoReplica,
}

impl Replicas {
    /// `count` replicas of which nothing is known yet.
    pub fn new(count: usize, rules: Rules) -> Self {
        Self {
            rules,
            list: (0..count).map(|_| Replica::default()).collect(),
            history: History::default(),
            learned: Learned::default(),
            turn: 0,
        }
    }

    /// Where a text goes that was seen to be `seen`. `bound`: the session is in a transaction, or
    /// keeps its server for another reason.
    pub fn choose(
        &mut self,
        (text, seen): (&[u8], &Seen),
        bound: bool,
        floor: &mut Floor,
        now: Instant,
    ) -> Choice {
        if !self.is_read(seen) {
            return Choice::Primary(Why::NoRead);
        }
        if bound {
            return Choice::Primary(Why::Bound);
        }
        if self.learned.has(text) {
            return Choice::Primary(Why::Learned);
        }
        let need = floor.need(&self.history);
        if need == Need::Primary {
            return Choice::Primary(Why::Fresh);
        }
        let count = self.list.len();
        let order = (0..count).map(|step| (self.turn + step) % count.max(1));
        let mut near = order.filter(|&at| self.is_usable(at, now)).peekable();
        if near.peek().is_none() {
            return Choice::Primary(Why::NoReplica);
        }
        let fresh = near.filter(|&at| self.has(at, need));
        let least = fresh.min_by_key(|&at| self.list.get(at).map_or(0, |one| one.leased));
        let Some(at) = least else {
            return Choice::Primary(Why::Fresh);
        };
        self.turn = at + 1;
        Choice::Replica(at)
    }

    /// H1, H2: a lone read, or a transaction that says that it only reads.
    fn is_read(&self, seen: &Seen) -> bool {
        let plain = match seen.route {
            Route::Read | Route::BeginReadOnly => true,
            Route::ReadCalling => self.rules.unknown_functions,
            Route::Primary => false,
        };
        plain && !seen.flags.any(Flags::SETTINGS_ANY)
    }

    /// Up, a replica, and near enough (H3).
    fn is_usable(&self, at: usize, now: Instant) -> bool {
        let Some(replica) = self.list.get(at) else {
            return false;
        };
        let Some((sample, told)) = replica.sample else {
            return false;
        };
        let silent = now.saturating_duration_since(told) > self.rules.longest_silence;
        if silent || replica.ban.holds(now) || !sample.in_recovery {
            return false;
        }
        // One that does not tell (Aurora) gets none: when a write is there nobody could say (H4).
        let lag = self.lag_of(sample, now);
        lag.is_some_and(|lag| lag <= self.rules.max_lag)
    }

    fn has(&self, at: usize, need: Need) -> bool {
        let replayed = self
            .list
            .get(at)
            .and_then(|replica| replica.sample)
            .and_then(|(sample, _)| sample.lsn);
        match need {
            Need::Nothing => true,
            Need::Replayed(lsn) => replayed.is_some_and(|replayed| replayed >= lsn.as_end()),
            Need::Primary => false,
        }
    }

    fn lag_of(&self, sample: Sample, now: Instant) -> Option<Duration> {
        let lsn = sample.lsn?;
        // Beyond the history, only the servers' own clocks tell.
        self.history.lag(lsn, now).or(sample.age)
    }

    /// How far behind a replica is, as far as anybody can tell.
    pub fn lag(&self, at: usize, now: Instant) -> Option<Duration> {
        self.lag_of(self.list.get(at)?.sample?.0, now)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The primary said where its log is. One that says it is none has lost its place: what it
    /// said before is void until there is a primary again.
    pub fn primary_says(&mut self, sample: Sample, asked: Instant, told: Instant) {
        match sample.lsn {
            Some(lsn) if !sample.in_recovery => self.history.add(lsn, asked, told),
            _ => self.history.clear(),
        }
    }

    /// A replica said how far it is. One that is a replica no more gets no reads: it may be the
    /// new primary, or an old one that nobody writes to.
    pub fn replica_says(&mut self, at: usize, sample: Sample, now: Instant) {
        if let Some(replica) = self.list.get_mut(at) {
            replica.sample = Some((sample, now));
            replica.ban.succeed(now);
        }
    }

    /// A replica could not be reached, or lost a connection.
    pub fn replica_failed(&mut self, at: usize, now: Instant) {
        let rules = self.rules;
        if let Some(replica) = self.list.get_mut(at) {
            replica.ban.fail(now, rules.first_ban, rules.longest_ban);
            replica.sample = None;
        }
    }

    /// A read began on a replica.
    pub fn began(&mut self, at: usize) {
        if let Some(replica) = self.list.get_mut(at) {
            replica.leased = replica.leased.saturating_add(1);
        }
    }

    /// A read ended there.
    pub fn ended(&mut self, at: usize) {
        if let Some(replica) = self.list.get_mut(at) {
            replica.leased = replica.leased.saturating_sub(1);
        }
    }

    /// A text that looked like a read failed with 25006: it writes.
    pub fn learn(&mut self, text: &[u8]) {
        self.learned.add(text);
    }

    /// How many texts were learned to write.
    pub fn learned(&self) -> usize {
        self.learned.len()
    }

    /// Whether a visitor wrote something of which the position is not known yet.
    pub fn is_open(&self, floor: &mut Floor) -> bool {
        floor.need(&self.history) == Need::Primary
    }
}
