//! One pool: the servers of one (target, database, user), its idle ones and its queue.
//! Leaves the cap and other pools to `host`, opening to `connect`, and time to `tick`.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::drive::Job;
use super::host::{CONNECTS_AT_ONCE, Held, Host, Permit};
use super::idle::Idle;
use super::lease::{InUse, Lease};
use super::outlook::Outlook;
use super::stats::{Counters, bump};
use super::tick::LOOK_EVERY;
use super::wait::{Wait, Waiter};
use super::{Connect, Link, PoolKey, Refused, WaitInfo};
use crate::relay::{Label, Params};
use crate::target::{Credential, Target};
use crate::wire::SqlError;

/// Servers without use that made way for CREATE or DROP DATABASE stay away for so long:
/// PostgreSQL waits 5 s for others to leave.
const MADE_WAY_FOR: Duration = Duration::from_secs(10);

pub(crate) struct Pool<C: Connect> {
    pub(crate) key: PoolKey,
    pub(crate) host: Rc<Host<C>>,
    /// Replaced when its password was rotated.
    pub(crate) target: RefCell<Rc<Target>>,
    pub(crate) counters: Counters,
    pub(crate) backoff: Backoff,
    pub(crate) last_refusal: RefCell<Option<Refused>>,
    /// Whether a connection was ever had: before, clients are told sooner what is wrong.
    pub(crate) ever_connected: Cell<bool>,
    pub(crate) outlook: Cell<Outlook>,
    pub(crate) in_use: RefCell<Slab<InUse>>,
    pub(crate) idle: RefCell<Idle<C>>,
    pub(crate) generation: Cell<u32>,
    pub(crate) connecting: Cell<u32>,
    /// Servers that are asked something of ours, and come back.
    looking: Cell<u32>,
    pub(crate) clients: Cell<u32>,
    /// When its last client left, or it was made.
    pub(crate) empty_since: Cell<Instant>,
    /// Servers of it may stay open without use.
    pub(crate) is_kept: Cell<bool>,
    /// From when on they may be opened.
    pub(crate) fill_at: Cell<Instant>,
    /// A connection is being opened in place of one that is due to retire.
    pub(crate) replacing: Cell<bool>,
    /// What servers reported under the start-up settings of clients, for the next such client.
    pub(crate) greetings: RefCell<HashMap<Rc<Label>, Rc<Params>>>,
    paused: Cell<bool>,
    disabled: Cell<bool>,
    /// New clients are refused.
    barred: Cell<bool>,
    queue: RefCell<VecDeque<Rc<Waiter<C>>>>,
    waiting: Cell<u32>,
}

impl<C: Connect> Pool<C> {
    pub(crate) fn new(key: PoolKey, host: &Rc<Host<C>>, target: Rc<Target>) -> Rc<Self> {
        let pool = Rc::new(Self {
            key,
            host: Rc::clone(host),
            target: RefCell::new(target),
            counters: Counters::default(),
            backoff: Backoff::default(),
            last_refusal: RefCell::new(None),
            ever_connected: Cell::new(false),
            outlook: Cell::default(),
            in_use: RefCell::default(),
            idle: RefCell::new(Idle::new()),
            generation: Cell::new(0),
            connecting: Cell::new(0),
            looking: Cell::new(0),
            clients: Cell::new(0),
            empty_since: Cell::new(Instant::now()),
            is_kept: Cell::new(false),
            fill_at: Cell::new(Instant::now()),
            replacing: Cell::new(false),
            greetings: RefCell::default(),
            paused: Cell::new(false),
            disabled: Cell::new(false),
            barred: Cell::new(false),
            queue: RefCell::default(),
            waiting: Cell::new(0),
        });
        host.pools.borrow_mut().push(Rc::clone(&pool));
        pool
    }

    /// A server: an idle one at once, else after the queue. Times out with an error that says what
    /// the servers are doing. May be dropped at any point.
    pub(crate) async fn lease(
        self: &Rc<Self>,
        want: &Rc<Label>,
        who: &WaitInfo,
    ) -> Result<Lease<C>, SqlError> {
        if let Some(lease) = self.try_lease(want, who) {
            return Ok(lease);
        }
        let wait = self.queue_up(Instant::now())?;
        poll_fn(|cx| wait.poll_lease(cx, who)).await
    }

