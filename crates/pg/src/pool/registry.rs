//! All targets, hosts and pools of a pooler. Leaves what happens in one pool to `one`.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use tokio::task::spawn_local;
use tokio::time::Instant;

use super::host::Host;
use super::one::Pool;
use super::{Connect, PoolKey, PoolStats, drive};
use crate::settings::Settings;
use crate::target::{self, Target, TargetId};
use crate::wire::SqlError;

/// A bound: names of databases and users come from clients.
const MOST_POOLS: usize = 1000;
const MOST_TARGETS: usize = 1000;

pub(crate) struct Pools<C: Connect> {
    settings: Rc<Settings>,
    new_connector: Box<dyn Fn() -> C>,
    targets: RefCell<HashMap<TargetId, Rc<Target>>>,
    newest: Rc<Newest>,
    hosts: RefCell<HashMap<String, Rc<Host<C>>>>,
    all: RefCell<HashMap<PoolKey, Rc<Pool<C>>>>,
    /// The pool whose servers may stay open without use.
    kept: RefCell<Option<PoolKey>>,
    /// What an administrator said, for pools that are made later.
    standing: RefCell<Standing>,
}

/// The target that was registered last for each place: when a password is refused, that of a later
/// registration of the same place is the one to try (E8).
#[derive(Default)]
pub(crate) struct Newest(RefCell<HashMap<Place, Rc<Target>>>);

/// Hosts, database and user.
type Place = (Vec<target::Host>, String, String);

impl Newest {
    fn note(&self, target: &Rc<Target>) {
        // No more of them than there are targets.
        self.0.borrow_mut().insert(place(target), Rc::clone(target));
    }

    /// What is known by now of the place of a target.
    pub(crate) fn of(&self, target: &Target) -> Option<Rc<Target>> {
        self.0.borrow().get(&place(target)).map(Rc::clone)
    }
}

fn place(target: &Target) -> Place {
    (
        target.hosts.clone(),
        target.dbname.clone(),
        target.user.clone(),
    )
}

/// Databases an administrator has paused or disabled.
#[derive(Default)]
struct Standing {
    all_paused: bool,
    paused: HashSet<Box<str>>,
    disabled: HashSet<Box<str>>,
}

impl<C: Connect> Pools<C> {
    pub(crate) fn with(settings: &Rc<Settings>, new_connector: Box<dyn Fn() -> C>) -> Self {
        Self {
            settings: Rc::clone(settings),
            new_connector,
            targets: RefCell::default(),
            newest: Rc::default(),
            hosts: RefCell::default(),
            all: RefCell::default(),
            kept: RefCell::default(),
            standing: RefCell::default(),
        }
    }

    /// Makes a target known. `None` when there are too many.
    pub(crate) fn register(&self, target: Target) -> Option<TargetId> {
        let id = target.id();
        let mut targets = self.targets.borrow_mut();
        if targets.len() >= MOST_TARGETS && !targets.contains_key(&id) {
            return None;
        }
        let target = targets.entry(id).or_insert_with(|| Rc::new(target));
        self.newest.note(target);
        Some(id)
    }

    pub(crate) fn target(&self, id: TargetId) -> Option<Rc<Target>> {
        self.targets.borrow().get(&id).map(Rc::clone)
    }

    /// The pool for a client, made when it is the first.
    pub(crate) fn pool(
        &self,
        id: TargetId,
        database: &str,
        user: &str,
    ) -> Result<Rc<Pool<C>>, SqlError> {
        let Some(target) = self.target(id) else {
            return Err(
                SqlError::fatal("CNT01", "this target is not known (any more)")
                    .hint("Register it again: the pooler may have been restarted."),
            );
        };
        let key = PoolKey {
            target: id,
            database: database.into(),
            user: user.into(),
        };
        let mut pools = self.all.borrow_mut();
        if let Some(pool) = pools.get(&key) {
            return Ok(Rc::clone(pool));
        }
        if pools.len() >= MOST_POOLS {
            pools.retain(|_, pool| {
                let keep = pool.clients.get() > 0
                    || pool.servers() > 0
                    || pool.waiting() > 0
                    || pool.is_kept.get();
                if !keep {
                    pool.host
                        .pools
                        .borrow_mut()
                        .retain(|other| !Rc::ptr_eq(other, pool));
                }
                keep
            });
            if pools.len() >= MOST_POOLS {
                let error = format!("{MOST_POOLS} pools of databases and users are in use");
                return Err(SqlError::fatal("53300", error));
            }
        }
        let host = self.host(&target);
        // The password of the target is its own user's: another one has none, or proves itself.
        let target = if *target.user == *user {
            target
        } else {
            Rc::new(target.for_user(user, None))
        };
        let pool = Pool::new(key.clone(), &host, target);
        pool.is_kept.set(self.kept.borrow().as_ref() == Some(&key));
        let standing = self.standing.borrow();
        if standing.all_paused || standing.paused.contains(database) {
            pool.pause();
        }
        pool.bar(standing.disabled.contains(database));
        pools.insert(key, Rc::clone(&pool));
        Ok(pool)
    }

