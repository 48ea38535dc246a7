//! A `COPY ... FROM STDIN` under way: whether its data is awaited, whether its end was sent, and how far
//! it may confuse who is answered (B7).
//!
//! Owns what is known of it. The bytes are `super::request`'s, the answers `super::answer`'s.

use super::owed::Queue;

/// A server that takes data ignores every `Sync` until the data's end; one that fails no longer does,
/// and nobody knows which it has read by then.
#[derive(Debug, Default)]
pub(super) struct CopyIn {
    phase: Phase,
    /// A `Sync` went ahead of the data's end: the server ignores it unless the COPY fails before it was
    /// read.
    syncs_ahead: bool,
    /// Requests lay before that end: what the server answers after a failure may be theirs, which
    /// nobody can tell from the answers to those behind the COPY.
    requests_amid: bool,
    /// That COPY failed: nobody knows how many `ReadyForQuery` are still to come.
    doubt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// No data is awaited.
    #[default]
    None,
    /// The server waits for data.
    Data,
    /// The end of that data was sent: the next `CommandComplete` is the COPY's.
    Ended,
}

/// What lay in the queue when a server began to take data.
pub(super) struct Ahead {
    /// The end of the data.
    pub(super) end: bool,
    /// A `Sync` before that.
    pub(super) syncs: bool,
    /// Requests before that.
    pub(super) requests: bool,
}

impl CopyIn {
    /// The server asks for data.
    pub(super) fn begin(&mut self, ahead: &Ahead) {
        self.phase = if ahead.end { Phase::Ended } else { Phase::Data };
        self.syncs_ahead |= ahead.syncs;
        self.requests_amid |= ahead.requests;
    }

    /// Whether the server waits for data.
    #[inline]
    pub(super) fn takes_data(&self) -> bool {
        self.phase == Phase::Data
    }

    /// The client sends a `Sync` amid the data.
    pub(super) fn sync_amid(&mut self) {
        self.syncs_ahead = true;
    }

    /// The client sends the end of the data.
    pub(super) fn send_end(&mut self) {
        if self.takes_data() {
            self.phase = Phase::Ended;
        }
    }

    /// No data goes to the server any more; whether some was awaited.
    pub(super) fn stop(&mut self) -> bool {
        let was_awaited = self.takes_data();
        if was_awaited {
            self.phase = Phase::None;
        }
        was_awaited
    }

    /// A command was carried out: a COPY that was has read all that went ahead of its end.
    #[inline]
    pub(super) fn command_done(&mut self) {
        self.syncs_ahead = false;
        self.requests_amid &= self.doubt;
    }

    /// The command that was carried out is the COPY, if its end was sent: another one may follow in
    /// the same query, with an end of its own.
    #[inline]
    pub(super) fn take_end(&mut self) -> bool {
        let was_ended = self.phase == Phase::Ended;
        if was_ended {
            self.phase = Phase::None;
        }
        was_ended
    }

    /// It may have failed before it read the `Sync` (a cancel, bad data), which is answered then.
    pub(super) fn fail(&mut self) {
        self.doubt |= std::mem::take(&mut self.syncs_ahead);
    }

    /// Whether answers of ours wait until it is known what the server has still to say.
    #[inline]
    pub(super) fn holds_back(&self) -> bool {
        self.doubt && !self.requests_amid
    }

    /// A step behind it is answered: all that may have come before has come, unless that step may
    /// itself have been amid.
    #[inline]
    pub(super) fn step_answered(&mut self) {
        self.doubt &= self.requests_amid;
    }

    /// The server is ready: no COPY is under way. What is in doubt stays so.
    #[inline]
    pub(super) fn ready(&mut self) {
        self.phase = Phase::None;
        self.syncs_ahead = false;
        self.requests_amid &= self.doubt;
    }

    /// Whether the server may say more than is known.
    #[inline]
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt
    }

    /// Whether requests lay amid the data, of which nobody knows what they are answered with.
    pub(super) fn has_requests_amid(&self) -> bool {
        self.requests_amid
    }

    /// Whether a `ReadyForQuery` in a place where none is owed is for a `Sync` that counted as ignored.
    pub(super) fn may_be_ready_again(&self, owed: &Queue) -> bool {
        self.doubt && (owed.is_empty() || !self.requests_amid)
    }

    /// Whether the next answer may be taken for one to something else.
    #[inline]
    pub(super) fn confuses(&self, owed: &Queue) -> bool {
        self.doubt && (owed.may_mistake_ready() || self.requests_amid)
    }
}
