//! Owns the rule of the slowest pace: a transfer must average a minimum rate over a sliding window,
//! after a grace at its beginning. One rule for both directions and for every protocol.
//! Leaves counting the bytes to the callers: received, or acknowledged by the other side.
//!
//! An average over a window and not a deadline for each read: one byte every few seconds satisfies
//! any deadline for a single read, for hours.

/// How slow is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes per second, averaged over the window; 0 lets everything pass.
    pub least: u64,
    /// How long a transfer may take to get going, in ms.
    pub grace_ms: u64,
    /// Over how long the rate is averaged, in ms.
    pub window_ms: u64,
}

impl Default for Pace {
    /// 240 bytes a second, which the slowest mobile link reaches, after 10 seconds.
    fn default() -> Self {
        Self {
            least: 240,
            grace_ms: 10_000,
            window_ms: 10_000,
        }
    }
}

/// One transfer.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    started_ms: u64,
    /// Beginning of the window that is being filled.
    window_ms: u64,
    /// Bytes moved when it began, and when the one before it began.
    at_start: u64,
    at_previous: u64,
}

impl Transfer {
    /// A transfer that begins now, with so many bytes on the counter.
    pub fn new(now_ms: u64, moved: u64) -> Self {
        Self {
            started_ms: now_ms,
            window_ms: now_ms,
            at_start: moved,
            at_previous: moved,
        }
    }

    /// Whether the transfer is slower than it may be; `moved` is the counter now.
    ///
    /// The window slides: it covers the part of the last whole window that is not yet older than
    /// its length, taken as even, and what came since.
    pub fn is_too_slow(&mut self, pace: &Pace, now_ms: u64, moved: u64) -> bool {
        let window = pace.window_ms.max(1);
        let age = now_ms.saturating_sub(self.started_ms);
        let mut into = now_ms.saturating_sub(self.window_ms);
        let mut previous = self.at_start.saturating_sub(self.at_previous);
        let mut current = moved.saturating_sub(self.at_start);
        if into >= window {
            // What came in more than one window's time counts for the last of them in proportion.
            previous = current.saturating_mul(window) / into;
            current = 0;
            self.at_previous = moved.saturating_sub(previous);
            self.at_start = moved;
            self.window_ms = now_ms;
            into = 0;
        }
        if pace.least == 0 || age < pace.grace_ms.max(1) {
            return false;
        }
        let (covered_ms, bytes) = if self.window_ms == self.started_ms {
            (into.max(1), current)
        } else {
            let kept = previous.saturating_mul(window - into) / window;
            (window, kept.saturating_add(current))
        };
        bytes.saturating_mul(1000) < pace.least.saturating_mul(covered_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a transfer with this many bytes each `every_ms` is found too slow, looked at each 250 ms.
    fn found_after(bytes: u64, every_ms: u64) -> Option<u64> {
        let pace = Pace::default();
        let mut transfer = Transfer::new(0, 0);
        (0..120_000)
            .step_by(250)
            .find(|&now| transfer.is_too_slow(&pace, now, now / every_ms * bytes))
    }

    #[test]
    fn what_keeps_the_pace_passes_and_what_does_not_is_found_after_the_grace() {
        assert_eq!(found_after(1, 1000), Some(10_000));
        assert_eq!(found_after(100, 1000), Some(10_000));
        assert_eq!(found_after(300, 1000), None);
        assert_eq!(found_after(3000, 5000), None);
        assert_eq!(found_after(1_000_000, 1000), None);
    }

    #[test]
    fn a_transfer_that_stops_is_found_within_one_window() {
        let pace = Pace::default();
        let mut transfer = Transfer::new(0, 0);
        let moved = |now: u64| now.min(30_000) * 100;
        let found = (0..120_000)
            .step_by(250)
            .find(|&now| transfer.is_too_slow(&pace, now, moved(now)));
        let found = found.expect("a stop is found");
        assert!((30_000..=41_000).contains(&found), "{found}");
    }

    #[test]
    fn a_fast_beginning_buys_no_slow_end() {
        let pace = Pace::default();
        let mut transfer = Transfer::new(0, 0);
        // 10 MB at once, then one byte a second.
        let moved = |now: u64| 10_000_000 + now / 1000;
        let found = (250..300_000)
            .step_by(250)
            .find(|&now| transfer.is_too_slow(&pace, now, moved(now)));
        assert!(found.is_some_and(|found| found <= 21_000), "{found:?}");
    }

    #[test]
    fn no_least_rate_lets_everything_pass() {
        let pace = Pace {
            least: 0,
            ..Pace::default()
        };
        let mut transfer = Transfer::new(0, 0);
        assert!(!transfer.is_too_slow(&pace, 1_000_000, 0));
    }
}
