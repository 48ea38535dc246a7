//! Owns rate limits: so many requests in a time for each key, in a table that never grows.
//! Leaves what a key is (an address, a header, a cookie, a class of paths) to the callers.
//!
//! The rule is the generic cell rate algorithm (ITU-T I.371, annex A): one time for each key, the
//! *theoretical arrival time*, instead of a list of requests or a counter that jumps at the minute.

use std::hash::Hash;

use crate::slots::{Slot, Slots};

/// So many in so long; `burst` of them may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests in each period, at least 1.
    pub requests: u32,
    /// The period in ms.
    pub period_ms: u64,
    /// Most that may come at once, at least 1.
    pub burst: u32,
}

/// What was decided of one request, in the terms of the `RateLimit` fields
/// (draft-ietf-httpapi-ratelimit-headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may pass.
    pub passes: bool,
    /// Requests that would pass right after this one.
    pub remaining: u32,
    /// Until the next one passes, when none is left; in ms.
    pub retry_ms: u64,
    /// Until as many as ever pass again; in ms.
    pub reset_ms: u64,
}

/// Theoretical arrival time of the next request, in microseconds.
#[derive(Clone, Copy, Default)]
struct Arrival(u64);

impl Slot for Arrival {
    /// A time that has passed says no more than an empty slot.
    fn weight(&self, now_ms: u64) -> u64 {
        self.0.saturating_sub(now_ms * 1000)
    }
}

/// One limit over all its keys.
pub struct Limiter {
    quota: Quota,
    arrivals: Slots<Arrival>,
}

impl Limiter {
    /// A limit with room for this many keys (16 bytes each); beyond them the least active are
    /// forgotten.
    pub fn new(quota: Quota, keys: usize) -> Self {
        Self {
            quota,
            arrivals: Slots::new(keys),
        }
    }

    /// Decides on a request and counts it when it passes. `now_ms` is any clock that only goes
    /// forward.
    pub fn decide(&mut self, key: &impl Hash, now_ms: u64) -> Decision {
        let now = now_ms.saturating_mul(1000);
        let each =
            self.quota.period_ms.saturating_mul(1000) / u64::from(self.quota.requests.max(1));
        let each = each.max(1);
        let tolerance = each.saturating_mul(u64::from(self.quota.burst.max(1)));
        let mut nothing = Arrival::default();
        let arrival = self.arrivals.entry(key, now_ms).unwrap_or(&mut nothing);
        let due = arrival.0.max(now);
        let next = due.saturating_add(each);
        let passes = next.saturating_sub(now) <= tolerance;
        if passes {
            arrival.0 = next;
        }
        let ahead = arrival.0.saturating_sub(now);
        let left = tolerance.saturating_sub(ahead) / each;
        let wait = (ahead + each).saturating_sub(tolerance);
        Decision {
            passes,
            remaining: u32::try_from(left).unwrap_or(u32::MAX),
            retry_ms: wait.div_ceil(1000),
            reset_ms: ahead.div_ceil(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota {
        requests: 10,
        period_ms: 1000,
        burst: 5,
    };

    #[test]
    fn a_burst_passes_then_the_rate_and_each_key_for_itself() {
        let mut limiter = Limiter::new(QUOTA, 100);
        let passed = (0..10).filter(|_| limiter.decide(&"a", 0).passes).count();
        assert_eq!(passed, 5);
        assert!(limiter.decide(&"b", 0).passes);
        let refused = limiter.decide(&"a", 0);
        assert_eq!(
            (
                refused.passes,
                refused.remaining,
                refused.retry_ms,
                refused.reset_ms
            ),
            (false, 0, 100, 500)
        );
        assert!(!limiter.decide(&"a", 99).passes && limiter.decide(&"a", 100).passes);
        let steady = (1..=100)
            .filter(|i| limiter.decide(&"c", 1000 + i * 50).passes)
            .count();
        assert!((50..=56).contains(&steady), "{steady}");
    }

    #[test]
    fn what_the_decision_says_of_the_future_comes_true() {
        let mut limiter = Limiter::new(QUOTA, 100);
        let mut now = 0;
        for _ in 0..200 {
            let decision = limiter.decide(&"a", now);
            if !decision.passes {
                assert!(!limiter.decide(&"a", now + decision.retry_ms - 1).passes);
                now += decision.retry_ms;
                assert!(limiter.decide(&"a", now).passes);
            }
        }
        now += limiter.decide(&"a", now).reset_ms;
        assert_eq!(limiter.decide(&"a", now).remaining, 4);
    }

    #[test]
    fn l5_ten_million_keys_take_no_more_room_than_was_given_and_set_no_busy_one_free() {
        const KEYS: usize = 1024;
        let mut limiter = Limiter::new(QUOTA, KEYS);
        while limiter.decide(&"busy", 0).passes {}
        for stranger in 0..10_000_000_u32 {
            limiter.decide(&stranger, 0);
        }
        assert!(!limiter.decide(&"busy", 0).passes);
        let bytes = limiter.arrivals.places() * size_of::<(u64, Arrival)>();
        assert_eq!(bytes, KEYS * 16);
    }
}
