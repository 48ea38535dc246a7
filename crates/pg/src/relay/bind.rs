//! `Bind`: which statement of the server a name of the client stands for, and seeing to it that it is
//! there (C2, C3, C11).
//!
//! Owns what of a `Bind` goes on, and under which name. Whether rows of a statement have the shape that its
//! client was told is in `super::shape`, what a text without a name shares with others in `super::often`.

use std::rc::Rc;

use super::extended::bad;
use super::owed::Owed;
use super::request::{Message, Step};
use super::shape::{Fit, Untold, misfit_name};
use super::takers::takes_settings;
use super::wording::{NOBODYS, OURS, nobodys};
use super::{GATHER, Io, Long, Passing, Relay, Want};
use crate::sql::{self, Flags, Seen};
use crate::wire::SqlError;
use crate::wire::message::{self, BindHead, Parse};

impl Relay {
    pub(super) fn bind(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Result<Step, SqlError> {
        let body = message.rest.get(5..).unwrap_or_default();
        let head = BindHead::decode(body).ok_or_else(bad)?;
        if head.length > message.frame.body as usize {
            return Err(bad());
        }
        self.takers.retain(|taker| *taker.portal != *head.portal);
        if head.statement.is_empty() && self.unnamed_touches {
            let seen = self.note_unnamed(io);
            if let Some(name) = seen.deallocates()
                && let Some(step) = self.bind_deallocate(message, head, name, io)
            {
                return Ok(step);
            }
            self.bind_reset(head.portal, &seen);
        }
        if self.is_sqls(head.statement) && self.named(head.statement).is_ok() {
            if !message.is_whole() && message.frame.total() <= GATHER {
                return Ok(Step::Stop(Want::Bytes(message.frame.total())));
            }
            // This runs it, as EXECUTE would.
            self.note_execute(&[b"EXECUTE ", head.statement].concat());
        }
        // Settings may be named by its parameters, so all of it is needed.
        let named = self
            .names
            .get(head.statement)
            .map(|given| given.statement.seen().flags);
        let names = named.is_some_and(|flags| flags.any(Flags::SETTINGS_UNKNOWN));
        if names || self.pending.wants_names() {
            if !message.is_whole() && message.frame.total() <= GATHER {
                return Ok(Step::Stop(Want::Bytes(message.frame.total())));
            }
            message::bound(message.body().get(head.length..).unwrap_or_default())
                .for_each(|value| self.pending.add_candidate(value, self.params.is_utf8()));
        }
        if head.statement.is_empty() {
            return Ok(self.bind_unnamed(message, head, io));
        }
        Ok(self.bind_named(message, head, io))
    }

    /// Whether a name may be one of SQL's `PREPARE`: the client has given it to nothing.
    fn is_sqls(&self, name: &[u8]) -> bool {
        !name.is_empty() && !name.starts_with(OURS) && !self.names.contains_key(name)
    }

    fn bind_unnamed(&mut self, message: Message<'_>, head: BindHead<'_>, io: &mut Io<'_>) -> Step {
        if self.doubts_shared() {
            return Step::Stop(Want::Answers);
        }
        if let Some(entry) = self.shared_for(message, io) {
            let step = self.forward_bind(message, head, entry.name(), io);
            self.owed.push(Owed::BindShared(entry));
            self.untold = None;
            return step;
        }
        let name = self.ensure_unnamed(io);
        self.owed.push(Owed::Bind(None));
        self.owe_taker(head.portal);
        self.forward_bind(message, head, name, io)
    }

    fn bind_named(&mut self, message: Message<'_>, head: BindHead<'_>, io: &mut Io<'_>) -> Step {
        let Ok(entry) = self.named(head.statement) else {
            return Step::Stop(Want::Answers);
        };
        let Some(entry) = entry else {
            self.owed.push(Owed::Bind(None));
            if self.is_sqls(head.statement) {
                return self.forward(message, io);
            }
            return self.forward_bind(message, head, &nobodys(head.statement), io);
        };
        if let Some(name) = entry.seen().deallocates()
            && let Some(step) = self.bind_deallocate(message, head, name, io)
        {
            return step;
        }
        let given = self.names.get(head.statement).map(Rc::clone);
        let (entry, fit) = match self.ensure_shape(entry, given.as_ref(), message, head.portal, io)
        {
            Ok(here) => here,
            Err(want) => return Step::Stop(want),
        };
        if fit == Fit::Not {
            self.owed.push(Owed::Misfit);
            return self.forward_bind(message, head, &misfit_name(), io);
        }
        self.counts.binds = self.counts.binds.wrapping_add(1);
        self.note(entry.seen(), entry.text());
        if takes_settings(entry.seen()) {
            self.bind_reset(head.portal, entry.seen());
        }
        if self.begins {
            self.may_be_sent_again(message, io);
        }
        let step = self.forward_bind(message, head, entry.name(), io);
        self.untold = given.filter(|_| fit == Fit::New).map(|given| Untold {
            given,
            portal: head.portal.into(),
        });
        self.owed.push(Owed::Bind(Some(entry)));
        self.owe_taker(head.portal);
        step
    }

    /// Sends a `Bind` on with another name of its statement.
    pub(super) fn forward_bind(
        &mut self,
        message: Message<'_>,
        head: BindHead<'_>,
        name: &[u8],
        io: &mut Io<'_>,
    ) -> Step {
        let body = message.frame.body as usize - head.length + head.portal.len() + name.len() + 2;
        let here = message.whole();
        let out = &mut *io.to_server;
        out.push(b'B');
        out.extend_from_slice(&(u32::try_from(body + 4).unwrap_or(u32::MAX)).to_be_bytes());
        out.extend_from_slice(head.portal);
        out.push(0);
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(here.get(5 + head.length..).unwrap_or_default());
        self.from_client = Passing {
            left: message.frame.total() - here.len(),
            ..Passing::default()
        };
        Step::Took(here.len())
    }

    /// Sees to it that this server has the client's last unnamed statement.
    /// Its name on the server: whoever had the server before may have left one there.
    pub(super) fn ensure_unnamed(&mut self, io: &mut Io<'_>) -> &'static [u8] {
        if !self.unnamed_here && self.unnamed.is_empty() {
            return NOBODYS;
        }
        if !self.unnamed_here && !self.unnamed.is_empty() {
            io.to_server.extend_from_slice(&self.unnamed);
            self.unnamed_here = true;
            self.owed.push(Owed::ParseUnnamed { hidden: true });
        }
        b""
    }

    /// The client's last unnamed statement is bound: takes in what running it may touch.
    #[cold]
    fn note_unnamed(&mut self, io: &Io<'_>) -> Seen {
        let conforming = io
            .known
            .as_ref()
            .is_none_or(|known| known.params.is_conforming());
        let unnamed = std::mem::take(&mut self.unnamed);
        let mut seen = Seen::default();
        if let Some(parse) = unnamed.get(5..).and_then(Parse::decode) {
            seen = sql::scan(parse.text, conforming);
            self.note(&seen, parse.text);
        } else if self.unnamed_long != Long::No {
            self.note_long();
            self.unnamed_long = Long::Used;
        }
        self.unnamed = unnamed;
        seen
    }
}
