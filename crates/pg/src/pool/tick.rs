//! What is looked after in time: waits that are over, idle servers too old, too many, dead or of
//! a database nobody uses, and what the server has left for us.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::Instant;

use super::Connect;
use super::connect::FIRST_PATIENCE;
use super::host::{Held, Host};
use super::one::{Looking, Pool};
use super::outlook::Outlook;
use super::stats::bump;

/// Deadlines are kept this exactly.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// How often the server is asked what it has left, and addresses are looked up.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A database without clients keeps its idle servers this long: clients that reconnect for each
/// request find them, and DROP DATABASE, which waits 5 s for others to leave, does not fail.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// A server is replaced when this part of its lifetime is left: one in twenty.
const REPLACE_EARLY: u32 = 20;

impl<C: Connect> Host<C> {
    pub(crate) fn tick(self: &Rc<Self>) {
        let now = Instant::now();
        let pools: Vec<_> = self.pools.borrow().iter().map(Rc::clone).collect();
        for pool in &pools {
            pool.tick(now);
        }
        self.shed();
        self.pump();
        if now >= self.look_at.get() {
            Self::look_again(&pools);
        }
    }

    /// After the cap has shrunk.
    fn shed(&self) {
        while self.open() - self.closing() > self.size.cap() {
            let pools = self.pools.borrow();
            let idle = pools
                .iter()
                .filter_map(|pool| Some((pool.longest_idle_since()?, pool)));
            let Some((_, pool)) = idle.min_by_key(|(since, _)| *since) else {
                return;
            };
            let Some(held) = pool.take_oldest_idle() else {
                return;
            };
            pool.close(held);
        }
    }

    /// An idle server is asked; when none is idle, the next that comes back is (`take_back`).
    fn look_again(pools: &[Rc<Pool<C>>]) {
        let Some((pool, held)) = pools
            .iter()
            .find_map(|pool| Some((pool, pool.take_oldest_idle()?)))
        else {
            return;
        };
        pool.take_back(held);
    }
}

impl<C: Connect> Pool<C> {
    fn tick(self: &Rc<Self>, now: Instant) {
        self.tidy();
        self.fail_since(now, self.patience());
        self.tell_since(now, self.host.settings.wait_notify());
        let idle_timeout = self.host.settings.idle_timeout();
        let unused = self.clients.get() == 0
            && self.waiting() == 0
            && now.saturating_duration_since(self.empty_since.get()) >= LINGER;
        let mut spare = self.servers().saturating_sub(self.least());
        self.close_idle_if(|held| {
            let idle_for = now.saturating_duration_since(held.idle_since);
            let is_over = held.retire_at <= now;
            let goes = is_over
                || (spare > 0 && (unused || idle_for >= idle_timeout && !idle_timeout.is_zero()));
            spare = spare.saturating_sub(usize::from(goes));
            goes
        });
        self.close_dead();
        self.replace_early(now);
        self.fill(now);
    }

    /// How many servers it has without use.
    pub(crate) fn least(&self) -> usize {
        if self.is_kept.get() {
            self.host.settings.min_connections() as usize
        } else {
            0
        }
    }

    /// Opens a server that shall be there without use; the next one when this one is there.
    pub(crate) fn fill(self: &Rc<Self>, now: Instant) {
        if self.servers() < self.least()
            && self.connecting.get() == 0
            && now >= self.fill_at.get()
            && self.host.has_room()
            && self.may_connect(now)
        {
            self.start_connect(self.host.permit());
        }
    }

    fn close_dead(&self) {
        let dead = self.idle.borrow_mut().take_if(|held| !held.is_alive());
        for held in dead {
            bump(&self.counters.found_dead);
            self.outlook.set(Outlook::Doubtful);
            self.close(held);
        }
    }

    /// A new server is opened before an old one must go, one at a time and if there is room.
    fn replace_early(self: &Rc<Self>, now: Instant) {
        let early = self.host.settings.lifetime() / REPLACE_EARLY;
        let due = self
            .idle
            .borrow()
            .first_to_retire()
            .is_some_and(|at| at <= now + early);
        if due && self.connecting.get() == 0 && self.host.has_room() && self.may_connect(now) {
            self.replacing.set(true);
            self.start_connect(self.host.permit());
        }
    }

    /// The replacement is here: the one that is due goes.
    pub(crate) fn replaced(&self) {
        if self.replacing.replace(false) {
            let first = self.idle.borrow().first_to_retire();
            let mut one = true;
            self.close_idle_if(|held| {
                let this = one && Some(held.retire_at) == first;
                one &= !this;
                this
            });
        }
    }

    /// How long its clients are held.
    fn patience(&self) -> Duration {
        let all = self.host.settings.patience();
        if self.ever_connected.get() || self.last_refusal.borrow().is_none() {
            all
        } else {
            all.min(FIRST_PATIENCE)
        }
    }
}

/// Asks a server what is left for us and looks addresses up, then gives it back.
pub(crate) async fn look<C: Connect>(mut held: Held<C>, looking: Looking<C>) {
    let pool = looking.pool();
    let host = Rc::clone(&pool.host);
    let limits = if host.size.is_told() {
        None
    } else {
        let ours = host.pids_with(&held);
        host.connector.limits(&mut held.server, &ours).await
    };
    host.size.look(limits);
    drop(looking);
    pool.take_back(held);
    spawn_local(look_up(host, pool));
}

/// Servers at addresses that are no longer those of the host are replaced (E7).
async fn look_up<C: Connect>(host: Rc<Host<C>>, pool: Rc<Pool<C>>) {
    let target = Rc::clone(&pool.target.borrow());
    let Some(now) = host.connector.addresses(&target).await else {
        return;
    };
    host.addresses.borrow_mut().saw(&now);
    let pools: Vec<_> = host.pools.borrow().iter().map(Rc::clone).collect();
    for pool in pools {
        pool.close_idle_if(|held| host.is_stale(held));
    }
    host.pump();
}
