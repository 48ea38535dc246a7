//! Owns the one queue for all workers and the way of each request to a worker and of its answer
//! back. Runs on the front's thread; never waits.
//! Leaves HTTP to the front, and starting and ending workers to the supervisor.
//!
//! A request is in the queue, or offered to a worker, or running in one. Only a running one is
//! lost with its worker; an offered one is taken back and given to another.

mod admission;
mod answers;
mod bill;
mod clock;
mod closed;
mod line;
mod named;
mod notice;
mod poison;
mod replace;
mod run;
mod slow;
mod threads;
mod ticket;
mod worker;

use std::cell::RefCell;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canter_channel::call::Submission;
use canter_channel::control::ProfileOrder;
use canter_channel::trace::Trace;
use canter_channel::{Control, SlotId};
use canter_shield::cost::{self, Costs};
use canter_shield::wait;
use slab::Slab;

pub use crate::link::{Reason, WorkerId};
use line::{Line, Rank};
pub use named::Named;
pub use notice::Notice;
use poison::Poison;
pub use run::{Adopted, before_sleep};
pub use slow::Slow;
use ticket::Mailbox;
pub use ticket::Ticket;
use worker::{Standing, Worker};

/// Offered requests beyond which a worker gets no more until it has taken some. Deep enough that
/// it never runs dry while the front is busy elsewhere, shallow enough that little must be taken
/// back when it turns slow (measured: depth 1 gives half the speed of depth 16).
const DEPTH: u32 = 64;
/// The same where some requests go ahead of others: what is offered already is not overtaken.
const SHALLOW: u32 = 8;

/// Requests pushed after which a sleeping worker is woken before the turn of the loop ends.
const WAKE_AFTER: u32 = 32;

/// What the dispatch is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests that may wait for a worker; beyond it they are refused.
    pub queue_size: usize,
    /// Replace a worker after about this many requests; 0 for never.
    pub max_requests: u64,
    /// Up to this many more, chosen for each worker, so that they are not replaced together.
    pub max_requests_jitter: u64,
    /// Running requests past their deadline that one worker may have before it is replaced.
    pub most_stuck: u32,
    /// Ages at which a running request is looked at, rising.
    pub slow_after: Vec<Duration>,
    /// Some requests go ahead of others.
    pub has_priorities: bool,
}

type Key = usize;

/// Where a request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queued,
    Given(WorkerId, SlotId),
}

struct Entry {
    /// Rising with arrival; also tells a late answer from one for the slot's next user.
    number: u64,
    message: Vec<u8>,
    file: Option<OwnedFd>,
    place: Place,
    rank: Rank,
    /// How many have gone past it after it was given to a worker.
    overtaken: u8,
    /// By what its cost is known again.
    kind: cost::Kind,
    submitted: Instant,
    deadline: Option<Instant>,
    /// Until the router in front gives up.
    wanted_until: Option<Instant>,
    /// None when nobody waits for the answer any more.
    mailbox: Option<Rc<RefCell<Mailbox>>>,
    /// The head of the answer has come.
    answered: bool,
    /// The deadline passed while it ran.
    stuck: bool,
    stack_asked: Option<Instant>,
    looks: slow::Looks,
    trace: Option<Rc<Trace>>,
}

impl Entry {
    /// When its time is over: its deadline, or the router's patience.
    fn end(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.wanted_until).min()
    }
}

/// The handle that the front and the composition hold.
#[derive(Clone)]
pub struct Dispatch(Rc<RefCell<Inner>>);

struct Inner {
    settings: Settings,
    entries: Slab<Entry>,
    line: Line,
    workers: Vec<Worker>,
    poison: Poison,
    next_number: u64,
    scratch: Vec<u8>,
    notices: Box<dyn FnMut(Notice)>,
    /// The cap on threads, where it was changed since the start.
    threads: Option<u16>,
    stopping: bool,
    clock: clock::Ticker,
    closed: closed::Closed,
    jitter: u64,
    /// From which number on workers have places: servers on one machine do not all begin with the same.
    first_place: u16,
    /// How long those at the end would wait.
    waits: wait::Queue,
    /// What requests cost.
    costs: Costs,
    /// The newest of the dearest requests that workers were given of late, and its class.
    dearest_given: Option<(u64, cost::Class)>,
    /// Requests answered to their end, ever.
    served: u64,
    started: Instant,
}

