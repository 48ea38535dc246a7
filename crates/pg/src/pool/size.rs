//! How many server connections there may be: told by a person, or what the server has left.
//! Pure, but for the counter it keeps; asking the server is the connector's.

use std::cell::Cell;

/// Left for people, migrations and monitoring when nobody told us a number.
const MARGIN: i64 = 3;
/// More server processes than this make a server slower, not faster.
const MOST: i64 = 64;
/// When the server would not say; Debian's and Heroku's smallest plans have at least twice this.
const UNKNOWN: u32 = 8;

/// What a server says of its limits and who else uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    /// `max_connections` less what is reserved for others than our role.
    pub(crate) server: i64,
    /// Connections of others to the server.
    pub(crate) server_others: i64,
    /// `rolconnlimit`; negative for none.
    pub(crate) role: i64,
    /// Connections of others with our role.
    pub(crate) role_others: i64,
    /// `datconnlimit`; negative for none.
    pub(crate) database: i64,
    /// Connections of others to our database.
    pub(crate) database_others: i64,
}

impl Limits {
    /// What is left for us, less a margin.
    pub(crate) fn cap(&self) -> u32 {
        let mut left = self.server.saturating_sub(self.server_others);
        for (limit, others) in [
            (self.role, self.role_others),
            (self.database, self.database_others),
        ] {
            if limit >= 0 {
                left = left.min(limit.saturating_sub(others));
            }
        }
        u32::try_from(left.saturating_sub(MARGIN).clamp(1, MOST)).unwrap_or(1)
    }
}

/// The cap of one host.
#[derive(Debug)]
pub(crate) struct Size {
    told: Cell<Option<u32>>,
    cap: Cell<u32>,
    /// Whether the server was asked, or need not be.
    known: Cell<bool>,
}

impl Size {
    /// Until the server has been asked one connection must do: it is the one that asks.
    pub(crate) fn new(told: Option<u32>) -> Self {
        let told = told.map(|told| told.max(1));
        Self {
            told: Cell::new(told),
            cap: Cell::new(told.unwrap_or(1)),
            known: Cell::new(told.is_some()),
        }
    }

    pub(crate) fn cap(&self) -> u32 {
        self.cap.get()
    }

    /// A person has changed the number, or wants the server to be asked: until that is done,
    /// there are no more than now.
    pub(crate) fn tell(&self, told: Option<u32>) {
        self.told.set(told.map(|told| told.max(1)));
        self.look(None);
    }

    /// Whether nobody knows yet what the server has left.
    pub(crate) fn is_unknown(&self) -> bool {
        !self.known.get()
    }

    /// Whether the number was told by a person: looking again only undoes a shrink.
    pub(crate) fn is_told(&self) -> bool {
        self.told.get().is_some()
    }

    /// Takes over what the server said, or makes do when it would not say.
    pub(crate) fn look(&self, limits: Option<Limits>) {
        let cap = match (self.told.get(), limits) {
            (Some(told), _) => told,
            (None, Some(limits)) => limits.cap(),
            // A later look that fails changes nothing.
            (None, None) if self.known.get() => return,
            (None, None) => UNKNOWN,
        };
        self.cap.set(cap);
        self.known.set(true);
    }

    /// The server is full: no more than those we have, until the next look.
    pub(crate) fn shrink(&self, open: u32) {
        self.cap.set(self.cap.get().min(open.max(1)));
    }
}
