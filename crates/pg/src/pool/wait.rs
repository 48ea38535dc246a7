//! A client that waits for a server: its place in the queue, and the future it sleeps in.
//! May be dropped at any point: its place is freed, and a server already handed to it goes to the
//! next one. Leaves who is next to `one` and `host`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use super::Connect;
use super::host::Held;
use super::one::Pool;
use crate::wire::SqlError;

enum Slot<C: Connect> {
    Waiting(Option<Waker>),
    Ready(Result<Held<C>, SqlError>),
    Gone,
}

/// A place in the queue.
pub(crate) struct Waiter<C: Connect> {
    /// Smaller is older, over all pools of a host.
    pub(crate) ticket: u64,
    pub(crate) since: Instant,
    slot: RefCell<Slot<C>>,
}

impl<C: Connect> Waiter<C> {
    pub(crate) fn new(ticket: u64) -> Rc<Self> {
        Rc::new(Self {
            ticket,
            since: Instant::now(),
            slot: RefCell::new(Slot::Waiting(None)),
        })
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(*self.slot.borrow(), Slot::Waiting(_))
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

impl<C: Connect> Future for Wait<C> {
    type Output = Result<Held<C>, SqlError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
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
