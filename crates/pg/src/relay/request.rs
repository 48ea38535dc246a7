//! Bytes of the client: which message goes to the server, which is answered here.
//!
//! Owns the simple protocol, COPY data and what is common to all; the extended protocol is in
//! `super::extended`.

use std::rc::Rc;

use super::again::Replay;
use super::inserted::Inserted;
use super::owed::Owed;
use super::{GATHER, Io, Long, Passing, Relay, Segment, Taken, Want, planning};
use crate::sql::{self, Flags, Seen};
use crate::wire::frame::Frame;
use crate::wire::{SqlError, build, message};

/// What becomes of one message.
pub(super) enum Step {
    /// So many bytes of it are done; what follows of it passes by itself.
    Took(usize),
    /// It waits.
    Stop(Want),
}

/// A whole message at the start of the client's bytes.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) frame: Frame,
    /// Header, body, and whatever came after it.
    pub(super) rest: &'a [u8],
}

impl<'a> Message<'a> {
    pub(super) fn body(&self) -> &'a [u8] {
        self.frame.body_of(self.rest).unwrap_or_default()
    }

    pub(super) fn whole(&self) -> &'a [u8] {
        self.rest.get(..self.frame.total()).unwrap_or(self.rest)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.rest.len() >= self.frame.total()
    }
}

/// The error for bytes that are no protocol.
pub(super) fn violation(what: &str) -> SqlError {
    SqlError::fatal("08P01", format!("protocol violation: {what}"))
}

