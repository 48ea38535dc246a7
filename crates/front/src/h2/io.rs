//! Owns the bytes of an HTTP/2 connection on their way to and from the `h2` crate, with a look at
//! the heads of the frames that come and at the pace at which those that go are taken.
//! Leaves what too many are to `canter_shield::frames`, what is too slow to its `pace`.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use canter_shield::frames::{Budget, Frames, Glitch};
use canter_shield::pace::{Pace, Transfer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

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
    pace: Pace,
    /// How fast the client takes what waits for it; None while nothing does.
    flow: Cell<Option<Transfer>>,
    glitch: Cell<Option<Glitch>>,
}

impl Watch {
    /// Why the connection was ended, when frames were the reason.
    pub fn glitch(&self) -> Option<Glitch> {
        self.glitch.get()
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

    fn taken(&self) -> u64 {
        self.stream.acknowledged(self.sent.get())
    }

    fn look(&self, bytes: &[u8]) -> io::Result<()> {
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
            glitch: Cell::new(None),
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
            let bytes: Vec<u8> = self.ahead.drain(..count).collect();
            self.watch.look(&bytes)?;
            buf.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        loop {
            let room = buf.initialize_unfilled();
            match self.stream.try_read(room) {
                Ok(count) => {
                    self.watch.look(room.get(..count).unwrap_or_default())?;
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_read_ready(cx))?;
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
        loop {
            match self.stream.try_write(bytes) {
                Ok(count) => {
                    self.watch.sent.set(self.watch.sent.get() + count as u64);
                    self.watch.flow.set(None);
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

    /// What was written is with the system.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.shut_down_writing();
        Poll::Ready(Ok(()))
    }
}
