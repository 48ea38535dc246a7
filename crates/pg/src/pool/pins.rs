//! Sessions that hold a server outside of transactions: how many may, who does and why.
//! Leaves knowing when a session must to `relay`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

/// A session that holds its server, as the console shows it.
#[derive(Debug, Clone)]
pub struct PinStats {
    /// The client.
    pub client: String,
    /// Its database.
    pub database: String,
    /// Why: `advisory lock`, `temporary table`...
    pub reasons: String,
    /// For how long.
    pub age: Duration,
    /// The beginning of the statement that did it.
    pub text: String,
}

pub(crate) struct Pin {
    pub(crate) reasons: Vec<&'static str>,
    pub(crate) since: Instant,
    pub(crate) client: Rc<str>,
    pub(crate) text: String,
    pub(crate) database: Box<str>,
}

/// Too many sessions are pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PinRefused {
    /// How many may be.
    pub(crate) cap: u32,
}

/// Those of one host.
#[derive(Default)]
pub(crate) struct Pins {
    all: RefCell<Slab<Pin>>,
    refused: Cell<u64>,
}

impl Pins {
    pub(crate) fn add(&self, pin: Pin, cap: u32) -> Result<usize, PinRefused> {
        let mut pins = self.all.borrow_mut();
        if pins.len() >= usize::try_from(cap).unwrap_or(usize::MAX) {
            self.refused.set(self.refused.get().wrapping_add(1));
            return Err(PinRefused { cap });
        }
        Ok(pins.insert(pin))
    }

    pub(crate) fn add_reason(&self, at: usize, reason: &'static str) {
        if let Some(pin) = self.all.borrow_mut().get_mut(at)
            && !pin.reasons.contains(&reason)
        {
            pin.reasons.push(reason);
        }
    }

    pub(crate) fn remove(&self, at: usize) {
        self.all.borrow_mut().try_remove(at);
    }

    pub(crate) fn len(&self) -> usize {
        self.all.borrow().len()
    }

    /// Those of one database.
    pub(crate) fn stats(&self, database: &str) -> Vec<PinStats> {
        let now = Instant::now();
        self.all
            .borrow()
            .iter()
            .filter(|(_, pin)| &*pin.database == database)
            .map(|(_, pin)| PinStats {
                client: pin.client.to_string(),
                database: pin.database.to_string(),
                reasons: pin.reasons.join(", "),
                age: now.saturating_duration_since(pin.since),
                text: pin.text.clone(),
            })
            .collect()
    }
}
