//! What a visitor must see (H4): a position in the log, or a write so recent that its position is
//! not known yet. Leaves carrying it from one request to the next to the web.

use std::time::Instant;

use super::Lsn;
use super::history::History;

/// The least that whoever reads must see: what it wrote before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Floor {
    lsn: Option<Lsn>,
    wrote: Option<Instant>,
}

/// What a floor asks of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it never wrote.
    Nothing,
    /// To have replayed so much.
    Replayed(Lsn),
    /// Nobody can tell yet: only the primary has it.
    Primary,
}

impl Floor {
    /// Whoever must see everything up to `lsn`.
    pub fn at(lsn: Lsn) -> Self {
        Self {
            lsn: Some(lsn),
            wrote: None,
        }
    }

    /// It may have written something, and it was told so just now.
    pub fn wrote(&mut self, now: Instant) {
        self.wrote = Some(now);
    }

    /// It must see everything up to `lsn` as well.
    pub fn raise(&mut self, lsn: Lsn) {
        self.lsn = self.lsn.max(Some(lsn));
    }

    /// It must see everything that another must see as well.
    pub fn join(&mut self, other: Self) {
        self.lsn = self.lsn.max(other.lsn);
        self.wrote = self.wrote.max(other.wrote);
    }

    /// What a replica must have. A write becomes a position as soon as the primary was asked for
    /// its own after it.
    pub fn need(&mut self, history: &History) -> Need {
        if let Some(wrote) = self.wrote {
            let Some(lsn) = history.behind(wrote) else {
                return Need::Primary;
            };
            self.wrote = None;
            self.raise(lsn);
        }
        self.lsn.map_or(Need::Nothing, Need::Replayed)
    }

    /// The position to give to the visitor, for its next request.
    pub fn lsn(&self) -> Option<Lsn> {
        self.lsn
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn h4_who_wrote_reads_on_the_primary_until_the_position_is_known() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut history = History::default();
        let mut floor = Floor::default();
        assert_eq!(floor.need(&history), Need::Nothing);
        history.add(Lsn(10), start, start);
        floor.wrote(start + second);
        assert_eq!(floor.need(&history), Need::Primary);
        history.add(Lsn(20), start + 2 * second, start + 2 * second);
        assert_eq!(floor.need(&history), Need::Replayed(Lsn(20)));
        // A later sample does not raise it: nothing more was written.
        history.add(Lsn(90), start + 3 * second, start + 3 * second);
        assert_eq!(floor.need(&history), Need::Replayed(Lsn(20)));
        assert_eq!(floor.lsn(), Some(Lsn(20)));
    }

    #[test]
    fn h4_a_position_from_an_earlier_request_only_ever_rises() {
        let mut floor = Floor::at(Lsn(7));
        floor.raise(Lsn(5));
        assert_eq!(floor.need(&History::default()), Need::Replayed(Lsn(7)));
        floor.raise(Lsn(9));
        assert_eq!(floor.lsn(), Some(Lsn(9)));
    }
}
