//! The loop of I/O around the relay: bytes from either side to the other until something needs
//! more than that.
//!
//! Owns reading, writing, back-pressure (B9) and giving servers back. In the usual case a query
//! costs one read and one write on each side, no timer and no allocation.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::buffer::{Input, Output};
use super::{Activity, End, Keep, Session};
use crate::pool::{Lease, add};
use crate::relay::{Broken, Io, Lost, Want};
use crate::stream::Stream;
use crate::wire::{SqlError, TxStatus, build};

/// Neither side is read while so much waits to be written to the other.
const HIGH: usize = 64 << 10;

/// So many servers that are gone before a request is sent to one are replaced.
pub(super) const MOST_GONE: u8 = 3;

/// What pumping cannot do alone.
#[derive(Debug)]
pub(super) enum Event {
    /// The client's part is over.
    End(End),
    /// The client waits for a server of a replica and none is idle.
    NeedsReplica,
    /// What it sends next will pin it, and too many are.
    NeedsTurn,
    /// The client asks to be lent a server.
    AskedToLend,
    /// The client's HTTP request is over and its transaction is open.
    RequestEnded,
}

/// What one step led to.
pub(super) enum Did {
    /// Something.
    Work,
    /// Nothing: wakers are registered.
    Nothing,
}

pub(super) type Step = Result<Did, Event>;

