//! The answers to a client that was just admitted: parameters, key, readiness (A3, A6, A7).
//!
//! Owns finding out what a server would report to this client: from earlier clients with the same
//! settings, or from a server that is given these settings now.

use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::task::Poll;

use super::buffer::{Input, Output};
use super::pump::{MOST_GONE, read, write};
use super::{End, Guest, Held, Session, watch};
use crate::relay::{Broken, Io, Label, Params, Relay, TOUCHED};
use crate::replica::Group;
use crate::wire::startup::Startup;
use crate::wire::{SqlError, TxStatus, build};

/// Start-up settings whose reports are remembered for each pool.
const MOST_GREETINGS: usize = 64;

/// Answers a client's start-up; `None` when it did not become a session.
pub(super) async fn greet(guest: Box<Guest>) -> Option<Box<Session>> {
    let guest = *guest;
    let mut out = guest.greeting;
    let label = start_label(&guest.startup);
    let known = guest
        .pool
        .greetings
        .borrow()
        .get_key_value(&label)
        .map(clone_both);
    let user: Box<str> = guest.pool.key.user.clone();
    let group = Group::of(&guest.shared, guest.pool.key.target);
    // Where a transaction that only reads begins decides on its server.
    let defer_begin = guest.shared.settings.defer_begin && group.is_none();
    let (label, params) = known.clone().unwrap_or_else(|| (label, Rc::default()));
    let mut session = Box::new(Session {
        relay: Relay::new(&user, label, params, defer_begin),
        shared: guest.shared,
        stream: guest.stream,
        pool: guest.pool,
        handle: guest.handle,
        who: guest.who,
        lease: None,
        wait: None,
        turn: None,
        reads: group.map(super::reads::Reads::new),
        client_in: Input::default(),
        server_out: Output::default(),
        server_in: Input::default(),
        client_out: Output::default(),
        gone: 0,
        leased: 0,
        needed: 0,
        account: None,
        client_dry: false,
        awaits_answers: false,
        server_dry: false,
    });
    session.open_account();
    // Its address: should another pool have it one day, a statement that it does not take is
    // refused with its first use.
    let pool = Rc::as_ptr(&session.pool).addr();
    session.relay.served_by(NonZeroUsize::new(pool));
    if known.is_none()
        && let Err(error) = session.ask_params().await
    {
        SqlError {
            fatal: true,
            ..error.clone()
        }
        .encode(&mut out);
        session.client_out.tail().extend_from_slice(&out);
        super::leave::leave(session, End::Cut).await;
        return None;
    }
    for (name, value) in session.relay.params().tellable() {
        build::parameter_status(&mut out, name, value);
    }
    if session.handle.owner().is_some() {
        build::parameter_status(&mut out, TOUCHED, "off");
        session.relay.tell_when_touched();
    }
    build::backend_key_data(&mut out, &guest.key);
    build::ready(&mut out, TxStatus::Idle);
    session.client_out.tail().extend_from_slice(&out);
    Some(session)
}

fn clone_both(pair: (&Rc<Label>, &Rc<Params>)) -> (Rc<Label>, Rc<Params>) {
    (Rc::clone(pair.0), Rc::clone(pair.1))
}

/// The settings among what a client asked for.
fn start_label(startup: &Startup) -> Rc<Label> {
    const NO_SETTINGS: [&str; 4] = ["user", "database", "replication", "options"];
    let settings = startup.params.iter().filter(|(name, _)| {
        !NO_SETTINGS
            .iter()
            .any(|other| other.eq_ignore_ascii_case(name))
    });
    Label::new(settings.map(|(name, value)| (name, value)))
}

