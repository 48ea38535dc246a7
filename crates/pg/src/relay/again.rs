//! A prepared statement whose result has another shape since it was prepared: PostgreSQL refuses
//! it for good (0A000). A client cannot know that its name stands for a statement that others made
//! before it, so outside of a transaction it is prepared anew and run once more (C10), if the client
//! is told the new shape with it: one that asked once and reads all rows by that is told the error.
//!
//! Owns keeping what was sent until its first answer is there, and sending it again.

use super::owed::{Hidden, Owed};
use super::request::Message;
use super::{Io, Relay, Segment};
use crate::wire::{TxStatus, build};

/// A segment longer than this is not kept.
pub(super) const MOST: usize = 16 << 10;

/// Whether the segment under way can be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Replay {
    /// It cannot.
    #[default]
    Off,
    /// All of it was kept so far.
    Open,
    /// All of it was kept, its `Sync` is the last thing that was sent.
    Whole,
}

impl Relay {
    /// A segment begins with this `Bind` of a shared statement, so far as the server knows: whether it
    /// will be kept. Nothing of it is answered yet, and no transaction holds what came before.
    pub(super) fn may_be_sent_again(&mut self, message: Message<'_>, io: &mut Io<'_>) -> bool {
        let Some(known) = io.known.as_deref_mut() else {
            return false;
        };
        // What was just prepared is not stale.
        let fits = message.is_whole()
            && message.frame.total() <= MOST
            && self.owed.is_empty()
            && self.told == TxStatus::Idle
            && known.status == TxStatus::Idle;
        if fits {
            known.replay.clear();
            self.replay = Replay::Open;
        }
        fits
    }

    /// The segment begins with a question of ours about a statement: if nothing else went ahead, it
    /// may be asked again.
    pub(super) fn may_be_asked_again(&mut self, io: &mut Io<'_>) {
        if let Some(known) = io.known.as_deref_mut()
            && self.begins
            && self.owed.is_empty()
            && self.told == TxStatus::Idle
            && known.status == TxStatus::Idle
        {
            known.replay.clear();
            self.replay = Replay::Open;
        }
    }

    /// Keeps what one message of the client came to.
    pub(super) fn record(&mut self, from: usize, io: &mut Io<'_>) {
        let sent = io.to_server.get(from..).unwrap_or_default();
        let Some(known) = io.known.as_deref_mut() else {
            self.replay = Replay::Off;
            return;
        };
        let is_too_much = known.replay.len() + sent.len() > MOST || self.from_client.left > 0;
        if self.replay == Replay::Whole || is_too_much {
            self.replay = Replay::Off;
            return;
        }
        known.replay.extend_from_slice(sent);
        if self.segment == Segment::Closed {
            self.replay = Replay::Whole;
        }
    }

    /// A message that is not taken yet had something sent for it, behind what was kept: that could
    /// not be sent again in its place.
    pub(super) fn stopped(&mut self, from: usize, io: &Io<'_>) {
        let keeps = |known: &super::Known| !known.replay.is_empty();
        if io.to_server.len() > from && io.known.as_deref().is_some_and(keeps) {
            self.replay = Replay::Off;
        }
    }

    /// The first answer of the segment is that its statement is stale. The server ignores what
    /// follows up to `Sync`; the client is told nothing.
    pub(super) fn take_it_back(&mut self, io: &mut Io<'_>) {
        if self.replay == Replay::Open {
            io.to_server.extend_from_slice(build::SYNC);
        }
        self.replay = Replay::Off;
        self.again = Some(Box::new(std::mem::take(&mut self.owed)));
        self.owed.push(Owed::Hidden(Hidden::Again));
        self.barrier = true;
    }

    /// The server is ready for the segment once more.
    pub(super) fn send_again(&mut self, io: &mut Io<'_>) {
        self.barrier = false;
        self.unflushed = self.segment == Segment::Server;
        let Some(mut again) = self.again.take() else {
            return;
        };
        if matches!(again.front(), Some(Owed::Shape(_))) {
            // The `Bind` that it was asked for has not been taken yet, and does it all again.
            again.pop();
        }
        if let Some(Owed::Bind(Some(statement)) | Owed::BindShared(statement)) = again.front() {
            self.close_stale(statement, io);
            self.prepare(statement, io);
        }
        if let Some(known) = io.known.as_deref_mut() {
            io.to_server.append(&mut known.replay);
        }
        self.owed.append(*again);
    }
}
