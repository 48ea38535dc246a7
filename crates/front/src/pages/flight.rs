//! One call of the app for all who want the same page: owns the call, what has come of it, and waking
//! those who wait. Leaves deciding to `pages`, and sending to `conn::cached`.
//!
//! The call belongs to a task of its own, so that a client that leaves takes nothing from the others.
//! When nobody waits any more the call is dropped, unless it is for the store alone. When the answer
//! is for one alone, who asked first gets it, and the others ask for themselves, all at once.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use canter_cache::Body;
use canter_cache::policy::Plan;
use canter_cache::status::CacheStatus;
use canter_channel::call::{Answer, Failure};
use canter_channel::response::{FilePart, Response};

use super::{Judged, Page, Pages, Visit};
use crate::app::Call;
use crate::helper::Helper;

/// What has come of a call.
pub(crate) enum Outcome<C> {
    /// A page for all.
    Page(Page, CacheStatus<'static>),
    /// The head of an answer for all, and what its rule gives browsers; its body follows.
    Stream(Rc<Vec<u8>>, CacheStatus<'static>, Option<u32>),
    /// An answer for one alone. Who asked first may take it.
    Private(CacheStatus<'static>, Option<Box<(Answer, C)>>),
    /// No answer.
    Failed(Failure),
}

/// One call, and who waits for it.
pub(crate) struct Flight<C> {
    outcome: RefCell<Option<Outcome<C>>>,
    body: RefCell<Streaming>,
    /// Those who wait, by their places.
    waiting: RefCell<Vec<Option<Waker>>>,
    count: Cell<usize>,
    /// Those who cannot take more of the body now.
    holding: Cell<usize>,
    task: RefCell<Option<Waker>>,
    /// It goes on without anybody.
    is_for_the_store: bool,
}

/// A body on its way to several.
#[derive(Default)]
struct Streaming {
    chunks: VecDeque<Rc<Vec<u8>>>,
    /// Chunks that were dropped in front of these: all who are there have them.
    dropped: usize,
    bytes: u64,
    /// It will not be stored, so that what all have can be dropped, and nobody else can join.
    is_lost: bool,
    end: Option<Result<(), Failure>>,
    /// The next chunk of each, by their places.
    places: Vec<usize>,
}

impl<C> Flight<C> {
    fn new(is_for_the_store: bool) -> Rc<Self> {
        Rc::new(Self {
            outcome: RefCell::new(None),
            body: RefCell::default(),
            waiting: RefCell::default(),
            count: Cell::new(0),
            holding: Cell::new(0),
            task: RefCell::new(None),
            is_for_the_store,
        })
    }

    fn settle(&self, outcome: Outcome<C>) {
        *self.outcome.borrow_mut() = Some(outcome);
        self.wake();
    }

    fn wake(&self) {
        for waker in self
            .waiting
            .borrow_mut()
            .iter_mut()
            .filter_map(Option::take)
        {
            waker.wake();
        }
    }

    fn is_abandoned(&self) -> bool {
        self.count.get() == 0 && !self.is_for_the_store
    }

    fn wake_task(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.wake();
        }
    }

    fn may_be_joined(&self) -> bool {
        match &*self.outcome.borrow() {
            None => true,
            Some(Outcome::Stream(..)) => !self.body.borrow().is_lost,
            Some(_) => false,
        }
    }
}

/// The calls that are under way, by the keys of their pages.
pub(crate) struct Flights<C>(RefCell<HashMap<Vec<u8>, Rc<Flight<C>>>>, Rc<Helper>);

impl<C> Flights<C> {
    /// None yet. The helper reads what lies in files.
    pub fn new(helper: Rc<Helper>) -> Self {
        Self(RefCell::default(), helper)
    }
}

impl<C: Call + 'static> Flights<C> {
    /// Whether a call for this page is under way.
    pub fn is_flying(&self, key: &[u8]) -> bool {
        let flights = self.0.borrow();
        flights
            .get(key)
            .is_some_and(|flight| flight.may_be_joined())
    }

    /// The call for this page that is under way.
    pub fn join(&self, key: &[u8]) -> Option<Follower<C>> {
        let flights = self.0.borrow();
        let flight = flights.get(key).filter(|flight| flight.may_be_joined())?;
        Some(Follower::new(flight))
    }
}

/// Starts a call for a page and its task.
pub(crate) fn start<C: Call + 'static>(
    flights: &Rc<Flights<C>>,
    pages: Pages,
    visit: Visit,
    call: C,
    is_for_the_store: bool,
) -> Follower<C> {
    let flight = Flight::new(is_for_the_store);
    let follower = Follower::new(&flight);
    let key = (!visit.is_alone).then(|| visit.look.key.bytes().to_vec());
    if let Some(key) = &key {
        flights
            .0
            .borrow_mut()
            .insert(key.clone(), Rc::clone(&flight));
    }
    let flights = Rc::clone(flights);
    tokio::task::spawn_local(async move {
        fly(&flight, &pages, &visit, call, &flights.1).await;
        if let Some(key) = key {
            let mut flights = flights.0.borrow_mut();
            if flights
                .get(&key)
                .is_some_and(|own| Rc::ptr_eq(own, &flight))
            {
                flights.remove(&key);
            }
        }
    });
    follower
}

