//! Owns the app as the front sees it: the workers behind the dispatch, and what would hinder their
//! requests. Leaves failing parts of the site to `breakers`.

use std::task::{Context, Poll};

use canter_channel::call::{Answer, Submission};
use canter_front::{App, Call};
use canter_workers::dispatch::{Dispatch, Ticket};

use super::pooled::Pooled;
use super::visits::{Visited, Visits};

/// The workers.
#[derive(Clone)]
pub struct Workers {
    pub dispatch: Dispatch,
    /// Only with replicas of a database.
    pub visits: Option<Visits>,
    pub pooled: Pooled,
}

/// A request that was handed to them.
pub enum WorkerCall {
    Plain(Ticket),
    Visit(Box<Visited>),
}

impl App for Workers {
    type Call = WorkerCall;

    fn submit(&self, submission: Submission) -> WorkerCall {
        match &self.visits {
            None => WorkerCall::Plain(self.dispatch.submit(submission)),
            Some(visits) => WorkerCall::Visit(Box::new(visits.submit(&self.dispatch, submission))),
        }
    }

    fn hindrance(&self) -> Option<&'static str> {
        if self.dispatch.is_import_broken() {
            return Some("the app cannot be imported: see the log");
        }
        if self.dispatch.is_loading() {
            return Some("the app is still being loaded");
        }
        if !self.dispatch.is_ready() {
            return Some("no worker takes requests now");
        }
        if self.dispatch.is_full() {
            return Some("as many requests wait as may");
        }
        let is_out = self.pooled.is_out();
        is_out.then_some("no connection to the database can be opened")
    }

    fn between_turns(&self) {
        super::before_sleep();
    }
}

impl Call for WorkerCall {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        match self {
            Self::Plain(ticket) => ticket.poll_answer(cx),
            Self::Visit(visited) => visited.poll_answer(cx),
        }
    }

    fn set_hold(&self, hold: bool) {
        match self {
            Self::Plain(ticket) => ticket.set_hold(hold),
            Self::Visit(visited) => visited.set_hold(hold),
        }
    }

    fn is_queued(&self) -> bool {
        match self {
            Self::Plain(ticket) => ticket.is_queued(),
            Self::Visit(visited) => visited.is_queued(),
        }
    }
}
