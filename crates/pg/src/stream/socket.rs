//! The socket under a stream: TCP or unix, who is at its other end, and TLS moved over it without
//! waiting. Leaves the choice between plain and TLS to the stream.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::{ConnectionCommon, SideData};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::Idle;
use super::unix::Unix;

/// A socket without TLS.
#[derive(Debug)]
pub enum Socket {
    /// TCP
    Tcp(TcpStream),
    /// A unix socket.
    Unix(Unix),
    /// One of them in somebody else's hands: to read or write here is an error, and the runtime does
    /// not hear of it.
    Lent(Lent),
}

/// A socket that the runtime does not know.
#[derive(Debug)]
pub enum Lent {
    /// TCP
    Tcp(std::net::TcpStream),
    /// A unix socket.
    Unix(std::os::unix::net::UnixStream),
    /// It could not be taken out of the runtime, or not be given back.
    Lost,
}

impl Lent {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(tcp) => Some(tcp.as_fd()),
            Self::Unix(unix) => Some(unix.as_fd()),
            Self::Lost => None,
        }
    }

    fn shut_down(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.shutdown(Shutdown::Write),
            Self::Unix(unix) => unix.shutdown(Shutdown::Write),
            Self::Lost => Ok(()),
        }
    }
}

/// The process at the other end of a unix socket, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process, when the kernel can tell.
    pub pid: Option<i32>,
    /// Its user.
    pub uid: u32,
}

impl Socket {
    /// Takes it out of the runtime; gives the descriptor for somebody else.
    pub(super) fn lend(&mut self) -> io::Result<BorrowedFd<'_>> {
        let lent = match std::mem::replace(self, Self::Lent(Lent::Lost)) {
            Self::Tcp(tcp) => Lent::Tcp(tcp.into_std()?),
            Self::Unix(unix) => Lent::Unix(unix.into_std()),
            Self::Lent(lent) => lent,
        };
        *self = Self::Lent(lent);
        let Self::Lent(lent) = self else {
            return Err(lost());
        };
        lent.fd().ok_or_else(lost)
    }

    /// Gives it back to the runtime.
    pub(super) fn take_back(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Lent(Lent::Lost)) {
            Self::Lent(Lent::Tcp(tcp)) => Self::Tcp(TcpStream::from_std(tcp)?),
            Self::Lent(Lent::Unix(unix)) => {
                Self::Unix(Unix::new(tokio::net::UnixStream::from_std(unix)?)?)
            }
            Self::Lent(Lent::Lost) => return Err(lost()),
            known => known,
        };
        Ok(())
    }

    pub(super) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_read(buf),
            Self::Unix(unix) => unix.try_read(buf),
            Self::Lent(_) => Err(lost()),
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_write(bytes),
            Self::Unix(unix) => unix.try_write(bytes),
            Self::Lent(_) => Err(lost()),
        }
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
            Self::Lent(_) => Poll::Ready(Err(lost())),
        }
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_write_ready(cx),
            Self::Unix(unix) => unix.poll_write_ready(cx),
            Self::Lent(_) => Poll::Ready(Err(lost())),
        }
    }

    /// Whether the runtime has heard of bytes or of an end. A try takes no place among those who
    /// wait (unlike `poll_read_ready`), so asking forgets nobody's waker; one that does not end in
    /// `WouldBlock` leaves what was heard as it is.
    pub(super) fn is_readable(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Self::Unix(unix) => {
                let readiness = unix.readiness();
                readiness.try_io(Interest::READABLE, |_| Ok(())).is_ok()
            }
            Self::Lent(_) => false,
        }
    }

    /// Looks without taking; a readiness that was stale is put right on the way.
    pub(super) fn peek(&self) -> Idle {
        let mut byte = [MaybeUninit::uninit()];
        let seen = match self {
            Self::Tcp(tcp) => tcp.try_io(Interest::READABLE, || SockRef::from(tcp).peek(&mut byte)),
            Self::Unix(unix) => unix.readiness().try_io(Interest::READABLE, |unix| {
                SockRef::from(unix).peek(&mut byte)
            }),
            Self::Lent(_) => return Idle::Quiet,
        };
        match seen {
            Ok(0) => Idle::Gone,
            Ok(_) => Idle::Talking,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Idle::Quiet,
            Err(_) => Idle::Gone,
        }
    }

    pub(super) fn peer(&self) -> Option<Peer> {
        match self {
            Self::Tcp(_) | Self::Lent(_) => None,
            Self::Unix(unix) => unix.peer(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Unix(unix) => unix.poll_read(cx, buf),
            Self::Lent(_) => Poll::Ready(Err(lost())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Unix(unix) => unix.poll_write(cx, bytes),
            Self::Lent(_) => Poll::Ready(Err(lost())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Poll::Ready(unix.shut_down()),
            Self::Lent(lent) => Poll::Ready(lent.shut_down()),
        }
    }
}

fn lost() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// A socket as `std::io` sees one: never waits.
struct Now<'a>(&'a Socket);

impl Read for Now<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether decrypted bytes wait in the session.
pub(super) fn plaintext<C, S>(session: &mut C) -> bool
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData,
{
    // Nothing new is read here; an error among what was read shows at the next real read.
    session
        .process_new_packets()
        .is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
}

pub(super) fn try_read_tls<C, S>(
    socket: &Socket,
    session: &mut C,
    buf: &mut [u8],
) -> io::Result<usize>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData,
{
    loop {
        match session.reader().read(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        take_records(socket, session)?;
    }
}

pub(super) fn try_write_tls<C, S>(
    socket: &Socket,
    session: &mut C,
    bytes: &[u8],
) -> io::Result<usize>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData,
{
    let taken = session.writer().write(bytes)?;
    while session.wants_write() {
        match session.write_tls(&mut Now(socket)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    if taken == 0 && !bytes.is_empty() {
        Err(io::ErrorKind::WouldBlock.into())
    } else {
        Ok(taken)
    }
}

pub(super) fn idle_tls<C, S>(socket: &Socket, session: &mut C) -> Idle
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData,
{
    loop {
        match take_records(socket, session) {
            Ok(state) if state.plaintext_bytes_to_read() > 0 => return Idle::Talking,
            Ok(state) if state.peer_has_closed() => return Idle::Gone,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Idle::Quiet,
            Err(_) => return Idle::Gone,
        }
    }
}

/// Reads what the socket has into the session; the end of the stream is an error here, since TLS
/// says goodbye first.
fn take_records<C, S>(socket: &Socket, session: &mut C) -> io::Result<rustls::IoState>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>>,
    S: SideData,
{
    if session.read_tls(&mut Now(socket))? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    session.process_new_packets().map_err(io::Error::other)
}
