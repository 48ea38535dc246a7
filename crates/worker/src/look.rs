//! Owns the question whether another thread is needed, asked while requests wait in the ring.
//! Leaves calling threads to `crew`, and when to ask to `guard`.
//!
//! Another thread helps when those that run are *waiting*: for a database, a slow API, a disk.
//! It does not help while the process computes or is queued for a CPU, nor while a thread called
//! before has not got the interpreter yet. So over a short window CPU time plus time queued is
//! compared with the clock; as long as that shows waiting, twice as many threads are called each
//! time. The time queued is that of the thread that took a request last: one file read per
//! window, where all threads would be hundreds.

use std::sync::Arc;
use std::time::Duration;

use canter_sys::cpu;

use crate::crew::Crew;
use crate::worker::Worker;

/// Long enough for the clocks to say something, short against what a person notices.
const FIRST_WINDOW: Duration = Duration::from_millis(1);

/// While the process computes, look more rarely: looking takes CPU time, too.
const LONGEST_WINDOW: Duration = Duration::from_millis(8);

/// Most threads called in one window.
const MOST_AT_ONCE: usize = 64;

/// A window that is open.
pub(crate) struct Look {
    sample: Sample,
    window: Duration,
    next: usize,
}

#[derive(Clone, Copy)]
struct Sample {
    clock: Duration,
    process: Duration,
    tid: u32,
    queued: Option<Duration>,
}

impl Sample {
    fn now(worker: &Worker) -> Self {
        let tid = worker.last_taker();
        Self {
            clock: cpu::monotonic(),
            process: cpu::process_time(),
            tid,
            queued: queued(tid),
        }
    }

    /// CPU time and time queued since then, as a share of the clock.
    fn share_until_now(self) -> f64 {
        let elapsed = cpu::monotonic().saturating_sub(self.clock);
        let computed = cpu::process_time().saturating_sub(self.process);
        let queued = match (self.queued, queued(self.tid)) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => Duration::ZERO,
        };
        (computed + queued).as_secs_f64() / elapsed.as_secs_f64().max(1e-9)
    }
}

fn queued(tid: u32) -> Option<Duration> {
    cpu::thread_schedstat(tid).map(|(_, queued)| queued)
}

impl Look {
    /// Opens the first window.
    pub fn begin(worker: &Worker) -> Self {
        Self {
            sample: Sample::now(worker),
            window: FIRST_WINDOW,
            next: 1,
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
        let waiting = self.sample.share_until_now() < worker.busy_share;
        if waiting && worker.crew.is_settled() && !worker.is_stood_at() {
            Crew::step_up(worker, self.next);
            self.next = (self.next * 2).min(MOST_AT_ONCE);
            self.window = FIRST_WINDOW;
        } else {
            self.next = 1;
            self.window = (self.window * 2).min(LONGEST_WINDOW);
        }
        self.sample = Sample::now(worker);
        Some(self)
    }
}
