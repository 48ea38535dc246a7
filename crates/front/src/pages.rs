//! Owns the page cache as the front uses it: its settings, its store, what is known of the site, and
//! the decisions for one request in the order they are made. Leaves what HTTP allows to
//! `canter_cache`, waiting for the app to `flight`, and sending to `conn::cached`.
//!
//! ```text
//! decide ─▶ hit ─▶ sent                      (an old copy: and another is got in the background)
//!      ├▶ fetch ─▶ flight ─▶ app ─▶ judge ─▶ keep ─▶ all who wait   (a rule covers the page)
//!      └▶ app, as without a cache ─▶ judge ─▶ keep                  (plain HTTP)
//! ```

pub(crate) mod flight;
mod forms;
mod tiers;

mod examine;
mod note;
mod outdated;
mod passing;
mod proxied;
mod rules;
mod shape;
mod site;

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use canter_base::clock::wall_ms;
use canter_base::options::PageRule;
use canter_cache::policy::{self, Answer, Asked, Forward, Freshened, Lookup, Lost, Plan};
use canter_cache::shelf::Position;
use canter_cache::status::CacheStatus;
use canter_cache::store::{Limits, Mark};
use canter_cache::vary::Settled;
use canter_cache::{
    Body, Entry, Field, Found, Handle, Life, Lines, Reason, RequestLines, Settings, Stats, Store,
    Time,
};
use canter_channel::response::Response;
use canter_http::{Head, Method};

pub(crate) use examine::Examined;
pub(crate) use note::CacheNote;
pub(crate) use passing::{Passed, Passing};
pub(crate) use rules::Covering;
use shape::Seen;
pub(crate) use shape::{Asking, Look, Request, Shape};
use site::Site;

/// How long an answer that could not be kept is remembered as such.
const REFUSED_SECONDS: u64 = 30;
/// The same of one that tells of a failure of the app.
const FAILED_SECONDS: u64 = 1;
/// How long a background task has for getting another copy before somebody else may try.
const REFRESH_SECONDS: u64 = 60;

/// The page cache; a clone is another handle to it.
#[derive(Clone)]
pub struct Pages(Rc<Inner>);

struct Inner {
    is_on: bool,
    settings: RefCell<Settings>,
    rules: Vec<Rc<Covering>>,
    /// None until the app has said what it is: until then nothing is looked up or kept.
    site: RefCell<Option<Rc<Site>>>,
    store: RefCell<Store>,
    tiers: OnceCell<tiers::Tiers>,
    forms: forms::UnderWay,
    seed: Cell<u64>,
    /// `Cache-Status` of requests that passed by.
    words: passing::Words,
}

impl fmt::Debug for Pages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.0.rules.len();
        formatter
            .debug_struct("Pages")
            .field("rules", &rules)
            .finish_non_exhaustive()
    }
}

/// A stored response that is to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub entry: Arc<Entry>,
    pub life: Life,
    /// Where it is kept, if it is.
    pub handle: Option<Handle>,
    /// What its rule gives browsers, where that is not nothing.
    pub browser_ttl: Option<u32>,
}

/// What is known of a request that may end in the store.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// What it would be kept under.
    pub look: Look,
    /// What the app is sent, as far as a response can vary on it.
    pub sent: Sent,
    /// A stored response that the app may confirm, or that may stand in for it.
    pub found: Option<Found>,
    pub forward: Forward,
    method: Method,
    method_text: Vec<u8>,
    path: Vec<u8>,
    mark: Mark,
    /// The app is told an id that the client chose: what it answers is not for others.
    pub is_named: bool,
    /// An answer could not be kept a moment ago: nobody waits for this one.
    pub is_alone: bool,
    /// It has waited for a call that failed.
    pub is_second: bool,
    /// The same among the machines that share pages.
    position: Option<Position>,
    asked: Time,
}

/// The fields of a request that the app got.
#[derive(Debug, Clone)]
pub(crate) enum Sent {
    /// What the key holds, and nothing else.
    Shaped(Shape),
    /// As it came.
    Whole(Box<Head>, Vec<u8>),
}

impl Lines for Sent {
    fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        let values: Vec<&[u8]> = match self {
            Self::Shaped(shape) => shape.values(name).collect(),
            Self::Whole(head, buf) => {
                let lines = RequestLines { head, buf };
                // The spans live as long as the buffer, which is ours.
                lines
                    .head
                    .fields
                    .iter()
                    .filter(|field| field.name.of(buf).eq_ignore_ascii_case(name.as_bytes()))
                    .map(|field| field.value.of(buf))
                    .collect()
            }
        };
        values.into_iter()
    }
}

