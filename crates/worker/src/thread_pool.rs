//! Owns the threads that run requests: one reads the ring, others run requests, the rest are
//! parked; how they begin, change places and end.
//! Leaves when another is needed to `thread_demand`.
//!
//! The thread that takes a request runs it (leader/follower), and takes the next without letting
//! go of the interpreter's lock when nobody reads the ring. The most recently parked thread
//! is called first, so that after a burst the others fall idle, and end with what they hold.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use canter_channel::trace;
use canter_sys::cpu;
use pyo3::prelude::*;

use crate::failure;
use crate::one_cpu;
use crate::ring_reader::{Job, RingReader, Taken};
use crate::running::ThreadFacts;
use crate::wake_policy;
use crate::worker::Worker;

/// What Linux gives a main thread, and `CPython` its own threads: deep recursion in an app behaves
/// as elsewhere. Address space only; a page costs memory once it was touched.
const STACK_BYTES: usize = 8 << 20;

/// Threads that run requests: from here on there are many, and below the second number few again.
pub(crate) const MANY: usize = 24;
pub(crate) const FEW: usize = 12;

/// The threads of one worker.
pub(crate) struct ThreadPool {
    members: Mutex<Members>,
    most: AtomicUsize,
    least: usize,
    idle_limit: Duration,
    /// Threads called to the ring that have not reached it: they wait for a CPU or the
    /// interpreter, so more of them would only wait, too.
    starting: AtomicUsize,
    /// When the first of them was called, as in [`trace::now_us`].
    starting_since: AtomicU32,
    /// One of the threads that run requests should park.
    one_too_many: AtomicBool,
    /// More threads run requests than there may be.
    over: AtomicBool,
}

#[derive(Default)]
struct Members {
    alive: usize,
    /// Those of them that are not needed any more and are on their way out.
    leaving: usize,
    ever: u64,
    parked: Vec<Arc<Parked>>,
    /// Set when no thread could be made, so that it is said once.
    refused: bool,
}

struct Parked {
    thread: Thread,
    called: AtomicBool,
    /// There are more threads than there may be: it ends instead.
    dismissed: AtomicBool,
}

/// What a thread does next.
enum Next<'py> {
    Run(Job<'py>),
    Park,
    End,
}

