//! Requests that are answered without a server: a `BEGIN` that can wait, the end of a transaction
//! in which nothing happened, `DEALLOCATE` of what only this client sees.
//!
//! Owns when that is the same as what the server would have said (B13, C8).

use super::owed::Owed;
use super::request::{Message, Step};
use super::wording::nobodys;
use super::{Io, Relay, Segment, statement};
use crate::sql::{self, Begin, Flags, Isolation, Seen, Verb};
use crate::wire::frame::Frame;
use crate::wire::message::Parse;
use crate::wire::{SqlError, TxStatus, build};

/// What is run instead of a text with a name of ours in SQL that nobody has read.
pub(super) const NOBODYS_TEXT: &[u8] = b"DEALLOCATE \"canter_?canter_\"";

/// What is run instead of one with this name.
pub(super) fn nobodys_text(name: &str) -> Vec<u8> {
    let mut text = b"DEALLOCATE ".to_vec();
    build::identifier(&mut text, &nobodys(name.as_bytes()));
    text
}

/// Whether nobody may run it: a name of ours in it is none that its client could have given.
pub(super) fn is_nobodys(seen: &Seen) -> bool {
    seen.flags.any(Flags::POOLERS) && seen.deallocates().is_none()
}

impl Relay {
    /// Appends `ReadyForQuery` with what is true for the client.
    pub(super) fn local_ready(&mut self, io: &mut Io<'_>) {
        self.told = if self.limbo.is_some() {
            TxStatus::Failed
        } else if self.begin.is_some() {
            TxStatus::Open
        } else {
            io.known
                .as_ref()
                .map_or(TxStatus::Idle, |known| known.status)
        };
        build::ready(io.to_client, self.told);
    }

    fn complete(&mut self, tag: &[u8], io: &mut Io<'_>) {
        build::command_complete(io.to_client, tag);
        if self.segment == Segment::Server {
            // A Query ends a segment without a Sync, and with it what was begun on the server.
            self.segment = Segment::Closed;
            io.to_server.extend_from_slice(build::SYNC);
            self.owed.push(Owed::Sync);
            return;
        }
        self.segment = Segment::Closed;
        self.local_ready(io);
    }

    /// Answers a simple query for which no server is needed; whether it was one.
    pub(super) fn answer_without_server(&mut self, text: &[u8], io: &mut Io<'_>) -> bool {
        // A look at two letters, so that most texts are scanned once, when there is a server.
        let text = text.trim_ascii();
        let Some(&[first, second, ..]) = text.first_chunk::<2>() else {
            return false;
        };
        match (first.to_ascii_uppercase(), second.to_ascii_uppercase()) {
            (b'B', b'E') | (b'S', b'T') => self.answer_begin(text, io),
            (b'C' | b'R', b'O') | (b'E', b'N') | (b'A', b'B') => self.answer_end(text, io),
            (b'D', b'E') => self.answer_deallocate(text, io),
            _ => false,
        }
    }

    fn answer_begin(&mut self, text: &[u8], io: &mut Io<'_>) -> bool {
        if !self.defer_begin || self.begin.is_some() || self.segment != Segment::Closed {
            return false;
        }
        let seen = sql::scan(text, self.params.is_conforming());
        if !seen.begin.is_some_and(cannot_fail) {
            return false;
        }
        let tag: &[u8] = if seen.verbs.first() == Some(Verb::Start) {
            b"START TRANSACTION"
        } else {
            b"BEGIN"
        };
        self.begin = Some(text.into());
        self.complete(tag, io);
        true
    }

    /// `COMMIT` or `ROLLBACK` while the `BEGIN` is still here.
    fn answer_end(&mut self, text: &[u8], io: &mut Io<'_>) -> bool {
        let Some(commits) = plain_end(text).filter(|_| self.begin.is_some()) else {
            return false;
        };
        self.begin = None;
        self.complete(if commits { b"COMMIT" } else { b"ROLLBACK" }, io);
        true
    }

