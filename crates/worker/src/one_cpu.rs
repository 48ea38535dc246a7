//! Owns whether the threads of a worker, while they are many and share one interpreter, stay on one CPU.
//! Leaves asking the system to `canter_sys::affinity`, and how many threads there are to `thread_pool`.
//!
//! A thread lets go of the interpreter's lock at each call to the system, however short, and wakes one of those
//! that wait for the lock. On another CPU that one takes it before the call has returned, so each call costs two
//! switches, and time in which nobody computes while a sleeping CPU wakes. On the same CPU it comes to its turn
//! when the first really waits. So a worker whose threads are many and compute holds them on one CPU, each worker
//! on another.
//!
//! That is wrong where somebody else computes on that CPU, or the app computes without the lock. So while its CPU is
//! full the worker compares what it answers with what it answered before, and where that is less, or no more
//! though another CPU idles, its threads go where they like. The next try comes later, on the next CPU. Where it
//! is well, they part for a second now and then all the same, to see how that is meanwhile.
//! `policy` decides, `home` moves threads.
//! Measured in docs/decisions/0029-many-threads-of-one-interpreter-stay-on-one-cpu.md.

mod home;
mod policy;

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use canter_sys::affinity::{self, Cpus};
use canter_sys::cpu;

pub(crate) use self::home::follow;
use self::home::{All, Home};
use self::policy::{Policy, Seen};
use crate::thread_pool::MANY;
use crate::worker::Worker;

/// Between two looks: the system counts idle time in hundredths of a second.
const LOOK: Duration = Duration::from_millis(500);

/// Looks between two for programs that the app has started.
const SWEEP: u32 = 2;

/// The main thread's part: looks now and then while threads are many.
pub(crate) struct OneCpu {
    /// Set while it looks.
    last: Option<Sample>,
    policy: Policy,
    /// Which of the CPUs, counted round.
    place: usize,
    is_possible: bool,
}

struct Sample {
    clock: Duration,
    process: Duration,
    taken: u32,
    idle: Vec<(usize, u64)>,
}

impl OneCpu {
    /// Where threads do not share one lock it does nothing, nor where nobody tells how idle each CPU is.
    pub fn new(has_lock: bool) -> Self {
        let chance = RandomState::new().hash_one(std::process::id());
        Self {
            last: None,
            policy: Policy::new(chance as u32),
            place: 0,
            is_possible: has_lock && affinity::tells_idle_times(),
        }
    }

    /// The front says how many other workers come before this one.
    pub fn set_place(&mut self, place: u16) {
        self.place = place.into();
    }

    /// Until the next look; none while there is nothing to look at.
    pub fn left(&self) -> Option<Duration> {
        let last = self.last.as_ref()?;
        Some((last.clock + LOOK).saturating_sub(cpu::monotonic()))
    }

    /// Looks, if it is time to.
    pub fn step(&mut self, worker: &Worker) {
        if !self.is_possible {
            return;
        }
        let busy = worker.thread_pool.busy();
        let Some(last) = &self.last else {
            if busy > MANY {
                self.last = Some(Sample::now(worker));
            }
            return;
        };
        let now = cpu::monotonic();
        if now < last.clock + LOOK {
            return;
        }
        let sample = Sample::now(worker);
        let was_together = self.policy.together;
        let seen = last.until(&sample, busy, Home::now().cpu());
        self.policy.look(&seen);
        match (was_together, self.policy.together) {
            (false, true) => self.gather(),
            (true, false) => scatter(),
            (true, true) => self.sweep(),
            (false, false) => {}
        }
        let goes_on = self.policy.together || busy > MANY;
        self.last = goes_on.then_some(sample);
    }

    fn gather(&self) {
        let all = All::of_this_thread();
        let index = self.place.wrapping_add(self.policy.vain_ever);
        let cpu = all.as_ref().and_then(|all| all.cpus.at(index));
        home::set_all(all);
        // The main thread goes first: those that it starts begin where it is.
        if let Some(cpu) = cpu
            && Cpus::only(cpu).hold_this_thread()
        {
            Home::now().on(cpu).set();
        }
    }

    /// Programs that the app has started inherit where their parent may run. They may run everywhere, within a
    /// second.
    fn sweep(&self) {
        if self.policy.looks.is_multiple_of(SWEEP)
            && let (Some(cpu), Some(all)) = (Home::now().cpu(), home::all())
        {
            all.free_children(cpu);
        }
    }
}

/// Also those threads that wait, and what the app has started, may run everywhere again.
fn scatter() {
    let Some(cpu) = Home::now().cpu() else {
        return;
    };
    Home::now().apart().set();
    if let Some(all) = home::all() {
        all.free(cpu);
    }
}

impl Sample {
    fn now(worker: &Worker) -> Self {
        Self {
            clock: cpu::monotonic(),
            process: cpu::process_time(),
            taken: worker.watch.taken(),
            idle: affinity::idle_times(),
        }
    }

    fn until(&self, now: &Self, busy: usize, home: Option<usize>) -> Seen {
        let elapsed = now.clock.saturating_sub(self.clock).as_secs_f64();
        let elapsed = elapsed.max(f64::MIN_POSITIVE);
        let computed = now.process.saturating_sub(self.process).as_secs_f64();
        let taken = now.taken.wrapping_sub(self.taken);
        let idle = |cpu: usize| {
            let of = |sample: &Self| Some(sample.idle.iter().find(|row| row.0 == cpu)?.1);
            let ticks = of(now)?.saturating_sub(of(self)?);
            Some(ticks as f64 / 100.0 / elapsed)
        };
        let all = home::all();
        let others = now.idle.iter().map(|row| row.0).filter(|&cpu| {
            Some(cpu) != home && all.as_ref().is_some_and(|all| all.cpus.contains(cpu))
        });
        Seen {
            clock: now.clock,
            busy,
            share: computed / elapsed,
            rate: f64::from(taken) / elapsed,
            // What cannot be told is no reason to change anything.
            idle: home.and_then(idle).unwrap_or(1.0),
            spare: others.filter_map(idle).fold(0.0, f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_about(number: f64, expected: f64) -> bool {
        (number - expected).abs() < 1e-9
    }

    #[test]
    fn a_sample_is_compared_with_the_one_before() {
        let all = Cpus::allowed().unwrap();
        home::set_all(All::of_this_thread());
        let (home, other) = (all.at(0).unwrap(), all.at(1).unwrap());
        let sample = |ms: u64, taken, idle: [u64; 2]| Sample {
            clock: Duration::from_millis(1000 + 2 * ms),
            process: Duration::from_millis(700 + ms),
            taken,
            idle: vec![(home, idle[0]), (other, idle[1]), (1 << 16, 5000)],
        };
        let before = sample(0, u32::MAX, [100, 200]);
        let now = sample(500, 299, [110, 280]);
        let seen = before.until(&now, 30, Some(home));
        assert!(seen.busy == 30 && is_about(seen.share, 0.5) && is_about(seen.rate, 300.0));
        assert!(is_about(seen.idle, 0.1));
        if home != other {
            assert!(is_about(seen.spare, 0.8));
            assert!(is_about(before.until(&now, 30, None).spare, 0.8));
        }
        let nothing = Sample {
            idle: Vec::new(),
            ..sample(500, 299, [0, 0])
        };
        let seen = before.until(&nothing, 30, Some(home));
        assert!(is_about(seen.idle, 1.0) && is_about(seen.spare, 0.0));
    }
}
