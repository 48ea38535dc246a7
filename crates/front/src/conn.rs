//! Owns one client connection from accept to close: one request after the other, in order.
//! Leaves reading to `receive`, the answer to `answer`, sending to `send`.

mod act;
mod admin;
mod answer;
mod asking;
mod buffer;
mod cached;
mod doctor;
mod early;
mod encode;
mod files;
mod inquire;
mod local;
mod page;
mod receive;
mod send;
mod tiers;
mod watch;

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use canter_http::{Head, HeadDecoder, Reject};
use canter_shield::budget::Share;
use canter_shield::pace::Transfer;
use canter_shield::score::{Misdeed, network_of};

use crate::app::App;
use crate::facts::Facts;
use crate::forwarded::Client;
use crate::guard::Entrance;
use crate::h2::streams::Active;
use crate::h2::{Multiplexed, PREFACE};
use crate::insight::Learned;
use crate::owner::Ends;
use crate::quantum::{self, Quantum};
use crate::scratch::with_scratch;
use crate::settings::{LINGER_BYTES, LINGER_TIME};
use crate::shared::Shared;
use crate::stream::Stream;
use crate::table::{Phase, Place};
use buffer::Buffer;

/// Bytes of room for a head, or for a path, that a connection keeps for its next request.
const KEPT_ROOM: usize = 4096;

/// Why a connection ends before its time.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// The client closed or reset it, or reading or writing failed.
    Gone,
    /// It did not do in time what was due.
    Expired,
}

/// What follows a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The next request.
    Next,
    /// Close; everything the client sent was read.
    Close,
    /// Close, but give the client time to see the answer: it may still be sending.
    Linger,
}

/// Where a connection came from and where it arrived.
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct Arrival {
    pub peer: Client,
    /// None on a unix socket.
    pub peer_ip: Option<IpAddr>,
    /// Its word about the client is taken.
    pub trusted: bool,
    /// The address and port it connected to.
    pub local: (Vec<u8>, u16),
    /// It arrived where everybody is sent to HTTPS.
    pub redirects: bool,
    /// It arrived where the dashboard is, and nothing else.
    pub admin: bool,
    /// It arrived at the socket of this user's commands, which no other user of the machine reaches.
    pub commands: bool,
    /// Both ends of the connection, where it was made over TCP by who speaks on it.
    pub ends: Option<Ends>,
    /// Whether this server's user made it, once that was asked.
    pub own: Cell<Option<bool>>,
    /// It has asked before, so that a program which goes on asking is not told where the time went.
    pub has_asked: Cell<bool>,
    /// It is one stream of an HTTP/2 connection.
    pub http2: bool,
    /// When such a stream may ask the app.
    pub stream: Option<Rc<Active>>,
    /// Counts for the client as long as the connection lasts.
    pub _entrance: Option<Entrance>,
}

impl Arrival {
    /// The same for one stream of the connection.
    pub fn of_stream(&self, stream: &Rc<Active>) -> Self {
        Self {
            peer: self.peer.clone(),
            peer_ip: self.peer_ip,
            trusted: self.trusted,
            local: self.local.clone(),
            redirects: self.redirects,
            admin: self.admin,
            commands: self.commands,
            ends: self.ends,
            own: self.own.clone(),
            has_asked: Cell::new(true),
            http2: true,
            stream: Some(Rc::clone(stream)),
            _entrance: None,
        }
    }
}

/// One client connection.
pub(crate) struct Conn<A: App> {
    stream: Stream,
    arrival: Arrival,
    shared: Rc<Shared<A>>,
    place: Place,
    accepted: Instant,
    /// Bytes given to the socket.
    sent: Cell<u64>,
    /// How fast the client takes a response, while it is slower than the app.
    flow: Cell<Option<Transfer>>,
    quantum: Quantum,
    buffer: Buffer,
    decoder: HeadDecoder,
    head: Head,
    /// For what the buffer holds beyond what every connection may.
    room: Option<Share>,
    /// The head of the request that is being answered is still at the beginning of the buffer.
    holds_head: bool,
    /// Room for a response head, kept between requests.
    out: Vec<u8>,
    /// Room for a decoded path, kept between requests.
    path: Vec<u8>,
    /// The client has shut its sending side.
    read_closed: bool,
    /// A request has come on it.
    is_used: bool,
    /// When the last answer had been sent, if that is how the last request ended.
    rests_since: Option<Instant>,
}

