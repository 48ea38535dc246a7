//! Orders of an administrator that only the program around the pooler can carry out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::command::Shutdown;

/// What the program shall do.
#[derive(Debug)]
pub enum Order {
    /// Read the options again, and say what came of it.
    Reload(Answer),
    /// End.
    Shutdown(Shutdown),
}

/// What came of an order, as soon as it is known.
type Outcome = RefCell<Option<Result<(), String>>>;

/// Where the outcome of an order is told; dropped, it means that nobody carried it out.
#[derive(Debug)]
pub struct Answer(Rc<Outcome>);

impl Answer {
    /// Tells it.
    pub fn give(self, outcome: Result<(), String>) {
        self.0.replace(Some(outcome));
    }
}

/// The other end of an `Answer`.
pub(super) struct Awaited(Rc<Outcome>);

impl Awaited {
    pub(super) fn new() -> (Answer, Self) {
        let outcome = Rc::<Outcome>::default();
        (Answer(Rc::clone(&outcome)), Self(outcome))
    }

    /// Whether it was told, or never will be.
    pub(super) fn is_over(&self) -> bool {
        self.0.borrow().is_some() || Rc::strong_count(&self.0) == 1
    }

    pub(super) fn outcome(self) -> Result<(), String> {
        let nobody = || Err("nobody carried it out".to_owned());
        self.0.take().unwrap_or_else(nobody)
    }
}

/// Orders on their way to the program.
#[derive(Default)]
pub(crate) struct Orders {
    queue: RefCell<VecDeque<Order>>,
    waker: RefCell<Option<Waker>>,
    /// Whether the program takes any.
    heard: Cell<bool>,
}

impl Orders {
    /// Whether the program takes orders.
    pub(super) fn are_heard(&self) -> bool {
        self.heard.get()
    }

    pub(super) fn push(&self, order: Order) {
        self.queue.borrow_mut().push_back(order);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next one.
    pub(crate) async fn next(&self) -> Order {
        poll_fn(|cx| {
            self.heard.set(true);
            if let Some(order) = self.queue.borrow_mut().pop_front() {
                return Poll::Ready(order);
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}
