//! Owns a run from its first request to its last: threads, and what they counted put together.
//! Leaves showing it to the report.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::engine::{self, Common, Engine, Told};
use crate::histogram::Histogram;
use crate::inside::{Inside, Watcher};
use crate::plan::Plan;
use crate::record::{PerRequest, Tally};
use crate::scenario::Rendered;

/// Most rows of a run: a longer one has longer rows, so that memory has a bound.
const MOST_ROWS: usize = 300;
/// How often a watcher hears of the run.
const WATCH: Duration = Duration::from_millis(200);
/// How long a pause waits for threads to tell what they counted.
const PATIENCE: Duration = Duration::from_secs(1);

/// One stretch of time.
#[derive(Clone, Debug)]
pub struct Row {
    /// When it began, since the begin of the counted time.
    pub at: Duration,
    /// Users active or requests under way, at most.
    pub active: usize,
    /// Whole responses.
    pub hits: u64,
    /// Those of them that came after the end of the planned time.
    pub late: u64,
    /// Those of all that were 4xx and 5xx.
    pub bad: u64,
    /// Failures, 4xx and 5xx, time-outs among them.
    pub errors: u64,
    /// Time-outs.
    pub timeouts: u64,
    /// Bytes of responses.
    pub bytes_in: u64,
    /// Bytes of requests.
    pub bytes_out: u64,
    /// Latencies from the intended start.
    pub latency: Histogram,
}

impl Row {
    fn new(at: Duration) -> Self {
        Self {
            at,
            active: 0,
            hits: 0,
            late: 0,
            bad: 0,
            errors: 0,
            timeouts: 0,
            bytes_in: 0,
            bytes_out: 0,
            latency: Histogram::coarse(),
        }
    }

    fn add(&mut self, tally: &Tally, threads: usize) {
        // Threads have their own shares of the users; each tells the most it had.
        self.active = self.active.max(tally.active * threads);
        self.hits += tally.hits;
        self.late += tally.late;
        self.bad += tally.bad();
        self.errors += tally.errors();
        self.timeouts += tally.timeouts();
        self.bytes_in += tally.bytes_in;
        self.bytes_out += tally.bytes_out;
        self.latency.merge(&tally.corrected);
    }

    fn merge(&mut self, next: &Self) {
        self.active = self.active.max(next.active);
        self.hits += next.hits;
        self.late += next.late;
        self.bad += next.bad;
        self.errors += next.errors;
        self.timeouts += next.timeouts;
        self.bytes_in += next.bytes_in;
        self.bytes_out += next.bytes_out;
        self.latency.merge(&next.latency);
    }
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// How long the counted time was.
    pub time: Duration,
    /// Everything counted.
    pub total: Tally,
    /// Whole responses before the counted time.
    pub warmup_hits: u64,
    /// The stretches of time.
    pub rows: Vec<Row>,
    /// How long each is.
    pub row_time: Duration,
    /// What each request of the scenario came to.
    pub requests: Vec<PerRequest>,
    /// Why it ended early, in words.
    pub ended_early: Option<String>,
    /// What the server said about itself.
    pub inside: Inside,
}

impl Outcome {
    /// Whole responses a second. What came after the end is not in it: users whose requests take long
    /// would otherwise be counted for work they began in the time and ended after it.
    pub fn rate(&self) -> f64 {
        self.total.in_time() as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// The same of responses that are neither 4xx nor 5xx.
    pub fn good_rate(&self) -> f64 {
        self.total.good_in_time() as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// The share of a CPU that a sending thread used.
    pub fn cpu_share(&self, threads: usize) -> f64 {
        let wall = self.time.as_secs_f64() * threads.max(1) as f64;
        (self.total.busy.as_secs_f64() / wall.max(1e-9)).min(1.0)
    }

    /// Why the generator and not the server was the limit; None when it was not.
    pub fn generator_limit(&self, plan: &Plan) -> Option<String> {
        self.generator_at_its_end(plan).or_else(|| self.was_late())
    }

    /// Whether the generator could send no more than it did.
    pub fn generator_at_its_end(&self, plan: &Plan) -> Option<String> {
        let exhausted = self.total.failed(crate::record::Kind::Exhausted);
        if exhausted > 0 {
            return Some(format!(
                "{exhausted} requests found no port or file descriptor on this machine"
            ));
        }
        let share = self.cpu_share(plan.threads);
        if share > 0.9 {
            return Some(format!(
                "the generator used {:.0} % of the CPU it can use with {} thread{}",
                share * 100.0,
                plan.threads,
                if plan.threads == 1 { "" } else { "s" }
            ));
        }
        if self.total.unsent > 0 && self.total.held == 0 && self.ended_early.is_none() {
            return Some(format!(
                "{} arrivals were due and not sent",
                self.total.unsent
            ));
        }
        None
    }

    /// Whether the generator was so late that the latencies are its own. Two sites that are asked in
    /// turn suffer alike, so a comparison does not ask this.
    fn was_late(&self) -> Option<String> {
        let late = self.total.lateness.quantile(0.99);
        let p99 = self.total.corrected.quantile(0.99);
        (self.total.hits > 0 && late > Duration::from_millis(5) && late > p99 / 20).then(|| {
            format!(
                "the generator was {} ms late (p99), more than a twentieth of the p99 it would report",
                late.as_millis()
            )
        })
    }
}

/// How far a run is.
pub struct Progress<'a> {
    /// The counted time so far; zero while it warms up.
    pub passed: Duration,
    /// The time planned.
    pub planned: Duration,
    /// Everything counted.
    pub total: &'a Tally,
    /// The last stretch that is whole.
    pub row: Option<&'a Row>,
    /// How long a stretch is.
    pub row_time: Duration,
    /// Whether nothing is begun any more.
    pub waiting: bool,
}

/// Who may pause a run.
pub struct Pause<'a> {
    /// A pause is wanted; taken back when it begins.
    pub wanted: &'a AtomicBool,
    /// Hears what came of the run so far, and answers whether it goes on. The run waits for it.
    pub hold: &'a mut dyn FnMut(&Outcome) -> bool,
}

