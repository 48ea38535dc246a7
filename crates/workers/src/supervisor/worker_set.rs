//! Owns how many workers there are: which to start, which to retire, when to wait.
//! Leaves the life of each to `life`, and all doing to the supervisor.
//!
//! There is one rule, applied after each event: as many workers as wanted, all of the current
//! generation, one too many for a moment while an old one is replaced. Crashes, reloads,
//! replacements and a changed number of workers are all cases of it.
//!
//! No I/O; the clock is passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use canter_sys::process::Pid;

use super::backoff::Backoff;
use super::life::{Action, Event, Limits, State};
use crate::link::{Reason, WorkerId};

/// A worker that lives no longer than this has not worked.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// What the supervisor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start this worker.
    Start(WorkerId),
    /// Hand it to the front.
    Adopt(WorkerId, Pid),
    /// Tell the front to retire it.
    Retire(WorkerId),
    /// Send SIGKILL.
    Kill(Pid),
    /// Worth a line in the log.
    Say(WorkerId, Said),
}

/// What is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It takes requests.
    Ready {
        /// Since it was asked for.
        after: Duration,
    },
    /// It was not ready in time.
    SlowStart,
    /// It did not finish in time.
    SlowEnd,
    /// Another takes its place.
    Replacing(Reason),
}

/// The end of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Which worker.
    pub worker: WorkerId,
    /// Nobody had told it to end.
    pub surprise: bool,
}

struct Worker {
    state: State,
    generation: u32,
    /// Reloads before it.
    reloads: u32,
    asked: Instant,
    /// Another shall take its place.
    replace: bool,
    /// It was told to end.
    dismissed: bool,
}

/// All workers.
pub struct WorkerSet {
    workers: BTreeMap<WorkerId, Worker>,
    limits: Limits,
    wanted: usize,
    /// Counts what replaces all workers.
    generation: u32,
    /// Those of them that read the code anew.
    reloads: u32,
    next: u32,
    backoff: Backoff,
    ever_ready: bool,
    /// Workers can be started: the app is loaded, and nothing stops.
    open: bool,
}

impl WorkerSet {
    /// Nobody yet; [`WorkerSet::open`] starts the first.
    pub fn new(wanted: usize, limits: Limits) -> Self {
        Self {
            workers: BTreeMap::new(),
            limits,
            wanted: wanted.max(1),
            generation: 0,
            reloads: 0,
            next: 1,
            backoff: Backoff::default(),
            ever_ready: false,
            open: false,
        }
    }

    /// Workers can be started from now on.
    pub fn open(&mut self) {
        self.open = true;
    }

    /// No worker is started any more.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// A reload: all workers shall be replaced by ones with the code of now.
    pub fn renew(&mut self) {
        self.reloads += 1;
        self.refresh();
    }

    /// All workers shall be replaced by ones that have nothing behind them; what they run is no other
    /// release of the app.
    pub fn refresh(&mut self) {
        self.generation += 1;
        self.backoff.succeeded();
    }

    /// Reloads so far.
    pub fn reloads(&self) -> u32 {
        self.reloads
    }

    /// Reloads before one worker.
    pub fn reloads_before(&self, worker: WorkerId) -> Option<u32> {
        Some(self.workers.get(&worker)?.reloads)
    }

    /// Changes the number of workers, to no less than one; answers the new number.
    pub fn want(&mut self, more: isize) -> usize {
        self.wanted = self.wanted.saturating_add_signed(more).max(1);
        self.wanted
    }

    /// Sets the number of workers.
    pub fn set_wanted(&mut self, wanted: usize) {
        self.wanted = wanted.max(1);
    }

    /// How long starting and finishing may take from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Nobody is left.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// At least one worker has ever taken requests.
    pub fn was_ever_ready(&self) -> bool {
        self.ever_ready
    }

