//! Owns one user: a connection, a request on it, what follows from the answer.
//! Leaves who begins when to the engine, and bytes on the socket to `link`.
//!
//! ```text
//! free ─begin─▶ Connecting ─▶ Sending ─▶ Receiving ─▶ free
//!                    ▲                       │ redirect, login
//!                    └───────────────────────┘
//! ```

mod over_http2;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::http2::Http2;
use super::link::{Link, Received};
use crate::cookies::Jar;
use crate::plan::Plan;
use crate::record::{Kind, PerRequest, Tally};
use crate::response::{Decoder, Head};
use crate::scenario::Rendered;

/// How often a slow client moves, and how much it then reads.
const SLOW_STEP: Duration = Duration::from_millis(100);
const SLOW_READ: usize = 1024;
/// A slow client sends its request in so many pieces: two seconds.
const SLOW_PIECES: usize = 20;
/// Most of a login page that is looked at.
const PAGE: usize = 512 << 10;

/// What users share while one of them takes its turn.
pub(super) struct Shared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) rendered: &'a [Rendered],
    pub(super) epoll: &'a OwnedFd,
    pub(super) tally: &'a mut Tally,
    pub(super) requests: &'a mut [PerRequest],
    pub(super) buffer: &'a mut [u8],
    /// When the counted time begins.
    pub(super) begin: Instant,
    /// How long that is to be.
    pub(super) planned: Duration,
    /// Users active, or requests under way.
    pub(super) active: usize,
    /// What time it is.
    pub(super) clock: fn() -> Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Connecting,
    Sending,
    Receiving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    LoginPage,
    LoginPost,
    Asked,
    Redirected,
}

/// Where a user stands after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its request is under way.
    Busy,
    /// It has its answer.
    Answered,
    /// It has none.
    Failed,
}

pub(super) struct User {
    /// Its number among the users of all threads.
    pub(super) number: usize,
    /// Not before this; None when nothing holds it.
    pub(super) wait: Option<Instant>,
    /// Where it is in a journey.
    pub(super) place: usize,
    index: usize,
    state: State,
    pub(super) step: Step,
    link: Option<Link>,
    http2: Option<Box<Http2>>,
    decoder: Decoder,
    pub(super) which: usize,
    /// A request that is none of the scenario's: login, redirect.
    pub(super) own: Option<Box<Rendered>>,
    /// The bytes of a request with cookies.
    bytes: Option<Box<[u8]>>,
    cookies: Option<String>,
    written: usize,
    intended: Instant,
    sent: Option<Instant>,
    deadline: Instant,
    reused: bool,
    resent: bool,
    pub(super) redirects: u8,
    jar: Jar,
    logged_in: bool,
    pub(super) page: Vec<u8>,
    slow: bool,
    slow_at: Instant,
}

impl User {
    pub(super) fn new(number: usize, index: usize, plan: &Plan, now: Instant) -> Self {
        Self {
            number,
            wait: None,
            place: 0,
            index,
            state: State::Free,
            step: Step::Asked,
            link: None,
            http2: None,
            decoder: Decoder::new(plan.max_body),
            which: 0,
            own: None,
            bytes: None,
            cookies: None,
            written: 0,
            intended: now,
            sent: None,
            deadline: now,
            reused: false,
            resent: false,
            redirects: 0,
            jar: Jar::default(),
            logged_in: plan.login.is_none(),
            page: Vec::new(),
            slow: false,
            slow_at: now,
        }
    }

    pub(super) fn is_free(&self) -> bool {
        self.state == State::Free
    }

    /// Asks for one request of the scenario, which should have been sent at `intended`.
    pub(super) fn begin(
        &mut self,
        shared: &mut Shared<'_>,
        which: usize,
        intended: Instant,
        slow: bool,
        now: Instant,
    ) -> Turn {
        self.which = which;
        self.intended = intended;
        self.deadline = intended + shared.plan.timeout;
        self.sent = None;
        self.slow = slow;
        self.redirects = shared.plan.redirects;
        self.wait = None;
        self.step = Step::Asked;
        self.own = None;
        if !self.logged_in {
            self.step = Step::LoginPage;
            if let Some(login) = &shared.plan.login {
                let page = login.page();
                self.own = Some(Box::new(Rendered::new(&page, &shared.plan.site, true)));
            }
        }
        self.ask(shared, now)
    }

