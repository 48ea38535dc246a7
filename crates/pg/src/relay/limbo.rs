//! A transaction that was lost while its client believes in it: the server died, or the request
//! it belonged to is over.
//!
//! Owns behaving like PostgreSQL in a failed transaction, without a server: every statement is
//! refused until the client ends it. Nothing may run outside of a transaction that its client
//! believes to be inside.

use super::local::plain_end;
use super::request::{Message, Step, violation};

use super::{Io, Long, Relay, Segment, statement};
use crate::sql::{self, Flags, Seen, Verb};
use crate::wire::frame::Frame;
use crate::wire::{SqlError, TxStatus, build, message};

/// A lost transaction.
#[derive(Debug)]
pub(super) struct Limbo {
    /// Why; told once.
    error: Option<SqlError>,
    /// The client bound the end of its transaction.
    ending: bool,
}

impl Relay {
    /// The transaction is lost. With an error, the client has not been told yet.
    pub(super) fn fall_into_limbo(&mut self, error: Option<SqlError>) {
        self.begin = None;
        self.limbo = Some(Box::new(Limbo {
            error,
            ending: false,
        }));
    }

    fn limbo_error(&mut self) -> SqlError {
        self.limbo.as_mut().and_then(|limbo| limbo.error.take()).unwrap_or_else(|| {
            SqlError::error(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            )
        })
    }

    /// Refuses a request that ends with `ReadyForQuery`.
    pub(super) fn limbo_refuses(&mut self, io: &mut Io<'_>) {
        self.limbo_error().encode(io.to_client);
        self.local_ready(io);
    }

    /// A simple query.
    pub(super) fn limbo_query(&mut self, text: &[u8], io: &mut Io<'_>) {
        if text.trim_ascii().is_empty() {
            io.to_client.extend_from_slice(build::EMPTY_QUERY);
            self.local_ready(io);
        } else if plain_end(text).is_some() || self.is_end(text) {
            self.leave_limbo(io);
            self.local_ready(io);
        } else if self.begins_with_end(text) {
            // What follows is another transaction's, and nothing of it has run.
            self.limbo = None;
            self.told = TxStatus::Idle;
            SqlError::error(
                "25P02",
                "the transaction is rolled back; the statements behind its end were not run",
            )
            .hint("send them again")
            .encode(io.to_client);
            self.local_ready(io);
        } else {
            self.limbo_refuses(io);
        }
    }

    /// Whether the text, in whatever words, is the end of a transaction and nothing else. One with
    /// AND CHAIN is not: what it would go on with is lost, too.
    fn is_end(&self, text: &[u8]) -> bool {
        let seen = sql::scan(text, self.params.is_conforming());
        seen.statements == 1 && is_end(&seen)
    }

    /// Whether the first of several statements is.
    fn begins_with_end(&self, text: &[u8]) -> bool {
        let seen = sql::scan(text, self.params.is_conforming());
        seen.statements > 1 && is_end(&seen)
    }

    /// A message of the extended protocol, whole.
    pub(super) fn limbo_step(
        &mut self,
        message: Message<'_>,
        io: &mut Io<'_>,
    ) -> Result<Step, SqlError> {
        self.segment = Segment::Local;
        let body = message.body();
        let bad = || violation("bad message of the extended protocol");
        let done: Option<&[u8]> = match message.frame.tag {
            b'P' => {
                let parse = message::Parse::decode(body).ok_or_else(bad)?;
                let ends = plain_end(parse.text).is_some() || self.is_end(parse.text);
                if parse.name.is_empty() {
                    // The one before is gone, whatever becomes of this one.
                    self.unnamed.clear();
                    self.unnamed_long = Long::No;
                }
                if ends && self.names.contains_key(parse.name) {
                    let name = String::from_utf8_lossy(parse.name);
                    let words = format!("prepared statement \"{name}\" already exists");
                    SqlError::error("42P05", words).encode(io.to_client);
                    self.skip = true;
                    return Ok(Step::Took(message.whole().len()));
                }
                ends.then(|| self.limbo_parse(message, &parse))
                    .transpose()?
            }
            b'B' => {
                let head = message::BindHead::decode(body).ok_or_else(bad)?;
                self.limbo_knows(head.statement).then(|| self.limbo_bound())
            }
            b'D' => match message::Named::decode(body).ok_or_else(bad)? {
                // What returns rows is refused, and nobody here knows their shape.
                message::Named::Statement(name) if self.limbo_knows(name) => {
                    io.to_client.extend_from_slice(build::NO_PARAMETERS);
                    Some(build::NO_DATA)
                }
                message::Named::Statement(_) => None,
                message::Named::Portal(_) => Some(build::NO_DATA),
            },
            b'C' => {
                match message::Named::decode(body).ok_or_else(bad)? {
                    message::Named::Statement(b"") => self.unnamed.clear(),
                    message::Named::Statement(name) => drop(self.names.remove(name)),
                    message::Named::Portal(_) => {}
                }
                Some(build::CLOSE_COMPLETE)
            }
            _ => None,
        };
        if let Some(done) = done {
            io.to_client.extend_from_slice(done);
        } else if message.frame.tag == b'E' && self.limbo.as_ref().is_some_and(|l| l.ending) {
            self.leave_limbo(io);
        } else {
            self.limbo_error().encode(io.to_client);
            self.skip = true;
        }
        Ok(Step::Took(message.whole().len()))
    }

    /// The end of the transaction is prepared: what is called so stays when the transaction is over.
    fn limbo_parse(
        &mut self,
        message: Message<'_>,
        parse: &message::Parse<'_>,
    ) -> Result<&'static [u8], SqlError> {
        if parse.name.is_empty() {
            self.unnamed.extend_from_slice(message.whole());
            self.unnamed_here = false;
            self.unnamed_touches = true;
        } else {
            let planning = self.planning_of(parse.text, &self.params);
            let conforming = self.params.is_conforming();
            let entry = statement::intern(parse.text, parse.types, planning, conforming);
            self.give(parse.name, entry)?;
        }
        Ok(build::PARSE_COMPLETE)
    }

    /// Whether this name stands for the end of a transaction.
    fn limbo_knows(&self, name: &[u8]) -> bool {
        if name.is_empty() {
            let parse = self.unnamed.get(Frame::HEADER..);
            let parse = parse.and_then(message::Parse::decode);
            return parse.is_some_and(|parse| self.is_end(parse.text));
        }
        let known = self.names.get(name);
        known.is_some_and(|known| self.is_end(known.statement.text()))
    }

    fn limbo_bound(&mut self) -> &'static [u8] {
        if let Some(limbo) = &mut self.limbo {
            limbo.ending = true;
        }
        build::BIND_COMPLETE
    }

    fn leave_limbo(&mut self, io: &mut Io<'_>) {
        self.limbo = None;
        self.told = TxStatus::Idle;
        // As PostgreSQL answers a COMMIT in a failed transaction (B11).
        build::command_complete(io.to_client, b"ROLLBACK");
    }
}

/// Whether the first statement ends a transaction.
fn is_end(seen: &Seen) -> bool {
    const OTHER: Flags = Flags::SAVEPOINT
        .with(Flags::TWO_PHASE)
        .with(Flags::CHAIN)
        .with(Flags::UNSURE);
    let ends = matches!(
        seen.verbs.first(),
        Some(Verb::Commit | Verb::End | Verb::Rollback | Verb::Abort)
    );
    ends && !seen.flags.any(OTHER)
}
