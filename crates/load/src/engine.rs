//! Owns one thread that sends: an epoll loop, its users, and the clock that says who begins when.
//! Leaves a user's request to `user`, and merging what the threads counted to `run`.
//!
//! A request costs one write, one read and a share of one wait. Sockets are registered once, edge
//! triggered; a read that does not fill the buffer is known to be the last. Nothing is allocated for
//! a request of a user without cookies.

mod http2;
mod link;
mod steps;
mod user;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::plan::Plan;
use crate::random::Random;
use crate::record::{Kind, PerRequest, Tally};
use crate::scenario::{Order, Picker, Rendered};
use crate::schedule::{Load, Stage, time_of};
use user::{Shared, Turn, User};

/// How often time-outs, slow clients and the schedule are looked at.
const TICK: Duration = Duration::from_millis(10);
/// What a user does after a failure, so that a dead server is not asked in a tight loop.
const BACK_OFF: Duration = Duration::from_millis(100);
const EVENTS: usize = 256;
const BUFFER: usize = 64 << 10;

/// What a thread tells while it runs.
pub(crate) enum Told {
    /// What was counted in a stretch of time; stretches before 0 are warm-up.
    Stretch(i64, Box<Tally>),
    /// What each request came to, at the end or since a pause.
    Requests(Vec<PerRequest>),
    /// Nothing is begun any more until the pause is over, and all that was counted has been told.
    Paused,
}

/// What all threads of a run share.
pub(crate) struct Common<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) rendered: &'a [Rendered],
    /// When sending begins.
    pub(crate) base: Instant,
    /// When the counted time begins.
    pub(crate) begin: Instant,
    /// The length of a stretch.
    pub(crate) stretch: Duration,
    pub(crate) stop: &'a AtomicBool,
    /// Begin nothing while this is set: the clock of the schedule stands still.
    pub(crate) pause: &'a AtomicBool,
    /// What time it is; given by tests.
    pub(crate) clock: fn() -> Instant,
}

/// Who is next in an open model.
struct Arrivals {
    next: Option<(Duration, usize)>,
    count: f64,
    index: usize,
}

/// What an engine waits with; made where a failure can still be told.
pub(crate) fn poller() -> Result<OwnedFd, String> {
    epoll::create(epoll::CreateFlags::CLOEXEC)
        .map_err(|error| format!("cannot make an epoll: {error}"))
}

pub(crate) struct Engine<'a> {
    common: &'a Common<'a>,
    thread: usize,
    /// How long the counted time is to be.
    planned: Duration,
    epoll: OwnedFd,
    users: Vec<User>,
    /// Users without a request, in an open model.
    idle: Vec<usize>,
    busy: usize,
    level: usize,
    tally: Box<Tally>,
    requests: Vec<PerRequest>,
    buffer: Vec<u8>,
    picker: Picker,
    random: Random,
    arrivals: Arrivals,
    /// Arrivals a second over time, the warm-up before all others.
    stages: Vec<Stage>,
    /// Whether the next arrival waits for a connection.
    held: bool,
    /// Until when arrivals waited for a connection: they waited for the server.
    freed: Instant,
    /// Requests that may still be begun.
    left: u64,
    stretch: i64,
    cpu: Duration,
    ending: bool,
    /// Since when it is paused.
    paused: Option<Instant>,
    /// How long all pauses that are over were.
    away: Duration,
}

impl<'a> Engine<'a> {
    /// For the thread that calls it, whose CPU time is counted from here on.
    pub(crate) fn new(common: &'a Common<'a>, thread: usize, epoll: OwnedFd) -> Self {
        let plan = common.plan;
        let share = |count: u64| {
            let threads = plan.threads.max(1) as u64;
            count / threads + u64::from((thread as u64) < count % threads)
        };
        let mut engine = Self {
            common,
            thread,
            planned: plan.load.time(),
            epoll,
            users: Vec::new(),
            idle: Vec::new(),
            busy: 0,
            level: 0,
            tally: Box::default(),
            requests: PerRequest::all(plan),
            buffer: vec![0; BUFFER],
            picker: Picker::new(&plan.scenario.requests),
            random: Random::new(plan.seed.wrapping_add(thread as u64 * 0x5851_f42d)),
            stages: with_warmup(plan),
            arrivals: Arrivals {
                next: None,
                count: 0.0,
                index: thread,
            },
            held: false,
            freed: common.base,
            left: plan.requests.map_or(u64::MAX, share),
            stretch: i64::MIN,
            cpu: canter_sys::cpu::thread_time(),
            ending: false,
            paused: None,
            away: Duration::ZERO,
        };
        engine.next_arrival();
        engine
    }