    /// Sends what is to be asked next, on a new connection if need be.
    pub(super) fn ask(&mut self, shared: &mut Shared<'_>, now: Instant) -> Turn {
        self.resent = false;
        self.cookies = self.jar.field();
        self.bytes = match (&self.cookies, self.rendered(shared)) {
            (Some(cookies), Some(rendered)) => Some(rendered.with_cookies(cookies)),
            _ => None,
        };
        self.launch(shared, now)
    }

    fn launch(&mut self, shared: &mut Shared<'_>, now: Instant) -> Turn {
        self.written = 0;
        if self.link.is_some() {
            return self.send_first(shared, now);
        }
        let plan = shared.plan;
        let link = match Link::open(&plan.door, &plan.site, plan.tls.as_ref()) {
            Ok(link) => link,
            Err(kind) => return self.fail(shared, kind, now),
        };
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(self.index as u64);
        if epoll::add(shared.epoll, link.socket(), data, flags).is_err() {
            return self.fail(shared, Kind::Exhausted, now);
        }
        self.link = Some(link);
        self.http2 = None;
        self.reused = false;
        self.state = State::Connecting;
        Turn::Busy
    }

    fn rendered<'s>(&'s self, shared: &Shared<'s>) -> Option<&'s Rendered> {
        self.own
            .as_deref()
            .or_else(|| shared.rendered.get(self.which))
    }

    fn keeps_fields(&self, plan: &Plan) -> bool {
        plan.cookies || plan.redirects > 0 || self.step != Step::Asked
    }

    fn send_first(&mut self, shared: &mut Shared<'_>, now: Instant) -> Turn {
        self.sent.get_or_insert(now);
        self.state = State::Sending;
        self.slow_at = now;
        self.page.clear();
        let of_head = self
            .rendered(shared)
            .is_some_and(|asked| asked.method == http::Method::HEAD);
        let keep = self.keeps_fields(shared.plan);
        self.decoder.expect(of_head, keep);
        if shared.plan.http2 {
            return self.send_http2(shared, now);
        }
        if self.slow {
            return Turn::Busy;
        }
        self.send(shared, usize::MAX, now)
    }

    /// Writes as much as the socket takes, but at most `most`.
    fn send(&mut self, shared: &mut Shared<'_>, most: usize, now: Instant) -> Turn {
        let mut left = most;
        loop {
            let whole = match (&self.bytes, &self.own) {
                (Some(bytes), _) => Some(&**bytes),
                (None, Some(own)) => Some(&*own.whole),
                (None, None) => shared.rendered.get(self.which).map(|asked| &*asked.whole),
            };
            let rest = whole
                .and_then(|whole| whole.get(self.written..))
                .unwrap_or_default();
            if rest.is_empty() {
                self.state = State::Receiving;
                return Turn::Busy;
            }
            let piece = rest.get(..rest.len().min(left)).unwrap_or_default();
            let Some(link) = self.link.as_mut().filter(|_| !piece.is_empty()) else {
                return Turn::Busy;
            };
            match link.send(piece) {
                Ok(0) => return Turn::Busy,
                Ok(count) => {
                    self.written += count;
                    left -= count.min(left);
                    shared.tally.bytes_out += count as u64;
                }
                Err(kind) => return self.stopped(shared, kind, now),
            }
        }
    }

    /// Something happened on the connection.
    pub(super) fn ready(&mut self, shared: &mut Shared<'_>, hangup: bool, now: Instant) -> Turn {
        let Some(link) = self.link.as_mut() else {
            return Turn::Busy;
        };
        match self.state {
            State::Free if self.http2.is_some() => self.idle_http2(shared),
            State::Free => {
                // The server may close an idle connection; what else it says has no place.
                if !matches!(link.receive(shared.buffer), Ok(Received::Nothing)) {
                    self.close();
                }
                Turn::Busy
            }
            State::Connecting => match link.advance() {
                Ok(false) => Turn::Busy,
                Ok(true) => {
                    if shared.plan.http2 && !link.agreed_on_http2() {
                        return self.fail(shared, Kind::Tls, now);
                    }
                    shared.tally.connections += 1;
                    match self.send_first(shared, now) {
                        // A server of HTTP/2 speaks first, perhaps before it was asked: no other edge
                        // would tell of that.
                        Turn::Busy if self.http2.is_some() && !self.slow => {
                            self.receive(shared, hangup, now)
                        }
                        turn => turn,
                    }
                }
                Err(kind) => self.fail(shared, kind, now),
            },
            State::Sending | State::Receiving if self.slow => Turn::Busy,
            State::Sending => {
                if let Err(kind) = link.flush() {
                    return self.stopped(shared, kind, now);
                }
                match self.send(shared, usize::MAX, now) {
                    // An answer may come before the request is whole, such as 413.
                    Turn::Busy => self.receive(shared, hangup, now),
                    ended => ended,
                }
            }
            State::Receiving => {
                if let Err(kind) = link.flush() {
                    return self.stopped(shared, kind, now);
                }
                // That it cannot go on is seen by reading, behind an answer that came before.
                let _ = self.write_http2(shared);
                self.receive(shared, hangup, now)
            }
        }
    }

