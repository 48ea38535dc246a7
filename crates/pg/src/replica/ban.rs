//! A replica that failed is left alone for a while, longer each time (H5). Only the times.

use std::time::{Duration, Instant};

/// Failures in a row, and until when there are no reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ban {
    failures: u32,
    until: Option<Instant>,
}

impl Ban {
    /// It failed: `first` for the first time, twice as long each further time.
    pub fn fail(&mut self, now: Instant, first: Duration, longest: Duration) {
        let doubled = first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + doubled.min(longest));
    }

    /// It answered as it should. A ban that is under way runs out all the same, so that a server
    /// which answers now and then does not get everything each time.
    pub fn succeed(&mut self, now: Instant) {
        if !self.holds(now) {
            *self = Self::default();
        }
    }

    /// Whether it gets no reads now.
    pub fn holds(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h5_bans_grow_with_each_failure_and_end_with_a_success() {
        let (first, longest) = (Duration::from_secs(2), Duration::from_secs(7));
        let start = Instant::now();
        let mut ban = Ban::default();
        assert!(!ban.holds(start));
        let mut now = start;
        for seconds in [2, 4, 7, 7] {
            ban.fail(now, first, longest);
            let end = now + Duration::from_secs(seconds);
            assert!(
                ban.holds(now + Duration::from_millis(seconds * 1000 - 1)),
                "{seconds}"
            );
            assert!(!ban.holds(end), "{seconds}");
            now = end;
        }
        ban.succeed(now);
        ban.fail(now, first, longest);
        assert!(!ban.holds(now + first));
    }

    #[test]
    fn h5_a_success_does_not_cut_a_ban_short() {
        let start = Instant::now();
        let mut ban = Ban::default();
        ban.fail(start, Duration::from_secs(2), Duration::from_secs(9));
        ban.succeed(start + Duration::from_secs(1));
        assert!(ban.holds(start + Duration::from_secs(1)));
    }
}