/// An answer of the app that is kept as it is sent.
pub(crate) struct Keeping {
    /// Whose request it answers.
    pub visit: Box<Visit>,
    /// How it is kept.
    pub plan: Box<Plan>,
    /// What is told of it.
    pub status: CacheStatus<'static>,
}

/// Goes on with an answer whose head was judged to be for all.
pub(crate) fn go_on<C: Call + 'static>(
    pages: Pages,
    keeping: Keeping,
    message: Vec<u8>,
    call: C,
) -> Follower<C> {
    let Keeping {
        visit,
        plan,
        status,
    } = keeping;
    let flight = Flight::new(false);
    let follower = Follower::new(&flight);
    let task = Rc::clone(&flight);
    tokio::task::spawn_local(async move {
        collect(&task, &pages, &visit, plan, status, message, call).await;
    });
    follower
}

async fn next<C: Call>(flight: &Flight<C>, call: &mut C) -> Option<Answer> {
    std::future::poll_fn(|cx| {
        if flight.is_abandoned() {
            return Poll::Ready(None);
        }
        while let Poll::Ready(answer) = call.poll_answer(cx) {
            // Several may wait for this page, and none began it.
            if !matches!(answer, Answer::Hints(_)) {
                return Poll::Ready(Some(answer));
            }
        }
        *flight.task.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await
}

async fn fly<C: Call>(
    flight: &Rc<Flight<C>>,
    pages: &Pages,
    visit: &Visit,
    mut call: C,
    helper: &Helper,
) {
    let Some(answer) = next(flight, &mut call).await else {
        return;
    };
    let (message, last, file) = match answer {
        Answer::Head { message, last } => (message, last, None),
        Answer::File { message, file } => (message, true, Some(file)),
        Answer::Failed(failure) => {
            return flight.settle(match pages.failed(visit) {
                Some((page, status)) => Outcome::Page(page, status),
                None => Outcome::Failed(failure),
            });
        }
        Answer::Chunk { .. } | Answer::Hints(_) => {
            return flight.settle(Outcome::Failed(Failure::Aborted));
        }
    };
    let Ok(response) = Response::read(&message) else {
        return flight.settle(Outcome::Failed(Failure::Aborted));
    };
    let whole = |message, file| match file {
        Some(file) => Answer::File { message, file },
        None => Answer::Head { message, last },
    };
    match pages.judge(visit, &response) {
        Judged::Private(status) => {
            let answer = whole(message, file);
            flight.settle(Outcome::Private(status, Some(Box::new((answer, call)))));
        }
        Judged::Serve(page, status) => flight.settle(Outcome::Page(page, status)),
        // Everybody asks for themselves, and what was stored is gone.
        Judged::Again => flight.settle(Outcome::Private(CacheStatus::default(), None)),
        Judged::Keep(plan, status) if last => {
            let code = response.facts.status;
            let body = message.get(response.body_at..).unwrap_or_default();
            let body = match &file {
                Some(file) => body_of_file(helper, body, file, plan.largest_body()).await,
                None if body.len() as u64 > plan.largest_body() => None,
                None => Some(Body::new(body)),
            };
            let Some(body) = body else {
                let status = pages.note_too_large(visit, code);
                let answer = whole(message, file);
                return flight.settle(Outcome::Private(status, Some(Box::new((answer, call)))));
            };
            flight.settle(match pages.keep(visit, *plan, body) {
                Some((page, stored)) => Outcome::Page(page, CacheStatus { stored, ..status }),
                None => Outcome::Private(status, Some(Box::new((whole(message, file), call)))),
            });
        }
        Judged::Keep(plan, status) => {
            collect(flight, pages, visit, plan, status, message, call).await;
        }
    }
}

/// A body that lies in a file, where it is small enough to be kept. `part` says where.
pub(crate) async fn body_of_file(
    helper: &Helper,
    part: &[u8],
    file: &OwnedFd,
    most: u64,
) -> Option<Body> {
    let part = FilePart::read(part).ok().filter(|part| part.len <= most)?;
    let file = File::from(file.try_clone().ok()?);
    let read = move || {
        let mut bytes = vec![0; usize::try_from(part.len).ok()?];
        file.read_exact_at(&mut bytes, part.offset).ok()?;
        Some(Body::new(bytes))
    };
    helper.run(read).await.flatten()
}

/// Hands a body on as it comes, and keeps it when it is whole.
async fn collect<C: Call>(
    flight: &Rc<Flight<C>>,
    pages: &Pages,
    visit: &Visit,
    plan: Box<Plan>,
    status: CacheStatus<'static>,
    mut message: Vec<u8>,
    mut call: C,
) {
    let Ok(response) = Response::read(&message) else {
        return flight.settle(Outcome::Failed(Failure::Aborted));
    };
    let (body_at, code) = (response.body_at, response.facts.status);
    let most = plan.largest_body();
    let begun = message.split_off(body_at);
    add(flight, begun, most);
    let browser_ttl = visit.look.rules_browser_ttl();
    flight.settle(Outcome::Stream(Rc::new(message), status, browser_ttl));
    let (mut is_held, mut is_noted) = (false, false);
    loop {
        if flight.body.borrow().is_lost && !is_noted {
            is_noted = true;
            pages.note_too_large(visit, code);
        }
        let (holding, count) = (flight.holding.get(), flight.count.get());
        // What is too large to be kept lies here for the slowest of them.
        let hold = count > 0 && (holding == count || (holding > 0 && flight.body.borrow().is_lost));
        if hold != is_held {
            is_held = hold;
            call.set_hold(hold);
        }
        let Some(answer) = next(flight, &mut call).await else {
            return;
        };
        let end = match answer {
            Answer::Chunk { bytes, last } => {
                add(flight, bytes, most);
                last.then_some(Ok(()))
            }
            Answer::Failed(failure) => Some(Err(failure)),
            Answer::Head { .. } | Answer::File { .. } | Answer::Hints(_) => {
                Some(Err(Failure::Aborted))
            }
        };
        if let Some(end) = end {
            let mut body = flight.body.borrow_mut();
            if end.is_ok() && !body.is_lost {
                let chunks = body.chunks.iter().map(|chunk| chunk.to_vec());
                pages.keep(visit, *plan, Body::from_chunks(chunks));
            }
            body.end = Some(end);
            drop(body);
            return flight.wake();
        }
        flight.wake();
    }
}

fn add<C>(flight: &Flight<C>, bytes: Vec<u8>, most: u64) {
    let mut body = flight.body.borrow_mut();
    body.bytes += bytes.len() as u64;
    body.is_lost |= body.bytes > most;
    if !bytes.is_empty() {
        body.chunks.push_back(Rc::new(bytes));
    }
    body.forget();
}

impl Streaming {
    /// Drops what everybody has, when nobody else can want it.
    fn forget(&mut self) {
        let behind = self.places.iter().copied().min().unwrap_or(usize::MAX);
        while self.is_lost && self.dropped < behind && self.chunks.pop_front().is_some() {
            self.dropped += 1;
        }
    }
}

/// Somebody who waits for a page.
pub(crate) struct Follower<C> {
    flight: Rc<Flight<C>>,
    place: usize,
    is_told: bool,
    is_holding: Cell<bool>,
}

/// The place of somebody who has gone.
const GONE: usize = usize::MAX;

impl<C> Follower<C> {
    fn new(flight: &Rc<Flight<C>>) -> Self {
        flight.count.set(flight.count.get() + 1);
        let mut waiting = flight.waiting.borrow_mut();
        waiting.push(None);
        flight.body.borrow_mut().places.push(0);
        Self {
            place: waiting.len() - 1,
            flight: Rc::clone(flight),
            is_told: false,
            is_holding: Cell::new(false),
        }
    }

    /// What has come of the call, once [`Call::poll_answer`] was ready. An answer for one alone goes
    /// to whoever takes it first.
    pub fn outcome(&self) -> Option<Outcome<C>> {
        Some(match self.flight.outcome.borrow_mut().as_mut()? {
            Outcome::Page(page, status) => Outcome::Page(page.clone(), *status),
            Outcome::Stream(head, status, ttl) => Outcome::Stream(Rc::clone(head), *status, *ttl),
            Outcome::Private(status, answer) => Outcome::Private(*status, answer.take()),
            Outcome::Failed(failure) => Outcome::Failed(*failure),
        })
    }
}

impl<C> Call for Follower<C> {
    /// At first an empty chunk when the outcome is there; then the body, where it streams.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let flight = &self.flight;
        if !self.is_told && flight.outcome.borrow().is_some() {
            self.is_told = true;
            return Poll::Ready(Answer::Chunk {
                bytes: Vec::new(),
                last: false,
            });
        }
        let mut body = flight.body.borrow_mut();
        let place = body.places.get(self.place).copied().unwrap_or(GONE);
        let chunk = place
            .checked_sub(body.dropped)
            .and_then(|at| body.chunks.get(at));
        if let Some(chunk) = chunk.filter(|_| self.is_told) {
            let bytes = chunk.to_vec();
            if let Some(place) = body.places.get_mut(self.place) {
                *place += 1;
            }
            body.forget();
            return Poll::Ready(Answer::Chunk { bytes, last: false });
        }
        match (self.is_told, body.end) {
            (true, Some(Ok(()))) => Poll::Ready(Answer::Chunk {
                bytes: Vec::new(),
                last: true,
            }),
            (true, Some(Err(failure))) => Poll::Ready(Answer::Failed(failure)),
            _ => {
                if let Some(waker) = flight.waiting.borrow_mut().get_mut(self.place) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn set_hold(&self, hold: bool) {
        if self.is_holding.replace(hold) != hold {
            let holding = &self.flight.holding;
            holding.set(if hold {
                holding.get() + 1
            } else {
                holding.get().saturating_sub(1)
            });
            self.flight.wake_task();
        }
    }

    /// Others may want the page: whether it has begun is nobody's reason to give it up.
    fn is_queued(&self) -> bool {
        false
    }
}

impl<C> Drop for Follower<C> {
    fn drop(&mut self) {
        self.set_hold_at_the_end();
        let flight = &self.flight;
        flight.count.set(flight.count.get().saturating_sub(1));
        if let Some(place) = flight.body.borrow_mut().places.get_mut(self.place) {
            *place = GONE;
        }
        if let Some(waker) = flight.waiting.borrow_mut().get_mut(self.place) {
            *waker = None;
        }
        flight.wake_task();
    }
}

impl<C> Follower<C> {
    fn set_hold_at_the_end(&self) {
        if self.is_holding.replace(false) {
            let holding = &self.flight.holding;
            holding.set(holding.get().saturating_sub(1));
        }
    }
}
