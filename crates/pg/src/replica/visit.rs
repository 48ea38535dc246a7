//! One request of a visitor, as far as reads and writes go (H4): what it must see, and whether it
//! wrote. Leaves which request a session works for to a hook, and carrying the position to the next
//! request to the web (`seal`).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

use super::{Floor, Lsn};
use crate::settings::Owner;

/// A request under way; kept by whoever serves it, found again by the hook of
/// [`crate::Pooler::set_visits`].
#[derive(Debug, Default)]
pub struct Visit {
    pub(super) floor: RefCell<Floor>,
    wrote: Cell<bool>,
}

impl Visit {
    /// A request of a visitor who must see everything up to `seen`.
    pub fn new(seen: Option<Lsn>) -> Rc<Self> {
        Rc::new(Self {
            floor: RefCell::new(seen.map_or_else(Floor::default, Floor::at)),
            wrote: Cell::new(false),
        })
    }

    /// Whether it may have written anything.
    pub fn wrote(&self) -> bool {
        self.wrote.get()
    }

    /// Something that may write is on its way to the primary.
    pub(super) fn writes(&self) {
        self.wrote.set(true);
    }

    /// A write is done.
    pub(super) fn has_written(&self, now: Instant) {
        self.wrote.set(true);
        self.floor.borrow_mut().wrote(now);
    }
}

/// The requests that the thread of a session may be at work for: mostly one. More than one when it
/// went on to the next and nobody has seen the end of the first yet.
pub type Visits = dyn Fn(Owner) -> Vec<Rc<Visit>>;

/// The hook, once there is one.
#[derive(Default)]
pub(crate) struct Hook(RefCell<Option<Rc<Visits>>>);

impl Hook {
    pub(super) fn set(&self, visits: Rc<Visits>) {
        *self.0.borrow_mut() = Some(visits);
    }

    pub(super) fn of(&self, owner: Owner) -> Vec<Rc<Visit>> {
        let visits = self.0.borrow().clone();
        visits.map(|visits| visits(owner)).unwrap_or_default()
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
