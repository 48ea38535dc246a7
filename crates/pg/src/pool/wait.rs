//! A client that waits for a server: its place in the queue, and what ends its wait.
//! May be dropped at any point: its place is freed, and a server already handed to it goes to the
//! next one. Leaves who is next to `one` and `host`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::time::Instant;

use super::host::Held;
use super::lease::Lease;
use super::one::Pool;
use super::{Connect, WaitInfo};
use crate::wire::SqlError;

enum Slot<C: Connect> {
    Waiting(Option<Waker>),
    Ready(Result<Held<C>, SqlError>),
    Gone,
}

/// Whether a client was told that it waits.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Told {
    #[default]
    No,
    Due,
    Yes,
}

/// A place in the queue.
pub(crate) struct Waiter<C: Connect> {
    /// Smaller is older, over all pools of a host.
    pub(crate) ticket: u64,
    pub(crate) since: Instant,
    told: Cell<Told>,
    slot: RefCell<Slot<C>>,
}

impl<C: Connect> Waiter<C> {
    pub(crate) fn new(ticket: u64, since: Instant) -> Rc<Self> {
        Rc::new(Self {
            ticket,
            since,
            told: Cell::default(),
            slot: RefCell::new(Slot::Waiting(None)),
        })
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(*self.slot.borrow(), Slot::Waiting(_))
    }

    /// It shall tell its client that it waits; once.
    pub(crate) fn tell(&self) {
        if let Slot::Waiting(waker) = &mut *self.slot.borrow_mut()
            && self.told.get() == Told::No
        {
            self.told.set(Told::Due);
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    /// Ends the wait. Only for one that is waiting.
    pub(crate) fn end(&self, with: Result<Held<C>, SqlError>) {
        let before = self.slot.replace(Slot::Ready(with));
        if let Slot::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// Waits until the queue has come to it.
pub(crate) struct Wait<C: Connect> {
    waiter: Rc<Waiter<C>>,
    pool: Rc<Pool<C>>,
    done: Cell<bool>,
}

impl<C: Connect> Wait<C> {
    pub(crate) fn new(waiter: Rc<Waiter<C>>, pool: Rc<Pool<C>>) -> Self {
        Self {
            waiter,
            pool,
            done: Cell::new(false),
        }
    }
}

impl<C: Connect> Wait<C> {
    /// When it began.
    pub(crate) fn since(&self) -> Instant {
        self.waiter.since
    }

    /// What its client is to be told now, while it waits on.
    pub(crate) fn take_notice(&self) -> Option<SqlError> {
        if self.waiter.told.get() != Told::Due {
            return None;
        }
        self.waiter.told.set(Told::Yes);
        Some(self.pool.wait_notice(Instant::now()))
    }

    /// The end of the wait. Whose it is is asked for only then: nothing of a session that waits is
    /// kept here.
    pub(crate) fn poll_lease(
        &self,
        cx: &mut Context<'_>,
        who: &WaitInfo,
    ) -> Poll<Result<Lease<C>, SqlError>> {
        let end = ready!(self.poll_end(cx));
        let now = Instant::now();
        let waited = now.saturating_duration_since(self.waiter.since);
        self.pool.counters.wait_time.record(waited);
        Poll::Ready(end.map(|held| Lease::new(held, Rc::clone(&self.pool), who, now)))
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Result<Held<C>, SqlError>> {
        let mut slot = self.waiter.slot.borrow_mut();
        if let Slot::Waiting(waker) = &mut *slot {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        match std::mem::replace(&mut *slot, Slot::Gone) {
            Slot::Ready(end) => {
                self.done.set(true);
                Poll::Ready(end)
            }
            // Polled again after its end: nothing will come.
            Slot::Waiting(_) | Slot::Gone => Poll::Pending,
        }
    }
}

impl<C: Connect> Drop for Wait<C> {
    fn drop(&mut self) {
        if self.done.get() {
            return;
        }
        let slot = self.waiter.slot.replace(Slot::Gone);
        match slot {
            Slot::Waiting(_) => self.pool.one_left(),
            Slot::Ready(Ok(held)) => self.pool.take_back(held),
            Slot::Ready(Err(_)) | Slot::Gone => {}
        }
    }
}
