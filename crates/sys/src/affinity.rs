//! Owns on which CPUs a thread may run, and how much each CPU has been idle.
//! Leaves when to ask for fewer to the worker.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

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

    /// As many as there can be.
    pub fn every() -> Self {
        let mut cpus = CpuSet::new();
        for cpu in 0..CpuSet::MAX_CPU {
            cpus.set(cpu);
        }
        Self(cpus)
    }

    /// This one alone.
    pub fn only(cpu: usize) -> Self {
        let mut cpus = CpuSet::new();
        if cpu < CpuSet::MAX_CPU {
            cpus.set(cpu);
        }
        Self(cpus)
    }

    /// Whether each of them has a row.
    fn are_in(&self, rows: &[(usize, u64)]) -> bool {
        self.numbers()
            .all(|cpu| rows.iter().any(|row| row.0 == cpu))
    }

    fn numbers(&self) -> impl Iterator<Item = usize> {
        (0..CpuSet::MAX_CPU).filter(|&cpu| self.0.is_set(cpu))
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
        self.numbers().nth(index)
    }

    /// Lets the calling thread run on these alone. False where the system refuses.
    pub fn hold_this_thread(&self) -> bool {
        sched_setaffinity(None, &self.0).is_ok()
    }

    /// Likewise for all processes that descend from this one.
    pub fn widen_children(&self, cpus: &Self) {
        let mut parents = vec!["self".to_owned()];
        while let Some(parent) = parents.pop() {
            for task in tasks(&parent) {
                let children = fs::read_to_string(format!("/proc/{parent}/task/{task}/children"));
                for child in children.unwrap_or_default().split_ascii_whitespace() {
                    for task in tasks(child) {
                        self.widen_one(task, cpus);
                    }
                    parents.push(child.to_owned());
                }
            }
        }
    }

    fn widen_one(&self, tid: i32, cpus: &Self) -> bool {
        let tid = Pid::from_raw(tid);
        // One that has ended meanwhile needs none.
        tid.is_some()
            && sched_getaffinity(tid).is_ok_and(|now| now == self.0)
            && sched_setaffinity(tid, &cpus.0).is_ok()
    }

    /// Of this process's threads, lets each that may run on `self` alone run on all of `cpus`; whether there
    /// was any.
    pub fn widen(&self, cpus: &Self) -> bool {
        let mut any = false;
        for task in tasks("self") {
            any |= self.widen_one(task, cpus);
        }
        any
    }
}

/// The threads of a process, by the kernel's number; none where it has gone.
fn tasks(process: &str) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Whether [`idle_times`] tells of each CPU that the calling thread may run on, under the number that
/// [`Cpus`] has for it. LXCFS, which containers may have in its place, counts from 0, and it is a file system of
/// its own.
pub fn tells_idle_times() -> bool {
    let device = |path: &str| fs::metadata(path).ok().map(|data| data.dev());
    let allowed = Cpus::allowed();
    device("/proc/stat") == device("/proc")
        && allowed.is_some_and(|allowed| allowed.are_in(&idle_times()))
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
    use std::io::{Read as _, Write as _};

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
        // Numbered from 0, as LXCFS does.
        assert!(!two.are_in(&[(0, 9), (1, 9)]) && !two.are_in(&[(3, 9)]));
        assert!(two.are_in(&[(0, 9), (3, 9), (70, 9)]));
    }

    /// Of the two tests that free whatever is on one CPU one runs at a time.
    static HELD: std::sync::Mutex<()> = std::sync::Mutex::new(());

    #[test]
    fn a_thread_that_was_held_can_run_everywhere_again() {
        let _alone = HELD.lock();
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
        assert!(one.widen(&Cpus::every()) && (all == one || !one.widen(&all)));
        goes_on.0.send(()).unwrap();
        assert_eq!(held.join().unwrap(), all);
        assert_eq!(Cpus::allowed().unwrap(), all);
    }

    #[test]
    fn the_children_of_a_child_can_run_everywhere_again() {
        let _alone = HELD.lock();
        let all = Cpus::allowed().unwrap();
        let one = Cpus::only(all.at(1).unwrap());
        let started = {
            let one = one.clone();
            std::thread::spawn(move || {
                assert!(one.hold_this_thread());
                let mut shell = std::process::Command::new("sh")
                    .args(["-c", "cat; true"])
                    .stdin(std::process::Stdio::piped())
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap();
                // Once it answers, both are there.
                shell.stdin.as_mut().unwrap().write_all(b"x").unwrap();
                let mut byte = [0];
                shell
                    .stdout
                    .as_mut()
                    .unwrap()
                    .read_exact(&mut byte)
                    .unwrap();
                shell
            })
        };
        let mut shell = started.join().unwrap();
        let shell_pid = shell.id().to_string();
        let children = || {
            let path = format!("/proc/{shell_pid}/task/{shell_pid}/children");
            fs::read_to_string(path).unwrap_or_default()
        };
        let Some(cat) = children()
            .split_ascii_whitespace()
            .next()
            .map(str::to_owned)
        else {
            // A kernel without that list.
            shell.kill().unwrap();
            shell.wait().unwrap();
            return;
        };
        let of = |pid: &str| {
            sched_getaffinity(Pid::from_raw(pid.parse().unwrap()))
                .map(Cpus)
                .unwrap()
        };
        assert_eq!((of(&shell_pid), of(&cat)), (one.clone(), one.clone()));
        one.widen_children(&all);
        assert_eq!((of(&shell_pid), of(&cat)), (all.clone(), all));
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }
}
