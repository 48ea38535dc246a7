//! A server in the hands of one session. Given back, or closed: dropping it closes the server, so
//! that a session that ends in any way costs at most its own server.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use canter_base::warn;
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
    client: Option<Rc<str>>,
    pub(crate) since: Instant,
    pub(crate) pid: Option<i32>,
    /// How to cancel what it runs.
    pub(crate) aim: Option<Rc<Aim>>,
    seat: Option<Rc<Seat>>,
    pub(crate) pin: Option<usize>,
    pub(crate) facts: Rc<Facts>,
    /// The pool's when the server was opened.
    pub(crate) generation: u32,
    /// The client speaks with it itself.
    pub(crate) lent: bool,
}

impl InUse {
    /// The session that has it.
    pub(crate) fn seat(&self) -> Option<&Rc<Seat>> {
        self.seat.as_ref()
    }

    /// The client in words.
    pub(crate) fn client(&self) -> &str {
        let seat = self.seat.as_ref().map(|seat| seat.handle.client());
        seat.or(self.client.as_ref()).map_or("", |client| client)
    }

    /// The beginning of what runs, in one line.
    pub(crate) fn text(&self) -> String {
        one_line(&self.facts.text.borrow())
    }
}

pub(crate) struct Lease<C: Connect> {
    held: Option<Held<C>>,
    pool: Rc<Pool<C>>,
    slot: usize,
}

/// When a server that somebody has was given what to do. Kept with the server: what many sessions
/// take turns with stays in the processor's caches, their own memory does not.
pub(crate) struct Times {
    since: Cell<Instant>,
    /// Since when the server works; from the beginning, which saves reading the clock again.
    asked: Cell<Option<Instant>>,
    /// Since when a transaction is open.
    began: Cell<Option<Instant>>,
}

impl Times {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: Cell::new(now),
            asked: Cell::new(Some(now)),
            began: Cell::new(Some(now)),
        }
    }
}

impl<C: Connect> Lease<C> {
    pub(crate) fn new(
        mut held: Held<C>,
        pool: Rc<Pool<C>>,
        who: &WaitInfo,
        since: Instant,
    ) -> Self {
        held.times = Times::new(since);
        held.facts.text.borrow_mut().clear();
        let in_use = InUse {
            // A session knows it, too.
            client: who.seat.is_none().then(|| Rc::clone(&who.client)),
            since,
            pid: held.server.pid(),
            aim: held.server.aim(),
            seat: who.seat.clone(),
            pin: None,
            facts: Rc::clone(&held.facts),
            generation: held.generation,
            lent: false,
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
        }
    }

    /// The server is as it should be for the next one: idle, no reply owed, its label noted.
    pub(crate) fn give_back(mut self) {
        if let Some(mut held) = self.held.take() {
            let now = Instant::now();
            self.leave(&held.times, now);
            held.facts.prepared.set(held.server.prepared());
            held.idle_since = now;
            self.pool.take_back_at(held, now);
        }
    }

    /// When it was handed out.
    pub(crate) fn since(&self) -> Instant {
        self.times()
            .map_or_else(Instant::now, |times| times.since.get())
    }

    /// The server cannot be used again.
    pub(crate) fn close(mut self) {
        self.close_held();
    }

    /// It was to be given back, but something is still under way on it: whoever got it would read
    /// another's answers. That is a fault of ours, and costs the server alone.
    pub(crate) fn unsettled(mut self) {
        let pid = self.held.as_ref().and_then(|held| held.server.pid());
        let pid = pid.unwrap_or_default();
        warn!(
            "a server connection was closed and not given back: it was not through with its client",
            server = pid
        );
        bump(&self.pool.counters.unsettled);
        self.close_held();
    }

    /// Notes the beginning of the statement in these messages of the client, to be shown to who
    /// has to wait.
    pub(crate) fn running(&self, messages: &[u8]) {
        let Some(text) = statement(messages) else {
            return;
        };
        if let Some(held) = &self.held {
            let mut shown = held.facts.text.borrow_mut();
            shown.clear();
            shown.extend_from_slice(text.get(..SHOWN).unwrap_or(text));
        }
    }