impl<A: App> Conn<A> {
    /// `ahead` was read from the stream already.
    pub fn new(stream: Stream, arrival: Arrival, shared: Rc<Shared<A>>, ahead: &[u8]) -> Self {
        let place = if arrival.http2 {
            shared.table.enter_stream()
        } else {
            shared.table.enter()
        };
        let mut conn = Self {
            stream,
            arrival,
            shared,
            place,
            accepted: Instant::now(),
            sent: Cell::new(0),
            flow: Cell::new(None),
            quantum: Quantum::default(),
            buffer: Buffer::default(),
            decoder: HeadDecoder::new(),
            head: Head::new(),
            room: None,
            holds_head: false,
            out: Vec::new(),
            path: Vec::new(),
            read_closed: false,
            is_used: false,
            rests_since: None,
        };
        if let Some(ip) = conn.arrival.peer_ip.filter(|_| !conn.arrival.trusted) {
            conn.place.row.comes_from(Some(network_of(ip)));
        }
        conn.keep(ahead);
        conn
    }

    /// Serves the connection to its end.
    pub async fn serve(mut self) {
        if self.handshake().await.is_err() {
            return;
        }
        if self.stream.speaks_http2() || self.begins_with_http2().await {
            return self.multiplex();
        }
        loop {
            match self.exchange().await {
                Ok(After::Next) => {
                    self.quantum.spend(quantum::REQUEST);
                    self.quantum.yield_if_spent(&self.shared.app).await;
                }
                Ok(After::Close) => {
                    self.stream.shut_down_writing();
                    return;
                }
                Ok(After::Linger) => return self.linger().await,
                Err(_) => return,
            }
        }
    }

    /// Goes on as HTTP/2, in a task of its own: this one's memory is of no use to it.
    fn multiplex(self) {
        let ahead = self.buffer.filled().to_vec();
        let connection = Multiplexed::new(self.arrival, self.shared, self.place, self.accepted);
        tokio::task::spawn_local(connection.serve(self.stream, ahead));
    }

