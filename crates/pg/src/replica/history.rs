//! Where the primary's log was at what time. Tells how far behind a replica is by our own clock,
//! so that neither the clocks of servers nor a primary without traffic mislead.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Lsn;

/// Samples of the primary, oldest first.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Point>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    lsn: Lsn,
    /// When it was asked for: everything committed before is before `lsn`.
    asked: Instant,
    /// When it was known: the primary was there at the latest now.
    told: Instant,
}

/// With a sample each second: two minutes.
const MOST: usize = 128;

impl History {
    /// The primary said `lsn` when it was asked at `asked`.
    pub fn add(&mut self, lsn: Lsn, asked: Instant, told: Instant) {
        if self.samples.back().is_some_and(|last| lsn < last.lsn) {
            // Another primary, on another time line: what the old one said is void.
            self.samples.clear();
        }
        if let [.., before, last] = self.samples.make_contiguous()
            && before.lsn == lsn
            && last.lsn == lsn
        {
            // Nothing is written: one point at each end of that time is enough.
            (last.asked, last.told) = (asked, told);
            return;
        }
        if self.samples.len() == MOST {
            self.samples.pop_front();
        }
        self.samples.push_back(Point { lsn, asked, told });
    }

    /// Forgets everything: another server may be the primary.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// A position that is behind every commit before `time`, once the primary was asked after it.
    pub fn behind(&self, time: Instant) -> Option<Lsn> {
        self.samples
            .iter()
            .find(|point| point.asked > time)
            .map(|point| point.lsn)
    }

    /// For how long the primary has been ahead of `replayed`; `None` when that is longer than the
    /// history, or there is none.
    pub fn lag(&self, replayed: Lsn, now: Instant) -> Option<Duration> {
        self.samples.front()?;
        let ahead = self
            .samples
            .iter()
            .position(|point| point.lsn.as_end() > replayed);
        match ahead {
            None => Some(Duration::ZERO),
            Some(0) => None,
            // It had that much when the point before was told, and maybe a little longer.
            Some(at) => {
                let point = self.samples.get(at - 1)?;
                Some(now.saturating_duration_since(point.told))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn h3_lag_is_the_time_since_the_primary_was_where_the_replica_is() {
        let start = Instant::now();
        let mut history = History::default();
        assert_eq!(history.lag(Lsn(5), start), None);
        for (second, lsn) in [(1, 1000), (2, 2000), (3, 3000)] {
            history.add(Lsn(lsn), at(start, second), at(start, second));
        }
        let now = at(start, 4);
        assert_eq!(history.lag(Lsn(3000), now), Some(Duration::ZERO));
        assert_eq!(history.lag(Lsn(9000), now), Some(Duration::ZERO));
        assert_eq!(history.lag(Lsn(2999), now), Some(Duration::from_secs(2)));
        assert_eq!(history.lag(Lsn(1000), now), Some(Duration::from_secs(3)));
        assert_eq!(history.lag(Lsn(999), now), None);
    }

    #[test]
    fn h3_a_primary_without_traffic_makes_no_lag_however_long() {
        let start = Instant::now();
        let mut history = History::default();
        for second in 0..10_000 {
            history.add(Lsn(1000), at(start, second), at(start, second));
        }
        assert!(history.samples.len() <= 2);
        assert_eq!(
            history.lag(Lsn(1000), at(start, 10_000)),
            Some(Duration::ZERO)
        );
        // One write: the replica is behind since the last time nothing was missing.
        history.add(Lsn(1100), at(start, 10_000), at(start, 10_000));
        let lag = history.lag(Lsn(1000), at(start, 10_001));
        assert_eq!(lag, Some(Duration::from_secs(2)));
    }

    #[test]
    fn h4_a_commit_is_before_the_first_position_asked_for_after_it() {
        let start = Instant::now();
        let mut history = History::default();
        history.add(Lsn(1), at(start, 1), at(start, 1));
        history.add(Lsn(2), at(start, 2), at(start, 2));
        assert_eq!(history.behind(at(start, 0)), Some(Lsn(1)));
        assert_eq!(history.behind(at(start, 1)), Some(Lsn(2)));
        assert_eq!(history.behind(at(start, 2)), None);
    }

    #[test]
    fn h5_a_log_that_goes_back_is_another_one() {
        let start = Instant::now();
        let mut history = History::default();
        history.add(Lsn(500), at(start, 1), at(start, 1));
        history.add(Lsn(100), at(start, 2), at(start, 2));
        assert_eq!(history.behind(at(start, 0)), Some(Lsn(100)));
        for second in 3..1000 {
            history.add(Lsn(100 + second), at(start, second), at(start, second));
        }
        assert_eq!(history.samples.len(), MOST);
        history.clear();
        assert_eq!(history.behind(start), None);
    }
}