/// What to do with a request.
pub(crate) enum CacheAction {
    /// The cache has no part in it.
    Off,
    /// Ask the app as without a cache, and judge its answer.
    App(Box<Visit>),
    /// The same, with the request's head at hand until then.
    Pass(Passing),
    /// Send this.
    Hit(Page, i64),
    /// Send this, and get another copy.
    Refresh(Page, i64, Box<Visit>),
    /// Ask the app for all who want it.
    Fetch(Box<Visit>),
    /// 504: only what is stored was wanted.
    Unavailable,
}

/// What an answer of the app comes to.
pub(crate) enum Judged {
    /// It is for who asked, and not kept.
    Private(CacheStatus<'static>),
    /// It may be kept and shared.
    Keep(Box<Plan>, CacheStatus<'static>),
    /// This is to be sent instead.
    Serve(Page, CacheStatus<'static>),
    /// It is about something else than what is stored: ask once more, without validators.
    Again,
}

impl Pages {
    /// A cache of so many bytes; one that is not `is_on` does nothing.
    pub fn new(is_on: bool, bytes: usize, rules: &[PageRule]) -> Self {
        let numbered = (1..).zip(rules);
        let rules = numbered.map(|(id, rule)| Rc::new(Covering::new(rule, id)));
        let limits = Limits {
            bytes,
            ..Limits::default()
        };
        Self(Rc::new(Inner {
            is_on,
            settings: RefCell::new(Settings::default()),
            rules: rules.collect(),
            site: RefCell::default(),
            store: RefCell::new(Store::new(limits)),
            tiers: OnceCell::new(),
            forms: forms::UnderWay::default(),
            seed: Cell::new(crate::request::random()),
            words: passing::Words::default(),
        }))
    }

    /// What the app says of itself has come.
    pub fn set_site(&self, text: &str) {
        let site = Site::read(text);
        self.0.settings.borrow_mut().debug = site.debug;
        *self.0.site.borrow_mut() = Some(Rc::new(site));
    }

    /// Whether anything is stored at all.
    pub fn is_on(&self) -> bool {
        self.0.is_on
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        self.0.store.borrow().stats()
    }

    /// What to do with a request.
    pub(crate) fn decide(&self, request: &Request<'_>) -> CacheAction {
        let inner = &*self.0;
        if !inner.is_on {
            return CacheAction::Off;
        }
        let Some(site) = inner.site.borrow().clone().filter(|site| !site.debug) else {
            return CacheAction::Off;
        };
        let look = match shape::see(&inner.rules, &site, request) {
            Ok(Seen::Covered(look)) => *look,
            Ok(Seen::Plain(_)) if !self.has_tiers() && self.has_nothing_for(request) => {
                return CacheAction::Pass(self.passing(Forward::UriMiss));
            }
            Ok(Seen::Plain(plain)) => shape::plain(&site, request, &plain),
            Err(None) if request.head.method.is_unsafe() => {
                let look = shape::url(&site, request);
                return CacheAction::App(self.visit(request, look, Forward::Method, None));
            }
            Err(None) => return CacheAction::Off,
            Err(Some(reason)) => return CacheAction::Pass(Passing::around(reason)),
        };
        let now = now();
        let (found, lookup) = self.look_up(request, &look, now);
        let is_covered = look.shape.is_some();
        match (lookup, found) {
            (Lookup::Hit { ttl, refresh }, Some(found)) => {
                let page = Page::of(&found, &look);
                let until = now.plus_seconds(REFRESH_SECONDS);
                let mut store = inner.store.borrow_mut();
                // An answer to HEAD would not be another copy.
                let fills = is_covered || request.head.method == Method::Get;
                if refresh && fills && store.claim_refresh(found.handle, now, until) {
                    drop(store);
                    let visit = self.visit(request, look, Forward::Stale, Some(found));
                    return CacheAction::Refresh(page, ttl, visit);
                }
                CacheAction::Hit(page, ttl)
            }
            (Lookup::Validate(forward) | Lookup::Miss(forward), found) => {
                let refused = is_covered.then(|| inner.store.borrow_mut().refused(&look.key, now));
                match refused.flatten() {
                    Some(reason) if !reason.may_pass() => {
                        CacheAction::Pass(Passing::around(reason))
                    }
                    refused if is_covered => {
                        let mut visit = self.visit(request, look, forward, found);
                        visit.is_alone = refused.is_some();
                        CacheAction::Fetch(visit)
                    }
                    _ if found.is_none() && !self.is_worth_a_look(&look) => {
                        CacheAction::Pass(self.passing(forward))
                    }
                    _ => CacheAction::App(self.visit(request, look, forward, found)),
                }
            }
            (Lookup::Bypass(reason), _) => CacheAction::Pass(Passing::around(reason)),
            (Lookup::Unavailable, _) => CacheAction::Unavailable,
            (Lookup::Hit { .. }, None) => CacheAction::Off,
        }
    }

    /// What is stored, and what it is good for.
    fn look_up(&self, request: &Request<'_>, look: &Look, now: Time) -> (Option<Found>, Lookup) {
        if let Some(shape) = &look.shape {
            self.look_up_by(request, look, shape, now)
        } else {
            let lines = RequestLines {
                head: request.head,
                buf: request.buf,
            };
            self.look_up_by(request, look, &lines, now)
        }
    }

    fn look_up_by<L: Lines>(
        &self,
        request: &Request<'_>,
        look: &Look,
        lines: &L,
        now: Time,
    ) -> (Option<Found>, Lookup) {
        let mut store = self.0.store.borrow_mut();
        let found = store.find(&look.key, lines);
        let knows = found.is_some() || store.knows_url(&look.key);
        let asked = asked(request.head.method, lines, request.path, look.settled());
        let life = found.as_ref().map(|found| &found.life);
        let rule = look.covering.as_ref().map(|covering| &covering.rule);
        let settings = self.0.settings.borrow();
        let lookup = policy::lookup(&asked, life, knows, rule, &settings, now);
        (found, lookup)
    }

    fn visit(
        &self,
        request: &Request<'_>,
        look: Look,
        forward: Forward,
        found: Option<Found>,
    ) -> Box<Visit> {
        let sent = if let Some(shape) = &look.shape {
            Sent::Shaped(shape.clone())
        } else {
            let bytes = request.buf.get(..request.head.length).unwrap_or_default();
            Sent::Whole(Box::new(request.head.clone()), bytes.to_vec())
        };
        Box::new(Visit {
            sent,
            method_text: if request.head.method == Method::Other {
                request.head.method_span.of(request.buf).to_vec()
            } else {
                Vec::new()
            },
            path: request.path.to_vec(),
            method: request.head.method,
            // What is stored is confirmed under an id of ours.
            is_alone: false,
            is_second: false,
            is_named: request.is_named && look.shape.is_none() && found.is_none(),
            look,
            found,
            forward,
            mark: self.0.store.borrow().mark(),
            position: self.position(),
            asked: now(),
        })
    }

    /// What the head of an answer comes to.
    pub(crate) fn judge(&self, visit: &Visit, response: &Response<'_>) -> Judged {
        let status = CacheStatus {
            forward: Some(visit.forward),
            ..CacheStatus::default()
        };
        let look = &visit.look;
        let fields: Vec<Field<'_>> = response.fields().collect();
        if visit.method.is_unsafe() {
            self.invalidate(visit, response.facts.status, &fields);
            return Judged::Private(status);
        }
        let now = now();
        // What a rule covers is asked for with GET, whatever the client's method.
        let method = if look.shape.is_some() {
            Method::Get
        } else {
            visit.method
        };
        let asked = asked(method, &visit.sent, &visit.path, look.settled());
        let answer = Answer {
            status: response.facts.status,
            reason: response.facts.reason,
            fields: &fields,
            asked: visit.asked,
            received: now,
        };
        let rule = look.covering.as_ref().map(|covering| &covering.rule);
        let settings = self.0.settings.borrow();
        let seed = self.seed();
        if let Some(found) = visit.found.as_ref().filter(|_| method == Method::Get) {
            if answer.status == 304 {
                return match policy::freshen(&found.entry, &asked, &answer, rule, &settings, seed) {
                    Freshened::Updated(entry, life) => {
                        self.freshened(visit, found, *entry, life, status)
                    }
                    Freshened::Refused(reason) => {
                        self.0.store.borrow_mut().drop_entry(found.handle);
                        let status = CacheStatus {
                            forward_status: Some(304),
                            detail: Some(reason),
                            ..status
                        };
                        Judged::Serve(Page::of(found, look), status)
                    }
                    Freshened::Mismatch => {
                        self.0.store.borrow_mut().drop_entry(found.handle);
                        Judged::Again
                    }
                };
            }
            if policy::on_failure(&found.life, Lost::Status(answer.status), now) {
                return self.stands_in(found, look, Some(answer.status));
            }
        }
        let made = policy::store(&asked, &look.key, &answer, rule, &settings, seed);
        match made.and_then(|plan| {
            if visit.is_named {
                Err(Reason::ClientId)
            } else {
                Ok(plan)
            }
        }) {
            Ok(plan) => {
                let ttl = Some(plan.life.ttl(now));
                Judged::Keep(Box::new(plan), CacheStatus { ttl, ..status })
            }
            Err(reason) => {
                self.note_refusal(visit, reason, answer.status, now);
                let detail = Some(reason);
                Judged::Private(CacheStatus { detail, ..status })
            }
        }
    }

    fn freshened(
        &self,
        visit: &Visit,
        found: &Found,
        entry: Entry,
        life: Life,
        status: CacheStatus<'static>,
    ) -> Judged {
        let whole = Arc::new(entry.clone());
        let mut store = self.0.store.borrow_mut();
        let handle = store.replace(found.handle, entry, life);
        let stored = handle.is_some();
        drop(store);
        if stored {
            let covering = visit.look.covering.as_ref();
            let rule = covering.map_or(0, |covering| covering.rule.id);
            self.keep_in_tiers(&whole, &life, rule, visit);
        }
        let page = Page {
            entry: whole,
            life,
            handle,
            browser_ttl: visit.look.browser_ttl(),
        };
        let status = CacheStatus {
            forward_status: Some(304),
            ttl: Some(life.ttl(now())),
            stored,
            ..status
        };
        Judged::Serve(page, status)
    }

    /// An old copy in place of a failure.
    fn stands_in(&self, found: &Found, look: &Look, failed: Option<u16>) -> Judged {
        let now = now();
        self.0.store.borrow_mut().refresh_failed(found.handle, now);
        let status = CacheStatus {
            hit: true,
            ttl: Some(found.life.ttl(now)),
            forward_status: failed,
            detail: failed.is_none().then_some(Reason::Failed),
            ..CacheStatus::default()
        };
        Judged::Serve(Page::of(found, look), status)
    }

    /// What to send when the app gave no answer at all.
    pub(crate) fn failed(&self, visit: &Visit) -> Option<(Page, CacheStatus<'static>)> {
        let found = visit.found.as_ref()?;
        if !policy::on_failure(&found.life, Lost::NoAnswer, now()) {
            return None;
        }
        match self.stands_in(found, &visit.look, None) {
            Judged::Serve(page, status) => Some((page, status)),
            _ => None,
        }
    }

    /// Keeps a whole answer; the page to send, whether it was stored or not.
    pub(crate) fn keep(&self, visit: &Visit, plan: Plan, body: Body) -> Option<(Page, bool)> {
        let look = &visit.look;
        let (life, rule) = (plan.life, plan.rule);
        let tags = look
            .covering
            .as_ref()
            .map(|covering| covering.tags.as_slice());
        let entry = plan
            .with_tags(tags.unwrap_or_default())
            .into_entry(&look.key, body)
            .ok()?;
        let most = look
            .covering
            .as_ref()
            .map_or(0, |covering| covering.rule.most_entries);
        let whole = Arc::new(entry.clone());
        let mut store = self.0.store.borrow_mut();
        store.forget_refusal(&look.key);
        let handle = store.put(entry, life, rule, most, visit.mark).ok();
        drop(store);
        if handle.is_some() {
            self.keep_in_tiers(&whole, &life, rule, visit);
        }
        let page = Page {
            entry: whole,
            life,
            handle,
            browser_ttl: look.browser_ttl(),
        };
        Some((page, handle.is_some()))
    }

    fn seed(&self) -> u64 {
        let next = self
            .0
            .seed
            .get()
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0.seed.set(next);
        next >> 20
    }
}

impl Visit {
    /// The conditions by which the app may confirm what is stored.
    pub fn conditions(&self) -> Vec<(&'static [u8], Vec<u8>)> {
        let Some(found) = &self.found else {
            return Vec::new();
        };
        let validators = found.entry.validators();
        let names: [(&'static [u8], Option<&[u8]>); 2] = [
            (b"if-none-match", validators.if_none_match),
            (b"if-modified-since", validators.if_modified_since),
        ];
        let there = names.into_iter();
        there
            .filter_map(|(name, value)| Some((name, value?.to_vec())))
            .collect()
    }

    /// The client's token against forged requests was left out of what the app got.
    pub fn is_without_token(&self) -> bool {
        matches!(&self.sent, Sent::Shaped(shape) if shape.is_without_token)
    }
}

impl Page {
    fn of(found: &Found, look: &Look) -> Self {
        Self {
            entry: Arc::clone(&found.entry),
            life: found.life,
            handle: Some(found.handle),
            browser_ttl: look.browser_ttl(),
        }
    }
}

fn asked<'a, L: Lines + ?Sized>(
    method: Method,
    lines: &'a L,
    path: &'a [u8],
    settled: Settled,
) -> Asked<'a, L> {
    Asked {
        method,
        lines,
        path,
        has_body: false,
        is_personal: false,
        wants_upgrade: false,
        settled,
    }
}

/// The time as the cache reckons it.
pub(crate) fn now() -> Time {
    Time::from_millis(wall_ms())
}
