//! Owns the one queue for all workers and the way of each request to a worker and of its answer
//! back. Runs on the front's thread; never waits.
//! Leaves HTTP to the front, and starting and ending workers to the supervisor.
//!
//! A request is in the queue, or offered to a worker, or running in one. Only a running one is
//! lost with its worker; an offered one is taken back and given to another.

mod answers;
mod bill;
mod clock;
mod line;
mod named;
mod poison;
mod replace;
mod run;
mod slow;
mod staff;
mod ticket;
mod worker;

use std::cell::RefCell;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canter_channel::call::{Answer, Failure, Submission};
use canter_channel::control::ProfileOrder;
use canter_channel::trace::Trace;
use canter_channel::{Control, MOST_RECORD, SlotId, StackSample, request};
use canter_shield::cost::{self, Costs};
use canter_shield::wait;
use slab::Slab;

pub use crate::link::{Reason, WorkerId};
use line::{Line, Rank};
pub use named::Named;
use named::{describe, fingerprint};
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

/// Requests given to workers below which nobody waits for long.
const BUSY: u32 = 32;

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

/// What the dispatch has to tell the rest of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The worker takes requests.
    Ready(WorkerId),
    /// The worker has ended; its requests are settled.
    Gone {
        /// Which one.
        worker: WorkerId,
        /// Requests that it was running and that were lost: method, target and id of each, as text
        /// for the log.
        lost: Vec<String>,
    },
    /// The worker should be replaced.
    Replace(WorkerId, Reason),
    /// A request ran past its deadline.
    TimedOut {
        /// Where it runs.
        worker: WorkerId,
        /// Method, target and id, as text for the log.
        request: String,
        /// How long it has run.
        after: Duration,
    },
    /// A request has been running for long, and where it is.
    Slow {
        /// Where it runs.
        worker: WorkerId,
        /// Which one.
        request: Named,
        /// How long ago it came.
        after: Duration,
        /// What it was seen doing.
        sample: StackSample,
    },
    /// A piece of a profile.
    Profile {
        /// Of which worker.
        worker: WorkerId,
        /// Which profile.
        number: u64,
        /// This worker has told all.
        last: bool,
        /// Lines of a stack, a blank and microseconds.
        text: String,
    },
    /// The Python stack of a request that ran past its deadline.
    Stack {
        /// Where it runs.
        worker: WorkerId,
        /// Method, target and id, as text for the log.
        request: String,
        /// As Python prints it.
        text: String,
    },
    /// Nobody waits any more for what this thread runs.
    Unwanted {
        /// Where it runs.
        worker: WorkerId,
        /// The kernel's number of the thread.
        thread: u32,
    },
    /// This request ran when workers died, twice, and is refused for a while.
    Refused {
        /// Method, target and id, as text for the log.
        request: String,
    },
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
    jitter: u64,
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
            jitter,
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
        self.0
            .borrow()
            .workers
            .iter()
            .any(|worker| worker.standing == Standing::Open)
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
    fn submit(
        &mut self,
        submission: Submission,
        mailbox: &Rc<RefCell<Mailbox>>,
    ) -> Option<(Key, u64)> {
        let now = submission.at;
        let whose = request::path_and_client(&submission.message);
        let kind = whose.map(|(path, client)| self.costs.kind(path, client));
        let kind = kind.unwrap_or_default();
        let rank = if submission.urgent {
            Rank::Urgent
        } else {
            Rank::Of(self.costs.class(kind))
        };
        let refused = if self.stopping {
            Some(Failure::Stopping)
        } else if submission.message.len() > MOST_RECORD {
            Some(Failure::TooLong)
        } else if self.poison.has_suspects()
            && self.poison.refuses(fingerprint(&submission.message), now)
        {
            Some(Failure::Refused)
        } else if !self.has_room(&submission, rank, now) {
            Some(Failure::QueueFull)
        } else {
            None
        };
        if let Some(failure) = refused {
            mailbox.borrow_mut().deliver(Answer::Failed(failure));
            return None;
        }
        if let Some(trace) = &submission.trace {
            trace.submitted.set(Some(now));
        }
        let number = self.next_number;
        self.next_number += 1;
        let key = self.entries.insert(Entry {
            number,
            message: submission.message,
            file: submission.file,
            place: Place::Queued,
            rank,
            overtaken: 0,
            kind,
            submitted: now,
            deadline: submission.deadline,
            wanted_until: submission.wanted_until,
            mailbox: Some(Rc::clone(mailbox)),
            answered: false,
            stuck: false,
            stack_asked: None,
            looks: slow::Looks::default(),
            trace: submission.trace,
        });
        let is_behind = self.is_behind(rank);
        let has_overtaken = !is_behind && self.overtake(rank);
        if is_behind || !self.give(key) {
            self.line.push((key, number), rank);
            if submission.urgent || has_overtaken {
                // Those before it may all have left: then nobody else would look.
                self.pump();
            } else {
                self.want_waking();
            }
        } else if has_overtaken {
            self.pump();
        }
        Some((key, number))
    }

    /// Whether it may wait. Where others are refused one that goes ahead of them takes the place of one.
    fn has_room(&mut self, submission: &Submission, rank: Rank, now: Instant) -> bool {
        let is_full = self.is_full();
        let passes = self.is_amid_dearer(rank);
        if is_full && !submission.urgent && !passes {
            return false;
        }
        // Nearly always: nobody waits.
        let waits = self.line.len() > 0;
        let before = if waits { self.line.before(rank) } else { 0 };
        self.is_worth_waiting(before, passes, submission.begin_until(), now)
            && (!is_full || self.refuse_one(rank))
    }

    /// Whether as many requests wait as may. Those offered to a worker that has not begun them wait,
    /// too.
    fn is_full(&self) -> bool {
        let most = self.settings.queue_size;
        // Nearly always: the number that workers write need not be read.
        if self.line.len() + self.workers.len() * (DEPTH as usize) < most {
            return false;
        }
        let untaken = self
            .workers
            .iter()
            .map(|worker| worker.end.untaken() as usize);
        // Counted exactly, without those taken back, only where it matters.
        self.line.len() + untaken.sum::<usize>() >= most
            && self.line.len() + self.workers.iter().map(Worker::unstarted).sum::<usize>() >= most
    }

    /// Whether one more would be served in useful time, behind so many that wait already; `passes` if
    /// it goes ahead of what is at workers, too.
    fn is_worth_waiting(
        &mut self,
        before: usize,
        passes: bool,
        deadline: Option<Instant>,
        now: Instant,
    ) -> bool {
        let given: u32 = self.workers.iter().map(|worker| worker.in_flight).sum();
        // Nearly always: nobody waits.
        if before == 0 && (given < BUSY || passes) {
            return true;
        }
        let now_ms = now.duration_since(self.started).as_millis() as u64;
        let left = deadline.map(|end| end.saturating_duration_since(now).as_millis() as u64);
        let mut ahead = before as u64 + u64::from(given);
        if !self.waits.is_short(ahead, self.served, left, now_ms) {
            // Those that run are not ahead of it. Where that makes no difference, the numbers that
            // workers write all the time need not be read.
            let untaken = self.workers.iter().map(|worker| worker.end.untaken());
            ahead = before as u64 + untaken.map(u64::from).sum::<u64>();
        }
        self.waits.admits(ahead, self.served, left, now_ms)
    }

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
                .min_by_key(|worker| (worker.stands_still, worker.in_flight));
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
