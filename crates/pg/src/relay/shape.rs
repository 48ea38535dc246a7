//! The shape of a result that a client was told once (`Describe`) and reads all rows by. A server
//! that gets the statement later may give it another one: the schema was changed meanwhile.
//! PostgreSQL then refuses the plan (0A000), and so do we (C10).
//!
//! Owns what a client was told under each of its names, and asking a server for its own shape before
//! the first rows come from it.

use std::cell::Cell;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::rc::Rc;

use super::known::{Found, Stands};
use super::owed::Owed;
use super::request::Message;
use super::wording::nobodys;
use super::{GATHER, GATHER_BIND, Io, Relay, Statement, Want, statement};
use crate::wire::frame::Frame;
use crate::wire::message::{self, Named};
use crate::wire::{SqlError, build};

/// Prepared statements of one client are kept up to so many bytes, up to twice as many until they are
/// counted. On the servers there are only as many as was asked for, but here all of them.
pub(super) const MOST_KEPT: usize = 128 << 20;

/// What a client gave a name to.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) statement: Rc<Statement>,
    /// The shape that the client was told under this name.
    pub(super) told: Cell<Option<Shape>>,
    /// The statement itself was never asked for its shape: what a portal tells is all there is.
    by_portal: Cell<bool>,
}

impl Given {
    /// About so many bytes are kept for it under this name.
    pub(super) fn size(&self, name: &[u8]) -> usize {
        const OWN: usize = 256;
        OWN + name.len() + self.statement.text().len() + self.statement.types().len()
    }

    /// Of which nothing was told yet.
    pub(super) fn of(statement: Rc<Statement>) -> Rc<Self> {
        Rc::new(Self {
            statement,
            told: Cell::default(),
            by_portal: Cell::new(true),
        })
    }

    /// The client is told this shape with the statement, or else with a portal. What it was told with
    /// the statement stays: it may read rows by that when no portal tells it more.
    pub(super) fn is_told(&self, shape: Option<Shape>, with_portal: bool) {
        if !with_portal {
            self.by_portal.set(false);
        }
        if !with_portal || self.by_portal.get() || self.told.get().is_none() {
            self.told.set(shape);
        }
    }
}

/// What was bound to a portal whose description, if it is the next message, says something new: to the
/// client, or about this server.
#[derive(Debug)]
pub(super) struct Untold {
    pub(super) given: Rc<Given>,
    pub(super) portal: Box<[u8]>,
}

thread_local! {
    static SAID: Cell<u64> = const { Cell::new(0) };
}

/// The shape of a result as a server said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Tells names, types and their modifiers, in order, from others.
    columns: u64,
    /// Which one of all answers said so.
    said: u64,
}

impl Shape {
    /// That in a `RowDescription` that just came.
    pub(super) fn of(mut body: &[u8]) -> Option<Self> {
        let (count, rest) = body.split_first_chunk::<2>()?;
        body = rest;
        let mut columns = Vec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let name = message::take_cstr(&mut body)?;
            // Table and column, type, size, modifier, format.
            let (column, rest) = body.split_first_chunk::<18>()?;
            body = rest;
            columns.push((name, column.get(6..10)?, column.get(12..16)?));
        }
        SAID.set(SAID.get().wrapping_add(1));
        Some(Self {
            columns: BuildHasherDefault::<DefaultHasher>::default().hash_one(columns),
            said: SAID.get(),
        })
    }
}

/// What the rows of a `Bind` that goes on are to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// Of the shape that it was told.
    Same,
    /// Of a shape that is not known here, or that it was not told: it is told before it reads them, or has
    /// not asked.
    New,
    /// Of another shape.
    Not,
}

/// What becomes of a `Bind`.
enum Checked {
    /// It goes on.
    Fits(Fit),
    /// Whether its client is told the shape with it is not there yet: so many bytes are needed.
    Waits(usize),
    /// It waits for the server's word.
    Asked,
    /// What the server has may be older than what the client was told.
    Outdated,
}

/// The name that a `Bind` is sent with which is to fail.
pub(super) fn misfit_name() -> Vec<u8> {
    nobodys(b"shape")
}

/// What the client is told in PostgreSQL's own words.
pub(super) fn misfit() -> SqlError {
    SqlError::error("0A000", "cached plan must not change result type")
}

