//! The ways between the two processes, each with its front's and its worker's side. Every one wakes
//! the other side, or writes to it, once for all that is ready.
//! Leaves what is sent and the clock to `main`.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use canter_channel::{FrontEnd, Kind, RecordHead, SlotId, WorkerEnd};
use canter_sys::fds;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

/// Answers after which a busy worker lets the front know.
const TOGETHER: u32 = 16;

/// The asking side.
pub trait Front {
    /// Puts a request in line; false when there is no room now.
    fn push(&mut self, number: u64, request: &[u8]) -> io::Result<bool>;
    /// All requests of this turn are in line.
    fn flush(&mut self) -> io::Result<()>;
    /// Waits until answers have come; how many.
    fn wait(&mut self) -> io::Result<u64>;
}

/// The answering side.
pub trait Worker {
    /// Waits for the next request.
    fn take(&mut self) -> io::Result<()>;
    /// Answers it.
    fn answer(&mut self, answer: &[u8]) -> io::Result<()>;
    /// Sends what still waits.
    fn finish(&mut self) -> io::Result<()>;
}

fn readable(fd: impl AsFd) -> io::Result<()> {
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], None)?;
    Ok(())
}

fn broken() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// The front's side of [`rings`].
pub struct Rings {
    end: FrontEnd,
    bell: OwnedFd,
    free: VecDeque<SlotId>,
    room: Vec<u8>,
}

/// The worker's side of [`rings`].
pub struct RingsWorker {
    end: WorkerEnd,
    head: Option<RecordHead>,
    silent: u32,
}

/// Canter's channel.
pub fn rings() -> io::Result<(Rings, RingsWorker)> {
    let (memory, end) = canter_channel::create()?;
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let worker = RingsWorker {
        end: WorkerEnd::open(&memory, bell.try_clone()?)?,
        head: None,
        silent: 0,
    };
    let front = Rings {
        end,
        bell,
        free: SlotId::all().collect(),
        room: Vec::new(),
    };
    Ok((front, worker))
}

impl Front for Rings {
    fn push(&mut self, number: u64, request: &[u8]) -> io::Result<bool> {
        if !self.end.has_room(request.len()) {
            return Ok(false);
        }
        let slot = self.free.pop_front().ok_or_else(broken)?;
        let offered = self.end.offer(slot, number, request);
        offered.map(|()| true).map_err(|_| broken())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.end.wake_worker();
        Ok(())
    }

    fn wait(&mut self) -> io::Result<u64> {
        if !self.end.has_answers() && !self.end.about_to_sleep() {
            readable(&self.bell)?;
            rustix::io::read(&self.bell, &mut [0; 8])?;
        }
        self.end.awake();
        let mut taken = 0;
        while let Some(head) = self.end.take(&mut self.room).map_err(|_| broken())? {
            self.end.free(head.slot);
            self.free.push_back(head.slot);
            taken += 1;
        }
        Ok(taken)
    }
}

impl Worker for RingsWorker {
    fn take(&mut self) -> io::Result<()> {
        loop {
            let taken = self.end.requests.take(|head, request| {
                std::hint::black_box(request.len());
                head
            });
            if let Some(head) = taken.map_err(|_| broken())? {
                self.end.watch.start(head.slot, 1, 0);
                self.head = Some(head);
                return Ok(());
            }
            self.finish()?;
            self.end.requests.sleep(None);
        }
    }

