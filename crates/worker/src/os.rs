//! Owns the calls to the system that have no safe wrapper: a signal to one thread, noticing forks, and
//! a look at descriptors that are known by number only.
//! Leaves when to make them to `worker`, `dump`, `outbox` and `canter.between`.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

/// Set in every process forked from this one.
static IS_FORK: AtomicBool = AtomicBool::new(false);

/// Notices from now on when this process is forked, by whatever code.
pub(crate) fn notice_forks() {
    extern "C" fn in_child() {
        IS_FORK.store(true, Ordering::Relaxed);
    }
    // SAFETY: the handler only stores to an atomic, which is all that is allowed in the child of
    // a process with threads, and lives as long as the process. Asking for the process number at
    // each answer would be a system call each.
    unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    }
}

/// Whether this process was forked from a worker, by its app.
pub(crate) fn is_fork() -> bool {
    IS_FORK.load(Ordering::Relaxed)
}

/// The signal on which a thread writes down its own Python stack. A real-time signal near the end
/// of their range: nothing sends one by itself, and apps that use any take them from the start.
pub(crate) fn stack_signal() -> i32 {
    libc::SIGRTMAX() - 2
}

/// Sends `signal` to one thread of this process; a thread that has ended is no error.
pub(crate) fn signal_thread(tid: u32, signal: i32) {
    // SAFETY: tgkill takes plain numbers and checks them; naming our own process keeps a reused
    // thread number from reaching anybody else. The handler is faulthandler's, installed before.
    unsafe {
        libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal);
    }
}

/// Whether the other side of any of these descriptors has said something, or has gone. Answers at once, and
/// unlike `select.poll` keeps the interpreter's lock: to let it go for a call that never waits makes another
/// thread run first.
///
/// `ValueError` for a negative descriptor, `OSError` where the system has no memory.
#[pyfunction]
#[pyo3(signature = (*descriptors))]
pub(crate) fn is_readable(descriptors: Vec<i32>) -> PyResult<bool> {
    if descriptors.iter().any(|fd| *fd < 0) {
        return Err(PyValueError::new_err("a descriptor is not negative"));
    }
    let watched = descriptors.into_iter().map(|fd| {
        // SAFETY: not -1. The system looks a number up itself: of one that is closed it says so, which is
        // an event, too.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        PollFd::from_borrowed_fd(fd, PollFlags::IN)
    });
    let mut watched: Vec<PollFd<'_>> = watched.collect();
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    retry_on_intr(|| poll(&mut watched, Some(&now)))
        .map(|found| found > 0)
        .map_err(|errno| io::Error::from(errno).into())
}
