//! Owns where a request stands in a trace (W3C Trace Context), which requests a collector is told of once
//! they are over, and what waits to be sent, within a bound.
//! Leaves the form to `canter_insight::otlp`, and sending to the program.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use canter_http::{Head, KnownName};
use canter_insight::otlp::traces::{self, MOST_STATEMENTS, Span, Statement};
use canter_insight::routes::ROUTER_US;
use canter_insight::traceparent::Context;
use canter_insight::{Group, Observation, Site};

use crate::facts::Facts;
use crate::request::random;

/// Bytes of spans that wait to be sent; what comes beyond is counted and let go.
const MOST_WAITING: usize = 1 << 20;

/// Where a request stands, and what is told of it if it is told.
#[derive(Debug)]
pub(crate) struct Traced {
    pub context: Context,
    /// The rest is empty where nobody is told.
    pub path: String,
    pub host: String,
    pub agent: String,
    pub client: String,
    pub version: &'static str,
}

impl Traced {
    /// What the request's head says; None where it says nothing.
    pub fn came(head: &Head, buf: &[u8]) -> Option<Context> {
        if !head.has(KnownName::Traceparent) {
            return None;
        }
        let fields = head.fields.iter();
        let mut fields = fields.filter(|field| field.known == KnownName::Traceparent);
        let only = fields.next()?;
        // Two of them are none (section 3.2 of the specification).
        Context::read(only.value.of(buf)).filter(|_| fields.next().is_none())
    }

    /// Of a request that passes through and is not told.
    pub fn passing(context: Context) -> Box<Self> {
        Box::new(Self {
            context,
            path: String::new(),
            host: String::new(),
            agent: String::new(),
            client: String::new(),
            version: "",
        })
    }

    /// Whether it is one of those that a collector is told of.
    pub fn is_ours(&self) -> bool {
        self.context.span.is_some()
    }
}

/// Spans of requests that are over.
#[derive(Debug, Default)]
pub struct Spans {
    /// As they stand in a message.
    pub encoded: Vec<u8>,
    /// How many requests they are of.
    pub requests: u64,
}

/// What a collector is to be told, and what waits.
#[derive(Debug)]
pub(crate) struct Traces {
    /// One in so many is told whatever came of it; 0 for none.
    sample: u64,
    waiting: RefCell<Spans>,
    lost: Cell<u64>,
}

impl Traces {
    pub fn new(sample: u32) -> Self {
        Self {
            sample: sample.into(),
            waiting: RefCell::default(),
            lost: Cell::new(0),
        }
    }

    /// Where a request stands that is to be told. `came` is what its head says, which of a stranger
    /// counts for the number of the trace, and not for whether it is kept.
    pub fn begin(&self, came: Option<Context>, is_trusted: bool) -> Context {
        let trace = came.map_or_else(
            || {
                (u128::from(random()) << 64 | u128::from(random()))
                    .max(1)
                    .to_be_bytes()
            },
            |came| came.trace,
        );
        let sampled = match came {
            Some(came) if is_trusted => came.sampled,
            // Whoever chooses the number does not choose what is kept.
            Some(_) => self.is_sample(random()),
            None => self.is_sample(u128::from_be_bytes(trace) as u64),
        };
        Context {
            trace,
            parent: came.and_then(|came| came.parent),
            span: Some(random().max(1).to_be_bytes()),
            sampled,
        }
    }

    /// Of the last half of a trace's number, which everybody makes by chance: the same for all that
    /// look at this trace.
    fn is_sample(&self, number: u64) -> bool {
        self.sample > 0 && number.is_multiple_of(self.sample)
    }

