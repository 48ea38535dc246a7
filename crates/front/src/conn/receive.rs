//! Owns receiving a request: its head into the buffer, its body into memory or a file.
//! Leaves what the bytes mean to `canter-http`.

use std::fs::File;
use std::io::{self, Write};
use std::time::Instant;

use canter_http::{BodyDecoder, Progress, Reject, response};

use super::{Conn, Stop, buffer};
use crate::app::App;
use crate::settings::{BODY_STALL, HEAD_TIME};
use crate::table::Phase;
use crate::temp;

/// What came instead of, or as, a head.
pub(super) enum Received {
    /// A head, in `self.head` over the beginning of the buffer.
    Head,
    /// Nothing: the client is done.
    End,
    /// Something that is no request.
    Reject(Reject),
}

/// A whole request body.
pub(super) enum Body {
    Memory(Vec<u8>),
    File(File, u64),
}

/// Why a body was not taken.
pub(super) enum Refusal {
    /// It breaks a rule.
    Reject(Reject),
    /// The client closed before it was complete.
    Cut,
    /// It did not come in time.
    Late,
    /// There is no room for it.
    NoRoom(io::Error),
}

impl<A: App> Conn<A> {
    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> Result<(), Stop> {
        std::future::poll_fn(|cx| {
            if self.place.row.poll_expired(cx) {
                return std::task::Poll::Ready(Err(Stop::Expired));
            }
            self.stream.poll_read_ready(cx).map_err(|_| Stop::Gone)
        })
        .await
    }

    /// Receives the next request's head. While nothing has come the connection counts as idle.
    pub(super) async fn receive_head(&mut self) -> Result<Received, Stop> {
        let mut inside = false;
        if self.buffer.is_empty() {
            self.buffer.release();
            self.enter(
                Phase::Idle,
                Instant::now(),
                self.shared.settings.idle_limit(self.is_used),
            );
        }
        loop {
            if !self.buffer.is_empty() {
                let limits = &self.shared.settings.limits;
                match self
                    .decoder
                    .decode(limits, self.buffer.filled(), &mut self.head)
                {
                    Ok(Progress::Complete) => {
                        self.is_used = true;
                        return Ok(Received::Head);
                    }
                    Ok(Progress::Partial) => {}
                    Err(reject) => return Ok(Received::Reject(reject)),
                }
                if !inside {
                    // One deadline from the first byte to the last, whatever trickles in between.
                    inside = true;
                    self.enter(Phase::Head, Instant::now(), HEAD_TIME);
                }
            }
            if self.read_closed || self.read_more().await? == 0 {
                self.read_closed = true;
                return Ok(Received::End);
            }
        }
    }

    /// Receives into the buffer; 0 means that the client will send no more.
    async fn read_more(&mut self) -> Result<usize, Stop> {
        loop {
            let room = self.buffer.room();
            let most = room.len();
            match self.stream.try_read(room) {
                Ok(count) => {
                    if count < most && count > 0 {
                        self.stream.drained();
                    }
                    self.buffer.received(count);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.buffer.is_empty() {
                        self.buffer.release();
                    }
                    self.readable().await?;
                }
                Err(_) => return Err(Stop::Gone),
            }
        }
    }

    /// Receives the whole body behind the head, which has been consumed from the buffer.
    pub(super) async fn receive_body(
        &mut self,
        mut decoder: BodyDecoder,
        expects_continue: bool,
    ) -> Result<Body, Refusal> {
        let mut store = Store::new(decoder.announced(), self.shared.settings.body_memory);
        self.enter(Phase::Body, Instant::now(), BODY_STALL);
        while !decoder.is_done() && !self.buffer.is_empty() {
            let piece = decoder
                .next(self.buffer.filled())
                .map_err(Refusal::Reject)?;
            let consumed = piece.consumed;
            self.check_size(&decoder)?;
            store
                .push(piece.data, &self.shared.settings)
                .map_err(Refusal::NoRoom)?;
            self.buffer.consume(consumed);
        }
        if expects_continue && !decoder.is_done() {
            self.send_all(response::CONTINUE, &[])
                .await
                .map_err(|_| Refusal::Cut)?;
        }
        while !decoder.is_done() {
            if self.read_closed {
                return Err(Refusal::Cut);
            }
            self.receive_some(&mut decoder, &mut store).await?;
        }
        Ok(store.finish())
    }

    async fn receive_some(
        &mut self,
        decoder: &mut BodyDecoder,
        store: &mut Store,
    ) -> Result<(), Refusal> {
        let settings = &self.shared.settings;
        let result = buffer::with_scratch(|scratch| {
            let count = match self.stream.try_read(scratch) {
                Ok(0) => return Some(Err(Refusal::Cut)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(Err(Refusal::Cut)),
            };
            let mut rest = scratch.get(..count).unwrap_or_default();
            while !rest.is_empty() && !decoder.is_done() {
                let piece = match decoder.next(rest) {
                    Ok(piece) => piece,
                    Err(reject) => return Some(Err(Refusal::Reject(reject))),
                };
                if let Err(error) = store.push(piece.data, settings) {
                    return Some(Err(Refusal::NoRoom(error)));
                }
                rest = rest.get(piece.consumed..).unwrap_or_default();
            }
            Some(Ok(rest.to_vec()))
        });
        match result {
            Some(Ok(rest)) => {
                // The beginning of the next request, read together with this body.
                self.keep(&rest);
                self.check_size(decoder)?;
                self.enter(Phase::Body, Instant::now(), BODY_STALL);
                Ok(())
            }
            Some(Err(refusal)) => Err(refusal),
            None => self.readable().await.map_err(|stop| match stop {
                Stop::Expired => Refusal::Late,
                Stop::Gone => Refusal::Cut,
            }),
        }
    }

    fn keep(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.buffer.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.buffer.received(count);
            bytes = &bytes[count..];
        }
    }

    fn check_size(&self, decoder: &BodyDecoder) -> Result<(), Refusal> {
        if decoder.announced() > self.shared.settings.max_body {
            return Err(Refusal::Reject(Reject::BodyTooLarge));
        }
        Ok(())
    }
}

/// Where a body gathers: in memory up to a size, then in an unlinked file.
struct Store {
    memory: Vec<u8>,
    file: Option<File>,
    len: u64,
    limit: usize,
    announced: u64,
}

impl Store {
    fn new(announced: u64, limit: usize) -> Self {
        Self {
            memory: Vec::new(),
            file: None,
            len: 0,
            limit,
            announced,
        }
    }

    fn push(&mut self, bytes: &[u8], settings: &crate::Settings) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.len += bytes.len() as u64;
        if let Some(file) = &mut self.file {
            return file.write_all(bytes);
        }
        let fits = self.announced <= self.limit as u64 && self.len <= self.limit as u64;
        if fits {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let mut file = temp::unlinked(&settings.temp_dir)?;
        file.write_all(&self.memory)?;
        file.write_all(bytes)?;
        self.memory = Vec::new();
        self.file = Some(file);
        Ok(())
    }

    fn finish(self) -> Body {
        match self.file {
            Some(file) => Body::File(file, self.len),
            None => Body::Memory(self.memory),
        }
    }
}
