//! A server comes, goes, dies; the client goes.
//!
//! Owns what each of these means for either side. Getting servers and closing sockets is the
//! session's.

use std::rc::Rc;

use super::copy::CopyIn;
use super::owed::{Hidden, Owed};
use super::{Io, Label, Long, Order, Passing, Relay, Segment};
use crate::sql::Flags;
use crate::wire::{SqlError, TxStatus, build};

/// What is to be done with the server of a client that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Answers are due; call again when it is settled.
    Wait,
    /// It is clean: give it back.
    Clean,
    /// It cannot be cleaned: close it.
    Close,
}

/// What the end of its server means for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It was told, and lives on with another one.
    Lives,
    /// It counts on what only that server had: it ends with this error, as on a connection of its own.
    Ends(SqlError),
    /// It is in the middle of a message and cannot be told anything.
    Cut,
}

/// Why no server is to be had. One that refused the client's settings is as it was: give it back.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What the client is told.
    pub(crate) error: SqlError,
    /// The server refused for what an earlier client did there: close it, another one may take them.
    pub(crate) is_spoilt: bool,
}

impl Relay {
    /// A server is there. What makes it the client's own is sent first.
    pub(crate) fn attach(&mut self, io: &mut Io<'_>) {
        let Some(known) = io.known.as_deref_mut() else {
            return;
        };
        self.attached = true;
        self.unnamed_here = false;
        let stained = known.unsure.is_some_and(|number| number != self.number);
        if !stained && Label::same(&known.label, &self.label) {
            known.label = Rc::clone(&self.label);
            known.is_new = false;
            self.tell_params(io);
            self.send_begin(io);
            return;
        }
        let mut sql = Vec::new();
        match self.order {
            Order::Difference if stained => {
                sql.extend_from_slice(b"RESET ALL;");
                known.label.roles().difference(&self.label, &mut sql);
            }
            Order::Difference => known.label.difference(&self.label, &mut sql),
            Order::AsLogin => known.label.anew(&self.label, false, &mut sql),
            Order::AsRole => known.label.anew(&self.label, true, &mut sql),
        }
        self.hidden_query(Hidden::Label, &sql, io);
        self.barrier = true;
    }

    /// The `BEGIN` that was answered before goes ahead of what needs it.
    pub(super) fn send_begin(&mut self, io: &mut Io<'_>) {
        if let Some(begin) = self.begin.take() {
            self.hidden_query(Hidden::Begin, &begin, io);
        }
    }

    /// Has all of the session forgotten before the server is given back; false when that was done. The
    /// server is not the client's any more: nothing is taken for it.
    pub(crate) fn forget_all(&mut self, io: &mut Io<'_>) -> bool {
        if self.spent {
            return false;
        }
        self.hidden_query(Hidden::Discard, b"DISCARD ALL", io);
        self.spent = true;
        self.barrier = true;
        true
    }

    /// The server is gone: given back.
    pub(crate) fn detach(&mut self) {
        if self.reshaped {
            self.schema_settles();
        }
        self.reads_apart = false;
        self.attached = false;
        self.copy = CopyIn::default();
        self.rest_is_due = false;
        self.order = Order::Difference;
        if self.spent {
            (self.spent, self.barrier) = (false, false);
        }
        self.unnamed_here = false;
        self.takers.clear();
        self.unnamed_long = Long::No;
    }

    /// What was sent came to nothing, and the client has seen none of it: as if it had not been
    /// read. Whoever calls has the bytes still; the server is given back or closed.
    pub(crate) fn rewind(&mut self) {
        self.detach();
        let mut nowhere = (Vec::new(), Vec::new());
        let mut io = Io {
            known: None,
            to_server: &mut nowhere.0,
            to_client: &mut nowhere.1,
        };
        if let Some(again) = self.again.take() {
            self.owed.append(*again);
        }
        let lost = self.owed.take_all();
        self.undo_all(lost, &mut io);
        self.from_server = Passing::default();
        self.segment = Segment::Closed;
        self.skip = false;
        self.barrier = false;
        self.probe = None;
        self.hidden_error = None;
        self.tries = 0;
        self.pending.clear();
        self.kept = false;
    }

    /// Whether the client sent the beginning of a message that passes without being gathered.
    pub(crate) fn is_mid_message(&self) -> bool {
        self.from_client.left > 0
    }

    /// The prepared statement that the client calls `name`.
    pub(crate) fn statement(&self, name: &[u8]) -> Option<&Rc<super::Statement>> {
        self.names.get(name).map(|given| &given.statement)
    }

