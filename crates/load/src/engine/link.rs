//! Owns one connection: a non-blocking socket, with TLS on it or without.
//! Leaves what is said on it to `user`.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, socket_error};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::record::Kind;
use crate::target::{Door, Site};

/// A connection to the server.
pub(crate) struct Link {
    socket: OwnedFd,
    tls: Option<Box<Tls>>,
    connected: bool,
    /// Why TLS could not be agreed on, in the words of rustls.
    why: Option<String>,
}

struct Tls {
    session: ClientConnection,
    /// The same socket, for rustls to read and write.
    stream: File,
}

/// What a read gave.
pub(crate) enum Received {
    Bytes(usize),
    Nothing,
    End,
}

impl Link {
    /// Begins to connect.
    pub(crate) fn open(
        door: &Door,
        site: &Site,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, Kind> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let open = |family| socket_with(family, SocketType::STREAM, flags, None).map_err(kind);
        let (socket, begun) = match door {
            Door::Address(address) => {
                let family = if address.is_ipv6() {
                    AddressFamily::INET6
                } else {
                    AddressFamily::INET
                };
                let socket = open(family)?;
                set_tcp_nodelay(&socket, true).map_err(kind)?;
                let begun = connect(&socket, address);
                (socket, begun)
            }
            Door::Socket(path) => {
                let address = SocketAddrUnix::new(path).map_err(kind)?;
                let socket = open(AddressFamily::UNIX)?;
                let begun = connect(&socket, &address);
                (socket, begun)
            }
        };
        match begun {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(kind(error)),
        }
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(site.name.clone()).map_err(|_| Kind::Tls)?;
                let session = ClientConnection::new(Arc::clone(config), name);
                Some(Box::new(Tls {
                    session: session.map_err(|_| Kind::Tls)?,
                    stream: File::from(socket.try_clone().map_err(|error| io_kind(&error))?),
                }))
            }
        };
        Ok(Self {
            socket,
            tls,
            connected: false,
            why: None,
        })
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Goes on with connecting; true when requests can be sent.
    pub(crate) fn advance(&mut self) -> Result<bool, Kind> {
        if !self.connected {
            match socket_error(&self.socket).map_err(kind)? {
                Ok(()) => {}
                Err(error) => return Err(kind(error)),
            }
            match rustix::net::getpeername(&self.socket) {
                Ok(_) => self.connected = true,
                Err(Errno::NOTCONN) => return Ok(false),
                Err(error) => return Err(kind(error)),
            }
        }
        let Some(tls) = &mut self.tls else {
            return Ok(true);
        };
        while tls.session.is_handshaking() {
            match tls.session.complete_io(&mut tls.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.why = Some(error.to_string());
                    return Err(Kind::Tls);
                }
            }
        }
        Ok(!tls.session.is_handshaking())
    }

    /// Why it failed, where more than the kind is known.
    pub(crate) fn take_why(&mut self) -> Option<String> {
        self.why.take()
    }

    /// Whether the server has agreed to HTTP/2 where it was asked.
    pub(crate) fn agreed_on_http2(&self) -> bool {
        let tls = self.tls.as_ref();
        tls.is_none_or(|tls| tls.session.alpn_protocol() == Some(b"h2"))
    }

    /// Writes; 0 when the socket takes nothing now.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<usize, Kind> {
        if let Some(tls) = &mut self.tls {
            let mut stream = rustls::Stream::new(&mut tls.session, &mut tls.stream);
            return match stream.write(bytes) {
                Ok(count) => Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                Err(error) => Err(io_kind(&error)),
            };
        }
        match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(kind(error)),
        }
    }

    /// Writes what TLS still holds; a write of 0 above may have left some.
    pub(crate) fn flush(&mut self) -> Result<(), Kind> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.session.wants_write() {
            match tls.session.write_tls(&mut tls.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(io_kind(&error)),
            }
        }
        Ok(())
    }

    /// Reads.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<Received, Kind> {
        if let Some(tls) = &mut self.tls {
            let mut stream = rustls::Stream::new(&mut tls.session, &mut tls.stream);
            return match stream.read(buffer) {
                Ok(0) => Ok(Received::End),
                Ok(count) => Ok(Received::Bytes(count)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(Received::Nothing),
                    // A close without the word for it; whether that is too early HTTP tells.
                    io::ErrorKind::UnexpectedEof => Ok(Received::End),
                    io::ErrorKind::InvalidData => Err(Kind::Tls),
                    _ => Err(io_kind(&error)),
                },
            };
        }
        match recv(&self.socket, buffer, RecvFlags::empty()) {
            Ok((0, _)) => Ok(Received::End),
            Ok((count, _)) => Ok(Received::Bytes(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
            Err(error) => Err(kind(error)),
        }
    }

    /// Whether a read that did not fill the buffer means that nothing more is there.
    pub(crate) fn short_read_is_all(&self) -> bool {
        self.tls.is_none()
    }
}

fn kind(error: Errno) -> Kind {
    match error {
        Errno::CONNREFUSED | Errno::NOENT => Kind::Refused,
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Kind::Reset,
        Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL | Errno::NOBUFS | Errno::NOMEM => {
            Kind::Exhausted
        }
        _ => Kind::Unreachable,
    }
}

fn io_kind(error: &io::Error) -> Kind {
    Errno::from_io_error(error).map_or(Kind::Reset, kind)
}