    fn receive(&mut self, shared: &mut Shared<'_>, hangup: bool, now: Instant) -> Turn {
        loop {
            let Some(link) = self.link.as_mut() else {
                return Turn::Busy;
            };
            match link.receive(shared.buffer) {
                Ok(Received::Bytes(count)) => {
                    let short = count < shared.buffer.len() && link.short_read_is_all();
                    match self.take(shared, count, now) {
                        Turn::Busy if short && !hangup => return Turn::Busy,
                        Turn::Busy => {}
                        ended => return ended,
                    }
                }
                Ok(Received::Nothing) => return Turn::Busy,
                Ok(Received::End) => return self.ended(shared, now),
                Err(kind) => return self.stopped(shared, kind, now),
            }
        }
    }

    /// Takes bytes that were read into the shared buffer.
    fn take(&mut self, shared: &mut Shared<'_>, count: usize, now: Instant) -> Turn {
        shared.tally.bytes_in += count as u64;
        if self.http2.is_some() {
            let bytes = shared.buffer.get(..count).unwrap_or_default().to_vec();
            return self.advance_http2(shared, &bytes, false, now);
        }
        let bytes = shared.buffer.get(..count).unwrap_or_default();
        let fed = if self.step == Step::LoginPage {
            let page = &mut self.page;
            self.decoder.feed(bytes, |part| {
                let room = PAGE.saturating_sub(page.len()).min(part.len());
                page.extend_from_slice(part.get(..room).unwrap_or_default());
            })
        } else {
            self.decoder.feed(bytes, |_| ())
        };
        match fed {
            Ok(false) => Turn::Busy,
            Ok(true) => self.answered(shared),
            Err(bad) => self.fail(shared, bad.into(), now),
        }
    }

    /// The server closed the connection.
    fn ended(&mut self, shared: &mut Shared<'_>, now: Instant) -> Turn {
        if self.http2.is_some() {
            return self.advance_http2(shared, &[], true, now);
        }
        match self.decoder.end() {
            Ok(()) => self.answered(shared),
            Err(_) => self.stopped(shared, Kind::Truncated, now),
        }
    }

    /// The connection broke. Where it had served before and nothing of this answer had come, the
    /// server had closed an idle connection: that request is sent once more, as browsers do.
    fn stopped(&mut self, shared: &mut Shared<'_>, kind: Kind, now: Instant) -> Turn {
        let untouched = match &self.http2 {
            Some(http2) => !http2.has_begun(),
            None => !self.decoder.has_begun(),
        };
        let idle = matches!(kind, Kind::Truncated | Kind::Reset) && self.reused && untouched;
        if idle && !self.resent {
            self.close();
            self.resent = true;
            shared.tally.resent += 1;
            return self.launch(shared, now);
        }
        self.fail(shared, kind, now)
    }

