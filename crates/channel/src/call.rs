//! Owns what a request is handed in with and the steps in which its answer comes back.
//! Leaves the queue between the two to `canter-workers`, and HTTP to `canter-front`.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use crate::trace::Trace;

/// What a request is handed in with.
pub struct Submission {
    /// A [`crate::request`] message.
    pub message: Vec<u8>,
    /// The body when the message says that it is in a file.
    pub file: Option<OwnedFd>,
    /// When it is handed in: whoever does has just asked the clock.
    pub at: Instant,
    /// When to give up on the first part of an answer; None for never.
    pub deadline: Option<Instant>,
    /// When nobody wants the answer any more: the router in front has told its client so. It is not
    /// begun after this, and when it runs it goes on as if the client had left.
    pub wanted_until: Option<Instant>,
    /// It goes ahead of those that are not.
    pub urgent: bool,
    /// Where it is written down how the request fares; None where nobody wants to know.
    pub trace: Option<Rc<Trace>>,
}

impl Submission {
    /// When it is of no use any more to begin it.
    pub fn begin_until(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.wanted_until).min()
    }
}

/// One step of the answer to a request.
#[derive(Debug)]
pub enum Answer {
    /// Links that may be told ahead of the head (RFC 8297): a [`crate::response`] message without
    /// a body. Any number of them, and nobody has to pass them on.
    Hints(Vec<u8>),
    /// The head, with the beginning of the body or all of it: a [`crate::response`] message.
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

impl Answer {
    /// Whether no other step follows.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Head { last, .. } | Self::Chunk { last, .. } => *last,
            Self::File { .. } | Self::Failed(_) => true,
            Self::Hints(_) => false,
        }
    }
}

/// Why a request got no answer from the app, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its message is longer than a record of the channel can be.
    TooLong,
    /// The queue is full.
    QueueFull,
    /// It waited in the queue until its deadline.
    QueuedTooLong,
    /// It could not wait longer for the app, which is still being loaded.
    Loading,
    /// The app cannot be imported, and nobody tries: it would wait in vain.
    NotImported,
    /// It could not wait longer for a worker, of which there is none at the moment.
    NoWorker,
    /// It ran until its deadline; the thread is written off.
    RanTooLong,
    /// It ran until nobody wanted its answer any more.
    Unwanted,
    /// The worker died while it ran.
    WorkerDied,
    /// It was running when workers died, twice: refused for a while.
    Refused,
    /// The app failed after its head was sent.
    Aborted,
    /// Its part of the site fails, and has as many requests under way as it may.
    Failing,
    /// No worker can take it any more: the server is stopping.
    Stopping,
}
