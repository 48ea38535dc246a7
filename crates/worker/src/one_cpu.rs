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
//! Measured in docs/decisions/0029-many-threads-of-one-interpreter-stay-on-one-cpu.md.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use canter_sys::affinity::{self, Cpus};
use canter_sys::cpu;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::failure;
use crate::worker::Worker;

/// Between two looks: the system counts idle time in hundredths of a second.
const LOOK: Duration = Duration::from_millis(500);

/// Threads that run requests: from here on there are many, and below the second number few again.
const MANY: usize = 24;
const FEW: usize = 12;

/// Share of one CPU from which on they compute enough to be in each other's way.
const COMPUTES: f64 = 0.4;

/// Below this share of a full CPU somebody else computes on it, too.
const NEARLY_ALL: f64 = 0.85;

/// Idle shares of a CPU that is full, and of one that could be used.
const FULL: f64 = 0.05;
const SPARE: f64 = 0.25;

/// So many times what was answered apart must be answered together, where another CPU could be used and where none
/// could.
const GAIN: f64 = 1.05;
const NO_LOSS: f64 = 0.95;

/// Looks for which they part to see how that is.
const TRIAL: u32 = 2;

/// So many looks one after the other have to show it, and up to two more, by the number of the process: of two
/// servers on one CPU one shall leave it, and not both.
const STRIKES: u32 = 2;

/// Until they are tried together again after the first time that it was in vain, or apart after the first time that
/// it was well; each time twice as long, and at most the second.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_LAST: Duration = Duration::from_secs(320);

/// What every thread of the process follows: a count of changes in the upper half, one more than the
/// number of the CPU in the lower, 0 for no CPU in particular.
static HOME: AtomicU32 = AtomicU32::new(0);

/// What the process may run on.
static ALL: OnceLock<Cpus> = OnceLock::new();

/// No value of [`HOME`].
const UNKNOWN: u32 = u32::MAX;

thread_local! {
    /// What this thread has followed last.
    static FOLLOWED: Cell<u32> = const { Cell::new(0) };
}

fn cpu_of(home: u32) -> Option<usize> {
    (home as usize & 0xFFFF).checked_sub(1)
}

fn set_home(cpu: Option<usize>) {
    let number = cpu.map_or(0, |cpu| cpu as u32 + 1);
    let count = (HOME.load(Ordering::Relaxed) >> 16).wrapping_add(1) << 16;
    HOME.store(count | number, Ordering::Relaxed);
}

/// The calling thread comes to the ring: it goes where all go.
pub(crate) fn follow(py: Python<'_>) {
    let home = HOME.load(Ordering::Relaxed);
    if FOLLOWED.get() != home {
        go(py, home);
    }
}

#[cold]
fn go(py: Python<'_>, home: u32) {
    let (Some(all), Some(now)) = (ALL.get(), Cpus::allowed()) else {
        return;
    };
    let before = cpu_of(FOLLOWED.replace(home));
    let cpu = cpu_of(home);
    // One that was started by another begins where that was.
    let is_on = |cpu: Option<usize>| cpu.is_some_and(|cpu| now == Cpus::only(cpu));
    if now != *all && !is_on(before) && !is_on(cpu) {
        // The app has put this thread somewhere.
        return;
    }
    match cpu {
        None => all.hold_this_thread(),
        Some(cpu) => are_children_free(py) && Cpus::only(cpu).hold_this_thread(),
    };
}

/// Sees to it, once, that programs started by the app may run on all CPUs: they inherit where their parent
/// may run. False where the interpreter does not tell of them.
fn are_children_free(py: Python<'_>) -> bool {
    static TOLD: OnceLock<bool> = OnceLock::new();
    *TOLD.get_or_init(|| {
        let added = pyo3::wrap_pyfunction!(before_child, py)
            .and_then(|hook| py.import("sys")?.call_method1("addaudithook", (hook,)));
        if let Err(error) = &added {
            failure::log_error(py, "threads cannot be held on one CPU", error);
        }
        added.is_ok()
    })
}

