//! What the statements of SQL's PREPARE may touch when they are run: EXECUTE tells a name only.
//!
//! Owns what is remembered of their texts while the session has any. When it is taken in is the
//! relay's.

use super::Relay;
use super::pending::{Probe, is_custom_name};
use crate::sql::{Change, Flags, Seen, Setting};

/// Names of settings kept; beyond them all that the session set is asked for.
const MOST_NAMES: usize = 256;

/// What may stand beside a PREPARE in one text and never in its body.
const NO_BODY: Flags = Flags::RELEASING
    .without(Flags::ADVISORY_RELEASE)
    .with(Flags::PREPARE)
    .with(Flags::EXECUTE)
    .with(Flags::RESET_ALL)
    .with(Flags::DISCARD_SEQUENCES);

/// Everything that any statement prepared in SQL may touch, together.
#[derive(Debug, Default)]
pub(super) struct Bodies(Seen);

impl Bodies {
    /// Some are there that nobody has read.
    fn unread() -> Self {
        let flags = Flags::ANYTHING.without(NO_BODY);
        Self(Seen {
            flags,
            ..Seen::default()
        })
    }

    fn add(&mut self, seen: &Seen, text: &[u8]) {
        self.0.flags |= seen.flags.without(NO_BODY);
        for setting in &seen.settings {
            self.name(&setting.name);
        }
        if seen.flags.any(Flags::SETTINGS_UNKNOWN) {
            let pieces = text.split(|byte| *byte == b'\'');
            for piece in pieces.filter(|piece| is_custom_name(piece)) {
                if let Ok(name) = std::str::from_utf8(piece) {
                    self.name(&name.to_ascii_lowercase());
                }
            }
        }
    }

    fn name(&mut self, name: &str) {
        let names = &mut self.0.settings;
        if names.iter().any(|known| &*known.name == name) {
            return;
        }
        if names.len() >= MOST_NAMES {
            self.0.flags |= Flags::SETTINGS_UNKNOWN;
            return;
        }
        names.push(Setting {
            name: name.into(),
            change: Change::Set,
        });
    }
}

impl Relay {
    /// A text was noted that may prepare statements in SQL.
    pub(super) fn note_bodies(&mut self, seen: &Seen, text: &[u8]) {
        let prepares = seen.flags.any(Flags::PREPARE);
        if !prepares && (self.bodies.is_none() || !seen.flags.any(Flags::FUNCTION)) {
            return;
        }
        // A function may have prepared one of its own.
        let unread = self.pending.has(Flags::FUNCTION) || self.asks_for_bodies();
        let bodies = self.bodies.get_or_insert_default();
        bodies.add(seen, text);
        if unread {
            bodies.0.flags |= Flags::ANYTHING.without(NO_BODY);
        }
    }

    /// Something is run that is not read.
    pub(super) fn note_anything(&mut self) {
        self.pending.add_anything();
        self.notes += 1;
        if let Some(bodies) = &mut self.bodies {
            **bodies = Bodies::unread();
        }
    }

    /// One of them is run: whatever any of them may touch, it may.
    #[cold]
    pub(super) fn note_execute(&mut self, text: &[u8]) {
        if let Some(bodies) = self.bodies.take() {
            self.pending.add(&bodies.0);
            self.note_slow(&bodies.0, text);
            self.bodies = Some(bodies);
        } else if self.asks_for_bodies() {
            let bodies = Bodies::unread();
            self.pending.add(&bodies.0);
            self.note_slow(&bodies.0, text);
        }
    }

    /// Whether nobody knows of any, and the server is just being asked.
    fn asks_for_bodies(&self) -> bool {
        self.bodies.is_none() && self.asks_for_prepared()
    }

    fn asks_for_prepared(&self) -> bool {
        let asks = |probe: &Probe| probe.asked.kinds.any(Flags::PREPARE);
        self.probe.as_deref().is_some_and(asks)
    }

    /// Whether SQL may have prepared some: it has, it may have since the server was asked, or the server
    /// is just being asked.
    pub(super) fn may_have_prepared(&self) -> bool {
        self.pins.any(Flags::PREPARE)
            || self.pending.has(Flags::PREPARE.with(Flags::FUNCTION))
            || self.asks_for_prepared()
    }

    /// The server told whether there are any. What was sent since it was asked may make some.
    pub(super) fn settle_bodies(&mut self) {
        if !self.pins.any(Flags::PREPARE) {
            if !self.pending.has(Flags::PREPARE.with(Flags::FUNCTION)) {
                self.bodies = None;
            }
        } else if self.bodies.is_none() {
            self.bodies = Some(Box::new(Bodies::unread()));
        }
    }
}
