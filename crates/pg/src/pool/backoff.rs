//! When to try again after a connection could not be had. Pure: time and chance are passed in.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(1);

/// Doubling pauses, with a little chance so that many poolers do not come at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: Cell<u32>,
    until: Cell<Option<Instant>>,
}

impl Backoff {
    /// Counts a failure and says when to try again. `chance` is any number.
    pub(crate) fn fail(&self, now: Instant, chance: u64) -> Instant {
        let pause = FIRST
            .saturating_mul(1 << self.failures.get().min(10))
            .min(MOST);
        self.failures.set(self.failures.get().saturating_add(1));
        // 80 % to 120 %
        let percent = 80 + u32::try_from(chance % 41).unwrap_or(0);
        let until = now + pause * percent / 100;
        self.until.set(Some(until));
        until
    }

    pub(crate) fn reset(&self) {
        self.failures.set(0);
        self.until.set(None);
    }

    pub(crate) fn may_try(&self, now: Instant) -> bool {
        self.until.get().is_none_or(|until| until <= now)
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failures.get() > 0
    }
}