    /// A place at the end of the queue, for who found no idle server.
    pub(crate) fn queue_up(self: &Rc<Self>, now: Instant) -> Result<Wait<C>, SqlError> {
        if self.disabled.get() {
            return Err(self.disabled_error());
        }
        bump(&self.counters.waits);
        Ok(self.enqueue(now))
    }

    /// A server, if one is idle and nobody is before us.
    pub(crate) fn try_lease(self: &Rc<Self>, want: &Rc<Label>, who: &WaitInfo) -> Option<Lease<C>> {
        if self.paused.get() || self.disabled.get() || self.waiting.get() > 0 {
            return None;
        }
        loop {
            let mut held = self.idle.borrow_mut().take(want)?;
            if held.is_alive() {
                bump(&self.counters.at_once);
                return Some(Lease::new(held, Rc::clone(self), who, Instant::now()));
            }
            bump(&self.counters.found_dead);
            self.close(held);
        }
    }

    fn enqueue(self: &Rc<Self>, now: Instant) -> Wait<C> {
        let waiter = Waiter::new(self.host.next_ticket(), now);
        self.queue.borrow_mut().push_back(Rc::clone(&waiter));
        self.waiting.set(self.waiting.get() + 1);
        let wait = Wait::new(waiter, Rc::clone(self));
        self.host.jobs.keep_time();
        // With all connections in this pool, each is in use.
        if self.host.has_room() || self.host.pools.borrow().len() > 1 {
            self.host.pump();
        }
        if self.is_short() && !crate::relay::sequences_are_read() {
            self.host.pins.press();
        }
        wait
    }

    /// A server comes back, or is new: to who waits, or to the idle ones, or away.
    pub(crate) fn take_back(self: &Rc<Self>, held: Held<C>) {
        self.take_back_at(held, Instant::now());
    }

    pub(crate) fn take_back_at(self: &Rc<Self>, mut held: Held<C>, now: Instant) {
        if !self.is_wanted(&mut held, now) {
            self.close(held);
            return;
        }
        if held.server.is_being_cancelled() {
            self.host.jobs.push(Job::Quiet(held, Rc::clone(self)));
            return;
        }
        if now >= self.host.look_at.get() {
            // So that one server asks, not each that comes back meanwhile.
            self.host.look_at.set(now + LOOK_EVERY);
            self.host.jobs.push(Job::Look(held, Looking::new(self)));
            return;
        }
        if self.host.must_make_way(self) {
            self.close(held);
            return;
        }
        if let Some(waiter) = self.next_waiter() {
            self.waiting.set(self.waiting.get().saturating_sub(1));
            waiter.end(Ok(held));
            return;
        }
        self.idle.borrow_mut().push(held);
        if self.host.waiting() > 0 {
            self.host.pump();
        }
    }

    fn is_wanted(&self, held: &mut Held<C>, now: Instant) -> bool {
        self.may_keep(held, now) && held.is_alive()
    }

    /// Whether nothing stands against a server of ours but what it says itself.
    pub(crate) fn may_keep(&self, held: &Held<C>, now: Instant) -> bool {
        held.generation == self.generation.get()
            && held.retire_at > now
            && self.host.open() - self.host.closing() <= self.host.size.cap()
            && !self.paused.get()
            && !self.disabled.get()
            && !self.host.is_stale(held)
    }

    /// Takes the head of the queue out of it.
    fn next_waiter(&self) -> Option<Rc<Waiter<C>>> {
        let mut queue = self.queue.borrow_mut();
        std::iter::from_fn(|| queue.pop_front()).find(|waiter| waiter.is_waiting())
    }

    /// A waiter has left the queue by itself.
    pub(crate) fn one_left(&self) {
        self.waiting.set(self.waiting.get().saturating_sub(1));
        if self.waiting.get() == 0 {
            self.queue.borrow_mut().clear();
        }
    }

