//! `DEALLOCATE` by the extended protocol: a client's name is not the server's, and it goes when the
//! statement is run, not when it is parsed or bound (C8).
//!
//! Owns what stands for it on the server. By a simple query it is `super::local`'s.

use std::rc::Rc;

use super::local::NOBODYS_TEXT;
use super::owed::Owed;
use super::request::{Message, Step};
use super::{Io, Relay, Statement, Want, statement};
use crate::wire::message::{self, BindHead};

/// A portal that takes a prepared statement away when it is run.
#[derive(Debug)]
pub(super) struct Taker {
    pub(super) portal: Box<[u8]>,
    name: Box<[u8]>,
    entry: Rc<Statement>,
    /// As it is on this server.
    there: Rc<Statement>,
}

impl Relay {
    /// A `Bind` of `DEALLOCATE` with a name that only this client knows: on the server ours stands
    /// for it, in a statement of our own (C8). Nothing is taken away before it runs.
    pub(super) fn bind_deallocate(
        &mut self,
        message: Message<'_>,
        head: BindHead<'_>,
        name: &str,
        io: &mut Io<'_>,
    ) -> Option<Step> {
        let Ok(entry) = self.named(name.as_bytes()) else {
            return Some(Step::Stop(Want::Answers));
        };
        let Some(entry) = entry else {
            // With the last one there is nothing to take away.
            let is_ours = name.starts_with("canter_") && name != "canter_?";
            return is_ours.then(|| self.bind_nobodys(message, head, io));
        };
        if self.pending.discards() && !self.owed.is_empty() {
            return Some(Step::Stop(Want::Answers));
        }
        let Some(there) = self.ensure(Rc::clone(&entry), io) else {
            return Some(Step::Stop(Want::Answers));
        };
        let text = [b"DEALLOCATE ", there.name()].concat();
        statement::push_parse(b"", &text, b"\0\0", io.to_server);
        self.unnamed_here = false;
        self.owed.push(Owed::ParseUnnamed { hidden: true });
        self.takers.push(Taker {
            portal: head.portal.into(),
            name: name.as_bytes().into(),
            entry,
            there,
        });
        let step = self.forward_bind(message, head, b"", io);
        self.owed.push(Owed::BindTaker(head.portal.into()));
        Some(step)
    }

    /// The name is one of ours, and this client has none such (C5).
    fn bind_nobodys(&mut self, message: Message<'_>, head: BindHead<'_>, io: &mut Io<'_>) -> Step {
        statement::push_parse(b"", NOBODYS_TEXT, b"\0\0", io.to_server);
        self.unnamed_here = false;
        self.owed.push(Owed::ParseUnnamed { hidden: true });
        self.owed.push(Owed::Bind(None));
        self.forward_bind(message, head, b"", io)
    }

    /// What is owed for running a portal: the name that its `DEALLOCATE` takes away comes back if it
    /// fails.
    pub(super) fn executed(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Owed {
        let mut body = message.body();
        let portal = message::take_cstr(&mut body).unwrap_or_default();
        let taker = self.takers.iter().find(|taker| *taker.portal == *portal);
        let Some(Taker {
            name, entry, there, ..
        }) = taker
        else {
            return Owed::Execute;
        };
        if let Some(known) = io.known.as_deref_mut() {
            known.prepared.goes(there);
        }
        let named = self.names.get(name);
        if named.is_some_and(|named| Rc::ptr_eq(named, entry))
            && let Some(gone) = self.names.remove_entry(name)
        {
            return Owed::Deallocate(Box::new(gone));
        }
        // The name is gone already: on the server, too, it finds nothing.
        let there = Rc::clone(there);
        self.close_stale(&there, io);
        Owed::Execute
    }
}
