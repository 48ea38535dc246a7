//! Owns the question whether another thread is needed, asked while requests wait in the ring.
//! Leaves calling threads to `thread_pool`, and when to ask to `guard`.
//!
//! Another thread helps when those that run are *waiting*: for a database, a slow API, a disk.
//! It does not help while the process computes or is queued for a CPU, nor while a thread called
//! before has not got the interpreter yet. So over a window CPU time plus time queued is
//! compared with the clock. While that shows waiting, and nobody takes requests but those called,
//! twice as many are called each time, though no more than there are requests. Where others take
//! some, too, requests are answered meanwhile, and each of them may wait a little: then the window
//! must be long ([`SURE`]), and one at a time is enough.
//!
//! A thread too many makes the others wait for the interpreter, and while the ring never runs empty
//! none would park by itself. So when a long window shows no waiting at all, one of a few threads
//! is let go; and the longer until the next, the sooner it had to be called back ([`Shed`]).
//!
//! When each of the requests that run has computed for [`FAIR`] and none was taken, they compute for
//! long: one more thread comes then all the same, and shares the interpreter with them, so that an
//! endless loop stops nobody else.
//!
//! The time queued is that of the threads that took the last requests: one file read each per window,
//! where all threads would be hundreds. The kernel adds to it only when the thread gets its CPU,
//! so one that is ready to run at the window's end counts as computing.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use canter_sys::cpu;

use crate::thread_pool::ThreadPool;
use crate::worker::Worker;

/// Long enough for the clocks to say something, short against what a person notices.
const FIRST_WINDOW: Duration = Duration::from_millis(1);

/// While the process computes, look more rarely: looking takes CPU time, too. And while requests are
/// answered, only a window as long as this shows more than the chance of a moment.
const SURE: Duration = Duration::from_millis(16);

/// The longest window while many threads run requests, which may all wait at any moment.
const LONGEST_OF_MANY: Duration = Duration::from_millis(8);

/// Where more threads than this run requests, they are there because requests wait for long.
const FEW: usize = 16;

/// Of the clock, in multiples of the share that shows waiting: no waiting at all.
const FULL: f64 = 0.95 / 0.75;

/// Between letting one thread go and the next.
const SHED_FIRST: Duration = Duration::from_millis(50);
const SHED_LAST: Duration = Duration::from_secs(5);

/// CPU time of one request for which others wait; many times what an ordinary one takes.
const FAIR: Duration = Duration::from_millis(100);

/// Most running requests that this is granted to, one after the other.
const MOST_GRANTED: usize = 10;

/// Most threads called in one window.
const MOST_AT_ONCE: usize = 64;

/// A window that is open.
pub(crate) struct DemandWindow {
    sample: Sample,
    window: Duration,
    /// Threads called when the window was opened.
    called: usize,
    /// The process's CPU time when a request was last seen to be taken.
    still_since: Duration,
}

/// When a thread is let go, across windows.
#[derive(Debug)]
pub(crate) struct Shed {
    pause: Duration,
    next: Duration,
}

impl Shed {
    pub fn new() -> Self {
        Self {
            pause: SHED_FIRST,
            next: Duration::ZERO,
        }
    }

    /// Whether a thread may go now; if so, it is taken for gone.
    fn may(&mut self, now: Duration) -> bool {
        if now < self.next {
            return false;
        }
        if now > self.next + SHED_LAST {
            self.pause = SHED_FIRST;
        }
        self.next = now + self.pause;
        true
    }

    /// One had to be called: was the last let go in vain?
    fn called(&mut self, now: Duration) {
        if now < self.next + self.pause {
            self.pause = (self.pause * 2).min(SHED_LAST);
        }
        self.next = self.next.max(now + self.pause);
    }
}

struct Sample {
    clock: Duration,
    process: Duration,
    taken: u32,
    last: u32,
    /// Time queued so far of the threads that took the last requests.
    queued: Vec<(u32, Duration)>,
}

impl Sample {
    fn now(worker: &Worker) -> Self {
        Self {
            clock: cpu::monotonic(),
            process: cpu::process_time(),
            taken: worker.watch.taken(),
            last: worker.last_taker(),
            queued: worker
                .last_takers()
                .into_iter()
                .filter_map(|tid| Some((tid, queued(tid)?)))
                .collect(),
        }
    }

