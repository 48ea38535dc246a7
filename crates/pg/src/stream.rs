//! A byte stream to a client or a server, plain or TLS: the one type that sessions, servers and
//! logins read and write. Leaves messages to `wire` and the question who is believed to
//! `stream::tls` and `stream::verify`.

mod socket;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;
mod unix;
mod verify;
pub mod x509;

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

pub use socket::{Peer, Socket};
pub use unix::Unix;

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// In clear: TCP or a unix socket.
    Plain(Socket),
    /// TLS towards a server.
    TlsClient(Box<tokio_rustls::client::TlsStream<Socket>>),
    /// TLS from a client.
    TlsServer(Box<tokio_rustls::server::TlsStream<Socket>>),
}

/// What a connection that ought to be silent has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nothing: it is as it was left.
    Quiet,
    /// Bytes wait (a notice, a changed parameter, or a last error): read them to know.
    Talking,
    /// The other side has gone.
    Gone,
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Self::Plain(Socket::Tcp(tcp))
    }
}

#[cfg(test)]
impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Self {
        Self::unix(unix).unwrap()
    }
}

impl Stream {
    /// A unix socket that is connected.
    pub fn unix(unix: UnixStream) -> io::Result<Self> {
        Unix::new(unix).map(Socket::Unix).map(Self::Plain)
    }

    /// Reads what is there; `Ok` with nothing added is the end of the stream.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::TlsClient(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
            Self::TlsServer(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }

