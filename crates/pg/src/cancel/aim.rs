//! The way to cancel what runs on one server, shared by the server and whoever may cancel it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

use crate::login::{Place, send_cancel};
use crate::target::Target;
use crate::wire::BackendKey;

/// A server that does not take a cancel request within this time will not.
const WITHIN: Duration = Duration::from_secs(10);
/// The most cancel connections of one thread at once; each costs the server a process.
const AT_ONCE: u32 = 8;

thread_local! {
    static UNDER_WAY: Cell<u32> = const { Cell::new(0) };
    /// Who waits for one of those under way to end; no more than there are servers.
    static WAITING: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

/// How to cancel what runs on a server.
#[derive(Debug)]
pub(crate) struct Aim {
    target: Rc<Target>,
    place: Place,
    key: Option<BackendKey>,
    firing: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Aim {
    pub(crate) fn new(target: Rc<Target>, place: Place, key: Option<BackendKey>) -> Rc<Self> {
        Rc::new(Self {
            target,
            place,
            key,
            firing: Cell::new(false),
            waiting: RefCell::default(),
        })
    }

    /// The server process.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.key.as_ref().map(|key| key.pid)
    }

    /// Sends a cancel request in a task of its own. One at a time is enough: the server has no
    /// more than one statement to cancel. Whether one is under way now.
    pub(crate) fn fire(self: &Rc<Self>) -> bool {
        if self.key.is_none() {
            return false;
        }
        if !self.firing.replace(true) {
            let firing = Firing(Rc::clone(self));
            spawn_local(async move { firing.0.send().await });
        }
        true
    }

    /// Whether a cancel request is under way.
    pub(crate) fn is_firing(&self) -> bool {
        self.firing.get()
    }

    /// Waits until none is under way.
    pub(crate) async fn quiet(&self) {
        poll_fn(|cx| {
            if !self.firing.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn send(&self) {
        let Some(key) = &self.key else { return };
        let deadline = Instant::now() + WITHIN;
        if let Ok(_turn) = timeout_at(deadline, Turn::take()).await {
            // Nobody can be told: a cancel request has no answer (protocol, 55.2.8).
            let _ = send_cancel(&self.target, &self.place, key, deadline).await;
        }
    }
}

/// One of the few cancel connections that may be open at once.
struct Turn;

impl Turn {
    async fn take() -> Self {
        poll_fn(|cx| {
            if UNDER_WAY.get() < AT_ONCE {
                UNDER_WAY.set(UNDER_WAY.get() + 1);
                return Poll::Ready(Self);
            }
            WAITING.with_borrow_mut(|waiting| waiting.push(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get().saturating_sub(1));
        // Whoever has given up meanwhile would not take the turn: all may try.
        for waker in WAITING.with_borrow_mut(std::mem::take) {
            waker.wake();
        }
    }
}

/// Ends also when its task is dropped.
struct Firing(Rc<Aim>);

impl Drop for Firing {
    fn drop(&mut self) {
        self.0.firing.set(false);
        for waker in self.0.waiting.take() {
            waker.wake();
        }
    }
}
