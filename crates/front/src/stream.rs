//! Owns one client socket of any kind, without waiting: readiness, reading, writing, peer.
//! Leaves what the bytes mean to `conn`, and what TLS is to `tls`.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::pipe::Pipe;
use crate::tls::TlsStream;

/// Read at a time where the room must be zeroed first: as much as a TLS record may hold.
const SLICE: usize = 16 << 10;

/// A client socket.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
    /// One stream of an HTTP/2 connection.
    Pipe(Pipe),
}

/// The same call on a socket of either kind; TLS differs.
macro_rules! each {
    (
        $self:ident, $stream:ident => $call:expr,
        $tls:ident => $with_tls:expr, $pipe:ident => $with_pipe:expr
    ) => {
        match $self {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($tls) => $with_tls,
            Stream::Pipe($pipe) => $with_pipe,
        }
    };
}

impl Stream {
    /// Whether the client has yet to finish a TLS handshake.
    pub fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.is_handshaking())
    }

    /// The address of this end; None where there is none of the internet.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Tls(tls) => tls.socket.local_addr().ok(),
            Self::Unix(_) | Self::Pipe(_) => None,
        }
    }

    /// Whether HTTP/2 was agreed on (ALPN).
    pub fn speaks_http2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.speaks_http2())
    }

    /// Goes on with the handshake; `WouldBlock` when more must come first.
    pub fn try_handshake(&self) -> io::Result<()> {
        match self {
            Self::Tls(tls) => tls.try_handshake(),
            Self::Tcp(_) | Self::Unix(_) | Self::Pipe(_) => Ok(()),
        }
    }

    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(
            self, stream => stream.poll_read_ready(cx),
            tls => tls.poll_read_ready(cx), pipe => pipe.poll_read_ready(cx)
        )
    }

    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(
            self, stream => stream.poll_write_ready(cx),
            tls => tls.socket.poll_write_ready(cx), pipe => pipe.poll_write_ready(cx)
        )
    }

    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        each!(
            self, stream => stream.try_read(buf),
            tls => tls.try_read(buf), pipe => pipe.try_read(buf)
        )
    }

    /// Adds to `out` what fits its spare capacity, which is not zeroed for that.
    pub fn try_read_to(&self, out: &mut Vec<u8>) -> io::Result<usize> {
        let receive = |socket: BorrowedFd<'_>, out: &mut Vec<u8>| {
            let room = rustix::buffer::spare_capacity(out);
            rustix::io::read(socket, room).map_err(io::Error::from)
        };
        each!(
            self, stream => stream.try_io(Interest::READABLE, || receive(stream.as_fd(), out)),
            tls => read_zeroed(out, |room| tls.try_read(room)),
            pipe => read_zeroed(out, |room| pipe.try_read(room))
        )
    }

    /// Says that a read took all there was, so that the next one waits for the system's word
    /// instead of asking it. Readiness is edge-triggered: bytes that come later are announced.
    pub fn drained(&self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        // What TLS gave may be less than what the socket has.
        let _ = each!(
            self, stream => stream.try_io(Interest::READABLE, nothing),
            _tls => Ok(()), _pipe => Ok(())
        );
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        each!(
            self, stream => stream.try_write(bytes),
            tls => tls.try_write_two(bytes, &[]), pipe => pipe.try_write(bytes)
        )
    }

    /// Writes, and says that more follows at once, so that no packet is sent for this alone.
    pub fn try_write_more(&self, bytes: &[u8]) -> io::Result<usize> {
        let Self::Tcp(stream) = self else {
            return self.try_write(bytes);
        };
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        stream.try_io(Interest::WRITABLE, || {
            rustix::net::send(stream, bytes, flags).map_err(io::Error::from)
        })
    }

    /// As much as fits of two byte strings. After `WouldBlock` the next write, of whatever kind,
    /// must begin with the same bytes.
    pub fn try_write_two(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        if second.is_empty() {
            return self.try_write(first);
        }
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        each!(
            self, stream => stream.try_write_vectored(&parts),
            tls => tls.try_write_two(first, second),
            pipe => pipe.try_write(if first.is_empty() { second } else { first })
        )
    }

    /// Sends something that nobody waits for, if it can go now.
    pub fn nudge(&self, bytes: &[u8]) {
        each!(
            self, stream => { let _ = stream.try_write(bytes); },
            tls => tls.nudge(bytes), _pipe => {}
        );
    }

    /// Sends part of a file, without copying it through this process where there is no TLS.
    pub fn try_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        len: usize,
    ) -> io::Result<usize> {
        let mut sent = *offset;
        let mut send = |socket: BorrowedFd<'_>| {
            rustix::fs::sendfile(socket, file, Some(&mut sent), len).map_err(io::Error::from)
        };
        let result = each!(
            self, stream => stream.try_io(Interest::WRITABLE, || send(stream.as_fd())),
            tls => return tls.try_send_file(file, offset, len),
            pipe => return pipe.try_send_file(file, offset, len)
        );
        *offset = sent;
        result
    }

    /// No more bytes will be sent.
    pub fn shut_down_writing(&self) {
        match self {
            Self::Pipe(pipe) => return pipe.end(),
            Self::Tls(tls) => tls.close_notify(),
            Self::Tcp(_) | Self::Unix(_) => {}
        }
        if let Some(fd) = self.fd() {
            let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
        }
    }

    /// Whether the peer has closed or reset the connection for both directions.
    pub fn has_hung_up(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        if let Self::Pipe(pipe) = self {
            return pipe.is_broken();
        }
        let Some(fd) = self.fd() else { return false };
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
        if let Self::Pipe(pipe) = self {
            pipe.break_off();
        } else if let Some(fd) = self.fd() {
            let at_once = Some(std::time::Duration::ZERO);
            let _ = rustix::net::sockopt::set_socket_linger(fd, at_once);
        }
    }

    /// How many bytes the peer's system has acknowledged, when `written` were written; over TLS sealed
    /// ones. To be compared with what this said before.
    pub fn acknowledged(&self, written: u64) -> u64 {
        let (written, held) = match self {
            Self::Pipe(pipe) => (written, pipe.unread() as u64),
            Self::Tls(tls) => (tls.given(), self.unacknowledged()),
            Self::Tcp(_) | Self::Unix(_) => (written, self.unacknowledged()),
        };
        written.saturating_sub(held)
    }

    fn unacknowledged(&self) -> u64 {
        self.fd()
            .and_then(|fd| canter_sys::sockets::unacknowledged(fd).ok())
            .unwrap_or(0)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        each!(
            self, stream => Some(stream.as_fd()),
            tls => Some(tls.socket.as_fd()), _pipe => None
        )
    }
}

/// Adds to `out`, within its capacity, what `read` gives.
fn read_zeroed(
    out: &mut Vec<u8>,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let before = out.len();
    out.resize(out.capacity().min(before + SLICE), 0);
    let count = read(out.get_mut(before..).unwrap_or_default());
    out.truncate(before + count.as_ref().map_or(0, |count| *count));
    count
}
