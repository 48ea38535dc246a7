//! Owns signals, reaping, and the way from the order to stop to the exit.

use std::time::{Duration, Instant};

use canter_base::{Fault, debug, error, info, warn};
use canter_sys::process::Pid;
use rustix::process::{Signal as KillSignal, WaitOptions, kill_process, wait};

use super::exit_status::ExitStatus;
use super::life::{Event, Limits};
use super::notify::Word;
use super::signals::Signal;
use super::{Ended, Supervisor};
use crate::link::ToFront;

/// How long the front goes on accepting after SIGTERM: routers need a moment to notice.
const LINGER: Duration = Duration::from_millis(500);

/// What is killed is gone by then, or stuck in the kernel.
const REAP: Duration = Duration::from_secs(2);

/// The supervisor's own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Everything is kept running.
    Serving,
    /// The front finishes what it has.
    Draining { until: Instant, ended: Ended },
    /// The front has gone, and the workers leave.
    Leaving { until: Instant, ended: Ended },
    /// Everything was killed; only reaping is left.
    Killed { until: Instant, ended: Ended },
}

impl Phase {
    pub fn until(self) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Draining { until, .. }
            | Self::Leaving { until, .. }
            | Self::Killed { until, .. } => Some(until),
        }
    }

    pub fn is_ending(self) -> bool {
        self != Self::Serving
    }
}