    fn answered(&mut self, shared: &mut Shared<'_>) -> Turn {
        let now = (shared.clock)();
        self.state = State::Free;
        let keeps = self.keeps_fields(shared.plan);
        let head = match &mut self.http2 {
            Some(http2) => http2.take_head(),
            None if keeps => self.decoder.take_head(),
            None => Head {
                status: self.decoder.head().status,
                keep_alive: self.decoder.head().keep_alive,
                ..Head::default()
            },
        };
        let usable = head.keep_alive && shared.plan.keep_alive && !self.unsent(shared);
        if usable {
            self.reused = true;
        } else {
            self.close();
        }
        if shared.plan.cookies || self.step != Step::Asked {
            for cookie in &head.cookies {
                self.jar.set(cookie);
            }
        }
        match self.step {
            Step::LoginPage => return self.post_login(shared, &head, now),
            Step::LoginPost => {
                shared.tally.steps += 1;
                if !(300..400).contains(&head.status) {
                    return self.fail(shared, Kind::Login, now);
                }
                self.logged_in = true;
                // The login is no part of what the page takes.
                return self.begin(shared, self.which, now, self.slow, now);
            }
            Step::Asked | Step::Redirected => {}
        }
        if let Some(turn) = self.follow(shared, &head, now) {
            return turn;
        }
        self.count(shared, head.status, now);
        Turn::Answered
    }

    /// Whether a part of the request was never sent: the answer came first.
    fn unsent(&self, shared: &Shared<'_>) -> bool {
        let len = match (&self.bytes, self.rendered(shared)) {
            (Some(bytes), _) => bytes.len(),
            (None, Some(asked)) => asked.whole.len(),
            (None, None) => 0,
        };
        self.http2.is_none() && self.written < len
    }

    fn count(&mut self, shared: &mut Shared<'_>, status: u16, now: Instant) {
        if self.slow {
            shared.tally.slow[0] += 1;
            return;
        }
        let corrected = now.saturating_duration_since(self.intended);
        let naive = now.saturating_duration_since(self.sent.unwrap_or(self.intended));
        let at = now.saturating_duration_since(shared.begin);
        shared.tally.hit(status, at, shared.active);
        if at > shared.planned {
            shared.tally.was_late(status);
        }
        shared.tally.corrected.record(corrected);
        shared.tally.naive.record(naive);
        if let Some(request) = shared.requests.get_mut(self.which) {
            request.hits += 1;
            request.errors += u64::from(status >= 400);
            request.latency.record(corrected);
        }
    }

    /// By the clock: time-outs, and the steps of slow clients.
    pub(super) fn tick(&mut self, shared: &mut Shared<'_>, now: Instant) -> Turn {
        if self.state == State::Free {
            return Turn::Busy;
        }
        if now >= self.deadline {
            return self.fail(shared, Kind::TimedOut, now);
        }
        let moves = matches!(self.state, State::Sending | State::Receiving);
        if !self.slow || !moves || now < self.slow_at {
            return Turn::Busy;
        }
        self.slow_at = now + SLOW_STEP;
        if self.state == State::Sending {
            let len = self.rendered(shared).map_or(0, |asked| asked.whole.len());
            return self.send(shared, len / SLOW_PIECES + 1, now);
        }
        let Some(link) = self.link.as_mut() else {
            return Turn::Busy;
        };
        let some = shared.buffer.len().min(SLOW_READ);
        let (buffer, _) = shared.buffer.split_at_mut(some);
        match link.receive(buffer) {
            Ok(Received::Bytes(count)) => self.take(shared, count, now),
            Ok(Received::Nothing) => Turn::Busy,
            Ok(Received::End) => self.ended(shared, now),
            Err(kind) => self.stopped(shared, kind, now),
        }
    }

    pub(super) fn fail(&mut self, shared: &mut Shared<'_>, kind: Kind, now: Instant) -> Turn {
        let why = self.link.as_mut().and_then(Link::take_why);
        self.close();
        self.state = State::Free;
        if self.slow {
            shared.tally.slow[1] += 1;
            return Turn::Failed;
        }
        let at = now.saturating_duration_since(shared.begin);
        shared.tally.fail(kind, at, shared.active);
        if let Some(why) = why {
            shared.tally.explain(kind, at, &why);
        }
        if kind == Kind::TimedOut {
            // Whoever gave up has waited so long at least; leaving it out would flatter the server.
            let since = |from| now.saturating_duration_since(from);
            shared.tally.corrected.record(since(self.intended));
            let sent = self.sent.unwrap_or(self.intended);
            shared.tally.naive.record(since(sent));
        }
        if let Some(request) = shared.requests.get_mut(self.which) {
            request.errors += 1;
        }
        Turn::Failed
    }

    /// Gives the connection up; closing the socket takes it out of epoll.
    pub(super) fn close(&mut self) {
        self.link = None;
        self.http2 = None;
        self.reused = false;
    }
}
