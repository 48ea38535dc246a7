//! Owns accepting connections from one listening socket, and what to do when there are too many.
//! Leaves opening the socket to the supervisor and serving to `conn`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use crate::app::App;
use crate::conn::Conn;
use crate::forwarded::{Client, is_trusted};
use crate::server::Shared;
use crate::stream::Stream;

/// How long to wait when the system has no descriptor or memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// One listening socket of either kind.
pub enum Listener {
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
            return Ok(Self::Tcp(TcpListener::from_std(listener)?));
        }
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(UnixListener::from_std(listener)?))
    }

    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Responses leave in one write; waiting for more would only delay the last part.
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Self::Unix(listener) => {
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
                    start(stream, peer, &shared);
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

fn start<A: App>(stream: Stream, peer: Option<SocketAddr>, shared: &Rc<Shared<A>>) {
    let trusted = is_trusted(&shared.settings.trusted, peer.map(|peer| peer.ip()));
    let client = Client {
        address: peer.map_or_else(String::new, |peer| peer.ip().to_canonical().to_string()),
        port: peer.map_or(0, |peer| peer.port()),
        https: false,
    };
    let local = match &stream {
        Stream::Tcp(stream) => stream.local_addr().ok(),
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
    let conn = Conn::new(stream, client, trusted, local, Rc::clone(shared));
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