/// An audit hook (PEP 578): the calling thread may run everywhere when it starts another process. It
/// goes back when it next comes to the ring.
#[pyfunction]
#[pyo3(signature = (event, _arguments, /))]
fn before_child(event: &Bound<'_, PyString>, _arguments: &Bound<'_, PyAny>) {
    let starts = matches!(
        event.to_str(),
        Ok("subprocess.Popen"
            | "os.fork"
            | "os.forkpty"
            | "os.posix_spawn"
            | "os.spawn"
            | "os.system"
            | "os.exec")
    );
    if !starts {
        return;
    }
    let home = cpu_of(HOME.load(Ordering::Relaxed));
    let is_held = |now: Cpus| home.is_some_and(|cpu| now == Cpus::only(cpu));
    if let Some(all) = ALL.get()
        && Cpus::allowed().is_some_and(is_held)
    {
        all.hold_this_thread();
        FOLLOWED.set(UNKNOWN);
    }
}

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
    /// On a machine of one CPU, and where threads do not share one lock, it does nothing.
    pub fn new(has_lock: bool) -> Self {
        if let Some(all) = Cpus::allowed() {
            // The main thread is the only one yet.
            let _ = ALL.set(all);
        }
        Self {
            last: None,
            policy: Policy::new(STRIKES + std::process::id() % 3),
            place: 0,
            is_possible: has_lock && ALL.get().is_some_and(|all| all.count() > 1),
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
        let seen = last.until(&sample, busy, cpu_of(HOME.load(Ordering::Relaxed)));
        self.policy.look(&seen);
        match (was_together, self.policy.together) {
            (false, true) => self.gather(),
            (true, false) => scatter(),
            _ => {}
        }
        let goes_on = self.policy.together || busy > MANY;
        self.last = goes_on.then_some(sample);
    }

    fn gather(&self) {
        let index = self.place + self.policy.vain as usize;
        let cpu = ALL.get().and_then(|all| all.at(index));
        // The main thread goes first: those that it starts begin where it is.
        if let Some(cpu) = cpu {
            Cpus::only(cpu).hold_this_thread();
        }
        set_home(cpu);
    }
}

