//! Owns how many streams of one connection are at work at once.
//! Leaves running them to `exchange`, and the most that may be open to the settings of the crate.
//!
//! A client may ask for a hundred responses in one packet and open no window for any. So a new
//! connection begins with fewer; each response that the client takes, in whole or in part, lets
//! one more begin. Requests beyond wait where they cost a few hundred bytes, and run no app.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

/// Streams at work, of which nothing was taken yet, on a connection that has shown nothing.
const FIRST: usize = 24;

/// What is known of a connection's streams.
#[derive(Default)]
pub(super) struct Streams {
    active: Cell<usize>,
    /// Those of them of which the client has taken nothing.
    untaken: Cell<usize>,
    /// Responses that the client has taken something of, ever.
    taken: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Streams {
    /// Streams at work.
    pub fn active(&self) -> usize {
        self.active.get()
    }

    /// Whether one more may begin; the caller is woken when this may have changed.
    pub fn may_begin(&self, cx: &Context<'_>) -> bool {
        let most = FIRST.saturating_add(self.taken.get());
        if self.untaken.get() < most {
            return true;
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        false
    }

    /// One more begins.
    pub fn begin(self: &Rc<Self>) -> Active {
        self.active.set(self.active.get() + 1);
        self.untaken.set(self.untaken.get() + 1);
        Active {
            streams: Rc::clone(self),
            is_taken: Cell::new(false),
        }
    }
}

/// A stream at work, until it is dropped.
pub(super) struct Active {
    streams: Rc<Streams>,
    is_taken: Cell<bool>,
}

impl Active {
    /// The client has let some of the response come, or all of it.
    pub fn take(&self) {
        if !self.is_taken.replace(true) {
            let taken = self.streams.taken.get();
            self.streams.taken.set(taken.saturating_add(1));
            self.settle();
        }
    }

    fn settle(&self) {
        let untaken = self.streams.untaken.get();
        self.streams.untaken.set(untaken.saturating_sub(1));
        if let Some(waker) = self.streams.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let active = self.streams.active.get();
        self.streams.active.set(active.saturating_sub(1));
        if !self.is_taken.get() {
            self.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_begin(streams: &Streams) -> bool {
        streams.may_begin(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn h5_who_takes_nothing_has_few_at_work_and_who_takes_has_more() {
        let streams = Rc::new(Streams::default());
        let mut held: Vec<_> = (0..FIRST).map(|_| streams.begin()).collect();
        assert!(!may_begin(&streams) && streams.active() == FIRST);
        // A stream that goes on for long, server-sent events say, is in nobody's way.
        held[0].take();
        held[0].take();
        assert!(may_begin(&streams));
        held.extend([streams.begin(), streams.begin()]);
        assert!(!may_begin(&streams));
        drop(held);
        assert!(may_begin(&streams) && streams.active() == 0 && streams.untaken.get() == 0);
    }
}