    /// Ends the wait of all who wait.
    pub(crate) fn fail_all(&self, error: &SqlError) {
        while let Some(waiter) = self.next_waiter() {
            self.waiting.set(self.waiting.get().saturating_sub(1));
            waiter.end(Err(error.clone()));
        }
    }

    /// Ends the wait of those who have waited for `limit`.
    pub(crate) fn fail_since(&self, now: Instant, limit: Duration) {
        if self.max_wait(now) < limit {
            return;
        }
        // The state is that of one moment for all who time out in it.
        let error = self.wait_error(now, limit);
        while self.waiting.get() > 0 && self.max_wait(now) >= limit {
            let Some(waiter) = self.next_waiter() else {
                break;
            };
            bump(&self.counters.wait_timeouts);
            self.waiting.set(self.waiting.get().saturating_sub(1));
            waiter.end(Err(error.clone()));
        }
    }

    /// Has those told who wait longer than this.
    pub(crate) fn tell_since(&self, now: Instant, limit: Duration) {
        if limit.is_zero() || self.max_wait(now) < limit {
            return;
        }
        for waiter in self.queue.borrow().iter() {
            if now.saturating_duration_since(waiter.since) < limit {
                break;
            }
            waiter.tell();
        }
    }

    /// Forgets places whose client has left.
    pub(crate) fn tidy(&self) {
        self.queue.borrow_mut().retain(|waiter| waiter.is_waiting());
    }

    /// Waiters for whom a connection should be opened now.
    pub(crate) fn unmet(&self, now: Instant) -> u32 {
        let connecting = self.connecting.get();
        let coming = connecting + self.looking.get();
        if self.waiting.get() == 0 || !self.may_connect(now) {
            return 0;
        }
        self.waiting
            .get()
            .saturating_sub(coming)
            .min(self.connects_at_once().saturating_sub(connecting))
    }

    /// Whether more wait than servers are on their way.
    pub(crate) fn is_short(&self) -> bool {
        self.waiting.get() > self.connecting.get() + self.looking.get()
    }

    /// Whether nothing forbids to open a connection.
    pub(crate) fn may_connect(&self, now: Instant) -> bool {
        !self.paused.get() && !self.disabled.get() && self.backoff.may_try(now)
    }

    /// After a failure one is enough to find out whether the server is back.
    fn connects_at_once(&self) -> u32 {
        if self.backoff.is_failing() {
            1
        } else {
            CONNECTS_AT_ONCE
        }
    }

    /// The ticket of the head of the queue; `u64::MAX` when nobody waits.
    pub(crate) fn first_ticket(&self) -> u64 {
        self.first().map_or(u64::MAX, |waiter| waiter.ticket)
    }

    pub(crate) fn max_wait(&self, now: Instant) -> Duration {
        self.first().map_or(Duration::ZERO, |waiter| {
            now.saturating_duration_since(waiter.since)
        })
    }

    fn first(&self) -> Option<Rc<Waiter<C>>> {
        let mut queue = self.queue.borrow_mut();
        while queue.front().is_some_and(|waiter| !waiter.is_waiting()) {
            queue.pop_front();
        }
        queue.front().map(Rc::clone)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.get()
    }

    /// Servers in use, idle and being opened.
    pub(crate) fn servers(&self) -> usize {
        self.in_use.borrow().len()
            + self.idle.borrow().len()
            + usize::try_from(self.connecting.get() + self.looking.get()).unwrap_or(usize::MAX)
    }

    pub(crate) fn longest_idle_since(&self) -> Option<Instant> {
        self.idle.borrow().oldest().map(|held| held.idle_since)
    }

    pub(crate) fn take_oldest_idle(&self) -> Option<Held<C>> {
        self.idle.borrow_mut().take_oldest()
    }

    pub(crate) fn start_connect(self: &Rc<Self>, permit: Permit<C>) {
        self.connecting.set(self.connecting.get() + 1);
        self.host.jobs.push(Job::Connect(Rc::clone(self), permit));
    }

    pub(crate) fn close(&self, held: Held<C>) {
        bump(&self.counters.closes);
        self.host.close(held);
    }

    /// Closes idle servers that `which` names.
    pub(crate) fn close_idle_if(&self, which: impl FnMut(&mut Held<C>) -> bool) {
        let out = self.idle.borrow_mut().take_if(which);
        for held in out {
            self.close(held);
        }
    }

