//! A transaction that was lost while its client believes in it: the server died, or the request
//! it belonged to is over.
//!
//! Owns behaving like PostgreSQL in a failed transaction, without a server: every statement is
//! refused until the client ends it. Nothing may run outside of a transaction that its client
//! believes to be inside.

use super::local::plain_end;
use super::request::{Message, Step, violation};
use super::{Io, Relay, Segment};
use crate::sql::{self, Flags, Seen, Verb};
use crate::wire::{SqlError, TxStatus, build, message};

/// A lost transaction.
#[derive(Debug)]
pub(super) struct Limbo {
    /// Why; told once.
    error: Option<SqlError>,
    /// The client prepared the end of its transaction.
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
                ends.then(|| self.limbo_prepared(build::PARSE_COMPLETE))
            }
            b'B' => {
                let head = message::BindHead::decode(body).ok_or_else(bad)?;
                let known = self.names.get(head.statement);
                let ends = known.is_some_and(|known| self.is_end(known.text()));
                let ending = self.limbo.as_ref().is_some_and(|limbo| limbo.ending);
                (ends || ending).then(|| self.limbo_prepared(build::BIND_COMPLETE))
            }
            b'D' => match message::Named::decode(body).ok_or_else(bad)? {
                message::Named::Statement(_) => {
                    io.to_client.extend_from_slice(build::NO_PARAMETERS);
                    Some(build::NO_DATA)
                }
                message::Named::Portal(_) => Some(build::NO_DATA),
            },
            b'C' => Some(build::CLOSE_COMPLETE),
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

    fn limbo_prepared(&mut self, answer: &'static [u8]) -> &'static [u8] {
        if let Some(limbo) = &mut self.limbo {
            limbo.ending = true;
        }
        answer
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