    /// A named `Parse` alone with its `Sync`, of a statement that servers of this pool have taken
    /// (C1). Whoever prepares like that waits for the answer, perhaps while other connections of
    /// the same thread hold all the servers (libpq's `PQprepare`, as pgbench uses it). Should a
    /// server refuse it after all, then with the first `Bind` or `Describe`.
    pub(super) fn answer_parse(
        &mut self,
        message: Message<'_>,
        io: &mut Io<'_>,
    ) -> Result<bool, SqlError> {
        let then = message.rest.get(message.frame.total()..);
        let is_alone = then.is_some_and(|then| then.starts_with(build::SYNC));
        let is_outside = self.begin.is_none() && self.segment == Segment::Closed;
        if !is_alone || !is_outside || self.refusal.is_some() {
            return Ok(false);
        }
        let (Some(pool), Some(parse)) = (self.pool, Parse::decode(message.body())) else {
            return Ok(false);
        };
        if parse.name.is_empty() || self.names.contains_key(parse.name) {
            return Ok(false);
        }
        let planning = self.planning_of(parse.text, &self.params);
        let Some(entry) = statement::proven(parse.text, parse.types, planning, pool) else {
            return Ok(false);
        };
        self.counts.client_parses = self.counts.client_parses.wrapping_add(1);
        self.give(parse.name, entry)?;
        io.to_client.extend_from_slice(build::PARSE_COMPLETE);
        self.segment = Segment::Local;
        Ok(true)
    }

    fn answer_deallocate(&mut self, text: &[u8], io: &mut Io<'_>) -> bool {
        let seen = sql::scan(text, self.params.is_conforming());
        seen.statements == 1 && self.deallocate(&seen, io)
    }

    /// A name of ours is not the client's to use: the server is asked for one that nobody has, and
    /// says so where the client expects it (C5).
    #[cold]
    pub(super) fn refuse_name(
        &mut self,
        message: Message<'_>,
        seen: &Seen,
        io: &mut Io<'_>,
    ) -> Step {
        let mut query = Vec::new();
        match &seen.prepared {
            Some(name) => build::query(&mut query, &nobodys_text(name)),
            None => build::query(&mut query, NOBODYS_TEXT),
        }
        if let Ok(Some(frame)) = Frame::decode(&query) {
            let rest = &query;
            self.forward_query(Message { frame, rest }, io);
        }
        Step::Took(message.whole().len())
    }

    /// Takes names away that only this client has; whether that was all there was to do.
    pub(super) fn deallocate(&mut self, seen: &Seen, io: &mut Io<'_>) -> bool {
        let failed = io
            .known
            .as_ref()
            .is_some_and(|known| known.status == TxStatus::Failed);
        if failed {
            return false;
        }
        let name = seen.prepared.as_deref().map(str::as_bytes);
        if name.is_some_and(|name| self.names.remove(name).is_some()) {
            self.complete(b"DEALLOCATE", io);
            return true;
        }
        // Statements of SQL's PREPARE are the server's own affair.
        if seen.flags.any(Flags::DEALLOCATE_ALL) && !self.may_have_prepared() {
            self.names.clear();
            self.names.shrink_to_fit();
            self.complete(b"DEALLOCATE ALL", io);
            return true;
        }
        false
    }
}

/// Whether no server can refuse it. What follows is sent with it in one go, and must not run
/// outside of a transaction: a standby refuses SERIALIZABLE and READ WRITE.
fn cannot_fail(begin: Begin) -> bool {
    begin.isolation != Some(Isolation::Serializable) && begin.read_only != Some(false)
}

/// Whether the text is nothing but the end of a transaction, and whether it commits.
pub(super) fn plain_end(text: &[u8]) -> Option<bool> {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii_end();
    let mut words = text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let first = words.next()?;
    let commits = match first {
        _ if first.eq_ignore_ascii_case(b"commit") || first.eq_ignore_ascii_case(b"end") => true,
        _ if first.eq_ignore_ascii_case(b"rollback") || first.eq_ignore_ascii_case(b"abort") => {
            false
        }
        _ => return None,
    };
    let second = words.next();
    let is_noise = second.is_none_or(|word| {
        word.eq_ignore_ascii_case(b"transaction") || word.eq_ignore_ascii_case(b"work")
    });
    (is_noise && words.next().is_none()).then_some(commits)
}
