//! Owns the table of connections: how many, what each is doing, and until when it may.
//! Leaves what a connection does when its time is over to `conn`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waits for the first byte of a request.
    Idle,
    /// Receives a head.
    Head,
    /// Receives a body.
    Body,
    /// Waits for the app.
    App,
    /// Sends.
    Send,
    /// Waits for the client to see the last answer.
    Linger,
}

/// One connection as others see it. Its own task writes it, the sweep reads it.
pub(crate) struct Row {
    phase: Cell<Phase>,
    deadline: Cell<Option<Instant>>,
    idle_since: Cell<Instant>,
    expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Row {
    /// Says what the connection does from now on, and until when.
    pub fn enter(&self, phase: Phase, deadline: Option<Instant>) {
        self.phase.set(phase);
        self.deadline.set(deadline);
        self.expired.set(false);
    }

    /// Says that the connection waits for its client, since when, and for how long it may.
    pub fn idle(&self, since: Instant, limit: Duration) {
        self.idle_since.set(since);
        self.enter(Phase::Idle, Some(since + limit));
    }

    /// Whether the time is over; remembers who to wake when it will be.
    pub fn poll_expired(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        self.expired.get()
    }

    /// Whether the time is over, without asking to be woken.
    pub fn is_expired(&self) -> bool {
        self.expired.get()
    }

    fn expire(&self) {
        self.expired.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// All connections of the front.
pub(crate) struct Table {
    rows: RefCell<Slab<Rc<Row>>>,
    /// Rows of streams, which are no connections of their own.
    streams: Cell<usize>,
    most: usize,
    changed: RefCell<Option<Waker>>,
}

/// A place in the table, given back on drop.
pub(crate) struct Place {
    table: Rc<Table>,
    key: usize,
    is_stream: bool,
    pub row: Rc<Row>,
}

impl Table {
    pub fn new(most: usize) -> Rc<Self> {
        let rows = RefCell::new(Slab::new());
        Rc::new(Self {
            rows,
            streams: Cell::new(0),
            most,
            changed: RefCell::new(None),
        })
    }

    /// Connections.
    pub fn len(&self) -> usize {
        self.rows.borrow().len() - self.streams.get()
    }

    /// Whether nothing is left, of streams neither.
    pub fn is_empty(&self) -> bool {
        self.rows.borrow().is_empty()
    }

    /// Whether another connection may be accepted.
    pub fn has_room(&self) -> bool {
        self.len() < self.most
    }

    pub fn enter(self: &Rc<Self>) -> Place {
        self.place(false)
    }

    /// For one stream of a connection that has a place already.
    pub fn enter_stream(self: &Rc<Self>) -> Place {
        self.streams.set(self.streams.get() + 1);
        self.place(true)
    }

    fn place(self: &Rc<Self>, is_stream: bool) -> Place {
        let row = Rc::new(Row {
            phase: Cell::new(Phase::Idle),
            deadline: Cell::new(None),
            idle_since: Cell::new(Instant::now()),
            expired: Cell::new(false),
            waker: RefCell::new(None),
        });
        let key = self.rows.borrow_mut().insert(Rc::clone(&row));
        Place {
            table: Rc::clone(self),
            key,
            is_stream,
            row,
        }
    }

    /// Ends every wait whose time is over.
    pub fn sweep(&self, now: Instant) {
        for (_, row) in self.rows.borrow().iter() {
            if row.deadline.get().is_some_and(|deadline| deadline <= now) {
                row.expire();
            }
        }
    }

    /// Closes the connection that has been idle longest, to make room; false when none is idle.
    pub fn close_oldest_idle(&self) -> bool {
        let rows = self.rows.borrow();
        let idle = rows.iter().map(|(_, row)| row);
        // One without a deadline was accepted this very moment.
        let idle = idle.filter(|row| {
            row.phase.get() == Phase::Idle && row.deadline.get().is_some() && !row.expired.get()
        });
        // Not the one whose time is over first: a new connection has less of it.
        let oldest = idle.min_by_key(|row| row.idle_since.get());
        oldest.inspect(|row| row.expire()).is_some()
    }

    /// Closes all idle connections.
    pub fn close_idle(&self) {
        for (_, row) in self.rows.borrow().iter() {
            if row.phase.get() == Phase::Idle {
                row.expire();
            }
        }
    }

    /// Wakes the caller once when a connection leaves.
    pub fn wake_on_leave(&self, cx: &Context<'_>) {
        *self.changed.borrow_mut() = Some(cx.waker().clone());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.rows.borrow_mut().try_remove(self.key);
        if self.is_stream {
            self.table.streams.set(self.table.streams.get() - 1);
        }
        if let Some(waker) = self.table.changed.borrow_mut().take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(75);
    const SHORT: Duration = Duration::from_secs(10);

    #[test]
    fn the_one_idle_longest_makes_room_and_not_one_that_has_just_come() {
        let table = Table::new(9);
        let start = Instant::now();
        let now = start + Duration::from_secs(100);
        let kept = [80, 40, 60].map(|at| {
            let place = table.enter();
            place.row.idle(start + Duration::from_secs(at), LONG);
            place
        });
        let new = table.enter();
        new.row.idle(now, SHORT);
        for oldest in [1, 2, 0] {
            assert!(table.close_oldest_idle() && kept[oldest].row.is_expired());
            assert!(!new.row.is_expired());
        }
        assert!(table.close_oldest_idle() && new.row.is_expired() && !table.close_oldest_idle());
    }

    #[test]
    fn streams_take_no_room_from_connections() {
        let table = Table::new(2);
        let connection = table.enter();
        let streams: Vec<_> = (0..100).map(|_| table.enter_stream()).collect();
        assert!(table.len() == 1 && table.has_room());
        drop(connection);
        assert!(table.has_room() && !table.is_empty());
        drop(streams);
        assert!(table.is_empty());
    }
}
