//! The life of one client, from the moment it is admitted.
//!
//! Owns its start-up answers, the loop of I/O around the relay, waiting, leaving. Who may come in
//! is the access part's; which server it gets is the pool's.
//!
//! ```text
//! greet ─▶ pump (obtain: no server is free) ─▶ leave
//! ```

mod account;
mod buffer;
mod greet;
mod handle;
mod idlers;
mod leave;
mod lend;
mod obtain;
mod pinned;
mod pump;
mod reads;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use handle::{About, Activity, Handle, Keep, Orders};
pub(crate) use idlers::Idlers;

use std::future::poll_fn;
use std::rc::Rc;

use crate::pool::{Attached, Lease, PinTurn, Wait, WaitInfo};
use crate::pooler::Shared;
use crate::relay::{Io, Relay};
use crate::stream::Stream;
use crate::wire::startup::Startup;
use crate::wire::{BackendKey, SqlError};
use buffer::{Input, Output};
use pump::Event;

/// A client as the door hands it over.
pub(crate) struct Guest {
    /// What all sessions share.
    pub(crate) shared: Rc<Shared>,
    /// Its connection.
    pub(crate) stream: Stream,
    /// What it asked for, `canter.` settings taken out.
    pub(crate) startup: Startup,
    /// What authentication left to be sent, `AuthenticationOk` at its end.
    pub(crate) greeting: Vec<u8>,
    /// The pool its servers come from.
    pub(crate) pool: Attached,
    /// The session as others see it; registered and unregistered by the door.
    pub(crate) handle: Rc<Handle>,
    /// What it will present to cancel.
    pub(crate) key: BackendKey,
    /// To be shown at each lease: its words, and where a cancel request finds the server.
    pub(crate) who: WaitInfo,
}

/// How a client's part ended.
#[derive(Debug)]
pub(super) enum End {
    /// It said goodbye.
    Goodbye,
    /// Its connection ended without a word.
    Vanished,
    /// It is told why, and closed.
    Fatal(SqlError),
    /// It cannot be told anything: it is in the middle of a message.
    Cut,
}

/// One client.
struct Session {
    shared: Rc<Shared>,
    stream: Stream,
    pool: Attached,
    handle: Rc<Handle>,
    who: WaitInfo,
    relay: Relay,
    lease: Option<Held>,
    /// Its place in the queue for one.
    wait: Option<Wait>,
    /// A place among the pinned, from before its server is asked for until it is pinned (D14).
    turn: Option<PinTurn>,
    /// Only with replicas.
    reads: Option<Box<reads::Reads>>,
    /// From the client, to the server; from the server, to the client.
    client_in: Input,
    server_out: Output,
    server_in: Input,
    client_out: Output,
    /// Servers that were gone before they were sent anything, for this request.
    gone: u8,
    /// Servers it was given since it last asked to have one lent.
    leased: u32,
    /// Only where nobody else tells of its statements.
    account: Option<Box<account::Account>>,
    /// Bytes that must be in `client_in` before the relay can go on.
    needed: usize,
    /// Nothing more is to be read from either side until the task is woken again.
    client_dry: bool,
    /// What the client has sent waits for answers, not for more bytes.
    awaits_answers: bool,
    server_dry: bool,
}

/// A server in hand, watched for time-outs.
struct Held {
    lease: Lease,
    /// Bytes of the client that the relay has taken with this server in hand.
    taken: usize,
    _watched: watch::Watched,
}

/// Serves a client until it leaves. Returns when nothing of it is left: its server is given back
/// or closed, its socket is closed.
pub(crate) async fn run(guest: Box<Guest>) {
    // In a box, as the session itself: what a task moves about it keeps room for.
    let Some(mut session) = Box::pin(greet::greet(guest)).await else {
        return;
    };
    let end = session.serve().await;
    // In a box: what only the end needs is no part of an idle session.
    Box::pin(leave::leave(session, end)).await;
}

impl Session {
    async fn serve(&mut self) -> End {
        loop {
            let event = poll_fn(|cx| self.poll_pump(cx)).await;
            match event {
                Event::End(end) => return end,
                Event::NeedsReplica => {
                    if let Err(end) = Box::pin(self.obtain()).await {
                        return end;
                    }
                }
                Event::NeedsTurn => {
                    if let Err(end) = Box::pin(self.await_turn()).await {
                        return end;
                    }
                }
                Event::AskedToLend => {
                    if let Err(end) = Box::pin(self.lend()).await {
                        return end;
                    }
                }
                Event::RequestEnded => {
                    if let Err(end) = Box::pin(self.abandon()).await {
                        return end;
                    }
                }
            }
        }
    }

    /// The relay with everything it works on.
    fn relay(&mut self) -> (&mut Relay, Io<'_>) {
        let io = Io {
            known: self.lease.as_mut().map(|held| &mut held.lease.known),
            to_server: self.server_out.tail(),
            to_client: self.client_out.tail(),
        };
        (&mut self.relay, io)
    }
}
