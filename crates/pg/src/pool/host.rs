//! One database server: the cap over all pools on it, the queue over all of them, and who makes
//! way for whom. Leaves a single pool to `one` and doing things in time to `drive`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::drive::{Job, Jobs};
use super::lease::Times;
use super::look::Facts;
use super::one::Pool;
use super::pins::Pins;
use super::registry::Newest;
use super::size::Size;
use super::{Connect, Link};
use crate::settings::Settings;

/// A pool opens no more than this many connections at once: a server that was just given back is
/// there sooner than a new one.
pub(crate) const CONNECTS_AT_ONCE: u32 = 2;
/// A waiter of one pool may take the place of a busy pool's server when it has waited this long.
/// Sooner would cost two busy pools a reconnect for each turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// With fewer connections none is lent.
const FEWEST_TO_LEND: u32 = 4;
/// How long none is lent after somebody had to wait.
const NOT_LENT_FOR: Duration = Duration::from_secs(10);

/// The right to have one connection to the server. Counted from before the socket is opened until
/// after it is closed.
pub(crate) struct Permit<C: Connect>(Rc<Host<C>>);

impl<C: Connect> Drop for Permit<C> {
    fn drop(&mut self) {
        let open = self.0.open.get().saturating_sub(1);
        self.0.open.set(open);
        if open == 0
            && let Some(waker) = self.0.empty.take()
        {
            waker.wake();
        }
        self.0.pump();
    }
}

/// A server connection and the right to have it: one pointer, which is all that goes from hand to
/// hand for each query.
pub(crate) struct Held<C: Connect>(Box<Holding<C>>);

/// What a `Held` points to.
pub(crate) struct Holding<C: Connect> {
    pub(crate) server: Box<C::Server>,
    pub(crate) permit: Permit<C>,
    /// Its lifetime with jitter.
    pub(crate) retire_at: Instant,
    pub(crate) idle_since: Instant,
    /// The pool's when it was opened; `reconnect` moves on.
    pub(crate) generation: u32,
    pub(crate) facts: Rc<Facts>,
    /// The server's, asked for once: the kernel's answer costs a system call.
    pub(crate) address: Option<IpAddr>,
    /// What is done with it, while somebody has it.
    pub(crate) times: Times,
}

impl<C: Connect> Deref for Held<C> {
    type Target = Holding<C>;

    fn deref(&self) -> &Holding<C> {
        &self.0
    }
}

impl<C: Connect> DerefMut for Held<C> {
    fn deref_mut(&mut self) -> &mut Holding<C> {
        &mut self.0
    }
}

pub(crate) struct Host<C: Connect> {
    pub(crate) name: String,
    pub(crate) connector: C,
    pub(crate) settings: Rc<Settings>,
    pub(crate) size: Size,
    pub(crate) pins: Pins,
    pub(crate) jobs: Jobs<C>,
    pub(crate) pools: RefCell<Vec<Rc<Pool<C>>>>,
    /// What was registered last.
    pub(crate) newest: Rc<Newest>,
    /// When the server is asked again what it has left.
    pub(crate) look_at: Cell<Instant>,
    /// Addresses seen at the last look, and those that were missing once.
    pub(crate) addresses: RefCell<super::state::Addresses>,
    /// Before that, none is lent: they were needed.
    lend_at: Cell<Instant>,
    open: Cell<u32>,
    closing: Cell<u32>,
    next_ticket: Cell<u64>,
    chance: Cell<u64>,
    pumping: Cell<bool>,
    pump_again: Cell<bool>,
    /// Who waits until no server connection is left.
    empty: RefCell<Option<Waker>>,
}

