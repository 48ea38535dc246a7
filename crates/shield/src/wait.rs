//! Owns how long a queue may be: as long as those at its end are served in useful time.
//! Leaves the queue itself, and the answers to those refused, to the dispatch.
//!
//! A queue of fixed length is wrong at both ends: too short for a burst before quick pages, and
//! minutes of dead work before slow ones. What a client feels is the wait, so the wait is what is
//! bounded. A burst may wait long; a *standing* queue, one that has not once been short for a
//! while, only adds delay and is cut to a fraction (the idea of `CoDel`, RFC 8289, section 3).
//! Refusing at the door, and not after a wait, leaves those refused time to go elsewhere.

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
            standing_ms: 2_000,
            interval_ms: 2_000,
        }
    }
}

/// Watches one queue.
#[derive(Debug)]
pub struct Queue {
    patience: Patience,
    /// When the window that is being filled began, and how many had been served by then.
    window_ms: u64,
    served: u64,
    /// Served per 1000 s, smoothed; 0 while it is not known.
    rate: u64,
    /// While the rate is not known: an answer has been seen, and what comes after it is counted.
    counting: bool,
    /// When it was asked last.
    asked_ms: u64,
    /// Since when no wait was short; None while waits are short.
    long_since_ms: Option<u64>,
    standing: bool,
}

/// How long is counted before the rate changes.
const WINDOW_MS: u64 = 250;
/// A window longer than this says nothing of now.
const STALE_MS: u64 = 2_000;
/// So many answers tell a rate that is not known yet; where they take longer than [`SLOW_MS`], those that
/// came until then.
const ENOUGH: u64 = 16;
const SLOW_MS: u64 = 1_000;