    fn answer(&mut self, answer: &[u8]) -> io::Result<()> {
        let request = self.head.take().ok_or_else(broken)?;
        let head = RecordHead {
            kind: Kind::Response,
            ..request
        };
        while self.end.answers.push(head, &[answer]).is_err() {
            self.end
                .watch
                .wait_for_room(std::time::Duration::from_millis(10));
        }
        self.silent += 1;
        if self.silent >= TOGETHER || self.end.requests.is_empty() {
            self.finish()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.silent = 0;
        self.end.watch.wake_front();
        Ok(())
    }
}

/// Either side of [`stream`]: frames of four bytes of length and a payload.
pub struct Stream {
    socket: UnixStream,
    room: Vec<u8>,
    incoming: Vec<u8>,
    /// Of `incoming`, taken already.
    taken: usize,
    outgoing: Vec<u8>,
    silent: u32,
}

/// A stream socket; frames that are ready together are written together.
pub fn stream() -> io::Result<(Stream, Stream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let side = |socket| Stream {
        socket,
        room: vec![0; 1 << 16],
        incoming: Vec::new(),
        taken: 0,
        outgoing: Vec::new(),
        silent: 0,
    };
    Ok((side(ours), side(theirs)))
}

impl Stream {
    fn put(&mut self, payload: &[u8]) {
        let length = payload.len() as u32;
        self.outgoing.extend_from_slice(&length.to_ne_bytes());
        self.outgoing.extend_from_slice(payload);
    }

    fn write(&mut self) -> io::Result<()> {
        self.silent = 0;
        self.socket.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }

    /// Whether a whole frame had come; it is taken.
    fn get(&mut self) -> bool {
        let rest = self.incoming.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            return false;
        };
        let length = u32::from_ne_bytes(*length) as usize;
        if rest.len() < length {
            return false;
        }
        self.taken += 4 + length;
        true
    }

    fn read(&mut self) -> io::Result<()> {
        self.incoming.drain(..self.taken);
        self.taken = 0;
        let count = self.socket.read(&mut self.room)?;
        if count == 0 {
            return Err(broken());
        }
        self.incoming
            .extend_from_slice(self.room.get(..count).unwrap_or_default());
        Ok(())
    }
}

impl Front for Stream {
    fn push(&mut self, _number: u64, request: &[u8]) -> io::Result<bool> {
        self.put(request);
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write()
    }

    fn wait(&mut self) -> io::Result<u64> {
        readable(&self.socket)?;
        self.read()?;
        let mut taken = 0;
        while self.get() {
            taken += 1;
        }
        Ok(taken)
    }
}

impl Worker for Stream {
    fn take(&mut self) -> io::Result<()> {
        while !self.get() {
            self.write()?;
            self.read()?;
        }
        Ok(())
    }

    fn answer(&mut self, answer: &[u8]) -> io::Result<()> {
        self.put(answer);
        self.silent += 1;
        if self.silent >= TOGETHER {
            self.write()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write()
    }
}

/// Either side of [`seqpacket`].
pub struct Seqpacket {
    socket: OwnedFd,
    room: Vec<u8>,
}

/// A socket that keeps the boundaries of messages.
pub fn seqpacket() -> io::Result<(Seqpacket, Seqpacket)> {
    let (ours, theirs) = fds::pair()?;
    let side = |socket| Seqpacket {
        socket,
        room: vec![0; 1 << 16],
    };
    Ok((side(ours), side(theirs)))
}

impl Seqpacket {
    fn get(&mut self, flags: rustix::net::RecvFlags) -> io::Result<bool> {
        match rustix::net::recv(&self.socket, &mut self.room[..], flags) {
            // The end: the other side has done its share.
            Ok((0, _)) | Err(rustix::io::Errno::AGAIN) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn put(&self, payload: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.socket, payload, rustix::net::SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Front for Seqpacket {
    fn push(&mut self, _number: u64, request: &[u8]) -> io::Result<bool> {
        self.put(request).map(|()| true)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self) -> io::Result<u64> {
        readable(&self.socket)?;
        let mut taken = 0;
        while self.get(rustix::net::RecvFlags::DONTWAIT)? {
            taken += 1;
        }
        Ok(taken)
    }
}

impl Worker for Seqpacket {
    fn take(&mut self) -> io::Result<()> {
        self.get(rustix::net::RecvFlags::empty()).map(drop)
    }

    fn answer(&mut self, answer: &[u8]) -> io::Result<()> {
        self.put(answer)
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
