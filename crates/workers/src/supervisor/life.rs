//! Owns the life of one worker process, as a table: state and event give the next state and what
//! to do. Leaves doing it to the supervisor, and how many workers there are to `worker_set`.
//!
//! ```text
//!   Asked ──forked──▶ Starting ──ready──▶ Running ──retire──▶ Retiring
//!     │                  │ too slow,         │                   │  drained, stop,
//!     │ failed           │ stop              │ broken            ▼  front lost
//!     ▼                  └──────▶ Killed ◀───┴────too slow── Stopping
//!    Gone ◀──exited── (every state that has a process)
//! ```
//!
//! No I/O; the clock is passed in.

use std::time::{Duration, Instant};

use canter_sys::process::Pid;

/// Where a worker process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The zygote was asked for it; nobody knows its number yet.
    Asked {
        /// When to stop believing that it will come.
        until: Instant,
    },
    /// It exists and was handed to the front, but takes no requests yet.
    Starting {
        /// Its process.
        pid: Pid,
        /// When to give up on it.
        until: Instant,
    },
    /// It takes requests.
    Running {
        /// Its process.
        pid: Pid,
    },
    /// The front gives it nothing more; it finishes what it has.
    Retiring {
        /// Its process.
        pid: Pid,
        /// When it is killed.
        until: Instant,
    },
    /// Its socket has ended or is about to; it leaves by itself.
    Stopping {
        /// Its process.
        pid: Pid,
        /// When it is killed.
        until: Instant,
    },
    /// It was killed, and is not reaped yet.
    Killed {
        /// Its process.
        pid: Pid,
    },
    /// There is no such process any more.
    Gone,
}

/// What can happen to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It exists.
    Forked(Pid),
    /// It could not be made.
    NotForked,
    /// The front says that it takes requests.
    Ready,
    /// It was reaped.
    Exited,
    /// It shall finish what it has, and end.
    Retire,
    /// The front says that nothing of it is left.
    Settled,
    /// The front has died, and with it the worker's socket.
    FrontLost,
    /// Everything stops: the front has closed its socket.
    Stop,
    /// It shall not live on.
    Kill,
    /// The time of its state has come.
    Expired,
}

/// What the supervisor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand the worker to the front.
    Adopt(Pid),
    /// Tell the front to retire it.
    TellRetire,
    /// It takes requests now: say so.
    TellReady,
    /// Send SIGKILL.
    Kill(Pid),
    /// Its time was over before it was ready.
    TellSlowStart,
    /// Its time to finish was over.
    TellSlowEnd,
}

/// How long each state may last.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the start to taking requests.
    pub start: Duration,
    /// From being told to finish to being killed.
    pub finish: Duration,
}

/// A worker that has left by itself has nothing to do but to exit.
const EXIT: Duration = Duration::from_secs(2);

impl State {
    /// A worker that was just asked for.
    pub fn asked(now: Instant, limits: &Limits) -> Self {
        Self::Asked {
            until: now + limits.start,
        }
    }

    /// The table.
    pub fn step(self, event: Event, now: Instant, limits: &Limits) -> (Self, Vec<Action>) {
        match self {
            Self::Asked { .. } => self.when_asked(event, now, limits),
            Self::Starting { pid, .. } => self.when_starting(pid, event, now, limits),
            Self::Running { pid } => self.when_running(pid, event, now, limits),
            Self::Retiring { pid, until } => self.when_retiring(pid, until, event),
            Self::Stopping { pid, until } => self.when_stopping(pid, until, event, now, limits),
            Self::Killed { .. } => match event {
                Event::Exited => (Self::Gone, vec![]),
                Event::Forked(_)
                | Event::NotForked
                | Event::Ready
                | Event::Retire
                | Event::Settled
                | Event::FrontLost
                | Event::Stop
                | Event::Kill
                | Event::Expired => (self, vec![]),
            },
            Self::Gone => match event {
                // The zygote was slower than our patience.
                Event::Forked(pid) => (Self::Killed { pid }, vec![Action::Kill(pid)]),
                Event::NotForked
                | Event::Exited
                | Event::Ready
                | Event::Retire
                | Event::Settled
                | Event::FrontLost
                | Event::Stop
                | Event::Kill
                | Event::Expired => (self, vec![]),
            },
        }
    }

    fn when_asked(self, event: Event, now: Instant, limits: &Limits) -> (Self, Vec<Action>) {
        match event {
            Event::Forked(pid) => {
                let until = now + limits.start;
                (Self::Starting { pid, until }, vec![Action::Adopt(pid)])
            }
            Event::Expired => (Self::Gone, vec![Action::TellSlowStart]),
            Event::NotForked | Event::Retire | Event::Stop | Event::Kill => (Self::Gone, vec![]),
            // Its ends of the sockets are still with the supervisor: the next front gets them.
            Event::FrontLost | Event::Ready | Event::Settled | Event::Exited => (self, vec![]),
        }
    }

