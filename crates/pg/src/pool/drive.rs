//! What a host does in time: opening, closing and asking servers, each in a task of its own, and a
//! tick while there is anything to look after. Leaves deciding to `host`, `one` and `tick`.
//!
//! Whoever decides only queues a job: so a server can be dropped anywhere, also while a panic
//! unwinds or the runtime ends.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::host::{Held, Host, Permit};
use super::one::{Looking, Pool};
use super::tick::{TICK, look};
use super::{Connect, Link, connect};

pub(crate) enum Job<C: Connect> {
    Connect(Rc<Pool<C>>, Permit<C>),
    Close(Held<C>),
    /// A cancel request for it is under way: back to its pool when it is through.
    Quiet(Held<C>, Rc<Pool<C>>),
    /// It is asked what the server has left.
    Look(Held<C>, Looking<C>),
    /// Somebody may be served then.
    PumpAt(Instant),
}

/// What is to be done.
pub(crate) struct Jobs<C: Connect> {
    queue: RefCell<VecDeque<Job<C>>>,
    waker: RefCell<Option<Waker>>,
    /// Whether the driver sleeps without a tick.
    parked: Cell<bool>,
}

impl<C: Connect> Default for Jobs<C> {
    fn default() -> Self {
        Self {
            queue: RefCell::default(),
            waker: RefCell::default(),
            parked: Cell::new(false),
        }
    }
}

impl<C: Connect> Jobs<C> {
    pub(crate) fn push(&self, job: Job<C>) {
        self.queue.borrow_mut().push_back(job);
        self.wake();
    }

    /// There is something to look after: the tick must run.
    pub(crate) fn keep_time(&self) {
        if self.parked.replace(false) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn pop(&self) -> Option<Job<C>> {
        self.queue.borrow_mut().pop_front()
    }
}

/// Runs for as long as the host is known.
pub(crate) async fn drive<C: Connect>(host: Rc<Host<C>>) {
    let mut timer = pin!(sleep_until(Instant::now() + TICK));
    loop {
        let job = poll_fn(|cx| {
            if let Some(job) = host.jobs.pop() {
                return Poll::Ready(Some(job));
            }
            host.jobs.waker.replace(Some(cx.waker().clone()));
            let idle = host.open() == 0 && host.waiting() == 0 && !host.is_kept();
            if host.jobs.parked.replace(idle) && !idle {
                timer.as_mut().reset(Instant::now() + TICK);
            }
            if idle {
                Poll::Pending
            } else {
                timer.as_mut().poll(cx).map(|()| None)
            }
        })
        .await;
        if let Some(job) = job {
            start(&host, job);
        } else {
            timer.as_mut().reset(Instant::now() + TICK);
            host.tick();
        }
    }
}

/// The task owns what it works on: when it panics, the permit is freed by its drop.
fn start<C: Connect>(host: &Rc<Host<C>>, job: Job<C>) {
    let host = Rc::clone(host);
    match job {
        Job::Connect(pool, permit) => drop(spawn_local(connect::connect(pool, permit))),
        Job::Close(held) => drop(spawn_local(close(host, held))),
        Job::Quiet(held, pool) => drop(spawn_local(async move {
            held.server.quiet().await;
            pool.take_back(held);
        })),
        Job::Look(held, looking) => drop(spawn_local(look(held, looking))),
        Job::PumpAt(at) => drop(spawn_local(async move {
            sleep_until(at).await;
            host.pump();
        })),
    }
}

async fn close<C: Connect>(host: Rc<Host<C>>, held: Held<C>) {
    /// Counts also when the task is dropped.
    struct Closing<C: Connect>(Rc<Host<C>>);
    impl<C: Connect> Drop for Closing<C> {
        fn drop(&mut self) {
            self.0.closed_one();
        }
    }
    let (server, permit) = held.into_parts();
    let closing = Closing(host);
    server.close().await;
    drop(closing);
    drop(permit);
}