    /// The share of the clock that the process has computed, or was queued, until `now`; in units of
    /// the share below which it counts as waiting. Without `all`, only the time queued of the
    /// thread that had taken a request last counts.
    fn busy(&self, now: &Self, worker: &Worker, all: bool) -> f64 {
        let elapsed = now.clock.saturating_sub(self.clock);
        let computed = now.process.saturating_sub(self.process);
        let watched = self
            .queued
            .iter()
            .filter(|(tid, _)| all || *tid == self.last);
        let waited = watched.filter_map(|&(tid, before)| {
            // Mostly the same threads: each is asked about once.
            let known = now.queued.iter().find(|(other, _)| *other == tid);
            let now = known.map(|(_, queued)| *queued).or_else(|| queued(tid))?;
            Some(now.saturating_sub(before))
        });
        let busy = computed + waited.sum::<Duration>();
        busy.as_secs_f64() / (worker.busy_share * elapsed.as_secs_f64()).max(f64::MIN_POSITIVE)
    }

    /// Requests taken until `now`.
    fn taken_until(&self, now: &Self) -> usize {
        now.taken.wrapping_sub(self.taken) as usize
    }
}

/// About how many requests wait, judged by the size of the last one; at least one.
fn waiting(worker: &Worker) -> usize {
    let count = worker.watch.bytes_waiting() / worker.last_size().max(1);
    usize::try_from(count).unwrap_or(usize::MAX).max(1)
}

/// CPU time that the running requests may take together before another joins them.
fn granted(worker: &Worker) -> Duration {
    let running = worker.thread_pool.busy().clamp(1, MOST_GRANTED);
    FAIR * u32::try_from(running).unwrap_or(1)
}

/// Whether a thread is on a CPU or queued for one: state `R` in `/proc/self/task/TID/stat`, the
/// first field after the thread's name in brackets.
fn is_runnable(tid: u32) -> bool {
    let text = fs::read_to_string(format!("/proc/self/task/{tid}/stat"));
    text.is_ok_and(|text| {
        let after_name = text.rsplit(')').next().unwrap_or_default();
        after_name.trim_start().starts_with('R')
    })
}

fn queued(tid: u32) -> Option<Duration> {
    cpu::thread_schedstat(tid).map(|(_, queued)| queued)
}

impl DemandWindow {
    /// Opens the first window.
    pub fn begin(worker: &Worker) -> Self {
        let sample = Sample::now(worker);
        Self {
            still_since: sample.process,
            sample,
            window: FIRST_WINDOW,
            called: 0,
        }
    }

    /// What is left of the window.
    pub fn left(&self) -> Duration {
        (self.sample.clock + self.window).saturating_sub(cpu::monotonic())
    }

    /// Ends a window that has passed. None means that no request waits any more.
    pub fn end(mut self, worker: &Arc<Worker>, shed: &mut Shed) -> Option<Self> {
        worker.outbox.flush(&worker.watch);
        if !worker.watch.has_requests() {
            return None;
        }
        let next = Sample::now(worker);
        let (now, computed) = (next.clock, next.process);
        let taken = self.sample.taken_until(&next);
        if taken > 0 {
            self.still_since = computed;
        }
        let only_the_called = taken <= self.called;
        // Hundreds of threads are no chance of a moment: requests wait, and for long.
        let is_few = worker.thread_pool.busy() <= FEW;
        let longest = if is_few { SURE } else { LONGEST_OF_MANY };
        let is_sure = !is_few || self.window >= SURE;
        let may_help = worker.thread_pool.is_settled() && !worker.has_reader();
        let busy = self.sample.busy(&next, worker, is_few);
        if may_help
            && (only_the_called || is_sure)
            && busy < 1.0
            && !is_runnable(worker.last_taker())
        {
            self.called = if only_the_called {
                (self.called * 2).clamp(1, MOST_AT_ONCE)
            } else {
                1
            };
            self.called = self.called.min(waiting(worker));
            ThreadPool::wake_or_spawn(worker, self.called);
            shed.called(now);
            self.window = if only_the_called || !is_few {
                FIRST_WINDOW
            } else {
                SURE
            };
        } else if may_help && computed.saturating_sub(self.still_since) >= granted(worker) {
            self.called = 1;
            ThreadPool::wake_or_spawn(worker, 1);
            self.still_since = computed;
        } else {
            if is_few && is_sure && taken > 0 && busy >= FULL && shed.may(now) {
                worker.thread_pool.park_one();
            }
            self.called = 0;
            self.window = (self.window * 2).min(longest);
        }
        self.sample = next;
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_called_back_soon_is_let_go_more_rarely() {
        let ms = Duration::from_millis;
        let mut shed = Shed::new();
        assert!(shed.may(ms(1000)) && !shed.may(ms(1040)) && shed.may(ms(1050)));
        shed.called(ms(1060));
        assert!(!shed.may(ms(1150)) && shed.may(ms(1160)));
        for _ in 0..20 {
            shed.called(ms(1200));
        }
        assert!(!shed.may(ms(6199)) && shed.may(ms(6200)));
        // Forgotten once nobody was called for long.
        assert!(shed.may(ms(60_000)) && shed.may(ms(60_050)));
    }
}