/// Runs a plan. `stop` ends it at once; `watch` hears of it several times a second and ends it by
/// a reason.
pub fn run(
    plan: &Plan,
    stop: &AtomicBool,
    watcher: Watcher,
    watch: &mut dyn FnMut(&Progress<'_>) -> Option<String>,
) -> Result<Outcome, String> {
    run_with_pauses(plan, stop, None, watcher, watch)
}

/// The same; in a pause nothing is begun, and its time is in nothing that is told.
pub fn run_with_pauses(
    plan: &Plan,
    stop: &AtomicBool,
    mut pause: Option<Pause<'_>>,
    watcher: Watcher,
    watch: &mut dyn FnMut(&Progress<'_>) -> Option<String>,
) -> Result<Outcome, String> {
    let requests = &plan.scenario.requests;
    let rendered: Vec<Rendered> = requests
        .iter()
        .map(|request| Rendered::new(request, &plan.site, plan.keep_alive))
        .collect();
    let (ended, paused) = (AtomicBool::new(false), AtomicBool::new(false));
    let base = Instant::now();
    let common = Common {
        plan,
        rendered: &rendered,
        base,
        begin: base + plan.warmup,
        stretch: stretch(plan.load.time()),
        stop: &ended,
        pause: &paused,
        clock: Instant::now,
    };
    let pollers: Result<Vec<_>, String> =
        (0..plan.threads.max(1)).map(|_| engine::poller()).collect();
    let mut gathered = Gathered::new(plan, common.stretch);
    let watched = watcher.start();
    let mut why = None;
    let mut begin = common.begin;
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(64);
        for (thread, poller) in pollers?.into_iter().enumerate() {
            let (sender, common) = (sender.clone(), &common);
            scope.spawn(move || Engine::new(common, thread, poller).run(&sender));
        }
        drop(sender);
        let mut next = Instant::now() + WATCH;
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(wait) {
                Ok(told) => gathered.take(told),
                Err(RecvTimeoutError::Disconnected) => return Ok::<(), String>(()),
                Err(RecvTimeoutError::Timeout) => {
                    next = Instant::now() + WATCH;
                    let progress = gathered.progress(plan, begin);
                    why = why.take().or_else(|| watch(&progress));
                }
            }
            if why.is_none()
                && let Some(pause) = &mut pause
                && pause.wanted.swap(false, Ordering::Relaxed)
            {
                let since = Instant::now();
                paused.store(true, Ordering::Relaxed);
                let passed = since.saturating_duration_since(begin);
                let so_far = gathered.so_far(plan, passed, &receiver);
                if !(pause.hold)(&so_far) {
                    why = Some("ended by hand".to_owned());
                }
                begin += since.elapsed();
                paused.store(false, Ordering::Relaxed);
            }
            if stop.load(Ordering::Relaxed) && why.is_none() {
                why = Some("ended by hand".to_owned());
            }
            if why.is_some() {
                ended.store(true, Ordering::Relaxed);
            }
        }
    })?;
    let inside = watched.finish();
    let passed = Instant::now().saturating_duration_since(begin);
    Ok(gathered.finish(plan, passed, why, inside))
}

/// A tenth of a second up to one, so that a short run has a line to look at, too.
fn stretch(time: Duration) -> Duration {
    (time / 60).clamp(Duration::from_millis(100), Duration::from_secs(1))
}

#[derive(Clone)]
struct Gathered {
    rows: Vec<Row>,
    row_time: Duration,
    /// Stretches in a row.
    factor: i64,
    stretch: Duration,
    threads: usize,
    total: Tally,
    warmup_hits: u64,
    requests: Vec<PerRequest>,
}

