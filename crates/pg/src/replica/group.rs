//! The replicas of one primary at work: who is asked how far it is, and what visitors must see.
//! Asks over leases of the pools, so that no cap is passed. Leaves the rules to `choose`.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::{Asked, Floor, Lsn, Replicas, Rules, Sample, Visits};
use crate::pool::{Pool, WaitInfo};
use crate::pooler::{Pooler, Shared};
use crate::relay::Label;
use crate::settings::Owner;
use crate::target::{Target, TargetId};

/// How long one question may take, the wait for a server included.
const PATIENCE: Duration = Duration::from_secs(5);

/// The replicas of one primary.
pub(crate) struct Group {
    pub(crate) state: RefCell<Replicas>,
    primary: TargetId,
    targets: Vec<TargetId>,
    /// What all must see of whom nobody said which visitor they serve: each write of any of them.
    others: RefCell<Floor>,
    probes: RefCell<Vec<AbortHandle>>,
    retired: Cell<bool>,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.probes.borrow().iter().for_each(AbortHandle::abort);
    }
}

impl Group {
    fn start(
        shared: &Rc<Shared>,
        primary: TargetId,
        targets: Vec<TargetId>,
        rules: Rules,
    ) -> Rc<Self> {
        // What was written before is not known here: all of it.
        let mut others = Floor::default();
        others.wrote(Instant::now());
        let group = Rc::new(Self {
            state: RefCell::new(Replicas::new(targets.len(), rules)),
            primary,
            targets,
            others: RefCell::new(others),
            probes: RefCell::default(),
            retired: Cell::new(false),
        });
        let replicas = group
            .targets
            .iter()
            .enumerate()
            .map(|(at, id)| (*id, Some(at)));
        for (id, at) in std::iter::once((primary, None)).chain(replicas) {
            let (group_, shared) = (Rc::downgrade(&group), Rc::downgrade(shared));
            let task = spawn_local(watch(group_, shared, id, at, rules.probe_every));
            group.probes.borrow_mut().push(task.abort_handle());
        }
        group
    }

    /// The group of a pool of this target, if its reads may go elsewhere.
    pub(crate) fn of(shared: &Shared, target: TargetId) -> Option<Rc<Self>> {
        let groups = shared.replicas.borrow();
        let found = groups.values().find(|group| group.is_of(target, shared));
        found.map(Rc::clone)
    }

    /// Whether a reload has put others in its place, or nothing.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Whether this target is a replica.
    pub(crate) fn has(&self, id: TargetId) -> bool {
        self.targets.contains(&id)
    }

    /// The target of a replica.
    pub(crate) fn target(&self, at: usize) -> Option<TargetId> {
        self.targets.get(at).copied()
    }

    /// What the visitor of a request, or else the session itself, must see.
    pub(crate) fn with_floor<T>(
        &self,
        shared: &Shared,
        owner: Option<Owner>,
        own: &mut Floor,
        then: impl FnOnce(&mut Replicas, &mut Floor) -> T,
    ) -> T {
        let state = &mut self.state.borrow_mut();
        let Some(owner) = owner else {
            return then(state, own);
        };
        // One visitor may come through any worker.
        match &*shared.visits.of(owner) {
            [] => then(state, &mut self.others.borrow_mut()),
            [visit] => then(state, &mut visit.floor.borrow_mut()),
            several => {
                let mut floor = Floor::default();
                for visit in several {
                    floor.join(*visit.floor.borrow());
                }
                then(state, &mut floor)
            }
        }
    }

    /// Something that may write is on its way to the primary.
    pub(crate) fn writes(shared: &Shared, owner: Option<Owner>) {
        for visit in owner
            .map(|owner| shared.visits.of(owner))
            .unwrap_or_default()
        {
            visit.writes();
        }
    }

    /// It may have been done, and whoever waited for it was told just now.
    pub(crate) fn has_written(&self, shared: &Shared, owner: Option<Owner>, own: &mut Floor) {
        let now = Instant::now();
        let Some(owner) = owner else {
            return own.wrote(now);
        };
        let visits = shared.visits.of(owner);
        if visits.is_empty() {
            self.others.borrow_mut().wrote(now);
        }
        for visit in visits {
            visit.has_written(now);
        }
    }

