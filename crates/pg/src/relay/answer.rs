//! Bytes of the server: which message is for the client, which was asked for by us.
//!
//! Owns matching answers with what is owed, and what errors undo. What follows when nothing is
//! owed any more is in `super::rest`.

use std::rc::Rc;

use super::again::Replay;
use super::known::{Found, Stands};
use super::owed::{Hidden, Owed};
use super::shape::Shape;
use super::{Broken, GATHER_ERROR, Io, Passing, Relay, Segment, TOUCHED, shape, statement};
use crate::sql::Flags;
use crate::wire::frame::Frame;
use crate::wire::{Diagnostic, SqlError, TxStatus, build, message};

/// Longest `ParameterStatus`, `ReadyForQuery` and the like.
const GATHER_SMALL: usize = 64 << 10;
/// Longest `RowDescription` of a statement with a name: PostgreSQL has at most 1664 columns in a result,
/// with names of 63 bytes that may grow fourfold in the client's encoding, and 19 bytes for each.
const GATHER_SHAPE: usize = 512 << 10;

fn broken(what: &str) -> Broken {
    Broken(SqlError::error(
        "08P01",
        format!("the database server broke the protocol: {what}"),
    ))
}

/// Passes an error on, or what stands for it.
fn pass_error(own: Option<Vec<u8>>, io: &mut Io<'_>) -> Way {
    let Some(own) = own else {
        return Way::Pass { ends: false };
    };
    io.to_client.extend_from_slice(&own);
    Way::Drop { ends: false }
}

/// Where a message of the server goes.
enum Way {
    /// To the client; with it, the answer to the oldest request may end.
    Pass { ends: bool },
    /// To nobody.
    Drop { ends: bool },
    /// It was dealt with.
    Done,
    /// More bytes are needed.
    Wait,
}

