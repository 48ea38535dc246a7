//! Owns the question whether another thread is needed, asked while requests wait in the ring.
//! Leaves calling threads to `crew`, and when to ask to `guard`.
//!
//! Another thread helps when those that run are *waiting*: for a database, a slow API, a disk.
//! It does not help while the process computes or is queued for a CPU, nor while a thread called
//! before has not got the interpreter yet. So over a short window CPU time plus time queued is
//! compared with the clock. While that shows waiting, and nobody takes requests but those called,
//! twice as many are called each time, though no more than there are requests; where others take
//! some, too, one at a time is enough.
//!
//! When each of the requests that run has computed for [`FAIR`] and none was taken, they compute for
//! long: one more thread comes then all the same, and shares the interpreter with them, so that an
//! endless loop stops nobody else.
//!
//! The time queued is that of the thread that took a request last: two file reads per window,
//! where all threads would be hundreds. The kernel adds to it only when the thread gets its CPU,
//! so one that is ready to run at the window's end counts as computing.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use canter_sys::cpu;

use crate::crew::Crew;
use crate::worker::Worker;

/// Long enough for the clocks to say something, short against what a person notices.
const FIRST_WINDOW: Duration = Duration::from_millis(1);

/// While the process computes, look more rarely: looking takes CPU time, too.
const LONGEST_WINDOW: Duration = Duration::from_millis(8);

/// CPU time of one request for which others wait; many times what an ordinary one takes.
const FAIR: Duration = Duration::from_millis(100);

/// Most running requests that this is granted to, one after the other.
const MOST_GRANTED: usize = 10;

/// Most threads called in one window.
const MOST_AT_ONCE: usize = 64;

/// A window that is open.
pub(crate) struct Look {
    sample: Sample,
    window: Duration,
    /// Threads called when the window was opened.
    called: usize,
    /// The process's CPU time when a request was last seen to be taken.
    still_since: Duration,
}

#[derive(Clone, Copy)]
struct Sample {
    clock: Duration,
    process: Duration,
    taken: u32,
    tid: u32,
    queued: Option<Duration>,
}

impl Sample {
    fn now(worker: &Worker) -> Self {
        let tid = worker.last_taker();
        Self {
            clock: cpu::monotonic(),
            process: cpu::process_time(),
            taken: worker.watch.taken(),
            tid,
            queued: queued(tid),
        }
    }

    /// Whether the process has waited since then for most of the time.
    fn shows_waiting(self, worker: &Worker) -> bool {
        let elapsed = cpu::monotonic().saturating_sub(self.clock);
        let computed = cpu::process_time().saturating_sub(self.process);
        let queued = match (self.queued, queued(self.tid)) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => Duration::ZERO,
        };
        let busy = (computed + queued).as_secs_f64();
        busy < worker.busy_share * elapsed.as_secs_f64() && !is_runnable(worker.last_taker())
    }

    /// Requests taken since then.
    fn taken_since(self, worker: &Worker) -> usize {
        worker.watch.taken().wrapping_sub(self.taken) as usize
    }
}

/// About how many requests wait, judged by the size of the last one; at least one.
fn waiting(worker: &Worker) -> usize {
    let count = worker.watch.bytes_waiting() / worker.last_size().max(1);
    usize::try_from(count).unwrap_or(usize::MAX).max(1)
}

/// CPU time that the running requests may take together before another joins them.
fn granted(worker: &Worker) -> Duration {
    let running = worker.crew.busy().clamp(1, MOST_GRANTED);
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

impl Look {
    /// Opens the first window.
    pub fn begin(worker: &Worker) -> Self {
        let sample = Sample::now(worker);
        Self {
            sample,
            window: FIRST_WINDOW,
            called: 0,
            still_since: sample.process,
        }
    }

    /// What is left of the window.
    pub fn left(&self) -> Duration {
        (self.sample.clock + self.window).saturating_sub(cpu::monotonic())
    }

    /// Ends a window that has passed. None means that no request waits any more.
    pub fn end(mut self, worker: &Arc<Worker>) -> Option<Self> {
        worker.outbox.flush(&worker.watch);
        if !worker.watch.has_requests() {
            return None;
        }
        let computed = cpu::process_time();
        if self.sample.taken_since(worker) > 0 {
            self.still_since = computed;
        }
        let may_help = worker.crew.is_settled() && !worker.is_stood_at();
        if may_help && self.sample.shows_waiting(worker) {
            let only_the_called = self.sample.taken_since(worker) <= self.called;
            self.called = if only_the_called {
                (self.called * 2).clamp(1, MOST_AT_ONCE)
            } else {
                1
            };
            self.called = self.called.min(waiting(worker));
            Crew::step_up(worker, self.called);
            self.window = FIRST_WINDOW;
        } else if may_help && computed.saturating_sub(self.still_since) >= granted(worker) {
            self.called = 1;
            Crew::step_up(worker, 1);
            self.still_since = computed;
        } else {
            self.called = 0;
            self.window = (self.window * 2).min(LONGEST_WINDOW);
        }
        self.sample = Sample::now(worker);
        Some(self)
    }
}
