//! Owns what the asker of a request holds: the answers as they come, and the way to let go.
//! Leaves which worker answers, and when, to the dispatch.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use canter_channel::call::Answer;

use super::{Inner, Key};

/// Shared between the ticket and the dispatch.
pub(super) struct Mailbox {
    /// Nearly always the only one.
    first: Option<Answer>,
    more: VecDeque<Answer>,
    waker: Option<Waker>,
}

impl Mailbox {
    pub fn new() -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            first: None,
            more: VecDeque::new(),
            waker: None,
        }))
    }

    fn take(&mut self) -> Option<Answer> {
        self.first.take().or_else(|| self.more.pop_front())
    }

    /// Whether the last step of the answer is there: the dispatch knows the request no more, and
    /// its key may stand for another.
    fn is_complete(&self) -> bool {
        let newest = self.more.back().or(self.first.as_ref());
        newest.is_some_and(Answer::is_last)
    }

    /// Puts an answer in and wakes the asker.
    pub fn deliver(&mut self, answer: Answer) {
        if self.first.is_none() && self.more.is_empty() {
            self.first = Some(answer);
        } else {
            self.more.push_back(answer);
        }
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
    number: Option<u64>,
}

impl Ticket {
    pub(super) fn new(
        mailbox: Rc<RefCell<Mailbox>>,
        dispatch: Weak<RefCell<Inner>>,
        taken: Option<(Key, u64)>,
    ) -> Self {
        let (key, number) = taken.unzip();
        Self {
            mailbox,
            dispatch,
            key,
            number,
        }
    }

    /// The number of the request, never used twice; none when it was refused.
    pub fn number(&self) -> Option<u64> {
        self.number
    }

    /// The next step of the answer. After a step that is the last, there is no other.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut mailbox = self.mailbox.borrow_mut();
        let Some(answer) = mailbox.take() else {
            if !mailbox
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
            {
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
        if self.mailbox.borrow().is_complete() {
            return;
        }
        if let (Some(key), Some(dispatch)) = (self.key.take(), self.dispatch.upgrade()) {
            dispatch.borrow_mut().abandon(key);
        }
    }
}
