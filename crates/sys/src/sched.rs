//! Owns asking the scheduler for short turns: a process that has little to do at a time, and on
//! which others wait, is then put on a CPU soon after it wakes, also when all CPUs are busy.
//! Leaves who asks to the composition.

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