impl Dispatch {
    /// A dispatch without workers: requests wait until the first one is ready.
    pub fn new(settings: Settings, notices: impl FnMut(Notice) + 'static) -> Self {
        let jitter = u64::from(std::process::id()) ^ 0x9E37_79B9_7F4A_7C15;
        Self(Rc::new(RefCell::new(Inner {
            settings,
            entries: Slab::new(),
            line: Line::default(),
            workers: Vec::new(),
            poison: Poison::default(),
            next_number: 1,
            scratch: Vec::new(),
            notices: Box::new(notices),
            threads: None,
            stopping: false,
            clock: clock::Ticker::default(),
            closed: closed::Closed::default(),
            jitter,
            first_place: RandomState::new().hash_one(jitter) as u16,
            waits: wait::Queue::new(wait::Patience::default()),
            costs: Costs::new(RandomState::new().hash_one(jitter)),
            dearest_given: None,
            served: 0,
            started: Instant::now(),
        })))
    }

    /// Hands a request in. Every answer, a refusal too, comes through the ticket.
    pub fn submit(&self, submission: Submission) -> Ticket {
        let mailbox = Mailbox::new();
        let taken = self.0.borrow_mut().submit(submission, &mailbox);
        Ticket::new(mailbox, Rc::downgrade(&self.0), taken)
    }

    /// The numbers ([`Ticket::number`]) of the requests that this thread of a worker has begun and
    /// of which the end has not been seen yet.
    pub fn running(&self, id: WorkerId, thread: u32) -> Vec<u64> {
        let inner = self.0.borrow();
        let worker = inner.workers.iter().find(|worker| worker.id == id);
        let keys = worker.into_iter().flat_map(|worker| worker.run_by(thread));
        keys.filter_map(|key| Some(inner.entries.get(key)?.number))
            .collect()
    }

    /// Has every worker that takes requests sampled; answers which.
    pub fn profile(&self, order: ProfileOrder) -> Vec<WorkerId> {
        let inner = self.0.borrow();
        let open = inner
            .workers
            .iter()
            .filter(|worker| worker.standing == Standing::Open);
        open.map(|worker| {
            worker.say(Control::Profile(order));
            worker.id
        })
        .collect()
    }

    /// Has a worker replaced, once: another comes before it ends, and it finishes what it runs.
    pub fn replace(&self, id: WorkerId, reason: Reason) {
        self.0.borrow_mut().replace(id, reason);
    }

    /// Whether any worker takes requests.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().is_open()
    }

    /// Whether none ever has, in this front: the app is still being loaded.
    pub fn is_loading(&self) -> bool {
        self.0.borrow().is_loading()
    }

    /// How the import of the app stands. Where it has failed nobody waits for it, until another begins.
    pub fn import(&self, has_failed: bool) {
        self.0.borrow_mut().import(has_failed, Instant::now());
    }

    /// Whether no worker has ever taken requests because the app cannot be imported.
    pub fn is_import_broken(&self) -> bool {
        self.0.borrow().is_import_broken()
    }

    /// Whether as many requests wait as may: another one would be refused.
    pub fn is_full(&self) -> bool {
        self.0.borrow().is_full()
    }

    /// Requests that wait for a thread, and those that one runs. What was offered to a worker and has
    /// not begun waits like what is in the queue: it can be taken back.
    pub fn load(&self) -> (usize, usize) {
        let inner = self.0.borrow();
        let unstarted = inner.workers.iter().map(Worker::unstarted).sum::<usize>();
        let given = inner.workers.iter().map(|worker| worker.in_flight as usize);
        let running = given.sum::<usize>().saturating_sub(unstarted);
        (inner.line.len() + unstarted, running)
    }

    /// Gives the worker no more requests and tells it to end when it has finished.
    pub fn retire(&self, id: WorkerId) {
        self.0.borrow_mut().retire(id);
    }

    /// No request is taken any more; what waits for a worker still gets one.
    pub fn stop(&self) {
        self.0.borrow_mut().stopping = true;
    }

    /// Tells every worker to end when it has finished.
    pub fn retire_all(&self) {
        let mut inner = self.0.borrow_mut();
        let ids: Vec<_> = inner.workers.iter().map(|worker| worker.id).collect();
        for id in ids {
            inner.retire(id);
        }
    }
}

