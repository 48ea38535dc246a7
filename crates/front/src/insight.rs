//! Owns what the front gathers of each request that ends, and who may see it.
//! Leaves what follows from it to `canter_insight`, and how it is asked for to `conn/admin`.

pub(crate) mod profiler;
pub(crate) mod scale;

use std::cell::{Cell, OnceCell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canter_base::log::push_json_string;
use canter_base::secret::constant_time_eq;
use canter_base::warn;
use canter_channel::report::Report;
use canter_channel::seen;
use canter_channel::trace::Trace;
use canter_http::Method;
use canter_insight::Phase::{App, BodyIn, Cache, Gil, Pool, Queue, Router, Sql};
use canter_insight::forecast;
use canter_insight::observation::{Advice, Repeat};
use canter_insight::otlp::{Resource, metrics};
use canter_insight::show::{Audience, Live};
use canter_insight::statement::Traits;
use canter_insight::{Group, Observation, Phases, Place, Site, Stamps, Told};

use crate::acknowledged::{Acknowledged, FILE};
use crate::answer_digests::AnswerDigests;
use crate::facts::Facts;
use crate::secret::random_hex_128;
use crate::traced::{Spans, Traces};
use crate::usual::UsualFile;
pub use profiler::Profiler;
pub use scale::Scale;

/// The route of what is answered without the app.
const FRONT: &str = "(front)";

/// Everything that is known, and who may see it.
pub struct Insight {
    site: RefCell<Site>,
    begun: Instant,
    live: Box<dyn Fn(&mut Live)>,
    metrics: Box<dyn Fn() -> String>,
    profiler: Rc<Profiler>,
    /// What a worker has told that told nothing.
    nothing: Report,
    scaler: scale::Scaler,
    token: Option<String>,
    /// What a browser that has shown the token keeps instead of it.
    key: String,
    acknowledged: RefCell<Acknowledged>,
    usual: RefCell<Option<UsualFile>>,
    digests: RefCell<AnswerDigests>,
    /// What a collector is told of requests, if there is one.
    traces: OnceCell<Traces>,
    /// Somebody speaks for others from this machine.
    proxied: Cell<bool>,
    /// Browsers were seen that are not those of the user that runs the server.
    strangers: Cell<bool>,
    /// Connections of clients, as the sweep has counted them last.
    pub(crate) connections: Cell<u32>,
    /// Streams of events that are open.
    pub(crate) streams: Cell<u32>,
}

impl std::fmt::Debug for Insight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Insight")
    }
}

/// What was learned of a request, for the log.
#[derive(Default)]
pub(crate) struct Learned {
    pub phases: Phases,
    pub queries: u32,
    pub route: String,
}

impl Insight {
    /// `live` fills in what only the program knows, `metrics` answers what it measures beside; `token`
    /// opens the dashboard from elsewhere; `profiler` asks the workers.
    pub fn new(
        token: Option<String>,
        live: impl Fn(&mut Live) + 'static,
        metrics: impl Fn() -> String + 'static,
        profiler: Rc<Profiler>,
    ) -> Rc<Self> {
        Rc::new(Self {
            site: RefCell::default(),
            begun: Instant::now(),
            live: Box::new(live),
            metrics: Box::new(metrics),
            profiler,
            nothing: Report::default(),
            scaler: scale::Scaler::default(),
            token: token.filter(|token| !token.is_empty()),
            key: random_hex_128(),
            digests: RefCell::default(),
            acknowledged: RefCell::new(Acknowledged::at(Path::new(FILE))),
            usual: RefCell::default(),
            traces: OnceCell::new(),
            proxied: Cell::new(false),
            strangers: Cell::new(false),
            connections: Cell::new(0),
            streams: Cell::new(0),
        })
    }

    /// Knows what routes usually asked before this start, and keeps it for the next.
    pub fn remember(&self, path: &Path) {
        match UsualFile::open(path) {
            Ok(file) => {
                self.site.borrow_mut().remember(file.text());
                *self.usual.borrow_mut() = Some(file);
            }
            Err(error) => cannot_keep(path, &error),
        }
    }

    /// Writes down what routes usually ask. When it cannot be written, that is said once, and it is not
    /// tried again.
    pub fn keep_usual(&self) {
        let mut usual = self.usual.borrow_mut();
        let text = self.site.borrow().usual();
        if let Some(file) = usual.as_mut()
            && let Err(error) = file.write(text)
        {
            cannot_keep(file.path(), &error);
            *usual = None;
        }
    }