    /// Closes the idle servers of all other databases on this host: the client is about to create,
    /// drop or rename one, and its server would refuse while others are connected.
    pub(crate) fn make_way(&self) {
        let pools: Vec<_> = self.host.pools.borrow().iter().map(Rc::clone).collect();
        for other in pools
            .iter()
            .filter(|other| other.key.database != self.key.database)
        {
            other.fill_at.set(Instant::now() + MADE_WAY_FOR);
            other.close_idle_if(|_| true);
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Whether new clients are refused.
    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled.get() || self.barred.get()
    }

    pub(crate) fn looking(&self) -> u32 {
        self.looking.get()
    }

    /// Refuses new clients, or takes them again; those that are there stay.
    pub(crate) fn bar(&self, barred: bool) {
        self.barred.set(barred);
    }

    pub(crate) fn pause(&self) {
        self.paused.set(true);
        self.close_idle_if(|_| true);
    }

    pub(crate) fn resume(self: &Rc<Self>) {
        self.paused.set(false);
        self.disabled.set(false);
        self.host.pump();
    }

    /// Every server is replaced: idle ones now, others when they come back.
    pub(crate) fn reconnect(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.backoff.reset();
        self.close_idle_if(|_| true);
        self.host.jobs.push(Job::PumpAt(Instant::now()));
    }

    pub(crate) fn disable(&self) {
        self.disabled.set(true);
        self.fail_all(&self.disabled_error());
        self.close_idle_if(|_| true);
    }

    /// A client has just proved to be our user: new connections log in with what it let us know.
    pub(crate) fn log_in_with(&self, credential: &Credential) {
        let target = self
            .target
            .borrow()
            .for_user(&self.key.user, Some(credential));
        if **self.target.borrow() != target {
            self.target.replace(Rc::new(target));
        }
    }

    /// Cancels what runs, fails who waits, replaces every server.
    pub(crate) fn kill(&self) {
        let error = SqlError::error("57P01", "an administrator killed the connections")
            .hint("Run the transaction again.");
        self.fail_all(&error);
        self.reconnect();
        let aims: Vec<_> = self
            .in_use
            .borrow()
            .iter()
            .filter_map(|(_, one)| one.aim.clone())
            .collect();
        for aim in aims {
            aim.fire();
        }
    }

    pub(crate) fn disabled_error(&self) -> SqlError {
        SqlError::fatal(
            "57P03",
            format!("database \"{}\" is disabled", self.key.database),
        )
        .hint("An administrator disabled it on the console; ENABLE lets clients in again.")
    }

    /// A client of this pool; it counts until it is dropped.
    pub(crate) fn attach(self: &Rc<Self>) -> Attached<C> {
        self.clients.set(self.clients.get() + 1);
        Attached(Rc::clone(self))
    }
}

/// A client of a pool, whether it has a server or not.
pub(crate) struct Attached<C: Connect>(Rc<Pool<C>>);

impl<C: Connect> std::ops::Deref for Attached<C> {
    type Target = Rc<Pool<C>>;

    fn deref(&self) -> &Rc<Pool<C>> {
        &self.0
    }
}

impl<C: Connect> Drop for Attached<C> {
    fn drop(&mut self) {
        let left = self.0.clients.get().saturating_sub(1);
        self.0.clients.set(left);
        if left == 0 {
            self.0.empty_since.set(Instant::now());
        }
    }
}

/// One server of a pool is asked something of ours; counts also when that task is dropped.
pub(crate) struct Looking<C: Connect>(Rc<Pool<C>>);

impl<C: Connect> Looking<C> {
    fn new(pool: &Rc<Pool<C>>) -> Self {
        pool.looking.set(pool.looking.get() + 1);
        Self(Rc::clone(pool))
    }

    pub(crate) fn pool(&self) -> Rc<Pool<C>> {
        Rc::clone(&self.0)
    }
}

impl<C: Connect> Drop for Looking<C> {
    fn drop(&mut self) {
        self.0.looking.set(self.0.looking.get().saturating_sub(1));
    }
}
