//! What the meaning of a text depends on when it is prepared: who may share its plan (C1, C10).
//!
//! Owns the numbers that tell such circumstances apart. The table of statements is
//! `super::statement`'s.

use std::cell::Cell;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};

use super::statement::{self, Planning};
use super::{Params, Relay};
use crate::sql::{self, Flags, READING, Seen};

thread_local! {
    /// Texts that were read for themselves alone.
    static READ: Cell<u64> = const { Cell::new(0) };
}

/// Whether a text that is prepared after this one may be read otherwise than before it: settings
/// and tables change, and go back when a transaction or a part of it ends.
#[inline]
pub(super) fn may_read_otherwise(seen: &Seen) -> bool {
    const CHANGING: Flags = Flags::ANYTHING
        .with(Flags::SETTINGS)
        .with(Flags::RESET_ALL)
        .with(Flags::ROLE)
        .with(Flags::SESSION_AUTHORIZATION)
        .with(Flags::READING_LOCAL)
        .with(Flags::DISCARD_ALL)
        .with(Flags::DISCARD_TEMP)
        .with(Flags::DROP)
        .with(Flags::SCHEMA)
        .with(Flags::EXECUTE)
        .with(Flags::COMMIT)
        .with(Flags::ROLLBACK)
        .with(Flags::SAVEPOINT);
    seen.flags.any(CHANGING)
}

fn hash(parts: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(parts)
}

impl Relay {
    /// What a plan depends on beside text and types. A transaction that changes settings or the
    /// schema shares with nobody, nor does a client with temporary tables, whose changes are its
    /// own.
    pub(super) fn planning(&self, params: &Params) -> Planning {
        let schemas = statement::schemas();
        let own = self.reshaped || self.pending.has(Flags::FUNCTION.with(Flags::TEMP));
        let settings = if own || self.pins.any(Flags::TEMP) {
            self.own_settings()
        } else {
            self.read_with(params)
        };
        Planning { schemas, settings }
    }

    /// Likewise of this text, which somebody gives a name: where it says when it is read, nobody else's
    /// is the same.
    pub(super) fn planning_of(&self, text: &[u8], params: &Params) -> Planning {
        let planning = self.planning(params);
        if !sql::tells_time(text) {
            return planning;
        }
        READ.set(READ.get().wrapping_add(1));
        Planning {
            settings: hash((self.number, READ.get(), "once")),
            ..planning
        }
    }

    /// Tells the settings that a text prepared now is read with from others.
    pub(super) fn read_with(&self, params: &Params) -> u64 {
        const SET: Flags = Flags::SETTINGS_ANY.with(Flags::ROLE);
        if self.reads_apart || self.pending.has(SET) {
            return self.own_settings();
        }
        let parts = READING.map(|name| self.label.get(name));
        if parts.iter().all(Option::is_none) {
            return params.reading();
        }
        hash((params.reading(), parts))
    }

    /// Settings that nobody else has, and this session only until it changes more.
    fn own_settings(&self) -> u64 {
        hash((self.number, self.notes))
    }
}