    /// Sends until the schedule is over and everything is answered, or until told to stop.
    pub(crate) fn run(mut self, out: &SyncSender<Told>) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let mut due = self.now();
        loop {
            let now = self.now();
            if now >= due {
                self.tick(now, now.saturating_duration_since(due), out);
                due = now + TICK;
            }
            if self.common.pause.load(Ordering::Relaxed) != self.paused.is_some() {
                self.pause_or_go_on(now, out);
            }
            if self.common.plan.is_open() {
                self.send_due(now);
            }
            let stopped = self.common.stop.load(Ordering::Relaxed);
            if stopped || (self.ending && self.busy == 0) {
                break;
            }
            let wait = self.until_next(due, self.now());
            self.hear(&mut events, wait);
        }
        self.tally.unfinished += self.busy as u64;
        self.tally.unsent += self.count_unsent();
        self.close_stretch(out);
        let _ = out.send(Told::Requests(std::mem::take(&mut self.requests)));
    }

    fn now(&self) -> Instant {
        (self.common.clock)()
    }

    fn pause_or_go_on(&mut self, now: Instant, out: &SyncSender<Told>) {
        match self.paused.take() {
            None => {
                self.paused = Some(now);
                self.close_stretch(out);
                let fresh = PerRequest::all(self.common.plan);
                let requests = std::mem::replace(&mut self.requests, fresh);
                let _ = out.send(Told::Requests(requests));
                let _ = out.send(Told::Paused);
            }
            Some(since) => {
                let away = now.saturating_duration_since(since);
                self.away += away;
                self.freed = now;
                for wait in self.users.iter_mut().filter_map(|user| user.wait.as_mut()) {
                    *wait += away;
                }
            }
        }
    }

    /// How much later everything is than planned, for the pauses.
    fn away(&self, now: Instant) -> Duration {
        let since = self.paused.unwrap_or(now);
        self.away + now.saturating_duration_since(since)
    }

    fn until_next(&self, due: Instant, now: Instant) -> Duration {
        let tick = due.saturating_duration_since(now);
        match self.arrivals.next {
            Some((at, _)) if !self.held && self.paused.is_none() && self.common.plan.is_open() => {
                tick.min((self.common.base + self.away + at).saturating_duration_since(now))
            }
            _ => tick,
        }
    }

    /// Waits for the sockets, and goes on with whoever has something there.
    fn hear(&mut self, events: &mut Vec<epoll::Event>, wait: Duration) {
        events.clear();
        let spare = rustix::buffer::spare_capacity(events);
        if epoll::wait(&self.epoll, spare, Some(&timespec(wait))).is_err() {
            // Only a signal ends a wait early.
            return;
        }
        for event in events.iter() {
            let hangup = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            let hangup = { event.flags }.intersects(hangup);
            let index = { event.data }.u64() as usize;
            self.on_event(index, hangup);
        }
    }

    /// The users and what they share, apart, so that one user can be lent both.
    fn turn(&mut self, index: usize, act: impl FnOnce(&mut User, &mut Shared<'_>) -> Turn) {
        let active = if self.common.plan.is_open() {
            self.busy * self.common.plan.threads
        } else {
            self.level
        };
        let begin = self.common.begin + self.away(self.now());
        let Some(user) = self.users.get_mut(index) else {
            return;
        };
        let was_free = user.is_free();
        let mut shared = Shared {
            plan: self.common.plan,
            rendered: self.common.rendered,
            epoll: &self.epoll,
            tally: &mut self.tally,
            requests: &mut self.requests,
            buffer: &mut self.buffer,
            begin,
            planned: self.planned,
            active,
            clock: self.common.clock,
        };
        let turn = act(user, &mut shared);
        match (was_free, user.is_free()) {
            (true, false) => self.busy += 1,
            (false, true) => self.busy -= 1,
            _ => {}
        }
        if turn != Turn::Busy {
            self.after(index, turn);
        }
    }

    fn on_event(&mut self, index: usize, hangup: bool) {
        let now = self.now();
        self.turn(index, |user, shared| user.ready(shared, hangup, now));
    }

    /// A user has become free: it begins again, waits, or goes.
    fn after(&mut self, index: usize, turn: Turn) {
        // In a pause the time stands still.
        let now = self.paused.unwrap_or_else(|| self.now());
        if self.common.plan.is_open() {
            self.idle.push(index);
            if std::mem::take(&mut self.held) {
                self.freed = now;
            }
            return;
        }
        let pause = match turn {
            Turn::Failed => self.common.plan.think.max(BACK_OFF),
            _ => self.common.plan.think,
        };
        let Some(user) = self.users.get_mut(index) else {
            return;
        };
        if pause.is_zero() && self.paused.is_none() {
            self.begin_user(index, now, now);
        } else {
            user.wait = Some(now + pause);
        }
    }

    /// Lets a closed user send its next request, unless there is to be no more.
    fn begin_user(&mut self, index: usize, intended: Instant, now: Instant) {
        let wanted = self.wanted();
        let journey = self.common.plan.scenario.order == Order::Journey;
        let Some(user) = self.users.get_mut(index) else {
            return;
        };
        if self.ending || self.left == 0 || index >= wanted {
            user.close();
            user.wait = None;
            return;
        }
        self.left -= 1;
        let which = if journey {
            user.place += 1;
            (user.place - 1) % self.common.rendered.len().max(1)
        } else {
            match &self.common.plan.scenario.order {
                Order::Log(log) => {
                    let place = self.arrivals.index % log.len().max(1);
                    self.arrivals.index += self.common.plan.threads;
                    log.get(place).map_or(0, |(which, _)| *which as usize)
                }
                _ => self.picker.pick(&mut self.random),
            }
        };
        // Spread over the numbers, so that each share of the users has its share of slow ones.
        let slow = ((user.number * 37 + 1) % 100) as f64 / 100.0 < self.common.plan.slow;
        self.turn(index, |user, shared| {
            user.begin(shared, which, intended, slow, now)
        });
    }

    /// How many users of this thread there are to be.
    fn wanted(&self) -> usize {
        let threads = self.common.plan.threads.max(1);
        (self.level + threads - 1 - self.thread.min(self.level + threads - 1)) / threads
    }

    /// Starts every arrival that is due, as far as there are connections.
    fn send_due(&mut self, now: Instant) {
        if self.paused.is_some() {
            return;
        }
        while let Some((at, which)) = self.arrivals.next {
            let intended = self.common.base + self.away + at;
            if intended > now || self.ending {
                return;
            }
            if self.left == 0 {
                self.ending = true;
                return;
            }
            let expired = now >= intended + self.common.plan.timeout;
            let user = if expired { None } else { self.free_user(now) };
            if user.is_none() && !expired {
                if !self.held {
                    self.held = true;
                    self.tally.held += 1;
                }
                return;
            }
            self.left -= 1;
            if !self.held {
                // Who waited for a connection until then waited for the server, not for us.
                let since = intended.max(self.freed);
                let late = now.saturating_duration_since(since);
                self.tally.lateness.record(late);
            }
            let slow = self.random.share() < self.common.plan.slow;
            self.next_arrival();
            match user {
                Some(index) => self.turn(index, |user, shared| {
                    user.begin(shared, which, intended, slow, now)
                }),
                None => self.never_sent(which, intended, slow, now),
            }
        }
    }

    /// Counts an arrival whose time was over before there was a connection for it.
    fn never_sent(&mut self, which: usize, intended: Instant, slow: bool, now: Instant) {
        if slow {
            self.tally.slow[1] += 1;
            return;
        }
        let at = now.saturating_duration_since(self.common.begin + self.away);
        let active = self.busy * self.common.plan.threads;
        self.tally.fail(Kind::TimedOut, at, active);
        let waited = now.saturating_duration_since(intended);
        self.tally.corrected.record(waited);
        if let Some(request) = self.requests.get_mut(which) {
            request.errors += 1;
        }
    }

    fn free_user(&mut self, now: Instant) -> Option<usize> {
        if let Some(index) = self.idle.pop() {
            return Some(index);
        }
        let plan = self.common.plan;
        let most = (plan.connections / plan.threads.max(1)).max(1);
        (self.users.len() < most).then(|| self.add_user(now))
    }

    fn add_user(&mut self, now: Instant) -> usize {
        let index = self.users.len();
        let number = self.thread + index * self.common.plan.threads;
        self.users
            .push(User::new(number, index, self.common.plan, now));
        index
    }

    /// Finds when the next request of this thread is due, and which it is.
    fn next_arrival(&mut self) {
        let plan = self.common.plan;
        let threads = plan.threads.max(1);
        self.arrivals.next = match (&plan.load, &plan.scenario.order) {
            (Load::Replay(_), Order::Log(log)) => {
                let entry = log.get(self.arrivals.index);
                self.arrivals.index += threads;
                entry.map(|(which, at)| {
                    let at = f64::from(*at) / 1000.0 / plan.speed;
                    (Duration::from_secs_f64(at), *which as usize)
                })
            }
            (Load::Rate(_), order) => {
                let place = if plan.random_arrivals {
                    self.arrivals.count += self.random.exponential() * threads as f64;
                    self.arrivals.count
                } else {
                    (self.arrivals.index) as f64
                };
                let which = match order {
                    Order::Log(log) => {
                        let place = self.arrivals.index % log.len().max(1);
                        log.get(place).map_or(0, |(which, _)| *which as usize)
                    }
                    Order::Journey => self.arrivals.index % self.common.rendered.len().max(1),
                    Order::Weighted => self.picker.pick(&mut self.random),
                };
                self.arrivals.index += threads;
                time_of(&self.stages, place).map(|at| (at, which))
            }
            _ => None,
        };
    }

    fn tick(&mut self, now: Instant, late: Duration, out: &SyncSender<Told>) {
        let common = self.common;
        let plan = common.plan;
        if !plan.is_open() {
            self.tally.lateness.record(late);
        }
        let begin = common.begin + self.away(now);
        let passed = now.saturating_duration_since(begin);
        let warm = now < begin;
        let stretch = if warm {
            -1
        } else {
            (passed.as_nanos() / common.stretch.as_nanos().max(1)) as i64
        };
        if stretch != self.stretch {
            if self.stretch != i64::MIN {
                self.close_stretch(out);
            }
            self.stretch = stretch;
        }
        let over = match &plan.load {
            Load::Replay(_) => self.arrivals.next.is_none(),
            _ => !warm && passed >= self.planned,
        };
        self.ending |= over || (self.left == 0 && self.busy == 0);
        if !plan.is_open() {
            self.level = if self.ending {
                0
            } else {
                plan.load.level(passed).round() as usize
            };
            if warm {
                self.level = self.level.max(1);
            }
            self.start_users(now);
        }
        self.tally.active = self.tally.active.max(if plan.is_open() {
            self.busy
        } else {
            self.wanted()
        });
        for index in 0..self.users.len() {
            self.turn(index, |user, shared| user.tick(shared, now));
        }
    }

    fn start_users(&mut self, now: Instant) {
        if self.paused.is_some() {
            return;
        }
        let wanted = self.wanted();
        while self.users.len() < wanted {
            self.add_user(now);
        }
        for index in 0..wanted {
            let Some(user) = self.users.get(index) else {
                return;
            };
            if user.is_free() && user.wait.is_none_or(|until| until <= now) {
                let intended = user.wait.unwrap_or(now);
                self.begin_user(index, intended, now);
            }
        }
    }

    fn close_stretch(&mut self, out: &SyncSender<Told>) {
        let cpu = canter_sys::cpu::thread_time();
        self.tally.busy = cpu.saturating_sub(self.cpu);
        self.cpu = cpu;
        let tally = std::mem::take(&mut self.tally);
        let _ = out.send(Told::Stretch(self.stretch, tally));
    }

    /// Arrivals that were due before the end and have not been sent.
    fn count_unsent(&mut self) -> u64 {
        if !self.common.plan.is_open() || self.left == 0 {
            return 0;
        }
        let now = self.now();
        let passed = now.saturating_duration_since(self.common.base + self.away(now));
        let end = passed.min(self.common.plan.warmup + self.common.plan.load.time());
        let mut count = 0;
        while let Some((at, _)) = self.arrivals.next {
            if at >= end || count >= 100_000_000 {
                break;
            }
            count += 1;
            self.next_arrival();
        }
        count
    }
}

/// The stages of a rate with a warm-up at the first level before them.
fn with_warmup(plan: &Plan) -> Vec<Stage> {
    let Load::Rate(stages) = &plan.load else {
        return Vec::new();
    };
    let first = stages.first().map_or(0.0, |stage| stage.from);
    let warmup = Stage {
        from: first,
        to: first,
        time: plan.warmup,
    };
    let warmup = (!plan.warmup.is_zero()).then_some(warmup);
    warmup.into_iter().chain(stages.iter().copied()).collect()
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests;
