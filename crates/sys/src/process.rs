//! Owns making processes: fork without exec, and a child program with chosen descriptors.
//! Leaves who is started when, and what follows from an end, to the supervisor.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

pub use rustix::process::Pid;

/// The first descriptor number a child program finds its inherited descriptors at (0 to 2 are
/// the standard streams), as in systemd's `LISTEN_FDS`.
pub const FIRST_INHERITED: RawFd = 3;

/// Which side of [`fork`] a process is on.
#[derive(Debug)]
pub enum Forked {
    /// The calling process, with the number of its new child.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Forks this process, which must have exactly one thread.
///
/// # Errors
/// `Other` when the process has more than one thread, the system's own otherwise.
pub fn fork() -> io::Result<Forked> {
    if threads() != Some(1) {
        return Err(io::Error::other(
            "a process with several threads cannot be forked safely",
        ));
    }
    // SAFETY: only one thread exists, checked above, so that no lock can be held by a thread that
    // the child does not have. The standard library has no fork.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid_from(pid)?)),
    }
}

/// Threads of this process, as `/proc` counts them.
pub fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

/// Starts `command` with `fds` as its descriptors 3, 4, 5 and so on.
///
/// # Errors
/// The system's own: `NotFound` for a missing program, `EMFILE`, and so on.
pub fn spawn_with(
    command: &mut Command,
    fds: &[BorrowedFd<'_>],
) -> io::Result<std::process::Child> {
    let mut sources: Vec<RawFd> = Vec::with_capacity(fds.len());
    // Duplicates above every target number: a target may be another entry's source.
    let mut keep = Vec::with_capacity(fds.len());
    let lowest = FIRST_INHERITED + RawFd::try_from(fds.len()).unwrap_or(RawFd::MAX / 2);
    for fd in fds {
        // The numbers of the targets are taken meanwhile: else `spawn` might give one to the pipe by
        // which the child tells that exec failed, and the child would close that.
        loop {
            let held = rustix::io::fcntl_dupfd_cloexec(fd, FIRST_INHERITED)?;
            let is_beyond = held.as_raw_fd() >= lowest;
            keep.push(held);
            if is_beyond {
                break;
            }
        }
        let high = rustix::io::fcntl_dupfd_cloexec(fd, lowest)?;
        sources.push(high.as_raw_fd());
        keep.push(high);
    }
    // SAFETY: the closure runs between fork and exec and calls only dup2, which is
    // async-signal-safe. `Command` offers no other way to pass descriptors.
    unsafe {
        command.pre_exec(move || {
            for (target, &source) in (FIRST_INHERITED..).zip(&sources) {
                if libc::dup2(source, target) == -1 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let child = command.spawn();
    drop(keep);
    child
}

/// Takes ownership of a descriptor that came as a number: from the parent process, or from Python.
///
/// # Safety
/// Nothing else in this process may own the descriptor, or it would be closed twice, and then perhaps
/// another of the same number (RFC 3128, I/O safety).
///
/// # Errors
/// `NotFound` when `fd` is not open, or is one of the standard streams.
pub unsafe fn adopt_fd(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_GETFD only asks about the number; it is the way to learn whether it
    // is open before anyone claims to own it.
    if fd < FIRST_INHERITED || unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: the number is open, as just asked, and the caller answers for that nothing owns it yet.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// Ends the process at once, without running destructors or exit handlers. For forked children,
/// whose handlers belong to the parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions. `std::process::exit` would run the parent's handlers.
    unsafe { libc::_exit(code) }
}

/// A process number from the system's integer.
///
/// # Errors
/// `InvalidData` for zero and negative numbers.
pub fn pid_from(raw: i32) -> io::Result<Pid> {
    Pid::from_raw(raw)
        .filter(|_| raw > 0)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::process::Stdio;

    #[test]
    fn a_child_program_finds_its_descriptors_from_three_on() {
        let (first, _a) = crate::memory::Mapping::create("first", 1).unwrap();
        let (second, _b) = crate::memory::Mapping::create("second", 2).unwrap();
        let mut command = Command::new("stat");
        command
            .args(["-L", "-c", "%s", "/dev/fd/3", "/dev/fd/4"])
            .stdout(Stdio::piped());
        let child = spawn_with(&mut command, &[first.as_fd(), second.as_fd()]).unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"1\n2\n");
    }

    #[test]
    fn a_closed_number_cannot_be_taken() {
        for fd in [1, 9_999] {
            // SAFETY: neither is taken.
            assert!(unsafe { adopt_fd(fd) }.is_err());
        }
    }
}