impl ThreadPool {
    pub fn new(most: usize, least: usize, idle_limit: Duration) -> Self {
        let most = most.max(1);
        Self {
            members: Mutex::default(),
            most: AtomicUsize::new(most),
            least: least.clamp(1, most),
            idle_limit,
            starting: AtomicUsize::new(0),
            starting_since: AtomicU32::new(0),
            one_too_many: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Threads that always stay.
    fn least(&self) -> usize {
        self.least.min(self.most())
    }

    /// Changes how many threads there may be. Of those beyond, the parked ones end now, the
    /// longest parked first, the others when they have answered their requests.
    pub fn set_most(&self, most: usize) {
        let most = most.max(1);
        let mut members = self.members();
        self.most.store(most, Ordering::Relaxed);
        let beyond = (members.alive - members.leaving).saturating_sub(most);
        let going = beyond.min(members.parked.len());
        let gone: Vec<_> = members.parked.drain(..going).collect();
        members.leaving += going;
        self.over.store(beyond > going, Ordering::Relaxed);
        drop(members);
        for parked in gone {
            parked.dismissed.store(true, Ordering::Release);
            parked.thread.unpark();
        }
    }

    /// Whether the calling thread, which has answered its request, is one more than there may be.
    fn is_over(&self) -> bool {
        if !self.over.load(Ordering::Relaxed) {
            return false;
        }
        let mut members = self.members();
        let beyond = (members.alive - members.leaving).saturating_sub(self.most());
        members.leaving += beyond.min(1);
        self.over.store(beyond > 1, Ordering::Relaxed);
        beyond > 0
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // Held for a few instructions, never while calling Python.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts as many threads as there always are.
    pub fn begin(worker: &Arc<Worker>) {
        Self::wake_or_spawn(worker, worker.thread_pool.least());
    }

    /// Lets up to `count` more threads come to the ring.
    pub fn wake_or_spawn(worker: &Arc<Worker>, count: usize) {
        for _ in 0..count {
            let pool = &worker.thread_pool;
            let mut members = pool.members();
            if let Some(parked) = members.parked.pop() {
                drop(members);
                pool.note_starting();
                parked.called.store(true, Ordering::Release);
                parked.thread.unpark();
                continue;
            }
            if members.alive >= pool.most() {
                return;
            }
            members.alive += 1;
            members.ever += 1;
            let number = members.ever;
            drop(members);
            pool.note_starting();
            // The new thread would do as this one does.
            wake_policy::leaves();
            if let Err(error) = spawn(worker, number) {
                pool.starting.fetch_sub(1, Ordering::AcqRel);
                pool.refused(&error);
                return;
            }
        }
    }

    fn refused(&self, error: &std::io::Error) {
        let mut members = self.members();
        members.alive -= 1;
        if !std::mem::replace(&mut members.refused, true) {
            let alive = members.alive;
            drop(members);
            failure::log_text(&format!(
                "the system refuses another thread ({error}); going on with {alive}"
            ));
        }
    }

    fn note_starting(&self) {
        if self.is_settled() {
            self.starting_since
                .store(trace::now_us(), Ordering::Relaxed);
        }
        self.starting.fetch_add(1, Ordering::AcqRel);
    }

    /// Microseconds for which a thread that was called has not got the interpreter. Whoever takes the request
    /// instead that it was called for, that request has waited for the lock.
    fn unsettled_for(&self) -> u32 {
        if self.is_settled() {
            return 0;
        }
        let since = self.starting_since.load(Ordering::Relaxed);
        trace::now_us().wrapping_sub(since)
    }

    /// Whether every thread that was called has arrived.
    pub fn is_settled(&self) -> bool {
        self.starting.load(Ordering::Acquire) == 0
    }

    fn has_ended(&self, was_leaving: bool) {
        let mut members = self.members();
        members.alive -= 1;
        members.leaving -= usize::from(was_leaving);
    }

    /// Threads that have not ended.
    pub fn alive(&self) -> usize {
        self.members().alive
    }

    /// Threads that have not ended and are not parked.
    pub fn busy(&self) -> usize {
        let members = self.members();
        members.alive.saturating_sub(members.parked.len())
    }

    /// Whether as many threads run requests as may.
    pub fn is_full(&self) -> bool {
        self.busy() >= self.most()
    }

    /// The next thread that has answered its request parks, if another is left.
    pub fn park_one(&self) {
        if self.busy() > self.least() {
            self.one_too_many.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the calling thread, which is not parked, is the one to go.
    fn should_park(&self) -> bool {
        self.one_too_many.load(Ordering::Relaxed)
            && self.one_too_many.swap(false, Ordering::Relaxed)
            && self.busy() > self.least()
    }

    /// Calls all parked threads, which then see that the worker is draining.
    pub fn wake_all(&self) {
        let parked = std::mem::take(&mut self.members().parked);
        self.starting.fetch_add(parked.len(), Ordering::AcqRel);
        for parked in parked {
            parked.called.store(true, Ordering::Release);
            parked.thread.unpark();
        }
    }

    /// Waits to be called. False means that the thread has been idle for too long, or is one too
    /// many, and ends.
    fn park(&self) -> bool {
        let me = Arc::new(Parked {
            thread: thread::current(),
            called: AtomicBool::new(false),
            dismissed: AtomicBool::new(false),
        });
        self.members().parked.push(Arc::clone(&me));
        let mut since = Instant::now();
        loop {
            thread::park_timeout(self.idle_limit.saturating_sub(since.elapsed()));
            if me.called.load(Ordering::Acquire) {
                return true;
            }
            if me.dismissed.load(Ordering::Acquire) {
                return false;
            }
            if since.elapsed() < self.idle_limit {
                continue;
            }
            let mut members = self.members();
            let place = members.parked.iter().position(|it| Arc::ptr_eq(it, &me));
            if let Some(place) = place
                && members.alive - members.leaving > self.least()
            {
                members.parked.remove(place);
                members.leaving += 1;
                return false;
            }
            drop(members);
            // Called this very moment, or one of those that always stay.
            since = Instant::now();
        }
    }
}

/// Why a thread ends.
enum Ending {
    /// The worker does.
    Drained,
    /// It was idle for too long, or one more than there may be.
    Spare,
}

fn spawn(worker: &Arc<Worker>, number: u64) -> std::io::Result<()> {
    let shared = Arc::clone(worker);
    let name = format!("canter-{number}");
    let work = move || {
        // A panic here is a bug of ours; it must not take the count of threads with it.
        let asked = trace::now_us();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            Python::attach(|py| {
                thread_main(py, &shared, number, trace::now_us().wrapping_sub(asked))
            })
        }));
        shared
            .thread_pool
            .has_ended(matches!(ended, Ok(Ending::Spare)));
        shared.ring_guard();
    };
    // Nobody joins: `guard` waits until none is alive, and must not wait for one that is stuck.
    thread::Builder::new()
        .name(name)
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map(drop)
}

/// A thread's life. It stays attached to the interpreter except where it sleeps. `waited` is how long it
/// waited for the interpreter's lock since it was called; its first request pays for it.
fn thread_main(py: Python<'_>, worker: &Arc<Worker>, number: u64, mut waited: u32) -> Ending {
    let facts = register_with_threading(py, number).unwrap_or_else(|error| {
        failure::log_error(py, "a thread could not be named", &error);
        ThreadFacts {
            ident: 0,
            tid: cpu::thread_id(),
        }
    });
    // Requests since this thread last slept at the ring.
    let mut taken = 0;
    loop {
        worker.thread_pool.starting.fetch_sub(1, Ordering::AcqRel);
        worker.switch_interval.adapt(py, worker.thread_pool.busy());
        loop {
            one_cpu::follow();
            match next(py, worker, facts, std::mem::take(&mut waited), &mut taken) {
                Next::Run(job) => run(py, worker, job),
                Next::Park => break,
                Next::End => return Ending::Drained,
            }
            if worker.thread_pool.is_over() {
                worker.switch_interval.adapt(py, worker.thread_pool.busy());
                return Ending::Spare;
            }
            if worker.thread_pool.should_park() {
                break;
            }
        }
        if worker.is_draining() {
            return Ending::Drained;
        }
        wake_policy::leaves();
        worker.switch_interval.adapt(py, worker.thread_pool.busy());
        let (is_called, called) = py.detach(|| (worker.thread_pool.park(), trace::now_us()));
        if !is_called {
            return Ending::Spare;
        }
        waited = trace::now_us().wrapping_sub(called);
    }
}

fn run(py: Python<'_>, worker: &Arc<Worker>, job: Job<'_>) {
    let (slot, number, since) = (job.slot, job.number, job.since);
    let ended = catch_unwind(AssertUnwindSafe(|| crate::respond::run(py, worker, job)));
    if ended.is_err() {
        // The panic hook has printed where; the front must not wait for this answer.
        worker.running.end(slot);
        crate::answer::StartResponse::new(Arc::clone(worker), slot, number, since).abort(py);
    }
}

/// Takes the place at the ring if it is free, and the next request from there.
fn next<'py>(
    py: Python<'py>,
    worker: &Worker,
    facts: ThreadFacts,
    waited: u32,
    taken: &mut u32,
) -> Next<'py> {
    let mut reader = match worker.ring_reader.try_lock() {
        Ok(reader) => reader,
        Err(TryLockError::WouldBlock) => return Next::Park,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
    };
    reader.waited = waited.max(worker.thread_pool.unsettled_for());
    worker.announce_ready();
    loop {
        if worker.front_has_gone() {
            return Next::End;
        }
        match reader.take(py, worker, facts) {
            Ok(Taken::Job(job)) => {
                *taken += 1;
                if reader.requests.is_empty() {
                    // What was held back for company must not wait behind this request.
                    worker.outbox.flush(&worker.watch);
                }
                return Next::Run(job);
            }
            Ok(Taken::Skipped) => {}
            Ok(Taken::Nothing) => wait_for_request(py, worker, &mut reader, taken),
            Err(broken) => {
                failure::log_text(&format!("{broken}; this worker ends"));
                worker.give_up_ring();
                return Next::End;
            }
        }
        if worker.is_draining() && reader.requests.is_empty() {
            return Next::End;
        }
    }
}

/// With nothing to do at the ring.
fn wait_for_request(py: Python<'_>, worker: &Worker, reader: &mut RingReader, taken: &mut u32) {
    worker.outbox.flush(&worker.watch);
    if !worker.is_draining() {
        reader.sleep(py, std::mem::take(taken));
    }
}

/// Tells Python's `threading` of this thread, so that logs and stacks name it.
fn register_with_threading(py: Python<'_>, number: u64) -> PyResult<ThreadFacts> {
    let threading = py.import("threading")?;
    let current = threading.call_method0("current_thread")?;
    current.setattr("name", format!("canter-{number}"))?;
    if py.version_info() < (3, 12)
        && let Ok(lock) = current.getattr("_set_tstate_lock")
    {
        // A fork of a thread that Python has not started misses this lock at its end (CPython issue
        // 102512), and its exit code is 1.
        lock.call0()?;
    }
    // Threads are what the one is that starts them: those of an app are waited for at the end, as they
    // would be had the main thread run the request.
    current.setattr("_daemonic", false)?;
    Ok(ThreadFacts {
        ident: threading.call_method0("get_ident")?.extract()?,
        tid: cpu::thread_id(),
    })
}