impl Gathered {
    fn new(plan: &Plan, stretch: Duration) -> Self {
        Self {
            rows: Vec::new(),
            row_time: stretch,
            factor: 1,
            stretch,
            threads: plan.threads.max(1),
            total: Tally::default(),
            warmup_hits: 0,
            requests: Vec::new(),
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            // The first thread's are taken as they are: of thousands, a second copy is felt.
            Told::Requests(requests) if self.requests.is_empty() => self.requests = requests,
            Told::Requests(requests) => {
                for (sum, more) in self.requests.iter_mut().zip(&requests) {
                    sum.merge(more);
                }
            }
            // It came too late to be waited for.
            Told::Paused => {}
            Told::Stretch(..0, tally) => self.warmup_hits += tally.hits,
            Told::Stretch(stretch, tally) => {
                while stretch / self.factor >= MOST_ROWS as i64 {
                    self.halve();
                }
                let index = usize::try_from(stretch / self.factor).unwrap_or(0);
                while self.rows.len() <= index {
                    let count = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
                    self.rows.push(Row::new(self.row_time * count));
                }
                if let Some(row) = self.rows.get_mut(index) {
                    row.add(&tally, self.threads);
                }
                self.total.merge(&tally);
            }
        }
    }

    /// What came of the run until it was paused.
    fn so_far(&mut self, plan: &Plan, passed: Duration, receiver: &Receiver<Told>) -> Outcome {
        self.take_all(receiver);
        let why = Some("it is paused".to_owned());
        self.clone().finish(plan, passed, why, Inside::default())
    }

    /// Takes what the threads have counted until each of them is paused or over.
    fn take_all(&mut self, receiver: &Receiver<Told>) {
        let mut paused = 0;
        while paused < self.threads {
            match receiver.recv_timeout(PATIENCE) {
                Ok(Told::Paused) => paused += 1,
                Ok(told) => self.take(told),
                // A thread that is over says no more; the others have answered long ago.
                Err(_) => return,
            }
        }
    }

    fn halve(&mut self) {
        let halves = self.rows.chunks(2).map(|pair| {
            let mut row = pair[0].clone();
            pair.iter().skip(1).for_each(|next| row.merge(next));
            row
        });
        self.rows = halves.collect();
        self.factor *= 2;
        self.row_time = self.stretch * u32::try_from(self.factor).unwrap_or(u32::MAX);
    }

    fn progress(&self, plan: &Plan, begin: Instant) -> Progress<'_> {
        let passed = Instant::now().saturating_duration_since(begin);
        Progress {
            passed,
            planned: plan.load.time(),
            total: &self.total,
            row: self.rows.iter().rev().nth(1).or(self.rows.last()),
            row_time: self.row_time,
            waiting: passed > plan.load.time(),
        }
    }

    fn finish(
        self,
        plan: &Plan,
        passed: Duration,
        ended_early: Option<String>,
        inside: Inside,
    ) -> Outcome {
        let planned = plan.load.time();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Outcome {
            began: now.map_or(0, |now| now.as_secs().saturating_sub(passed.as_secs())),
            time: passed.min(planned).max(Duration::from_millis(1)),
            total: self.total,
            warmup_hits: self.warmup_hits,
            rows: self.rows,
            row_time: self.row_time,
            requests: self.requests,
            ended_early,
            inside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Order, Request, Scenario};
    use crate::schedule::Load;
    use crate::target::{Door, Site};

    #[test]
    fn a_long_run_has_longer_rows_instead_of_more() {
        let (site, path) = Site::parse("http://127.0.0.1:1/").unwrap();
        let scenario = Scenario {
            requests: vec![Request::get(path)],
            order: Order::Weighted,
            left_out: Vec::new(),
        };
        let door = Door::Address(([127, 0, 0, 1], 1).into());
        let plan = Plan::new(site, door, scenario, Load::Replay(Duration::from_secs(60)));
        let mut gathered = Gathered::new(&plan, Duration::from_secs(1));
        for second in 0..5000 {
            let mut tally = Tally::default();
            tally.hit(200, Duration::from_secs(second), 1);
            tally.corrected.record(Duration::from_millis(second));
            gathered.take(Told::Stretch(second as i64, Box::new(tally)));
        }
        assert!(gathered.rows.len() <= MOST_ROWS, "{}", gathered.rows.len());
        assert_eq!(gathered.rows.iter().map(|row| row.hits).sum::<u64>(), 5000);
        assert_eq!(gathered.row_time, Duration::from_secs(32));
        for (index, row) in gathered.rows.iter().enumerate() {
            assert_eq!(row.at, gathered.row_time * u32::try_from(index).unwrap());
        }
    }
}
