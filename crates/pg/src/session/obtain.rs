//! Waiting for a server: in the pool's queue, with an eye on the client and on orders.
//!
//! Owns what ends a wait: a server, an error the client can catch (G4), a cancel (F3), a client
//! that leaves, the end of the pooler.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;

use super::buffer::Input;
use super::pump::read;
use super::{Activity, End, Session};
use crate::pool::{Lease, Pool};
use crate::stream::Stream;
use crate::wire::SqlError;

/// How long a read waits for a server of a replica before the primary serves it.
const REPLICA_PATIENCE: Duration = Duration::from_secs(2);
/// How much a client may send ahead while it waits: above, it is no longer read, and is only seen
/// to have left when it got its server.
const MOST_AHEAD: usize = 64 << 10;

/// What ended the wait before there was a server.
pub(super) enum Broke {
    Left,
    Cancelled,
    Ended(SqlError),
}

impl Session {
    /// Waits for a server and attaches it, or has the relay refuse the request.
    pub(super) async fn obtain(&mut self) -> Result<(), End> {
        let pool = Rc::clone(&self.pool);
        let got = match self.wanted_pool() {
            None => self.wait(pool).await,
            Some(replica) => match timeout(REPLICA_PATIENCE, self.wait(replica)).await {
                Ok(Err(broke)) => Err(broke),
                Ok(Ok(Ok(lease))) => {
                    self.attach_wanted(lease);
                    return Ok(());
                }
                _ => {
                    self.waited_in_vain();
                    self.wait(pool).await
                }
            },
        };
        self.handle.set_activity(Activity::Idle);
        if !matches!(got, Ok(Ok(_))) {
            self.turn = None;
        }
        match got {
            Ok(Ok(lease)) => self.attach(lease),
            // A wait that failed is an error of the statement: the client can catch it.
            Ok(Err(error)) => self.relay.refuse(SqlError {
                fatal: false,
                ..error
            }),
            Err(Broke::Cancelled) => self.relay.refuse(cancelled()),
            Err(Broke::Left) => return Err(End::Vanished),
            Err(Broke::Ended(error)) => return Err(End::Fatal(error)),
        }
        Ok(())
    }

    async fn wait(&mut self, pool: Rc<Pool>) -> Result<Result<Lease, SqlError>, Broke> {
        self.handle.set_activity(Activity::Waiting);
        let asked = tokio::time::Instant::now();
        self.handle.asked_at(asked);
        let label = Rc::clone(self.relay.label());
        let who = self.who.clone();
        let mut lease = pin!(pool.lease(&label, &who));
        let got = poll_fn(|cx| {
            if let Poll::Ready(got) = lease.as_mut().poll(cx) {
                return Poll::Ready(Ok(got));
            }
            self.poll_interruption(cx).map(Err)
        })
        .await;
        self.bill_wait(asked, self.account.is_none());
        got
    }

    /// As `obtain` for a session that is not there yet: the client is only seen to leave.
    pub(super) async fn lease_or_end(&mut self) -> Result<Lease, SqlError> {
        let label = Rc::clone(self.relay.label());
        if let Some(lease) = self.pool.try_lease(&label, &self.who) {
            return Ok(lease);
        }
        let pool = Rc::clone(&self.pool);
        let who = self.who.clone();
        let asked = tokio::time::Instant::now();
        let mut lease = pin!(pool.lease(&label, &who));
        let got = poll_fn(|cx| {
            if let Poll::Ready(got) = lease.as_mut().poll(cx) {
                return Poll::Ready(Ok(got));
            }
            self.poll_interruption(cx).map(Err)
        })
        .await;
        self.bill_wait(asked, false);
        match got {
            Ok(got) => got,
            Err(Broke::Ended(error)) => Err(error),
            Err(Broke::Left | Broke::Cancelled) => Err(cancelled()),
        }
    }

    pub(super) fn poll_interruption(&mut self, cx: &mut Context<'_>) -> Poll<Broke> {
        self.handle.watch(cx);
        if let Some(error) = self.handle.take_end() {
            return Poll::Ready(Broke::Ended(error));
        }
        let orders = self.handle.orders();
        if orders.cancel {
            self.handle.clear(|orders| orders.cancel = false);
            return Poll::Ready(Broke::Cancelled);
        }
        self.handle.clear(|orders| orders.request_ended = false);
        match poll_left(&mut self.stream, cx, &mut self.client_in) {
            Poll::Ready(()) => Poll::Ready(Broke::Left),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Ready when the client has left; what it sends ahead is kept.
fn poll_left(stream: &mut Stream, cx: &mut Context<'_>, ahead: &mut Input) -> Poll<()> {
    while ahead.data().len() < MOST_AHEAD {
        match read(stream, cx, ahead, 1) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(_)) => {}
        }
    }
    Poll::Pending
}

pub(super) fn cancelled() -> SqlError {
    SqlError::error("57014", "canceling statement due to user request")
        .detail("it was waiting for a server connection")
}
