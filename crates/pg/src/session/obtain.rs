//! Waiting for a server: in the pool's queue, with an eye on the client and on orders.
//!
//! Owns what ends a wait: a server, an error the client can catch (G4), a cancel (F3), a client
//! that leaves, the end of the pooler.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::buffer::Input;
use super::pump::{Did, Event, read};
use super::{Activity, End, Session};
use crate::pool::{Lease, Pool};
use crate::stream::Stream;
use crate::wire::{SqlError, build};

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
    /// Waits for a server of the replica that was wanted, or else of the primary.
    pub(super) async fn obtain(&mut self) -> Result<(), End> {
        let Some(replica) = self.wanted_pool() else {
            return Ok(());
        };
        let broke = match timeout(REPLICA_PATIENCE, self.wait(replica)).await {
            Ok(Err(broke)) => Some(broke),
            Ok(Ok(Ok(lease))) => {
                if let Some(lease) = self.unless_cancelled(lease) {
                    self.attach_wanted(lease);
                }
                return Ok(());
            }
            _ => None,
        };
        if let Some(broke) = broke {
            return self.waited(Err(broke));
        }
        self.waited_in_vain();
        match self.pool.try_lease(self.relay.label(), &self.who) {
            Some(lease) => self.attach(lease),
            None => self.queue_up(),
        }
        Ok(())
    }

    /// Takes a place in the queue of its pool. What follows is `poll_wait`'s: a wait is no future of
    /// its own, since with many clients there is one for each query.
    pub(super) fn queue_up(&mut self) {
        let now = Instant::now();
        self.handle.set_activity(Activity::Waiting);
        self.handle.asked_at(now);
        match self.pool.queue_up(now) {
            Ok(wait) => {
                self.wait = Some(wait);
                self.client_in.settle();
            }
            Err(error) => self.refused(error),
        }
    }

    /// Waits with an eye on the client and on orders; ready when the wait is over.
    pub(super) fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Event>> {
        let Some(wait) = &self.wait else {
            return Poll::Ready(Ok(()));
        };
        let asked = wait.since();
        let got = match wait.poll_lease(cx, &self.who) {
            Poll::Ready(got) => Ok(got),
            Poll::Pending => {
                if let Some(notice) = wait.take_notice() {
                    notice.encode_notice(self.client_out.tail());
                }
                // Answers to what it sent before.
                while let Did::Work = self.poll_client_out(cx)? {}
                Err(ready!(self.poll_interruption(cx)))
            }
        };
        self.wait = None;
        self.bill_wait(asked, self.account.is_none());
        Poll::Ready(self.waited(got).map_err(Event::End))
    }

    /// A wait is over: a server is there, or the relay refuses the request.
    fn waited(&mut self, got: Result<Result<Lease, SqlError>, Broke>) -> Result<(), End> {
        match got {
            Ok(Ok(lease)) => {
                if let Some(lease) = self.unless_cancelled(lease) {
                    self.attach(lease);
                }
            }
            Ok(Err(error)) => self.refused(error),
            Err(Broke::Cancelled) => self.refused(cancelled()),
            Err(Broke::Left) => return Err(End::Vanished),
            Err(Broke::Ended(error)) => return Err(End::Fatal(error)),
        }
        Ok(())
    }

    /// The server that was waited for, unless a cancel came between its being handed over and now: it
    /// found nothing that runs, and what it was for must not run after it.
    fn unless_cancelled(&mut self, lease: Lease) -> Option<Lease> {
        if !self.handle.orders().cancel {
            return Some(lease);
        }
        self.handle.clear(|orders| orders.cancel = false);
        lease.unused();
        lease.give_back();
        self.refused(cancelled());
        None
    }

    /// A wait that failed is an error of the statement: the client can catch it.
    fn refused(&mut self, error: SqlError) {
        self.handle.set_activity(Activity::Idle);
        self.turn = None;
        self.relay.refuse(SqlError {
            fatal: false,
            ..error
        });
    }

    async fn wait(&mut self, pool: Rc<Pool>) -> Result<Result<Lease, SqlError>, Broke> {
        self.handle.set_activity(Activity::Waiting);
        let asked = Instant::now();
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
        let asked = Instant::now();
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
        if orders.request_ended {
            self.handle.clear(|orders| orders.request_ended = false);
        }
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
            // It said goodbye and went: what it sent before is done, as by PostgreSQL (E2).
            Poll::Ready(Ok(0)) if ahead.data().ends_with(build::TERMINATE) => {
                return Poll::Pending;
            }
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
