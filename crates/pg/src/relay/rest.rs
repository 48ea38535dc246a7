//! What happens when a server owes nothing any more, before it is given back: start-up values
//! put back, state asked for, statements evicted.
//!
//! Owns the queries of ours and what their answers mean.

use std::rc::Rc;

use super::owed::{Hidden, Owed};
use super::pending::{Answer, Probe};
use super::takers::BACK;
use super::{Broken, Io, Label, Order, Refusal, Relay, Segment};
use crate::sql::Flags;
use crate::wire::{SqlError, TxStatus, build};

/// How often the server is asked what is left when it cancels the question.
const MOST_TRIES: u8 = 16;

impl Relay {
    /// Sends a query of ours.
    pub(super) fn hidden_query(&mut self, hidden: Hidden, sql: &[u8], io: &mut Io<'_>) {
        self.hidden_error = None;
        // As any simple query, it takes the server's unnamed statement away.
        self.unnamed_here = false;
        build::query(io.to_server, sql);
        self.owed.push(Owed::Hidden(hidden));
    }

    /// Nothing is owed any more.
    pub(super) fn rest(&mut self, status: TxStatus, io: &mut Io<'_>) {
        if self.spent {
            return;
        }
        self.barrier = false;
        self.owed.shrink();
        self.tell_params(io);
        if self.leaving {
            return;
        }
        if self.is_sending() {
            self.rest_is_due = true;
            return;
        }
        if self.copy.is_in_doubt() {
            return self.end_doubt(io);
        }
        if status == TxStatus::Failed {
            return;
        }
        if !self.pending.is_empty() && self.pending.resets(&self.start) {
            let mut roles = Vec::new();
            self.pending
                .restore_roles(&self.start, &self.user, &mut roles);
            let mut sql = self.pending.restore(&self.start);
            if !sql.is_empty() && !roles.is_empty() {
                sql.push(b';');
            }
            sql.append(&mut roles);
            if !sql.is_empty() {
                self.hidden_query(Hidden::Restore, &sql, io);
                self.restoring = sql;
                self.barrier = true;
                return;
            }
        }
        if status != TxStatus::Idle || self.segment != Segment::Closed {
            return;
        }
        self.reads_apart = false;
        if !self.pending.is_empty() {
            self.ask(io);
        }
        self.evict(io);
    }

    /// Whether the server has got half of a message of the client: nothing of ours has a place in it.
    fn is_sending(&self) -> bool {
        self.from_client.left > 0 && !self.from_client.dropped
    }

    /// All of that message is out.
    #[cold]
    pub(super) fn rest_now(&mut self, io: &mut Io<'_>) {
        self.rest_is_due = false;
        let status = io.known.as_deref().map(|known| known.status);
        match status {
            Some(_) if self.copy.is_in_doubt() => self.end_doubt(io),
            Some(status) if self.owed.is_empty() => self.rest(status, io),
            _ => {}
        }
    }

    /// A `Sync` that counted as ignored may yet be answered. This is told from that: what comes before
    /// its answer is the client's.
    #[cold]
    pub(super) fn end_doubt(&mut self, io: &mut Io<'_>) {
        if self.is_sending() {
            self.rest_is_due = true;
            return;
        }
        build::close_statement(io.to_server, BACK);
        io.to_server.extend_from_slice(build::SYNC);
        self.owed.push_front(Owed::HiddenSync);
        self.owed.push_front(Owed::Ours);
    }

    /// Asks what is left of what the client may have touched.
    #[cold]
    fn ask(&mut self, io: &mut Io<'_>) {
        self.kept = false;
        self.pins = self.pins.with(self.pending.unaskable());
        let is_utf8 = self.params.is_utf8();
        if self.pending.has(Flags::DISCARD_SEQUENCES) {
            self.pins = self.pins.without(Flags::SEQUENCE_WRITE);
        }
        if self.pending.is_unsure()
            && let Some(known) = io.known.as_deref_mut()
        {
            known.unsure = Some(self.number);
        }
        if self.pending.is_due(self.pins) {
            let label = Rc::clone(&self.label);
            let custom = label
                .iter()
                .map(|(name, _)| name)
                .filter(|name| name.contains('.'));
            let (sql, asked) = self.pending.question(self.pins, custom, is_utf8);
            if !sql.is_empty() {
                self.hidden_query(Hidden::Probe, &sql, io);
                self.probe = Some(Box::new(Probe {
                    sql,
                    asked,
                    answer: Answer::new(is_utf8),
                    tries: 1,
                }));
            }
        }
        self.pending.clear();
    }

    /// Closes the statements that are too many for this server (C7).
    fn evict(&mut self, io: &mut Io<'_>) {
        let Some(known) = io.known.as_deref_mut() else {
            return;
        };
        let gone = known.prepared.evict();
        let any = !gone.is_empty();
        for statement in gone {
            build::close_statement(io.to_server, statement.name());
            self.owed.push(Owed::Close(Some(statement)));
        }
        if any {
            io.to_server.extend_from_slice(build::SYNC);
            self.owed.push(Owed::HiddenSync);
        }
    }

