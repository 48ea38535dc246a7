//! Owns answering from the page cache: sending a stored page or a part of it, waiting for one that
//! somebody fetches, and asking the app alone where neither helps.
//! Leaves decisions to `pages`, bytes to `send`.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canter_cache::status::CacheStatus;
use canter_cache::{Body, is_for_the_cache};
use canter_channel::call::{Answer, Failure, Submission};
use canter_channel::response::Response;
use canter_channel::trace::Trace;
use canter_http::{BodyFraming, Method, target};

use super::encode::Form;
use super::local::APP_FAULT;
use super::watch::Watch;
use super::{After, Conn, Stop};
use crate::app::App;
use crate::facts::Facts;
use crate::pages::flight::{Follower, Keeping, Outcome, body_of_file, go_on, start};
use crate::pages::{Asking, CacheAction, CacheNote, Judged, Page, Passed, Request, Sent, Visit};
use crate::request::RequestId;
use crate::table::Phase;
use crate::{request, urgent};

/// How long somebody waits for a page that another has asked for, before asking alone.
const PATIENCE: Duration = Duration::from_secs(5);

const ONLY_STORED: &str = "there is no stored page, and only that was wanted";

/// What comes instead of the app's answer, or with it.
pub(super) enum CacheInstead {
    /// This is sent.
    Page(Page, CacheStatus<'static>),
    /// Ask once more.
    Again,
    /// The body goes to others, too.
    Shared(Keeping),
}

/// A call, and the visit of who only waits for it.
type Joined<C> = (Follower<C>, Option<Box<Visit>>);

impl<A: App> Conn<A> {
    /// What the page cache does with the request whose head is in the buffer. `facts` gets what is
    /// needed when the app is asked.
    pub(super) fn cache_action(&self, facts: &mut Facts, https: bool) -> Option<CacheAction> {
        let pages = &self.shared.settings.pages;
        let action = self.with_request(facts, https, |request| pages.decide(request))?;
        // What passes by was not looked for.
        if facts.trace.is_some() && !matches!(action, CacheAction::Off | CacheAction::Pass(_)) {
            facts.cached = facts.started.elapsed();
        }
        match action {
            // A stored page to confirm: the app is asked in our words.
            CacheAction::App(visit) if visit.found.is_some() && self.head.method == Method::Get => {
                Some(CacheAction::Fetch(visit))
            }
            CacheAction::App(visit) => {
                facts.visit = Some(visit);
                None
            }
            CacheAction::Pass(passing) => {
                facts.passing = Some(passing);
                None
            }
            CacheAction::Off => None,
            action => Some(action),
        }
    }

    /// Whether nobody but the client chose the request's id.
    fn is_named(&self, facts: &Facts) -> bool {
        matches!(facts.id, RequestId::Given(_)) && !self.arrival.trusted
    }

