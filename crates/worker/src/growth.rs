//! Owns the question by how much a request made the process grow.
//! Leaves measuring to `canter_sys::resident`, and what is made of it to the front.
//!
//! What the process has grown by since the last time somebody looked is put down to the request that
//! ends now, but no more than its own thread was given: the rest waits for whose it is. So what is put
//! down to all of them adds up to what the process has grown, with any number of threads.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use canter_sys::resident::{Statm, given_kb};

/// The first requests load what is loaded once, and are not counted.
const FIRST: u32 = 20;

thread_local! {
    /// What this thread had been given when its last request ended.
    static GIVEN: Cell<u64> = const { Cell::new(0) };
}

/// What is known of this process.
#[derive(Debug, Default)]
pub(crate) struct Growth(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    statm: Option<Statm>,
    seen: u32,
    put_down_kb: i64,
}

impl Growth {
    /// Kilobytes that the calling thread's request, which ends now, made the process grow by;
    /// negative where it has shrunk. Most requests get by with memory that is there, and cost one call of the system.
    pub fn of_request(&self) -> i64 {
        let given = given_kb();
        let own = given.saturating_sub(GIVEN.replace(given));
        if own == 0 {
            return 0;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.statm.is_none() {
            // Not before the fork: the file is that of the process which opens it.
            state.statm = Statm::open().ok();
        }
        let now = state.statm.as_ref().and_then(Statm::anonymous_kb);
        let Some(now) = now.and_then(|now| i64::try_from(now).ok()) else {
            return 0;
        };
        if state.seen < FIRST {
            state.seen += 1;
            state.put_down_kb = now;
            return 0;
        }
        share(&mut state.put_down_kb, now, i64::try_from(own).unwrap_or(0))
    }
}

fn share(put_down: &mut i64, now: i64, own: i64) -> i64 {
    let grown = now.saturating_sub(*put_down).min(own);
    *put_down = put_down.saturating_add(grown);
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d6_growth_is_put_down_to_who_was_given_it_and_adds_up() {
        let mut put_down = 1000;
        // A short request ends while a long one takes 500: it gets its own 8 only.
        assert_eq!(share(&mut put_down, 1508, 8), 8);
        // It frees what it took: nothing is left of it.
        assert_eq!(share(&mut put_down, 1500, 500), 492);
        assert_eq!(share(&mut put_down, 1000, 40), -500);
        assert_eq!(put_down, 1000);
    }
}
