//! Owns what the front needs to know of whatever answers requests.
//! Leaves how it does so to the composition in `canter`.

use std::task::{Context, Poll};

use canter_channel::call::{Answer, Submission};

/// Something that answers requests.
pub trait App: Clone + 'static {
    /// One request handed in; dropping it says that nobody waits for the answer any more.
    type Call: Call + 'static;

    /// Hands a complete request in. Never blocks and never fails: refusals come as answers.
    fn submit(&self, submission: Submission) -> Self::Call;

    /// Why requests would not be answered now, in words; None while they would.
    fn hindrance(&self) -> Option<&'static str>;

    /// Called where a connection gives way to the others and the runtime may have no time to sleep:
    /// what is due before each sleep is due then.
    fn between_turns(&self);
}

/// A request handed in.
pub trait Call {
    /// The next step of the answer. After the last one there is no other.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer>;

    /// Asks the app to pause producing this answer, or to go on.
    fn set_hold(&self, hold: bool);

    /// Whether the request has not begun to run.
    fn is_queued(&self) -> bool;
}
