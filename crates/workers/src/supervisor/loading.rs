//! Owns when the log says that the app is still being loaded: after ten seconds, and ever more rarely.
//! Leaves saying it, and what is being loaded, to `launcher`; the clock is passed in.

use std::time::{Duration, Instant};

/// Longer than nearly every site takes, and well below what a request or a router waits.
const FIRST: Duration = Duration::from_secs(10);

/// Each time so many times as long.
const RARER: u32 = 3;

/// Code that is being read, of which no worker takes requests yet.
#[derive(Debug)]
pub struct Loading {
    since: Instant,
    /// When it is told next, from then.
    next: Duration,
}

impl Loading {
    /// It begins.
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            next: FIRST,
        }
    }

    /// When it is to be told.
    pub fn due(&self) -> Instant {
        self.since + self.next
    }

    /// For how long it has lasted, when that is to be told now; then not again for a while.
    pub fn take_due(&mut self, now: Instant) -> Option<Duration> {
        let after = now.saturating_duration_since(self.since);
        if after < self.next {
            return None;
        }
        while self.next <= after {
            self.next *= RARER;
        }
        Some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_load_is_told_after_ten_seconds_and_then_ever_more_rarely() {
        let start = Instant::now();
        let mut loading = Loading::new(start);
        let mut told = Vec::new();
        for second in 0..400 {
            let now = start + Duration::from_secs(second);
            assert_eq!(loading.due() <= now, [10, 30, 90, 270].contains(&second));
            told.extend(loading.take_due(now));
        }
        let seconds: Vec<_> = told.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [10, 30, 90, 270]);
    }

    #[test]
    fn one_that_nobody_looked_at_for_long_is_told_once() {
        let start = Instant::now();
        let mut loading = Loading::new(start);
        let later = start + Duration::from_secs(100);
        assert_eq!(loading.take_due(later), Some(Duration::from_secs(100)));
        assert_eq!(loading.take_due(later), None);
        assert_eq!(loading.due(), start + Duration::from_secs(270));
    }
}