    /// A request is over: keeps it if it is worth that. To be called before it is counted.
    pub fn note(
        &self,
        site: &Site,
        facts: &Facts,
        traced: &Traced,
        (ended, now): (&Observation<'_>, Instant),
    ) {
        let wall_us = ended.phases.wall_us();
        // What the front answers by itself is seldom slow, and there is much of it.
        let trace = facts.trace.as_ref();
        let is_of_the_app = trace.is_some_and(|trace| trace.submitted.get().is_some());
        let is_slow = wall_us >= ROUTER_US
            || (is_of_the_app && site.is_unusual(ended.method, ended.route, wall_us));
        // In an overload these would take the room of what the app has to say.
        let is_crowded = !is_of_the_app && self.waiting.borrow().encoded.len() >= MOST_WAITING / 8;
        let kept = if ended.status >= 500 && !is_crowded {
            "failed"
        } else if is_slow {
            "slow"
        } else if traced.context.sampled {
            "sampled"
        } else {
            return;
        };
        let mut waiting = self.waiting.borrow_mut();
        if waiting.encoded.len() >= MOST_WAITING {
            self.lost.set(self.lost.get() + 1);
            return;
        }
        let clock = Clock::new(now);
        let id = String::from_utf8_lossy(&facts.id);
        let span = Span {
            context: traced.context,
            chance: random(),
            method: ended.method,
            route: ended.route,
            path: &traced.path,
            host: &traced.host,
            https: facts.https,
            version: traced.version,
            client: &traced.client,
            agent: &traced.agent,
            id: &id,
            status: ended.status,
            phases: ended.phases,
            queries: ended.queries,
            kept,
            time: (clock.before(facts.started, facts.routed), clock.now_ns),
            parts: parts(facts, &clock),
            statements: statements(site, ended.groups),
        };
        traces::push(&mut waiting.encoded, &span);
        waiting.requests += 1;
    }

    /// What waits, to be sent.
    pub fn take(&self) -> Spans {
        self.waiting.take()
    }

    /// How many were let go since this was asked last.
    pub fn take_lost(&self) -> u64 {
        self.lost.take()
    }
}

/// The parts of which it is known from when to when they were.
fn parts(facts: &Facts, clock: &Clock) -> Vec<(&'static str, u64, u64)> {
    let mut parts = Vec::new();
    let begun = clock.before(facts.started, Duration::ZERO);
    if !facts.routed.is_zero() {
        parts.push(("router", clock.before(facts.started, facts.routed), begun));
    }
    let Some(trace) = &facts.trace else {
        return parts;
    };
    let at = |moment: &Cell<Option<Instant>>| {
        let moment = moment.get()?;
        Some(clock.before(moment, Duration::ZERO))
    };
    let (submitted, started) = (at(&trace.submitted), at(&trace.started));
    let answered = at(&trace.answered);
    let marks = [
        ("body_in", Some(begun), submitted.filter(|_| facts.has_body)),
        ("queue", submitted, started),
        ("app", started, answered),
        ("write", answered, Some(clock.now_ns)),
    ];
    parts.extend(marks.into_iter().filter_map(|(name, from, to)| {
        let (from, to) = (from?, to?);
        (from < to).then_some((name, from, to))
    }));
    parts
}

fn statements<'s>(site: &'s Site, groups: &[Group]) -> Vec<Statement<'s>> {
    let mut dearest: Vec<&Group> = groups.iter().collect();
    dearest.sort_by_key(|group| std::cmp::Reverse(group.total_us));
    dearest.truncate(MOST_STATEMENTS);
    let told = dearest.into_iter().map(|group| Statement {
        text: site
            .statement(group.statement)
            .map_or("", |told| &told.text),
        count: group.count,
        total_us: group.total_us,
        place: site.place(group.place).map_or(("", 0, ""), |place| {
            (&place.file, place.line, &place.function)
        }),
    });
    told.collect()
}

/// What the clock on the wall said at moments of this program's own.
struct Clock {
    now: Instant,
    now_ns: u64,
}

impl Clock {
    fn new(now: Instant) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let late = now.elapsed();
        let wall = wall.unwrap_or_default().saturating_sub(late);
        Self {
            now,
            now_ns: nanoseconds(wall),
        }
    }

    /// So long before this moment.
    fn before(&self, moment: Instant, by: Duration) -> u64 {
        let ago = self.now.saturating_duration_since(moment) + by;
        self.now_ns.saturating_sub(nanoseconds(ago))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_one_in_so_many_is_kept_by_the_number_of_its_trace() {
        let traces = Traces::new(10);
        let kept = (0..10_000).filter(|_| traces.begin(None, false).sampled);
        let kept = kept.count();
        assert!((500..2000).contains(&kept), "{kept} of 10000");
        let none = Traces::new(0);
        assert!((0..1000).all(|_| !none.begin(None, false).sampled));
        let all = Traces::new(1);
        let context = all.begin(None, false);
        assert!(context.sampled && context.parent.is_none());
        // Two fronts that see the same trace say the same.
        let came = Context {
            parent: Some([1; 8]),
            sampled: false,
            ..context
        };
        let again = all.begin(Some(came), false);
        assert_eq!((again.trace, again.sampled), (context.trace, true));
        assert_ne!(again.span, context.span);
    }

    #[test]
    fn d8_a_stranger_does_not_say_what_is_kept_and_a_trusted_proxy_does() {
        let traces = Traces::new(0);
        let came = Context::read(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let stranger = traces.begin(came, false);
        assert_eq!(stranger.trace, came.unwrap().trace);
        assert_eq!(
            stranger.parent,
            Some([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])
        );
        assert!(!stranger.sampled);
        assert!(traces.begin(came, true).sampled);
        // Nor by a number that every sample takes.
        let traces = Traces::new(100);
        let came = Context::read(b"00-00000000000000010000000000000000-00f067aa0ba902b7-01");
        let kept = (0..1000).filter(|_| traces.begin(came, false).sampled);
        assert!(kept.count() < 200);
    }
}
