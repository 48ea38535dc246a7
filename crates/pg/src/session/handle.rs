//! A session as the rest of the pooler sees it: what it does, and the few orders it takes.
//!
//! Owns the cells between a session's task and everybody else on its thread. Nothing here does
//! I/O; an order wakes the task, which carries it out.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::SystemTime;

use tokio::time::Instant;

use crate::settings::Owner;
use crate::wire::SqlError;

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Activity {
    /// Between transactions, without a server.
    #[default]
    Idle,
    /// Wants a server and has none yet.
    Waiting,
    /// Its server works for it.
    Active,
    /// Has a transaction open and says nothing.
    IdleInTransaction,
    /// Between transactions, but holds its server.
    Pinned,
    /// Its server is lent to its client, and what it does there is not seen.
    Lent,
}

/// How a session keeps its server between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Keep {
    /// Until its state there is gone, or it was idle for too long.
    #[default]
    Firm,
    /// Only `nextval` does: it is given up when somebody else needs it.
    Soft,
    /// It listens or holds a lock: idle by nature.
    Waiting,
}

/// What a session is told from outside; the last bits win over the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent orders, not a state"
)]
pub(crate) struct Orders {
    /// The statement that waits for a server is cancelled (F3).
    pub(crate) cancel: bool,
    /// The HTTP request it belongs to is over: roll back.
    pub(crate) request_ended: bool,
    /// Time to go when no transaction is open.
    pub(crate) drain: bool,
    /// It shall give its server up, if only `nextval` keeps it (D12).
    pub(crate) give_way: bool,
    /// It has been in this state for too long.
    pub(crate) expired: Option<Activity>,
    /// Its transaction takes too long.
    pub(crate) overdue: bool,
    /// It panics, to see what that costs.
    #[cfg(test)]
    pub(crate) fault: bool,
}

/// A session as others see it.
#[derive(Debug)]
pub(crate) struct Handle {
    owner: Option<Owner>,
    /// Whoever uses it tells of its statements himself.
    tells_statements: Cell<bool>,
    client: Rc<str>,
    activity: Cell<Activity>,
    /// Counts changes of activity, so that the hot path reads no clock.
    changes: Cell<u32>,
    /// How many statements had ended when it was last seen at work, and whether one ran.
    statement: Cell<(u32, bool)>,
    /// Counts transactions that are over.
    rests: Cell<u32>,
    /// How often its client was told that it is in no transaction.
    idles: Cell<u32>,
    orders: Cell<Orders>,
    /// Ends the session with these words.
    end: RefCell<Option<Box<SqlError>>>,
    waker: RefCell<Option<Waker>>,
    /// Why it is pinned, with the SQL that did it.
    pin: RefCell<Option<Rc<str>>>,
    /// What keeps its server asks for.
    keep: Cell<Keep>,
    /// When it asked for a server, or got one, last.
    asked: Cell<Option<Instant>>,
    /// Statements it has prepared by name, when it last gave a server back.
    prepared: Cell<usize>,
    about: OnceCell<Box<About>>,
}

/// Who a session is, for the console.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) user: Box<str>,
    pub(crate) database: Box<str>,
    pub(crate) application: Box<str>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) process: Option<i32>,
    pub(crate) tls: Option<String>,
    pub(crate) connected: SystemTime,
    /// It is one of the console.
    pub(crate) is_console: bool,
}

impl Handle {
    /// A session of `client` (`pid 4711 (shop)`, `127.0.0.1:5555`).
    pub(crate) fn new(owner: Option<Owner>, client: Rc<str>) -> Rc<Self> {
        Rc::new(Self {
            owner,
            tells_statements: Cell::new(false),
            client,
            activity: Cell::default(),
            changes: Cell::new(0),
            statement: Cell::default(),
            rests: Cell::new(0),
            idles: Cell::new(0),
            orders: Cell::default(),
            end: RefCell::default(),
            waker: RefCell::default(),
            pin: RefCell::default(),
            keep: Cell::default(),
            asked: Cell::new(None),
            prepared: Cell::new(0),
            about: OnceCell::new(),
        })
    }

    /// Notes who it is; once.
    pub(crate) fn describe(&self, about: About) {
        let _ = self.about.set(Box::new(about));
    }

    /// Who it is.
    pub(crate) fn about(&self) -> Option<&About> {
        self.about.get().map(|about| &**about)
    }

    /// Notes when it asked for a server, or got one.
    #[inline]
    pub(crate) fn asked_at(&self, now: Instant) {
        self.asked.set(Some(now));
    }

    /// When it asked for a server, or got one, last.
    pub(crate) fn last_asked(&self) -> Option<Instant> {
        self.asked.get()
    }

    /// Statements it has prepared by name.
    pub(crate) fn prepared(&self) -> usize {
        self.prepared.get()
    }

