//! Owns how long a thread may keep the interpreter's lock while others wait for it.
//! Leaves how many threads there are to `thread_pool`.
//!
//! `CPython` lets each waiting thread wake after the switch interval, 5 ms unless the app says otherwise,
//! to ask the one that runs to let go. With a hundred that wait, it is 20,000 wakings a second, and each
//! exchange wakes one that finds the lock taken again. So where many threads run requests, which then wait
//! for something else most of the time, the interval is longer ([`OF_MANY`]).
//! Measured in docs/decisions/0023-many-threads-and-the-interpreters-lock.md.

use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::prelude::*;

use crate::failure;
use crate::thread_pool::{FEW, MANY};

/// What `CPython` begins with. An app that has set another knows why.
const USUAL: f64 = 0.005;

/// With many threads, in seconds. At 10 ms the exchange still feeds itself; above 20 ms nothing is
/// gained, and whoever waits behind a view that computes waits longer.
const OF_MANY: f64 = 0.02;

/// Which interval is in force.
#[derive(Debug)]
pub(crate) struct SwitchInterval(AtomicU8);

const SHORT: u8 = 0;
const LONG: u8 = 1;
/// The app has set its own.
const NOT_OURS: u8 = 2;
/// A thread is exchanging them, which may run Python and so let others run.
const BETWEEN: u8 = 3;

impl SwitchInterval {
    pub fn new() -> Self {
        Self(AtomicU8::new(SHORT))
    }

    /// `busy` threads run requests now; called by one that holds the interpreter's lock.
    pub fn adapt(&self, py: Python<'_>, busy: usize) {
        let now = self.0.load(Ordering::Relaxed);
        let (from, to, next) = match now {
            SHORT if busy > MANY => (USUAL, OF_MANY, LONG),
            LONG if busy < FEW => (OF_MANY, USUAL, SHORT),
            _ => return,
        };
        let claimed = self
            .0
            .compare_exchange(now, BETWEEN, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_err() {
            return;
        }
        let next = match exchange(py, from, to) {
            Ok(true) => next,
            Ok(false) => NOT_OURS,
            Err(error) => {
                failure::log_error(py, "the switch interval could not be set", &error);
                NOT_OURS
            }
        };
        self.0.store(next, Ordering::Relaxed);
    }
}

/// Sets the interval if it is still what it was; says whether it was.
fn exchange(py: Python<'_>, from: f64, to: f64) -> PyResult<bool> {
    let sys = py.import("sys")?;
    let now: f64 = sys.call_method0("getswitchinterval")?.extract()?;
    // Kept as a whole number of microseconds.
    let is_ours = (now - from).abs() < 1e-6;
    if is_ours {
        sys.call_method1("setswitchinterval", (to,))?;
    }
    Ok(is_ours)
}
