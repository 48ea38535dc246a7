//! Owns sending: whole responses, bodies as they come, files.
//! Leaves what is sent to `answer`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use canter_channel::call::Answer;
use canter_http::{BodyFraming, response};
use canter_shield::budget::Budget;
use canter_shield::pace::Transfer;
use canter_shield::score::Misdeed;

use super::{Conn, KEPT_ROOM, Stop};
use crate::app::{App, Call};
use crate::coder::{Coder, Step};
use crate::helper::Helper;
use crate::settings::{LOOK, RESPONSE_DISK};
use crate::spool::{Next, Spool};
use crate::table::Phase;

/// Bytes of a file handed to the system at a time.
const FILE_PIECE: u64 = 1 << 20;

/// A body up to this length is copied behind the head instead of being sent beside it.
pub(super) const SHORT_BODY: usize = 2048;

/// How sending a streamed body ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of it was sent.
    Whole,
    /// The app failed or broke its promise: the client must not take it for whole.
    Broken,
}

impl<A: App> Conn<A> {
    /// Waits for room in the socket, as long as the client takes what it has at the slowest pace at
    /// least. What counts is what its system has acknowledged: bytes in our own socket buffer are
    /// still ours.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let mut flow = self.flow.get().unwrap_or_else(|| {
            self.enter(Phase::Send, Instant::now(), LOOK);
            Transfer::new(self.millis(), self.taken())
        });
        while self.place.row.poll_expired(cx) {
            if self.place.row.is_evicted() {
                self.stream.reset_on_close();
                return Poll::Ready(Err(Stop::Expired));
            }
            self.place.row.progress(self.taken());
            if flow.is_too_slow(&self.shared.settings.pace, self.millis(), self.taken()) {
                // Otherwise the system would go on holding what was written, and trying to send it.
                self.stream.reset_on_close();
                self.blame_peer(Misdeed::Slow);
                return Poll::Ready(Err(Stop::Expired));
            }
            self.enter(Phase::Send, Instant::now(), LOOK);
        }
        self.flow.set(Some(flow));
        let ready = self.stream.poll_write_ready(cx);
        if ready.is_pending() {
            self.quantum.reset();
        }
        ready.map_err(|_| Stop::Gone)
    }

    async fn writable(&self) -> Result<(), Stop> {
        std::future::poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// Bytes of this connection that the client's system has taken.
    fn taken(&self) -> u64 {
        self.stream.acknowledged(self.sent.get())
    }

    fn count_sent(&self, count: usize) {
        self.sent.set(self.sent.get() + count as u64);
        self.quantum.spend(count);
    }

    /// Where the body of an answer begins whose head, of this length, is sent next: to be kept for
    /// [`Self::sent_since`].
    pub(super) fn body_begins(&self, head: usize) -> u64 {
        self.sent.get() + head as u64
    }

    /// Bytes of a body that were sent: all of it only where the client stayed for it.
    pub(super) fn sent_since(&self, body_begins: u64) -> u64 {
        self.sent.get().saturating_sub(body_begins)
    }

    /// Sends what the client takes at once of two byte strings, and leaves the rest in them.
    fn send_some(&self, first: &mut &[u8], second: &mut &[u8]) -> io::Result<()> {
        let count = self.stream.try_write_two(first, second)?;
        let of_first = count.min(first.len());
        *first = first.get(of_first..).unwrap_or_default();
        *second = second.get(count - of_first..).unwrap_or_default();
        self.count_sent(count);
        Ok(())
    }

    /// Sends two byte strings, one after the other.
    pub(super) async fn send_all(&self, first: &[u8], second: &[u8]) -> Result<(), Stop> {
        let (mut first, mut second) = (first, second);
        self.flow.set(None);
        while !first.is_empty() || !second.is_empty() {
            match self.send_some(&mut first, &mut second) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(_) => return Err(Stop::Gone),
            }
        }
        Ok(())
    }

    /// Sends what was written to `self.out`, then these bytes from `at` on. What the client does not
    /// take at once counts among the memory of all clients, and for a stream of HTTP/2 among that
    /// of its connection; where either is used up, it goes to a file.
    pub(super) async fn send_held(&self, bytes: Vec<u8>, at: usize) -> Result<(), Stop> {
        let (mut first, mut second) = (&self.out[..], bytes.get(at..).unwrap_or_default());
        self.flow.set(None);
        while !first.is_empty() || !second.is_empty() {
            match self.send_some(&mut first, &mut second) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut share = self.shared.memory.share();
                    let stream = self.arrival.stream.as_ref();
                    let may_hold = stream.is_none_or(|stream| stream.hold(bytes.len()));
                    if may_hold && share.grow(bytes.len() as u64) {
                        return self.send_all(first, second).await;
                    }
                    let rest = [first, second].concat();
                    drop(bytes);
                    return self.send_spilled(rest).await;
                }
                Err(_) => return Err(Stop::Gone),
            }
        }
        Ok(())
    }

    /// Sends bytes at the client's pace from a file, so that they cost no memory.
    async fn send_spilled(&self, bytes: Vec<u8>) -> Result<(), Stop> {
        let settings = &self.shared.settings;
        let mut body = Streamed::new(
            BodyFraming::UntilClose,
            Vec::new(),
            settings,
            &self.shared.memory,
        );
        body.spool.spill(bytes, &settings.temp_dir);
        body.ended = true;
        body.warn_of_trouble();
        std::future::poll_fn(|cx| {
            loop {
                match self.poll_send_some(cx, &mut body) {
                    Poll::Ready(Ok(true)) if self.poll_give_way(cx).is_pending() => {
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(stop)) => return Poll::Ready(Err(stop)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Pending where the others have their turn first.
    fn poll_give_way(&self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.quantum.poll_yield_if_spent(cx);
        if ready.is_pending() {
            self.shared.app.between_turns();
        }
        ready
    }

    /// Sends what was written to `self.out`, then these. Short ones are copied behind it while there is
    /// little of it, and none that is long ever is: many clients may take their time.
    pub(super) async fn send_pieces(&mut self, pieces: &[&[u8]]) -> Result<(), Stop> {
        for piece in pieces {
            if self.out.len() + piece.len() <= KEPT_ROOM {
                self.out.extend_from_slice(piece);
            } else {
                self.send_all(&self.out, piece).await?;
                self.out.clear();
            }
        }
        self.send_all(&self.out, &[]).await
    }

    /// Sends what goes before part of a file, and in the same packets as its beginning.
    pub(super) async fn send_before_file(&self, head: &[u8]) -> Result<(), Stop> {
        match self.stream.try_write_more(head) {
            Ok(count) => {
                self.count_sent(count);
                self.send_all(head.get(count..).unwrap_or_default(), &[])
                    .await
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.send_all(head, &[]).await
            }
            Err(_) => Err(Stop::Gone),
        }
    }

    /// Sends part of a file; false when the file turned out shorter.
    pub(super) async fn send_file(&self, file: &File, offset: u64, len: u64) -> Result<bool, Stop> {
        let (mut at, end) = (offset, offset.saturating_add(len));
        self.flow.set(None);
        while at < end {
            let piece = usize::try_from((end - at).min(FILE_PIECE)).unwrap_or(usize::MAX);
            match self.stream.try_send_file(file.as_fd(), &mut at, piece) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.count_sent(count);
                    self.quantum.yield_if_spent(&self.shared.app).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(_) => return Err(Stop::Gone),
            }
        }
        Ok(true)
    }

    /// Sends a body as it comes from the app, at the client's pace; what the client does not take
    /// at once goes to memory and then to a file, so that the app can go on.
    pub(super) async fn send_stream<C: Call>(
        &mut self,
        mut body: Streamed,
        call: &mut C,
    ) -> Result<Ending, Stop> {
        self.flow.set(None);
        let mut held = false;
        std::future::poll_fn(|cx| {
            loop {
                while !body.is_complete {
                    let Poll::Ready(answer) = call.poll_answer(cx) else {
                        break;
                    };
                    body.take(answer, &self.shared.settings);
                }
                body.warn_of_trouble();
                body.poll_encode(cx, &self.shared.helper, &self.shared.settings);
                let most = if held {
                    RESPONSE_DISK / 2
                } else {
                    RESPONSE_DISK
                };
                let waits = body.coder.as_ref().is_some_and(Coder::is_full);
                let hold = waits || body.spool.in_file() > most || body.spool.is_overflowing();
                if hold != held {
                    held = hold;
                    call.set_hold(hold);
                }
                match self.poll_send_some(cx, &mut body) {
                    Poll::Ready(Ok(true)) if self.poll_give_way(cx).is_pending() => {
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false)) if body.ended => {
                        return Poll::Ready(Ok(body.ending()));
                    }
                    Poll::Ready(Ok(false)) | Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(stop)) => return Poll::Ready(Err(stop)),
                }
            }
        })
        .await
    }

    /// True when something was sent, false when there is nothing to send now.
    fn poll_send_some(
        &self,
        cx: &mut Context<'_>,
        body: &mut Streamed,
    ) -> Poll<Result<bool, Stop>> {
        let result = match body.spool.next() {
            Next::Nothing => {
                // Between two chunks the client owes nothing; only its leaving matters.
                self.flow.set(None);
                self.place.row.enter(Phase::App, None);
                return Poll::Ready(Ok(false));
            }
            Next::Bytes(bytes) => self.stream.try_write(bytes),
            Next::File(file, mut at, len) => {
                let piece = usize::try_from(len.min(FILE_PIECE)).unwrap_or(usize::MAX);
                self.stream.try_send_file(file.as_fd(), &mut at, piece)
            }
        };
        match result {
            Ok(count) => {
                body.spool.consume(count);
                self.count_sent(count);
                Poll::Ready(Ok(true))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.poll_writable(cx).map_ok(|()| true)
            }
            Err(_) => Poll::Ready(Err(Stop::Gone)),
        }
    }
}

/// A body on its way from the app to the client.
pub(super) struct Streamed {
    spool: Spool,
    framing: BodyFraming,
    /// What the app gives passes through this first.
    pub coder: Option<Coder>,
    /// Left of a body whose length was promised.
    left: u64,
    /// The app has given the last it will.
    is_complete: bool,
    /// All that will be sent is in the spool.
    ended: bool,
    failed: bool,
}

impl Streamed {
    /// A body that follows `head`, bytes that go out first.
    pub fn new(
        framing: BodyFraming,
        head: Vec<u8>,
        settings: &crate::Settings,
        budget: &Rc<Budget>,
    ) -> Self {
        let left = if let BodyFraming::Length(length) = framing {
            length
        } else {
            0
        };
        // Where no body is sent, none is awaited: the app hears that nobody wants the rest.
        let ended = framing == BodyFraming::None;
        let mut spool = Spool::new(budget);
        spool.push(head, usize::MAX, &settings.temp_dir);
        Self {
            spool,
            framing,
            left,
            coder: None,
            is_complete: ended,
            ended,
            failed: false,
        }
    }

    /// Says once why the file could not be written.
    fn warn_of_trouble(&mut self) {
        if let Some(error) = self.spool.take_trouble() {
            canter_base::warn!(
                "no room to store a response: its app waits for the client instead",
                error = &error.to_string()
            );
        }
    }

    /// Takes a step of the answer in.
    pub fn take(&mut self, answer: Answer, settings: &crate::Settings) {
        match answer {
            Answer::Chunk { bytes, last } => {
                self.add(bytes, settings);
                if last {
                    self.end(settings);
                }
            }
            // Too late to be of use.
            Answer::Hints(_) => {}
            Answer::Failed(_) | Answer::Head { .. } | Answer::File { .. } => {
                self.is_complete = true;
                if let Some(coder) = &mut self.coder {
                    coder.end(false);
                } else {
                    (self.ended, self.failed) = (true, true);
                }
            }
        }
    }

    /// Takes bytes of the app, through the coder where there is one.
    pub fn add(&mut self, bytes: Vec<u8>, settings: &crate::Settings) {
        match &mut self.coder {
            Some(coder) => coder.push(bytes),
            None => self.frame(bytes, settings),
        }
    }

    /// Frames bytes and puts them in line.
    fn frame(&mut self, mut bytes: Vec<u8>, settings: &crate::Settings) {
        if bytes.is_empty() || self.failed {
            return;
        }
        match self.framing {
            BodyFraming::None => return,
            BodyFraming::UntilClose => {}
            BodyFraming::Length(_) => {
                if bytes.len() as u64 > self.left {
                    // More than was promised: the promise is kept, the connection is not.
                    bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                    (self.is_complete, self.ended, self.failed) = (true, true, true);
                }
                self.left -= bytes.len() as u64;
            }
            BodyFraming::Chunked => {
                let mut framed = Vec::with_capacity(bytes.len() + 20);
                response::encode_chunk_prefix(&mut framed, bytes.len() as u64);
                framed.extend_from_slice(&bytes);
                framed.extend_from_slice(response::CHUNK_END);
                bytes = framed;
            }
        }
        self.spool
            .push(bytes, settings.response_memory, &settings.temp_dir);
    }

    /// The app has given everything.
    pub fn end(&mut self, settings: &crate::Settings) {
        self.is_complete = true;
        match &mut self.coder {
            Some(coder) => coder.end(true),
            None => self.close(settings),
        }
    }

    /// Puts what the coder gives in line, as far as it goes now.
    fn poll_encode(&mut self, cx: &mut Context<'_>, helper: &Helper, settings: &crate::Settings) {
        while let Some(coder) = &mut self.coder {
            match coder.poll_step(cx, helper) {
                Poll::Ready(Step::Bytes(bytes)) => self.frame(bytes, settings),
                Poll::Ready(Step::End(is_whole)) => {
                    self.coder = None;
                    self.failed |= !is_whole;
                    self.close(settings);
                }
                Poll::Ready(Step::Idle) | Poll::Pending => return,
            }
        }
    }

    /// Nothing follows in the spool.
    fn close(&mut self, settings: &crate::Settings) {
        self.ended = true;
        if self.framing == BodyFraming::Chunked && !self.failed {
            let last = response::LAST_CHUNK.to_vec();
            self.spool
                .push(last, settings.response_memory, &settings.temp_dir);
        }
    }

    fn ending(&self) -> Ending {
        if self.failed || self.left > 0 {
            Ending::Broken
        } else {
            Ending::Whole
        }
    }
}
