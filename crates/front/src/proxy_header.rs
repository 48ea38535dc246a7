//! Owns the header of a trusted proxy that speaks the PROXY protocol: receiving it before the client's
//! own first byte, and who a connection then comes from.
//! Leaves the form of the header to `canter_shield::proxy`, and who is trusted to `listener`.

use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::{Duration, Instant};

use canter_shield::proxy::{self, Ends, Spoken};

use crate::stream::Stream;
use crate::table::{Phase, Place};

/// Bytes taken at a time: any header in use fits.
const PIECE: usize = 512;

/// Who a connection comes from.
pub(crate) struct Peer {
    /// The client; None on a unix socket.
    pub address: Option<SocketAddr>,
    /// Its word about others is taken.
    pub trusted: bool,
    /// Where it connected to, when that was not here.
    pub local: Option<SocketAddr>,
    /// It speaks TLS with the proxy.
    pub is_tls: bool,
    /// What it has sent already.
    pub ahead: Vec<u8>,
}

impl Peer {
    /// Whoever has connected, without a header that names another.
    pub fn direct(address: Option<SocketAddr>, trusted: bool) -> Self {
        Self {
            address,
            trusted,
            local: None,
            is_tls: false,
            ahead: Vec::new(),
        }
    }
}

/// What a proxy said, and what came behind it.
pub(crate) struct Header {
    pub ends: Option<Ends>,
    pub ahead: Vec<u8>,
}

/// Receives the header, once for each connection (CVE-2026-47737); None when there is none, when it
/// is broken, or when it does not come in time: a receiver must not guess (section 2).
pub(crate) async fn receive(stream: &Stream, place: &Place, limit: Duration) -> Option<Header> {
    place.row.enter(Phase::Head, Some(Instant::now() + limit));
    let mut bytes = Vec::new();
    loop {
        match proxy::decode(&bytes) {
            Ok(Spoken::Header { consumed, ends }) => {
                bytes.drain(..consumed);
                return Some(Header { ends, ahead: bytes });
            }
            Ok(Spoken::Partial) => {}
            Err(_) => return None,
        }
        let start = bytes.len();
        bytes.resize(start + PIECE, 0);
        let result = stream.try_read(bytes.get_mut(start..)?);
        bytes.truncate(start + result.as_ref().copied().unwrap_or(0));
        match result {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                readable(stream, place).await?;
            }
            Err(_) => return None,
        }
    }
}

async fn readable(stream: &Stream, place: &Place) -> Option<()> {
    std::future::poll_fn(|cx| {
        if place.row.poll_expired(cx) {
            return Poll::Ready(None);
        }
        stream.poll_read_ready(cx).map(Result::ok)
    })
    .await
}
