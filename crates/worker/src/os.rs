//! Owns the two calls to the system that have no safe wrapper: a limit of the C allocator and a
//! signal to one thread.
//! Leaves when to make them to `worker` and `dump`.

/// Lets the C allocator use two arenas at most. By default every thread may get its own (up to
/// eight per CPU), each with its own free memory; the interpreter's lock lets one thread allocate
/// at a time anyway.
pub(crate) fn limit_malloc_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt changes a number inside the allocator under its own lock and has no
    // preconditions. The standard library has no such setting, and the environment variable for
    // it would be inherited by every program the app starts.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
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
