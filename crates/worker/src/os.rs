//! Owns the calls to the system that have no safe wrapper: a signal to one thread, and
//! noticing forks.
//! Leaves when to make them to `worker`, `dump` and `outbox`.

use std::sync::atomic::{AtomicBool, Ordering};

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
