//! Owns what is asked of the scheduler: short turns, for a process that has little to do at a time and on
//! which others wait, so that it is put on a CPU soon after it wakes, also when all CPUs are busy; and not
//! to interrupt who runs, for a thread that wakes for many small pieces of work at once.
//! Leaves who asks, and when, to the composition and to the worker.

use std::time::Duration;

/// `struct sched_attr` in its first form (`sched_setattr`(2)).
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the slice of the calling thread under the normal policy. Since Linux 6.12 a thread that
/// wakes with a shorter slice preempts one with a longer slice; its share of the CPU stays the
/// same. Older kernels ignore the number. Needs no privilege.
pub fn prefer_short_turns(slice: Duration) {
    let nice = rustix::process::getpriority_process(None).unwrap_or(0);
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        nice,
        runtime: u64::try_from(slice.as_nanos()).unwrap_or(0),
        ..SchedAttr::default()
    };
    // SAFETY: the structure has the layout and the size that the call is told, and outlives it.
    // Neither the standard library nor rustix has this call. A refusal changes nothing.
    unsafe {
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0);
    }
}

/// Whether the calling thread is scheduled as threads usually are, and nobody has chosen otherwise for it.
pub fn is_usual() -> bool {
    // SAFETY: no memory is involved; 0 is the calling thread. rustix has no such call.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_OTHER }
}

/// Sets whether the calling thread, when it wakes, leaves the CPU to the thread that runs there (`SCHED_BATCH`, `sched(7)`)
/// or may interrupt it, as is usual. Its share of the CPU stays the same. Threads and processes that it starts
/// meanwhile do as it does. Needs no privilege. False where the system refuses.
pub fn yield_on_wake(yields: bool) -> bool {
    let policy = if yields {
        libc::SCHED_BATCH
    } else {
        libc::SCHED_OTHER
    };
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the one structure, which outlives it, and 0 is the calling thread. rustix has
    // no such call.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_yields_can_stop_it_again() {
        let own = std::thread::spawn(|| {
            if !yield_on_wake(true) {
                return;
            }
            assert!(!is_usual());
            assert!(yield_on_wake(false) && is_usual());
        });
        own.join().unwrap();
    }
}
