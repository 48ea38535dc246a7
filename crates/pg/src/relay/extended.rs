//! The extended protocol: prepared statements under names of ours, shared by all clients (C1 to
//! C12), in the order the client sent them (B2, B3).
//!
//! Owns `Parse`, `Describe`, `Execute` and `Close`; `Bind` is in `super::bind`. What their answers mean
//! is in `super::answer`.

use std::rc::Rc;

use super::again::Replay;
use super::known::Stands;
use super::local::{NOBODYS_TEXT, is_nobodys, plain_end};
use super::owed::{Described, Owed, Parsed};
use super::pending::is_noted;
use super::request::{Message, Step, violation};
use super::statement::{self, Planning, Statement};
use super::wording::{OURS, nobodys};
use super::{GATHER, GATHER_BIND, GATHER_PARSE, Io, Long, Relay, Segment, Want, planning};
use crate::sql::{self, Flags};
use crate::wire::message::{BindHead, Named, Parse};
use crate::wire::{SqlError, TxStatus, build};

/// Sends a `Describe` on with another name of its statement.
fn describe_statement(message: Message<'_>, name: &[u8], io: &mut Io<'_>) -> Step {
    build::message(io.to_server, b'D', |out| {
        out.push(b'S');
        build::cstr(out, name);
    });
    Step::Took(message.whole().len())
}

/// Answers must come before it is known what a name stands for.
pub(super) struct InDoubt;

/// Whether the message has to do with a statement that has a name.
#[cold]
fn uses_name(message: Message<'_>) -> bool {
    let body = message.body();
    let name = match message.frame.tag {
        b'P' => Parse::decode(body).map(|parse| parse.name),
        b'B' => {
            BindHead::decode(message.rest.get(5..).unwrap_or_default()).map(|head| head.statement)
        }
        b'D' | b'C' => match Named::decode(body) {
            Some(Named::Statement(name)) => Some(name),
            _ => None,
        },
        _ => None,
    };
    name.is_some_and(|name| !name.is_empty())
}

pub(super) fn bad() -> SqlError {
    violation("bad message of the extended protocol")
}

impl Relay {
    pub(super) fn extended(
        &mut self,
        message: Message<'_>,
        io: &mut Io<'_>,
    ) -> Result<Step, SqlError> {
        let total = message.frame.total();
        let needed = match message.frame.tag {
            b'P' if total > GATHER_PARSE => return Ok(self.long_parse(message, io)),
            // A short one is gathered, so that it can be sent again (C10).
            b'B' if total <= GATHER_BIND => total,
            // Only the two names at its start.
            b'B' if BindHead::decode(message.rest.get(5..).unwrap_or_default()).is_some() => 0,
            b'B' if message.rest.len() > GATHER => return Err(bad()),
            b'B' => total.min(message.rest.len() * 2),
            b'P' => total,
            _ if total > GATHER => return Err(bad()),
            _ => total,
        };
        if message.rest.len() < needed {
            return Ok(Step::Stop(Want::Bytes(needed)));
        }
        if self.limbo.is_some() {
            if message.is_whole() {
                return self.limbo_step(message, io);
            }
            if total <= GATHER {
                return Ok(Step::Stop(Want::Bytes(total)));
            }
            self.limbo_refuses_step(io);
            return Ok(self.drop_message(message));
        }
        if !self.attached {
            return self.extended_without_server(message, io);
        }
        if self.segment != Segment::Server {
            self.begins = true;
            self.segment = Segment::Server;
            self.segments += 1;
            self.replay = Replay::Off;
        }
        // What names there are is known when what takes them all away was carried out (C8).
        if self.pending.discards() && !self.owed.is_empty() && uses_name(message) {
            return Ok(Step::Stop(Want::Answers));
        }
        match message.frame.tag {
            b'P' => self.parse(message, io),
            b'B' => self.bind(message, io),
            b'D' => self.describe(message, io),
            b'C' => self.close(message, io),
            _ if !self.takers.is_empty() => Ok(self.execute_taker(message, io)),
            _ => {
                self.owed.push(Owed::Execute);
                Ok(self.forward(message, io))
            }
        }
    }

    pub(super) fn limbo_refuses_step(&mut self, io: &mut Io<'_>) {
        SqlError::error("25P02", "current transaction is aborted").encode(io.to_client);
        self.segment = Segment::Local;
        self.skip = true;
    }

