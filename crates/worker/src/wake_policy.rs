//! Owns whether a thread that the front wakes for new requests may interrupt who runs.
//! Leaves asking the system to `canter_sys::sched`.
//!
//! Where requests take microseconds, the front hands over dozens of them at a time and wakes a thread for them while
//! it still reads the next. On a box whose CPUs are all in use the thread then takes the CPU of the front that
//! has just woken it, and dozens of clients wait for both. So a thread that finds many small requests each time
//! it wakes asks not to interrupt; the front goes on until its turn is done, or another CPU is free.
//!
//! Where something else computes on all CPUs a thread that does not interrupt waits for milliseconds. The
//! scheduler tells how long threads were queued: one that waits for long interrupts again, and does not ask
//! for a while, each time for longer.
//! Measured in docs/decisions/0028-who-wakes-does-not-interrupt.md.

use std::cell::RefCell;
use std::time::Duration;

use canter_sys::{cpu, sched};

/// How often the thread sleeps between two looks, while it interrupts and while it does not.
const LOOK_USUAL: u32 = 64;
const LOOK_YIELDING: u32 = 8;

/// From so many requests at each waking on a thread asks not to interrupt, below the second number no more.
const MANY: u32 = 8;
const FEW: u32 = 4;

/// CPU time of a small request.
const SMALL: Duration = Duration::from_micros(50);

/// A request that takes longer has waited for something, or its thread for the interpreter.
pub(crate) const SLOW: Duration = Duration::from_millis(1);

/// Queued for so long at each waking, the thread stands behind something that computes. A turn of the
/// front with 64 connections takes a third of a millisecond.
const LONG: Duration = Duration::from_millis(1);

/// So many looks one after the other have to show it: a single stall may be anything.
const STRIKES: u32 = 3;

/// Looks without asking, after the first time that it was in vain and at most.
const REFRAIN: u32 = 64;
const REFRAIN_MOST: u32 = 4096;

thread_local! {
    static POLICY: RefCell<Policy> = const { RefCell::new(Policy::NEW) };
}

/// The calling thread is about to sleep at the ring of requests, of which it has taken `taken` since it last slept.
pub(crate) fn sleeps(taken: u32) {
    POLICY.with_borrow_mut(|policy| {
        policy.taken = policy.taken.saturating_add(taken);
        if policy.sleeps_until_look > 1 {
            policy.sleeps_until_look -= 1;
            return;
        }
        if policy.last.is_none() && !policy.yields && !sched::is_usual() {
            // Whoever started the server has chosen another policy.
            policy.refrain = u32::MAX;
        }
        let now = cpu::thread_schedstat(cpu::thread_id());
        let wanted = policy.look(now);
        policy.set(wanted);
    });
}

/// The calling thread goes away from the ring, or has had a request that was not small at all: it may be
/// waiting for something else next, and interrupts.
pub(crate) fn leaves() {
    POLICY.with_borrow_mut(|policy| {
        policy.last = None;
        if policy.yields {
            policy.set(false);
        }
    });
}

/// What a thread knows of its last wakings.
#[derive(Debug)]
struct Policy {
    yields: bool,
    sleeps_until_look: u32,
    /// Requests taken since the last look.
    taken: u32,
    /// As of the last look; none before the first.
    last: Option<Seen>,
    /// Looks in a row that showed it queued for long.
    strikes: u32,
    /// Looks left without asking.
    refrain: u32,
    refrain_next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    on_cpu: Duration,
    queued: Duration,
}

impl Policy {
    const NEW: Self = Self {
        yields: false,
        sleeps_until_look: LOOK_USUAL,
        taken: 0,
        last: None,
        strikes: 0,
        refrain: 0,
        refrain_next: REFRAIN,
    };

    fn set(&mut self, yields: bool) {
        if self.yields != yields {
            // What the system refuses once it refuses always.
            if !sched::yield_on_wake(yields) {
                self.refrain = u32::MAX;
            }
            self.yields = yields && self.refrain == 0;
        }
        self.sleeps_until_look = self.between_looks();
    }

    fn between_looks(&self) -> u32 {
        if self.yields {
            LOOK_YIELDING
        } else {
            LOOK_USUAL
        }
    }

