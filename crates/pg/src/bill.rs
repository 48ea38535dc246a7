//! Owns the hook by which the program hears what a request cost in the pooler: how long it waited for
//! a server connection, and the statements that nobody else has seen.
//! Leaves whose request it is, and what a statement is without its values, to whoever listens.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::settings::Owner;

/// Something that a session of the private door has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Billed<'a> {
    /// It waited for a server connection.
    Waited {
        /// How long.
        waited: Duration,
        /// Within a statement that the app itself times, so that the time is counted there, too.
        in_statement: bool,
    },
    /// A statement has ended that the app does not tell of.
    Statement {
        /// Its text; empty for what only begins or ends a transaction, which costs time alone.
        sql: &'a [u8],
        /// Equal for equal values, and good for nothing else.
        values: u64,
        /// How long it took, without the wait for a server connection.
        took: Duration,
    },
    /// Statements that the app does not tell of have ended, before which a transaction was open and nothing asked.
    Held {
        /// How long, in pauses of 50 ms or more.
        held: Duration,
    },
}

/// A pause this long within a transaction is one that holds a connection for nothing.
pub(crate) const HELD_GAP: Duration = Duration::from_millis(50);

/// Who hears of it.
pub type Bills = dyn Fn(Owner, Billed<'_>);

/// The hook, once there is one.
#[derive(Default)]
pub(crate) struct Hook(RefCell<Option<Rc<Bills>>>);

impl Hook {
    pub(crate) fn set(&self, bills: Rc<Bills>) {
        *self.0.borrow_mut() = Some(bills);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    pub(crate) fn tell(&self, owner: Option<Owner>, billed: Billed<'_>) {
        let bills = self.0.borrow().clone();
        if let (Some(bills), Some(owner)) = (bills, owner) {
            bills(owner, billed);
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