    fn when_starting(
        self,
        pid: Pid,
        event: Event,
        now: Instant,
        limits: &Limits,
    ) -> (Self, Vec<Action>) {
        let until = now + limits.finish;
        match event {
            Event::Ready => (Self::Running { pid }, vec![Action::TellReady]),
            Event::Exited => (Self::Gone, vec![]),
            Event::Retire => (Self::Retiring { pid, until }, vec![Action::TellRetire]),
            Event::FrontLost => (Self::Stopping { pid, until }, vec![]),
            Event::Settled => {
                let until = now + EXIT;
                (Self::Stopping { pid, until }, vec![])
            }
            // The front has gone without a word of it: it imports the app and has nothing to finish.
            Event::Stop | Event::Kill => (Self::Killed { pid }, vec![Action::Kill(pid)]),
            Event::Expired => (
                Self::Killed { pid },
                vec![Action::TellSlowStart, Action::Kill(pid)],
            ),
            Event::Forked(_) | Event::NotForked => (self, vec![]),
        }
    }

    fn when_running(
        self,
        pid: Pid,
        event: Event,
        now: Instant,
        limits: &Limits,
    ) -> (Self, Vec<Action>) {
        let until = now + limits.finish;
        match event {
            Event::Exited => (Self::Gone, vec![]),
            Event::Retire => (Self::Retiring { pid, until }, vec![Action::TellRetire]),
            Event::FrontLost | Event::Stop => (Self::Stopping { pid, until }, vec![]),
            Event::Settled => {
                let until = now + EXIT;
                (Self::Stopping { pid, until }, vec![])
            }
            Event::Kill => (Self::Killed { pid }, vec![Action::Kill(pid)]),
            Event::Forked(_) | Event::NotForked | Event::Ready | Event::Expired => (self, vec![]),
        }
    }

    fn when_retiring(self, pid: Pid, until: Instant, event: Event) -> (Self, Vec<Action>) {
        match event {
            Event::Exited => (Self::Gone, vec![]),
            // What is left of its time is for the app's own threads and exit handlers.
            Event::Settled | Event::FrontLost | Event::Stop => {
                (Self::Stopping { pid, until }, vec![])
            }
            Event::Kill => (Self::Killed { pid }, vec![Action::Kill(pid)]),
            Event::Expired => (
                Self::Killed { pid },
                vec![Action::TellSlowEnd, Action::Kill(pid)],
            ),
            Event::Forked(_) | Event::NotForked | Event::Ready | Event::Retire => (self, vec![]),
        }
    }

    fn when_stopping(
        self,
        pid: Pid,
        until: Instant,
        event: Event,
        now: Instant,
        limits: &Limits,
    ) -> (Self, Vec<Action>) {
        match event {
            Event::Exited => (Self::Gone, vec![]),
            Event::Stop => {
                let until = until.min(now + limits.finish);
                (Self::Stopping { pid, until }, vec![])
            }
            Event::Kill => (Self::Killed { pid }, vec![Action::Kill(pid)]),
            Event::Expired => (
                Self::Killed { pid },
                vec![Action::TellSlowEnd, Action::Kill(pid)],
            ),
            Event::Forked(_)
            | Event::NotForked
            | Event::Ready
            | Event::Retire
            | Event::Settled
            | Event::FrontLost => (self, vec![]),
        }
    }

    /// When the state's time is over.
    pub fn until(&self) -> Option<Instant> {
        match *self {
            Self::Asked { until }
            | Self::Starting { until, .. }
            | Self::Retiring { until, .. }
            | Self::Stopping { until, .. } => Some(until),
            Self::Running { .. } | Self::Killed { .. } | Self::Gone => None,
        }
    }

    /// Its process.
    pub fn pid(&self) -> Option<Pid> {
        match *self {
            Self::Starting { pid, .. }
            | Self::Running { pid }
            | Self::Retiring { pid, .. }
            | Self::Stopping { pid, .. }
            | Self::Killed { pid } => Some(pid),
            Self::Asked { .. } | Self::Gone => None,
        }
    }

    /// Takes requests, or is on the way there.
    pub fn is_live(&self) -> bool {
        matches!(
            self,
            Self::Asked { .. } | Self::Starting { .. } | Self::Running { .. }
        )
    }

    /// On the way to taking requests.
    pub fn is_coming(&self) -> bool {
        matches!(self, Self::Asked { .. } | Self::Starting { .. })
    }
}

#[cfg(test)]
mod tests;