/// Also those threads that wait, and those that the app has started, may run everywhere again.
fn scatter() {
    let cpu = cpu_of(HOME.load(Ordering::Relaxed));
    set_home(None);
    if let (Some(all), Some(cpu)) = (ALL.get(), cpu) {
        Cpus::only(cpu).widen(all);
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
        let others = now
            .idle
            .iter()
            .map(|row| row.0)
            .filter(|&cpu| Some(cpu) != home && ALL.get().is_some_and(|all| all.contains(cpu)));
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

/// What a look shows, of the time since the last.
struct Seen {
    clock: Duration,
    /// Threads that run requests.
    busy: usize,
    /// CPU time of the process, as a share of one CPU.
    share: f64,
    /// Requests taken in a second.
    rate: f64,
    /// How idle the CPU was that the threads are held on.
    idle: f64,
    /// How idle the most idle of the others was.
    spare: f64,
}

struct Policy {
    /// As [`STRIKES`].
    patience: u32,
    together: bool,
    /// Looks since that began.
    looks: u32,
    /// So many have to show them apart before they come together.
    wanted: u32,
    /// Requests a second in the last of those.
    rate_apart: f64,
    strikes: u32,
    /// Tries that were in vain, since it last was well, and trials that went well since it was in vain.
    vain: u32,
    well: u32,
    /// In the time of [`Seen::clock`], the next try together or apart.
    next: Duration,
}

impl Policy {
    fn new(patience: u32) -> Self {
        Self {
            patience,
            together: false,
            looks: 0,
            wanted: 1,
            rate_apart: 0.0,
            strikes: 0,
            vain: 0,
            well: 0,
            next: Duration::ZERO,
        }
    }

    fn look(&mut self, seen: &Seen) {
        self.looks += 1;
        if !self.together {
            // The mean of those looks that count.
            let count = f64::from(self.looks.min(self.wanted));
            self.rate_apart += (seen.rate - self.rate_apart) / count;
            let compute = seen.busy > MANY && seen.share >= COMPUTES;
            if compute && self.looks >= self.wanted && seen.clock >= self.next {
                self.turn(true, 1, pause(self.well), seen);
            }
            return;
        }
        let is_full = seen.idle < FULL;
        // The first look shows how they come together.
        let is_held_back = is_full && self.looks > 1 && !self.gains(seen);
        self.strikes = if is_held_back { self.strikes + 1 } else { 0 };
        if seen.busy < FEW {
            self.turn(false, 1, Duration::ZERO, seen);
        } else if self.strikes >= self.patience {
            self.turn(false, 1, pause(self.vain), seen);
            self.vain = self.vain.saturating_add(1);
            self.well = 0;
        } else if is_full && seen.clock >= self.next {
            self.turn(false, TRIAL, Duration::ZERO, seen);
            self.well = self.well.saturating_add(1);
            self.vain = 0;
        }
    }

    fn gains(&self, seen: &Seen) -> bool {
        let has_spare = seen.spare > SPARE;
        let least = if has_spare { GAIN } else { NO_LOSS };
        seen.rate >= least * self.rate_apart && !(has_spare && seen.share < NEARLY_ALL)
    }

    fn turn(&mut self, together: bool, wanted: u32, pause: Duration, seen: &Seen) {
        self.together = together;
        self.wanted = wanted;
        self.looks = 0;
        self.strikes = 0;
        self.next = seen.clock + pause;
    }
}

fn pause(times: u32) -> Duration {
    (PAUSE * 2_u32.saturating_pow(times.min(8))).min(PAUSE_LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks one after the other, half a second apart.
    struct Watch {
        policy: Policy,
        clock: Duration,
    }

    /// Threads, their share, requests a second, idle shares here and elsewhere.
    type Row = (usize, f64, f64, f64, f64);

    const APART: Row = (100, 0.8, 500.0, 1.0, 0.1);
    const WELL_TOGETHER: Row = (100, 0.8, 600.0, 0.1, 0.6);

    fn is_about(number: f64, expected: f64) -> bool {
        (number - expected).abs() < 1e-9
    }

    impl Watch {
        fn new() -> Self {
            Self {
                policy: Policy::new(STRIKES),
                clock: Duration::ZERO,
            }
        }

        fn look(&mut self, (busy, share, rate, idle, spare): Row) -> bool {
            self.clock += LOOK;
            self.policy.look(&Seen {
                clock: self.clock,
                busy,
                share,
                rate,
                idle,
                spare,
            });
            self.policy.together
        }

        fn together() -> Self {
            let mut watch = Self::new();
            assert!(watch.look(APART));
            watch
        }
    }

    #[test]
    fn many_threads_that_compute_come_together() {
        for (row, comes) in [
            (APART, true),
            ((25, 0.4, 1.0, 1.0, 0.9), true),
            ((24, 0.8, 500.0, 1.0, 0.1), false),
            ((900, 0.39, 500.0, 1.0, 0.1), false),
        ] {
            assert_eq!(Watch::new().look(row), comes, "{row:?}");
        }
    }

    #[test]
    fn they_stay_until_they_are_few() {
        let mut watch = Watch::together();
        for _ in 0..1000 {
            // Nobody needs the CPU, whatever is answered.
            assert!(watch.look((100, 0.8, 1.0, 0.1, 0.6)));
        }
        assert!(watch.look((12, 0.1, 1.0, 0.8, 0.9)) && !watch.look((11, 0.1, 1.0, 0.8, 0.9)));
        // It was not in vain.
        assert!(watch.look(APART));
    }

    #[test]
    fn on_a_full_cpu_they_stay_if_they_gain() {
        for (share, rate, spare, stays) in [
            // They have all of it, and answer more than apart, or no more.
            (0.99, 530.0, 0.5, true),
            (0.99, 520.0, 0.5, false),
            // Somebody else has some of it, and there is another.
            (0.6, 800.0, 0.5, false),
            // There is no other.
            (0.6, 480.0, 0.2, true),
            (0.99, 470.0, 0.2, false),
        ] {
            let row = (100, share, rate, 0.01, spare);
            let mut watch = Watch::together();
            // The first says nothing, and one alone neither.
            assert!(watch.look(row) && watch.look(row) && watch.look(WELL_TOGETHER));
            assert!(watch.look(row));
            assert_eq!(watch.look(row), stays, "{row:?}");
        }
    }

    #[test]
    fn what_was_in_vain_is_tried_again_more_and_more_rarely() {
        let bad = (100, 0.5, 300.0, 0.0, 0.1);
        let mut watch = Watch::together();
        for (times, seconds) in (0_u32..).zip([5, 10, 20, 40, 80, 160, 320, 320]) {
            assert_eq!(watch.policy.vain, times);
            assert!(watch.look(bad) && watch.look(bad) && !watch.look(bad));
            let parted = watch.clock;
            while !watch.look(APART) {}
            assert_eq!(watch.clock, parted + Duration::from_secs(seconds));
        }
    }

    #[test]
    fn where_it_is_well_they_see_now_and_then_how_it_is_apart() {
        let full = (100, 0.9, 600.0, 0.01, 0.1);
        let mut watch = Watch::together();
        for seconds in [5, 10, 20, 40, 80, 160, 320, 320] {
            let came = watch.clock;
            while watch.look(full) {}
            assert_eq!(watch.clock, came + Duration::from_secs(seconds));
            assert!(!watch.look((100, 0.9, 500.0, 1.0, 0.1)));
            assert!(watch.look((100, 0.9, 580.0, 1.0, 0.1)));
            assert!(is_about(watch.policy.rate_apart, 540.0));
        }
        // Now it is better apart.
        while watch.look(full) {}
        assert!(!watch.look((100, 0.9, 700.0, 1.0, 0.1)));
        assert!(watch.look((100, 0.9, 700.0, 1.0, 0.1)));
        assert!(watch.look(full) && watch.look(full) && !watch.look(full));
        assert_eq!((watch.policy.vain, watch.policy.well), (1, 0));
    }

    #[test]
    fn of_two_servers_on_one_cpu_one_is_more_patient() {
        let bad = (100, 0.5, 400.0, 0.0, 0.5);
        let mut watch = Watch::together();
        watch.policy.patience = 4;
        assert!((0..4).all(|_| watch.look(bad)));
        // The other has gone.
        assert!(watch.look((100, 0.95, 900.0, 0.0, 0.5)) && watch.look(WELL_TOGETHER));
        assert_eq!(watch.policy.vain, 0);
    }

    #[test]
    fn a_sample_is_compared_with_the_one_before() {
        let all = Cpus::allowed().unwrap();
        let _ = ALL.set(all.clone());
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
