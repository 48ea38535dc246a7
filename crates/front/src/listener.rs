//! Owns accepting connections from one listening socket, and what to do when there are too many.
//! Leaves opening the socket to the supervisor and serving to `conn`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use crate::app::App;
use crate::conn::{Arrival, Conn};
use crate::forwarded::{Client, is_trusted};
use crate::server::Shared;
use crate::stream::Stream;
use crate::tls::{Tls, TlsStream};

/// How long to wait when the system has no descriptor or memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// One listening socket and what is spoken there.
pub struct Listener {
    socket: Socket,
    tls: Option<Rc<Tls>>,
    redirects: bool,
}

enum Socket {
    /// TCP, over IPv4 or IPv6.
    Tcp(TcpListener),
    /// A unix stream socket.
    Unix(UnixListener),
}

impl Listener {
    /// Takes an inherited listening socket over; call inside the runtime.
    ///
    /// # Errors
    /// When it is not a listening TCP or unix socket.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let address = rustix::net::getsockname(&fd)?;
        if SocketAddr::try_from(address).is_ok() {
            let listener = std::net::TcpListener::from(fd);
            listener.set_nonblocking(true)?;
            return Ok(Self::plain(Socket::Tcp(TcpListener::from_std(listener)?)));
        }
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true)?;
        Ok(Self::plain(Socket::Unix(UnixListener::from_std(listener)?)))
    }

    fn plain(socket: Socket) -> Self {
        Self {
            socket,
            tls: None,
            redirects: false,
        }
    }

    /// Answers everybody with the way to HTTPS.
    #[must_use]
    pub fn redirecting(mut self) -> Self {
        self.redirects = true;
        self
    }

    /// Speaks TLS here. Unix sockets are left as they are: who reaches them is on this machine.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Rc<Tls>>) -> Self {
        if matches!(self.socket, Socket::Tcp(_)) {
            self.tls = tls;
        }
        self
    }

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Responses leave in one write; waiting for more would only delay the last part.
                stream.set_nodelay(true)?;
                let stream = match &self.tls {
                    Some(tls) => Stream::Tls(Box::new(TlsStream::new(stream, tls.config())?)),
                    None => Stream::Tcp(stream),
                };
                Ok((stream, Some(peer)))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }

    /// Accepts until the task is dropped.
    pub(crate) async fn run<A: App>(self, shared: Rc<Shared<A>>) {
        loop {
            match self.accept().await {
                Ok((stream, peer)) => {
                    // Beyond the limit one connection waits here, and the others in the system's
                    // backlog, until one has left.
                    shared.room().await;
                    start(stream, peer, self.redirects, &shared);
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(_) => {
                    // No descriptor or memory left: make room, and do not spin.
                    shared.close_one(EXHAUSTED).await;
                }
            }
        }
    }
}

fn start<A: App>(
    stream: Stream,
    peer: Option<SocketAddr>,
    redirects: bool,
    shared: &Rc<Shared<A>>,
) {
    let peer_ip = peer.map(|peer| peer.ip().to_canonical());
    let trusted = is_trusted(&shared.settings.trusted, peer_ip);
    let entrance = match peer_ip {
        Some(ip) if !trusted => match shared.guard.enter(ip) {
            Some(entrance) => Some(entrance),
            // Closed without a word: an answer would cost more than the connection.
            None => return,
        },
        _ => None,
    };
    let local = match &stream {
        Stream::Tcp(stream) => stream.local_addr().ok(),
        Stream::Tls(tls) => tls.socket.local_addr().ok(),
        Stream::Unix(_) => None,
    };
    let local = local.map_or_else(
        || (b"localhost".to_vec(), 80),
        |local| {
            (
                local.ip().to_canonical().to_string().into_bytes(),
                local.port(),
            )
        },
    );
    let arrival = Arrival {
        peer: Client {
            address: peer_ip.map_or_else(String::new, |ip| ip.to_string()),
            port: peer.map_or(0, |peer| peer.port()),
            https: matches!(stream, Stream::Tls(_)),
        },
        peer_ip,
        trusted,
        local,
        redirects,
        _entrance: entrance,
    };
    let conn = Conn::new(stream, arrival, Rc::clone(shared));
    tokio::task::spawn_local(conn.serve());
}

/// The connection failed before it was accepted; the listener is well (accept(2)).
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
