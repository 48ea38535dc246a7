//! A server in the hands of one session. Given back, or closed: dropping it closes the server, so
//! that a session that ends in any way costs at most its own server.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use tokio::time::Instant;

use super::host::Held;
use super::look::Facts;
use super::one::Pool;
use super::pins::{Pin, PinRefused};
use super::stats::{add, bump};
use super::{Connect, Link, WaitInfo};
use crate::cancel::{Aim, Seat};

/// How much of a statement is kept to be shown.
pub(crate) const SHOWN: usize = 100;

/// A server in use, as others see it.
pub(crate) struct InUse {
    pub(crate) client: Rc<str>,
    pub(crate) since: Instant,
    pub(crate) pid: Option<i32>,
    /// How to cancel what it runs.
    pub(crate) aim: Option<Rc<Aim>>,
    seat: Option<Rc<Seat>>,
    pub(crate) pin: Option<usize>,
    pub(crate) facts: Rc<Facts>,
    /// The pool's when the server was opened.
    pub(crate) generation: u32,
    /// The beginning of what runs, or ran last.
    text: [u8; SHOWN],
    text_len: usize,
}

impl InUse {
    /// The session that has it.
    pub(crate) fn seat(&self) -> Option<&Rc<Seat>> {
        self.seat.as_ref()
    }

    /// The beginning of what runs, in one line.
    pub(crate) fn text(&self) -> String {
        let text = self.text.get(..self.text_len).unwrap_or_default();
        one_line(text)
    }
}

pub(crate) struct Lease<C: Connect> {
    held: Option<Held<C>>,
    pool: Rc<Pool<C>>,
    slot: usize,
    since: Instant,
    /// Since when the server works; from the beginning, which saves reading the clock again.
    asked: Cell<Option<Instant>>,
    /// Since when a transaction is open.
    began: Cell<Option<Instant>>,
}

impl<C: Connect> Lease<C> {
    pub(crate) fn new(held: Held<C>, pool: Rc<Pool<C>>, who: &WaitInfo) -> Self {
        let since = Instant::now();
        let in_use = InUse {
            client: Rc::clone(&who.client),
            since,
            pid: held.server.pid(),
            aim: held.server.aim(),
            seat: who.seat.clone(),
            pin: None,
            facts: Rc::clone(&held.facts),
            generation: held.generation,
            text: [0; SHOWN],
            text_len: 0,
        };
        if let Some(seat) = &in_use.seat {
            seat.set_aim(in_use.aim.clone());
            seat.handle.asked_at(since);
        }
        bump(&pool.counters.leases);
        let slot = pool.in_use.borrow_mut().insert(in_use);
        Self {
            held: Some(held),
            pool,
            slot,
            since,
            asked: Cell::new(Some(since)),
            began: Cell::new(Some(since)),
        }
    }

    /// The server is as it should be for the next one: idle, no reply owed, its label noted.
    pub(crate) fn give_back(mut self) {
        if let Some(mut held) = self.held.take() {
            let now = Instant::now();
            self.leave(now);
            held.facts.prepared.set(held.server.prepared());
            held.idle_since = now;
            self.pool.take_back_at(held, now);
        }
    }

    /// The server cannot be used again.
    pub(crate) fn close(mut self) {
        self.close_held();
    }

    /// Notes the beginning of the statement in these messages of the client, to be shown to who
    /// has to wait.
    pub(crate) fn running(&self, messages: &[u8]) {
        let Some(text) = statement(messages) else {
            return;
        };
        if let Some(in_use) = self.pool.in_use.borrow_mut().get_mut(self.slot) {
            let len = text.len().min(SHOWN);
            if let (Some(to), Some(from)) = (in_use.text.get_mut(..len), text.get(..len)) {
                to.copy_from_slice(from);
                in_use.text_len = len;
            }
        }
    }

