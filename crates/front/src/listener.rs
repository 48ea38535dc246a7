//! Owns accepting connections from one listening socket, and what to do when there are too many.
//! Leaves opening the socket to the supervisor and serving to `conn`.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canter_base::warn;
use canter_shield::pace::Pace;
use canter_sys::sockets::{AcceptError, accept_error};
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::app::App;
use crate::conn::{Arrival, Conn};
use crate::forwarded::{Client, is_named_trusted, is_trusted};
use crate::owner::Ends;
use crate::proxy_header::{self, Peer};
use crate::shared::Shared;
use crate::stream::Stream;
use crate::tls::{Tls, TlsStream};

/// After so long without a sign of life the system asks for one, so often, so long apart.
const QUIET: Duration = Duration::from_secs(30);
const SIGNS: u32 = 3;
const BETWEEN_SIGNS: Duration = Duration::from_secs(10);
/// How long what was sent may go unanswered, in ms: no shorter than the above, which it ends as well.
const UNANSWERED_MS: u32 = 60_000;
/// Bytes that the system holds of a connection beyond what its client has room for.
const UNSENT: u32 = 128 << 10;

/// How long nothing more is said of connections that cannot be accepted: each that leaves lets one in.
const BETWEEN_WORDS: Duration = Duration::from_secs(60);

/// Connections that are still taken of those that wait when the front stops listening: as many as the
/// system lets wait unless it is told otherwise (`net.core.somaxconn`, listen(2)).
const MOST_WAITING: usize = 4096;

/// Connections in a row that may have failed before they were accepted: beyond it, what fails is taken for
/// the socket.
const MOST_FAILED: usize = 64;

/// How long to wait when the system does not give another connection, for want of descriptors most
/// likely.
const FAILING: Duration = Duration::from_millis(50);

/// One listening socket and what is spoken there.
pub struct Listener {
    socket: Socket,
    spoken: Spoken,
    /// The one that is accepted and waits for room.
    waiting: Cell<Option<Came>>,
}

/// A connection, and the address it came from.
type Came = (Stream, Option<SocketAddr>);

/// What is spoken on a listening socket.
#[derive(Clone, Default)]
struct Spoken {
    tls: Option<Rc<Tls>>,
    redirects: bool,
    admin: bool,
    commands: bool,
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
            // Responses leave in one write; waiting for more would only delay the last part. Sockets
            // that are accepted here inherit it (tcp(7)).
            rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
            watch_over(&listener);
            return Ok(Self::plain(Socket::Tcp(TcpListener::from_std(listener)?)));
        }
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true)?;
        Ok(Self::plain(Socket::Unix(UnixListener::from_std(listener)?)))
    }

    fn plain(socket: Socket) -> Self {
        Self {
            socket,
            spoken: Spoken::default(),
            waiting: Cell::default(),
        }
    }

    /// Answers everybody with the way to HTTPS.
    #[must_use]
    pub fn redirecting(mut self) -> Self {
        self.spoken.redirects = true;
        self
    }

    /// Answers with the dashboard and nothing else.
    #[must_use]
    pub fn for_admin(mut self) -> Self {
        self.spoken.admin = true;
        self
    }

    /// The same, at a socket that is this user's own: what is asked here may change something.
    #[must_use]
    pub fn for_commands(mut self) -> Self {
        self.spoken.commands = true;
        self.for_admin()
    }

    /// Whether commands come here.
    pub(crate) fn is_for_commands(&self) -> bool {
        self.spoken.commands
    }

    /// Speaks TLS here. Unix sockets are left as they are: who reaches them is on this machine.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Rc<Tls>>) -> Self {
        if matches!(self.socket, Socket::Tcp(_)) {
            self.spoken.tls = tls;
        }
        self
    }

    async fn accept(&self) -> io::Result<Came> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }

    /// The next one of the backlog, if there is one now. The system is asked, for what the runtime knows
    /// of the socket may be older.
    fn accept_now(&self) -> io::Result<Came> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = acceptfrom_with(listener, flags)?;
                let stream = TcpStream::from_std(stream.into())?;
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                Ok((Stream::Tcp(stream), peer))
            }
            Socket::Unix(listener) => {
                let (stream, _) = acceptfrom_with(listener, flags)?;
                Ok((Stream::Unix(UnixStream::from_std(stream.into())?), None))
            }
        }
    }

    /// Serves those who have connected already, and listens no more: what is left in the backlog then
    /// is reset by the system, unless another process holds the socket, too.
    pub(crate) fn finish<A: App>(self, shared: &Rc<Shared<A>>) {
        let next = || past_failed(|| self.accept_now());
        take_last(
            || shared.table.has_room(),
            || self.waiting.take().or_else(next),
            |(stream, peer)| start(stream, peer, &self.spoken, shared),
        );
    }

    /// Accepts until the task is dropped.
    pub(crate) async fn run<A: App>(self: Rc<Self>, shared: Rc<Shared<A>>) {
        if let Socket::Tcp(listener) = &self.socket {
            end_unanswered(listener, shared.settings.pace);
        }
        let mut said: Option<Instant> = None;
        loop {
            match self.accept().await {
                Ok(came) => {
                    // Beyond the limit one connection waits here, and the others in the system's
                    // backlog, until one has left.
                    self.waiting.set(Some(came));
                    shared.room().await;
                    if let Some((stream, peer)) = self.waiting.take() {
                        start(stream, peer, &self.spoken, &shared);
                    }
                }
                Err(error) => {
                    let kind = accept_error(&error);
                    if kind != AcceptError::Retry
                        && said.is_none_or(|at| at.elapsed() > BETWEEN_WORDS)
                    {
                        said = Some(Instant::now());
                        warn!(
                            "connections cannot be accepted",
                            error = error.to_string().as_str()
                        );
                    }
                    match kind {
                        AcceptError::Retry => {}
                        AcceptError::Exhausted => shared.close_one(FAILING).await,
                        AcceptError::Other => tokio::time::sleep(FAILING).await,
                    }
                }
            }
        }
    }
}

