//! The shape of a result that a client was told once (`Describe`) and reads all rows by. A server that gets the statement later may give it another one: the schema was changed
//! meanwhile. PostgreSQL then refuses the plan (0A000), and so do we (C10).
//!
//! Owns remembering shapes and asking a server for its own before the first rows come from it.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::rc::Rc;

use super::known::Fit;
use super::owed::Owed;
use super::request::Message;
use super::wording::nobodys;
use super::{Io, Relay, Statement, statement};
use crate::wire::frame::Frame;
use crate::wire::message::{self, Named};
use crate::wire::{SqlError, build};

/// What becomes of a `Bind`.
pub(super) enum Checked {
    /// It goes on.
    Fits,
    /// It waits for the server's word.
    Asked,
    /// The rows would have another shape than the client was told.
    Misfits,
}

/// The name that a `Bind` is sent with which is to fail.
pub(super) fn misfit_name() -> Vec<u8> {
    nobodys(b"shape")
}

/// What the client is told in PostgreSQL's own words.
pub(super) fn misfit() -> SqlError {
    SqlError::error("0A000", "cached plan must not change result type")
}

/// Tells the shape in a `RowDescription` from others: names, types and their modifiers, in order.
fn shape_of(mut body: &[u8]) -> Option<u64> {
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
    Some(BuildHasherDefault::<DefaultHasher>::default().hash_one(columns))
}

/// Whether the next message asks for the shape of the portal.
#[inline]
fn is_described_next(message: Message<'_>) -> bool {
    let rest = message.rest.get(message.frame.total()..);
    let Some((rest, Ok(Some(frame)))) = rest.map(|rest| (rest, Frame::decode(rest))) else {
        return false;
    };
    let body = frame.body_of(rest).filter(|_| frame.tag == b'D');
    matches!(body.and_then(Named::decode), Some(Named::Portal(_)))
}

impl Relay {
    /// A client is told the shape of a statement.
    pub(super) fn shape_told(&self, statement: &Statement, body: &[u8]) {
        let (Some(shape), Some(pool)) = (shape_of(body), self.pool) else {
            return;
        };
        if statement
            .shape(self.pool)
            .is_some_and(|known| known != shape)
        {
            // Others were told another one: who prepares it from now on shares it with none of them.
            statement::schema_changed();
        }
        statement.has_shape(pool, shape);
    }

    /// A server that has got a statement from us says what shape it has there.
    pub(super) fn shape_found(&self, statement: &Statement, body: Option<&[u8]>, io: &mut Io<'_>) {
        let shape = body.and_then(shape_of);
        let fit = match (statement.shape(self.pool), shape) {
            (Some(told), Some(found)) if told != found => Fit::Differs,
            _ => Fit::Sure,
        };
        if let Some(known) = io.known.as_deref_mut() {
            known.prepared.fits(statement, fit);
        }
        if fit == Fit::Differs {
            statement::schema_changed();
        }
    }

    /// Whether rows of this statement have the shape on this server that clients were told. One that
    /// is told anew with each portal needs no check.
    #[inline]
    pub(super) fn check_shape(
        &mut self,
        entry: &Rc<Statement>,
        message: Message<'_>,
        io: &mut Io<'_>,
    ) -> Checked {
        if entry.shape(self.pool).is_none() || is_described_next(message) {
            return Checked::Fits;
        }
        self.check_told_shape(entry, io)
    }

    fn check_told_shape(&mut self, entry: &Rc<Statement>, io: &mut Io<'_>) -> Checked {
        let Some(known) = io.known.as_deref_mut() else {
            return Checked::Fits;
        };
        match known.prepared.fit(entry) {
            Fit::Sure => return Checked::Fits,
            Fit::Differs => return Checked::Misfits,
            Fit::Asked => return Checked::Asked,
            Fit::Unsure => {}
        }
        known.prepared.fits(entry, Fit::Asked);
        build::message(io.to_server, b'D', |out| {
            out.push(b'S');
            build::cstr(out, entry.name());
        });
        self.owed.push(Owed::Shape(Rc::clone(entry)));
        self.unflushed = true;
        Checked::Asked
    }
}
