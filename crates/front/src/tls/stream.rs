//! Owns the bytes of one TLS connection over a non-blocking socket, with the same promises as a
//! plain one: a write that would block has taken nothing as far as its caller can see.
//! Leaves waiting to the callers.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;

use crate::scratch::{SCRATCH, with_scratch};

/// Plain bytes sealed at a time: four records.
const PIECE: usize = SCRATCH;

/// A TLS connection with a client.
pub(crate) struct TlsStream {
    pub socket: TcpStream,
    session: RefCell<ServerConnection>,
    /// Plain bytes that were sealed for a write that is not through yet. Its caller was told that
    /// it would block and comes back with the same bytes.
    staged: Cell<usize>,
    /// Sealed bytes that were given to the system.
    given: Cell<u64>,
}

impl TlsStream {
    /// `ahead` was read from the socket already.
    pub fn new(socket: TcpStream, config: Arc<ServerConfig>, mut ahead: &[u8]) -> io::Result<Self> {
        let mut session = ServerConnection::new(config).map_err(io::Error::other)?;
        session.set_buffer_limit(Some(PIECE + PIECE / 4));
        while !ahead.is_empty() {
            session.read_tls(&mut ahead)?;
            session.process_new_packets().map_err(io::Error::other)?;
        }
        Ok(Self {
            socket,
            session: RefCell::new(session),
            staged: Cell::new(0),
            given: Cell::new(0),
        })
    }

    /// Whether the client has yet to finish the handshake, which reading drives.
    pub fn is_handshaking(&self) -> bool {
        self.session.borrow().is_handshaking()
    }

    /// Whether HTTP/2 was agreed on (RFC 7301).
    pub fn speaks_http2(&self) -> bool {
        self.session.borrow().alpn_protocol() == Some(b"h2")
    }

    /// Goes on with the handshake with what has come; `WouldBlock` when more must come first.
    pub fn try_handshake(&self) -> io::Result<()> {
        let session = &mut *self.session.borrow_mut();
        while session.is_handshaking() {
            if self.pull(session)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        match self.push(session) {
            // The last flight leaves with the first response.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let has_plain = {
            let state = self.session.borrow_mut().process_new_packets();
            state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0 || state.peer_has_closed())
        };
        if has_plain {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read_ready(cx)
    }

    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let session = &mut *self.session.borrow_mut();
        loop {
            match session.reader().read(buf) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Closed without saying so: the framing of HTTP tells whether something is missing.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) => return Err(error),
            }
            self.pull(session)?;
        }
    }

    pub fn try_write_two(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        self.write_with(|session| {
            let first = &first[..first.len().min(PIECE)];
            let second = &second[..second.len().min(PIECE - first.len())];
            // In the same records: a short head does not get one of its own.
            let parts = [IoSlice::new(first), IoSlice::new(second)];
            session.writer().write_vectored(&parts)
        })
    }

    /// Sends part of a file; `offset` moves on by what went.
    pub fn try_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        len: usize,
    ) -> io::Result<usize> {
        let at = *offset;
        let count = self.write_with(|session| {
            with_scratch(|room| {
                let room = &mut room[..len.min(PIECE)];
                let count = rustix::io::pread(file, &mut *room, at)?;
                session.writer().write(&room[..count])
            })
        })?;
        *offset += count as u64;
        Ok(count)
    }

    /// Sends something that nobody waits for, if it can go now.
    pub fn nudge(&self, bytes: &[u8]) {
        let session = &mut *self.session.borrow_mut();
        if self.staged.get() == 0 && self.push(session).is_ok() {
            let _ = session.writer().write(bytes);
            let _ = self.push(session);
        }
    }

    /// Sealed bytes that were given to the system, to compare with those it still holds. The plain
    /// ones that a write reports will not do: they count 64 KiB at a time.
    pub fn given(&self) -> u64 {
        self.given.get()
    }

    /// Says that no more will come (RFC 8446, section 6.1).
    pub fn close_notify(&self) {
        let session = &mut *self.session.borrow_mut();
        session.send_close_notify();
        let _ = self.push(session);
    }

    /// Seals what `fill` writes and sends it; counts once all of it is with the system.
    fn write_with(
        &self,
        fill: impl FnOnce(&mut ServerConnection) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let session = &mut *self.session.borrow_mut();
        if self.staged.get() == 0 {
            self.push(session)?;
            let count = fill(session)?;
            if count == 0 {
                return Ok(0);
            }
            self.staged.set(count);
        }
        self.push(session)?;
        Ok(self.staged.replace(0))
    }

    /// Takes sealed bytes from the socket, and what they open; 0 at the end.
    fn pull(&self, session: &mut ServerConnection) -> io::Result<usize> {
        let count = session.read_tls(&mut Socket(&self.socket))?;
        let processed = session.process_new_packets();
        // Answers of the handshake, or the alert that says what is wrong.
        let pushed = self.push(session);
        processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match pushed {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    /// Gives sealed bytes to the socket until none is left.
    fn push(&self, session: &mut ServerConnection) -> io::Result<()> {
        while session.wants_write() {
            let count = session.write_tls(&mut Socket(&self.socket))?;
            self.given.set(self.given.get() + count as u64);
        }
        Ok(())
    }
}

/// The socket as rustls wants it.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