/// Takes the last ones, as long as there is room; those who are refused take none, and more may be coming
/// all the time, so there is an end to it.
fn take_last<T>(
    has_room: impl Fn() -> bool,
    mut next: impl FnMut() -> Option<T>,
    mut take: impl FnMut(T),
) {
    for _ in 0..MOST_WAITING {
        if !has_room() {
            return;
        }
        let Some(came) = next() else { return };
        take(came);
    }
}

/// The next connection, after those that failed before they were accepted; None where there is none now,
/// or too many failed.
fn past_failed<T>(mut accept: impl FnMut() -> io::Result<T>) -> Option<T> {
    for _ in 0..MOST_FAILED {
        match accept() {
            Ok(came) => return Some(came),
            Err(error) if accept_error(&error) == AcceptError::Retry => {}
            Err(_) => return None,
        }
    }
    None
}

/// Lets the system find out who has gone without a word, such as a telephone that is out of reach: a
/// response that waits for its app would never. And lets it hold little for those who take
/// their time. What a system does not know of these is left out.
fn watch_over(listener: &std::net::TcpListener) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(listener, true);
    let _ = sockopt::set_tcp_keepidle(listener, QUIET);
    let _ = sockopt::set_tcp_keepintvl(listener, BETWEEN_SIGNS);
    let _ = sockopt::set_tcp_keepcnt(listener, SIGNS);
    let _ = canter_sys::sockets::set_most_unsent(listener, UNSENT);
}

/// Has the system end a connection to which something was sent that nobody acknowledges. It ends those who
/// take nothing for as long, too, who are meant to stay where no pace is asked of them.
fn end_unanswered(listener: &TcpListener, pace: Pace) {
    let most = if pace.least == 0 { 0 } else { UNANSWERED_MS };
    let _ = rustix::net::sockopt::set_tcp_user_timeout(listener, most);
}

fn start<A: App>(
    stream: Stream,
    peer: Option<SocketAddr>,
    spoken: &Spoken,
    shared: &Rc<Shared<A>>,
) {
    let trusted = is_trusted(&shared.settings.trusted, ip_of(peer));
    if !(shared.settings.proxy_protocol && trusted) {
        return serve(stream, Peer::direct(peer, trusted), spoken, shared);
    }
    let (spoken, shared) = (spoken.clone(), Rc::clone(shared));
    // It counts from here on, not from when its task has had a turn.
    let place = shared.table.enter();
    tokio::task::spawn_local(async move {
        let limit = shared.settings.header_timeout;
        // A peer that is to speak for its client and does not is nobody's client.
        let Some(header) = proxy_header::receive(&stream, &place, limit).await else {
            return;
        };
        drop(place);
        let peer = match header.ends {
            None => Peer::direct(peer, trusted),
            // Whoever was named is a client. Its own words count only where it was named as a
            // proxy, for `*` means those that reach this socket.
            Some(ends) => Peer {
                trusted: is_named_trusted(&shared.settings.trusted, ends.source.ip()),
                address: Some(ends.source),
                local: Some(ends.destination),
                is_tls: ends.is_tls,
                ahead: Vec::new(),
            },
        };
        let ahead = header.ahead;
        serve(stream, Peer { ahead, ..peer }, &spoken, &shared);
    });
}