    /// From now on keeps requests for a collector: one in `sample` whatever came of it.
    pub fn trace(&self, sample: u32) {
        let _ = self.traces.set(Traces::new(sample));
    }

    /// What is kept for a collector.
    pub(crate) fn traces(&self) -> Option<&Traces> {
        self.traces.get()
    }

    /// The spans that wait for a collector, and how many were let go since this was asked last.
    pub fn take_spans(&self) -> (Spans, u64) {
        let taken = self
            .traces()
            .map(|traces| (traces.take(), traces.take_lost()));
        taken.unwrap_or_default()
    }

    /// All metrics as a collector takes them.
    pub fn told_metrics(&self, resource: &Resource, time: metrics::Span) -> Vec<u8> {
        metrics::request(
            resource,
            &self.site.borrow(),
            &self.live(Audience::Collectors),
            time,
        )
    }

    /// To be called about each second.
    pub fn tick(&self) {
        let live = self.live(Audience::History);
        let mut site = self.site.borrow_mut();
        site.tick(live.now_s, live.gauges);
        if let Some(names) = self.acknowledged.borrow_mut().look() {
            site.acknowledge(names);
        }
        drop(site);
        let is_due = self
            .usual
            .borrow_mut()
            .as_mut()
            .is_some_and(UsualFile::is_due);
        if is_due {
            self.keep_usual();
        }
    }

    /// Whether a request that came now may be one whose answer is compared.
    pub(crate) fn may_compare(&self, now: Instant) -> bool {
        self.digests.borrow_mut().may_sample(now)
    }

    /// An address whose answers are compared.
    pub(crate) fn address(&self, host: &[u8], target: &[u8]) -> u64 {
        self.digests.borrow().address(host, target)
    }

    /// Whether it has answered the same a moment before.
    pub(crate) fn compare(&self, address: u64, body: &[u8], now: Instant) -> Option<bool> {
        self.digests.borrow_mut().compare(address, body, now)
    }

    /// Accepts a finding, or takes that back; what was done as JSON, or why not.
    pub(crate) fn acknowledge(&self, id: &str, accept: bool) -> Result<String, String> {
        let note = self.look(|site, live| {
            let found = site.findings(live.now_s);
            let seen = found.iter().find(|seen| seen.id == id)?;
            Some(format!("{}: {}", seen.route.label(), seen.rule.sentence()))
        });
        let mut acknowledged = self.acknowledged.borrow_mut();
        if accept && note.is_none() {
            return Err(format!("no finding has the name {id} now"));
        }
        let path = acknowledged.path().display().to_string();
        acknowledged
            .set(id, note.as_deref().filter(|_| accept))
            .map_err(|error| {
                format!("{path} cannot be written in the folder of the server: {error}")
            })?;
        if let Some(names) = acknowledged.look() {
            self.site.borrow_mut().acknowledge(names);
        }
        let mut text = format!("{{\"id\":\"{id}\",\"acknowledged\":{accept},\"file\":");
        push_json_string(&mut text, &path);
        text.push('}');
        Ok(text)
    }

    /// Name and text of a statement, by its own name or that of a finding.
    pub(crate) fn statement(&self, id: &str) -> Option<(u64, String)> {
        self.look(|site, live| {
            let found = site.findings(live.now_s);
            let of_finding = found.iter().find(|seen| seen.id == id);
            let name = match of_finding {
                Some(seen) => seen.statement_name,
                None if id.len() == 16 => u64::from_str_radix(id, 16).ok()?,
                None => return None,
            };
            Some((name, site.statement(name)?.text.clone()))
        })
    }

    /// What is known now, and of this moment.
    pub(crate) fn look<T>(&self, show: impl FnOnce(&Site, &Live) -> T) -> T {
        show(&self.site.borrow(), &self.live(Audience::People))
    }

    /// Seconds until the processes need more memory than they may, as far as that can be told.
    pub fn memory_left_s(&self) -> Option<u64> {
        let limit_kb = self.live(Audience::History).memory_limit_kb;
        self.site.borrow().memory_left_s(limit_kb)
    }