/// Whether the message after this `Bind` asks for the shape of its portal; else how many bytes are
/// needed to know. A client gets no answer to a `Bind` before its `Flush` or `Sync`, so it does not
/// wait for one before it goes on.
fn is_described_next(message: Message<'_>, portal: &[u8]) -> Result<bool, usize> {
    let total = message.frame.total();
    if total > GATHER {
        return Ok(false);
    }
    let rest = message.rest.get(total..).unwrap_or_default();
    if rest.first().is_some_and(|tag| *tag != b'D') {
        return Ok(false);
    }
    match Frame::decode(rest) {
        Ok(None) => Err(total + Frame::HEADER),
        Ok(Some(frame)) if frame.total() <= GATHER_BIND => match frame.body_of(rest) {
            None => Err(total + frame.total()),
            Some(body) => {
                Ok(matches!(Named::decode(body), Some(Named::Portal(of)) if of == portal))
            }
        },
        _ => Ok(false),
    }
}

impl Relay {
    /// The client gives a statement this name.
    ///
    /// # Errors
    /// 53200, and its end, when more would be kept for it than for a client is.
    pub(super) fn give(&mut self, name: &[u8], statement: Rc<Statement>) -> Result<(), SqlError> {
        let given = Given::of(statement);
        self.names_size += given.size(name);
        self.names.insert(name.into(), given);
        if self.names_size <= 2 * MOST_KEPT {
            return Ok(());
        }
        let sizes = self.names.iter().map(|(name, given)| given.size(name));
        self.names_size = sizes.sum();
        if self.names_size <= MOST_KEPT {
            return Ok(());
        }
        let words = format!(
            "too many prepared statements: the pooler keeps {} MiB of them for a client",
            MOST_KEPT >> 20
        );
        Err(SqlError::fatal("53200", words)
            .hint("Close or DEALLOCATE those that are not needed any more."))
    }

    /// Sees to it that this server has a statement, and answers which one it is there and what the shape
    /// of its rows is to the client; else what it takes to know.
    #[inline]
    pub(super) fn ensure_shape(
        &mut self,
        mut entry: Rc<Statement>,
        given: Option<&Rc<Given>>,
        message: Message<'_>,
        portal: &[u8],
        io: &mut Io<'_>,
    ) -> Result<(Rc<Statement>, Fit), Want> {
        loop {
            let here = self.ensure(entry, io).ok_or(Want::Answers)?;
            match self.check_shape(&here, given, message, portal, io) {
                Checked::Fits(fit) => return Ok((here, fit)),
                Checked::Waits(needed) => return Err(Want::Bytes(needed)),
                Checked::Asked => return Err(Want::Answers),
                // It is prepared anew.
                Checked::Outdated => entry = here,
            }
        }
    }

    /// One whose shape the client is told anew with each portal needs no check.
    #[inline]
    fn check_shape(
        &mut self,
        entry: &Rc<Statement>,
        given: Option<&Rc<Given>>,
        message: Message<'_>,
        portal: &[u8],
        io: &mut Io<'_>,
    ) -> Checked {
        let told = given.and_then(|given| Some((given, given.told.get()?)));
        let (Some((given, told)), Some(known)) = (told, io.known.as_deref_mut()) else {
            return Checked::Fits(Fit::New);
        };
        let found = known.prepared.found(entry);
        if let Found::Shape(shape) = found
            && shape.is_none_or(|shape| shape.columns == told.columns)
        {
            return Checked::Fits(Fit::Same);
        }
        match is_described_next(message, portal) {
            Err(needed) => return Checked::Waits(needed),
            Ok(true) => return Checked::Fits(Fit::New),
            Ok(false) if self.owed.tells_shape_of(given) => return Checked::Fits(Fit::New),
            Ok(false) => {}
        }
        match found {
            Found::Nothing => self.ask_shape(entry, io),
            Found::Asked => Checked::Asked,
            Found::Shape(Some(shape)) if shape.said < told.said => {
                known.prepared.now(entry, Stands::Stale);
                Checked::Outdated
            }
            Found::Shape(_) => {
                if given.statement.is_of_now() {
                    // Who prepares the text from now on shares it with nobody who was told before.
                    statement::schema_changed();
                }
                Checked::Fits(Fit::Not)
            }
        }
    }

    fn ask_shape(&mut self, entry: &Rc<Statement>, io: &mut Io<'_>) -> Checked {
        self.may_be_asked_again(io);
        if let Some(known) = io.known.as_deref_mut() {
            known.prepared.finds(entry, Found::Asked);
        }
        build::message(io.to_server, b'D', |out| {
            out.push(b'S');
            build::cstr(out, entry.name());
        });
        self.owed.push(Owed::Shape(Rc::clone(entry)));
        self.unflushed = true;
        Checked::Asked
    }
}
