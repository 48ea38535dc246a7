//! Owns what the asker of a request holds: the answers as they come, and the way to let go.
//! Leaves which worker answers, and when, to the dispatch.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use super::{Inner, Key};

/// One step of the answer to a request.
#[derive(Debug)]
pub enum Answer {
    /// The head, with the beginning of the body or all of it: a `canter_channel::response`.
    Head {
        /// The message.
        message: Vec<u8>,
        /// Whether the body ends with it.
        last: bool,
    },
    /// The head; the body is a part of a file.
    File {
        /// The message; a `FilePart` stands where the body would.
        message: Vec<u8>,
        /// The file.
        file: OwnedFd,
    },
    /// More of the body.
    Chunk {
        /// The bytes; may be empty when it is the last.
        bytes: Vec<u8>,
        /// Whether the body ends with it.
        last: bool,
    },
    /// There will be no answer, or no more of it.
    Failed(Failure),
}

/// Why a request got no answer from the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The queue is full.
    QueueFull,
    /// It waited in the queue until its deadline.
    QueuedTooLong,
    /// It ran until its deadline; the thread is written off.
    RanTooLong,
    /// The worker died while it ran.
    WorkerDied,
    /// It was running when workers died, twice: refused for a while.
    Refused,
    /// The app failed after its head was sent.
    Aborted,
    /// No worker can take it any more: the server is stopping.
    Stopping,
}

/// Shared between the ticket and the dispatch.
pub(super) struct Mailbox {
    answers: VecDeque<Answer>,
    waker: Option<Waker>,
}

impl Mailbox {
    pub fn new() -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { answers: VecDeque::new(), waker: None }))
    }

    /// Puts an answer in and wakes the asker.
    pub fn deliver(&mut self, answer: Answer) {
        self.answers.push_back(answer);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A request handed in. Dropping it says that nobody waits for the answer any more: a request
/// that has not begun is then never run.
pub struct Ticket {
    mailbox: Rc<RefCell<Mailbox>>,
    dispatch: Weak<RefCell<Inner>>,
    /// None once nothing is left to let go of.
    key: Option<Key>,
}

impl Ticket {
    pub(super) fn new(
        mailbox: Rc<RefCell<Mailbox>>,
        dispatch: Weak<RefCell<Inner>>,
        key: Option<Key>,
    ) -> Self {
        Self { mailbox, dispatch, key }
    }

    /// The next step of the answer. After a step that is the last, there is no other.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut mailbox = self.mailbox.borrow_mut();
        let Some(answer) = mailbox.answers.pop_front() else {
            if !mailbox.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                mailbox.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        drop(mailbox);
        if answer.is_last() {
            self.key = None;
        }
        Poll::Ready(answer)
    }

    /// Asks the worker to pause producing this answer, or to go on.
    pub fn set_hold(&self, hold: bool) {
        if let (Some(key), Some(dispatch)) = (self.key, self.dispatch.upgrade()) {
            dispatch.borrow_mut().set_hold(key, hold);
        }
    }

    /// Whether the request still waits for a worker.
    pub fn is_queued(&self) -> bool {
        match (self.key, self.dispatch.upgrade()) {
            (Some(key), Some(dispatch)) => dispatch.borrow().is_queued(key),
            _ => false,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let (Some(key), Some(dispatch)) = (self.key.take(), self.dispatch.upgrade()) {
            dispatch.borrow_mut().abandon(key);
        }
    }
}

impl Answer {
    /// Whether no other step follows.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Head { last, .. } | Self::Chunk { last, .. } => *last,
            Self::File { .. } | Self::Failed(_) => true,
        }
    }
}