    /// The route whose requests make memory grow most, for people.
    pub fn grows_most(&self) -> Option<String> {
        let site = self.site.borrow();
        let route = site.grows_most().into_iter().next()?;
        Some(forecast::grown(route))
    }

    /// How a change of the workers is made.
    pub fn on_scale(&self, change: impl Fn(Scale) + 'static) {
        self.scaler.connect(change);
    }

    /// Changes the workers.
    pub(crate) fn scale(&self, asked: Scale) {
        self.scaler.change(asked);
    }

    /// The profiler.
    pub(crate) fn profiler(&self) -> &Profiler {
        &self.profiler
    }

    /// What the program measures beside.
    pub(crate) fn more_metrics(&self) -> String {
        (self.metrics)()
    }

    fn live(&self, audience: Audience) -> Live {
        let mut live = Live {
            audience,
            now_s: self.begun.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION"),
            ..Live::default()
        };
        live.gauges.connections = self.connections.get();
        (self.live)(&mut live);
        live
    }

    /// A request has ended.
    pub(crate) fn observe(&self, facts: &Facts, status: u16, now: Instant) -> Learned {
        let Some(trace) = &facts.trace else {
            return Learned::default();
        };
        let told = trace.report.borrow_mut().take();
        let report = told.as_deref().unwrap_or(&self.nothing);
        let mut seen = trace.seen.borrow_mut().take();
        let (seen_us, seen_held_us) = seen.as_ref().map_or((0, 0), |seen| (seen.us, seen.held_us));
        let phases = phases(facts, trace, report, seen_us, now);
        let mut groups: Vec<Group> = report.groups.iter().map(group).collect();
        let (mut queries, mut writes) = (report.queries, report.writes);
        if let Some(seen) = &seen {
            groups.extend(seen.rows.iter().map(seen_group));
            queries = queries.saturating_add(seen.queries);
            writes = writes.saturating_add(seen.writes);
        }
        let seen_times = seen.as_mut().map(|seen| std::mem::take(&mut seen.times));
        let observation = Observation {
            method: method(facts.method),
            route: if trace.submitted.get().is_none() {
                FRONT
            } else {
                &report.route
            },
            status,
            https: facts.https,
            phases,
            queries,
            writes,
            held_us: report.held_us.saturating_add(seen_held_us),
            grown_kb: report.grown_kb,
            groups: &groups,
            times: [&report.times, seen_times.as_deref().unwrap_or_default()],
            same: facts.same.get(),
            release: trace.release.get(),
        };
        let mut site = self.site.borrow_mut();
        for (name, bits, text) in &report.statements {
            let traits = Traits::from_bits(*bits);
            let text = text.clone();
            site.tell_statement(*name, Told { text, traits });
        }
        for row in seen.into_iter().flat_map(|seen| seen.rows) {
            let traits = Traits::from_bits(row.bits);
            let text = row.text;
            site.tell_statement(row.statement, Told { text, traits });
        }
        for (name, text) in &report.places {
            site.tell_place(*name, Place::read(text));
        }
        for told in &report.advice {
            site.tell_advice(&Advice {
                route: (observation.method, observation.route),
                statement: told.statement,
                place: told.place,
                repeat: Repeat::from_byte(told.repeat),
                text: &told.text,
            });
        }
        if let (Some(traces), Some(traced)) = (self.traces(), &facts.traced) {
            traces.note(&site, facts, traced, (&observation, now));
        }
        let now_s = now.duration_since(self.begun).as_secs();
        if site.observe(now_s, &observation)
            && let Some(grown) = site.take_grown()
        {
            warn!(
                "a request asks more queries than any did before the app was loaded anew",
                route = &grown.route,
                queries = grown.queries,
                before = grown.before,
                request_id = &*String::from_utf8_lossy(&facts.id)
            );
        }
        Learned {
            phases,
            queries,
            route: told.map_or_else(String::new, |report| report.route),
        }
    }

    /// From now on being on this machine proves nothing.
    pub(crate) fn note_proxy(&self) {
        self.proxied.set(true);
    }

    /// Whether somebody speaks for others from this machine.
    pub(crate) fn is_proxied(&self) -> bool {
        self.proxied.get()
    }

    /// From now on the system is not asked for each browser whose it is.
    pub(crate) fn note_stranger(&self) {
        self.strangers.set(true);
    }

