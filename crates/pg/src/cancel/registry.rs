//! All sessions: their keys, their owners, and how they are reached.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::{Instant, timeout_at};

use super::Aim;
use crate::pooler::PoolerStats;
use crate::session::{Activity, Handle};
use crate::settings::Owner;
use crate::wire::{BackendKey, SqlError};

/// Bytes of a secret for clients of protocol 3.2; 3.0 has four.
const LONG_SECRET: usize = 32;
/// The numbers of our sessions begin above the largest process id there is (Linux: `PID_MAX_LIMIT`,
/// 2^22): one that is taken for a server process must not be somebody's.
const FIRST_PID: i32 = (1 << 22) + 1;
/// How long sessions have for their last words after they were told to end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often it is looked whether the last client has left.
const LOOK: Duration = Duration::from_millis(250);

/// What the registry and one session share: where its statement runs at the moment.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) handle: Rc<Handle>,
    key: BackendKey,
    aim: RefCell<Option<Rc<Aim>>>,
}

impl Seat {
    /// The session has this server now, or none.
    pub(crate) fn set_aim(&self, aim: Option<Rc<Aim>>) {
        self.aim.replace(aim);
    }

    fn aim(&self) -> Option<Rc<Aim>> {
        self.aim.borrow().clone()
    }

    /// Its number, which no other session has at the time.
    pub(crate) fn id(&self) -> i32 {
        self.key.pid
    }

    pub(crate) fn key(&self) -> &BackendKey {
        &self.key
    }

    /// Cancels what runs for it, or what it waits with (F1, F3).
    fn cancel(&self) -> bool {
        if let Some(aim) = self.aim() {
            return aim.fire();
        }
        self.handle.cancel();
        false
    }
}

/// A session's place in the registry; it leaves when this is dropped.
pub(crate) struct Registered {
    registry: Rc<Registry>,
    pub(crate) seat: Rc<Seat>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.leave(&self.seat);
    }
}

/// All sessions of a pooler.
pub(crate) struct Registry {
    by_pid: RefCell<HashMap<i32, Rc<Seat>>>,
    by_owner: RefCell<HashMap<Owner, Vec<Rc<Seat>>>>,
    next_pid: Cell<i32>,
    cancels: Cell<u64>,
    refused: Cell<u64>,
    /// Who waits until nobody is left.
    empty: RefCell<Option<Waker>>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            by_pid: RefCell::default(),
            by_owner: RefCell::default(),
            next_pid: Cell::new(FIRST_PID),
            cancels: Cell::new(0),
            refused: Cell::new(0),
            empty: RefCell::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_pid.borrow().len()
    }

    /// Enters a session, with a key of its own; `long` for protocol 3.2. `None` when the system
    /// gives no randomness for one.
    pub(crate) fn enter(self: &Rc<Self>, handle: Rc<Handle>, long: bool) -> Option<Registered> {
        let secret = secret(if long { LONG_SECRET } else { 4 })?;
        let mut by_pid = self.by_pid.borrow_mut();
        let pid = loop {
            let pid = self.next_pid.get();
            self.next_pid
                .set(if pid == i32::MAX { FIRST_PID } else { pid + 1 });
            if !by_pid.contains_key(&pid) {
                break pid;
            }
        };
        let key = BackendKey { pid, secret };
        let seat = Rc::new(Seat {
            handle,
            key,
            aim: RefCell::default(),
        });
        by_pid.insert(pid, Rc::clone(&seat));
        if let Some(owner) = seat.handle.owner() {
            self.by_owner
                .borrow_mut()
                .entry(owner)
                .or_default()
                .push(Rc::clone(&seat));
        }
        Some(Registered {
            registry: Rc::clone(self),
            seat,
        })
    }

    fn leave(&self, seat: &Rc<Seat>) {
        self.by_pid.borrow_mut().remove(&seat.key.pid);
        if let Some(owner) = seat.handle.owner() {
            let mut by_owner = self.by_owner.borrow_mut();
            if let Some(seats) = by_owner.get_mut(&owner) {
                seats.retain(|other| !Rc::ptr_eq(other, seat));
                if seats.is_empty() {
                    by_owner.remove(&owner);
                }
            }
        }
        if self.len() == 0
            && let Some(waker) = self.empty.take()
        {
            waker.wake();
        }
    }

    pub(crate) fn refused_one(&self) {
        self.refused.set(self.refused.get().wrapping_add(1));
    }

    /// A cancel request arrived. A wrong key is answered by nothing, like a right one.
    pub(crate) fn cancel(&self, key: &BackendKey) -> Option<Rc<Aim>> {
        let seat = self.by_pid.borrow().get(&key.pid).map(Rc::clone)?;
        if !seat.key.matches(key) {
            return None;
        }
        self.cancel_seat(&seat);
        seat.aim()
    }

    fn cancel_seat(&self, seat: &Seat) {
        if seat.cancel() {
            self.cancels.set(self.cancels.get().wrapping_add(1));
        }
    }

    fn of(&self, owner: Owner) -> Vec<Rc<Seat>> {
        self.by_owner
            .borrow()
            .get(&owner)
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn request_ended(&self, owner: Owner) {
        // In the hot path of each request: nothing is cloned when there is no session.
        if let Some(seats) = self.by_owner.borrow().get(&owner) {
            for seat in seats {
                seat.handle.request_ended();
            }
        }
    }

    pub(crate) fn request_gone(&self, owner: Owner) {
        for seat in self.of(owner) {
            if seat.handle.activity() == Activity::Lent {
                // The thread may have begun another request by the time a cancel arrives: the session
                // takes the connection from both.
                seat.handle.cancel();
                self.cancels.set(self.cancels.get().wrapping_add(1));
            } else {
                self.cancel_seat(&seat);
            }
        }
    }

    /// Every session.
    pub(crate) fn all(&self) -> Vec<Rc<Seat>> {
        self.by_pid.borrow().values().map(Rc::clone).collect()
    }

    /// Waits until nobody is left but the console's own clients.
    pub(crate) async fn clients_left(&self) {
        let is_client = |seat: &Rc<Seat>| !seat.handle.about().is_some_and(|one| one.is_console);
        while self.by_pid.borrow().values().any(is_client) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells every session to go when it can, waits for `grace`, then ends the rest.
    pub(crate) async fn drain(&self, grace: Duration) {
        for seat in self.all() {
            seat.handle.drain();
        }
        let deadline = Instant::now() + grace;
        if timeout_at(deadline, self.none_left()).await.is_ok() {
            return;
        }
        let words = "terminating connection: the pooler shuts down";
        for seat in self.all() {
            seat.cancel();
            seat.handle.end(SqlError::fatal("57P01", words));
        }
        let _ = timeout_at(Instant::now() + LAST_WORDS, self.none_left()).await;
    }

    async fn none_left(&self) {
        poll_fn(|cx| {
            if self.len() == 0 {
                return Poll::Ready(());
            }
            self.empty.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn stats(&self) -> PoolerStats {
        PoolerStats {
            clients: u64::try_from(self.len()).unwrap_or(u64::MAX),
            clients_refused: self.refused.get(),
            cancels: self.cancels.get(),
            pools: Vec::new(),
        }
    }
}

/// Bytes nobody can guess. `None` when the system has no randomness.
fn secret(length: usize) -> Option<Box<[u8]>> {
    let mut secret = vec![0; length];
    SystemRandom::new().fill(&mut secret).ok()?;
    Some(secret.into())
}
