//! Sessions that hold a server outside of transactions: how many may, who does and why.
//! Leaves knowing when a session must to `relay`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

use super::Connect;
use super::host::Host;
use crate::cancel::Seat;

/// A session that holds its server, as the console shows it.
#[derive(Debug, Clone)]
pub struct PinStats {
    /// The client.
    pub client: String,
    /// Its database.
    pub database: String,
    /// Why: `advisory lock`, `temporary table`...
    pub reasons: String,
    /// For how long.
    pub age: Duration,
    /// The beginning of the statement that did it.
    pub text: String,
}

pub(crate) struct Pin {
    pub(crate) reasons: Vec<&'static str>,
    pub(crate) since: Instant,
    pub(crate) client: Rc<str>,
    pub(crate) text: String,
    pub(crate) database: Box<str>,
    pub(crate) user: Box<str>,
    pub(crate) seat: Option<Rc<Seat>>,
}

impl Pin {
    /// Whether only `nextval` keeps it (D12).
    fn is_soft(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.handle.is_soft())
    }
}

/// Too many sessions are pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PinRefused {
    /// How many may be.
    pub(crate) cap: u32,
}

/// Those of one host.
#[derive(Default)]
pub(crate) struct Pins {
    all: RefCell<Slab<Pin>>,
    refused: Cell<u64>,
    /// Places kept for sessions that are about to be pinned.
    kept: Cell<u32>,
    /// Who waits for a place, first come, first served.
    queue: RefCell<VecDeque<Rc<Cell<Option<Waker>>>>>,
}

/// A place kept for a session that is about to be pinned.
pub(crate) struct Turn<C: Connect>(Rc<Host<C>>);

impl<C: Connect> Drop for Turn<C> {
    fn drop(&mut self) {
        let kept = &self.0.pins.kept;
        kept.set(kept.get().saturating_sub(1));
        self.0.pins.wake_first();
    }
}

/// A place in the queue; left when it is dropped.
struct InQueue<'a>(&'a Pins, Rc<Cell<Option<Waker>>>);

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.borrow_mut();
        queue.retain(|other| !Rc::ptr_eq(other, &self.1));
        drop(queue);
        self.0.wake_first();
    }
}

impl<C: Connect> Host<C> {
    /// A place among the pinned, when one is free and nobody waits.
    pub(crate) fn try_pin_turn(self: &Rc<Self>) -> Option<Turn<C>> {
        if self.pins.is_full(self.pin_cap()) {
            return None;
        }
        Some(self.keep_place())
    }

    fn keep_place(self: &Rc<Self>) -> Turn<C> {
        let kept = &self.pins.kept;
        kept.set(kept.get().saturating_add(1));
        Turn(Rc::clone(self))
    }

    /// Waits for a place among the pinned.
    pub(crate) async fn pin_turn(self: &Rc<Self>) -> Turn<C> {
        let pins = &self.pins;
        let place = Rc::default();
        pins.queue.borrow_mut().push_back(Rc::clone(&place));
        let in_queue = InQueue(pins, place);
        poll_fn(|cx| {
            let is_first = pins
                .queue
                .borrow()
                .front()
                .is_some_and(|first| Rc::ptr_eq(first, &in_queue.1));
            if is_first && pins.taken() < self.pin_cap() {
                return Poll::Ready(self.keep_place());
            }
            in_queue.1.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

impl Pins {
    pub(crate) fn add(&self, pin: Pin, cap: u32) -> Result<usize, PinRefused> {
        if self.hard() >= cap {
            self.refused.set(self.refused.get().wrapping_add(1));
            return Err(PinRefused { cap });
        }
        Ok(self.all.borrow_mut().insert(pin))
    }

    pub(crate) fn add_reason(&self, at: usize, reason: &'static str) {
        if let Some(pin) = self.all.borrow_mut().get_mut(at)
            && !pin.reasons.contains(&reason)
        {
            pin.reasons.push(reason);
        }
    }

    pub(crate) fn remove(&self, at: usize) {
        self.all.borrow_mut().try_remove(at);
        self.wake_first();
    }

    fn wake_first(&self) {
        let queue = self.queue.borrow();
        if let Some(waker) = queue.front().and_then(|first| first.take()) {
            waker.wake();
        }
    }

    /// Those that do not give way when they are asked to.
    fn hard(&self) -> u32 {
        let all = self.all.borrow();
        let hard = all.iter().filter(|(_, pin)| !pin.is_soft()).count();
        u32::try_from(hard).unwrap_or(u32::MAX)
    }

    fn taken(&self) -> u32 {
        self.hard().saturating_add(self.kept.get())
    }

    /// Who is pinned and why, for one who waits.
    pub(crate) fn words(&self) -> String {
        const SHOWN: usize = 3;
        let now = Instant::now();
        let one = |pin: &Pin| {
            let age = now.saturating_duration_since(pin.since).as_secs_f32();
            let (client, reasons, text) = (&pin.client, pin.reasons.join(", "), &pin.text);
            format!("{client} for {age:.1} s ({reasons}: {text})")
        };
        let all = self.all.borrow();
        let shown: Vec<_> = all.iter().take(SHOWN).map(|(_, pin)| one(pin)).collect();
        shown.join("; ")
    }

    /// Whether another one must wait for a place.
    pub(crate) fn is_full(&self, cap: u32) -> bool {
        self.taken() >= cap || !self.queue.borrow().is_empty()
    }

    /// Asks those that only `nextval` keeps to let go.
    pub(crate) fn press(&self) {
        for (_, pin) in self.all.borrow().iter() {
            if let Some(seat) = pin.seat.as_ref().filter(|_| pin.is_soft()) {
                seat.handle.give_way();
            }
        }
    }

    /// Who waits for a place among them.
    pub(crate) fn waiting(&self) -> u32 {
        u32::try_from(self.queue.borrow().len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.borrow().len()
    }

    /// Those of one pool.
    pub(crate) fn stats(&self, database: &str, user: &str) -> Vec<PinStats> {
        let now = Instant::now();
        self.all
            .borrow()
            .iter()
            .filter(|(_, pin)| &*pin.database == database && &*pin.user == user)
            .map(|(_, pin)| PinStats {
                client: pin.client.to_string(),
                database: pin.database.to_string(),
                reasons: pin.reasons.join(", "),
                age: now.saturating_duration_since(pin.since),
                text: pin.text.clone(),
            })
            .collect()
    }
}