    /// Whether another user of this machine has asked.
    pub(crate) fn serves_strangers(&self) -> bool {
        self.strangers.get()
    }

    /// Whether there is a token that somebody may have shown.
    pub(crate) fn has_token(&self) -> bool {
        self.token.as_deref().is_some_and(|token| !token.is_empty())
    }

    /// Whether this is the token. Takes as long whatever is wrong with it.
    pub(crate) fn is_token(&self, given: &[u8]) -> bool {
        let token = self.token.as_deref().unwrap_or_default().as_bytes();
        !token.is_empty() && constant_time_eq(token, given)
    }

    /// Whether this is what a browser keeps that has shown the token.
    pub(crate) fn is_key(&self, given: &[u8]) -> bool {
        constant_time_eq(self.key.as_bytes(), given)
    }

    /// What such a browser is to keep.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

/// Where the time went; `seen_us` is that of statements which the worker does not tell of.
fn phases(facts: &Facts, trace: &Trace, report: &Report, seen_us: u64, now: Instant) -> Phases {
    let since = |at: Instant| micros(at.saturating_duration_since(facts.started));
    // A slow import is no queue that more workers would shorten.
    let loading = micros(trace.loading.get());
    let since_loaded = |at: Instant| since(at).saturating_sub(loading);
    let (within, apart) = trace.pool.get();
    let stamps = Stamps {
        router: micros(facts.routed),
        submitted: trace.submitted.get().map(since),
        started: trace.started.get().map(since_loaded),
        answered: trace.answered.get().map(since_loaded),
        ended: since_loaded(now),
        gil: micros(trace.waited.get()),
        sql: report.sql_us.saturating_add(seen_us),
        pool: micros(within),
        pool_apart: micros(apart),
        cache: micros(facts.cached),
    };
    stamps.phases()
}

/// Without the 128 bits that `as_micros` reckons with.
fn micros(time: Duration) -> u64 {
    let seconds = time.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add(time.subsec_micros().into())
}

fn group(row: &[u64; 8]) -> Group {
    let [
        statement,
        place,
        count,
        distinct,
        repeats,
        total_us,
        max_us,
        price_us,
    ] = *row;
    let few = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Group {
        statement,
        place,
        count: few(count),
        distinct: few(distinct),
        repeats: few(repeats),
        total_us,
        max_us,
        price_us,
    }
}

/// One that was seen on the wire: nobody knows from which line.
fn seen_group(row: &seen::Row) -> Group {
    Group {
        statement: row.statement,
        place: 0,
        count: row.count,
        distinct: row.distinct,
        repeats: row.repeats,
        total_us: row.us.0,
        max_us: row.us.1,
        price_us: row.us.0,
    }
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
        Method::Options => "OPTIONS",
        Method::Other => "_OTHER",
    }
}

/// `Server-Timing` of a response whose head goes out now (<https://www.w3.org/TR/server-timing/>).
pub(crate) fn server_timing(facts: &Facts) -> Option<String> {
    let trace = facts.trace.as_ref().filter(|_| facts.is_timed)?;
    let report = trace.report.borrow();
    let empty = Report::default();
    let report = report.as_deref().unwrap_or(&empty);
    let seen = trace.seen.borrow();
    let (seen_us, seen_queries) = seen.as_ref().map_or((0, 0), |seen| (seen.us, seen.queries));
    let phases = phases(facts, trace, report, seen_us, Instant::now());
    let ms = |phase| {
        let us = phases.get(phase);
        format!("{}.{:03}", us / 1000, us % 1000)
    };
    Some(format!(
        "router;dur={}, body_in;dur={}, queue;dur={}, gil;dur={}, app;dur={}, pool;dur={}, cache;dur={}, sql;dur={};desc=\"{} queries\"",
        ms(Router),
        ms(BodyIn),
        ms(Queue),
        ms(Gil),
        ms(App),
        ms(Pool),
        ms(Cache),
        ms(Sql),
        report.queries.saturating_add(seen_queries)
    ))
}

fn cannot_keep(path: &Path, error: &std::io::Error) {
    let (file, error) = (path.display().to_string(), error.to_string());
    warn!(
        "what routes usually ask cannot be kept for the next start",
        file = file.as_str(),
        error = error.as_str(),
        hint = "`--usual-queries` names a file that the server's user may write, in a folder that is there"
    );
}
