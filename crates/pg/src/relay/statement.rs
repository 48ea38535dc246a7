//! Prepared statements that many clients share: one entry for each text, parameter types and
//! whatever else a plan depends on (C1).
//!
//! Owns the table of entries and their names on servers. Which client calls one what is the
//! relay's.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::rc::{Rc, Weak};

use crate::sql::{self, Seen};

/// A statement as any server may have it prepared.
#[derive(Debug)]
pub struct Statement {
    id: u64,
    name: Box<[u8]>,
    text: Box<[u8]>,
    types: Box<[u8]>,
    planning: Planning,
    seen: Seen,
    /// The pools whose servers have taken it.
    proven: Cell<Proven>,
}

/// What the meaning of a text depends on beside its parameter types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Planning {
    /// How often the schema had changed.
    pub(super) schemas: u64,
    /// Tells settings apart.
    pub(super) settings: u64,
}

/// As many as are worth remembering: a text is rarely used with more databases.
type Proven = [Option<PoolNumber>; 4];

impl Statement {
    /// What tells it from every other.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name on servers.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its text.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Tells the settings it was prepared with from others.
    pub(super) fn settings(&self) -> u64 {
        self.planning.settings
    }

    /// The types of its parameters, as in `Parse`.
    pub(super) fn types(&self) -> &[u8] {
        &self.types
    }

    /// What running it may touch.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Whether the schema is not known to have changed since: who prepares its text gets this one.
    pub(super) fn is_of_now(&self) -> bool {
        self.planning.schemas == schemas()
    }

    /// A server of this pool has taken it.
    pub(super) fn prove(&self, pool: PoolNumber) {
        let mut proven = self.proven.get();
        if !proven.contains(&Some(pool)) {
            proven.rotate_right(1);
            proven[0] = Some(pool);
            self.proven.set(proven);
        }
    }

    /// Appends the `Parse` that prepares it.
    pub fn push_parse(&self, out: &mut Vec<u8>) {
        push_parse(&self.name, &self.text, &self.types, out);
    }
}

/// Appends a `Parse`.
pub(super) fn push_parse(name: &[u8], text: &[u8], types: &[u8], out: &mut Vec<u8>) {
    crate::wire::build::message(out, b'P', |out| {
        for part in [name, b"\0", text, b"\0", types] {
            out.extend_from_slice(part);
        }
    });
}

/// Tells one pool from another.
pub(crate) type PoolNumber = std::num::NonZeroUsize;

#[derive(Default)]
struct Table {
    hasher: RandomState,
    entries: HashMap<u64, Vec<Weak<Statement>>>,
    made: u64,
    sweep_at: usize,
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
    static SCHEMAS: Cell<u64> = const { Cell::new(0) };
}

/// How often the schema of a database is known to have changed: a text that is prepared after a
/// change may mean something else than before it (C10).
pub(super) fn schemas() -> u64 {
    SCHEMAS.get()
}

/// It changed again.
pub(super) fn schema_changed() {
    SCHEMAS.set(schemas().wrapping_add(1));
}

impl Table {
    fn find(
        &self,
        key: u64,
        text: &[u8],
        types: &[u8],
        planning: Planning,
    ) -> Option<Rc<Statement>> {
        let known = self.entries.get(&key)?.iter().filter_map(Weak::upgrade);
        known.into_iter().find(|known| {
            *known.text == *text && *known.types == *types && known.planning == planning
        })
    }
}

/// The entry for these, if servers of this pool have taken it.
pub(super) fn proven(
    text: &[u8],
    types: &[u8],
    planning: Planning,
    pool: PoolNumber,
) -> Option<Rc<Statement>> {
    TABLE.with_borrow(|table| {
        let key = table.hasher.hash_one((text, types, planning));
        let known = table.find(key, text, types, planning)?;
        known.proven.get().contains(&Some(pool)).then_some(known)
    })
}

/// The entry for these, or the hash of what has none.
pub(super) fn find(text: &[u8], types: &[u8], planning: Planning) -> Result<Rc<Statement>, u64> {
    TABLE.with_borrow(|table| {
        let key = table.hasher.hash_one((text, types, planning));
        table.find(key, text, types, planning).ok_or(key)
    })
}

/// The entry for this text, these types and this planning state, made when there is none.
pub fn intern(text: &[u8], types: &[u8], planning: Planning, conforming: bool) -> Rc<Statement> {
    TABLE.with_borrow_mut(|table| {
        let key = table.hasher.hash_one((text, types, planning));
        if let Some(known) = table.find(key, text, types, planning) {
            return known;
        }
        table.made += 1;
        let statement = Rc::new(Statement {
            id: table.made,
            name: format!("canter_{}", table.made).into_bytes().into(),
            text: text.into(),
            types: types.into(),
            planning,
            seen: sql::scan(text, conforming),
            proven: Cell::default(),
        });
        if table.entries.len() >= table.sweep_at {
            table.entries.retain(|_, all| {
                all.retain(|one| one.strong_count() > 0);
                !all.is_empty()
            });
            table.sweep_at = (table.entries.len() * 2).max(1024);
        }
        let same = table.entries.entry(key).or_default();
        same.retain(|one| one.strong_count() > 0);
        same.push(Rc::downgrade(&statement));
        statement
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(settings: u64) -> Planning {
        Planning {
            schemas: 0,
            settings,
        }
    }

    #[test]
    fn c1_equal_text_types_and_planning_share_an_entry() {
        let one = intern(b"select $1", b"\0\0", planned(7), true);
        assert_eq!(
            intern(b"select $1", b"\0\0", planned(7), true).id(),
            one.id()
        );
        for other in [
            intern(b"select $2", b"\0\0", planned(7), true),
            intern(b"select $1", b"\0\x01\0\0\0\x17", planned(7), true),
            intern(b"select $1", b"\0\0", planned(8), true),
        ] {
            assert_ne!(other.id(), one.id());
            assert_ne!(other.name(), one.name());
        }
    }

    #[test]
    fn entries_nobody_holds_do_not_pile_up() {
        for n in 0..10_000 {
            drop(intern(
                format!("select {n}").as_bytes(),
                b"\0\0",
                planned(0),
                true,
            ));
        }
        assert!(TABLE.with_borrow(|table| table.entries.len()) <= 2048);
    }
}
