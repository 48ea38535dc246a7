//! Owns who is asleep and who must be woken: a futex for the worker, an eventfd for the front.
//! Leaves when to sleep to the callers.
//!
//! Each side raises its flag, looks at the ring once more, and only then sleeps; the other side
//! publishes, then looks at the flag. With a full fence between the two steps on both sides one
//! of them always sees the other (Dekker's argument), so no wake-up is lost and none is sent to
//! a side that is awake.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use rustix::thread::futex;

/// Says that this side is about to sleep. Look at the ring once more before sleeping.
pub(crate) fn raise(bell: &AtomicU32) {
    bell.store(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// Says that this side is awake again.
pub(crate) fn lower(bell: &AtomicU32) {
    bell.store(0, Ordering::Relaxed);
}

/// After publishing: whether the other side slept. The one who gets true must wake it.
pub(crate) fn take(bell: &AtomicU32) -> bool {
    fence(Ordering::SeqCst);
    bell.load(Ordering::Relaxed) == 1 && bell.swap(0, Ordering::AcqRel) == 1
}

/// Sleeps while the bell is raised, at most `limit`; may return early.
pub(crate) fn sleep(bell: &AtomicU32, limit: Option<Duration>) {
    let limit = limit.map(|limit| futex::Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    });
    // An interrupted, timed out or refused sleep is an early return.
    let _ = futex::wait(bell, futex::Flags::empty(), 1, limit.as_ref());
}

/// Wakes one sleeper at the bell.
pub(crate) fn wake(bell: &AtomicU32) {
    let _ = futex::wake(bell, futex::Flags::empty(), 1);
}

/// Wakes the front, which sleeps in its event loop.
pub(crate) fn wake_eventfd(eventfd: BorrowedFd<'_>) {
    // A full counter means that the front has wake-ups to see already.
    let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
}
