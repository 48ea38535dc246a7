//! Owns what happens by the clock: a stalled worker is looked at or relieved, deadlines pass.
//! Leaves the way of requests and answers that nobody has to wait for to `mod` and `answers`.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use canter_channel::call::{Answer, Failure};
use canter_channel::{Control, StackSample};

use super::named::{Named, describe};
use super::slow::Answered;
use super::worker::Standing;
use super::{Inner, Key, Notice, Place, Reason, WorkerId};

/// How often workers with offered requests are looked at. A thousandth of a second is the timer's
/// grain and far below what a person or a router notices.
const TICK: Duration = Duration::from_millis(1);
/// Ticks in a row with offered requests after which they come more rarely: by then the workers
/// have been asked whether more threads help, and go on asking themselves. What is left for the
/// ticker is what they hold back behind a request that has become slow.
const FIRST_TICKS: u32 = 16;
/// How often then. A sleep that ends before the system's own clock ticks (4 ms) is dear.
const LATER_TICK: Duration = Duration::from_millis(4);
/// Ticks without any offered request after which the ticker rests.
const QUIET_TICKS: u32 = 16;
/// How often deadlines are looked at.
pub(super) const SWEEP: Duration = Duration::from_millis(50);
/// A worker that has not answered for this long when asked for a stack cannot run Python.
const DEAF_AFTER: Duration = Duration::from_secs(3);

/// A worker that has taken none of its requests for this long while it should is hung: stopped, or
/// native code of a request past its deadline keeps the interpreter.
const HUNG_AFTER: Duration = Duration::from_secs(3);

/// A worker that has taken none of its requests for this long is offered more only when all
/// others are as slow or full.
const STILL_AFTER: Duration = Duration::from_millis(150);
/// After this long they are given to others, though none of these is idle. Much longer than most
/// requests run: a worker that computes is not asked to give up what it will take in a moment.
const PASSED_OVER_AFTER: Duration = Duration::from_millis(500);

/// Whether the ticker runs, and how to start it.
#[derive(Default)]
pub(super) struct Ticker {
    running: bool,
    quiet: u32,
    /// Ticks in a row that have seen offered requests.
    busy: u32,
    waker: Option<Waker>,
}