    /// A query of ours is through.
    pub(super) fn hidden_done(
        &mut self,
        hidden: Hidden,
        status: TxStatus,
        io: &mut Io<'_>,
    ) -> Result<(), Broken> {
        let error = self.hidden_error.take();
        match (hidden, error) {
            // What followed a BEGIN may have run outside of a transaction.
            (
                Hidden::Begin | Hidden::Rollback | Hidden::Discard | Hidden::Again | Hidden::Forget,
                Some(error),
            ) => {
                return Err(Broken(*error));
            }
            (Hidden::Again, None) => self.send_again(io),
            (Hidden::Forget, None) => self.pins = self.pins.without(Flags::SEQUENCE_WRITE),
            (Hidden::Begin, None) if status != TxStatus::Open => {
                return Err(Broken(SqlError::error(
                    "08P01",
                    "BEGIN began no transaction",
                )));
            }
            // A restoration in a transaction fails with everything else of it.
            (Hidden::Begin | Hidden::Rollback, None) => {}
            (Hidden::Restore, error) => self.restored(error, status, io),
            (Hidden::Label, Some(error)) => self.label_refused(*error, io),
            (Hidden::Label, None) => {
                self.tries = 0;
                if let Some(known) = io.known.as_deref_mut() {
                    known.label = Rc::clone(&self.label);
                    known.is_new = false;
                    known.unsure = known.unsure.filter(|number| *number == self.number);
                }
                self.barrier = false;
                self.send_begin(io);
            }
            (Hidden::Probe, error) => self.probed(error.as_deref(), io),
            (Hidden::Discard, None) => {
                if let Some(known) = io.known.as_deref_mut() {
                    known.prepared.clear();
                    known.label = Label::empty();
                    known.soiled = false;
                    known.unsure = None;
                }
                self.pins = Flags::NONE;
                self.bodies = None;
                self.pending.clear();
            }
        }
        Ok(())
    }

    /// Start-up values are back, or not: a short `statement_timeout` is over our queries, too. One
    /// that failed in a transaction failed with everything else of it.
    fn restored(&mut self, error: Option<Box<SqlError>>, status: TxStatus, io: &mut Io<'_>) {
        let cancelled = error.is_some_and(|error| error.code == *b"57014");
        if cancelled && status == TxStatus::Idle && self.tries < MOST_TRIES {
            self.tries += 1;
            let sql = std::mem::take(&mut self.restoring);
            self.hidden_query(Hidden::Restore, &sql, io);
            self.restoring = sql;
            self.barrier = true;
            return;
        }
        self.tries = 0;
        self.restoring = Vec::new();
    }

    /// A server would not take this client's settings. Those of who had it before may be the reason:
    /// a short `statement_timeout` is over the way out of it, too.
    fn label_refused(&mut self, error: SqlError, io: &mut Io<'_>) {
        let timed = |label: &Label| label.get("statement_timeout").is_some();
        let known = io.known.as_deref();
        let may_be_time = known.is_some_and(|known| timed(&known.label)) || timed(&self.label);
        if error.code == *b"57014" && may_be_time && self.tries < MOST_TRIES {
            self.tries += 1;
            return self.attach(io);
        }
        self.tries = 0;
        // Some settings are for superusers: the login role, the client's, or that of who was there.
        let order = match self.order {
            Order::Difference => Order::AsLogin,
            Order::AsLogin | Order::AsRole => Order::AsRole,
        };
        if error.code == *b"42501" && order != self.order {
            self.order = order;
            return self.attach(io);
        }
        // It is fixed once temporary tables were used, whoever did; the server says so in a DETAIL.
        let is_fixed = error.code == *b"22023" && error.detail.is_some();
        let is_new = io.known.as_deref().is_some_and(|known| known.is_new);
        self.refusal = Some(Box::new(Refusal {
            error,
            is_spoilt: is_fixed && !is_new && self.label.get("temp_buffers").is_some(),
        }));
    }

    /// The server told what is left.
    fn probed(&mut self, error: Option<&SqlError>, io: &mut Io<'_>) {
        let Some(mut probe) = self.probe.take() else {
            return;
        };
        // A `statement_timeout` of the client is over our queries, too: a short one is missed at
        // times, and cannot be put aside without changing what is asked for.
        let again = probe.tries < MOST_TRIES && !self.is_sending();
        if again && error.is_some_and(|error| error.code == *b"57014") {
            probe.tries += 1;
            probe.answer.forget();
            self.hidden_query(Hidden::Probe, &probe.sql, io);
            self.probe = Some(probe);
            return;
        }
        let Probe { asked, answer, .. } = *probe;
        if error.is_some() {
            // Nobody knows: stay until the end, when all is discarded.
            self.pins = self.pins.with(Flags::HIDDEN);
            return;
        }
        self.pins = self.pins.without(asked.kinds).with(answer.pins);
        self.settle_bodies();
        let label = answer.label(&self.label, asked.all, &self.user);
        if label != *self.label {
            self.label = if label.is_empty() {
                Label::empty()
            } else {
                Rc::new(label)
            };
        }
        if let Some(known) = io.known.as_deref_mut() {
            known.label = Rc::clone(&self.label);
        }
    }

    /// Tells the client which reported parameters are other than it knows (D1, A7).
    pub(super) fn tell_params(&mut self, io: &mut Io<'_>) {
        let Some(known) = io.known.as_deref_mut() else {
            return;
        };
        if Rc::ptr_eq(&known.params, &self.params) {
            return;
        }
        if known.params == self.params {
            known.params = Rc::clone(&self.params);
            return;
        }
        for (name, value) in known.params.tellable() {
            if self.params.get(name) != Some(value) {
                build::parameter_status(io.to_client, name, value);
            }
        }
        self.params = Rc::clone(&known.params);
    }
}
