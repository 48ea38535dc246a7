//! A session that keeps its server between transactions: its place among those who do, waiting
//! for one, and giving it up (D12, D14).
//!
//! Owns when that is. What keeps a session is the relay's to know; how many may is the pool's.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::time::timeout;

use super::obtain::{Broke, cancelled};
use super::pump::Event;
use super::{Activity, End, Keep, Session};
use crate::relay::sequences_are_read;
use crate::sql::{self, Flags};
use crate::wire::frame::Frame;
use crate::wire::message::{BindHead, Parse, query_text};
use crate::wire::{SqlError, TxStatus};

/// Kinds of state that pin for certain, or nearly so.
const PINNING: Flags = Flags::ASKABLE.with(Flags::UNASKABLE);

fn too_many(cap: u32) -> String {
    format!("too many sessions keep a server connection for themselves ({cap})")
}

/// A single statement that reads or updates and calls nothing: spares most texts the scan.
fn is_plain(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'S' | b's' | b'U' | b'u')) && sql::calls_nothing(text)
}

impl Session {
    /// Whether the next request says that it leaves something behind. What may do anything (`DO`,
    /// functions nobody knows) mostly does not, and is let through.
    pub(super) fn will_pin(&self) -> bool {
        let data = self.client_in.data();
        let Ok(Some(frame)) = Frame::decode(data) else {
            return false;
        };
        let Some(body) = frame.body_of(data) else {
            return false;
        };
        let conforming = self.relay.params().is_conforming();
        let scan = |text| (!is_plain(text)).then(|| (text, sql::scan(text, conforming).flags));
        let seen = match frame.tag {
            b'Q' => query_text(body).and_then(scan),
            b'P' => Parse::decode(body).and_then(|parse| scan(parse.text)),
            b'B' => BindHead::decode(body)
                .and_then(|head| self.relay.statement(head.statement))
                .map(|statement| (statement.text(), statement.seen().flags)),
            _ => None,
        };
        seen.is_some_and(|(text, flags)| {
            // A lock that is only tried is most often not got, or soon given back.
            let tries = || {
                text.windows(4)
                    .any(|word| word.eq_ignore_ascii_case(b"try_"))
            };
            flags.any(PINNING)
                && !flags.any(Flags::FUNCTION)
                && !(flags.any(Flags::ADVISORY) && tries())
        })
    }

    /// Whether the next request will keep a server and has no place for that yet, while the server at hand is
    /// about to go back: it waits for its turn after that, as any other.
    pub(super) fn lacks_place(&mut self) -> bool {
        let Some(held) = &self.lease else {
            return false;
        };
        // The first one with this server has its place, or needs none: it was looked at before.
        if held.taken == 0
            || self.relay.told() != TxStatus::Idle
            || self.relay.is_client_busy()
            || self.turn.is_some()
            || held.lease.is_pinned()
        {
            return false;
        }
        // Else something else keeps it.
        let goes_back = self.relay.may_release(&held.lease.known) || !self.owes_nothing();
        if !goes_back || !self.will_pin() {
            return false;
        }
        self.turn = self.pool.host.try_pin_turn();
        self.turn.is_none()
    }

    /// Waits for a place among the pinned before it asks for a server: nobody who waits for one
    /// keeps the other from others.
    pub(super) async fn await_turn(&mut self) -> Result<(), End> {
        self.handle.set_activity(Activity::Waiting);
        let host = Rc::clone(&self.pool.host);
        host.pins.press();
        let limit = self.shared.settings.patience();
        let mut turn = pin!(timeout(limit, host.pin_turn()));
        let got = poll_fn(|cx| {
            if let Poll::Ready(got) = turn.as_mut().poll(cx) {
                return Poll::Ready(Ok(got));
            }
            self.poll_interruption(cx).map(Err)
        })
        .await;
        self.handle.set_activity(Activity::Idle);
        match got {
            Ok(Ok(turn)) => self.turn = Some(turn),
            Ok(Err(_)) => {
                let error = SqlError::error("53400", too_many(host.pin_cap()))
                    .detail(format!(
                        "none gave its own up within {} s: {}",
                        limit.as_secs_f32(),
                        host.pins.words()
                    ))
                    .hint("raise --db-pin-limit, or connect to the database itself");
                self.relay.refuse(error);
            }
            Err(Broke::Cancelled) => self.relay.refuse(cancelled()),
            Err(Broke::Left) => return Err(End::Vanished),
            Err(Broke::Ended(error)) => return Err(End::Fatal(error)),
        }
        Ok(())
    }

    /// Lets go of a server that only `nextval` keeps, when it is to; whether it does.
    pub(super) fn gives_way(&mut self) -> bool {
        let Some(held) = &self.lease else {
            return false;
        };
        let asked = self.handle.orders().give_way;
        if asked {
            self.handle.clear(|orders| orders.give_way = false);
        }
        if !self.relay.is_softly_pinned(&held.lease.known) || !self.client_in.is_empty() {
            return false;
        }
        let host = &self.pool.host;
        let pressed = host.pools.borrow().iter().any(|pool| pool.is_short());
        let is_new = self.handle.pin().is_none();
        let is_one_too_many = is_new && host.pins.len() >= host.pin_cap() as usize;
        if asked || pressed && !sequences_are_read() || is_one_too_many {
            let (relay, mut io) = self.relay();
            relay.forget_sequences(&mut io);
            return true;
        }
        false
    }

    /// The session keeps its server (D14), if not too many do.
    pub(super) fn pin(&mut self) -> Result<(), Event> {
        let reason: Option<Rc<str>> = self.relay.pin_reason().map(Into::into);
        if self.handle.activity() == Activity::Pinned && self.handle.pin() == reason {
            return Ok(());
        }
        let Some(held) = &self.lease else {
            return Ok(());
        };
        // Its place is there for it.
        self.turn = None;
        let keep = if self.relay.is_softly_pinned(&held.lease.known) {
            Keep::Soft
        } else if self.relay.is_pinned_to_wait() {
            Keep::Waiting
        } else {
            Keep::Firm
        };
        self.handle.set_pin(reason.clone(), keep);
        for (word, text) in self.relay.pin_words() {
            held.lease.pin(word, text.as_bytes()).map_err(|refused| {
                let error = SqlError::fatal("53400", too_many(refused.cap))
                    .detail(reason.as_deref().unwrap_or_default())
                    .hint("end what keeps it, or connect to the database itself");
                Event::End(End::Fatal(error))
            })?;
        }
        self.handle.set_activity(Activity::Pinned);
        Ok(())
    }
}