fn serve<A: App>(stream: Stream, peer: Peer, spoken: &Spoken, shared: &Rc<Shared<A>>) {
    let Peer {
        address, trusted, ..
    } = peer;
    let peer_ip = ip_of(address);
    let entrance = match peer_ip {
        Some(ip) if !trusted => match shared.guard.enter(ip) {
            Some(entrance) => Some(entrance),
            // Closed without a word: an answer would cost more than the connection.
            None => return,
        },
        _ => None,
    };
    let ends = match (peer.local, address.zip(stream.local())) {
        (None, Some((peer, local))) => Some(Ends { peer, local }),
        // A proxy has named them: its own are not theirs.
        _ => None,
    };
    let local = peer.local.or(ends.map(|ends| ends.local));
    let local = local.map_or_else(
        // A unix socket has no port: the worker's side says that of the scheme.
        || (b"localhost".to_vec(), 0),
        |local| {
            (
                local.ip().to_canonical().to_string().into_bytes(),
                local.port(),
            )
        },
    );
    let (stream, ahead) = match (stream, &spoken.tls) {
        (Stream::Tcp(socket), Some(tls)) => {
            let is_limited = |ip| !trusted && !shared.guard.may_shake_hands(ip);
            if peer_ip.is_some_and(is_limited) {
                return;
            }
            match TlsStream::new(socket, tls.config(), &peer.ahead) {
                Ok(tls) => (Stream::Tls(Box::new(tls)), Vec::new()),
                Err(_) => return,
            }
        }
        (stream, _) => (stream, peer.ahead),
    };
    let arrival = Arrival {
        peer: Client {
            address: peer_ip.map_or_else(String::new, |ip| ip.to_string()),
            port: address.map_or(0, |address| address.port()),
            https: peer.is_tls || matches!(stream, Stream::Tls(_)),
        },
        peer_ip,
        trusted,
        local,
        redirects: spoken.redirects,
        admin: spoken.admin,
        commands: spoken.commands,
        ends,
        own: Cell::new(None),
        has_asked: Cell::new(false),
        http2: false,
        stream: None,
        _entrance: entrance,
    };
    let conn = Conn::new(stream, arrival, Rc::clone(shared), &ahead);
    tokio::task::spawn_local(conn.serve());
}

fn ip_of(peer: Option<SocketAddr>) -> Option<IpAddr> {
    peer.map(|peer| peer.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn connections_that_failed_are_passed_over_but_not_without_end() {
        let accepted = |failed: usize, error: Errno| {
            let mut calls = 0;
            let came = past_failed(|| {
                calls += 1;
                if calls <= failed {
                    Err(error.into())
                } else {
                    Ok(())
                }
            });
            (came.is_some(), calls)
        };
        for (failed, error, expected) in [
            (0, Errno::CONNABORTED, (true, 1)),
            (3, Errno::CONNABORTED, (true, 4)),
            (usize::MAX, Errno::CONNABORTED, (false, MOST_FAILED)),
            (1, Errno::AGAIN, (false, 1)),
            (1, Errno::PERM, (false, 1)),
        ] {
            assert_eq!(accepted(failed, error), expected, "{failed} {error:?}");
        }
    }

    #[test]
    fn the_last_connections_are_taken_while_there_is_room_and_not_without_end() {
        for (waiting, room, expected) in [
            (5, usize::MAX, 5),
            (5, 3, 3),
            (5, 0, 0),
            // Each that is refused leaves its room to the next, and the next is there.
            (usize::MAX, usize::MAX, MOST_WAITING),
        ] {
            let taken = Cell::new(0);
            take_last(
                || taken.get() < room,
                || (taken.get() < waiting).then_some(()),
                |()| taken.set(taken.get() + 1),
            );
            assert_eq!(taken.get(), expected, "{waiting} {room}");
        }
    }

    #[test]
    fn s11_a_client_that_has_gone_without_a_word_is_found_out_by_the_system() {
        use rustix::net::sockopt;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            for (least, unanswered) in [(240, UNANSWERED_MS), (0, 0)] {
                let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let address = socket.local_addr().unwrap();
                let listener = Listener::new(socket.into()).unwrap();
                let Socket::Tcp(socket) = &listener.socket else {
                    panic!()
                };
                let pace = Pace {
                    least,
                    grace_ms: 1000,
                    window_ms: 1000,
                };
                end_unanswered(socket, pace);
                let _client = std::net::TcpStream::connect(address).unwrap();
                let (Stream::Tcp(stream), _) = listener.accept().await.unwrap() else {
                    panic!()
                };
                // What was set of the listener holds for those it accepts (tcp(7)).
                assert!(sockopt::socket_keepalive(&stream).unwrap());
                assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), QUIET);
                assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), BETWEEN_SIGNS);
                assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), SIGNS);
                assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), unanswered);
            }
        });
    }

    #[test]
    fn the_last_part_of_an_answer_does_not_wait_for_an_acknowledgement() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            let listener = Listener::new(socket.into()).unwrap();
            let client = std::net::TcpStream::connect(address).unwrap();
            let (stream, peer) = listener.accept().await.unwrap();
            assert_eq!(peer.unwrap(), client.local_addr().unwrap());
            let Stream::Tcp(stream) = stream else {
                panic!()
            };
            assert!(stream.nodelay().unwrap());
        });
    }
}