    /// What it answers for is this, or the same place known under another id: an app has its own
    /// words for the database that the pool's URL names.
    pub(crate) fn is_of(&self, id: TargetId, shared: &Shared) -> bool {
        let place = |id| {
            let target = shared.pools.target(id)?;
            Some((target.hosts.clone(), target.dbname.clone()))
        };
        id == self.primary || place(id).is_some_and(|this| place(self.primary) == Some(this))
    }

    /// Asks one server and notes what it says.
    async fn look(&self, shared: &Shared, id: TargetId, at: Option<usize>, asked: &mut Asked) {
        let Some(target) = shared.pools.target(id) else {
            return;
        };
        let Ok(pool) = shared.pools.pool(id, &target.dbname, &target.user) else {
            return;
        };
        let begun = Instant::now();
        let answer = timeout(PATIENCE, ask(&pool, asked)).await;
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        match (answer, at) {
            (Ok(Ok(sample)), None) => state.primary_says(sample, begun, now),
            (Ok(Ok(sample)), Some(at)) => state.replica_says(at, sample, now),
            // Its servers are all at work: no sign that it is down.
            (Err(_), Some(_)) if pool.servers() > 0 => {}
            (_, Some(at)) => state.replica_failed(at, now),
            // Without its position, what is written meanwhile is read on the primary.
            (_, None) => {}
        }
    }
}

async fn watch(
    group: Weak<Group>,
    shared: Weak<Shared>,
    id: TargetId,
    at: Option<usize>,
    every: Duration,
) {
    let mut asked = Asked::All;
    loop {
        let (Some(group), Some(shared)) = (group.upgrade(), shared.upgrade()) else {
            return;
        };
        group.look(&shared, id, at, &mut asked).await;
        drop((group, shared));
        sleep(every).await;
    }
}

async fn ask(pool: &Rc<Pool>, asked: &mut Asked) -> io::Result<Sample> {
    let who = WaitInfo {
        client: "read routing".into(),
        seat: None,
    };
    let lease = pool.lease(&Rc::new(Label::default()), &who).await;
    let mut lease = lease.map_err(|error| io::Error::other(error.message))?;
    let answer = lease.ask(asked.query()).await?;
    lease.give_back();
    match answer {
        Ok(row) => {
            let sample = row.as_deref().and_then(Sample::of_row);
            sample.ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
        Err(error) => {
            // Aurora has no such functions: next time it is asked for less.
            *asked = Asked::Role;
            Err(io::Error::other(error.message))
        }
    }
}

impl Pooler {
    /// Reads of sessions of `primary` may go to these servers from now on. False when there are
    /// too many targets.
    pub fn set_replicas(&self, primary: TargetId, replicas: Vec<Target>, rules: Rules) -> bool {
        let registered = replicas.into_iter().map(|target| self.register(target));
        let Some(targets) = registered.collect::<Option<Vec<_>>>() else {
            return false;
        };
        let group = Group::start(&self.0, primary, targets, rules);
        // A position in the log means nothing to another primary: there is one at a time.
        self.unset_replicas();
        self.0.replicas.borrow_mut().insert(primary, group);
        true
    }

    /// Everything goes to the primary from now on.
    pub fn unset_replicas(&self) {
        for (_, group) in self.0.replicas.borrow_mut().drain() {
            group.retired.set(true);
        }
    }

    /// How to find the requests that a session works for, to let their visitors see what they wrote.
    pub fn set_visits(&self, visits: Rc<Visits>) {
        self.0.visits.set(visits);
    }

    /// The position behind everything that was written up to now; `None` when the primary does not
    /// tell it `within` that time.
    pub async fn position(&self, within: Duration) -> Option<Lsn> {
        let groups: Vec<_> = self.0.replicas.borrow().values().map(Rc::clone).collect();
        let mut last = None;
        for group in groups {
            let mut floor = Floor::default();
            floor.wrote(Instant::now());
            let mut asked = Asked::All;
            let look = group.look(&self.0, group.primary, None, &mut asked);
            let _ = timeout(within, look).await;
            if group.state.borrow().is_open(&mut floor) {
                return None;
            }
            last = last.max(floor.lsn());
        }
        last
    }
}
