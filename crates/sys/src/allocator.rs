//! Owns the settings of the C library's allocator, which Rust and Python use alike.
//! Leaves how much memory may be kept to the processes.
//!
//! By default glibc gives freed memory at the end of its heap back to the system as soon as it is
//! 128 KiB, and takes longer strings from the system one by one. A server that handles bodies of
//! some kilobytes then spends more time on fresh, zeroed pages than on the bodies.

/// Keeps up to `bytes` of freed memory at the end of the heap for the next request, and takes
/// strings up to 1 MiB from the heap. Other C libraries keep their own ways.
pub fn keep_freed(bytes: i32) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt changes numbers inside the allocator under its own lock and has no
    // preconditions. The standard library has no such setting, and the environment variables for
    // it would be inherited by every program the app starts.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, bytes);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = bytes;
}

/// Lets at most `count` threads allocate at the same time. By default every thread may get free
/// memory of its own, up to eight lots per CPU.
pub fn limit_arenas(count: i32) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: as above.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, count);
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = count;
}

/// Gives all freed memory back to the system; for a process that has become idle.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim works on the allocator's own state under its own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}