impl<C: Connect> Host<C> {
    pub(crate) fn new(
        name: String,
        connector: C,
        settings: &Rc<Settings>,
        newest: &Rc<Newest>,
    ) -> Rc<Self> {
        Rc::new(Self {
            newest: Rc::clone(newest),
            size: Size::new(settings.connections()),
            settings: Rc::clone(settings),
            chance: Cell::new(seed(&name)),
            name,
            connector,
            pins: Pins::default(),
            jobs: Jobs::default(),
            pools: RefCell::default(),
            look_at: Cell::new(Instant::now()),
            addresses: RefCell::default(),
            lend_at: Cell::new(Instant::now()),
            open: Cell::new(0),
            closing: Cell::new(0),
            next_ticket: Cell::new(0),
            pumping: Cell::new(false),
            pump_again: Cell::new(false),
            empty: RefCell::default(),
        })
    }

    /// Connections opening, open and closing.
    pub(crate) fn open(&self) -> u32 {
        self.open.get()
    }

    pub(crate) fn closing(&self) -> u32 {
        self.closing.get()
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.pools.borrow().iter().map(|pool| pool.waiting()).sum()
    }

    /// Servers in the hands of clients.
    pub(crate) fn lent(&self) -> u32 {
        let pools = self.pools.borrow();
        let in_use = pools.iter().map(|pool| pool.in_use.borrow());
        let lent = in_use.map(|all| all.iter().filter(|(_, one)| one.lent).count());
        u32::try_from(lent.sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// Whether one more may be lent. Half of them stay here, so that others are served meanwhile.
    pub(crate) fn may_lend(&self, now: Instant) -> bool {
        self.settings.lend
            && now >= self.lend_at.get()
            && self.size.cap() >= FEWEST_TO_LEND
            && self.lent() + self.pinned() < self.size.cap() / 2
            && self.needy() == 0
    }

    /// Whether those that are lent are wanted back, since somebody waits; then none is lent for a while.
    pub(crate) fn wants_back(&self, now: Instant) -> bool {
        let is_needed = self.needy() > 0;
        if is_needed {
            self.lend_at.set(now + NOT_LENT_FOR);
        }
        is_needed || self.lent() > self.size.cap() / 2
    }

    /// Who waits for a server, or for a place among those that keep one.
    fn needy(&self) -> u32 {
        let pools = self.pools.borrow();
        let waiting = pools.iter().filter(|pool| !pool.is_paused());
        waiting.map(|pool| pool.waiting()).sum::<u32>() + self.pins.waiting()
    }

    fn pinned(&self) -> u32 {
        u32::try_from(self.pins.len()).unwrap_or(u32::MAX)
    }

    /// Whether a pool of it has servers without use, or shall have.
    pub(crate) fn is_kept(&self) -> bool {
        self.pools.borrow().iter().any(|pool| pool.least() > 0)
    }

    pub(crate) fn next_ticket(&self) -> u64 {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        ticket
    }

    /// A number nobody needs to foresee (jitter); xorshift64.
    pub(crate) fn chance(&self) -> u64 {
        let mut x = self.chance.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.chance.set(x);
        x
    }

    /// The same numbers in each run of a test.
    #[cfg(test)]
    pub(crate) fn set_chance(&self, chance: u64) {
        self.chance.set(chance);
    }

    /// One more connection, whatever the cap says: ask `has_room` first.
    pub(crate) fn permit(self: &Rc<Self>) -> Permit<C> {
        self.open.set(self.open.get() + 1);
        Permit(Rc::clone(self))
    }

    pub(crate) fn has_room(&self) -> bool {
        self.open.get() < self.size.cap()
    }

    /// Closes a server in its own time; its permit is freed when it is closed.
    pub(crate) fn close(&self, held: Held<C>) {
        self.closing.set(self.closing.get() + 1);
        self.jobs.push(Job::Close(held));
    }

    /// The processes of our servers of this host: those in hand, idle ones, and `held`.
    pub(crate) fn pids_with(&self, held: &Held<C>) -> Vec<i32> {
        let mut pids: Vec<_> = held.server.pid().into_iter().collect();
        for pool in self.pools.borrow().iter() {
            pids.extend(pool.in_use.borrow().iter().filter_map(|(_, one)| one.pid));
            pids.extend(pool.idle.borrow().pids());
        }
        pids
    }

    /// Waits until no server connection is left.
    pub(crate) async fn all_closed(&self) {
        poll_fn(|cx| {
            if self.open.get() == 0 {
                return Poll::Ready(());
            }
            self.empty.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// A closing is over (its permit is dropped after this).
    pub(crate) fn closed_one(&self) {
        self.closing.set(self.closing.get().saturating_sub(1));
    }

    /// Gives waiters what can be given: opens connections while there is room, and lets the
    /// longest idle servers of other pools make way. Call whenever something changed.
    pub(crate) fn pump(self: &Rc<Self>) {
        if self.pumping.replace(true) {
            self.pump_again.set(true);
            return;
        }
        loop {
            self.pump_again.set(false);
            self.pump_once();
            if !self.pump_again.get() {
                break;
            }
        }
        self.pumping.set(false);
    }

    fn pump_once(self: &Rc<Self>) {
        let now = Instant::now();
        while self.has_room() {
            let Some(pool) = self.neediest(now) else {
                return;
            };
            pool.start_connect(self.permit());
        }
        let unmet: u32 = self.pools.borrow().iter().map(|pool| pool.unmet(now)).sum();
        while unmet > 0 && self.open.get() - self.closing.get() + unmet > self.size.cap() {
            let Some(pool) = self.longest_idle() else {
                return;
            };
            let Some(held) = pool.take_oldest_idle() else {
                return;
            };
            self.close(held);
        }
    }

    /// The pool whose head of queue is oldest, of those that may open a connection.
    fn neediest(&self, now: Instant) -> Option<Rc<Pool<C>>> {
        let pools = self.pools.borrow();
        let needy = pools.iter().filter(|pool| pool.unmet(now) > 0);
        needy.min_by_key(|pool| pool.first_ticket()).map(Rc::clone)
    }

    fn longest_idle(&self) -> Option<Rc<Pool<C>>> {
        let pools = self.pools.borrow();
        let idle = pools
            .iter()
            .filter_map(|pool| Some((pool.longest_idle_since()?, pool)));
        idle.min_by_key(|(since, _)| *since)
            .map(|(_, pool)| Rc::clone(pool))
    }

    /// Whether a server that comes back to `to` should rather be closed, because an older waiter
    /// of another pool can be served in no other way.
    pub(crate) fn must_make_way(&self, to: &Pool<C>) -> bool {
        let pools = self.pools.borrow();
        if pools.len() < 2 || self.has_room() || self.closing.get() > 0 {
            return false;
        }
        let now = Instant::now();
        let mine = to.first_ticket();
        pools.iter().any(|other| {
            !std::ptr::eq(&raw const **other, to)
                && other.unmet(now) > 0
                && other.first_ticket() < mine
                && (other.servers() == 0 || other.max_wait(now) >= PATIENCE)
        })
    }
}

impl<C: Connect> Held<C> {
    pub(crate) fn new(server: C::Server, permit: Permit<C>, generation: u32) -> Self {
        let now = Instant::now();
        // One that is too old when it comes would never reach a client.
        let lifetime = match permit.0.settings.lifetime() {
            Duration::ZERO => Duration::from_secs(1),
            lifetime => lifetime,
        };
        // 90 % to 110 %
        let percent = 90 + u32::try_from(permit.0.chance() % 21).unwrap_or(10);
        Self(Box::new(Holding {
            facts: Rc::new(server.facts()),
            address: server.address(),
            server: Box::new(server),
            permit,
            retire_at: now + lifetime * percent / 100,
            idle_since: now,
            generation,
            times: Times::new(now),
        }))
    }

    /// Ends it: what is left is the server to be closed and the permit to be dropped after.
    pub(crate) fn into_parts(self) -> (Box<C::Server>, Permit<C>) {
        (self.0.server, self.0.permit)
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.server.is_alive()
    }
}

/// Never zero.
fn seed(name: &str) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(name) | 1
}