impl Session {
    pub(super) fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        (self.client_dry, self.server_dry) = (false, false);
        self.handle.watch(cx);
        if self.wait.is_none()
            && let Some(event) = self.obey()
        {
            return Poll::Ready(event);
        }
        loop {
            if self.wait.is_some()
                && let Err(event) = ready!(self.poll_wait(cx))
            {
                return Poll::Ready(event);
            }
            let mut worked = false;
            for step in [
                Self::poll_server_in,
                Self::poll_client_out,
                Self::take_client,
                Self::poll_server_out,
                Self::poll_client_out,
                Self::release,
                Self::poll_client_in,
            ] {
                match step(self, cx) {
                    Ok(Did::Work) => worked = true,
                    Ok(Did::Nothing) => {}
                    Err(event) => return Poll::Ready(event),
                }
            }
            if !worked {
                self.rest();
                return Poll::Pending;
            }
        }
    }

    /// Carries out orders from outside.
    fn obey(&mut self) -> Option<Event> {
        let orders = self.handle.orders();
        if orders == super::handle::Orders::default() && !self.handle.is_ending() {
            return None;
        }
        if let Some(error) = self.handle.take_end() {
            return Some(Event::End(End::Fatal(error)));
        }
        // Nothing of it waits: a cancel of what is over.
        self.handle.clear(|orders| orders.cancel = false);
        if let Some(activity) = orders.expired {
            self.handle.clear(|orders| orders.expired = None);
            if activity == self.handle.activity() {
                return self.expired(activity);
            }
        }
        if orders.overdue {
            self.handle.clear(|orders| orders.overdue = false);
            // It may have ended meanwhile.
            if self.lease.is_some()
                && (self.relay.told() != TxStatus::Idle || self.relay.is_client_busy())
            {
                return Some(Event::End(End::Fatal(SqlError::fatal(
                    "25P04",
                    "terminating connection due to transaction timeout of the pooler",
                ))));
            }
        }
        #[cfg(test)]
        assert!(!orders.fault, "a fault for a test");
        // A statement that runs is waited for: what it belongs to is rolled back after it.
        if orders.request_ended && !self.relay.is_client_busy() {
            self.handle.clear(|orders| orders.request_ended = false);
            if self.relay.told() != TxStatus::Idle {
                return Some(Event::RequestEnded);
            }
        }
        let is_free = self.lease.as_ref().is_none_or(|held| {
            self.client_in.is_empty() && self.relay.is_pinned(&held.lease.known)
        });
        if orders.drain && is_free && self.relay.told() == TxStatus::Idle {
            return Some(Event::End(End::Fatal(SqlError::fatal(
                "57P01",
                "terminating connection: the pooler shuts down",
            ))));
        }
        None
    }

    fn expired(&mut self, activity: Activity) -> Option<Event> {
        let error = match activity {
            Activity::Active => {
                if let Some(held) = &self.lease {
                    held.lease.aim.fire();
                }
                return None;
            }
            Activity::IdleInTransaction => SqlError::fatal(
                "25P03",
                "terminating connection due to idle-in-transaction timeout of the pooler",
            ),
            Activity::Pinned => SqlError::fatal(
                "57P05",
                "terminating connection: it was idle and kept its server for too long",
            )
            .detail(self.relay.pin_reason().unwrap_or_default()),
            Activity::Idle | Activity::Waiting | Activity::Lent => return None,
        };
        Some(Event::End(End::Fatal(error)))
    }

    /// Lets the relay take what the client sent, with a server as soon as it needs one.
    fn take_client(&mut self, _: &mut Context<'_>) -> Step {
        if self.asks_to_lend() {
            return Err(Event::AskedToLend);
        }
        let mut worked = false;
        while !self.client_in.is_empty()
            && self.server_out.len() < HIGH
            && self.client_out.len() < HIGH
            && !self.lacks_place()
        {
            if let Some(held) = &self.lease {
                held.lease.running(self.client_in.data());
            }
            let Some(portion) = self.portion() else {
                self.needed = self.client_in.data().len() + 1;
                break;
            };
            let mut io = Io {
                known: self.lease.as_mut().map(|held| &mut held.lease.known),
                to_server: self.server_out.tail(),
                to_client: self.client_out.tail(),
            };
            let taken = self
                .relay
                .client_sent(
                    self.client_in.data().get(portion).unwrap_or_default(),
                    &mut io,
                )
                .map_err(|error| Event::End(End::Fatal(error)))?;
            self.needed = 0;
            if let Some(account) = &mut self.account {
                let data = self.client_in.data();
                account.sent(data.get(..taken.used).unwrap_or_default());
            }
            self.took(taken.used);
            worked |= taken.used > 0;
            if self.relay.take_wants_room() {
                self.pool.make_way();
            }
            self.awaits_answers = matches!(taken.want, Want::Answers);
            match taken.want {
                Want::Answers => {
                    // To see that the client is gone takes reading on.
                    if self.client_in.data().len() < HIGH {
                        self.needed = self.client_in.data().len() + 1;
                    }
                    break;
                }
                Want::Bytes(needed) => {
                    self.needed = self.needed.max(needed);
                    break;
                }
                Want::Leave => return Err(Event::End(End::Goodbye)),
                Want::Server => {
                    if self.turn.is_none() && self.will_pin() {
                        // Kept from here on: others ask before this one is seen to be pinned.
                        self.turn = self.pool.host.try_pin_turn();
                        if self.turn.is_none() {
                            return Err(Event::NeedsTurn);
                        }
                    }
                    if let Some(attached) = self.read_from_replica() {
                        worked = true;
                        if attached {
                            continue;
                        }
                        return Err(Event::NeedsReplica);
                    }
                    worked = true;
                    let lease = self.pool.try_lease(self.relay.label(), &self.who);
                    let Some(lease) = lease else {
                        self.queue_up();
                        break;
                    };
                    self.attach(lease);
                }
            }
        }
        Ok(if worked { Did::Work } else { Did::Nothing })
    }

    fn poll_server_out(&mut self, cx: &mut Context<'_>) -> Step {
        if self.server_out.is_empty() && !self.server_out.flushing {
            return Ok(Did::Nothing);
        }
        let Some(held) = &mut self.lease else {
            self.server_out.clear();
            return Ok(Did::Nothing);
        };
        let before = self.server_out.len();
        match write(&mut held.lease.stream, cx, &mut self.server_out) {
            Poll::Pending => Ok(Did::Nothing),
            Poll::Ready(Ok(())) => {
                held.lease.busy = true;
                self.gone = 0;
                held.lease.working();
                Ok(Did::Work)
            }
            Poll::Ready(Err(_)) if self.server_out.len() == before && self.try_another() => {
                Ok(Did::Work)
            }
            // What it said before it went is still to be read: that is the better error.
            Poll::Ready(Err(_)) if self.is_server_readable(cx) => {
                self.server_out.clear();
                Ok(Did::Nothing)
            }
            Poll::Ready(Err(error)) => self.server_gone(&error.to_string()),
        }
    }

    /// The server was gone before it was sent anything: the request goes to another one, as if
    /// it had not been read yet (E5). Whether that can be done.
    fn try_another(&mut self) -> bool {
        let can = |session: &Self| {
            session.gone < MOST_GONE
                && session.client_out.is_empty()
                && session.relay.told() == TxStatus::Idle
                && !session.relay.is_tied()
                && !session.relay.is_mid_message()
                && !session.is_on_replica()
        };
        let taken = match &self.lease {
            Some(held) if !held.lease.busy && can(self) => held.taken,
            _ => return false,
        };
        if !self.client_in.put_back(taken) {
            return false;
        }
        self.drop_server();
        self.gone += 1;
        self.needed = 0;
        self.handle.set_activity(Activity::Idle);
        true
    }

    /// Lets a server go that was sent nothing of the client's, for another one.
    pub(super) fn drop_server(&mut self) {
        self.relay.rewind();
        self.server_out.clear();
        self.server_in = Input::default();
        if let Some(held) = self.lease.take() {
            held.lease.close();
        }
    }

    fn is_server_readable(&mut self, cx: &mut Context<'_>) -> bool {
        let held = self.lease.as_mut();
        held.is_some_and(|held| held.lease.stream.poll_read_ready(cx).is_ready())
    }

    fn poll_server_in(&mut self, cx: &mut Context<'_>) -> Step {
        if self.server_dry || self.client_out.len() >= HIGH || self.server_out.len() >= HIGH * 2 {
            return Ok(Did::Nothing);
        }
        let Some(held) = &mut self.lease else {
            return Ok(Did::Nothing);
        };
        match read(&mut held.lease.stream, cx, &mut self.server_in, 1) {
            Poll::Pending => {
                self.server_dry = true;
                return Ok(Did::Nothing);
            }
            Poll::Ready(Ok(0)) => return self.server_gone("it closed the connection"),
            Poll::Ready(Err(error)) => return self.server_gone(&error.to_string()),
            Poll::Ready(Ok(_)) => {}
        }
        let mut io = Io {
            known: Some(&mut held.lease.known),
            to_server: self.server_out.tail(),
            to_client: self.client_out.tail(),
        };
        match self.relay.server_sent(self.server_in.data(), &mut io) {
            Ok(used) => {
                self.server_in.consume(used);
                self.judge();
                Ok(Did::Work)
            }
            Err(Broken(error)) => self.server_lost(&error),
        }
    }

    fn server_gone(&mut self, how: &str) -> Step {
        self.server_lost(&SqlError::error(
            "08006",
            format!("the database server is gone: {how}"),
        ))
    }

    /// The server died under the client: it is told, and lives on unless it has lost more than its
    /// requests (E5).
    pub(super) fn server_lost(&mut self, error: &SqlError) -> Step {
        if self.lost_on_trial() {
            return Ok(Did::Work);
        }
        if let Some(held) = self.lease.take() {
            held.lease.close();
        }
        self.server_in = Input::default();
        self.server_out.clear();
        let (relay, mut io) = self.relay();
        match relay.lost(error, &mut io) {
            Lost::Lives => {}
            Lost::Ends(error) => return Err(Event::End(End::Fatal(error))),
            Lost::Cut => return Err(Event::End(End::Cut)),
        }
        self.turn = None;
        self.handle.set_activity(Activity::Idle);
        self.handle.set_pin(None, Keep::Firm);
        Ok(Did::Work)
    }

    pub(super) fn poll_client_out(&mut self, cx: &mut Context<'_>) -> Step {
        if self.client_out.is_empty() && !self.client_out.flushing || self.is_on_trial() {
            return Ok(Did::Nothing);
        }
        let before = self.client_out.len();
        match write(&mut self.stream, cx, &mut self.client_out) {
            Poll::Pending => Ok(Did::Nothing),
            Poll::Ready(Ok(())) => {
                let left = self.client_out.len();
                self.pool.counters.sent(before.saturating_sub(left));
                Ok(Did::Work)
            }
            Poll::Ready(Err(_)) => Err(Event::End(End::Vanished)),
        }
    }

    /// Gives the server back when it may go, and notes what the session does.
    fn release(&mut self, _: &mut Context<'_>) -> Step {
        self.settle_account();
        let Some(held) = &mut self.lease else {
            return Ok(Did::Nothing);
        };
        if let Some(refusal) = self.relay.refusal() {
            let is_spoilt = refusal.is_spoilt;
            // What it had too many of is being closed.
            if !self.owes_nothing() {
                return Ok(Did::Nothing);
            }
            // It would not have this client's settings, and is as it was before.
            if is_spoilt {
                self.relay.take_refusal();
                self.put_away(Lease::close);
            } else {
                self.give_back();
            }
            return Ok(Did::Work);
        }
        let known = &held.lease.known;
        if self.relay.may_release(known) && self.server_out.is_empty() && self.server_in.is_empty()
        {
            if self.shared.settings.reset_always && self.forget_all() {
                return Ok(Did::Work);
            }
            self.give_back();
            // What waits for its turn goes on without a server.
            let did = if self.client_in.is_empty() {
                Did::Nothing
            } else {
                Did::Work
            };
            return self.obey().map_or(Ok(did), Err);
        }
        if !self.relay.is_settled() || self.relay.is_client_busy() {
            let owing = !self.relay.is_settled();
            let relay = &self.relay;
            self.handle.set_active(relay.ended(), relay.idles(), owing);
        } else if known.status != TxStatus::Idle {
            held.lease.busy = false;
            held.lease.answered();
            self.handle.set_activity(Activity::IdleInTransaction);
            return self.obey().map_or(Ok(Did::Nothing), Err);
        } else if self.relay.is_pinned(known) {
            held.lease.busy = false;
            // What was answered is not to be sent again should it be gone when it is asked next.
            held.taken = 0;
            held.lease.transaction_over();
            if self.gives_way() {
                return Ok(Did::Work);
            }
            self.pin()?;
            return self.obey().map_or(Ok(Did::Nothing), Err);
        }
        Ok(Did::Nothing)
    }

    /// Sends what makes the server forget this client, if that is to be and was not done.
    pub(super) fn forget_all(&mut self) -> bool {
        let (relay, mut io) = self.relay();
        relay.forget_all(&mut io)
    }

    fn give_back(&mut self) {
        if self.relay.is_in_doubt() {
            self.put_away(Lease::close);
        } else if self.owes_nothing() {
            self.put_away(Lease::give_back);
        } else {
            self.put_away(Lease::unsettled);
        }
    }

    /// Whether nothing is under way between us and the server, so that another client can have it.
    pub(super) fn owes_nothing(&self) -> bool {
        self.relay.is_settled()
            && !self.relay.is_in_doubt()
            && self.server_in.is_empty()
            && self.server_out.is_empty()
            && !self.server_out.flushing
            && self
                .lease
                .as_ref()
                .is_none_or(|held| held.lease.known.status == TxStatus::Idle)
    }

    #[inline]
    fn put_away(&mut self, put: impl FnOnce(Lease)) {
        self.relay.detach();
        self.count();
        self.reads_released();
        self.turn = None;
        if let Some(mut held) = self.lease.take() {
            held.lease.busy = false;
            if self.handle.activity() == Activity::Pinned {
                self.handle.set_pin(None, Keep::Firm);
            }
            put(held.lease);
        }
        self.handle.set_activity(Activity::Idle);
    }

    /// Adds what the relay counted to the pool's numbers.
    fn count(&mut self) {
        let counts = self.relay.take_counts();
        self.handle.set_prepared(counts.prepared);
        let counters = &self.pool.counters;
        add(&counters.client_parses, counts.client_parses.into());
        add(&counters.server_parses, counts.server_parses.into());
        add(&counters.binds, counts.binds.into());
    }

    fn poll_client_in(&mut self, cx: &mut Context<'_>) -> Step {
        if !self.client_in.is_empty() && self.client_in.data().len() >= self.needed.max(1)
            || self.server_out.len() >= HIGH
            || self.client_dry
        {
            return Ok(Did::Nothing);
        }
        match read(&mut self.stream, cx, &mut self.client_in, self.needed) {
            Poll::Pending => {
                self.client_dry = true;
                Ok(Did::Nothing)
            }
            // What it sent before its goodbye is done, unless the goodbye stands in a message that is not whole.
            Poll::Ready(Ok(0))
                if self.awaits_answers && self.client_in.data().ends_with(build::TERMINATE) =>
            {
                self.client_dry = true;
                Ok(Did::Nothing)
            }
            Poll::Ready(Ok(0) | Err(_)) => Err(Event::End(End::Vanished)),
            Poll::Ready(Ok(count)) => {
                self.pool.counters.received(count);
                Ok(Did::Work)
            }
        }
    }

    /// Nothing is in flight: buffers go where others can use them.
    fn rest(&mut self) {
        self.client_in.rest();
        self.server_in.rest();
        self.client_out.rest();
        self.server_out.rest();
    }
}

