//! Owns the time as the front needs it: a `Date` text made once a second.
//! Leaves formatting to `canter_http::date`.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use canter_base::clock::wall_ms;
use canter_http::date;

/// Makes the `Date` text at most once a second.
pub(crate) struct DateClock {
    start: Instant,
    start_unix: u64,
    second: Cell<u64>,
    text: RefCell<[u8; date::DATE_LENGTH]>,
}

impl DateClock {
    /// A clock that follows the system's from now on.
    pub fn new() -> Self {
        let unix = unix_seconds();
        Self {
            start: Instant::now(),
            start_unix: unix,
            second: Cell::new(unix),
            text: RefCell::new(date::format_date(unix)),
        }
    }

    /// The text for the `Date` field, given the time now, which the caller has at hand.
    pub fn date(&self, now: Instant) -> [u8; date::DATE_LENGTH] {
        let elapsed = now.saturating_duration_since(self.start).as_secs();
        if self.start_unix + elapsed != self.second.get() {
            // Ask the system again: its clock may have been set.
            let unix = unix_seconds();
            self.second.set(self.start_unix + elapsed);
            *self.text.borrow_mut() = date::format_date(unix);
        }
        *self.text.borrow()
    }
}

/// Seconds since 1970, UTC.
pub(crate) fn unix_seconds() -> u64 {
    wall_ms() / 1000
}
