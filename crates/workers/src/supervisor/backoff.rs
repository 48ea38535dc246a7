//! Owns how long to wait before something that keeps failing is started again.
//! Leaves what counts as a failure to the callers; the clock is passed in.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// Waits that double with each failure in a row.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Notes a failure. Failures while a wait is running belong to the same round: several
    /// workers that die together are one reason to wait, not several.
    pub fn failed(&mut self, now: Instant) {
        if !self.is_over(now) {
            return;
        }
        let wait = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + wait);
    }

    /// Notes that it works again.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Rounds of failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether no wait is running.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// When the running wait ends.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_tenth_of_a_second_to_ten_seconds() {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..9 {
            backoff.failed(now);
            let until = backoff.until().unwrap();
            waits.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
    }

    #[test]
    fn failures_during_a_wait_belong_to_the_same_round() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        backoff.failed(now);
        backoff.failed(now);
        backoff.failed(now + Duration::from_millis(99));
        assert_eq!(backoff.failures(), 1);
        assert!(!backoff.is_over(now) && backoff.is_over(now + FIRST));
    }

    #[test]
    fn success_starts_from_the_beginning() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        backoff.failed(now);
        backoff.succeeded();
        assert!(backoff.is_over(now) && backoff.failures() == 0);
    }
}