    /// Shows the request whose head is in the buffer to the cache; None when its path cannot be
    /// decoded.
    fn with_request<T>(
        &self,
        facts: &Facts,
        https: bool,
        show: impl FnOnce(&Request<'_>) -> T,
    ) -> Option<T> {
        let buf = self.buffer.filled();
        let mut decoded = Vec::new();
        let path = if self.head.path_is_escaped {
            target::decode_path(self.head.path(buf), &mut decoded).ok()?;
            &decoded
        } else {
            self.head.path(buf)
        };
        Some(show(&Request {
            head: &self.head,
            buf,
            path,
            https,
            hides_codings: self.hides_codings(),
            is_named: self.is_named(facts),
            words: self.words(),
        }))
    }

    /// Does it.
    pub(super) async fn perform(
        &mut self,
        facts: &mut Facts,
        action: CacheAction,
    ) -> Result<After, Stop> {
        let kept = if let CacheAction::Hit(..) = action {
            Vec::new()
        } else {
            let buf = self.buffer.filled();
            buf.get(..self.head.length).unwrap_or_default().to_vec()
        };
        self.buffer.consume(self.head.length);
        match action {
            CacheAction::Hit(page, ttl) => {
                let status = hit(ttl, facts);
                self.send_page(facts, &page, status).await
            }
            CacheAction::Refresh(page, ttl, visit) => {
                self.refresh(facts, *visit, &kept);
                let status = hit(ttl, facts);
                self.send_page(facts, &page, status).await
            }
            CacheAction::Fetch(visit) => match visit.sent {
                Sent::Shaped(_) => self.fetch(facts, visit, &kept).await,
                Sent::Whole(..) => {
                    let conditions = visit.conditions();
                    facts.visit = Some(visit);
                    self.ask_alone(facts, &kept, &conditions).await
                }
            },
            CacheAction::Unavailable => {
                self.answer_locally(facts, 504, &[], ONLY_STORED, false)
                    .await
            }
            CacheAction::Off | CacheAction::App(_) | CacheAction::Pass(_) => {
                self.ask_alone(facts, &kept, &[]).await
            }
        }
    }

    /// Gets another copy, for the store.
    fn refresh(&self, facts: &Facts, visit: Visit, kept: &[u8]) {
        let conditions = visit.conditions();
        // A page for everybody does not carry what one client calls its request.
        let id = RequestId::of(None);
        let message = match &visit.sent {
            Sent::Shaped(shape) => shape.message(&self.asking(&id, &conditions)),
            Sent::Whole(..) => match self.message(facts, &id, true, kept, &conditions) {
                Some(message) => message,
                None => return,
            },
        };
        // It costs this client nothing: who asked has the page by now.
        self.start_refresh(visit, self.submission(None, facts.started, message));
    }

    fn submit(&self, facts: &Facts, message: Vec<u8>) -> A::Call {
        let submission = self.submission(facts.trace.clone(), facts.started, message);
        self.shared.app.submit(Submission {
            urgent: facts.urgency == urgent::Urgency::Urgent,
            ..submission
        })
    }

    fn submission(
        &self,
        trace: Option<Rc<Trace>>,
        started: Instant,
        message: Vec<u8>,
    ) -> Submission {
        let timeout = self.shared.settings.timeout;
        let at = Instant::now();
        Submission {
            message,
            file: None,
            at,
            wanted_until: None,
            // Nobody waits for a page that is asked for ahead of time.
            urgent: false,
            trace,
            deadline: timeout.map(|limit| started.max(at) + limit),
        }
    }

    fn asking<'a>(
        &'a self,
        id: &'a [u8],
        conditions: &'a [(&'static [u8], Vec<u8>)],
    ) -> Asking<'a> {
        Asking {
            server: &self.arrival.local.0,
            server_port: self.arrival.local.1,
            id,
            id_header: &self.shared.settings.request_id_header,
            conditions,
        }
    }

    /// Waits for the page that somebody fetches, or is the first to.
    async fn fetch(
        &mut self,
        facts: &mut Facts,
        visit: Box<Visit>,
        kept: &[u8],
    ) -> Result<After, Stop> {
        let is_without_token = visit.is_without_token();
        let Some((mut follower, waiting)) = self.join_or_begin(facts, visit) else {
            return self.ask_alone(facts, kept, &[]).await;
        };
        let is_first = waiting.is_none();
        self.place.row.enter(Phase::App, None);
        let mut watch = Watch::default();
        let version = facts.request.version;
        let answer = self.next_answer(&mut follower, &mut watch, version);
        let came = if is_first {
            answer.await.map(|_| ())
        } else {
            let limited = tokio::time::timeout(PATIENCE, answer);
            limited
                .await
                .unwrap_or(Ok(Answer::Failed(Failure::QueuedTooLong)))
                .map(|_| ())
        };
        if !is_first {
            facts.cached = facts.started.elapsed();
        }
        self.stays(facts, came)?;
        match follower.outcome() {
            Some(Outcome::Page(page, status)) => {
                let collapsed = !is_first && !status.hit;
                let stored = status.stored && is_first;
                let status = CacheStatus {
                    collapsed,
                    stored,
                    ..status
                };
                self.send_page(facts, &page, status).await
            }
            Some(Outcome::Stream(head, status, browser_ttl)) => {
                let status = CacheStatus {
                    collapsed: !is_first,
                    stored: is_first,
                    ..status
                };
                self.send_shared(facts, &head, (status, browser_ttl), follower)
                    .await
            }
            Some(Outcome::Private(status, answer)) => {
                facts.cache_status = status_text(&status);
                drop(follower);
                let mine = answer.filter(|_| is_first);
                match mine.map(|answer| *answer) {
                    Some((answer, mut call)) if !(is_without_token && sets_cookie(&answer)) => {
                        self.deliver(facts, answer, &mut call).await
                    }
                    _ => self.ask_alone(facts, kept, &[]).await,
                }
            }
            Some(Outcome::Failed(failure)) => match waiting {
                // One of those who waited asks for all of them, but once: a page that ends each
                // worker must not end one for each who wants it.
                Some(mut visit) if !visit.is_second => {
                    drop(follower);
                    visit.is_second = true;
                    Box::pin(self.fetch(facts, visit, kept)).await
                }
                _ => self.fail(facts, failure).await,
            },
            None => {
                drop(follower);
                self.ask_alone(facts, kept, &[]).await
            }
        }
    }

    /// Waits for the call for a page that is under way, or begins it. Who waits gets the visit back; None
    /// when it is for one alone.
    fn join_or_begin(&self, facts: &Facts, visit: Box<Visit>) -> Option<Joined<A::Call>> {
        let flights = &self.shared.flights;
        let joined = (!visit.is_alone).then(|| flights.join(visit.look.key.bytes()));
        if let Some(follower) = joined.flatten() {
            return Some((follower, Some(visit)));
        }
        let Sent::Shaped(shape) = &visit.sent else {
            return None;
        };
        let conditions = visit.conditions();
        // As in a refresh: the client's own name for its request is not for all.
        let id = RequestId::of(None);
        let message = shape.message(&self.asking(&id, &conditions));
        let call = self.submit(facts, message);
        let pages = self.shared.settings.pages.clone();
        Some((start(flights, pages, *visit, call, false), None))
    }

    /// Asks the app for this client, with all that it has sent.
    async fn ask_alone(
        &mut self,
        facts: &mut Facts,
        kept: &[u8],
        conditions: &[(&'static [u8], Vec<u8>)],
    ) -> Result<After, Stop> {
        let is_kept = facts.visit.as_ref().is_some_and(|visit| !visit.is_named);
        let ours = (is_kept && self.is_named(facts)).then(|| RequestId::of(None));
        let id = ours.as_ref().unwrap_or(&facts.id);
        let Some(message) = self.message(facts, id, false, kept, conditions) else {
            return self.app_fault(facts, APP_FAULT).await;
        };
        self.place.row.enter(Phase::App, None);
        let call = self.submit(facts, message);
        Box::pin(self.respond(facts, call, None, kept)).await
    }

    /// The same once more, when the app spoke of something else than was stored.
    pub(super) async fn ask_again(
        &mut self,
        facts: &mut Facts,
        kept: &[u8],
    ) -> Result<After, Stop> {
        if let Some(visit) = &mut facts.visit {
            visit.found = None;
        }
        Box::pin(self.ask_alone(facts, kept, &[])).await
    }

    /// Sends the app's answer, or what the cache has in its place.
    pub(super) async fn settle(
        &mut self,
        facts: &mut Facts,
        first: Answer,
        mut call: A::Call,
        kept: &[u8],
    ) -> Result<After, Stop> {
        if let Answer::Failed(_) = &first
            && let Some((page, status)) = facts.visit.as_ref().and_then(|visit| {
                let pages = &self.shared.settings.pages;
                pages.failed(visit)
            })
        {
            return self.send_page(facts, &page, status).await;
        }
        if let Answer::Head { message, .. } | Answer::File { message, .. } = &first {
            let is_whole = matches!(&first, Answer::Head { last: true, .. });
            match self.judged(facts, message, is_whole) {
                Some(CacheInstead::Page(page, status)) => {
                    return self.send_page(facts, &page, status).await;
                }
                Some(CacheInstead::Again) => return self.ask_again(facts, kept).await,
                Some(CacheInstead::Shared(keeping)) => {
                    if let Answer::File { file, .. } = &first {
                        facts.cache_status = self.keep_file(message, file, keeping).await;
                        self.let_head_go();
                        return self.deliver(facts, first, &mut call).await;
                    }
                    let message = message.clone();
                    return self.send_kept(facts, message, keeping, call).await;
                }
                None => {}
            }
        }
        self.let_head_go();
        self.deliver(facts, first, &mut call).await
    }

    /// Keeps an answer whose body lies in a file, where it is not too large; what is told of it.
    async fn keep_file(
        &self,
        message: &[u8],
        file: &OwnedFd,
        keeping: Keeping,
    ) -> Option<CacheNote> {
        let Keeping {
            visit,
            plan,
            status,
        } = keeping;
        let pages = &self.shared.settings.pages;
        let response = Response::read(message).ok()?;
        let part = message.get(response.body_at..).unwrap_or_default();
        let most = plan.largest_body();
        let told = match body_of_file(&self.shared.helper, part, file, most).await {
            Some(body) => {
                let kept = pages.keep(&visit, *plan, body);
                let stored = kept.is_some_and(|(_, stored)| stored);
                CacheStatus { stored, ..status }
            }
            None => pages.note_too_large(&visit, response.facts.status),
        };
        status_text(&told)
    }

    /// The message of the request whose head is in `kept`; with conditions of ours in place of the
    /// client's.
    fn message(
        &self,
        facts: &Facts,
        id: &[u8],
        is_refresh: bool,
        kept: &[u8],
        conditions: &[(&'static [u8], Vec<u8>)],
    ) -> Option<Vec<u8>> {
        let told = self.told_by_proxy(kept);
        let is_stored = |visit: &Visit| visit.found.is_some();
        let origin = request::Origin {
            id,
            is_for_the_store: is_refresh || facts.visit.as_deref().is_some_and(is_stored),
            ..self.origin(facts, told.as_ref(), conditions)
        };
        let mut message = Vec::with_capacity(kept.len() + 256);
        let mut path = Vec::new();
        let writer = request::begin(&mut message, kept, &self.head, &origin, &mut path).ok()?;
        writer.inline_body(&[]);
        Some(message)
    }

    /// What of the app's answer the cache has to say; None when it is sent as it is.
    pub(super) fn judged(
        &self,
        facts: &mut Facts,
        message: &[u8],
        last: bool,
    ) -> Option<CacheInstead> {
        if facts.visit.is_none() && facts.passing.is_none() {
            return None;
        }
        let response = Response::read(message).ok()?;
        let pages = &self.shared.settings.pages;
        if let Some(passing) = facts.passing.take() {
            let passed = self.with_request(facts, facts.https, |request| {
                pages.judge_passing(passing, request, &response, facts.started)
            });
            match passed? {
                Passed::Private(status) => facts.cache_status = Some(status),
                Passed::Visit(visit) => facts.visit = Some(visit),
            }
        }
        let visit = facts.visit.take()?;
        match pages.judge(&visit, &response) {
            Judged::Private(status) => {
                facts.cache_status = status_text(&status);
                None
            }
            Judged::Serve(page, status) => Some(CacheInstead::Page(page, status)),
            Judged::Again => {
                facts.visit = Some(visit);
                Some(CacheInstead::Again)
            }
            Judged::Keep(plan, status) if last => {
                let body = message.get(response.body_at..).unwrap_or_default();
                let kept = (body.len() as u64 <= plan.largest_body())
                    .then(|| pages.keep(&visit, *plan, Body::new(body)))
                    .flatten();
                let stored = kept.is_some_and(|(_, stored)| stored);
                facts.cache_status = status_text(&CacheStatus { stored, ..status });
                None
            }
            Judged::Keep(plan, status) => {
                let status = CacheStatus {
                    stored: true,
                    ..status
                };
                Some(CacheInstead::Shared(Keeping {
                    visit,
                    plan,
                    status,
                }))
            }
        }
    }

    /// Sends an answer whose body the store gets as well.
    pub(super) async fn send_kept(
        &mut self,
        facts: &mut Facts,
        message: Vec<u8>,
        keeping: Keeping,
        call: A::Call,
    ) -> Result<After, Stop> {
        let status = keeping.status;
        let pages = self.shared.settings.pages.clone();
        let Ok(response) = Response::read(&message) else {
            return self.app_fault(facts, APP_FAULT).await;
        };
        let head = message.get(..response.body_at).unwrap_or_default().to_vec();
        let browser_ttl = keeping.visit.look.rules_browser_ttl();
        let mut follower = go_on(pages, keeping, message, call);
        let mut watch = Watch::default();
        let came = self
            .next_answer(&mut follower, &mut watch, facts.request.version)
            .await;
        self.stays(facts, came)?;
        self.send_shared(facts, &head, (status, browser_ttl), follower)
            .await
    }

    /// Sends a body as it comes to all who want it.
    async fn send_shared(
        &mut self,
        facts: &mut Facts,
        head: &[u8],
        (status, browser_ttl): (CacheStatus<'static>, Option<u32>),
        mut follower: Follower<A::Call>,
    ) -> Result<After, Stop> {
        facts.cache_status = status_text(&status);
        let Ok(answer) = Response::read(head) else {
            return self.app_fault(facts, APP_FAULT).await;
        };
        let code = answer.facts.status;
        let mut form: Form = self.form(facts, &answer, None);
        form.tell_browsers(browser_ttl);
        let coder = self.coder(&mut form);
        let plan = match self.encode(facts, &answer, &form, None) {
            Ok(plan) => plan,
            Err(bad) => return self.app_fault(facts, &bad.to_string()).await,
        };
        let coder = coder.filter(|_| plan.framing != BodyFraming::None);
        self.stream_answer(facts, (code, &plan), Vec::new(), coder, &mut follower)
            .await
    }
}

fn hit(ttl: i64, facts: &Facts) -> CacheStatus<'static> {
    CacheStatus {
        hit: true,
        ttl: Some(ttl),
        tier: facts.tier,
        ..CacheStatus::default()
    }
}

/// None when there is nothing to tell.
pub(super) fn status_text(status: &CacheStatus<'_>) -> Option<CacheNote> {
    if !status.hit && status.forward.is_none() {
        return None;
    }
    let mut text = String::with_capacity(48);
    // Writing to a String cannot fail.
    let _ = write!(text, "{status}");
    Some(CacheNote {
        text: text.into(),
        brief: status.into(),
    })
}

fn sets_cookie(answer: &Answer) -> bool {
    let (Answer::Head { message, .. } | Answer::File { message, .. }) = answer else {
        return false;
    };
    Response::read(message).is_ok_and(|response| {
        let mut fields = response.fields();
        fields.any(|(name, _)| name.eq_ignore_ascii_case(b"set-cookie"))
    })
}

/// Whether a field of the app is for clients.
pub(super) fn is_for_clients(name: &[u8]) -> bool {
    !is_for_the_cache(name)
}
