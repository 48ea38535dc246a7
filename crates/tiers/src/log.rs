//! What this machine knows of the purges of all: owns whether something that was made at a position
//! of their common log is still good. Leaves fetching the log to `shared`.
//!
//! The server counts purges and keeps the latest. Everything that is stored carries the position up to
//! which its maker had heard; who reads it knows the log at least up to the server's own position at
//! that moment. A log that was lost, or of which too much was missed, is as if all had been purged.
//! What was heard once is known as long as the process lives, in memory of a fixed size.

use canter_cache::shelf::{self, Position, PurgeOrder};
use canter_cache::store::Recent;
use canter_cache::{Entry, Purge};

/// Purges that the server keeps: how many one may have missed.
pub const KEPT: usize = 8192;
/// Places for the names of purges, of eight bytes each: those of an hour at ten a second cost one page in
/// ten a miss.
const PLACES: usize = 1 << 18;

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
#[derive(Debug)]
pub struct Log {
    known: Option<Position>,
    /// All purges behind this one are known.
    from: u64,
    hard: Recent,
    soft: Recent,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            known: None,
            from: 0,
            hard: Recent::new(PLACES),
            soft: Recent::new(PLACES),
        }
    }
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
        let orders = (now.seq.saturating_sub(end.len() as u64) + 1..).zip(orders);
        if missed > end.len() {
            *self = Self {
                known: self.known,
                from: now.seq.saturating_sub(end.len() as u64),
                ..Self::default()
            };
            for (number, order) in orders {
                self.add(number, &order);
            }
            return Heard::Purges(vec![(Purge::Everything, false)]);
        }
        let mut heard = Vec::new();
        for (number, order) in orders.skip(end.len() - missed) {
            self.add(number, &order);
            if order.by != me {
                heard.push((order.purge, order.soft));
            }
        }
        Heard::Purges(heard)
    }

    fn add(&mut self, number: u64, order: &PurgeOrder) {
        let recent = if order.soft {
            &mut self.soft
        } else {
            &mut self.hard
        };
        recent.add(&order.purge, number);
    }

    /// Whether something that was made at a position is still good.
    pub fn judge(&self, made: Position, entry: &Entry) -> Verdict {
        let Some(known) = self.known.filter(|known| known.epoch == made.epoch) else {
            return Verdict::Gone;
        };
        if made.seq > known.seq || made.seq < self.from || self.hard.last(entry) > made.seq {
            return Verdict::Gone;
        }
        if self.soft.last(entry) > made.seq {
            return Verdict::Stale;
        }
        Verdict::Good
    }
}

fn everything() -> PurgeOrder {
    PurgeOrder {
        purge: Purge::Everything,
        soft: false,
        by: 0,
    }
}

#[cfg(test)]
mod tests {
    use canter_cache::{Key, Scheme, Time, wire};

    use super::*;

    /// As it lies in a tier: nothing but its key.
    fn entry(path: &str) -> Entry {
        let key = Key::new(Scheme::Http, b"a", path.as_bytes(), None);
        let mut bytes = b"canter\0\x01".to_vec();
        // Checksum, rule and life.
        bytes.resize(bytes.len() + 8 + 4 + 25, 0);
        bytes.extend_from_slice(&200_u16.to_le_bytes());
        bytes.push(0);
        let block: &[u8] = b"HTTP/1.1 200 OK\r\n";
        for part in [key.url(), b"", b"", b"", b"", b"", b"", block] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        wire::seal(&mut bytes);
        wire::read(&bytes, Time::from_seconds(1)).unwrap().entry
    }

    fn order(path: &str, soft: bool) -> Vec<u8> {
        let purge = Purge::Path {
            host: Some(b"a".to_vec()),
            path: path.as_bytes().to_vec(),
        };
        shelf::write_purge(&PurgeOrder { purge, soft, by: 7 })
    }

    fn at(seq: u64) -> Position {
        Position { epoch: 1, seq }
    }

    #[test]
    fn purges_of_other_pages_never_make_one_useless() {
        let mut log = Log::default();
        log.take(at(0), &[], KEPT, 1);
        let orders: Vec<Vec<u8>> = (0..5000).map(|n| order(&format!("/{n}"), false)).collect();
        for (seq, order) in (1..).zip(&orders) {
            log.take(at(seq), &[order], 64, 1);
        }
        assert_eq!(log.judge(at(0), &entry("/other")), Verdict::Good);
        assert_eq!(log.judge(at(0), &entry("/17")), Verdict::Gone);
        assert_eq!(log.judge(at(17), &entry("/17")), Verdict::Gone);
        assert_eq!(log.judge(at(18), &entry("/17")), Verdict::Good);
        let soft = order("/other", true);
        log.take(at(5001), &[&soft], 64, 1);
        assert_eq!(log.judge(at(5000), &entry("/other")), Verdict::Stale);
        assert_eq!(log.judge(at(5001), &entry("/other")), Verdict::Good);
        assert_eq!(log.judge(at(5002), &entry("/other")), Verdict::Gone);
    }

    #[test]
    fn what_nobody_can_tell_is_gone() {
        let mut log = Log::default();
        assert_eq!(log.judge(at(0), &entry("/x")), Verdict::Gone);
        let end = [order("/1", false), order("/2", false)];
        let end: Vec<&[u8]> = end.iter().map(Vec::as_slice).collect();
        let heard = log.take(at(10), &end, KEPT, 1);
        assert_eq!(heard, Heard::Purges(vec![(Purge::Everything, false)]));
        assert_eq!(log.judge(at(7), &entry("/x")), Verdict::Gone);
        assert_eq!(log.judge(at(8), &entry("/x")), Verdict::Good);
        assert_eq!(log.judge(at(8), &entry("/1")), Verdict::Gone);
        assert_eq!(log.judge(at(9), &entry("/1")), Verdict::Good);
        let elsewhere = Position { epoch: 2, seq: 10 };
        assert_eq!(log.judge(elsewhere, &entry("/x")), Verdict::Gone);
        // More was missed than is asked for at first.
        assert_eq!(log.take(at(20), &end, end.len(), 1), Heard::More);
    }
}