    /// Whether not to interrupt from here on; `now` is the time on a CPU and queued for one.
    fn look(&mut self, now: Option<(Duration, Duration)>) -> bool {
        let requests = std::mem::take(&mut self.taken);
        let Some((on_cpu, queued)) = now else {
            // Without knowing how long it is queued, nothing is asked.
            return false;
        };
        let seen = Seen { on_cpu, queued };
        let Some(last) = self.last.replace(seen) else {
            return self.yields;
        };
        let sleeps = self.between_looks();
        let each = on_cpu.saturating_sub(last.on_cpu) / requests.max(1);
        let queued = queued.saturating_sub(last.queued) / sleeps;
        let is_long = self.yields && queued > LONG;
        self.strikes = if is_long { self.strikes + 1 } else { 0 };
        if self.strikes >= STRIKES {
            self.strikes = 0;
            self.refrain = self.refrain_next;
            self.refrain_next = (self.refrain_next * 2).min(REFRAIN_MOST);
            return false;
        }
        if self.refrain > 0 {
            self.refrain -= 1;
            return false;
        }
        let many = if self.yields { FEW } else { MANY };
        requests / sleeps >= many && each < SMALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread's time so far.
    struct Clock {
        policy: Policy,
        on_cpu: Duration,
        queued: Duration,
    }

    impl Clock {
        fn new() -> Self {
            let mut clock = Self {
                policy: Policy::NEW,
                on_cpu: Duration::ZERO,
                queued: Duration::ZERO,
            };
            assert!(!clock.look(0, 0, 0));
            clock
        }

        /// What is wanted after the next look, with so many requests at each waking, microseconds of CPU
        /// for each of them, and microseconds queued at each waking.
        fn look(&mut self, requests: u32, each_us: u32, queued_us: u32) -> bool {
            let sleeps = self.policy.between_looks();
            let us = |count: u32| Duration::from_micros(count.into());
            self.policy.taken += requests * sleeps;
            self.on_cpu += us(requests * sleeps * each_us);
            self.queued += us(queued_us * sleeps);
            let yields = self.policy.look(Some((self.on_cpu, self.queued)));
            self.policy.yields = yields;
            yields
        }
    }

    #[test]
    fn many_small_requests_at_each_waking_are_taken_without_interrupting() {
        for (requests, each, queued, yields) in [
            (26, 2, 100, true),
            (8, 49, 0, true),
            // One connection alone, or a few.
            (1, 2, 0, false),
            (7, 2, 0, false),
            // A page.
            (16, 900, 0, false),
            (16, 50, 0, false),
            // Nothing was taken.
            (0, 0, 0, false),
            // While it interrupts, what it is queued for has other reasons.
            (26, 2, 5000, true),
        ] {
            assert_eq!(
                Clock::new().look(requests, each, queued),
                yields,
                "{requests} of {each}, {queued}"
            );
        }
    }

    #[test]
    fn it_stays_so_while_there_are_several() {
        let mut clock = Clock::new();
        assert!(clock.look(26, 2, 100));
        assert!(clock.look(4, 2, 100) && clock.look(5, 40, 900));
        assert!(!clock.look(3, 2, 100));
        assert!(clock.look(8, 2, 100));
        assert!(!clock.look(8, 60, 100));
    }

    #[test]
    fn behind_something_that_computes_it_interrupts_and_asks_more_rarely() {
        let mut clock = Clock::new();
        for refrain in [64, 128, 256, 512, 1024, 2048, 4096, 4096] {
            assert!(clock.look(26, 2, 100));
            assert!(clock.look(26, 2, 3500) && clock.look(26, 2, 900));
            assert!(clock.look(26, 2, 3500) && clock.look(26, 2, 1100));
            assert!(!clock.look(26, 2, 1100));
            for _ in 0..refrain {
                assert!(!clock.look(26, 2, 100));
            }
        }
    }

    #[test]
    fn where_the_system_tells_nothing_nothing_is_asked() {
        let mut policy = Policy::NEW;
        policy.taken = 5000;
        assert!(!policy.look(None) && !policy.look(None));
    }

    #[test]
    fn a_thread_looks_now_and_then_and_gives_it_up_when_it_leaves() {
        if !sched::is_usual() || !sched::yield_on_wake(true) {
            return;
        }
        assert!(sched::yield_on_wake(false));
        let yields = || POLICY.with_borrow(|policy| policy.yields);
        // So many that each has cost next to nothing, however slow the machine.
        let sleep = || sleeps(100_000);
        for _ in 0..2 * LOOK_USUAL {
            assert!(!yields());
            sleep();
        }
        assert!(yields() && !sched::is_usual());
        leaves();
        assert!(!yields() && sched::is_usual());
        // What was seen before says nothing of what comes.
        for _ in 0..LOOK_USUAL {
            sleep();
        }
        assert!(!yields());
    }

    #[test]
    fn another_policy_than_the_usual_stays() {
        let own = std::thread::spawn(|| {
            if !sched::yield_on_wake(true) {
                return;
            }
            for _ in 0..4 * LOOK_USUAL {
                sleeps(100_000);
            }
            assert!(POLICY.with_borrow(|policy| !policy.yields && policy.refrain > 1 << 31));
            leaves();
            assert!(!sched::is_usual());
        });
        own.join().unwrap();
    }
}