impl Relay {
    /// Takes bytes of the client. An error is FATAL: it is to be sent, then the client is closed.
    pub(crate) fn client_sent(&mut self, input: &[u8], io: &mut Io<'_>) -> Result<Taken, SqlError> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            if self.from_client.left > 0 {
                used += self.pass_from_client(rest, io);
                if self.from_client.left > 0 {
                    return Ok(Taken {
                        used,
                        want: Want::Bytes(1),
                    });
                }
                continue;
            }
            // An answer of ours has no place amid a notice or notification of the server.
            let must_wait = self.barrier && (self.spent || !self.owed.is_empty())
                || self.owed.is_full()
                || self.owed.is_empty() && self.is_in_message();
            // A server that refused this client's settings is given back first.
            if must_wait || (self.attached && self.refusal.is_some()) {
                return Ok(self.wait_for_answers(used, io));
            }
            let frame = Frame::decode(rest).map_err(|_| violation("invalid message length"))?;
            let Some(frame) = frame else {
                return Ok(Taken {
                    used,
                    want: Want::Bytes(Frame::HEADER),
                });
            };
            if self.waits_for_shared(frame.total(), io) {
                return Ok(self.wait_for_answers(used, io));
            }
            let before = io.to_server.len();
            match self.client_message(Message { frame, rest }, io)? {
                Step::Took(bytes) => {
                    used += bytes;
                    self.begins = false;
                    self.unflushed = self.segment == Segment::Server;
                    if self.replay != Replay::Off {
                        self.record(before, io);
                    }
                }
                Step::Stop(want) => {
                    self.stopped(before, io);
                    if want == Want::Answers {
                        return Ok(self.wait_for_answers(used, io));
                    }
                    return Ok(Taken { used, want });
                }
            }
        }
    }

    /// What is left of the client's bytes waits until something is answered. Inside of a segment
    /// PostgreSQL is asked for its answers: the `Sync` that would call for them may be behind.
    #[cold]
    fn wait_for_answers(&mut self, used: usize, io: &mut Io<'_>) -> Taken {
        if self.unflushed && self.attached && !self.barrier && !self.owed.is_empty() {
            self.unflushed = false;
            io.to_server.extend_from_slice(build::FLUSH);
        }
        Taken {
            used,
            want: Want::Answers,
        }
    }

    fn client_message(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Result<Step, SqlError> {
        let tag = message.frame.tag;
        match tag {
            b'X' => return Ok(Step::Stop(Want::Leave)),
            b'S' => return Ok(self.sync(message, io)),
            b'Q' | b'F' | b'P' | b'B' | b'D' | b'E' | b'C' | b'H' | b'd' | b'c' | b'f' => {}
            other => return Err(violation(&format!("invalid frontend message type {other}"))),
        }
        let amid_copy = || {
            Err(violation(&format!(
                "unexpected message type 0x{tag:02X} during COPY from stdin"
            )))
        };
        let is_request = !matches!(tag, b'd' | b'c' | b'f' | b'H');
        if self.skip {
            // Whether that is over is known to the server alone: a Sync went ahead of the failure.
            if is_request && self.copy.is_in_doubt() {
                return amid_copy();
            }
            return Ok(self.drop_message(message));
        }
        match tag {
            b'd' | b'c' | b'f' => Ok(self.copy(message, io)),
            // PostgreSQL ends the connection, too.
            _ if self.copy.takes_data() && is_request => amid_copy(),
            b'H' if self.attached => Ok(self.forward(message, io)),
            b'H' => Ok(self.drop_message(message)),
            b'Q' => self.query(message, io),
            b'F' => Ok(self.function(message, io)),
            _ => self.extended(message, io),
        }
    }

    /// Lets what is left of a message through.
    fn pass_from_client(&mut self, rest: &[u8], io: &mut Io<'_>) -> usize {
        let part = rest.get(..self.from_client.left).unwrap_or(rest);
        if !self.from_client.dropped {
            io.to_server.extend_from_slice(part);
        }
        self.from_client.left -= part.len();
        if self.rest_is_due && self.from_client.left == 0 {
            self.rest_now(io);
        }
        if self.skim.is_some() {
            self.skim_on(part);
            if self.from_client.left == 0 {
                self.skim_ends();
            }
        }
        part.len()
    }

    /// Sends a message on as it is; what is not there yet follows when it comes.
    pub(super) fn forward(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Step {
        let here = message.whole();
        io.to_server.extend_from_slice(here);
        self.from_client = Passing {
            left: message.frame.total() - here.len(),
            ..Passing::default()
        };
        Step::Took(here.len())
    }

    /// Throws a message away.
    pub(super) fn drop_message(&mut self, message: Message<'_>) -> Step {
        let here = message.whole().len();
        self.from_client = Passing {
            left: message.frame.total() - here,
            dropped: true,
            ends: false,
        };
        Step::Took(here)
    }

    /// COPY data is never looked into. Without a COPY it comes too late: PostgreSQL ignores it.
    fn copy(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Step {
        if !self.attached || self.owed.is_empty() {
            return self.drop_message(message);
        }
        if message.frame.tag != b'd' {
            self.copy.send_end();
            self.owed.push(Owed::CopyEnd);
        }
        self.forward(message, io)
    }

    /// After an error in its segment PostgreSQL would ignore a request: what came before it decides.
    fn may_be_skipped(&self) -> bool {
        self.segment == Segment::Server && !self.owed.is_empty()
    }

    fn function(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Step {
        if self.limbo.is_some() {
            self.limbo_refuses(io);
            return self.drop_message(message);
        }
        if !self.attached {
            return self.without_server(message, io);
        }
        if self.may_be_skipped() {
            return Step::Stop(Want::Answers);
        }
        // Whatever the function does is not to be seen from its OID.
        self.note_anything();
        self.segment = Segment::Closed;
        self.owed.push(Owed::Query(None));
        self.forward(message, io)
    }

    fn query(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Result<Step, SqlError> {
        if self.may_be_skipped() {
            return Ok(Step::Stop(Want::Answers));
        }
        if !message.is_whole() {
            if message.frame.total() <= GATHER {
                return Ok(Step::Stop(Want::Bytes(message.frame.total())));
            }
            return Ok(self.long_query(message, io));
        }
        let text = message::query_text(message.body()).ok_or_else(|| violation("bad Query"))?;
        if self.limbo.is_some() {
            self.forget_unnamed();
            self.limbo_query(text, io);
            return Ok(Step::Took(message.whole().len()));
        }
        if !self.attached {
            if self.answer_without_server(text, io) {
                self.unnamed.clear();
                return Ok(Step::Took(message.whole().len()));
            }
            return Ok(self.without_server(message, io));
        }
        let conforming = io
            .known
            .as_ref()
            .is_none_or(|known| known.params.is_conforming());
        if sql::is_plain_read(text) {
            return Ok(self.forward_query(message, io));
        }
        let seen = sql::scan(text, conforming);
        if seen
            .flags
            .any(Flags::DEALLOCATE.with(Flags::DEALLOCATE_ALL))
            && seen.statements == 1
        {
            if !self.owed.is_empty() {
                return Ok(Step::Stop(Want::Answers));
            }
            if self.deallocate(&seen, io) {
                self.unnamed.clear();
                self.unnamed_long = Long::No;
                self.unnamed_here = false;
                return Ok(Step::Took(message.whole().len()));
            }
        }
        if seen.flags.any(Flags::POOLERS) {
            return Ok(self.refuse_name(message, &seen, io));
        }
        self.note(&seen, text);
        if !seen.resets.is_empty()
            && let Some((text, inserted)) =
                Inserted::into(text, &seen.resets, &self.start, &self.params)
        {
            for reset in &seen.resets {
                self.pending.is_restored(reset.name.as_deref(), &self.start);
            }
            self.begins_query(Some(Box::new(inserted)));
            build::query(io.to_server, &text);
            return Ok(Step::Took(message.whole().len()));
        }
        Ok(self.forward_query(message, io))
    }

    /// Its `ReadyForQuery` ends a segment that was begun before it, without a `Sync` (B3), and it
    /// takes the unnamed statement away (C11).
    pub(super) fn forward_query(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Step {
        self.begins_query(None);
        self.forward(message, io)
    }

    fn begins_query(&mut self, inserted: Option<Box<Inserted>>) {
        self.forget_unnamed();
        self.unnamed_here = false;
        self.segment = Segment::Closed;
        self.replay = Replay::Off;
        self.hold_back_after_reset();
        self.owed.push(Owed::Query(inserted));
    }

    /// A query that is too long to be kept: it passes unread and may have touched anything.
    fn long_query(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Step {
        if self.limbo.is_some() {
            self.limbo_refuses(io);
            return self.drop_message(message);
        }
        if !self.attached {
            return self.without_server(message, io);
        }
        self.note_anything();
        let step = self.forward_query(message, io);
        self.skim(message);
        step
    }

    /// Takes in what running a text may touch.
    #[inline]
    pub(super) fn note(&mut self, seen: &Seen, text: &[u8]) {
        self.pending.add(seen);
        self.notes += u64::from(planning::may_read_otherwise(seen));
        if !self.params.is_utf8() {
            self.note_foreign(seen, text);
        }
        self.wants_room |= seen.flags.any(Flags::DATABASE);
        self.reshaped |= seen.flags.any(Flags::SCHEMA);
        self.reads_apart |= seen.flags.any(Flags::READING_LOCAL);
        if !self.pending.is_empty() {
            self.note_slow(seen, text);
        }
        if seen.flags.any(Flags::EXECUTE) {
            self.note_execute(text);
        }
    }

    /// A text in another encoding than UTF-8.
    #[cold]
    fn note_foreign(&mut self, seen: &Seen, text: &[u8]) {
        if seen.flags.any(Flags::FOREIGN) {
            self.pending.add_foreign();
        }
        if self.params.may_hide(text) {
            self.note_anything();
        }
    }

    #[cold]
    pub(super) fn note_slow(&mut self, seen: &Seen, text: &[u8]) {
        const SHOWN: usize = 200;
        self.note_bodies(seen, text);
        let reasons = Flags::ASKABLE
            .with(Flags::UNASKABLE)
            .with(Flags::SEQUENCE_WRITE);
        if seen.flags.any(Flags::SETTINGS_UNKNOWN) {
            for piece in text.split(|byte| *byte == b'\'') {
                self.pending.add_candidate(piece, self.params.is_utf8());
            }
        }
        if seen.flags.any(reasons) || self.pending.has(Flags::FOREIGN) {
            let shown = text.get(..SHOWN).unwrap_or(text);
            self.pin_text = Some(Rc::from(&*String::from_utf8_lossy(shown)));
        }
    }

    /// What was RESET is put back to the client's own start before anything else runs (D6): nothing
    /// that follows this `Query` or `Sync` goes on before its answer.
    #[inline]
    pub(super) fn hold_back_after_reset(&mut self) {
        if !self.pending.is_empty() && self.pending.resets(&self.start) {
            self.barrier = true;
        }
    }

    /// `Sync`: the end of a segment.
    fn sync(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Step {
        // A server that reads COPY data ignores it, and answers it if the COPY has failed by then (B7).
        if self.copy.takes_data() {
            self.copy.sync_amid();
            return self.forward(message, io);
        }
        self.skip = false;
        self.segment = Segment::Closed;
        if !self.attached {
            self.local_ready(io);
            return self.drop_message(message);
        }
        self.hold_back_after_reset();
        self.owed.push(Owed::Sync);
        self.forward(message, io)
    }

    /// Asks for a server, or refuses the request when none is to be had.
    pub(super) fn without_server(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Step {
        let Some(refusal) = self.refusal.take() else {
            return Step::Stop(Want::Server);
        };
        refusal.error.encode(io.to_client);
        if self.begin.take().is_some() {
            self.fall_into_limbo(None);
        }
        if matches!(message.frame.tag, b'Q' | b'F') {
            self.local_ready(io);
        } else {
            self.skip = true;
        }
        self.drop_message(message)
    }
}
