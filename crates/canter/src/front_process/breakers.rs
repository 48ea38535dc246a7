//! Owns the breaker in front of the workers: what counts as a failure, and holding back the part of
//! the site that fails.
//! Leaves when a part counts as failing, and how it comes back, to `canter_shield::breaker`.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use canter_base::{info, warn};
use canter_channel::call::{Answer, Failure, Submission};
use canter_channel::{request, response};
use canter_front::{App, Call};
use canter_shield::breaker::{Breaker, Change, Leave, Outcome, Part};

/// An error that comes sooner than this takes nothing from others.
const SLOW: Duration = Duration::from_secs(1);

/// An app whose parts may fail without taking the others along.
#[derive(Clone)]
pub struct Guarded<A> {
    app: A,
    state: Rc<State>,
}

struct State {
    breaker: RefCell<Breaker>,
    start: Instant,
}

/// A request that passed, or one that was held back.
pub struct GuardedCall<C> {
    call: Option<C>,
    /// What is owed to the breaker.
    open: Option<(Part, Leave, Instant)>,
    state: Rc<State>,
}

impl<A> Guarded<A> {
    pub fn new(app: A) -> Self {
        let state = Rc::new(State {
            breaker: RefCell::default(),
            start: Instant::now(),
        });
        Self { app, state }
    }
}

impl<A: App> App for Guarded<A> {
    type Call = GuardedCall<A::Call>;

    fn submit(&self, submission: Submission) -> Self::Call {
        let part = Part::of(request::path(&submission.message).unwrap_or_default());
        let leave = self.state.breaker.borrow_mut().enter(part);
        let at = submission.at;
        let call = leave.as_ref().map(|_| self.app.submit(submission));
        GuardedCall {
            call,
            open: leave.map(|leave| (part, leave, at)),
            state: Rc::clone(&self.state),
        }
    }

    fn hindrance(&self) -> Option<&'static str> {
        self.app.hindrance()
    }

    fn between_turns(&self) {
        self.app.between_turns();
    }
}

impl<C> GuardedCall<C> {
    fn settle(&mut self, judge: impl FnOnce(Instant) -> Outcome) {
        let Some((part, leave, since)) = self.open.take() else {
            return;
        };
        let now_ms = || self.state.start.elapsed().as_millis() as u64;
        let mut breaker = self.state.breaker.borrow_mut();
        match breaker.leave(part, &leave, judge(since), now_ms) {
            Some(Change::Fails) => warn!(
                "a part of the site fails: few requests are let through until it works",
                path = String::from_utf8_lossy(part.bytes()).as_ref()
            ),
            Some(Change::Works) => info!(
                "a part of the site works again",
                path = String::from_utf8_lossy(part.bytes()).as_ref()
            ),
            None => {}
        }
    }
}

impl<C: Call> Call for GuardedCall<C> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(call) = &mut self.call else {
            return Poll::Ready(Answer::Failed(Failure::Failing));
        };
        let answer = std::task::ready!(call.poll_answer(cx));
        if self.open.is_some() && !matches!(answer, Answer::Hints(_)) {
            self.settle(|since| judge(&answer, since));
        }
        Poll::Ready(answer)
    }

    fn set_hold(&self, hold: bool) {
        if let Some(call) = &self.call {
            call.set_hold(hold);
        }
    }

    fn is_queued(&self) -> bool {
        self.call.as_ref().is_some_and(Call::is_queued)
    }
}

impl<C> Drop for GuardedCall<C> {
    fn drop(&mut self) {
        self.settle(|_| Outcome::Unknown);
    }
}

fn judge(answer: &Answer, since: Instant) -> Outcome {
    let status = match answer {
        Answer::Failed(Failure::RanTooLong | Failure::WorkerDied) => return Outcome::Failed,
        Answer::Failed(_) | Answer::Chunk { .. } | Answer::Hints(_) => return Outcome::Unknown,
        Answer::Head { message, .. } | Answer::File { message, .. } => {
            response::status(message).unwrap_or(0)
        }
    };
    if status >= 500 && since.elapsed() >= SLOW {
        Outcome::Failed
    } else {
        Outcome::Well
    }
}
