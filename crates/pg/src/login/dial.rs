//! From a host to a connected socket: names to addresses, and what is set on a TCP socket.
//! Leaves the order of hosts and the deadline to the login.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use crate::stream::Stream;
use crate::target::{Addr, Host, TcpOptions};

/// How long to wait when a unix socket's queue is full.
const FULL_BACKLOG: Duration = Duration::from_millis(5);

/// Addresses of `host` in the order of the system's resolver; empty for a unix socket.
pub(super) async fn resolve(host: &Host) -> io::Result<Vec<SocketAddr>> {
    match &host.addr {
        Addr::Unix(_) => Ok(Vec::new()),
        Addr::Ip(ip, _) => Ok(vec![SocketAddr::new(*ip, host.port)]),
        Addr::Name(name) => {
            // getaddrinfo on a thread of its own: what /etc/hosts and nsswitch.conf say counts.
            let mut addrs: Vec<SocketAddr> = Vec::new();
            for addr in tokio::net::lookup_host((name.as_str(), host.port)).await? {
                if !addrs.contains(&addr) {
                    addrs.push(addr);
                }
            }
            if addrs.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "the name has no address",
                ));
            }
            Ok(addrs)
        }
    }
}

/// Connects to one address.
pub(super) async fn tcp(addr: SocketAddr, options: &TcpOptions) -> io::Result<Stream> {
    let tcp = TcpStream::connect(addr).await?;
    if is_itself(&tcp) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(&tcp);
    if options.keepalive {
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = options.idle {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = options.interval {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(count) = options.count {
            keepalive = keepalive.with_retries(count);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    Ok(tcp.into())
}

/// A port of the ephemeral range on loopback where nobody listens may connect to itself.
fn is_itself(tcp: &TcpStream) -> bool {
    matches!((tcp.local_addr(), tcp.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// Connects to a unix socket; a name that begins with `@` is in the abstract namespace.
pub(super) async fn unix(path: &Path) -> io::Result<Stream> {
    let text = path.as_os_str().as_encoded_bytes();
    let name = match text.split_first() {
        Some((b'@', name)) => {
            let name = [b"\0", name].concat();
            PathBuf::from(String::from_utf8(name).map_err(io::Error::other)?)
        }
        _ => path.to_owned(),
    };
    loop {
        match UnixStream::connect(&name).await {
            // Too many wait to be accepted (connect(2)); unlike with TCP nobody says when there
            // is room. The login's deadline ends this.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(FULL_BACKLOG).await;
            }
            done => return Stream::unix(done?),
        }
    }
}