    /// The TLS handshake, where there is one: as long as a head may take.
    async fn handshake(&self) -> Result<(), Stop> {
        if !self.stream.is_handshaking() {
            return Ok(());
        }
        self.enter(
            Phase::Head,
            self.accepted,
            self.shared.settings.header_timeout,
        );
        loop {
            match self.stream.try_handshake() {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.readable().await?;
                }
                Err(_) => return Err(Stop::Gone),
            }
        }
    }

    /// Whether the client speaks HTTP/2 without having asked (RFC 9113, section 3.3), where that is
    /// allowed. Bytes that were read to find out stay in the buffer.
    async fn begins_with_http2(&mut self) -> bool {
        if !self.shared.settings.http2_plain || matches!(self.stream, Stream::Pipe(_)) {
            return false;
        }
        let limit = self.shared.settings.header_timeout;
        self.place.row.idle(self.accepted, limit);
        loop {
            let came = self.buffer.filled();
            let known = came.len().min(PREFACE.len());
            if came.get(..known) != PREFACE.get(..known) {
                return false;
            }
            if known == PREFACE.len() {
                return true;
            }
            if self.read_more().await.unwrap_or(0) == 0 {
                return false;
            }
        }
    }

    /// One request and its response.
    async fn exchange(&mut self) -> Result<After, Stop> {
        match self.receive_head().await {
            Ok(receive::Received::Head) => {}
            Ok(receive::Received::End) => return Ok(After::Close),
            Ok(receive::Received::Reject(reject)) => return self.reject(reject).await,
            Ok(receive::Received::NoRoom) => {
                (self.buffer, self.room) = (Buffer::default(), None);
                return self
                    .refuse(None, 503, "there is no room for a head this long")
                    .await;
            }
            Err(Stop::Expired)
                if self.decoder.is_inside_request(self.buffer.filled())
                    && !self.place.row.is_evicted() =>
            {
                self.blame_peer(Misdeed::Slow);
                return self
                    .refuse(None, 408, "the request was not sent in time")
                    .await;
            }
            Err(stop) => return Err(stop),
        }
        if self.is_for_admin() {
            return self.administer().await;
        }
        self.handle().await
    }

    /// Gives back the room that a long head or path needed: the connection may be idle from here on.
    fn settle_room(&mut self) {
        for room in [&mut self.out, &mut self.path] {
            if room.capacity() > KEPT_ROOM {
                *room = Vec::new();
            }
        }
    }

    fn enter(&self, phase: Phase, now: Instant, limit: std::time::Duration) {
        self.place.row.enter(phase, Some(now + limit));
    }

    /// Milliseconds since the connection was accepted.
    fn millis(&self) -> u64 {
        self.accepted.elapsed().as_millis() as u64
    }

    /// The connection may be used again as far as the server is concerned.
    fn may_keep(&self) -> bool {
        !self.shared.is_draining() && !self.shared.settings.keep_alive.is_zero()
    }

    /// Remembers what a client did wrong.
    fn blame(&self, client: Option<IpAddr>, misdeed: Misdeed) {
        if let Some(client) = client {
            self.shared.guard.misdeed(client, misdeed);
        }
    }

    /// The same where only the peer is known. A trusted proxy is not to blame for its clients.
    fn blame_peer(&self, misdeed: Misdeed) {
        self.blame(
            self.arrival.peer_ip.filter(|_| !self.arrival.trusted),
            misdeed,
        );
    }

    fn log_reject(&self, reject: Reject, bytes: u64) {
        if let Some(log) = &self.shared.access {
            let (client, word) = (&self.arrival.peer.address, reject.row().word);
            let texts = [client.as_bytes(), b"-", b"", b"", word.as_bytes()];
            let line = crate::facts::Line::of(texts, "-");
            log.log(&crate::access::Ended {
                line: &line,
                id: b"-",
                status: reject.status(),
                bytes,
                took: std::time::Duration::ZERO,
                cache: None,
                learned: None,
                traced: None,
            });
        }
    }

    /// Notes what a request came to, and answers when that was.
    fn log(&self, facts: &Facts, status: u16, bytes: u64) -> Instant {
        match status {
            429 => self.blame(facts.client, Misdeed::OverLimit),
            400..=498 => self.blame(facts.client, Misdeed::Failed),
            _ => {}
        }
        let now = Instant::now();
        let insight = self.shared.settings.insight.as_ref();
        let learned = insight.map(|insight| insight.observe(facts, status, now));
        self.note(facts, (status, bytes), learned.as_ref(), now);
        now
    }

    /// Writes it to the access log.
    fn note(
        &self,
        facts: &Facts,
        (status, bytes): (u16, u64),
        learned: Option<&Learned>,
        now: Instant,
    ) {
        if let (Some(log), Some(line)) = (&self.shared.access, &facts.line) {
            log.log(&crate::access::Ended {
                line,
                id: &facts.id,
                status,
                bytes,
                took: now.duration_since(facts.started),
                cache: facts.cache_status.as_ref().map(|told| told.brief),
                learned,
                traced: facts.traced.as_ref().map(|traced| &traced.context),
            });
        }
    }

    /// Closes so that the client sees the answer: a close with unread bytes would reset the
    /// connection and may take the answer with it (RFC 9112, section 9.6).
    async fn linger(self) {
        self.stream.shut_down_writing();
        self.enter(Phase::Linger, Instant::now(), LINGER_TIME);
        let mut left = LINGER_BYTES;
        while left > 0 {
            match with_scratch(|scratch| self.stream.try_read(scratch)) {
                Ok(0) => return,
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.readable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