impl Session {
    /// Gives a server the client's settings and notes what it reports under them. What is wrong
    /// with a setting is found out here, as PostgreSQL would at the start.
    async fn ask_params(&mut self) -> Result<(), SqlError> {
        let label = Rc::clone(self.relay.label());
        let mut gone = 0;
        let lease = loop {
            let lease = self.lease_or_end().await?;
            self.attach(lease);
            if let Err(error) = self.drive_server().await {
                // It was sent nothing of the client's: another one may do (E5).
                self.drop_server();
                self.client_out.clear();
                // What it refused before is its own affair.
                self.relay.take_refusal();
                if gone == MOST_GONE {
                    return Err(error);
                }
                gone += 1;
                continue;
            }
            // What a server reports when it is attached is told after the authentication, not before.
            self.client_out.clear();
            let refusal = self.relay.take_refusal();
            let owes_nothing = self.owes_nothing();
            let Some(Held { lease, .. }) = self.lease.take() else {
                return Err(SqlError::error("08006", "the database server is gone"));
            };
            self.relay.detach();
            if !owes_nothing {
                lease.unsettled();
                return Err(SqlError::error("08006", "the database server is gone"));
            }
            match refusal {
                None => break lease,
                Some(refusal) if refusal.is_spoilt => lease.close(),
                Some(refusal) => {
                    lease.give_back();
                    return Err(refusal.error);
                }
            }
        };
        let params = Rc::clone(&lease.known.params);
        let mut greetings = self.pool.greetings.borrow_mut();
        if greetings.len() >= MOST_GREETINGS {
            greetings.clear();
        }
        if let Entry::Vacant(place) = greetings.entry(label) {
            place.insert(params);
        }
        drop(greetings);
        lease.give_back();
        Ok(())
    }

    /// Talks with the server alone until it owes nothing.
    pub(super) async fn drive_server(&mut self) -> Result<(), SqlError> {
        let gone =
            |how: String| SqlError::error("08006", format!("the database server is gone: {how}"));
        poll_fn(|cx| {
            loop {
                let Some(held) = &mut self.lease else {
                    return Poll::Ready(Ok(()));
                };
                let stream = &mut held.lease.stream;
                let mut worked = false;
                if !self.server_out.is_empty() || self.server_out.flushing {
                    match write(stream, cx, &mut self.server_out) {
                        Poll::Ready(Ok(())) => worked = true,
                        Poll::Ready(Err(error)) => {
                            return Poll::Ready(Err(gone(error.to_string())));
                        }
                        Poll::Pending => {}
                    }
                } else if self.relay.is_settled() {
                    return Poll::Ready(Ok(()));
                }
                match read(stream, cx, &mut self.server_in, 1) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(gone("it hung up".to_owned()))),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(gone(error.to_string()))),
                    Poll::Ready(Ok(_)) => worked = true,
                    Poll::Pending => {}
                }
                let mut io = Io {
                    known: Some(&mut held.lease.known),
                    to_server: self.server_out.tail(),
                    to_client: self.client_out.tail(),
                };
                match self.relay.server_sent(self.server_in.data(), &mut io) {
                    Ok(used) => self.server_in.consume(used),
                    Err(Broken(error)) => return Poll::Ready(Err(error)),
                }
                // Nobody listens at the moment.
                self.client_out.clear();
                if !worked {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// A server for this client.
    pub(super) fn attach(&mut self, mut lease: crate::pool::Lease) {
        let watched = watch::watch(&self.handle, &self.shared.settings, lease.since());
        self.handle.set_activity(super::Activity::Active);
        lease.known.prepared.limit(self.shared.settings.prepared());
        self.lease = Some(Held {
            lease,
            taken: 0,
            _watched: watched,
        });
        self.server_dry = false;
        self.leased = self.leased.saturating_add(1);
        let told = Rc::clone(self.relay.params());
        let (relay, mut io) = self.relay();
        relay.attach(&mut io);
        // Servers report something else than they did: they were upgraded, or failed over.
        if !Rc::ptr_eq(&told, self.relay.params()) {
            self.pool.greetings.borrow_mut().clear();
        }
    }
}
