//! A unix socket that wakes its task for bytes to read alone.
//!
//! Owns its place in the runtime. The kernel reports room to write on a unix socket each time the
//! other side has read something, and tokio's own stream asks for that report: two needless
//! wake-ups for each query. Here it is asked for only while a write is stuck.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, ReadBuf};

use super::Peer;

/// A connected unix socket.
#[derive(Debug)]
pub struct Unix {
    io: AsyncFd<UnixStream>,
    /// The same socket once more, while a write is stuck: ready when there is room.
    room: Option<Box<AsyncFd<OwnedFd>>>,
    peer: Option<Peer>,
}

impl Unix {
    /// Takes the socket over from tokio's own stream.
    pub(super) fn new(unix: tokio::net::UnixStream) -> io::Result<Self> {
        let peer = unix.peer_cred().ok().map(|cred| Peer {
            pid: cred.pid(),
            uid: cred.uid(),
        });
        Ok(Self {
            io: register(unix.into_std()?, Interest::READABLE)?,
            room: None,
            peer,
        })
    }

    /// Out of the runtime.
    pub(super) fn into_std(self) -> UnixStream {
        self.io.into_inner()
    }

    pub(super) fn peer(&self) -> Option<Peer> {
        self.peer
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &UnixStream {
        self.io.get_ref()
    }

    /// The place where its readability is known.
    pub(super) fn readiness(&self) -> &AsyncFd<UnixStream> {
        &self.io
    }

    pub(super) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io
            .try_io(Interest::READABLE, |mut unix| unix.read(buf))
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket().write(bytes)
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_read_ready(cx).map_ok(drop)
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.room {
            Some(room) => room.poll_write_ready(cx).map_ok(drop),
            None => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(self.poll_read_into(cx, || buf.initialize_unfilled()))?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }

    /// As `poll_read`, and asks for room only when there is something to be read.
    pub(crate) fn poll_read_into<'a>(
        &self,
        cx: &mut Context<'_>,
        room: impl FnOnce() -> &'a mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut ready = ready!(self.io.poll_read_ready(cx))?;
        let room = room();
        loop {
            match self.io.get_ref().read(room) {
                Ok(count) => {
                    // Less than there was room for: nothing is left, and the next read need not
                    // find that out.
                    if 0 < count && count < room.len() {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    ready = ready!(self.io.poll_read_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let ready = match &self.room {
                Some(room) => Some(ready!(room.poll_write_ready(cx))?),
                None => None,
            };
            match self.io.get_ref().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(mut ready) = ready {
                        ready.clear_ready();
                        continue;
                    }
                    let same = OwnedFd::from(self.io.get_ref().try_clone()?);
                    self.room = Some(Box::new(register(same, Interest::WRITABLE)?));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => {
                    if done.as_ref().is_ok_and(|count| *count == bytes.len()) {
                        self.room = None;
                    }
                    return Poll::Ready(done);
                }
            }
        }
    }

    pub(super) fn shut_down(&self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)
    }
}

/// `std`'s own types keep their descriptor for as long as they live, which is what the function
/// that replaces this one makes its caller promise in an unsafe block.
#[expect(
    deprecated,
    reason = "its replacement is unsafe, and this crate has no unsafe code"
)]
fn register<T: AsRawFd>(io: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(io, interest)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn run<F: Future>(test: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test)
    }

    fn pair() -> (Unix, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        (Unix::new(ours).unwrap(), theirs)
    }

    async fn read(unix: &mut Unix, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut into = ReadBuf::new(buf);
            unix.poll_read(cx, &mut into)
                .map_ok(|()| into.filled().len())
        })
        .await
    }

    #[test]
    fn a_stuck_write_goes_on_when_the_other_side_reads() {
        const LENGTH: usize = 4 << 20;
        run(async {
            let (mut ours, mut theirs) = pair();
            let bytes = vec![7; LENGTH];
            let mut rest = &bytes[..];
            let mut reader = None;
            while !rest.is_empty() {
                let wrote = poll_fn(|cx| {
                    let polled = ours.poll_write(cx, rest);
                    if polled.is_pending() && reader.is_none() {
                        let mut theirs = theirs.try_clone().unwrap();
                        reader = Some(std::thread::spawn(move || {
                            let mut got = vec![0; LENGTH];
                            theirs.read_exact(&mut got).map(|()| got)
                        }));
                    }
                    polled
                });
                rest = &rest[wrote.await.unwrap()..];
            }
            let reader = reader.expect("more than the socket holds");
            assert_eq!(reader.join().unwrap().unwrap(), bytes);
            assert!(
                ours.room.is_none(),
                "room is asked for only while it is wanted"
            );
            assert_eq!(poll_fn(|cx| ours.poll_write(cx, b"x")).await.unwrap(), 1);
            theirs.read_exact(&mut [0]).unwrap();
        });
    }

    #[test]
    fn a_short_read_is_the_last_until_more_comes() {
        run(async {
            let (mut ours, mut theirs) = pair();
            let mut buf = [0; 16];
            theirs.write_all(b"abc").unwrap();
            assert_eq!(read(&mut ours, &mut buf).await.unwrap(), 3);
            let silent = poll_fn(|cx| Poll::Ready(ours.poll_read_ready(cx).is_pending())).await;
            assert!(silent);
            theirs.write_all(b"d").unwrap();
            assert_eq!(read(&mut ours, &mut buf).await.unwrap(), 1);
            drop(theirs);
            assert_eq!(read(&mut ours, &mut buf).await.unwrap(), 0);
        });
    }

    #[test]
    fn what_the_other_side_reads_wakes_nobody() {
        run(async {
            let (mut ours, mut theirs) = pair();
            let silent = poll_fn(|cx| Poll::Ready(ours.poll_read_ready(cx).is_pending())).await;
            assert!(silent);
            assert_eq!(poll_fn(|cx| ours.poll_write(cx, b"x")).await.unwrap(), 1);
            theirs.read_exact(&mut [0]).unwrap();
            // One turn of the runtime's driver takes in whatever the kernel has to report.
            tokio::task::yield_now().await;
            let room = ours.io.ready(Interest::READABLE | Interest::WRITABLE);
            let mut room = std::pin::pin!(room);
            let told = poll_fn(|cx| Poll::Ready(room.as_mut().poll(cx).is_ready())).await;
            assert!(!told);
        });
    }

    #[test]
    fn a_write_to_nobody_is_an_error() {
        run(async {
            let (mut ours, theirs) = pair();
            drop(theirs);
            let wrote = poll_fn(|cx| ours.poll_write(cx, b"x")).await;
            assert_eq!(wrote.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    }
}
