//! A `Parse` that is too long to be kept.
//!
//! Owns letting it pass without a name, and refusing it with one. What is bound to it is
//! `super::extended`'s.

use super::again::Replay;
use super::request::{Message, Step};
use super::{GATHER_PARSE, Io, Long, Relay, Segment, Want};
use crate::wire::SqlError;
use crate::wire::frame::Frame;

/// So much is kept of statements that others replace, or that are closed, and of which it is not answered yet.
pub(super) const MOST_REPLACED: usize = 16 << 20;

impl Relay {
    /// Whether answers must come before the unnamed statement is replaced again: the one before is kept
    /// until then.
    pub(super) fn keeps_too_much(&self) -> bool {
        self.owed.may_skip() && self.keeps_too_much_beside(&self.unnamed)
    }

    /// Whether answers must come before this is kept beside the texts that are kept until theirs come.
    pub(super) fn keeps_too_much_beside(&self, text: &[u8]) -> bool {
        // Of shorter ones, as many as may be under way are no more than a few times as much.
        const SHORT: usize = 4 << 10;
        text.len() > SHORT
            && !self.owed.is_empty()
            && self.owed.texts() + text.len() > MOST_REPLACED
    }

    /// A statement too long to be kept: without a name it passes, only skimmed, and has its server to
    /// itself until it was run.
    pub(super) fn long_parse(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Step {
        let Some(first) = message.rest.get(Frame::HEADER) else {
            return Step::Stop(Want::Bytes(Frame::HEADER + 1));
        };
        if *first != 0 {
            return self.refuse_long_parse(message, io);
        }
        if self.limbo.is_some() {
            self.limbo_refuses_step(io);
            return self.drop_message(message);
        }
        if !self.attached {
            return self.without_server(message, io);
        }
        if self.keeps_too_much() {
            return Step::Stop(Want::Answers);
        }
        if self.segment != Segment::Server {
            self.segment = Segment::Server;
            self.segments += 1;
        }
        self.replay = Replay::Off;
        self.replace_unnamed();
        self.unnamed_long = Long::Fresh;
        self.unnamed_touches = true;
        self.skim(message);
        self.forward(message, io)
    }

    fn refuse_long_parse(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Step {
        if !self.owed.is_empty() {
            return Step::Stop(Want::Answers);
        }
        let size = message.frame.total() >> 20;
        let most = GATHER_PARSE >> 20;
        SqlError::error("54000", "the statement is too long to be prepared by name")
            .detail(format!(
                "it takes {size} MiB, and the pooler keeps the texts of those with a name up to {most} MiB"
            ))
            .hint(
                "prepare it without a name, send it as a simple query, or give its long values as \
                 parameters",
            )
            .encode(io.to_client);
        self.segment = if self.attached {
            Segment::Server
        } else {
            Segment::Local
        };
        self.skip = true;
        self.drop_message(message)
    }
}
