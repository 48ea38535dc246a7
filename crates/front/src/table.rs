//! Owns the table of connections: how many, what each is doing, and until when it may.
//! Leaves what a connection does when its time is over to `conn`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
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

impl Phase {
    /// Whether it is the client who is waited for, in the middle of something.
    fn is_the_clients(self) -> bool {
        matches!(self, Self::Head | Self::Body | Self::Send | Self::Linger)
    }
}

/// A connection that has to leave when there is no room and none is idle: at work with its client for
/// longer than `grace`, and slower than `pace`, in bytes per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    pub grace: Duration,
    pub pace: u64,
}

/// One connection as others see it. Its own task writes it, the sweep reads it.
pub(crate) struct Row {
    phase: Cell<Phase>,
    deadline: Cell<Option<Instant>>,
    idle_since: Cell<Instant>,
    expired: Cell<bool>,
    /// It has to leave: its place is needed.
    evicted: Cell<bool>,
    /// It is one of several of a connection, which has a row of its own.
    is_stream: bool,
    /// The network it comes from, where it counts for one.
    network: Cell<Option<IpAddr>>,
    /// Since when its client is waited for in the middle of this, and bytes that moved, then and now.
    busy_since: Cell<Instant>,
    moved: Cell<(Option<u64>, u64)>,
    waker: RefCell<Option<Waker>>,
}

impl Row {
    /// Says from which network the connection comes.
    pub fn comes_from(&self, network: Option<IpAddr>) {
        self.network.set(network);
    }

    /// So many bytes have moved in this phase; counted from the first time this is said.
    pub fn progress(&self, moved: u64) {
        let (first, _) = self.moved.get();
        self.moved.set((first.or(Some(moved)), moved));
    }

    /// Whether it waits for the first byte of a request.
    pub fn is_idle(&self) -> bool {
        self.phase.get() == Phase::Idle
    }

    /// Whether its place is needed, so that it has to end at once.
    pub fn is_evicted(&self) -> bool {
        self.evicted.get()
    }

    fn is_slow(&self, slow: &Slow, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.busy_since.get());
        let (first, last) = self.moved.get();
        let moved = last.saturating_sub(first.unwrap_or(last));
        self.phase.get().is_the_clients()
            && !self.evicted.get()
            && age >= slow.grace
            && u128::from(moved) * 1000 < u128::from(slow.pace) * age.as_millis()
    }

    /// Says what the connection does from now on, and until when.
    pub fn enter(&self, phase: Phase, deadline: Option<Instant>) {
        if self.phase.replace(phase) != phase && phase.is_the_clients() {
            self.busy_since.set(Instant::now());
            self.moved.set((None, 0));
        }
        if matches!(phase, Phase::Idle | Phase::App) {
            // It has ended by itself what it was too slow at.
            self.evicted.set(false);
        }
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
            evicted: Cell::new(false),
            is_stream,
            network: Cell::new(None),
            busy_since: Cell::new(Instant::now()),
            moved: Cell::new((None, 0)),
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

    /// Ends the connection of a slow client, to make room where none is idle: of the network that has
    /// most of them, the one that is at it longest. False when there is none.
    pub fn close_slowest(&self, slow: &Slow, now: Instant) -> bool {
        let rows = self.rows.borrow();
        let all = rows.iter().map(|(_, row)| row);
        let slow: Vec<&Rc<Row>> = all
            .filter(|row| !row.is_stream && row.is_slow(slow, now))
            .collect();
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for network in slow.iter().filter_map(|row| row.network.get()) {
            *counts.entry(network).or_default() += 1;
        }
        // Whoever is spoken for by a proxy counts for itself.
        let count = |row: &Row| row.network.get().map_or(1, |network| counts[&network]);
        let worst = slow
            .iter()
            .min_by_key(|row| (std::cmp::Reverse(count(row)), row.busy_since.get()));
        let Some(worst) = worst else { return false };
        worst.evicted.set(true);
        worst.expire();
        true
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
    fn s13_of_slow_clients_the_one_that_is_at_it_longest_of_the_greediest_network_makes_room() {
        let table = Table::new(9);
        let slow = Slow {
            grace: SHORT,
            pace: 1000,
        };
        let network = |last| Some(IpAddr::from([192, 0, 2, last]));
        let of = |last, phase| {
            let place = table.enter();
            place.row.comes_from(network(last));
            place.row.enter(phase, None);
            place
        };
        let alone = of(1, Phase::Body);
        let [first, second] = [of(2, Phase::Send), of(2, Phase::Body)];
        let (fast, app) = (of(2, Phase::Body), of(2, Phase::App));
        let stream = table.enter_stream();
        stream.row.enter(Phase::Body, None);
        let now = Instant::now();
        // Nobody before the grace is over.
        assert!(!table.close_slowest(&slow, now));
        let later = now + 2 * SHORT;
        for place in [&first, &second, &fast] {
            place.row.progress(500);
        }
        fast.row.progress(500 + 30_000);
        second.row.progress(500 + 10_000);
        for worst in [&first, &alone, &second] {
            assert!(!worst.row.is_evicted() && table.close_slowest(&slow, later));
            assert!(worst.row.is_evicted() && worst.row.is_expired());
        }
        assert!(!table.close_slowest(&slow, later));
        assert!(
            ![&fast, &app, &stream]
                .iter()
                .any(|place| place.row.is_evicted())
        );
    }

    #[test]
    fn s13_one_that_has_sent_what_made_it_slow_may_be_slow_again() {
        let table = Table::new(1);
        let slow = Slow {
            grace: SHORT,
            pace: 1000,
        };
        let later = Instant::now() + 2 * SHORT;
        let place = table.enter();
        for phase in [Phase::Idle, Phase::App] {
            place.row.enter(Phase::Body, None);
            assert!(table.close_slowest(&slow, later) && place.row.is_evicted());
            // The last bytes came together with the word that the place is needed.
            place.row.enter(phase, None);
            assert!(!place.row.is_evicted());
        }
        place.row.enter(Phase::Send, None);
        assert!(table.close_slowest(&slow, later));
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
