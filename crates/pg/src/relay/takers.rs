//! `DEALLOCATE`, `RESET` and `DISCARD ALL` by the extended protocol. A client's name is not the server's,
//! and it goes when the statement is run, not when it is parsed or bound (C8); what a client connected
//! with is due again right behind what takes it (D6).
//!
//! Owns what stands for them on the server. By a simple query they are `super::local`'s and
//! `super::inserted`'s.

use std::rc::Rc;

use super::local::nobodys_text;
use super::owed::Owed;
use super::request::{Message, Step};
use super::{Io, Relay, Statement, Want, statement};
use crate::sql::{Flags, Seen};
use crate::wire::build;
use crate::wire::message::{self, BindHead};

/// The statement and the portal by which start-up values are put back. A client cannot have prepared
/// one of this name.
pub(super) const BACK: &[u8] = b"canter_start";

/// So many are followed. It costs each `Bind` a look at all of them, and whoever has more of them open in
/// one transaction means no good.
pub(super) const MOST: usize = 1024;
/// The longest name of a portal that PostgreSQL tells from others (`NAMEDATALEN`): one that is longer is
/// not followed either.
const LONGEST: usize = 63;

/// A portal that takes something away when it is run.
#[derive(Debug)]
pub(super) struct Taker {
    pub(super) portal: Box<[u8]>,
    /// Tells it from earlier ones of the same portal.
    number: u32,
    /// The server has answered its `Bind`.
    is_bound: bool,
    takes: Takes,
}

/// What it takes away.
#[derive(Debug)]
enum Takes {
    /// A prepared statement.
    Name {
        name: Box<[u8]>,
        entry: Rc<Statement>,
        /// As it is on this server.
        there: Rc<Statement>,
    },
    /// The value of a setting, or of all.
    Setting(Option<Box<str>>),
    /// The values of all, and the roles, in a transaction of its own: `DISCARD ALL`.
    Everything,
}

