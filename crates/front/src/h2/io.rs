//! Owns the bytes of an HTTP/2 connection on their way to and from the `h2` crate, with a look at
//! the frames that come and at the pace at which those that go are taken, and a last word when what
//! came is the reason to end it.
//! Leaves what is too much or wrong to `canter_shield::frames`, what is too slow to its `pace`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use canter_shield::frames::{Budget, Frames, Glitch};
use canter_shield::pace::{Pace, Transfer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::quantum::Quantum;
use crate::settings::{LINGER_BYTES, LINGER_TIME};
use crate::stream::Stream;

/// Bytes before a frame's payload (RFC 9113, section 4.1).
const FRAME_HEAD: usize = 9;
const GOAWAY: u8 = 7;

/// The connection as the `h2` crate wants it.
pub(super) struct Wire {
    stream: Rc<Stream>,
    /// Read before it was known that this is HTTP/2.
    ahead: Vec<u8>,
    watch: Rc<Watch>,
}

/// What was seen of the connection.
pub(super) struct Watch {
    stream: Rc<Stream>,
    frames: RefCell<Frames>,
    start: Instant,
    sent: Cell<u64>,
    came: Cell<u64>,
    outgoing: Cell<Outgoing>,
    pace: Pace,
    /// How fast the client takes what waits for it; None while nothing does.
    flow: Cell<Option<Transfer>>,
    glitch: Cell<Option<Glitch>>,
    quantum: Quantum,
    /// The others were given their turn.
    gave_way: Cell<bool>,
}

impl Watch {
    /// Why the connection was ended, when frames were the reason.
    pub fn glitch(&self) -> Option<Glitch> {
        self.glitch.get()
    }

    /// So much was done beside reading.
    pub fn spend(&self, bytes: usize) {
        self.quantum.spend(bytes);
    }

    /// Whether the connection has given way to others since this was asked.
    pub fn gave_way(&self) -> bool {
        self.gave_way.take()
    }

    /// Whether the client has said that it goes.
    pub fn is_leaving(&self) -> bool {
        self.frames.borrow().is_leaving()
    }

    /// Whether a header block does not come to its end.
    pub fn is_too_slow(&self) -> bool {
        let result = self.frames.borrow().check(self.now_ms());
        self.remember(result).is_err()
    }

    /// Whether the client leaves in the system what was written to it, whatever windows it opened:
    /// more waits behind that, for each of its streams. Such a connection ends with a reset.
    pub fn is_stalled(&self) -> bool {
        let Some(mut flow) = self.flow.get() else {
            return false;
        };
        let slow = flow.is_too_slow(&self.pace, self.now_ms(), self.taken());
        self.flow.set(Some(flow));
        if slow {
            self.stream.reset_on_close();
        }
        slow
    }

    /// Whether the client is waited for to take what was written, and the bytes that it has taken.
    pub fn sending(&self) -> Option<u64> {
        self.flow.get().map(|_| self.taken())
    }

    /// Whether the request of this stream is malformed; to be asked once.
    pub fn take_malformed(&self, stream: u32) -> bool {
        self.frames.borrow_mut().take_malformed(stream)
    }

    /// Whether its trailers are, which have come; to be asked once.
    pub fn take_bad_trailers(&self, stream: u32) -> bool {
        self.frames.borrow_mut().take_bad_trailers(stream)
    }

    /// Bytes that have come.
    pub fn came(&self) -> u64 {
        self.came.get()
    }

    /// Tells the client why the connection ends (GOAWAY, RFC 9113, section 6.8), if that can be said
    /// at once, and lingers.
    pub async fn say_goodbye(&self) {
        let Some(glitch) = self.glitch.get() else {
            return;
        };
        if self.outgoing.get().is_between_frames() {
            let mut frame = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let highest = self.frames.borrow().highest_stream().to_be_bytes();
            let words = highest.into_iter().chain(glitch.code().to_be_bytes());
            for (place, byte) in frame.iter_mut().skip(9).zip(words) {
                *place = byte;
            }
            let _ = self.stream.try_write(&frame);
        }
        self.linger().await;
    }

    /// Says that nothing more follows, then reads on for a moment: a connection that is closed with
    /// bytes unread is reset, and the last word with it (RFC 9112, section 9.6).
    pub async fn linger(&self) {
        self.stream.shut_down_writing();
        let _ = tokio::time::timeout(LINGER_TIME, self.pass_over(LINGER_BYTES)).await;
    }

    /// Reads what still comes, up to so many bytes.
    async fn pass_over(&self, mut left: usize) {
        let mut room = [0; 4096];
        while left > 0 {
            match self.stream.try_read(&mut room) {
                Ok(0) => return,
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if poll_fn(|cx| self.stream.poll_read_ready(cx)).await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn taken(&self) -> u64 {
        self.stream.acknowledged(self.sent.get())
    }

    fn look(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut frames = self.frames.borrow_mut();
        let result = frames.feed(bytes, self.sent.get(), self.now_ms());
        self.remember(result)
            .map_err(|glitch| io::Error::other(format!("{glitch:?}")))
    }

    fn remember(&self, result: Result<(), Glitch>) -> Result<(), Glitch> {
        if let Err(glitch) = result {
            self.glitch.set(Some(glitch));
        }
        result
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

/// How far the frame is that goes out.
#[derive(Clone, Copy, Debug, Default)]
struct Outgoing {
    /// Of its head, how many bytes have gone, and the length they tell.
    head: usize,
    length: usize,
    /// Of its payload, how many are left.
    left: usize,
}

impl Outgoing {
    /// These bytes have gone out.
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            if self.head < 3 {
                self.length = (self.length << 8) | usize::from(byte);
            }
            self.head += 1;
            if self.head == FRAME_HEAD {
                (self.left, self.head, self.length) = (self.length, 0, 0);
            }
            bytes = rest;
        }
    }

    fn is_between_frames(self) -> bool {
        self.head == 0 && self.left == 0
    }
}

impl Wire {
    pub fn new(
        stream: Stream,
        ahead: Vec<u8>,
        header_timeout: Duration,
        pace: Pace,
    ) -> (Self, Rc<Watch>) {
        let stream = Rc::new(stream);
        let budget = Budget {
            header_ms: header_timeout.as_millis() as u64,
            ..Budget::default()
        };
        let watch = Rc::new(Watch {
            stream: Rc::clone(&stream),
            pace,
            flow: Cell::new(None),
            frames: RefCell::new(Frames::new(budget, 0)),
            start: Instant::now(),
            sent: Cell::new(0),
            came: Cell::new(0),
            outgoing: Cell::default(),
            glitch: Cell::new(None),
            quantum: Quantum::default(),
            gave_way: Cell::new(false),
        });
        let wire = Self {
            stream,
            ahead,
            watch: Rc::clone(&watch),
        };
        (wire, watch)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            let mut bytes: Vec<u8> = self.ahead.drain(..count).collect();
            self.watch.look(&mut bytes)?;
            buf.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        if self.watch.quantum.poll_yield_if_spent(cx).is_pending() {
            self.watch.gave_way.set(true);
            return Poll::Pending;
        }
        loop {
            let room = buf.initialize_unfilled();
            match self.stream.try_read(room) {
                Ok(count) => {
                    self.watch.spend(count);
                    self.watch.came.set(self.watch.came.get() + count as u64);
                    self.watch.look(room.get_mut(..count).unwrap_or_default())?;
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let ready = self.stream.poll_read_ready(cx);
                    if ready.is_pending() {
                        self.watch.quantum.reset();
                    }
                    ready!(ready)?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// The head of a frame and its payload leave together, and over TLS in one record.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Never more: the head, with what stood before it, and the payload.
        let mut full = parts.iter().filter(|part| !part.is_empty());
        let [first, second] =
            [full.next(), full.next()].map(|part| part.map_or(&[][..], |part| part));
        loop {
            match self.stream.try_write_two(first, second) {
                Ok(count) => {
                    self.watch.sent.set(self.watch.sent.get() + count as u64);
                    self.watch.flow.set(None);
                    let mut outgoing = self.watch.outgoing.get();
                    let of_first = count.min(first.len());
                    outgoing.pass(first.get(..of_first).unwrap_or_default());
                    outgoing.pass(second.get(..count - of_first).unwrap_or_default());
                    self.watch.outgoing.set(outgoing);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let watch = &self.watch;
                    let flow = watch.flow.get();
                    let fresh = || Transfer::new(watch.now_ms(), watch.taken());
                    watch.flow.set(flow.or_else(|| Some(fresh())));
                    ready!(self.stream.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written is with the system.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.shut_down_writing();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_frame_that_goes_out_is_known_however_it_is_cut() {
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
        let frames = [&settings[..], &[0, 0, 0, 4, 1, 0, 0, 0, 0], &settings].concat();
        for size in [1, 2, 7, 9, 100] {
            let mut outgoing = Outgoing::default();
            let mut gone = 0;
            for piece in frames.chunks(size) {
                outgoing.pass(piece);
                gone += piece.len();
                let ends = [15, 24, 39].contains(&gone);
                assert_eq!(outgoing.is_between_frames(), ends, "{gone}");
            }
        }
    }
}
