//! Owns how much CPU time a request took that took long.
//! Leaves what follows from it to the front.
//!
//! A request that waits keeps nobody from the interpreter, however long it takes, and is not dear as
//! one that computes is. Asking the thread's clock is a system call, so requests too short to matter
//! are not asked about: they count with all the time they took.

use std::cell::Cell;
use std::time::Duration;

use canter_channel::trace;
use canter_sys::cpu;

use crate::wake_policy;

/// A request that takes longer may have waited.
const LONG_US: u32 = wake_policy::SLOW.as_micros() as u32;

/// When short requests have taken so long together, the clock is read anew: how wrong the next long one may be.
const MOST_SHORT_US: u32 = 1000;

#[derive(Clone, Copy)]
struct Clock {
    /// The thread's CPU time when it was read last.
    read: Duration,
    /// What short requests have taken since.
    short_us: u32,
    /// When the last request ended, as in [`trace::now_us`].
    ended: u32,
}

thread_local! {
    static CLOCK: Cell<Clock> = const {
        Cell::new(Clock {
            read: Duration::ZERO,
            short_us: 0,
            ended: 0,
        })
    };
}

/// Of a request that ran on the calling thread from `since` until `ended`, as in [`trace::now_us`]: how many
/// microseconds of that, about, the thread was on a CPU. None for one so short that it need not be known.
pub(crate) fn of(since: u32, ended: u32) -> Option<u32> {
    let clock = CLOCK.get();
    let took_us = ended.wrapping_sub(since);
    if took_us < LONG_US {
        let short_us = clock.short_us + took_us;
        CLOCK.set(if short_us < MOST_SHORT_US {
            Clock {
                short_us,
                ended,
                ..clock
            }
        } else {
            Clock::now(ended)
        });
        return None;
    }
    let now = Clock::now(ended);
    CLOCK.set(now);
    let since = now.read.saturating_sub(clock.read).as_micros();
    let since = u32::try_from(since).unwrap_or(u32::MAX);
    Some(since.saturating_sub(clock.short_us).min(took_us))
}

/// What the app did after its response, until now, is not the next request's.
pub(crate) fn forget_rest() {
    let clock = CLOCK.get();
    if trace::now_us().wrapping_sub(clock.ended) >= LONG_US {
        CLOCK.set(Clock::now(clock.ended));
    }
}

impl Clock {
    fn now(ended: u32) -> Self {
        Self {
            read: cpu::thread_time(),
            short_us: 0,
            ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes for so long, and answers how many microseconds that was.
    fn compute(limit: Duration) -> u32 {
        let begin = cpu::thread_time();
        let mut sum = 0_u64;
        loop {
            sum = std::hint::black_box(sum + 1);
            let took = cpu::thread_time().saturating_sub(begin);
            if took >= limit {
                return u32::try_from(took.as_micros()).unwrap();
            }
        }
    }

    /// On a thread of its own, whose clock nobody else moves.
    fn alone(test: impl FnOnce() + Send + 'static) {
        std::thread::spawn(test).join().unwrap();
    }

    #[test]
    fn one_that_waits_has_computed_little_and_one_that_computes_all_the_time() {
        alone(|| {
            of(0, LONG_US);
            assert!(of(0, 1_000_000).unwrap() < 1000);
            let took = compute(Duration::from_millis(20));
            let told = of(0, 10 * took).unwrap();
            assert!((took..2 * took).contains(&told), "{told} of {took}");
            // Never more than it can be.
            compute(Duration::from_millis(20));
            assert_eq!(of(u32::MAX - 999, 4000), Some(5000));
        });
    }

    #[test]
    fn what_short_ones_took_is_not_the_next_long_ones() {
        alone(|| {
            of(0, LONG_US);
            for _ in 0..3 {
                compute(Duration::from_micros(200));
                assert_eq!(of(0, 300), None);
            }
            assert!(of(0, 1_000_000).unwrap() < 500);
            // What short ones have waited is not taken from it, either.
            for _ in 0..50 {
                assert_eq!(of(0, LONG_US - 1), None);
            }
            compute(Duration::from_millis(20));
            assert!(of(0, 1_000_000).unwrap() > 18_000);
        });
    }

    #[test]
    fn what_comes_after_a_response_is_not_the_next_requests() {
        alone(|| {
            let ended = trace::now_us();
            of(ended.wrapping_sub(LONG_US), ended);
            compute(Duration::from_millis(20));
            forget_rest();
            assert!(of(0, 1_000_000).unwrap() < 10_000);
        });
    }
}