    /// The session keeps this server outside of transactions, because of `reason`.
    ///
    /// # Errors
    /// When too many do already; the session must end, since its state cannot be carried.
    pub(crate) fn pin(&self, reason: &'static str, text: &[u8]) -> Result<(), PinRefused> {
        let mut all = self.pool.in_use.borrow_mut();
        let Some(in_use) = all.get_mut(self.slot) else {
            return Ok(());
        };
        let pins = &self.pool.host.pins;
        if let Some(pin) = in_use.pin {
            pins.add_reason(pin, reason);
            return Ok(());
        }
        let cap = self.pool.host.pin_bound();
        let pin = Pin {
            reasons: vec![reason],
            since: Instant::now(),
            client: Rc::clone(&in_use.client),
            text: one_line(text.get(..text.len().min(SHOWN)).unwrap_or_default()),
            database: self.pool.key.database.clone(),
            user: self.pool.key.user.clone(),
            seat: in_use.seat.clone(),
        };
        in_use.pin = Some(pins.add(pin, cap)?);
        Ok(())
    }

    /// The session holds nothing any more that needs this server.
    pub(crate) fn unpin(&self) {
        if let Some(in_use) = self.pool.in_use.borrow_mut().get_mut(self.slot)
            && let Some(pin) = in_use.pin.take()
        {
            self.pool.host.pins.remove(pin);
        }
    }

    /// The server has something to do.
    pub(crate) fn working(&self) {
        if self.asked.get().is_none() {
            let now = Instant::now();
            self.asked.set(Some(now));
            if self.began.get().is_none() {
                self.began.set(Some(now));
            }
        }
    }

    /// The server has answered all, and no transaction is open.
    pub(crate) fn transaction_over(&self) {
        if self.asked.get().is_some() {
            let now = Instant::now();
            self.answered_at(now);
            self.over_at(now);
        }
    }

    fn over_at(&self, now: Instant) {
        if let Some(began) = self.began.take() {
            let took = now.saturating_duration_since(began).as_micros();
            bump(&self.pool.counters.transactions);
            add(
                &self.pool.counters.transaction_us,
                u64::try_from(took).unwrap_or(u64::MAX),
            );
        }
    }

    /// The server has answered all and waits for the client.
    pub(crate) fn answered(&self) {
        if self.asked.get().is_some() {
            self.answered_at(Instant::now());
        }
    }

    fn answered_at(&self, now: Instant) {
        if let Some(asked) = self.asked.take() {
            bump(&self.pool.counters.queries);
            self.pool
                .counters
                .query_time
                .record(now.saturating_duration_since(asked));
        }
    }

    fn close_held(&mut self) {
        if let Some(held) = self.held.take() {
            self.leave(Instant::now());
            self.pool.close(held);
        }
    }

    fn leave(&self, now: Instant) {
        self.unpin();
        self.answered_at(now);
        self.over_at(now);
        let in_use = self.pool.in_use.borrow_mut().try_remove(self.slot);
        if let Some(seat) = in_use.and_then(|in_use| in_use.seat) {
            seat.set_aim(None);
        }
        self.pool
            .counters
            .lease_time
            .record(now.saturating_duration_since(self.since));
    }
}

impl<C: Connect> Drop for Lease<C> {
    fn drop(&mut self) {
        self.close_held();
    }
}

impl<C: Connect> Deref for Lease<C> {
    type Target = C::Server;

    #[expect(
        clippy::expect_used,
        reason = "only `give_back`, `close` and `drop` take it, with self"
    )]
    fn deref(&self) -> &C::Server {
        &self
            .held
            .as_ref()
            .expect("a lease has its server until it ends")
            .server
    }
}

impl<C: Connect> DerefMut for Lease<C> {
    #[expect(
        clippy::expect_used,
        reason = "only `give_back`, `close` and `drop` take it, with self"
    )]
    fn deref_mut(&mut self) -> &mut C::Server {
        &mut self
            .held
            .as_mut()
            .expect("a lease has its server until it ends")
            .server
    }
}

/// The text of a `Query` or `Parse` at the start of these messages, as far as it is there.
fn statement(messages: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = (messages.first()?, messages.get(5..)?);
    match tag {
        b'Q' => Some(until_nul(rest)),
        b'P' => Some(until_nul(rest.get(until_nul(rest).len() + 1..)?)),
        _ => None,
    }
}

fn until_nul(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// Statement text for a message: one line, no control characters.
pub(crate) fn one_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
