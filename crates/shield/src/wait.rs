//! Owns how long a queue may be: as long as those at its end are served in useful time.
//! Leaves the queue itself, and the answers to those refused, to the dispatch.
//!
//! A queue of fixed length is wrong at both ends: too short for a burst before quick pages, and
//! minutes of dead work before slow ones. What a client feels is the wait, so the wait is what is
//! bounded. A burst may wait long; a *standing* queue, one that has not once been short for a
//! while, only adds delay and is cut to a fraction (the idea of `CoDel`, RFC 8289, section 3).

/// What a client may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// In a burst, in ms.
    pub burst_ms: u64,
    /// In a standing queue, in ms.
    pub standing_ms: u64,
    /// For how long no wait was below `standing_ms` before the queue counts as standing, in ms.
    pub interval_ms: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            burst_ms: 10_000,
            standing_ms: 500,
            interval_ms: 1_000,
        }
    }
}

/// Watches one queue.
#[derive(Debug)]
pub struct Queue {
    patience: Patience,
    /// Leavings of the queue in the window that is being filled, and when it began.
    left: u64,
    window_ms: u64,
    /// Leavings per 1000 s, smoothed; 0 while it is not known.
    rate: u64,
    /// Since when no wait was short; None while waits are short.
    long_since_ms: Option<u64>,
    standing: bool,
}

/// How long leavings are counted before they change the rate.
const WINDOW_MS: u64 = 250;

impl Queue {
    /// A queue that is empty at this time.
    pub fn new(patience: Patience, now_ms: u64) -> Self {
        Self {
            patience,
            left: 0,
            window_ms: now_ms,
            rate: 0,
            long_since_ms: None,
            standing: false,
        }
    }

    /// A request has left the queue for a worker, after this wait.
    pub fn left(&mut self, waited_ms: u64, now_ms: u64) {
        self.left += 1;
        self.roll(now_ms);
        if waited_ms < self.patience.standing_ms {
            self.long_since_ms = None;
            self.standing = false;
            return;
        }
        let since = *self.long_since_ms.get_or_insert(now_ms);
        if now_ms.saturating_sub(since) >= self.patience.interval_ms {
            self.standing = true;
        }
    }

    /// The queue has become empty.
    pub fn emptied(&mut self) {
        self.long_since_ms = None;
        self.standing = false;
    }

    /// Whether a request may join `ahead` others. `deadline_ms` is how long it makes sense to
    /// answer it at all.
    pub fn admits(&mut self, ahead: usize, deadline_ms: Option<u64>, now_ms: u64) -> bool {
        self.roll(now_ms);
        if ahead == 0 {
            return true;
        }
        let Some(wait_ms) = self.expected_wait_ms(ahead) else {
            return true;
        };
        let most = if self.standing {
            self.patience.standing_ms
        } else {
            self.patience.burst_ms
        };
        wait_ms <= most.min(deadline_ms.unwrap_or(u64::MAX))
    }

    /// How long the next one would wait behind so many; None while that is not known.
    pub fn expected_wait_ms(&self, ahead: usize) -> Option<u64> {
        (self.rate > 0).then(|| (ahead as u64).saturating_mul(1_000_000) / self.rate)
    }

    /// Whether the queue has been long for a while.
    pub fn is_standing(&self) -> bool {
        self.standing
    }

    fn roll(&mut self, now_ms: u64) {
        let took = now_ms.saturating_sub(self.window_ms);
        if took < WINDOW_MS {
            return;
        }
        let now = self.left.saturating_mul(1_000_000) / took;
        // A window in which nothing left says little: a worker may run something long.
        if self.left > 0 {
            self.rate = if self.rate == 0 {
                now
            } else {
                (self.rate * 3 + now) / 4
            };
        } else {
            self.rate = self.rate * 7 / 8;
        }
        (self.left, self.window_ms) = (0, now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Offers `offered` requests a second to a server that does `capacity`, for `seconds`; gives the
    /// share of the capacity that was used, the longest wait after the first ten seconds, and how
    /// many were refused.
    fn run(offered: u64, capacity: u64, seconds: u64) -> (f64, u64, u64) {
        let mut queue = Queue::new(Patience::default(), 0);
        let mut waiting = VecDeque::new();
        let (mut served, mut refused, mut longest) = (0_u64, 0_u64, 0);
        let (mut came, mut could) = (0, 0);
        for now in 0..seconds * 1000 {
            while came * 1000 < now * offered {
                came += 1;
                if queue.admits(waiting.len(), None, now) {
                    waiting.push_back(now);
                } else {
                    refused += 1;
                }
            }
            while could * 1000 < now * capacity {
                could += 1;
                let Some(since) = waiting.pop_front() else {
                    queue.emptied();
                    continue;
                };
                let waited = now - since;
                queue.left(waited, now);
                served += 1;
                if now > 15_000 {
                    longest = longest.max(waited);
                }
            }
        }
        (
            served as f64 / (capacity * seconds) as f64,
            longest,
            refused,
        )
    }

    #[test]
    fn ten_times_the_load_uses_all_the_capacity_with_a_bounded_wait() {
        for capacity in [20, 200, 5000] {
            let (used, longest, refused) = run(capacity * 10, capacity, 60);
            assert!(used > 0.95, "{capacity}: {used}");
            assert!(longest < 1500, "{capacity}: {longest} ms");
            assert!(refused > capacity * 500);
        }
    }

    #[test]
    fn what_can_be_served_is_never_refused() {
        let (used, longest, refused) = run(95, 100, 60);
        assert!(
            used > 0.93 && longest < 100 && refused == 0,
            "{used} {longest} {refused}"
        );
    }

    #[test]
    fn a_burst_is_absorbed() {
        let mut queue = Queue::new(Patience::default(), 0);
        let mut now = 0;
        for _ in 0..500 {
            now += 10;
            queue.left(0, now);
        }
        // 100 a second leave; 800 at once will all be served within 8 s.
        assert!((0..800).all(|ahead| queue.admits(ahead, None, now)));
        assert!(!queue.admits(1100, None, now) && !queue.admits(600, Some(5000), now));
    }
}
