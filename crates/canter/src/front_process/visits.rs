//! Owns that visitors see what they wrote where reads go to replicas (H4): the cookie with the
//! position of a visitor's last write, and which request a pooled session works for.
//! Leaves choosing servers to `canter_pg`. Only there when replicas are configured, and a visitor
//! gets a cookie only when a request of his may have written something.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use canter_channel::call::{Answer, Submission};
use canter_channel::request::Request;
use canter_channel::response::{self, Response};
use canter_front::Call;
use canter_pg::replica::{Lsn, Seal, Visit};
use canter_pg::{Owner, Pooler};
use canter_workers::dispatch::{Dispatch, Ticket};

/// The cookie's name.
const COOKIE: &str = "canter_wrote";

/// How long an answer may wait for the position of what it wrote. Without it the visitor reads on
/// the primary for as long as the cookie lives.
const PATIENCE: Duration = Duration::from_millis(500);

/// The visitors of all requests under way; cheap to clone.
#[derive(Clone)]
pub struct Visits(Rc<Inner>);

struct Inner {
    pooler: Pooler,
    seal: Seal,
    /// By the number of their request.
    running: RefCell<HashMap<u64, Rc<Visit>>>,
}

impl Visits {
    /// `requests_of` tells which requests a thread of a process runs.
    pub fn new(
        pooler: Pooler,
        seal: Seal,
        requests_of: impl Fn(Owner) -> Vec<u64> + 'static,
    ) -> Self {
        let inner = Rc::new(Inner {
            pooler,
            seal,
            running: RefCell::default(),
        });
        let known: Weak<Inner> = Rc::downgrade(&inner);
        inner.pooler.set_visits(Rc::new(move |owner| {
            let Some(inner) = known.upgrade() else {
                return Vec::new();
            };
            let running = inner.running.borrow();
            let numbers = requests_of(owner).into_iter();
            numbers
                .filter_map(|number| running.get(&number).map(Rc::clone))
                .collect()
        }));
        Self(inner)
    }

    /// Hands a request in.
    pub fn submit(&self, dispatch: &Dispatch, submission: Submission) -> Visited {
        let request = Request::read(&submission.message).ok();
        let seen = request.and_then(|request| self.seen(&request));
        let is_https = request.is_some_and(|request| request.facts.https);
        let visit = Visit::new(seen);
        let ticket = dispatch.submit(submission);
        if let Some(number) = ticket.number() {
            let mut running = self.0.running.borrow_mut();
            running.insert(number, Rc::clone(&visit));
        }
        Visited {
            ticket,
            visits: self.clone(),
            visit,
            is_https,
            finding: None,
        }
    }

    /// What this visitor must see, by the cookies of his request.
    fn seen(&self, request: &Request<'_>) -> Option<Lsn> {
        let mut last = None;
        let _ = request.fields(|field| {
            if field.name == b"cookie" {
                last = last.max(self.in_cookies(field.value));
            }
            Ok::<_, canter_channel::Malformed>(())
        });
        last
    }

    fn in_cookies(&self, cookies: &[u8]) -> Option<Lsn> {
        let ours = cookies.split(|byte| *byte == b';').filter_map(|cookie| {
            let (name, value) = std::str::from_utf8(cookie).ok()?.trim().split_once('=')?;
            (name == COOKIE).then_some(value)
        });
        let now = SystemTime::now();
        ours.filter_map(|value| self.0.seal.read(value, now)).max()
    }

    fn cookie(&self, lsn: Option<Lsn>, is_https: bool) -> String {
        let seal = &self.0.seal;
        let mut cookie = format!("{COOKIE}={}", seal.write(lsn, SystemTime::now()));
        let life = seal.life().as_secs();
        let _ = write!(cookie, "; Max-Age={life}; Path=/; HttpOnly; SameSite=Lax");
        if is_https {
            cookie.push_str("; Secure");
        }
        cookie
    }
}

/// A request of a visitor.
pub struct Visited {
    ticket: Ticket,
    visits: Visits,
    visit: Rc<Visit>,
    is_https: bool,
    /// The head of the answer, until it is known where the log was after what it wrote.
    finding: Option<Finding>,
}

struct Finding {
    answer: Answer,
    position: Pin<Box<dyn Future<Output = Option<Lsn>>>>,
}

impl Call for Visited {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        if self.finding.is_none() {
            let Poll::Ready(answer) = self.ticket.poll_answer(cx) else {
                return Poll::Pending;
            };
            let is_head = matches!(answer, Answer::Head { .. } | Answer::File { .. });
            if !is_head || !self.visit.wrote() {
                return Poll::Ready(answer);
            }
            let pooler = self.visits.0.pooler.clone();
            let position = Box::pin(async move { pooler.position(PATIENCE).await });
            self.finding = Some(Finding { answer, position });
        }
        let Some(finding) = &mut self.finding else {
            return Poll::Pending;
        };
        let Poll::Ready(lsn) = finding.position.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        let cookie = self.visits.cookie(lsn, self.is_https);
        match self.finding.take() {
            Some(Finding { mut answer, .. }) => {
                if let Answer::Head { message, .. } | Answer::File { message, .. } = &mut answer {
                    set_cookie(message, &cookie);
                }
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        }
    }

    fn set_hold(&self, hold: bool) {
        self.ticket.set_hold(hold);
    }

    fn is_queued(&self) -> bool {
        self.ticket.is_queued()
    }
}

impl Drop for Visited {
    fn drop(&mut self) {
        if let Some(number) = self.ticket.number() {
            self.visits.0.running.borrow_mut().remove(&number);
        }
    }
}

/// Adds the field; an answer that is no answer is left for the front to refuse.
fn set_cookie(message: &mut Vec<u8>, cookie: &str) {
    let Ok(answer) = Response::read(message) else {
        return;
    };
    let mut with = Vec::with_capacity(message.len() + cookie.len() + 16);
    let mut writer = response::Writer::new(&mut with, &answer.facts);
    for (name, value) in answer.fields() {
        if writer.field(name, value).is_err() {
            return;
        }
    }
    if writer.field(b"Set-Cookie", cookie.as_bytes()).is_ok() {
        with.extend_from_slice(message.get(answer.body_at..).unwrap_or_default());
        *message = with;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h4_a_cookie_is_added_behind_the_fields_of_the_app_and_the_body_stays() {
        let mut message = Vec::new();
        let facts = response::Facts {
            status: 302,
            reason: b"Found",
        };
        let mut writer = response::Writer::new(&mut message, &facts);
        writer.field(b"Set-Cookie", b"a=b").unwrap();
        message.extend_from_slice(b"body");
        set_cookie(&mut message, "c=d");
        let answer = Response::read(&message).unwrap();
        let fields: [(&[u8], &[u8]); 2] = [(b"Set-Cookie", b"a=b"), (b"Set-Cookie", b"c=d")];
        assert_eq!(answer.facts, facts);
        assert_eq!(answer.fields().collect::<Vec<_>>(), fields);
        assert_eq!(&message[answer.body_at..], b"body");
    }

    #[test]
    fn h4_what_is_no_answer_stays_as_it_is() {
        let mut message = b"\x01".to_vec();
        set_cookie(&mut message, "c=d");
        assert_eq!(message, b"\x01");
    }
}
