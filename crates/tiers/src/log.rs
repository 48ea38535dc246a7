//! What this machine knows of the purges of all: owns whether something that was made at a position
//! of their common log is still good. Leaves fetching the log to `shared`.
//!
//! The server counts purges and keeps the latest. Everything that is stored carries the position up to
//! which its maker had heard; who reads it knows the log at least up to the server's own position at
//! that moment. A log that was lost, or of which too much was missed, is as if all had been purged.

use std::collections::VecDeque;

use canter_cache::shelf::{self, Position, PurgeOrder};
use canter_cache::{Entry, Purge};

/// Purges that are remembered, here and at the server.
pub const KEPT: usize = 2048;

/// What is to be done at this machine.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// These, in order.
    Purges(Vec<(Purge, bool)>),
    /// Ask for more of the log: this was too little.
    More,
}

/// Whether something stored is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Good,
    /// It may be served while another is got.
    Stale,
    /// It was purged, or nobody can tell.
    Gone,
}

/// The log as far as it is known here.
#[derive(Debug, Default)]
pub struct Log {
    known: Option<Position>,
    /// The latest, which end at the known position; true for a soft one.
    recent: VecDeque<(Purge, bool)>,
}

impl Log {
    /// Up to where it is known.
    pub fn position(&self) -> Option<Position> {
        self.known
    }

    /// Takes the end of the server's log, which stands at `now`. `asked` is how many were asked for
    /// at most, `me` whose purges were done here already.
    pub fn take(&mut self, now: Position, end: &[&[u8]], asked: usize, me: u64) -> Heard {
        let before = self
            .known
            .filter(|known| known.epoch == now.epoch && known.seq <= now.seq);
        let missed = match before {
            Some(known) => usize::try_from(now.seq - known.seq).unwrap_or(usize::MAX),
            None => usize::MAX,
        };
        if missed > end.len() && end.len() == asked && asked < KEPT {
            return Heard::More;
        }
        self.known = Some(now);
        let orders = end.iter().map(|bytes| shelf::read_purge(bytes));
        // What cannot be read may have meant anything.
        let orders = orders.map(|order| order.unwrap_or_else(everything));
        if missed > end.len() {
            self.recent = orders.map(|order| (order.purge, order.soft)).collect();
            return Heard::Purges(vec![(Purge::Everything, false)]);
        }
        let mut heard = Vec::new();
        for order in orders.skip(end.len() - missed) {
            if order.by != me {
                heard.push((order.purge.clone(), order.soft));
            }
            self.recent.push_back((order.purge, order.soft));
        }
        while self.recent.len() > KEPT {
            self.recent.pop_front();
        }
        Heard::Purges(heard)
    }

    /// Whether something that was made at a position is still good.
    pub fn judge(&self, made: Position, entry: &Entry) -> Verdict {
        let Some(known) = self.known.filter(|known| known.epoch == made.epoch) else {
            return Verdict::Gone;
        };
        let Some(since) = known.seq.checked_sub(made.seq) else {
            return Verdict::Gone;
        };
        let since = usize::try_from(since).unwrap_or(usize::MAX);
        if since > self.recent.len() {
            return Verdict::Gone;
        }
        let mut verdict = Verdict::Good;
        for (purge, soft) in self.recent.iter().rev().take(since) {
            if purge.means(entry) {
                if !soft {
                    return Verdict::Gone;
                }
                verdict = Verdict::Stale;
            }
        }
        verdict
    }
}

fn everything() -> PurgeOrder {
    PurgeOrder {
        purge: Purge::Everything,
        soft: false,
        by: 0,
    }
}