    /// Without a server: what needs none is to forget a name, and to give one to what is known.
    fn extended_without_server(
        &mut self,
        message: Message<'_>,
        io: &mut Io<'_>,
    ) -> Result<Step, SqlError> {
        if message.frame.tag == b'P' && self.answer_parse(message, io)? {
            return Ok(Step::Took(message.whole().len()));
        }
        if message.frame.tag != b'C' {
            return Ok(self.without_server(message, io));
        }
        match Named::decode(message.body()).ok_or_else(bad)? {
            Named::Statement(b"") => self.unnamed.clear(),
            Named::Statement(name) => drop(self.names.remove(name)),
            Named::Portal(_) => {}
        }
        io.to_client.extend_from_slice(build::CLOSE_COMPLETE);
        self.segment = Segment::Local;
        Ok(Step::Took(message.whole().len()))
    }

    /// An answer of ours, when it is its turn.
    fn answer(&mut self, bytes: &'static [u8], io: &mut Io<'_>) {
        if self.owed.is_empty() {
            io.to_client.extend_from_slice(bytes);
        } else {
            self.owed.push(Owed::Local(bytes));
        }
    }

    fn parse(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Result<Step, SqlError> {
        let mut parse = Parse::decode(message.body()).ok_or_else(bad)?;
        let Some(known) = io.known.as_deref_mut() else {
            return Ok(Step::Stop(Want::Server));
        };
        let conforming = known.params.is_conforming();
        if parse.name.is_empty() {
            return Ok(self.parse_unnamed(message, parse, conforming, io));
        }
        let is_too_much = self.keeps_too_much_beside(parse.text);
        let (false, Ok(taken)) = (is_too_much, self.named(parse.name)) else {
            return Ok(Step::Stop(Want::Answers));
        };
        // What the client has set is known when the server told.
        if taken.is_none() && self.probe.is_some() {
            return Ok(Step::Stop(Want::Answers));
        }
        self.counts.client_parses = self.counts.client_parses.wrapping_add(1);
        let duplicate = taken.is_some();
        let planning = self.planning_of(parse.text, &known.params);
        let entry = taken.unwrap_or_else(|| {
            let entry = statement::intern(parse.text, parse.types, planning, conforming);
            if !is_nobodys(entry.seen()) {
                return entry;
            }
            (parse.text, parse.types) = (NOBODYS_TEXT, b"\0\0");
            statement::intern(parse.text, parse.types, planning, conforming)
        });
        match known.prepared.touch(&entry) {
            Stands::Sent(segment) | Stands::Going(segment) if segment != self.segments => {
                return Ok(Step::Stop(Want::Answers));
            }
            // Whether it may be answered here depends on what earlier requests came to.
            Stands::Ready | Stands::Sent(_) if !duplicate && self.owed.has_cycle() => {
                return Ok(Step::Stop(Want::Answers));
            }
            // In a failed transaction the server refuses it, unless this segment has ended that by
            // now: it decides.
            Stands::Ready
                if !duplicate
                    && known.status == TxStatus::Failed
                    && plain_end(parse.text).is_none() =>
            {
                self.close_stale(&entry, io);
            }
            Stands::Ready | Stands::Sent(_) if !duplicate => {
                self.give(parse.name, entry)?;
                self.owed.push(Owed::Named(parse.name.into()));
                self.names_owed += 1;
                self.settle(io);
                return Ok(Step::Took(message.whole().len()));
            }
            Stands::Stale | Stands::Going(_) => {
                self.close_stale(&entry, io);
                if duplicate {
                    self.prepare(&entry, io);
                }
            }
            Stands::Absent if duplicate => self.prepare(&entry, io),
            Stands::Ready | Stands::Sent(_) | Stands::Absent => {}
        }
        // For a name that is taken this is the second Parse of one name on the server too, which
        // refuses it where the client expects it, unless the text is wrong as well (C5).
        if !duplicate {
            // First, as it may refuse: nothing is sent then.
            self.give(parse.name, Rc::clone(&entry))?;
            if let Some(known) = io.known.as_deref_mut() {
                known.prepared.sent(&entry, self.segments);
            }
        }
        self.counts.server_parses = self.counts.server_parses.wrapping_add(1);
        statement::push_parse(entry.name(), parse.text, parse.types, io.to_server);
        let name = Some(parse.name.into());
        self.owed.push(Owed::Parse(Box::new(Parsed {
            statement: entry,
            name,
            refused: duplicate,
        })));
        Ok(Step::Took(message.whole().len()))
    }

    fn parse_unnamed(
        &mut self,
        message: Message<'_>,
        parse: Parse<'_>,
        conforming: bool,
        io: &mut Io<'_>,
    ) -> Step {
        if self.keeps_too_much() {
            return Step::Stop(Want::Answers);
        }
        if let Some(step) = self.parse_shared(message, parse, conforming, io) {
            return step;
        }
        let seen = sql::scan(parse.text, conforming);
        // It is noted when it is bound: nothing runs before, and it may run more than once.
        self.unnamed_touches = is_noted(&seen) || planning::may_read_otherwise(&seen);
        self.replace_unnamed();
        if is_nobodys(&seen) {
            statement::push_parse(b"", NOBODYS_TEXT, b"\0\0", &mut self.unnamed);
            io.to_server.extend_from_slice(&self.unnamed);
            return Step::Took(message.whole().len());
        }
        self.unnamed.extend_from_slice(message.whole());
        self.forward(message, io)
    }

    /// What the client calls so; an error while an earlier segment decides.
    #[inline]
    pub(super) fn named(&self, name: &[u8]) -> Result<Option<Rc<Statement>>, InDoubt> {
        let given = self.names.get(name);
        let entry = given.map(|given| Rc::clone(&given.statement));
        if (entry.is_none() || self.names_owed > 0) && self.owed.doubts(name) {
            return Err(InDoubt);
        }
        Ok(entry)
    }

    /// An unnamed `Parse` is sent.
    pub(super) fn replace_unnamed(&mut self) {
        self.forget_unnamed();
        self.unnamed_here = true;
        self.unnamed_segment = self.segments;
        self.unnamed_owed += 1;
        self.owed.push(Owed::ParseUnnamed { hidden: false });
    }

    /// Whether the unnamed statement is of an earlier segment that may yet fail.
    fn doubts_unnamed(&self) -> bool {
        self.unnamed_owed > 0 && self.unnamed_segment != self.segments
    }

    /// What is sent next takes the unnamed statement away, unless it is skipped.
    pub(super) fn forget_unnamed(&mut self) {
        let is_in_doubt = self.doubts_unnamed() || self.doubts_shared();
        if !self.unnamed.is_empty() && self.owed.may_skip() && !is_in_doubt {
            let before = std::mem::take(&mut self.unnamed);
            self.owed.push(Owed::Replaced(before.into()));
        }
        self.unnamed.clear();
        self.shared = None;
        self.unnamed_long = Long::No;
    }

    /// Puts a `Parse` in, whose answer nobody sees.
    pub(super) fn prepare(&mut self, entry: &Rc<Statement>, io: &mut Io<'_>) {
        if let Some(known) = io.known.as_deref_mut() {
            known.prepared.sent(entry, self.segments);
        }
        self.counts.server_parses = self.counts.server_parses.wrapping_add(1);
        entry.push_parse(io.to_server);
        let statement = Rc::clone(entry);
        self.owed.push(Owed::Parse(Box::new(Parsed {
            statement,
            name: None,
            refused: false,
        })));
    }

    pub(super) fn close_stale(&mut self, entry: &Rc<Statement>, io: &mut Io<'_>) {
        build::close_statement(io.to_server, entry.name());
        self.owed.push(Owed::Close(Some(Rc::clone(entry))));
    }

    /// Sees to it that this server has a statement, and answers which one it is there; `None` when
    /// answers must come first.
    pub(super) fn ensure(
        &mut self,
        entry: Rc<Statement>,
        io: &mut Io<'_>,
    ) -> Option<Rc<Statement>> {
        let known = io.known.as_deref_mut()?;
        match known.prepared.touch(&entry) {
            // In an earlier segment it may yet be skipped (C4).
            Stands::Sent(segment) | Stands::Going(segment) if segment != self.segments => {
                return None;
            }
            Stands::Ready | Stands::Sent(_) => return Some(entry),
            Stands::Stale | Stands::Going(_) => self.close_stale(&entry, io),
            Stands::Absent => {}
        }
        // What the client has set is known when the server told.
        if self.probe.is_some() {
            return None;
        }
        let entry = match self.reread(&entry, io) {
            None => entry,
            Some(anew) => {
                if let Some(known) = io.known.as_deref_mut() {
                    known.prepared.remove(&entry);
                    match known.prepared.touch(&anew) {
                        Stands::Sent(segment) | Stands::Going(segment)
                            if segment != self.segments =>
                        {
                            return None;
                        }
                        Stands::Ready | Stands::Sent(_) => return Some(anew),
                        Stands::Stale | Stands::Going(_) => self.close_stale(&anew, io),
                        Stands::Absent => {}
                    }
                }
                anew
            }
        };
        self.prepare(&entry, io);
        Some(entry)
    }

    /// What is prepared now is read with the settings of now, and others may share it only if theirs
    /// are the same: the statement to prepare instead, if they are not what they were.
    fn reread(&self, entry: &Statement, io: &Io<'_>) -> Option<Rc<Statement>> {
        let params = &io.known.as_deref()?.params;
        if sql::tells_time(entry.text()) {
            return None;
        }
        let settings = self.read_with(params);
        (settings != entry.settings()).then(|| {
            let planning = Planning {
                schemas: statement::schemas(),
                settings,
            };
            let conforming = params.is_conforming();
            statement::intern(entry.text(), entry.types(), planning, conforming)
        })
    }

    fn describe(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Result<Step, SqlError> {
        let name = match Named::decode(message.body()).ok_or_else(bad)? {
            Named::Portal(portal) => {
                let untold = self
                    .untold
                    .take()
                    .filter(|untold| *untold.portal == *portal);
                let described = untold.zip(self.owed.just_bound().map(Rc::clone));
                let described = described.map(|(untold, statement)| {
                    let given = untold.given;
                    Box::new(Described { statement, given })
                });
                self.owed.push(Owed::DescribePortal(described));
                return Ok(self.forward(message, io));
            }
            Named::Statement(b"") => {
                if self.doubts_shared() {
                    return Ok(Step::Stop(Want::Answers));
                }
                let name = self.ensure_unnamed(io);
                self.owed.push(Owed::DescribeStatement(None));
                return Ok(describe_statement(message, name, io));
            }
            Named::Statement(name) => name,
        };
        let Ok(entry) = self.named(name) else {
            return Ok(Step::Stop(Want::Answers));
        };
        let entry = match entry {
            None => None,
            Some(entry) => match self.ensure(entry, io) {
                None => return Ok(Step::Stop(Want::Answers)),
                here => here,
            },
        };
        let given = self.names.get(name).map(Rc::clone);
        let described = entry.clone().zip(given);
        let described =
            described.map(|(statement, given)| Box::new(Described { statement, given }));
        self.owed.push(Owed::DescribeStatement(described));
        match &entry {
            Some(entry) => Ok(describe_statement(message, entry.name(), io)),
            None if name.starts_with(OURS) => Ok(describe_statement(message, &nobodys(name), io)),
            None => Ok(self.forward(message, io)),
        }
    }

    fn close(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Result<Step, SqlError> {
        let name = match Named::decode(message.body()).ok_or_else(bad)? {
            Named::Portal(_) => {
                if self.pins.any(Flags::HOLD) {
                    self.pending.add_release(Flags::CLOSE);
                }
                self.owed.push(Owed::Close(None));
                return Ok(self.forward(message, io));
            }
            Named::Statement(b"") => {
                if self.doubts_unnamed() || self.doubts_shared() || self.keeps_too_much() {
                    return Ok(Step::Stop(Want::Answers));
                }
                self.forget_unnamed();
                self.owed.push(Owed::Close(None));
                return Ok(self.forward(message, io));
            }
            Named::Statement(name) => name,
        };
        if self.owed.doubts(name) {
            return Ok(Step::Stop(Want::Answers));
        }
        let used = message.whole().len();
        if let Some((name, entry)) = self.names.remove_entry(name) {
            if self.owed.is_empty() {
                self.answer(build::CLOSE_COMPLETE, io);
            } else {
                self.owed.push(Owed::Closed(Box::new((name, entry))));
            }
        } else if !name.starts_with(OURS) && self.may_have_prepared() {
            // It may be one of SQL's PREPARE.
            self.pending.add_release(Flags::DEALLOCATE);
            self.owed.push(Owed::Close(None));
            return Ok(self.forward(message, io));
        } else {
            self.answer(build::CLOSE_COMPLETE, io);
        }
        Ok(Step::Took(used))
    }
}
