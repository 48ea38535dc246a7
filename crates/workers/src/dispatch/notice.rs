//! Owns what the dispatch has to tell the rest of the program. Leaves what becomes of it to whoever hears it.

use std::time::Duration;

use canter_channel::StackSample;

use super::Named;
use crate::link::{Reason, WorkerId};

/// What the dispatch has to tell the rest of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The worker takes requests.
    Ready(WorkerId),
    /// The worker has ended; its requests are settled.
    Gone {
        /// Which one.
        worker: WorkerId,
        /// Requests that it was running and that were lost: method, target and id of each, as text
        /// for the log.
        lost: Vec<String>,
    },
    /// Requests that cannot wait longer are refused, and no worker takes any. Told once until one does.
    Closed {
        /// One did before; else the app is still being loaded.
        was_open: bool,
        /// Since the front was started.
        after: Duration,
    },
    /// The worker should be replaced.
    Replace(WorkerId, Reason),
    /// A request ran past its deadline.
    TimedOut {
        /// Where it runs.
        worker: WorkerId,
        /// Method, target and id, as text for the log.
        request: String,
        /// How long it has run.
        after: Duration,
        /// What it was seen doing just before.
        sample: StackSample,
    },
    /// A request runs that the router in front has given up on.
    RouterGaveUp {
        /// Where it runs.
        worker: WorkerId,
        /// Which one.
        request: Named,
        /// How long ago it came.
        after: Duration,
        /// What it was seen doing just before.
        sample: StackSample,
    },
    /// A request has been running for long, and where it is.
    Slow {
        /// Where it runs.
        worker: WorkerId,
        /// Which one.
        request: Named,
        /// How long ago it came.
        after: Duration,
        /// What it was seen doing.
        sample: StackSample,
    },
    /// A piece of a profile.
    Profile {
        /// Of which worker.
        worker: WorkerId,
        /// Which profile.
        number: u64,
        /// This worker has told all.
        last: bool,
        /// Lines of a stack, a blank and microseconds.
        text: String,
    },
    /// The Python stack of a request that ran past its deadline.
    Stack {
        /// Where it runs.
        worker: WorkerId,
        /// Method, target and id, as text for the log.
        request: String,
        /// As Python prints it.
        text: String,
    },
    /// Nobody waits any more for what this thread runs.
    Unwanted {
        /// Where it runs.
        worker: WorkerId,
        /// The kernel's number of the thread.
        thread: u32,
    },
    /// This request ran when workers died, twice, and is refused for a while.
    Refused {
        /// Method, target and id, as text for the log.
        request: String,
    },
}