impl Relay {
    /// Takes bytes of the server; so many of them were taken. After an error the server is of no
    /// use any more.
    pub(crate) fn server_sent(&mut self, input: &[u8], io: &mut Io<'_>) -> Result<usize, Broken> {
        let mut used = 0;
        // Messages for the client that follow each other go in one piece.
        let mut run = 0..0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            if self.from_server.left > 0 {
                let part = self.from_server.left.min(rest.len());
                if !self.from_server.dropped {
                    extend(&mut run, used, part, input, io);
                }
                used += part;
                self.from_server.left -= part;
                if self.from_server.left > 0 {
                    break;
                }
                if self.from_server.ends {
                    flush(&mut run, input, io);
                    self.owed.pop();
                    self.settle(io);
                }
                continue;
            }
            let Some(frame) = Frame::decode(rest).map_err(|_| broken("invalid message length"))?
            else {
                break;
            };
            let way = match frame.tag {
                // Most of all bytes: rows for the client.
                b'D' | b'd'
                    if matches!(self.owed.front(), Some(Owed::Query(None) | Owed::Execute)) =>
                {
                    Way::Pass { ends: false }
                }
                _ => {
                    flush(&mut run, input, io);
                    self.server_message(frame, rest, io)?
                }
            };
            let (dropped, ends) = match way {
                Way::Pass { ends } => (false, ends),
                Way::Drop { ends } => (true, ends),
                Way::Done => {
                    used += frame.total();
                    continue;
                }
                Way::Wait => break,
            };
            self.from_server = Passing {
                left: frame.total(),
                dropped,
                ends,
            };
        }
        flush(&mut run, input, io);
        Ok(used)
    }

    fn server_message(
        &mut self,
        frame: Frame,
        rest: &[u8],
        io: &mut Io<'_>,
    ) -> Result<Way, Broken> {
        let body = frame.body_of(rest);
        let small = |body: Option<&[u8]>| match body {
            _ if frame.total() > GATHER_SMALL => Err(broken("a message is too long")),
            body => Ok(body.is_some()),
        };
        match frame.tag {
            b'N' if self.owed.front().is_some_and(|owed| !owed.is_visible()) => {
                Ok(Way::Drop { ends: false })
            }
            b'A' | b'N' => Ok(Way::Pass { ends: false }),
            b'S' if small(body)? => self.parameter_status(body.unwrap_or_default(), io),
            b'Z' if small(body)? => self.ready(body.unwrap_or_default(), io),
            b'E' if body.is_some() => self.error(body.unwrap_or_default(), io),
            b'E' if frame.total() > GATHER_ERROR => Err(broken("an error is too long")),
            b'S' | b'Z' | b'E' => Ok(Way::Wait),
            _ => self.part_of_answer(frame, body, io),
        }
    }

    /// A message that belongs to the answer to the oldest request.
    fn part_of_answer(
        &mut self,
        frame: Frame,
        body: Option<&[u8]>,
        io: &mut Io<'_>,
    ) -> Result<Way, Broken> {
        let tag = frame.tag;
        self.step_is_answered(io);
        let Some(front) = self.owed.front() else {
            return Err(broken("an answer to nothing"));
        };
        let Some(ends) = front.ends_with(tag) else {
            return Err(broken("an answer to something else"));
        };
        // What may say which statements there are is read as a whole, and counted once.
        let discards = tag == b'C'
            && self
                .pending
                .has(Flags::DISCARD_ALL.with(Flags::DEALLOCATE_ALL));
        if discards && body.is_none() {
            return Ok(Way::Wait);
        }
        // A longer one is not looked at.
        let is_shape = tag == b'T' && front.is_of_shape() && frame.total() <= GATHER_SHAPE;
        if is_shape && body.is_none() {
            return Ok(Way::Wait);
        }
        if tag == b'C' {
            // A COPY that was done has read all that went ahead of its end.
            self.copy.command_done();
        }
        let visible = front.is_visible();
        if ends && tag != b'Z' && matches!(front, Owed::Execute | Owed::Deallocate(_)) {
            self.ended = self.ended.wrapping_add(1);
        }
        if let Some(Owed::Query(Some(inserted))) = self.owed.front_mut()
            && inserted.hides(tag)
        {
            return Ok(Way::Drop { ends });
        }
        let Some(front) = self.owed.front() else {
            return Err(broken("an answer to nothing"));
        };
        match tag {
            b'T' | b'n' => self.described(body.filter(|_| is_shape), io),
            b'1' => self.parsed(io),
            // The client has the answer to its first step.
            b'2' => self.replay = Replay::Off,
            b'G' => self.copy_in_begins(io),
            b'C' if matches!(front, Owed::Query(_)) && self.copy.take_end() => {
                self.owed.drop_copy_end();
            }
            b'C' if discards => {
                let tag = body.and_then(message::command_tag);
                self.discarded(tag.unwrap_or_default(), io);
            }
            b'D' if matches!(front, Owed::Hidden(Hidden::Probe)) => {
                let Some(body) = body else {
                    return Ok(Way::Wait);
                };
                if let Some(probe) = &mut self.probe
                    && !probe.answer.add(body)
                {
                    return Err(broken("a probe's answer makes no sense"));
                }
            }
            _ => {}
        }
        Ok(if visible {
            Way::Pass { ends }
        } else {
            Way::Drop { ends }
        })
    }

    /// The shape of a statement's result is told, or asked for by us.
    fn described(&mut self, body: Option<&[u8]>, io: &mut Io<'_>) {
        let shape = body.and_then(Shape::of);
        let (statement, given) = match self.owed.front() {
            Some(Owed::DescribeStatement(Some(described))) => {
                (&described.statement, Some((&described.given, false)))
            }
            Some(Owed::DescribePortal(Some(described))) => {
                (&described.statement, Some((&described.given, true)))
            }
            Some(Owed::Shape(statement)) => (statement, None),
            _ => return,
        };
        if let Some(known) = io.known.as_deref_mut() {
            known.prepared.finds(statement, Found::Shape(shape));
        }
        match given {
            Some((given, with_portal)) => given.is_told(shape, with_portal),
            None => self.replay = Replay::Off,
        }
    }

    fn parsed(&mut self, io: &mut Io<'_>) {
        if let Some(Owed::ParseUnnamed { hidden: false }) = self.owed.front() {
            self.unnamed_owed = self.unnamed_owed.saturating_sub(1);
            return;
        }
        if let (Some(Owed::Parse(parsed)), Some(known)) =
            (self.owed.front(), io.known.as_deref_mut())
        {
            known.prepared.is_there(&parsed.statement);
            if let Some(pool) = self.pool {
                parsed.statement.prove(pool);
            }
        }
    }

    fn copy_in_begins(&mut self, io: &mut Io<'_>) {
        self.copy.begin(&self.owed.ignore_syncs_in_copy());
        // Its segment ends with the `Sync` behind the data: nothing is committed before.
        if matches!(self.owed.front(), Some(Owed::Execute)) && !self.owed.has_end_of_segment() {
            self.segment = Segment::Server;
        }
        if self.leaving {
            self.end_copy(io);
        }
    }

    /// A command that takes prepared statements away was carried out (C8).
    fn discarded(&mut self, tag: &[u8], io: &mut Io<'_>) {
        let all = tag == b"DISCARD ALL";
        if !all && tag != b"DEALLOCATE ALL" {
            return;
        }
        if let Some(known) = io.known.as_deref_mut() {
            known.prepared.clear();
        }
        self.names.clear();
        // In a query others may follow: what comes behind it waits until nothing is owed.
        if !matches!(self.owed.front(), Some(Owed::Query(_))) {
            self.pending.discarded();
        }
        if all {
            self.pins = self.pins.only(Flags::ASKABLE);
        }
    }

    fn parameter_status(&mut self, body: &[u8], io: &mut Io<'_>) -> Result<Way, Broken> {
        let (name, value) =
            message::parameter_status(body).ok_or_else(|| broken("bad ParameterStatus"))?;
        let Some(known) = io.known.as_deref_mut() else {
            return Ok(Way::Drop { ends: false });
        };
        Rc::make_mut(&mut known.params).report(name, value);
        // What our own queries change is told when they are through.
        if self.owed.front().is_some_and(|owed| !owed.is_visible()) {
            return Ok(Way::Drop { ends: false });
        }
        Rc::make_mut(&mut self.params).report(name, value);
        if !self.owed.is_empty() {
            self.pending.add_reported(name);
            self.notes += 1;
        }
        Ok(Way::Pass { ends: false })
    }

    fn ready(&mut self, body: &[u8], io: &mut Io<'_>) -> Result<Way, Broken> {
        let status = message::ready_status(body).ok_or_else(|| broken("bad ReadyForQuery"))?;
        if self
            .owed
            .front()
            .and_then(|owed| owed.ends_with(b'Z'))
            .is_none()
        {
            if !self.leaving && self.copy.may_be_ready_again(&self.owed) {
                return Ok(self.ready_after_all(status, io));
            }
            return Err(broken("ready for a query that nobody sent"));
        }
        if let Some(known) = io.known.as_deref_mut() {
            known.status = status;
        }
        if self.reshaped && status == TxStatus::Idle {
            self.schema_settles();
        }
        let done = self.owed.pop();
        if status == TxStatus::Idle {
            self.takers_end();
        }
        self.copy.ready();
        match done {
            Some(Owed::Hidden(hidden)) => self.hidden_done(hidden, status, io)?,
            Some(Owed::HiddenSync) | None => {}
            Some(_) => {
                self.ended = self.ended.wrapping_add(1);
                self.told = status;
                self.idles = self.idles.wrapping_add(u32::from(status == TxStatus::Idle));
                self.kept |= status == TxStatus::Idle && !self.pending.is_empty();
                if self.tells_touched && !self.pending.is_empty() {
                    self.tells_touched = false;
                    build::parameter_status(io.to_client, TOUCHED, "on");
                }
                build::ready(io.to_client, status);
            }
        }
        if self.copy.confuses(&self.owed) {
            return Err(broken(
                "a COPY failed with a Sync ahead, and whose this answer is, is not known",
            ));
        }
        self.settle(io);
        if self.owed.is_empty() {
            self.rest(status, io);
        }
        Ok(Way::Done)
    }

    /// A `Sync` that counted as ignored was answered: the COPY had failed before it was read.
    #[cold]
    fn ready_after_all(&mut self, status: TxStatus, io: &mut Io<'_>) -> Way {
        if let Some(known) = io.known.as_deref_mut() {
            known.status = status;
        }
        let is_last = self.owed.is_empty();
        if is_last {
            (self.skip, self.segment) = (false, Segment::Closed);
        }
        self.ended = self.ended.wrapping_add(1);
        self.told = status;
        self.idles = self.idles.wrapping_add(u32::from(status == TxStatus::Idle));
        build::ready(io.to_client, status);
        if is_last {
            self.end_doubt(io);
        }
        Way::Done
    }

    /// The transaction that may have changed the schema is over: what is prepared from now on is
    /// read anew on every server (C10). What a client with temporary tables changes is mostly those.
    #[cold]
    pub(super) fn schema_settles(&mut self) {
        if std::mem::take(&mut self.reshaped)
            && !self.pending.has(Flags::TEMP)
            && !self.pins.any(Flags::TEMP)
        {
            statement::schema_changed();
        }
    }

    /// If the server answers a step, it has answered all that was before it.
    #[inline]
    fn step_is_answered(&mut self, io: &mut Io<'_>) {
        if self.copy.is_in_doubt() && self.owed.front().is_some_and(Owed::is_step) {
            self.copy.step_answered();
            self.settle(io);
        }
    }

    /// Answers of ours whose turn it is.
    pub(super) fn settle(&mut self, io: &mut Io<'_>) {
        loop {
            match self.owed.front() {
                Some(Owed::Local(_) | Owed::Closed(_) | Owed::Named(_))
                    if self.copy.holds_back() && !self.leaving =>
                {
                    if self.owed.is_local() {
                        self.end_doubt(io);
                    }
                    return;
                }
                Some(Owed::Local(bytes)) => io.to_client.extend_from_slice(bytes),
                Some(Owed::Closed(_)) => io.to_client.extend_from_slice(build::CLOSE_COMPLETE),
                Some(Owed::Named(_)) => {
                    self.names_owed = self.names_owed.saturating_sub(1);
                    io.to_client.extend_from_slice(build::PARSE_COMPLETE);
                }
                Some(Owed::Takes(number)) => self.taker_is_bound(*number),
                Some(Owed::CopyEnd | Owed::Replaced(_)) => {}
                _ => return,
            }
            self.owed.pop();
        }
    }

    fn query_failed(&mut self, body: &[u8], io: &mut Io<'_>) -> Way {
        self.copy.stop();
        if let Some(Owed::Query(Some(inserted))) = self.owed.front() {
            inserted.encode_error(body, io.to_client);
            return Way::Drop { ends: false };
        }
        let own = self.in_own_words(body);
        pass_error(own, io)
    }

    fn error(&mut self, body: &[u8], io: &mut Io<'_>) -> Result<Way, Broken> {
        let error = Diagnostic(body);
        if error.is_fatal() {
            return Err(Broken(SqlError::decode(body)));
        }
        self.step_is_answered(io);
        self.copy.fail();
        if self.shared_is_bound_anew(error.code(), io) {
            return Ok(Way::Drop { ends: false });
        }
        match self.owed.front() {
            None => return Err(Broken(SqlError::decode(body))),
            Some(Owed::Hidden(_)) => {
                self.hidden_error = Some(Box::new(SqlError::decode(body)));
                return Ok(Way::Drop { ends: false });
            }
            Some(Owed::HiddenSync) => return Ok(Way::Drop { ends: false }),
            Some(Owed::Query(_)) => return Ok(self.query_failed(body, io)),
            Some(Owed::Sync) => return Ok(Way::Pass { ends: false }),
            Some(_) => {}
        }
        let duplicate = match self.owed.front() {
            Some(Owed::Parse(parsed)) if parsed.refused && error.code() == *b"42P05" => {
                parsed.name.clone()
            }
            Some(owed)
                if matches!(&error.code(), b"0A000" | b"26000")
                    && let Some(statement) = owed.statement() =>
            {
                // To our own question, before anything of the client went on.
                let is_ours = matches!(owed, Owed::Shape(_));
                let gone = error.code() == *b"26000";
                if let Some(known) = io.known.as_deref_mut() {
                    if gone {
                        // Something that nobody saw took it away, and others with it.
                        known.prepared.remove(statement);
                    } else {
                        known.prepared.now(statement, Stands::Stale);
                    }
                }
                if !gone {
                    // Somebody else changed the schema.
                    statement::schema_changed();
                }
                if self.replay != Replay::Off && (gone || is_ours || self.owed.tells_shape()) {
                    self.take_it_back(io);
                    return Ok(Way::Drop { ends: false });
                }
                None
            }
            _ => None,
        };
        let misfits = matches!(self.owed.front(), Some(Owed::Misfit)) && error.code() == *b"26000";
        let own = self.in_own_words(body);
        let ours = self.skip_segment(io);
        if ours {
            return Ok(Way::Drop { ends: false });
        }
        if misfits {
            shape::misfit().encode(io.to_client);
            return Ok(Way::Drop { ends: false });
        }
        if let Some(name) = duplicate {
            let name = String::from_utf8_lossy(&name).into_owned();
            SqlError::error(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            )
            .encode(io.to_client);
            return Ok(Way::Drop { ends: false });
        }
        Ok(pass_error(own, io))
    }
}

#[inline]
fn extend(
    run: &mut std::ops::Range<usize>,
    start: usize,
    length: usize,
    input: &[u8],
    io: &mut Io<'_>,
) {
    if run.end != start {
        flush(run, input, io);
        run.start = start;
    }
    run.end = start + length;
}

#[inline]
fn flush(run: &mut std::ops::Range<usize>, input: &[u8], io: &mut Io<'_>) {
    if run.start < run.end {
        io.to_client
            .extend_from_slice(input.get(run.clone()).unwrap_or_default());
    }
    *run = run.end..run.end;
}
