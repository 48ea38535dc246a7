//! Owns what joins requests with the pooler in the front: which process a worker is, which requests
//! its threads run, and whose statements nobody waits for any more. Costs a request nothing until
//! its client leaves, unless reads go to replicas.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use canter_pg::{Owner, Pooler, PoolerStats};
use canter_workers::dispatch::{Dispatch, Notice, WorkerId};

use super::bills;
use super::visits::Visits;
use crate::pooling::Plan;

/// The pooler beside the site, if there is one; cheap to clone.
#[derive(Clone)]
pub struct Pooled(Option<Rc<Inner>>);

struct Inner {
    pooler: Pooler,
    processes: RefCell<HashMap<WorkerId, u32>>,
}

impl Inner {
    /// The worker that a session belongs to.
    fn worker(&self, owner: Owner) -> Option<WorkerId> {
        let processes = self.processes.borrow();
        let found = processes.iter().find(|(_, pid)| **pid == owner.pid);
        found.map(|(worker, _)| *worker)
    }
}

impl Pooled {
    /// Nothing is done where there is no pooler.
    pub fn new(pooler: Option<Pooler>) -> Self {
        Self(pooler.map(|pooler| {
            Rc::new(Inner {
                pooler,
                processes: RefCell::default(),
            })
        }))
    }

    /// A worker has come.
    pub fn adopt(&self, worker: WorkerId, process: u32) {
        if let Some(inner) = &self.0 {
            inner.processes.borrow_mut().insert(worker, process);
        }
    }

    /// The visitors of requests, where replicas are read from.
    pub fn visits(&self, plan: Option<&Plan>, dispatch: &Dispatch) -> Option<Visits> {
        let (inner, seal) = (self.0.as_ref()?, plan?.seal()?);
        let (joined, dispatch) = (Rc::downgrade(inner), dispatch.clone());
        let requests_of = move |owner: Owner| {
            let Some(joined) = joined.upgrade() else {
                return Vec::new();
            };
            match (joined.worker(owner), u32::try_from(owner.tid)) {
                (Some(worker), Ok(thread)) => dispatch.running(worker, thread),
                _ => Vec::new(),
            }
        };
        Some(Visits::new(inner.pooler.clone(), seal.clone(), requests_of))
    }

    /// From now on writes what requests cost in the pooler to their notes.
    pub fn bill(&self, dispatch: &Dispatch) {
        let Some(inner) = &self.0 else { return };
        let (joined, dispatch) = (Rc::downgrade(inner), dispatch.clone());
        inner.pooler.set_bills(Rc::new(move |owner, billed| {
            let Some(joined) = joined.upgrade() else {
                return;
            };
            let worker = joined.worker(owner);
            let thread = u32::try_from(owner.tid);
            if let (Some(worker), Ok(thread)) = (worker, thread)
                && let Some(trace) = dispatch.notes_of(worker, thread)
            {
                bills::note(&trace, billed);
            }
        }));
    }

    /// Hears what the dispatch tells.
    pub fn hear(&self, notice: &Notice) {
        let Some(inner) = &self.0 else { return };
        match notice {
            Notice::Unwanted { worker, thread } => {
                if let Some(&pid) = inner.processes.borrow().get(worker) {
                    let tid = u64::from(*thread);
                    inner.pooler.request_gone(Owner { pid, tid });
                }
            }
            Notice::Gone { worker, .. } => {
                inner.processes.borrow_mut().remove(worker);
            }
            // It may have other settings than those before it.
            Notice::Ready(_) => inner.pooler.expect_well(),
            Notice::Closed { .. }
            | Notice::Replace(..)
            | Notice::TimedOut { .. }
            | Notice::RouterGaveUp { .. }
            | Notice::Stack { .. }
            | Notice::Slow { .. }
            | Notice::Profile { .. }
            | Notice::Refused { .. } => {}
        }
    }

    /// Connections that nobody uses are closed, and others when their transaction ends.
    pub fn renew(&self) {
        if let Some(inner) = &self.0 {
            inner.pooler.reconnect(None);
        }
    }

    /// Whether no connection to any database of the site can be opened.
    pub fn is_out(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.pooler.is_out())
    }

    /// What the pool did and does.
    pub fn stats(&self) -> Option<PoolerStats> {
        self.0.as_ref().map(|inner| inner.pooler.stats())
    }

    /// Lets other programs finish their transactions, and closes what is left after `grace`.
    pub async fn drain(&self, grace: Duration) {
        if let Some(inner) = &self.0 {
            inner.pooler.drain(grace).await;
        }
    }
}
