//! Owns one client socket of any kind, without waiting: readiness, reading, writing, peer.
//! Leaves what the bytes mean to `conn`. TLS will be one more kind.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A client socket.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl Stream {
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read_ready(cx))
    }

    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_write_ready(cx))
    }

    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_read(buf))
    }

    /// Says that a read took all there was, so that the next one waits for the system's word
    /// instead of asking it. Readiness is edge-triggered: bytes that come later are announced.
    pub fn drained(&self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = each!(self, stream => stream.try_io(Interest::READABLE, nothing));
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_write(bytes))
    }

    pub fn try_write_two(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        if second.is_empty() {
            return self.try_write(first);
        }
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        each!(self, stream => stream.try_write_vectored(&parts))
    }

    /// Sends part of a file without copying it through this process.
    pub fn try_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        len: usize,
    ) -> io::Result<usize> {
        let mut send =
            || rustix::fs::sendfile(self.fd(), file, Some(offset), len).map_err(io::Error::from);
        each!(self, stream => stream.try_io(Interest::WRITABLE, &mut send))
    }

    /// No more bytes will be sent.
    pub fn shut_down_writing(&self) {
        let _ = rustix::net::shutdown(self.fd(), rustix::net::Shutdown::Write);
    }

    /// Whether the peer has closed or reset the connection for both directions.
    pub fn has_hung_up(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let fd = self.fd();
        let mut polled = [PollFd::new(&fd, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
            && polled[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Makes the coming close a reset: for a client that cannot tell otherwise that something is
    /// missing.
    pub fn reset_on_close(&self) {
        let _ = rustix::net::sockopt::set_socket_linger(self.fd(), Some(std::time::Duration::ZERO));
    }

    fn fd(&self) -> BorrowedFd<'_> {
        each!(self, stream => stream.as_fd())
    }
}
