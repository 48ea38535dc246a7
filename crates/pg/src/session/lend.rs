//! A server lent to the client itself: its socket goes to a worker of our own, which then speaks with
//! the server without us, until somebody else needs the server (docs/decisions/0025).
//!
//! Owns when that may be, handing the socket over, and asking for it back. The client never gives it
//! back: it closes it between two requests, so that nothing it left there need be known.
//!
//! Both messages are of the private door alone, in the shape of PostgreSQL's (55.7):
//!
//! ```text
//! client  'l' 4             lend me a server
//! pooler  'l' 5 1           here it is (SCM_RIGHTS), or 0: no
//! pooler  'w' 4             it is wanted back: close it when you can
//! client  'X' 4, or its end it is closed
//! ```

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::ReadBuf;
use tokio::time::{Instant, timeout};

use super::{Activity, End, Session};
use crate::pool::Lease;
use crate::stream::Stream;
use crate::wire::TxStatus;

const LEND: &[u8] = b"l\0\0\0\x04";
const LENT: &[u8] = b"l\0\0\0\x05\x01";
const NOT_LENT: &[u8] = b"l\0\0\0\x05\0";
const WANTED: &[u8] = b"w\0\0\0\x04";

/// Servers a session must have been given since it asked last: who asks seldom gains nothing.
const OFTEN: u32 = 16;
/// How often it is looked whether a lent server is needed.
const LOOK: Duration = Duration::from_millis(250);
/// A server that was said goodbye to ends within this.
const GOODBYE: Duration = Duration::from_millis(200);
/// A client whose server was ended lets go of it within this.
const CLIENT_LETS_GO: Duration = Duration::from_secs(5);

impl Session {
    /// Whether the client asks, between its requests, to be lent a server.
    pub(super) fn asks_to_lend(&self) -> bool {
        self.client_in.data().starts_with(LEND)
            && self.handle.owner().is_some()
            && !self.relay.is_mid_message()
    }

    /// Lends a server, and then only waits for its end; or says no.
    pub(super) async fn lend(&mut self) -> Result<(), End> {
        self.client_in.consume(LEND.len());
        let often = std::mem::take(&mut self.leased) >= OFTEN;
        let lent = if often { self.lendable() } else { None };
        let Some(mut lease) = lent else {
            self.client_out.tail().extend_from_slice(NOT_LENT);
            return Ok(());
        };
        if self.hand_over(&mut lease).is_err() {
            // Whether the client has it is not known.
            let _ = lease.stream.take_back();
            lease.close();
            return Err(End::Cut);
        }
        lease.busy = true;
        lease.lent();
        self.handle.clear(|orders| orders.give_way = false);
        self.handle.set_activity(Activity::Lent);
        let end = self.until_it_ends(&lease).await;
        if lease.stream.take_back().is_ok() {
            self.part(&mut lease, &end).await;
        }
        lease.close();
        self.handle.set_activity(Activity::Idle);
        Err(end)
    }

    /// Sees the server off. While the client has it, too, nothing is read from it here: neither would
    /// understand its part.
    async fn part(&mut self, lease: &mut Lease, end: &End) {
        if !matches!(end, End::Vanished) {
            lease.aim.fire();
            // One that cannot take this has more to read than it ever will.
            let _ = self.stream.try_write(WANTED);
            let shut = poll_fn(|cx| lease.stream.poll_shutdown(cx));
            // A client in the middle of something hears of it from the server's end.
            let _ = timeout(GOODBYE, shut).await;
            let _ = timeout(
                CLIENT_LETS_GO,
                poll_fn(|cx| poll_left(&mut self.stream, cx)),
            )
            .await;
        }
        // Whatever still runs there has nobody left to answer to.
        lease.busy = timeout(GOODBYE, has_ended(lease)).await.is_err();
    }

    /// A server that is as this client's own would be, if there is one to spare.
    fn lendable(&self) -> Option<Lease> {
        let is_free = self.lease.is_none()
            && self.reads.is_none()
            && self.account.is_none()
            && self.relay.is_settled()
            && self.relay.told() == TxStatus::Idle
            && self.client_in.is_empty()
            && self.client_out.is_empty();
        if !is_free
            || self.is_timed()
            || self.shared.settings.reset_always
            || self.pool.is_disabled()
            || !self.pool.host.may_lend(Instant::now())
        {
            return None;
        }
        let lease = self.pool.try_lease(self.relay.label(), &self.who)?;
        if lease.stream.is_tls() || !self.relay.could_do_without_us(&lease.known) {
            lease.unused();
            lease.give_back();
            return None;
        }
        Some(lease)
    }

    /// Whether there are limits that only who reads along can keep.
    fn is_timed(&self) -> bool {
        let settings = &self.shared.settings;
        let limits = [
            settings.query_timeout(),
            settings.idle_transaction_timeout(),
            settings.transaction_timeout(),
        ];
        limits.iter().any(|limit| !limit.is_zero())
    }

    fn hand_over(&mut self, lease: &mut Lease) -> io::Result<()> {
        let unix = self.stream.as_unix().ok_or(io::ErrorKind::Unsupported)?;
        let fd = lease.stream.lend()?;
        send_with(unix.socket().as_fd(), LENT, fd)
    }

    /// Waits until the client has left or the session must end; asks for the server meanwhile, once,
    /// when it is needed.
    async fn until_it_ends(&mut self, lease: &Lease) -> End {
        let mut asked = false;
        loop {
            if let Ok(end) = timeout(LOOK, self.word()).await {
                return end;
            }
            let now = Instant::now();
            let is_wanted = !lease.may_stay(now)
                || self.handle.orders().drain
                || self.is_timed()
                || self.pool.host.wants_back(now);
            if is_wanted && !asked {
                asked = true;
                self.client_out.tail().extend_from_slice(WANTED);
            }
        }
    }

    /// The next word of the client, which says only goodbye, or of others.
    async fn word(&mut self) -> End {
        poll_fn(|cx| {
            self.handle.watch(cx);
            if let Some(error) = self.handle.take_end() {
                return Poll::Ready(End::Fatal(error));
            }
            if self.handle.orders().cancel {
                // Its HTTP request has nobody left who waits for it.
                self.handle.clear(|orders| orders.cancel = false);
                return Poll::Ready(End::Cut);
            }
            if let Err(super::pump::Event::End(end)) = self.poll_client_out(cx) {
                return Poll::Ready(end);
            }
            poll_left(&mut self.stream, cx).map(|()| End::Vanished)
        })
        .await
    }
}

/// Ready when the client has let go of the server: it says goodbye, or is gone.
fn poll_left(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
    let mut bytes = [0; 16];
    stream
        .poll_read(cx, &mut ReadBuf::new(&mut bytes))
        .map(drop)
}

/// Waits for the end of the server's words.
async fn has_ended(lease: &mut Lease) {
    let mut rest = [0; 4096];
    while let Ok(1..) = lease.stream.read(&mut rest).await {}
}

fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let sent = sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}