    /// The session keeps this server outside of transactions, because of `reason`.
    ///
    /// # Errors
    /// When too many do already; the session must end, since its state cannot be carried.
    pub(crate) fn pin(&self, reason: &'static str, text: &[u8]) -> Result<(), PinRefused> {
        // Looks at all that are in use.
        let cap = self.pool.host.pin_bound();
        let mut all = self.pool.in_use.borrow_mut();
        let Some(in_use) = all.get_mut(self.slot) else {
            return Ok(());
        };
        let pins = &self.pool.host.pins;
        if let Some(pin) = in_use.pin {
            pins.add_reason(pin, reason);
            return Ok(());
        }
        let pin = Pin {
            reasons: vec![reason],
            since: Instant::now(),
            client: in_use.client().into(),
            text: one_line(text.get(..text.len().min(SHOWN)).unwrap_or_default()),
            database: self.pool.key.database.clone(),
            user: self.pool.key.user.clone(),
            seat: in_use.seat.clone(),
        };
        in_use.pin = Some(pins.add(pin, cap)?);
        Ok(())
    }

    /// Whether it has a place among the pinned.
    pub(crate) fn is_pinned(&self) -> bool {
        let all = self.pool.in_use.borrow();
        all.get(self.slot).is_some_and(|it| it.pin.is_some())
    }

    /// It is lent to the client: not seen to work from here on.
    pub(crate) fn lent(&self) {
        self.unused();
        if let Some(in_use) = self.pool.in_use.borrow_mut().get_mut(self.slot) {
            in_use.lent = true;
            in_use.facts.text.replace(b"(lent to its client)".to_vec());
        }
    }

    /// Nothing was asked of it.
    pub(crate) fn unused(&self) {
        if let Some(times) = self.times() {
            times.asked.set(None);
            times.began.set(None);
        }
    }

    /// Whether nothing stands against its client going on with it.
    pub(crate) fn may_stay(&self, now: Instant) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| self.pool.may_keep(held, now))
    }

    /// The server has something to do.
    pub(crate) fn working(&self) {
        let Some(times) = self.times() else { return };
        if times.asked.get().is_none() {
            let now = Instant::now();
            times.asked.set(Some(now));
            if times.began.get().is_none() {
                times.began.set(Some(now));
            }
        }
    }

    /// The server has answered all, and no transaction is open.
    pub(crate) fn transaction_over(&self) {
        if let Some(times) = self.times()
            && times.asked.get().is_some()
        {
            let now = Instant::now();
            self.answered_at(times, now);
            self.over_at(times, now);
        }
    }

    fn times(&self) -> Option<&Times> {
        self.held.as_ref().map(|held| &held.times)
    }

    fn over_at(&self, times: &Times, now: Instant) {
        if let Some(began) = times.began.take() {
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
        if let Some(times) = self.times()
            && times.asked.get().is_some()
        {
            self.answered_at(times, Instant::now());
        }
    }

    fn answered_at(&self, times: &Times, now: Instant) {
        if let Some(asked) = times.asked.take() {
            bump(&self.pool.counters.queries);
            self.pool
                .counters
                .query_time
                .record(now.saturating_duration_since(asked));
        }
    }

    fn close_held(&mut self) {
        if let Some(held) = self.held.take() {
            self.leave(&held.times, Instant::now());
            self.pool.close(held);
        }
    }

    fn leave(&self, times: &Times, now: Instant) {
        self.answered_at(times, now);
        self.over_at(times, now);
        let in_use = self.pool.in_use.borrow_mut().try_remove(self.slot);
        let was_lent = in_use.as_ref().is_some_and(|in_use| in_use.lent);
        if let Some(pin) = in_use.as_ref().and_then(|in_use| in_use.pin) {
            self.pool.host.pins.remove(pin);
        }
        if let Some(seat) = in_use.and_then(|in_use| in_use.seat) {
            seat.set_aim(None);
        }
        if !was_lent {
            self.pool
                .counters
                .lease_time
                .record(now.saturating_duration_since(times.since.get()));
        }
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