/// Whether it may take away what its client connected with.
pub(super) fn takes_settings(seen: &Seen) -> bool {
    !seen.resets.is_empty() || seen.flags.any(Flags::DISCARD_ALL)
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
            // With those of NOBODYS there is nothing to take away.
            let is_ours = name.starts_with("canter_") && !name.starts_with("canter_?");
            return is_ours.then(|| self.bind_nobodys(message, head, name, io));
        };
        if self.takers.len() >= MOST || head.portal.len() > LONGEST {
            // The server knows nothing of that name, and says so.
            return None;
        }
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
        self.takers_made = self.takers_made.wrapping_add(1);
        self.takers.push(Taker {
            portal: head.portal.into(),
            number: self.takers_made,
            is_bound: false,
            takes: Takes::Name {
                name: name.as_bytes().into(),
                entry,
                there,
            },
        });
        let step = self.forward_bind(message, head, b"", io);
        self.owed.push(Owed::Bind(None));
        self.owe_taker(head.portal);
        Some(step)
    }

    /// The name is one of ours, and this client has none such (C5).
    fn bind_nobodys(
        &mut self,
        message: Message<'_>,
        head: BindHead<'_>,
        name: &str,
        io: &mut Io<'_>,
    ) -> Step {
        statement::push_parse(b"", &nobodys_text(name), b"\0\0", io.to_server);
        self.unnamed_here = false;
        self.owed.push(Owed::ParseUnnamed { hidden: true });
        self.owed.push(Owed::Bind(None));
        self.forward_bind(message, head, b"", io)
    }

    /// This portal may be a `RESET` of what its client connected with, or a `DISCARD ALL`. It is one
    /// statement: of a text with several the server refuses the `Parse`.
    #[cold]
    pub(super) fn bind_reset(&mut self, portal: &[u8], seen: &Seen) {
        let takes = if seen.flags.any(Flags::DISCARD_ALL) {
            Takes::Everything
        } else if let Some(reset) = seen.resets.first() {
            Takes::Setting(reset.name.clone())
        } else {
            return;
        };
        // One that is not followed is noted: what it takes is put back when nothing is owed.
        let is_followed = self.takers.len() < MOST && portal.len() <= LONGEST;
        if self.start.is_empty() || !is_followed {
            return;
        }
        if matches!(takes, Takes::Everything) {
            // Should it run, all of that is put back at once; if not, nothing is due.
            self.pending.is_restored(None, &self.start);
        }
        self.takers_made = self.takers_made.wrapping_add(1);
        self.takers.push(Taker {
            portal: portal.into(),
            number: self.takers_made,
            is_bound: false,
            takes,
        });
    }

    /// The `Bind` that was pushed last is of this portal: if that is a taker, it is one no more when
    /// the `Bind` is skipped.
    #[inline]
    pub(super) fn owe_taker(&mut self, portal: &[u8]) {
        if let Some(taker) = self.takers.last()
            && *taker.portal == *portal
        {
            self.owed.push(Owed::Takes(taker.number));
        }
    }

    /// The `Bind` of this one was answered.
    #[cold]
    pub(super) fn taker_is_bound(&mut self, number: u32) {
        let takers = self.takers.iter_mut();
        takers
            .filter(|taker| taker.number == number)
            .for_each(|taker| taker.is_bound = true);
    }

    /// The `Bind` of this one was skipped.
    #[cold]
    pub(super) fn taker_is_skipped(&mut self, number: u32) {
        self.takers.retain(|taker| taker.number != number);
    }

    /// No transaction is open any more, and portals end with theirs. Answers come in order: what is
    /// not bound by now is of a later one, sent ahead.
    #[inline]
    pub(super) fn takers_end(&mut self) {
        self.takers.retain(|taker| !taker.is_bound);
    }

    /// Runs a portal that may be a taker.
    pub(super) fn execute_taker(&mut self, message: Message<'_>, io: &mut Io<'_>) -> Step {
        let mut body = message.body();
        let portal = message::take_cstr(&mut body).unwrap_or_default();
        let taker = self.takers.iter().find(|taker| *taker.portal == *portal);
        let Some(taker) = taker else {
            self.owed.push(Owed::Execute);
            return self.forward(message, io);
        };
        match &taker.takes {
            Takes::Setting(name) => {
                let behind = self.start.behind_reset(name.as_deref());
                self.pending.is_restored(name.as_deref(), &self.start);
                self.owed.push(Owed::Execute);
                let step = self.forward(message, io);
                self.put_back(&behind, io);
                step
            }
            Takes::Everything => {
                // It commits by itself, so that what follows cannot undo it, and may not be run within
                // a transaction that something else has begun.
                let mut behind = vec![b"BEGIN".to_vec()];
                behind.append(&mut self.start.behind_discard());
                behind.push(b"COMMIT".to_vec());
                self.owed.push(Owed::Execute);
                let step = self.forward(message, io);
                self.put_back(&behind, io);
                step
            }
            Takes::Name { name, entry, there } => {
                let (name, entry, there) = (name.clone(), Rc::clone(entry), Rc::clone(there));
                let owed = self.takes_name(&name, &entry, &there, io);
                self.owed.push(owed);
                self.forward(message, io)
            }
        }
    }

    /// What is owed for running a `DEALLOCATE`: the name comes back if it fails.
    fn takes_name(
        &mut self,
        name: &[u8],
        entry: &Rc<Statement>,
        there: &Rc<Statement>,
        io: &mut Io<'_>,
    ) -> Owed {
        if let Some(known) = io.known.as_deref_mut() {
            known.prepared.goes(there);
        }
        let named = self.names.get(name);
        if named.is_some_and(|named| Rc::ptr_eq(&named.statement, entry))
            && let Some(gone) = self.names.remove_entry(name)
        {
            return Owed::Deallocate(Box::new(gone));
        }
        // The name is gone already: on the server, too, it finds nothing.
        self.close_stale(there, io);
        Owed::Execute
    }

    /// Sends these statements as steps of the same segment: what skips or undoes the `RESET` does so
    /// with them.
    fn put_back(&mut self, statements: &[Vec<u8>], io: &mut Io<'_>) {
        let out = &mut *io.to_server;
        for sql in statements {
            // One that was skipped may have left its statement behind.
            build::close_statement(out, BACK);
            statement::push_parse(BACK, sql, b"\0\0", out);
            build::message(out, b'B', |out| {
                build::cstr(out, BACK);
                build::cstr(out, BACK);
                // Neither parameters nor formats.
                out.extend_from_slice(&[0; 6]);
            });
            build::message(out, b'E', |out| {
                build::cstr(out, BACK);
                // All rows.
                out.extend_from_slice(&[0; 4]);
            });
            build::message(out, b'C', |out| {
                out.push(b'P');
                build::cstr(out, BACK);
            });
            (0..5).for_each(|_| self.owed.push(Owed::Ours));
        }
        if !statements.is_empty() {
            build::close_statement(out, BACK);
            self.owed.push(Owed::Ours);
        }
    }
}