/// Reads what is there into `input`. No buffer is borrowed before something is.
pub(super) fn read(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    input: &mut Input,
    needed: usize,
) -> Poll<io::Result<usize>> {
    if let Some(unix) = stream.as_unix() {
        let count = ready!(unix.poll_read_into(cx, || input.room(needed)))?;
        input.filled(count);
        return Poll::Ready(Ok(count));
    }
    ready!(stream.poll_read_ready(cx))?;
    let mut room = ReadBuf::new(input.room(needed));
    ready!(stream.poll_read(cx, &mut room))?;
    let count = room.filled().len();
    input.filled(count);
    Poll::Ready(Ok(count))
}

/// Writes what there is room for, and sees to it that it does not stay inside TLS.
pub(super) fn write(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    output: &mut Output,
) -> Poll<io::Result<()>> {
    let mut wrote = false;
    if !output.is_empty() {
        match stream.poll_write(cx, output.data()) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => {
                output.wrote(count);
                wrote = true;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {}
        }
    }
    if !stream.is_tls() {
        return if wrote {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        };
    }
    let flushed = stream.poll_flush(cx)?.is_ready();
    let was_flushing = std::mem::replace(&mut output.flushing, !flushed);
    if wrote || (was_flushing && flushed) {
        Poll::Ready(Ok(()))
    } else {
        Poll::Pending
    }
}