impl Queue {
    /// A queue that is empty.
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            window_ms: 0,
            served: 0,
            rate: 0,
            counting: false,
            asked_ms: 0,
            long_since_ms: None,
            standing: false,
        }
    }

    /// Whether a request may join `ahead` others, when `served` in all have been answered so far and
    /// it makes no sense to answer it later than in `deadline_ms`. Need not be asked while few wait.
    pub fn admits(
        &mut self,
        ahead: u64,
        served: u64,
        deadline_ms: Option<u64>,
        now_ms: u64,
    ) -> bool {
        self.roll(served, now_ms);
        let Some(wait_ms) = self.expected_wait_ms(ahead) else {
            return true;
        };
        let Patience {
            burst_ms,
            standing_ms,
            interval_ms,
        } = self.patience;
        if wait_ms >= standing_ms {
            let since = *self.long_since_ms.get_or_insert(now_ms);
            self.standing |= now_ms.saturating_sub(since) >= interval_ms;
        } else if wait_ms < standing_ms / 2 {
            self.long_since_ms = None;
            self.standing = false;
        }
        let most = if self.standing { standing_ms } else { burst_ms };
        wait_ms <= most.min(deadline_ms.unwrap_or(u64::MAX))
    }

    /// Whether the wait behind so many is far from what matters, so that [`Queue::admits`] says the same
    /// for fewer.
    pub fn is_short(
        &mut self,
        ahead: u64,
        served: u64,
        deadline_ms: Option<u64>,
        now_ms: u64,
    ) -> bool {
        self.roll(served, now_ms);
        let short_ms = (self.patience.standing_ms / 2).min(self.patience.burst_ms);
        let short_ms = short_ms.min(deadline_ms.unwrap_or(u64::MAX));
        // As `expected_wait_ms`, without dividing.
        ahead.saturating_mul(1_000_000) < self.rate.saturating_mul(short_ms)
    }

    /// How long the next one would wait behind so many; None while that is not known.
    pub fn expected_wait_ms(&self, ahead: u64) -> Option<u64> {
        (self.rate > 0).then(|| ahead.saturating_mul(1_000_000) / self.rate)
    }

    fn roll(&mut self, served: u64, now_ms: u64) {
        if self.rate == 0 {
            return self.begin(served, now_ms);
        }
        let took = now_ms.saturating_sub(self.window_ms);
        if took < WINDOW_MS {
            return;
        }
        let now = served.saturating_sub(self.served).saturating_mul(1_000_000) / took;
        if took > STALE_MS {
            // Nobody asked for a while, so nobody waited for long.
            self.rate = 0;
            self.counting = false;
            self.asked_ms = now_ms;
            self.long_since_ms = None;
            self.standing = false;
        } else {
            // A window in which nothing was served says little: something long may run.
            self.rate = if now == 0 {
                self.rate * 7 / 8
            } else {
                (self.rate * 3 + now) / 4
            };
        }
        (self.served, self.window_ms) = (served, now_ms);
    }

    /// Learns a rate that is not known. What passes before the first answer is the time of one request, and
    /// says nothing of how many will be served beside each other: all wait for it after a start.
    fn begin(&mut self, served: u64, now_ms: u64) {
        let silent = now_ms.saturating_sub(self.asked_ms);
        self.asked_ms = now_ms;
        if !self.counting || silent >= SLOW_MS {
            self.counting = served > self.served && silent < STALE_MS;
            (self.served, self.window_ms) = (served, now_ms);
            return;
        }
        let took = now_ms.saturating_sub(self.window_ms);
        let count = served.saturating_sub(self.served);
        if took >= WINDOW_MS && (count >= ENOUGH || took >= SLOW_MS) {
            self.rate = count.saturating_mul(1_000_000) / took;
            (self.served, self.window_ms) = (served, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// What became of a load.
    struct Ran {
        /// Share of the capacity that was used.
        used: f64,
        /// The longest wait, and the longest after 20 seconds, in ms.
        longest: u64,
        longest_later: u64,
        refused: u64,
    }

    /// Offers `offered` requests a second to a server that does `capacity`, for a minute.
    fn run(offered: u64, capacity: u64) -> Ran {
        const SECONDS: u64 = 60;
        let mut queue = Queue::new(Patience::default());
        let mut waiting = VecDeque::new();
        let mut ran = Ran {
            used: 0.0,
            longest: 0,
            longest_later: 0,
            refused: 0,
        };
        let (mut came, mut could, mut served) = (0, 0, 0);
        for now in 0..SECONDS * 1000 {
            while came * 1000 < now * offered {
                came += 1;
                if queue.admits(waiting.len() as u64, served, None, now) {
                    waiting.push_back(now);
                } else {
                    ran.refused += 1;
                }
            }
            while could * 1000 < now * capacity {
                could += 1;
                let Some(since) = waiting.pop_front() else {
                    continue;
                };
                served += 1;
                ran.longest = ran.longest.max(now - since);
                if now > 20_000 {
                    ran.longest_later = ran.longest_later.max(now - since);
                }
            }
        }
        ran.used = served as f64 / (capacity * SECONDS) as f64;
        ran
    }

    #[test]
    fn l1_where_the_wait_is_short_however_it_is_counted_the_answer_is_the_same() {
        let (mut queue, mut short) = (Queue::new(Patience::default()), 0);
        for step in 0..20_000_u64 {
            // The server becomes slower and faster, and stands still.
            let served = step * (1 + step / 5000 % 3);
            let (ahead, deadline) = (step * 7 % 900, (step % 3 == 0).then_some(step % 1500));
            if queue.is_short(ahead, served, deadline, step * 10) {
                short += 1;
                let waits = (queue.long_since_ms, queue.standing);
                assert!(queue.admits(ahead, served, deadline, step * 10));
                queue.long_since_ms = waits.0;
                queue.standing = waits.1;
                assert!(queue.admits(ahead / 3, served, deadline, step * 10));
                assert_eq!((queue.long_since_ms, queue.standing), (None, false));
            }
        }
        assert!((1000..19_000).contains(&short), "{short}");
    }

    #[test]
    fn l1_ten_times_the_load_uses_all_the_capacity_with_a_bounded_wait() {
        for capacity in [20, 200, 5000] {
            let ran = run(capacity * 10, capacity);
            assert!(ran.used > 0.97, "{capacity}: {}", ran.used);
            assert!(ran.longest <= 13_000, "{capacity}: {} ms", ran.longest);
            assert!(
                ran.longest_later <= 3_000,
                "{capacity}: {} ms",
                ran.longest_later
            );
            assert!(ran.refused > capacity * 500);
        }
    }

    #[test]
    fn l2_what_can_be_served_is_never_refused() {
        let ran = run(95, 100);
        assert!(ran.used > 0.93 && ran.longest < 100 && ran.refused == 0);
    }

    /// So many users each ask again as soon as they are answered, or refused; the first answer comes
    /// late, all others at `capacity` a second. How many were refused in ten seconds.
    fn refused_after_a_start(users: u64, capacity: u64, first_ms: u64) -> u64 {
        let mut queue = Queue::new(Patience::default());
        let begin = 60_000;
        let (mut waiting, mut served, mut refused) = (0, 1000, 0);
        for _ in 0..users {
            assert!(queue.admits(waiting, served, None, begin));
            waiting += 1;
        }
        let mut answered = 0;
        for now in begin + first_ms..begin + first_ms + 10_000 {
            let due = 1 + (now - begin - first_ms) * capacity / 1000;
            while answered < due {
                answered += 1;
                served += 1;
                waiting -= 1;
                // Refused, it asks again in the next millisecond; here it is let in then.
                refused += u64::from(!queue.admits(waiting, served, None, now));
                waiting += 1;
            }
        }
        refused
    }

    #[test]
    fn l2_a_late_first_answer_refuses_nobody_that_is_served_in_time() {
        for (users, capacity) in [(300, 3000), (200, 150), (30, 20), (5, 3)] {
            for first_ms in [0, 100, 240, 260, 300, 500, 999, 1000, 1500, 2500, 8000] {
                let refused = refused_after_a_start(users, capacity, first_ms);
                assert_eq!(
                    refused, 0,
                    "{users} at {capacity}/s, first after {first_ms}"
                );
            }
        }
    }

    #[test]
    fn l2_a_burst_is_absorbed_and_a_deadline_is_kept() {
        let mut queue = Queue::new(Patience::default());
        let mut now = 0;
        for served in 0..500 {
            now += 10;
            assert!(queue.admits(1, served, None, now));
        }
        // 100 a second are served; 800 at once will all be within 8 s.
        assert!((0..800).all(|ahead| queue.admits(ahead, 500, None, now)));
        assert!(!queue.admits(1100, 500, None, now) && !queue.admits(600, 500, Some(5000), now));
    }
}