impl Supervisor<'_> {
    pub(super) fn hear_signals(&mut self) {
        let came = self.signals.as_mut().map(super::signals::Signals::take);
        for signal in came.unwrap_or_default() {
            match signal {
                Signal::Child => self.reap(),
                Signal::Terminate => self.stop("SIGTERM", self.graceful_timeout, LINGER),
                Signal::Interrupt if self.phase.is_ending() => {
                    warn!("interrupted again: stopping at once");
                    self.kill_all(Ended::Interrupted);
                }
                Signal::Interrupt => self.stop("SIGINT", self.graceful_timeout, Duration::ZERO),
                Signal::Quit => self.stop("SIGQUIT", Duration::ZERO, Duration::ZERO),
                // Who closes a terminal wants what runs in it to end; `nohup` takes it from there.
                Signal::Hangup if self.terminals.is_any_hung_up() => self.stop(
                    "SIGHUP, and its terminal was closed",
                    self.graceful_timeout,
                    Duration::ZERO,
                ),
                Signal::Hangup => {
                    info!("SIGHUP: reading the code again; options need a restart");
                    self.reload();
                }
                Signal::More => self.change_workers(1),
                Signal::Fewer => self.change_workers(-1),
                Signal::Reopen => self.tell_front(&ToFront::Reopen),
                Signal::Upgrade => warn!("SIGUSR2 has no meaning here: SIGHUP loads new code"),
            }
        }
    }

    fn change_workers(&mut self, more: isize) {
        let workers = self.workers.want(more);
        info!("number of workers changed", workers = workers);
    }

    /// Finishes what runs, and ends.
    fn stop(&mut self, why: &str, grace: Duration, linger: Duration) {
        let now = Instant::now();
        match self.phase {
            Phase::Serving => {}
            // A second order may only be a shorter one.
            Phase::Draining { until, .. } if now + grace < until => {}
            Phase::Draining { .. } | Phase::Leaving { .. } | Phase::Killed { .. } => return,
        }
        info!("stopping", signal = why);
        self.tell_manager(Word::Stopping);
        self.workers.close();
        self.launcher.end_zygotes();
        // Workers need the rest of the time to end after the front.
        let rest = (grace / 10).min(Duration::from_secs(1));
        self.phase = Phase::Draining {
            until: now + grace,
            ended: Ended::Stopped,
        };
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        self.tell_front(&ToFront::Stop {
            grace_ms: millis(grace.saturating_sub(rest)),
            linger_ms: millis(linger.min(grace / 10)),
        });
        // The front has its own and closes them when it stops accepting; no other one is started. While a
        // copy is open here the system completes connections that nobody would ever accept.
        self.listeners.clear();
        (self.hooks.closing)();
        if self.front.is_none() {
            self.front_has_drained(now);
        }
    }

    /// The front is gone, and with it the workers' sockets: they leave.
    pub(super) fn front_has_drained(&mut self, now: Instant) {
        if let Phase::Draining { until, ended } = self.phase {
            self.phase = Phase::Leaving {
                // Workers are killed in time by their own table; this is for what goes wrong.
                until: until + REAP,
                ended,
            };
            self.halves.clear();
            self.workers.set_limits(Limits {
                start: Duration::ZERO,
                finish: until.saturating_duration_since(now),
            });
            let orders = self.workers.handle_all(Event::Stop, now);
            self.perform(orders);
        }
    }

    /// Ends because of `fault`.
    pub(super) fn give_up(&mut self, fault: Fault) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.workers.close();
            self.kill_all(Ended::Stopped);
        }
    }

    fn kill_all(&mut self, ended: Ended) {
        self.workers.close();
        self.launcher.end_zygotes();
        self.halves.clear();
        if let Some(front) = &self.front {
            let _ = kill_process(front.pid, KillSignal::KILL);
        }
        let orders = self.workers.handle_all(Event::Kill, Instant::now());
        self.perform(orders);
        self.phase = Phase::Killed {
            until: Instant::now() + REAP,
            ended,
        };
    }

    pub(super) fn end_when_due(&mut self, now: Instant) {
        if self.phase.until().is_none_or(|until| until > now) {
            return;
        }
        match self.phase {
            Phase::Serving | Phase::Killed { .. } => {}
            Phase::Draining { ended, .. } | Phase::Leaving { ended, .. } => {
                debug!("the time to finish is over: ending what still runs");
                self.kill_all(ended);
            }
        }
    }

    /// The result, once nothing is left, or the time for reaping is over.
    pub(super) fn finished(&mut self) -> Option<Result<Ended, Fault>> {
        let (Phase::Draining { ended, .. }
        | Phase::Leaving { ended, .. }
        | Phase::Killed { ended, .. }) = self.phase
        else {
            return None;
        };
        let nobody =
            self.front.is_none() && self.workers.is_empty() && !self.launcher.has_zygotes();
        let given_up = matches!(self.phase, Phase::Killed { until, .. } if until <= Instant::now());
        if !nobody && !given_up {
            return None;
        }
        Some(self.fault.take().map_or(Ok(ended), Err))
    }

    /// Takes the end of every process that has ended. As PID 1 of a container, or as subreaper,
    /// this process also gets those that nobody else waits for.
    fn reap(&mut self) {
        // What they said before they ended counts.
        self.hear_python();
        self.hear_front();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            self.reaped(pid, status.into());
        }
    }

    fn reaped(&mut self, pid: Pid, status: ExitStatus) {
        let number = pid.as_raw_nonzero().get();
        if self.front.as_ref().is_some_and(|front| front.pid == pid) {
            self.front_ended(status);
        } else if let Some((end, orders)) = self.workers.exited(pid, Instant::now()) {
            let worker = end.worker.0;
            let reason = status.to_string();
            self.halves.remove(&end.worker);
            self.tell_front(&ToFront::Ended { worker: end.worker });
            let announced = self.launcher.worker_ended(end.worker);
            if end.surprise && !announced && !self.phase.is_ending() {
                error!(
                    "worker died",
                    worker = worker,
                    pid = number,
                    reason = &reason
                );
            } else {
                debug!(
                    "worker ended",
                    worker = worker,
                    pid = number,
                    reason = &reason
                );
            }
            self.perform(orders);
        } else if !self.zygote_ended(pid, status) {
            debug!(
                "reaped a process of somebody else",
                pid = number,
                reason = &status.to_string()
            );
        }
    }
}
