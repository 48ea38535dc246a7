//! Owns a pair of byte queues inside this process that looks like a socket to a `Conn`: so one
//! request of HTTP/2 passes through the same code, with the same limits, as one of HTTP/1.1.
//! Leaves what goes in and comes out at the other end to `h2`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::scratch::{SCRATCH, with_scratch};

/// Most bytes on their way to the `Conn`.
const ROOM: usize = 64 * 1024;
/// Most bytes on their way from it, once the client takes some: a connection has a hundred streams.
const WIDE_ROOM: usize = 16 * 1024;
/// Before that: enough for a head, and little enough for clients that ask for a hundred responses
/// and take none.
const FIRST_ROOM: usize = 4 * 1024;

/// One direction.
struct Queue {
    bytes: VecDeque<u8>,
    room: usize,
    /// Nothing will follow.
    ended: bool,
    /// The end was none in good order, or nobody reads any more.
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Queue {
    fn new(room: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            bytes: VecDeque::new(),
            room,
            ended: false,
            broken: false,
            reader: None,
            writer: None,
        }))
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken || self.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(self.room.saturating_sub(self.bytes.len()));
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes.extend(bytes.get(..count).unwrap_or_default());
        wake(&mut self.reader);
        Ok(count)
    }

    fn pull(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (first, second) = self.bytes.as_slices();
        let from = if first.is_empty() { second } else { first };
        let count = from.len().min(room.len());
        if count > 0 {
            room[..count].copy_from_slice(&from[..count]);
            self.bytes.drain(..count);
            if self.bytes.is_empty() {
                self.bytes = VecDeque::new();
            }
            wake(&mut self.writer);
            return Ok(count);
        }
        if self.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.ended || room.is_empty() {
            return Ok(0);
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// As much as there is, without copying it.
    fn take(&mut self) -> io::Result<Vec<u8>> {
        if self.bytes.is_empty() {
            // Says why there is nothing.
            self.pull(&mut [0])?;
            return Ok(Vec::new());
        }
        wake(&mut self.writer);
        Ok(std::mem::take(&mut self.bytes).into())
    }

    fn poll_readable(&mut self, cx: &Context<'_>) -> Poll<()> {
        if !self.bytes.is_empty() || self.ended || self.broken {
            return Poll::Ready(());
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_writable(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.bytes.len() < self.room || self.broken {
            return Poll::Ready(());
        }
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn end(&mut self, broken: bool) {
        self.ended = true;
        self.broken |= broken;
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// One end of a pair. The other end learns when it is dropped.
pub(crate) struct Pipe {
    incoming: Rc<RefCell<Queue>>,
    outgoing: Rc<RefCell<Queue>>,
}

/// Two ends: the client's side and the `Conn`'s.
#[cfg(test)]
pub(crate) fn pair() -> (Pipe, Pipe) {
    pair_behind(Vec::new())
}

/// The same, where the client's side has written this already, however long it is.
pub(crate) fn pair_behind(written: Vec<u8>) -> (Pipe, Pipe) {
    let (first, second) = (Queue::new(FIRST_ROOM), Queue::new(ROOM));
    second.borrow_mut().bytes = written.into();
    let near = Pipe {
        incoming: Rc::clone(&first),
        outgoing: Rc::clone(&second),
    };
    let far = Pipe {
        incoming: second,
        outgoing: first,
    };
    (near, far)
}

impl Pipe {
    pub fn poll_read_ready(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.incoming.borrow_mut().poll_readable(cx).map(Ok)
    }

    pub fn poll_write_ready(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.borrow_mut().poll_writable(cx).map(Ok)
    }

    pub fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        self.incoming.borrow_mut().pull(room)
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.borrow_mut().push(bytes)
    }

    pub fn try_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        len: usize,
    ) -> io::Result<usize> {
        let room = self.outgoing.borrow().room.saturating_sub(self.unread());
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = with_scratch(|piece| {
            let piece = &mut piece[..len.min(room).min(SCRATCH)];
            let count = rustix::io::pread(file, &mut *piece, *offset)?;
            self.outgoing.borrow_mut().push(&piece[..count])
        })?;
        *offset += count as u64;
        Ok(count)
    }

    /// All that the other end has written so far; nothing at its end.
    pub fn take(&self) -> io::Result<Vec<u8>> {
        self.incoming.borrow_mut().take()
    }

    /// From now on the other end may write more at a time.
    pub fn widen(&self) {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.room < WIDE_ROOM {
            incoming.room = WIDE_ROOM;
            wake(&mut incoming.writer);
        }
    }

    /// Bytes written that the other end has not taken.
    pub fn unread(&self) -> usize {
        self.outgoing.borrow().bytes.len()
    }

    /// No more will be written.
    pub fn end(&self) {
        self.outgoing.borrow_mut().end(false);
    }

    /// What was written is not all that should have been.
    pub fn break_off(&self) {
        self.outgoing.borrow_mut().end(true);
    }

    /// Ready once the other end has broken off, whatever it had written.
    pub fn poll_broken(&self, cx: &Context<'_>) -> Poll<()> {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.broken {
            return Poll::Ready(());
        }
        incoming.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The other end is gone.
    pub fn is_broken(&self) -> bool {
        self.outgoing.borrow().broken
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut outgoing = self.outgoing.borrow_mut();
        // A writer that leaves without having said that it is done has broken off.
        let broken = !outgoing.ended;
        outgoing.end(broken);
        drop(outgoing);
        let mut incoming = self.incoming.borrow_mut();
        incoming.broken = true;
        incoming.bytes = VecDeque::new();
        wake(&mut incoming.writer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_a_full_pipe_blocks() {
        let (near, far) = pair();
        let sent: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        let count = near.try_write(&sent).unwrap();
        assert_eq!((count, near.unread()), (ROOM, ROOM));
        assert_eq!(far.try_write(&sent).unwrap(), FIRST_ROOM);
        near.widen();
        assert_eq!(far.try_write(&sent).unwrap(), WIDE_ROOM - FIRST_ROOM);
        let blocked = near.try_write(b"x").unwrap_err();
        assert_eq!(blocked.kind(), io::ErrorKind::WouldBlock);
        let mut got = vec![0; 70_000];
        let mut at = 0;
        while let Ok(count) = far.try_read(&mut got[at..]) {
            at += count;
        }
        assert_eq!(got[..at], sent[..ROOM]);
        assert_eq!(near.take().unwrap().len(), WIDE_ROOM);
        assert_eq!(near.take().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        near.end();
        assert_eq!(far.try_read(&mut got).unwrap(), 0);
    }

    #[test]
    fn an_end_that_is_dropped_has_broken_off_unless_it_said_that_it_was_done() {
        let (near, far) = pair();
        near.try_write(b"half").unwrap();
        drop(near);
        let mut room = [0; 8];
        assert_eq!(far.try_read(&mut room).unwrap(), 4);
        assert_eq!(
            far.try_read(&mut room).unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
        assert_eq!(
            far.try_write(b"x").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        let (near, far) = pair();
        near.end();
        drop(near);
        assert_eq!(far.try_read(&mut room).unwrap(), 0);
    }
}