    /// Rounds of early deaths in a row.
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// When [`WorkerSet::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let lives = self
            .workers
            .values()
            .filter_map(|worker| worker.state.until());
        lives.chain(self.backoff.until()).min()
    }

    /// Something happened to one worker.
    pub fn handle(&mut self, id: WorkerId, event: Event, now: Instant) -> Vec<Order> {
        let mut orders = Vec::new();
        self.apply(id, event, now, &mut orders);
        self.reconcile(now, &mut orders);
        orders
    }

    /// The front asks for another in the place of one.
    pub fn replace(&mut self, id: WorkerId, reason: Reason, now: Instant) -> Vec<Order> {
        let mut orders = Vec::new();
        let Some(worker) = self.workers.get_mut(&id) else {
            return orders;
        };
        if !worker.replace && worker.state.is_live() {
            worker.replace = true;
            orders.push(Order::Say(id, Said::Replacing(reason)));
        }
        if reason == Reason::Broken {
            self.apply(id, Event::Kill, now, &mut orders);
        }
        self.reconcile(now, &mut orders);
        orders
    }

    /// The same happened to all.
    pub fn handle_all(&mut self, event: Event, now: Instant) -> Vec<Order> {
        let mut orders = Vec::new();
        for id in self.workers.keys().copied().collect::<Vec<_>>() {
            self.apply(id, event, now, &mut orders);
        }
        self.reconcile(now, &mut orders);
        orders
    }

    /// A process ended: was it a worker, and what did it do at the time?
    pub fn exited(&mut self, pid: Pid, now: Instant) -> Option<(End, Vec<Order>)> {
        let (&id, worker) = self
            .workers
            .iter()
            .find(|(_, worker)| worker.state.pid() == Some(pid))?;
        let end = End {
            worker: id,
            surprise: !worker.dismissed,
        };
        Some((end, self.handle(id, Event::Exited, now)))
    }

    /// Deadlines that have passed, and starts that were put off.
    pub fn tick(&mut self, now: Instant) -> Vec<Order> {
        let mut orders = Vec::new();
        let due = |worker: &Worker| worker.state.until().is_some_and(|until| until <= now);
        let expired: Vec<WorkerId> = self
            .workers
            .iter()
            .filter_map(|(id, worker)| due(worker).then_some(*id))
            .collect();
        for id in expired {
            self.apply(id, Event::Expired, now, &mut orders);
        }
        self.reconcile(now, &mut orders);
        orders
    }

    fn apply(&mut self, id: WorkerId, event: Event, now: Instant, orders: &mut Vec<Order>) {
        let Some(worker) = self.workers.get_mut(&id) else {
            // It was given up before the zygote had forked it.
            if let Event::Forked(pid) = event {
                orders.push(Order::Kill(pid));
            }
            return;
        };
        let before = worker.state;
        let (state, actions) = before.step(event, now, &self.limits);
        worker.state = state;
        worker.dismissed |= match event {
            Event::Retire | Event::FrontLost | Event::Stop | Event::Kill | Event::Expired => true,
            Event::Forked(_) | Event::NotForked | Event::Ready | Event::Exited | Event::Settled => {
                false
            }
        };
        let told = worker.dismissed && event != Event::Expired;
        let lived = now.saturating_duration_since(worker.asked);
        for action in actions {
            orders.push(match action {
                Action::Adopt(pid) => Order::Adopt(id, pid),
                Action::TellRetire => Order::Retire(id),
                Action::TellReady => {
                    self.ever_ready = true;
                    Order::Say(id, Said::Ready { after: lived })
                }
                Action::Kill(pid) => Order::Kill(pid),
                Action::TellSlowStart => Order::Say(id, Said::SlowStart),
                Action::TellSlowEnd => Order::Say(id, Said::SlowEnd),
            });
        }
        if before.is_live() && !state.is_live() && !told {
            if before.is_coming() || lived < SHORT_LIFE {
                self.backoff.failed(now);
            } else {
                self.backoff.succeeded();
            }
        }
        if state == State::Gone {
            self.workers.remove(&id);
        }
    }

    /// The rule.
    fn reconcile(&mut self, now: Instant, orders: &mut Vec<Order>) {
        if !self.open {
            return;
        }
        self.start_missing(now, orders);
        self.retire_spare(now, orders);
    }

    fn start_missing(&mut self, now: Instant, orders: &mut Vec<Order>) {
        if !self.backoff.is_over(now) {
            return;
        }
        let live = self.workers.values().filter(|w| w.state.is_live()).count();
        let current = self.workers.values().filter(|w| self.is_current(w)).count();
        let coming = self
            .workers
            .values()
            .any(|worker| self.is_current(worker) && worker.state.is_coming());
        let mut missing = self.wanted.saturating_sub(live);
        if missing == 0 && current < self.wanted && !coming {
            missing = 1;
        }
        for _ in 0..missing {
            let id = WorkerId(self.next);
            self.next = self.next.wrapping_add(1);
            let worker = Worker {
                state: State::asked(now, &self.limits),
                generation: self.generation,
                reloads: self.reloads,
                asked: now,
                replace: false,
                dismissed: false,
            };
            self.workers.insert(id, worker);
            orders.push(Order::Start(id));
        }
    }

    fn retire_spare(&mut self, now: Instant, orders: &mut Vec<Order>) {
        let running: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, worker)| matches!(worker.state, State::Running { .. }))
            .map(|(id, _)| *id)
            .collect();
        let spare = running.len().saturating_sub(self.wanted);
        let (current, outdated): (Vec<WorkerId>, Vec<WorkerId>) = running
            .into_iter()
            .partition(|id| self.workers.get(id).is_some_and(|w| self.is_current(w)));
        for id in outdated.into_iter().chain(current).take(spare) {
            self.apply(id, Event::Retire, now, orders);
        }
        if spare > 0 {
            // The next old one, if there is one, gets its successor at once.
            self.start_missing(now, orders);
        }
    }

    fn is_current(&self, worker: &Worker) -> bool {
        worker.state.is_live() && worker.generation == self.generation && !worker.replace
    }
}

#[cfg(test)]
mod tests;
