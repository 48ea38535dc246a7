//! Owns descriptors inside tokio: a message socket, and a descriptor that only ends a sleep.
//! Leaves what the messages mean to `dispatch` and `link`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use canter_sys::fds;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A `SOCK_SEQPACKET` socket whose messages are waited for.
pub struct MessageSocket(AsyncFd<OwnedFd>);

impl MessageSocket {
    /// Takes a socket over and makes it non-blocking; call inside the runtime.
    ///
    /// # Errors
    /// When the system or the runtime refuses it.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self(register(fd)?))
    }

    /// The next message and the descriptors that came with it; length 0 is the peer's end.
    ///
    /// # Errors
    /// The system's own.
    pub async fn receive(&self, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        loop {
            let mut ready = self.0.readable().await?;
            match fds::receive(self.0.get_ref().as_fd(), buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                result => return result,
            }
        }
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the peer does not read, `BrokenPipe` when it has gone.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        fds::send(self.0.get_ref().as_fd(), bytes, &[])
    }
}

/// A descriptor whose becoming readable ends the runtime's sleep. Edge-triggered and never read:
/// each write counts.
pub(crate) struct Alarm {
    _registered: AsyncFd<OwnedFd>,
}

impl Alarm {
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            _registered: register(fd)?,
        })
    }
}

fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` answers the same open descriptor until it is dropped, which `AsyncFd`
    // does only after it has taken it out of the driver. Tokio has no safe way to register one.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(registered?)
}