impl Inner {
    /// Offers the request to the best worker; false when none can take it now.
    fn give(&mut self, key: Key) -> bool {
        let Some(rank) = self.entries.get(key).map(|entry| entry.rank) else {
            return false;
        };
        let depth = self.depth_for(rank);
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        // Whose ring or slots have no room for it.
        let mut full = Vec::new();
        let (worker, slot, may_wait) = loop {
            let best = self
                .workers
                .iter_mut()
                .filter(|worker| worker.standing == Standing::Open && !full.contains(&worker.id))
                .filter(|worker| worker.has_room(depth))
                .min_by_key(|worker| {
                    // Or one whose successor is there would go on until the supervisor has said so.
                    let is_leaving = worker.replacing.is_some();
                    (worker.stands_still, worker.in_flight, is_leaving)
                });
            let Some(worker) = best else { return false };
            // A thread at an empty ring takes it at once: nothing waits that the clock must look after.
            let may_wait =
                !self.clock.is_running() && (worker.end.untaken() > 0 || !worker.end.is_idle());
            match worker.offer(key, entry.number, &entry.message, entry.file.as_ref()) {
                Some(slot) => break (worker, slot, may_wait),
                None => full.push(worker.id),
            }
        };
        entry.place = Place::Given(worker.id, slot);
        let number = entry.number;
        let (served, id, replacing) = (worker.served, worker.id, worker.replacing.is_some());
        if worker.pushed >= WAKE_AFTER {
            worker.pushed = 0;
            worker.end.wake_worker();
        }
        if may_wait {
            self.clock.start();
        }
        self.has_given(number, rank);
        self.count_served(id, served, replacing);
        true
    }

    /// Gives waiting requests to workers with room.
    fn pump(&mut self) {
        while let Some(((key, number), rank)) = self.line.first() {
            let wanted = self
                .entries
                .get(key)
                .is_some_and(|entry| entry.number == number);
            if wanted {
                if !self.give(key) {
                    self.want_waking();
                    return;
                }
                self.line.drop_first(rank);
                self.leaves_line(rank);
            } else {
                self.line.drop_first(rank);
            }
        }
    }

    /// Requests wait: the workers wake the front when half of what they were given has begun.
    fn want_waking(&self) {
        for worker in &self.workers {
            if worker.standing == Standing::Open {
                worker.end.wake_when_untaken(self.depth() / 2);
            }
        }
    }

    /// Nobody waits for this answer any more.
    fn abandon(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.mailbox = None;
        match entry.place {
            Place::Queued => {
                let entry = self.entries.remove(key);
                self.leaves_line(entry.rank);
            }
            Place::Given(id, slot) => {
                let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) else {
                    return;
                };
                if worker.reclaim(slot) {
                    self.entries.remove(key);
                } else {
                    worker.end.cancel(slot);
                    if let Some(thread) = worker.thread_of(slot) {
                        (self.notices)(Notice::Unwanted { worker: id, thread });
                    }
                }
            }
        }
    }

    fn is_queued(&self, key: Key) -> bool {
        match self.entries.get(key).map(|entry| entry.place) {
            Some(Place::Queued) => true,
            Some(Place::Given(id, slot)) => self
                .worker(id)
                .is_some_and(|worker| !worker.end.has_started(slot)),
            None => false,
        }
    }

    fn set_hold(&mut self, key: Key, hold: bool) {
        if let Some(Place::Given(id, slot)) = self.entries.get(key).map(|entry| entry.place)
            && let Some(worker) = self.worker(id)
        {
            worker.end.set_hold(slot, hold);
        }
    }

    fn retire(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) else {
            return;
        };
        if worker.standing == Standing::Draining {
            return;
        }
        worker.standing = Standing::Draining;
        worker.say(Control::Drain);
        // What it has not begun is better off elsewhere.
        self.take_back(id, usize::MAX);
    }

    fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.id == id)
    }
}

#[cfg(test)]
mod tests;
