//! Owns doing what the set of workers orders: start, hand over, retire, kill, say.

use std::time::Instant;

use canter_base::{debug, error, info, warn};
use canter_sys::process::Pid;
use canter_sys::program;
use rustix::process::{Signal, kill_process};

use super::Supervisor;
use super::life::Event;
use super::notify::Word;
use super::spawn::halves;
use super::worker_set::{Order, Said};
use crate::link::{ToFront, WorkerId};

impl Supervisor<'_> {
    pub(super) fn perform(&mut self, orders: Vec<Order>) {
        let mut orders = std::collections::VecDeque::from(orders);
        while let Some(order) = orders.pop_front() {
            match order {
                Order::Start(worker) => orders.extend(self.start_worker(worker)),
                Order::Adopt(worker, pid) => self.hand_over(worker, pid),
                Order::Retire(worker) => {
                    debug!("worker is retired", worker = worker.0);
                    self.tell_front(&ToFront::Retire { worker });
                }
                Order::Kill(pid) => {
                    let _ = kill_process(pid, Signal::KILL);
                }
                Order::Say(worker, said) => self.say(worker, said),
            }
        }
    }

    /// Asks for a process; answers what follows when that fails at once.
    fn start_worker(&mut self, worker: WorkerId) -> Vec<Order> {
        let now = Instant::now();
        let made = halves().and_then(|(front, own)| {
            let pid = self.launcher.start_worker(worker, &own)?;
            self.halves.insert(worker, (front, None));
            Ok(pid)
        });
        match made {
            Ok(Some(pid)) => self.workers.handle(worker, Event::Forked(pid), now),
            Ok(None) => {
                debug!("the zygote is asked for a worker", worker = worker.0);
                Vec::new()
            }
            Err(error) => {
                error!(
                    "cannot start a worker",
                    worker = worker.0,
                    reason = &error.to_string()
                );
                self.workers.handle(worker, Event::NotForked, now)
            }
        }
    }

    /// Gives the front its half; keeps it while there is no front.
    fn hand_over(&mut self, worker: WorkerId, pid: Pid) {
        if self.front.as_ref().is_none_or(|front| front.deaf) {
            if let Some((_, known)) = self.halves.get_mut(&worker) {
                *known = Some(pid);
            }
            return;
        }
        if let Some((half, _)) = self.halves.remove(&worker) {
            let word = ToFront::Adopt {
                worker,
                reloads: self.workers.reloads_before(worker).unwrap_or(0),
                pid: pid.as_raw_nonzero().get().unsigned_abs(),
            };
            self.send_front(&word, &half.as_fds());
        }
    }

    /// Hands a new front what came while there was none.
    pub(super) fn hand_over_kept(&mut self) {
        let kept: Vec<(WorkerId, Pid)> = self
            .halves
            .iter()
            .filter_map(|(worker, (_, pid))| Some((*worker, (*pid)?)))
            .collect();
        for (worker, pid) in kept {
            self.hand_over(worker, pid);
        }
    }

    fn say(&mut self, worker: WorkerId, said: Said) {
        match said {
            Said::Ready { after } => {
                let took_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                info!("worker is ready", worker = worker.0, took_ms = took_ms);
                self.launcher.worker_ready(worker);
                let reloads = self.workers.reloads_before(worker);
                if self.announce.is_some() && reloads >= self.announce {
                    self.announce = None;
                    self.loading = None;
                    self.tell_manager(Word::Ready);
                    // From here on it only waits.
                    program::forget_code();
                }
            }
            Said::SlowStart => {
                warn!(
                    "worker was not ready in time: killing it",
                    worker = worker.0
                );
                if matches!(self.halves.get(&worker), Some((_, None))) {
                    self.halves.remove(&worker);
                    self.launcher.end_hung_zygote();
                }
            }
            Said::SlowEnd => warn!(
                "worker did not finish within --graceful-timeout: killing it",
                worker = worker.0
            ),
            Said::Replacing(reason) => info!(
                "worker is being replaced",
                worker = worker.0,
                reason = reason.words()
            ),
        }
    }
}