    /// Whether the server refused this client's settings, and why.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_deref()
    }

    /// The refusal, taken.
    pub(crate) fn take_refusal(&mut self) -> Option<Refusal> {
        self.barrier = false;
        self.refusal.take().map(|refusal| *refusal)
    }

    /// Whether the client has got half of a message.
    pub(crate) fn is_in_message(&self) -> bool {
        self.from_server.left > 0 && !self.from_server.dropped
    }

    /// No server is to be had: the request that waits for one is answered with this error.
    pub(crate) fn refuse(&mut self, error: SqlError) {
        self.refusal = Some(Box::new(Refusal {
            error,
            is_spoilt: false,
        }));
    }

    /// Whether the client counts on what only this server has, or on settings that nobody has
    /// asked for yet. A transaction takes the state it made with it, but for some kinds.
    pub(crate) fn is_tied(&self) -> bool {
        const OUTLIVES: Flags = Flags::UNASKABLE.with(Flags::ADVISORY).with(Flags::PREPARE);
        !self.pins.without(Flags::SEQUENCE_WRITE).is_empty()
            || self.probe.is_some()
            || self.kept && self.pending.is_due(self.pins)
            || self.told != TxStatus::Idle && self.pending.has(OUTLIVES)
    }

    /// The end of the session for who is tied to a server that ended with this error. Nothing is to
    /// be cleaned any more.
    fn ending(&mut self, error: &SqlError) -> SqlError {
        let reason = self.pin_reason();
        self.probe = None;
        self.pins = Flags::NONE;
        self.pending.clear();
        let mut error = SqlError {
            fatal: true,
            ..error.clone()
        };
        if !error.code.starts_with(b"57P") {
            error.code = *b"57P01";
        }
        error.detail = error.detail.or(reason);
        error
    }

    /// What a client hears last whose server ended with this error, if it cannot go on with another one.
    fn ends_with(&mut self, error: &SqlError) -> Option<SqlError> {
        if self.is_tied() {
            return Some(self.ending(error));
        }
        // Whoever asks for more amid the data of a COPY is answered by PostgreSQL with the end. And
        // whether a client waits for the answer to a `Sync` that counted as ignored, nobody knows.
        (self.copy.has_requests_amid() || self.copy.is_in_doubt()).then(|| SqlError {
            fatal: true,
            ..error.clone()
        })
    }

    /// The server died, or was closed, under the client (E5). Every request that was sent is
    /// answered with the error and the session lives, unless it has lost more than those.
    pub(crate) fn lost(&mut self, error: &SqlError, io: &mut Io<'_>) -> Lost {
        let ending = self.ends_with(error);
        self.detach();
        if self.from_server.left > 0 && !self.from_server.dropped {
            return Lost::Cut;
        }
        if let Some(error) = ending {
            return Lost::Ends(error);
        }
        self.from_server = Passing::default();
        // What is still to come of a message that was being sent goes nowhere.
        self.from_client.dropped = true;
        if let Some(again) = self.again.take() {
            self.owed.append(*again);
        }
        let error = SqlError {
            fatal: false,
            ..error.clone()
        };
        let was_open = self.told != TxStatus::Idle;
        let mut told = false;
        let mut open = self.segment == Segment::Server;
        if was_open && self.limbo.is_none() {
            self.fall_into_limbo(None);
        }
        let mut reported = self.skip;
        let lost = self.owed.take_all();
        for owed in &lost {
            match owed {
                Owed::Query(_) | Owed::Sync => {
                    if !reported {
                        error.encode(io.to_client);
                    }
                    reported = false;
                    told = true;
                    io.known = None;
                    self.local_ready(io);
                }
                Owed::CopyEnd => {}
                owed if owed.is_step() && owed.is_visible() => {
                    if !reported {
                        error.encode(io.to_client);
                    }
                    reported = true;
                    told = true;
                }
                _ => {}
            }
        }
        self.undo_all(lost, io);
        if open && self.skip {
            open = false;
        }
        if open && !reported {
            error.encode(io.to_client);
            (told, reported) = (true, true);
        }
        // A Sync amid the data of a COPY counts as ignored: the next one ends its segment.
        self.skip |= reported;
        self.segment = if self.segment == Segment::Server {
            Segment::Local
        } else {
            self.segment
        };
        self.barrier = false;
        self.probe = None;
        self.hidden_error = None;
        self.pending.clear();
        self.kept = false;
        self.pins = Flags::NONE;
        self.bodies = None;
        // A client that waits in a transaction learns of it with its next statement.
        if was_open && !told {
            self.fall_into_limbo(Some(error));
        }
        Lost::Lives
    }

    /// Ends the COPY of a client that left. The server has ignored every `Sync` until now (B7).
    pub(super) fn end_copy(&mut self, io: &mut Io<'_>) {
        if !self.copy.stop() {
            return;
        }
        build::copy_fail(io.to_server, "the client left");
        if matches!(self.owed.front(), Some(Owed::Execute)) {
            io.to_server.extend_from_slice(build::SYNC);
            self.owed.push(Owed::HiddenSync);
            self.segment = Segment::Closed;
        }
    }

    /// The client left, or its transaction is to end without it. Call until it says what to do
    /// with the server, which must be settled in between; what is for the client is thrown away.
    pub(crate) fn leave(&mut self, io: &mut Io<'_>) -> Leaving {
        self.leaving = true;
        if self.from_client.left > 0 && !self.from_client.dropped {
            return Leaving::Close;
        }
        self.again = None;
        self.end_copy(io);
        if self.segment == Segment::Server {
            io.to_server.extend_from_slice(build::SYNC);
            self.owed.push(Owed::HiddenSync);
            self.segment = Segment::Closed;
        }
        if !self.is_settled() {
            return Leaving::Wait;
        }
        if self.copy.is_in_doubt() {
            return Leaving::Close;
        }
        let Some(known) = io.known.as_deref_mut() else {
            return Leaving::Clean;
        };
        if known.status != TxStatus::Idle {
            self.hidden_query(Hidden::Rollback, b"ROLLBACK", io);
            return Leaving::Wait;
        }
        if !self.pins.is_empty() || self.pending.is_due(self.pins) {
            self.hidden_query(Hidden::Discard, b"DISCARD ALL", io);
            return Leaving::Wait;
        }
        Leaving::Clean
    }

    /// The transaction was ended by somebody else than the client, which stays (`leave` before).
    pub(crate) fn abandoned(&mut self, error: SqlError) {
        self.leaving = false;
        self.pins = Flags::NONE;
        self.pending.clear();
        self.skip = false;
        self.segment = Segment::Closed;
        self.detach();
        self.fall_into_limbo(Some(error));
    }
}