impl Ticker {
    /// Requests were offered.
    pub fn start(&mut self) {
        self.quiet = 0;
        if !self.running {
            self.running = true;
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    /// Until the next tick.
    pub fn interval(&self) -> Duration {
        if self.busy > FIRST_TICKS {
            LATER_TICK
        } else {
            TICK
        }
    }

    /// Whether it ticks.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Resolves when there is something to tick for.
    pub fn poll_started(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.running {
            return Poll::Ready(());
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Inner {
    /// One turn of the ticker; false when it may rest.
    pub(super) fn tick(&mut self) -> bool {
        self.drain();
        let mut untaken_anywhere = false;
        let mut stalled = Vec::new();
        for worker in &mut self.workers {
            let untaken = worker.end.untaken();
            if untaken == 0 {
                worker.stalled_ticks = 0;
                worker.offered.clear();
            } else {
                untaken_anywhere = true;
                // Nothing was taken since the last tick, or it would be less or refilled.
                worker.stalled_ticks += 1;
                // At once, then ever more rarely: the worker goes on by itself once it looks.
                if worker.stalled_ticks >= 2 && worker.stalled_ticks.is_power_of_two() {
                    worker.say(Control::CheckThreads);
                }
                if worker.stalled_ticks >= 2 {
                    stalled.push(worker.id);
                }
            }
        }
        for id in stalled {
            self.relieve(id);
        }
        if self.line.len() > 0 {
            self.pump();
        }
        if untaken_anywhere || self.line.len() > 0 {
            self.clock.quiet = 0;
            self.clock.busy = self.clock.busy.saturating_add(1);
        } else {
            self.clock.quiet += 1;
            self.clock.busy = 0;
        }
        let go_on = self.clock.quiet < QUIET_TICKS;
        self.clock.running = go_on;
        go_on
    }

    /// Moves requests that wait at a busy worker to workers that have nothing to do.
    fn relieve(&mut self, id: WorkerId) {
        let idle = self
            .workers
            .iter()
            .filter(|worker| worker.id != id && worker.standing == Standing::Open)
            .filter(|worker| worker.end.is_idle() && worker.end.untaken() == 0)
            .count();
        self.take_back(id, idle * 2);
    }

    /// Ends what has waited or run too long.
    pub(super) fn sweep(&mut self, now: Instant) {
        let late: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
                let is_late = is_over(entry.deadline) || is_over(entry.wanted_until);
                !entry.answered && !entry.stuck && is_late
            })
            .map(|(key, _)| key)
            .collect();
        for key in late {
            self.give_up(key, now);
        }
        self.look_at_slow(now);
        self.look_ahead(now);
        let deaf: Vec<WorkerId> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry
                    .stack_asked
                    .is_some_and(|asked| now.duration_since(asked) > DEAF_AFTER)
            })
            .filter_map(|(_, entry)| match entry.place {
                Place::Given(id, _) => Some(id),
                Place::Queued => None,
            })
            .collect();
        for id in deaf {
            self.replace(id, Reason::Stuck);
        }
        self.look_for_motion(now);
        let hung = self.workers.iter_mut().filter_map(|worker| {
            let is_hung = worker.untaken_for(now) > HUNG_AFTER
                && (worker.stuck > 0 || !worker.runs_anything());
            is_hung.then_some(worker.id)
        });
        for id in hung.collect::<Vec<_>>() {
            self.replace(id, Reason::Stuck);
        }
    }

    /// Finds workers that take nothing, and gives what they hold to those that do.
    fn look_for_motion(&mut self, now: Instant) {
        let (mut any_waits, mut any_moves) = (false, false);
        let mut passed_over = Vec::new();
        for worker in &mut self.workers {
            let still = worker.untaken_for(now);
            worker.stands_still = still > STILL_AFTER;
            any_moves |= worker.standing == Standing::Open && !worker.stands_still;
            any_waits |= worker.end.untaken() > 0;
            if still > PASSED_OVER_AFTER {
                passed_over.push(worker.id);
            }
        }
        if any_waits {
            // It rests when a worker with a thread at its empty ring is offered something. This one
            // has not taken it at once: it may have been stopped.
            self.clock.start();
        }
        if any_moves {
            for id in passed_over {
                self.take_back(id, usize::MAX);
            }
        }
    }

    /// The deadline of a request has passed, or nobody wants its answer any more.
    fn give_up(&mut self, key: Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let Place::Given(id, slot) = entry.place else {
            let rank = entry.rank;
            self.fail_unstarted(key, now);
            self.leaves_line(rank);
            return;
        };
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) else {
            return;
        };
        if worker.reclaim(slot) {
            self.fail_unstarted(key, now);
            return;
        }
        if entry.deadline.is_none_or(|at| at > now) {
            // It may run on: nobody but the router has given up.
            entry.wanted_until = None;
            // Nothing is said of one whose client has left as well.
            let notice = entry.mailbox.is_some().then(|| Notice::RouterGaveUp {
                worker: id,
                request: Named::read(&entry.message),
                after: now.duration_since(entry.submitted),
                sample: entry.looks.fresh(now),
            });
            worker.end.cancel(slot);
            let thread = worker.thread_of(slot);
            if let Some(mailbox) = entry.mailbox.take() {
                let mut mailbox = mailbox.borrow_mut();
                mailbox.deliver(Answer::Failed(Failure::Unwanted));
            }
            if let Some(thread) = thread {
                (self.notices)(Notice::Unwanted { worker: id, thread });
            }
            if let Some(notice) = notice {
                (self.notices)(notice);
            }
            return;
        }
        let sample = entry.looks.fresh(now);
        entry.stuck = true;
        worker.stuck += 1;
        entry.stack_asked = Some(now);
        worker.say(Control::Dump {
            slot,
            number: entry.number,
        });
        worker.end.cancel(slot);
        let thread = worker.thread_of(slot);
        let too_many = worker.stuck > self.settings.most_stuck;
        if let Some(mailbox) = entry.mailbox.take() {
            mailbox
                .borrow_mut()
                .deliver(Answer::Failed(Failure::RanTooLong));
        }
        if let Some(thread) = thread {
            (self.notices)(Notice::Unwanted { worker: id, thread });
        }
        (self.notices)(Notice::TimedOut {
            worker: id,
            request: describe(&entry.message),
            after: now.duration_since(entry.submitted),
            sample,
        });
        if too_many {
            self.replace(id, Reason::Stuck);
        }
    }

    /// The worker has told where a request of its hangs.
    pub(super) fn stack_came(
        &mut self,
        id: WorkerId,
        number: u64,
        sample: StackSample,
        now: Instant,
    ) {
        let entry = self
            .entries
            .iter_mut()
            .find(|(_, entry)| entry.number == number);
        let Some((_, entry)) = entry else { return };
        let sample = match super::slow::answered(entry, id, sample, now) {
            Answered::Told(notice) => return (self.notices)(notice),
            Answered::Shown => return,
            Answered::Not(sample) => sample,
        };
        // One that was asked for before may come behind it.
        let is_awaited = entry.stack_asked.take().is_some();
        if is_awaited && !sample.stack.is_empty() {
            let text = sample.stack;
            let request = describe(&entry.message);
            (self.notices)(Notice::Stack {
                worker: id,
                request,
                text,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_more_rarely_once_requests_have_waited_for_long() {
        let at = |busy| {
            let ticker = Ticker {
                busy,
                ..Ticker::default()
            };
            ticker.interval()
        };
        assert_eq!([at(0), at(FIRST_TICKS)], [TICK; 2]);
        assert_eq!(at(FIRST_TICKS + 1), LATER_TICK);
    }
}
