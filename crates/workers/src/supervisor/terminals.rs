//! Owns knowing whether the terminal that this process was started in is still there.
//! Leaves what follows from its end to the supervisor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::isatty;

/// Which of standard input and standard error were terminals at the start.
pub(crate) struct Terminals {
    input: bool,
    error: bool,
}

impl Terminals {
    pub fn of_this_process() -> Self {
        Self {
            input: isatty(io::stdin()),
            error: isatty(io::stderr()),
        }
    }

    /// Whether one of them was closed since.
    pub fn is_any_hung_up(&self) -> bool {
        (self.input && is_hung_up(io::stdin().as_fd()))
            || (self.error && is_hung_up(io::stderr().as_fd()))
    }
}

fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let ready = poll(&mut fds, Some(&Timespec::default()));
    ready.is_ok_and(|ready| ready > 0) && fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
}
