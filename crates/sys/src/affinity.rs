//! Owns on which CPUs a thread may run, and how much each CPU has been idle.
//! Leaves when to ask for fewer to the worker.

use std::fs;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A set of CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus(CpuSet);

impl Cpus {
    /// Those that the calling thread may run on (`sched_getaffinity(2)`). None on a system that does not tell, or
    /// that has more than 1024.
    pub fn allowed() -> Option<Self> {
        sched_getaffinity(None).ok().map(Self)
    }

    /// This one alone.
    pub fn only(cpu: usize) -> Self {
        let mut cpus = CpuSet::new();
        if cpu < CpuSet::MAX_CPU {
            cpus.set(cpu);
        }
        Self(cpus)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.count() as usize
    }

    /// Whether this CPU is one of them.
    pub fn contains(&self, cpu: usize) -> bool {
        cpu < CpuSet::MAX_CPU && self.0.is_set(cpu)
    }

    /// The number of the CPU that comes after `index` others, counted round; None where there is none at all.
    pub fn at(&self, index: usize) -> Option<usize> {
        let index = index.checked_rem(self.count())?;
        (0..CpuSet::MAX_CPU)
            .filter(|&cpu| self.0.is_set(cpu))
            .nth(index)
    }

    /// Lets the calling thread run on these alone. False where the system refuses.
    pub fn hold_this_thread(&self) -> bool {
        sched_setaffinity(None, &self.0).is_ok()
    }

    /// Of this process's threads, lets each that may run on `self` alone run on all of `cpus`.
    pub fn widen(&self, cpus: &Self) {
        let Ok(tasks) = fs::read_dir("/proc/self/task") else {
            return;
        };
        let tids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
        for tid in tids.filter_map(Pid::from_raw) {
            if sched_getaffinity(Some(tid)).is_ok_and(|now| now == self.0) {
                // A thread that has ended meanwhile needs none.
                let _ = sched_setaffinity(Some(tid), &cpus.0);
            }
        }
    }
}

/// For how long each CPU has been idle since the system's start, in hundredths of a second, and its number: from
/// `/proc/stat` (`proc_stat(5)`, `idle` and `iowait` in `USER_HZ`, which is 100 on every Linux). Empty where that
/// cannot be read.
pub fn idle_times() -> Vec<(usize, u64)> {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    text.lines().filter_map(idle_time).collect()
}

fn idle_time(line: &str) -> Option<(usize, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let cpu = fields.next()?.strip_prefix("cpu")?.parse().ok()?;
    let mut times = fields.skip(3).map(str::parse::<u64>);
    let (idle, waiting) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((cpu, idle.saturating_add(waiting)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_stat_is_a_cpu_or_nothing() {
        for (line, expected) in [
            ("cpu3 10 20 30 400 5 6 7 8 9 10", Some((3, 405))),
            ("cpu 10 20 30 400 5 6 7 8 9 10", None),
            ("cpu3 10 20 30 400", None),
            ("cpu3 10 20 30 x 5", None),
            ("intr 1 2 3 4 5 6", None),
            ("", None),
        ] {
            assert_eq!(idle_time(line), expected, "{line}");
        }
    }

    #[test]
    fn cpus_are_counted_round() {
        let none = Cpus(CpuSet::new());
        assert_eq!((none.count(), none.at(0)), (0, None));
        let mut two = CpuSet::new();
        two.set(3);
        two.set(70);
        let two = Cpus(two);
        let at: Vec<_> = (0..4).map(|index| two.at(index)).collect();
        assert_eq!(at, [Some(3), Some(70), Some(3), Some(70)]);
        assert!(two.contains(70) && !two.contains(4) && !two.contains(1 << 20));
        assert_eq!(Cpus::only(1 << 20).count(), 0);
    }

    #[test]
    fn a_thread_that_was_held_can_run_everywhere_again() {
        let all = Cpus::allowed().unwrap();
        let one = Cpus::only(all.at(1).unwrap());
        let (begun, goes_on) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let held = {
            let one = one.clone();
            std::thread::spawn(move || {
                assert!(one.hold_this_thread());
                assert_eq!(Cpus::allowed().unwrap(), one);
                begun.0.send(()).unwrap();
                goes_on.1.recv().unwrap();
                Cpus::allowed().unwrap()
            })
        };
        begun.1.recv().unwrap();
        one.widen(&all);
        goes_on.0.send(()).unwrap();
        assert_eq!(held.join().unwrap(), all);
        assert_eq!(Cpus::allowed().unwrap(), all);
    }
}
