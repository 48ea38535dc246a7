//! Whether the databases of a site can be used, as far as that is known: what a health check asks.
//! Leaves opening connections to `connect`.
//!
//! Nothing is opened for it as long as all went well: a database that sleeps while nobody needs it is
//! let sleep.

use std::rc::Rc;

use tokio::time::Instant;

use super::Connect;
use super::one::Pool;
use super::registry::Pools;
use crate::target::TargetId;

/// What is to be expected of a pool without any server connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// One could be opened, for all that is known.
    #[default]
    Fair,
    /// One that was idle has died.
    Doubtful,
    /// The last attempt to open one failed.
    Bad,
}

impl<C: Connect> Pool<C> {
    pub(super) fn has_none(&self) -> bool {
        self.in_use.borrow().is_empty() && self.idle.borrow().len() == 0 && self.looking() == 0
    }

    /// Whether it is of no use now. Finds out where that is in doubt: clients that are kept away by
    /// the answer would not.
    fn is_out(self: &Rc<Self>, now: Instant) -> bool {
        let outlook = self.outlook.get();
        if outlook == Outlook::Fair || !self.has_none() {
            return false;
        }
        if self.servers() == 0
            && self.waiting() == 0
            && now >= self.fill_at.get()
            && self.host.has_room()
            && self.may_connect(now)
        {
            self.start_connect(self.host.permit());
        }
        outlook == Outlook::Bad
    }
}

impl<C: Connect> Pools<C> {
    /// Whether none of the databases that were tried can be used. Replicas do not count, nor what
    /// clients from elsewhere ask for by other names.
    pub(crate) fn are_out(&self, is_replica: impl Fn(TargetId) -> bool) -> bool {
        let now = Instant::now();
        let mut pools = self.of(None);
        pools.retain(|pool| {
            let target = pool.target.borrow();
            let is_own = *pool.key.database == *target.dbname && *pool.key.user == *target.user;
            is_own && !is_replica(pool.key.target)
        });
        // All of them, so that each finds out.
        let out = pools.iter().filter(|pool| pool.is_out(now)).count();
        out > 0 && out == pools.len()
    }

    /// Forgets what failed: the settings may be others now.
    pub(crate) fn expect_well(&self) {
        for pool in self.of(None) {
            pool.outlook.set(Outlook::Fair);
        }
    }
}
