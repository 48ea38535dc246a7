//! Owns the question «is this process computing, queued for a CPU, or waiting?».
//! Leaves what follows from the answer to the worker's thread scheduler.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time that this process has used so far, all its threads together.
pub fn process_time() -> Duration {
    from_timespec(clock_gettime(ClockId::ProcessCPUTime))
}

/// CPU time that another process has used so far, to a hundredth of a second (`proc_pid_stat(5)`, `utime` and `stime`
/// in `USER_HZ`, which is 100 on every Linux). None where it has gone.
pub fn process_time_of(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut ticks = rest
        .split_ascii_whitespace()
        .skip(11)
        .map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some(Duration::from_millis(10 * user.saturating_add(system)))
}

/// CPU time that the calling thread has used so far.
pub fn thread_time() -> Duration {
    from_timespec(clock_gettime(ClockId::ThreadCPUTime))
}

/// Time since an arbitrary start that never goes back; comparable between processes.
pub fn monotonic() -> Duration {
    from_timespec(clock_gettime(ClockId::Monotonic))
}

/// What one thread of this process did so far: time on a CPU, and time ready to run but queued
/// for one. None where the kernel does not keep it, or the thread has gone.
///
/// From `/proc/self/task/TID/schedstat`: nanoseconds on the CPU, nanoseconds waiting on a run
/// queue, and time slices (Linux, Documentation/scheduler/sched-stats.rst).
pub fn thread_schedstat(tid: u32) -> Option<(Duration, Duration)> {
    let text = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
    let on_cpu = numbers.next()?.ok()?;
    let queued = numbers.next()?.ok()?;
    Some((Duration::from_nanos(on_cpu), Duration::from_nanos(queued)))
}

/// The kernel's number of the calling thread.
pub fn thread_id() -> u32 {
    rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs()
}

fn from_timespec(time: rustix::time::Timespec) -> Duration {
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computing_moves_the_process_clock() {
        let before = process_time();
        let mut sum = 0_u64;
        while process_time().saturating_sub(before) < Duration::from_millis(2) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }

    #[test]
    fn another_process_is_asked_by_its_number() {
        let own = std::process::id();
        while process_time_of(own).unwrap() < Duration::from_millis(30) {
            std::hint::black_box(own);
        }
        // It counts in ticks.
        assert!(process_time() > Duration::from_millis(10));
        assert_eq!(process_time_of(u32::MAX), None);
    }

    #[test]
    fn the_calling_thread_has_a_schedstat() {
        assert!(thread_schedstat(thread_id()).is_some());
        assert!(thread_schedstat(u32::MAX).is_none());
    }
}