    /// Writes what there is room for. Through TLS, bytes taken here may wait for `poll_flush`.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::TlsClient(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
            Self::TlsServer(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
        }
    }

    /// Pushes out what TLS still holds; free for plain streams.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::TlsClient(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Self::TlsServer(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Says goodbye in TLS's words and ends the writing half.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::TlsClient(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
            Self::TlsServer(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }

    /// Ready when a read may find something; takes nothing. No system call.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_plaintext() {
            return Poll::Ready(Ok(()));
        }
        self.socket().poll_read_ready(cx)
    }

    /// Ready when a write may find room; takes nothing. No system call.
    pub fn poll_write_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_write_ready(cx)
    }

    /// Reads without waiting: `WouldBlock` when nothing is there. Leaves registered wakers alone.
    pub fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read(buf),
            Self::TlsClient(tls) => {
                let (socket, session) = tls.get_mut();
                socket::try_read_tls(socket, session, buf)
            }
            Self::TlsServer(tls) => {
                let (socket, session) = tls.get_mut();
                socket::try_read_tls(socket, session, buf)
            }
        }
    }

    /// Writes without waiting: `WouldBlock` when there is no room. Through TLS, bytes taken here
    /// may wait for `poll_flush`.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::TlsClient(tls) => {
                let (socket, session) = tls.get_mut();
                socket::try_write_tls(socket, session, bytes)
            }
            Self::TlsServer(tls) => {
                let (socket, session) = tls.get_mut();
                socket::try_write_tls(socket, session, bytes)
            }
        }
    }

    /// Whether it is as silent as it should be. Costs no system call unless something arrived,
    /// takes nothing a reader would miss and leaves registered wakers alone.
    pub fn idle(&mut self) -> Idle {
        if self.has_plaintext() {
            return Idle::Talking;
        }
        if !self.socket().is_readable() {
            return Idle::Quiet;
        }
        match self {
            Self::Plain(socket) => socket.peek(),
            // Session tickets and key updates are no plaintext: let TLS take them.
            Self::TlsClient(tls) => {
                let (socket, session) = tls.get_mut();
                socket::idle_tls(socket, session)
            }
            Self::TlsServer(tls) => {
                let (socket, session) = tls.get_mut();
                socket::idle_tls(socket, session)
            }
        }
    }

    /// The unix socket, when that is all there is.
    pub(crate) fn as_unix(&self) -> Option<&Unix> {
        match self {
            Self::Plain(Socket::Unix(unix)) => Some(unix),
            _ => None,
        }
    }

    /// Whether bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// Whether it is a unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self.socket(), Socket::Unix(_))
    }

    /// Protocol version and cipher, for the log and the console: `TLSv1.3 TLS13_AES_...`.
    pub fn tls_summary(&self) -> Option<String> {
        let (version, suite) = match self {
            Self::Plain(_) => return None,
            Self::TlsClient(tls) => (
                tls.get_ref().1.protocol_version(),
                tls.get_ref().1.negotiated_cipher_suite(),
            ),
            Self::TlsServer(tls) => (
                tls.get_ref().1.protocol_version(),
                tls.get_ref().1.negotiated_cipher_suite(),
            ),
        };
        Some(format!("{:?} {:?}", version?, suite?.suite()))
    }

    /// The address of the other side of a TCP connection.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self.socket() {
            Socket::Tcp(tcp) => tcp.peer_addr().ok(),
            Socket::Unix(_) | Socket::Lent(_) => None,
        }
    }

    /// Our own address in a TCP connection.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self.socket() {
            Socket::Tcp(tcp) => tcp.local_addr().ok(),
            Socket::Unix(_) | Socket::Lent(_) => None,
        }
    }

    /// The process at the other end of a unix socket.
    pub fn peer(&self) -> Option<Peer> {
        self.socket().peer()
    }

    /// Takes a connection in clear out of the runtime, for somebody else to use; until `take_back`
    /// nothing is read or written here.
    ///
    /// # Errors
    /// `Unsupported` through TLS, which only one of the two could go on with.
    pub(crate) fn lend(&mut self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Plain(socket) => socket.lend(),
            Self::TlsClient(_) | Self::TlsServer(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// After `lend`.
    pub(crate) fn take_back(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.take_back(),
            Self::TlsClient(_) | Self::TlsServer(_) => Ok(()),
        }
    }

    /// The socket underneath.
    pub fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::TlsClient(tls) => tls.get_ref().0,
            Self::TlsServer(tls) => tls.get_ref().0,
        }
    }

    /// Certificates that the other side showed, its own first.
    pub fn peer_certificates(&self) -> &[rustls::pki_types::CertificateDer<'static>] {
        match self {
            Self::Plain(_) => None,
            Self::TlsClient(tls) => tls.get_ref().1.peer_certificates(),
            Self::TlsServer(tls) => tls.get_ref().1.peer_certificates(),
        }
        .unwrap_or_default()
    }

    /// Waits until a read may find something.
    pub async fn readable(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_read_ready(cx)).await
    }

    /// Waits until something new has reached the socket, whatever TLS makes of it.
    #[cfg(test)]
    pub(crate) async fn socket_readable(&mut self) {
        std::future::poll_fn(|cx| self.socket().poll_read_ready(cx))
            .await
            .unwrap();
    }

    /// Waits for the first byte and leaves it there; `None` at the end of the stream. For TCP
    /// before TLS only.
    pub async fn peek_first(&mut self) -> io::Result<Option<u8>> {
        let Self::Plain(Socket::Tcp(tcp)) = self else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut byte = [0];
        let count = tcp.peek(&mut byte).await?;
        let [byte] = byte;
        Ok((count > 0).then_some(byte))
    }

    /// Reads what is there, at least one byte, or 0 at the end of the stream.
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            let mut into = ReadBuf::new(buf);
            self.poll_read(cx, &mut into)
                .map_ok(|()| into.filled().len())
        })
        .await
    }

    /// Fills `buf` or fails with `UnexpectedEof`.
    pub async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let mut at = 0;
        while let Some(rest) = buf.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match self.read(rest).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => at += read,
            }
        }
        Ok(())
    }

    /// Writes and flushes all of `bytes`.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match std::future::poll_fn(|cx| self.poll_write(cx, bytes)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                wrote => bytes = bytes.get(wrote..).unwrap_or_default(),
            }
        }
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn has_plaintext(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::TlsClient(tls) => socket::plaintext(tls.get_mut().1),
            Self::TlsServer(tls) => socket::plaintext(tls.get_mut().1),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Stream::poll_read(self.get_mut(), cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(self.get_mut(), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_shutdown(self.get_mut(), cx)
    }
}
