//! Owns hearing signals as bytes on a pipe, so that one `poll` waits for everything.
//! Leaves what they mean to the supervisor.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2,
};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGCHLD: a process has ended.
    Child,
    /// SIGTERM: stop when what runs is done.
    Terminate,
    /// SIGINT: the same, from a person who waits.
    Interrupt,
    /// SIGQUIT: stop now.
    Quit,
    /// SIGHUP: read the code again.
    Hangup,
    /// SIGTTIN: one worker more.
    More,
    /// SIGTTOU: one worker less.
    Fewer,
    /// SIGUSR1: open the log files again.
    Reopen,
    /// SIGUSR2: replaces Gunicorn's program; has no meaning here and must not end this one.
    Upgrade,
}

const HEARD: [(i32, Signal); 9] = [
    (SIGCHLD, Signal::Child),
    (SIGTERM, Signal::Terminate),
    (SIGINT, Signal::Interrupt),
    (SIGQUIT, Signal::Quit),
    (SIGHUP, Signal::Hangup),
    (SIGTTIN, Signal::More),
    (SIGTTOU, Signal::Fewer),
    (SIGUSR1, Signal::Reopen),
    (SIGUSR2, Signal::Upgrade),
];

/// The signals of this process, until dropped. Afterwards the signals heard here are ignored.
pub struct Signals {
    pipe: UnixStream,
    flags: Vec<(Arc<AtomicBool>, Signal)>,
    ids: Vec<SigId>,
}

impl Signals {
    /// Hears from now on.
    ///
    /// # Errors
    /// The system's own.
    pub fn new() -> io::Result<Self> {
        let (pipe, write) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        let mut signals = Self {
            pipe,
            flags: Vec::new(),
            ids: Vec::new(),
        };
        for (number, signal) in HEARD {
            // The flag is set before the byte is written: handlers run in this order.
            let flag = Arc::new(AtomicBool::new(false));
            let set = signal_hook::flag::register(number, Arc::clone(&flag))?;
            let byte = signal_hook::low_level::pipe::register(number, write.try_clone()?)?;
            signals.ids.extend([set, byte]);
            signals.flags.push((flag, signal));
        }
        Ok(signals)
    }

    /// The signals that came since the last call, each once.
    pub fn take(&mut self) -> Vec<Signal> {
        let mut bytes = [0; 64];
        while matches!(self.pipe.read(&mut bytes), Ok(length) if length > 0) {}
        self.flags
            .iter()
            .filter(|(flag, _)| flag.swap(false, Ordering::SeqCst))
            .map(|(_, signal)| *signal)
            .collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    #[test]
    fn a_signal_is_heard_once() {
        let mut signals = Signals::new().unwrap();
        signal_hook::low_level::raise(SIGTTIN).unwrap();
        let mut fds = [PollFd::new(&signals, PollFlags::IN)];
        assert_eq!(poll(&mut fds, None).unwrap(), 1);
        assert!(signals.take().contains(&Signal::More));
        assert!(!signals.take().contains(&Signal::More));
    }
}