    /// Notes how many statements it has prepared by name.
    #[inline]
    pub(super) fn set_prepared(&self, count: usize) {
        self.prepared.set(count);
    }

    /// Who it belongs to, at the private door.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// Whether whoever uses it tells of its statements himself.
    pub(crate) fn tells_statements(&self) -> bool {
        self.tells_statements.get()
    }

    /// Whoever uses it tells of its statements himself.
    pub(crate) fn set_tells_statements(&self) {
        self.tells_statements.set(true);
    }

    /// The client in words.
    pub(crate) fn client(&self) -> &Rc<str> {
        &self.client
    }

    /// What it does.
    pub(crate) fn activity(&self) -> Activity {
        self.activity.get()
    }

    /// Changes with each change of activity.
    pub(super) fn changes(&self) -> u32 {
        self.changes.get()
    }

    /// Changes with each transaction that is over.
    pub(super) fn rests(&self) -> u32 {
        self.rests.get()
    }

    /// Why it is pinned.
    pub(crate) fn pin(&self) -> Option<Rc<str>> {
        self.pin.borrow().clone()
    }

    /// Cancels what it waits for a server with; what runs on a server is cancelled there.
    pub(crate) fn cancel(&self) {
        self.order(|orders| orders.cancel = true);
    }

    /// Its HTTP request is over: an open transaction is rolled back, the server given back.
    pub(crate) fn request_ended(&self) {
        self.order(|orders| orders.request_ended = true);
    }

    /// It shall leave with 57P01 as soon as it has no transaction open.
    pub(crate) fn drain(&self) {
        self.order(|orders| orders.drain = true);
    }

    /// Somebody needs its server, or a place among the pinned.
    pub(crate) fn give_way(&self) {
        self.order(|orders| orders.give_way = true);
    }

    /// It panics.
    #[cfg(test)]
    pub(crate) fn fault(&self) {
        self.order(|orders| orders.fault = true);
    }

    /// Whether only `nextval` keeps its server.
    pub(crate) fn is_soft(&self) -> bool {
        self.keep.get() == Keep::Soft
    }

    /// Whether it may be idle for as long as it likes with a server of its own.
    pub(super) fn waits(&self) -> bool {
        self.keep.get() == Keep::Waiting
    }

    /// It ends now, with these words to its client.
    pub(crate) fn end(&self, error: SqlError) {
        *self.end.borrow_mut() = Some(Box::new(error));
        self.wake();
    }

    /// It has been in this state for longer than it may.
    pub(super) fn expire(&self, activity: Activity) {
        self.order(|orders| orders.expired = Some(activity));
    }

    /// Its transaction takes longer than it may.
    pub(super) fn overdue(&self) {
        self.order(|orders| orders.overdue = true);
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        let mut orders = self.orders.get();
        give(&mut orders);
        self.orders.set(orders);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Remembers who to wake.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
    }

    /// The orders given since the last time.
    pub(crate) fn orders(&self) -> Orders {
        self.orders.get()
    }

    /// An order was carried out.
    pub(crate) fn clear(&self, done: impl FnOnce(&mut Orders)) {
        let mut orders = self.orders.get();
        done(&mut orders);
        self.orders.set(orders);
    }

    /// Whether it shall end.
    pub(super) fn is_ending(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// The words to end with, if it shall end.
    pub(crate) fn take_end(&self) -> Option<SqlError> {
        self.end.borrow_mut().take().map(|error| *error)
    }

    /// Notes what it does from now on.
    #[inline]
    pub(super) fn set_activity(&self, activity: Activity) {
        if self.activity.replace(activity) != activity {
            self.change();
        }
        if matches!(activity, Activity::Idle | Activity::Pinned) {
            self.rests.set(self.rests.get().wrapping_add(1));
        }
    }

    /// Its server works for it since some time, or has just begun: `ended` statements were carried
    /// out so far, `idles` times its transaction was over, and the next statement is under way if
    /// `owing`. Rows that come are no change.
    #[inline]
    pub(super) fn set_active(&self, ended: u32, idles: u32, owing: bool) {
        let before = self.statement.replace((ended, owing));
        let goes_on = self.activity.replace(Activity::Active) == Activity::Active;
        if !goes_on || !owing || before != (ended, owing) {
            self.change();
        }
        // A client that sends ahead is never seen at rest.
        if self.idles.replace(idles) != idles {
            self.rests.set(self.rests.get().wrapping_add(1));
        }
    }

    fn change(&self) {
        self.changes.set(self.changes.get().wrapping_add(1));
    }

    /// Notes why it is pinned, or that it is no more.
    pub(super) fn set_pin(&self, reason: Option<Rc<str>>, keep: Keep) {
        *self.pin.borrow_mut() = reason;
        self.keep.set(keep);
    }
}