    /// Targets with the same hosts share one cap.
    fn host(&self, target: &Target) -> Rc<Host<C>> {
        let names: Vec<_> = target.hosts.iter().map(ToString::to_string).collect();
        let name = names.join(",");
        let mut hosts = self.hosts.borrow_mut();
        let host = hosts.entry(name).or_insert_with_key(|name| {
            let host = Host::new(
                name.clone(),
                (self.new_connector)(),
                &self.settings,
                &self.newest,
            );
            spawn_local(drive::drive(Rc::clone(&host)));
            host
        });
        Rc::clone(host)
    }

    /// The pools of a database, or all.
    pub(crate) fn of(&self, database: Option<&str>) -> Vec<Rc<Pool<C>>> {
        let pools = self.all.borrow();
        let wanted = |pool: &&Rc<Pool<C>>| database.is_none_or(|name| *pool.key.database == *name);
        pools.values().filter(wanted).map(Rc::clone).collect()
    }

    pub(crate) fn stats(&self) -> Vec<PoolStats> {
        self.of(None).iter().map(Pool::stats).collect()
    }

    /// From now on the pool of this target's own database and user is the one that may have
    /// servers without use.
    pub(crate) fn keep(&self, id: TargetId) {
        let Some(target) = self.target(id) else {
            return;
        };
        let key = PoolKey {
            target: id,
            database: target.dbname.as_str().into(),
            user: target.user.as_str().into(),
        };
        for pool in self.of(None) {
            pool.is_kept.set(pool.key == key);
        }
        self.kept.replace(Some(key));
        self.fill();
    }

    /// Opens what shall be open without use; the settings may have changed.
    pub(crate) fn fill(&self) {
        if self.settings.min_connections() == 0 {
            return;
        }
        let kept = self.kept.borrow().clone();
        let Some(key) = kept else { return };
        if let Ok(pool) = self.pool(key.target, &key.database, &key.user) {
            pool.host.jobs.keep_time();
            pool.fill(Instant::now());
        }
    }

    /// A person has changed the number of connections, or wants the server to be asked.
    pub(crate) fn tell_connections(&self, told: Option<u32>) {
        let hosts: Vec<_> = self.hosts.borrow().values().map(Rc::clone).collect();
        for host in hosts {
            host.size.tell(told);
            host.look_at.set(Instant::now());
            host.pump();
        }
    }

    /// Whatever failed lately is tried at once.
    pub(crate) fn retry(&self) {
        for pool in self.of(None) {
            pool.backoff.reset();
            pool.fill_at.set(Instant::now());
            pool.host.pump();
        }
    }

    /// Whether everything is paused.
    pub(crate) fn is_all_paused(&self) -> bool {
        self.standing.borrow().all_paused
    }

    /// Whether this database is paused, and whether it is disabled.
    pub(crate) fn standing(&self, database: &str) -> (bool, bool) {
        let standing = self.standing.borrow();
        (
            standing.all_paused || standing.paused.contains(database),
            standing.disabled.contains(database),
        )
    }

    pub(crate) fn pause(&self, database: Option<&str>) {
        let mut standing = self.standing.borrow_mut();
        match database {
            Some(name) => drop(standing.paused.insert(name.into())),
            None => standing.all_paused = true,
        }
        drop(standing);
        self.of(database).iter().for_each(|pool| pool.pause());
    }

    pub(crate) fn resume(&self, database: Option<&str>) {
        let mut standing = self.standing.borrow_mut();
        if let Some(name) = database {
            standing.paused.remove(name);
        } else {
            standing.all_paused = false;
            standing.paused.clear();
        }
        drop(standing);
        self.of(database).iter().for_each(Pool::resume);
    }

    pub(crate) fn reconnect(&self, database: Option<&str>) {
        self.of(database).iter().for_each(|pool| pool.reconnect());
    }

    /// Refuses new clients of a database, or takes them again.
    pub(crate) fn bar(&self, database: &str, barred: bool) {
        let mut standing = self.standing.borrow_mut();
        if barred {
            standing.disabled.insert(database.into());
        } else {
            standing.disabled.remove(database);
        }
        drop(standing);
        self.of(Some(database))
            .iter()
            .for_each(|pool| pool.bar(barred));
    }

    pub(crate) fn kill(&self, database: Option<&str>) {
        self.of(database).iter().for_each(|pool| pool.kill());
    }

    /// Closes idle servers and waits until no server connection is left; the caller bounds it.
    pub(crate) async fn close_all(&self) {
        for pool in self.of(None) {
            pool.disable();
        }
        let hosts: Vec<_> = self.hosts.borrow().values().map(Rc::clone).collect();
        for host in hosts {
            host.all_closed().await;
        }
    }
}
