//! Owns what is written down of a request on its way through the queue and a worker, for whoever
//! logs it and whoever asks what is going on.
//! Leaves what is made of it to the front.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::report::Report;
use crate::seen::Seen;

/// One request's notes. The dispatch writes them, the front reads them.
#[derive(Debug, Default)]
pub struct Trace {
    /// When it was handed in.
    pub submitted: Cell<Option<Instant>>,
    /// How long it waited from then on for an app that was still being loaded: no part of the time that
    /// the site takes.
    pub loading: Cell<Duration>,
    /// When a thread began it, once that is known.
    pub started: Cell<Option<Instant>>,
    /// How long this thread had waited for the interpreter's lock.
    pub waited: Cell<Duration>,
    /// When the app's last word came.
    pub answered: Cell<Option<Instant>>,
    /// How often the app had been loaded when that worker was.
    pub release: Cell<Option<u32>>,
    /// What it cost, as far as the worker told.
    pub report: RefCell<Option<Box<Report>>>,
    /// How long it waited for connections to the database: within statements that the worker times,
    /// and beside them.
    pub pool: Cell<(Duration, Duration)>,
    /// Statements that were seen on their way and that the worker does not tell of.
    pub seen: RefCell<Option<Box<Seen>>>,
}

impl Trace {
    /// Writes down what a worker's stamps say at `now`. They are not taken on trust: a request
    /// cannot have begun before it was handed in, nor in the future.
    pub fn note_started(&self, stamps: (u32, u32), now: Moment) {
        // It may have begun since the clock was asked, while answers were brought home.
        let ago = Duration::from_micros(now.us_since(stamps.0).into());
        let now = now.at;
        let submitted = self.submitted.get().unwrap_or(now);
        let started = now.checked_sub(ago).unwrap_or(submitted).max(submitted);
        self.started.set(Some(started));
        let waited = Duration::from_micros(stamps.1.into());
        self.waited.set(waited.min(started - submitted));
    }
}

/// Microseconds of the system's monotonic clock, the same for all processes; wraps after 71
/// minutes, longer than any request is let run for.
pub fn now_us() -> u32 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let us = now
        .tv_sec
        .wrapping_mul(1_000_000)
        .wrapping_add(now.tv_nsec / 1000);
    (us & i64::from(u32::MAX)).try_into().unwrap_or(0)
}

/// A moment on both clocks, for all answers that are looked at together.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Within this process.
    pub at: Instant,
    /// As in [`now_us`].
    us: u32,
}

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            us: now_us(),
        }
    }

    /// Microseconds since a stamp of a worker ([`now_us`]), which is not taken on trust: none where it
    /// lies in the future.
    #[must_use]
    pub fn us_since(self, stamp: u32) -> u32 {
        let ago = self.us.wrapping_sub(stamp);
        if ago > u32::MAX / 2 { 0 } else { ago }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_that_cannot_be_are_put_right() {
        let moment = Moment::now();
        let now = moment.at;
        let trace = Trace::default();
        trace
            .submitted
            .set(now.checked_sub(Duration::from_millis(50)));
        trace.note_started((moment.us.wrapping_sub(20_000), 5_000), moment);
        let queued = trace.started.get().unwrap() - trace.submitted.get().unwrap();
        assert_eq!(queued, Duration::from_millis(30));
        assert_eq!(trace.waited.get(), Duration::from_millis(5));
        for lie in [(moment.us.wrapping_add(9_000_000), u32::MAX), (0, 0)] {
            trace.note_started(lie, moment);
            assert!(
                trace.started.get() >= trace.submitted.get() && trace.started.get() <= Some(now)
            );
            assert!(trace.waited.get() <= Duration::from_millis(50));
        }
    }
}
