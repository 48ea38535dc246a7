//! Owns measuring a real server: loads it through its socket and reads the kernel and the server's own
//! numbers meanwhile. Leaves which configuration and what follows to `canter_tune`.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use canter_base::{Exit, Fault};
use canter_load::inside::{SNAPSHOT, Watcher, phases, snapshot};
use canter_load::run::{Outcome, Progress};
use canter_load::scenario::Order;
use canter_load::schedule::{Load, Stage};
use canter_load::target::Door;
use canter_load::{Plan, run};
use canter_tune::measured::Measured;
use canter_tune::search::{Bench, Kind, Length, Trouble};
use canter_tune::setting::Setting;
use serde_json::Value;

use super::server::{Folder, Server};
use super::{Asked, FEW, kernel, replay};
use crate::front_process::observed::threads_of;

/// Answers below which a measurement is made longer, if it can be.
const ENOUGH: f64 = 200.0;
/// Between two looks at memory: it walks page tables.
const MEMORY: Duration = Duration::from_millis(500);
/// Most different requests that are probed, of a list.
const PROBED: usize = 100;
/// What is sent before anything is counted.
const WARMUP: Duration = Duration::from_millis(500);
/// Ports of databases that are counted, beside that of `DATABASE_URL`.
const PORTS: [u16; 3] = [5432, 3306, 1433];

/// Servers, one after the other.
pub(super) struct Drive<'a> {
    asked: &'a Asked,
    /// What is asked for, at the server's socket.
    plan: Plan,
    folder: Folder,
    server: Option<Server>,
    setting: Setting,
    stop: Arc<AtomicBool>,
    begin: Instant,
    ports: Vec<u16>,
    /// How long half of the requests and how many answers a second to expect, for the length of windows.
    expected: Option<(Duration, f64)>,
    /// What a reader of the report must know.
    pub(super) notes: Vec<String>,
}

impl<'a> Drive<'a> {
    pub(super) fn new(asked: &'a Asked, stop: Arc<AtomicBool>) -> Result<Self, Fault> {
        let mut ports = PORTS.to_vec();
        ports.extend(
            std::env::var("DATABASE_URL")
                .ok()
                .and_then(|url| port_of(&url)),
        );
        let folder = Folder::make()?;
        let mut plan = asked.plan.clone();
        plan.site.socket = Some(folder.site());
        plan.door = Door::Socket(folder.site());
        let left_out = &plan.scenario.left_out;
        let left_out = (!left_out.is_empty())
            .then(|| format!("Left out of the log: {}.", left_out.join(", ")));
        Ok(Self {
            asked,
            plan,
            folder,
            server: None,
            setting: Setting::new(1, 1),
            stop,
            begin: Instant::now(),
            ports,
            expected: None,
            notes: left_out.into_iter().collect(),
        })
    }

    pub(super) fn announce(&self, what: &str) {
        if !self.asked.quiet {
            let seconds = self.begin.elapsed().as_secs();
            let _ = writeln!(std::io::stderr().lock(), "{seconds:>4} s  {what}");
        }
    }

    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.asked.app.iter().cloned().collect();
        words.extend(self.asked.serve.iter().cloned());
        if let Some(connections) = self.asked.wish.walls.connections {
            words.extend(["--db-connections".to_owned(), connections.to_string()]);
        }
        words
    }

    fn inside(&self) -> Option<Value> {
        snapshot(&Door::Socket(self.folder.admin()), SNAPSHOT)
    }

    /// How long a measurement is to be.
    fn window(&self, level: f64, length: Length) -> Duration {
        let longest = self.asked.longest();
        let (p50, rate) = self.expected.unwrap_or((Duration::ZERO, ENOUGH));
        let in_time = |count: f64, rate: f64| {
            Duration::from_secs_f64((count / rate.max(0.1)).min(1e6)).min(longest)
        };
        let few = self.asked.arrivals(level).map(|rate| in_time(FEW, rate));
        let several = self.asked.window.max((p50 * 6).min(longest));
        let several = several.max(few.unwrap_or_default());
        let enough = in_time(ENOUGH, rate);
        match length {
            Length::Full => several.max(enough),
            Length::Short => (several / 2).max(Duration::from_secs(1)),
        }
    }

    /// Gives a plan its load; answers how many requests a second are due in the counted time.
    fn shape(&self, plan: &mut Plan, level: f64, time: Duration) -> Option<f64> {
        let stage = Stage {
            from: level,
            to: level,
            time,
        };
        plan.warmup = WARMUP;
        match self.asked.wish.kind {
            Kind::Users => {
                plan.load = Load::Users(vec![stage]);
                None
            }
            Kind::Rate => {
                plan.load = Load::Rate(vec![stage]);
                Some(level)
            }
            Kind::Speed => {
                plan.speed = level;
                plan.load = Load::Replay(time);
                let Order::Log(log) = &mut plan.scenario.order else {
                    return None;
                };
                *log = replay::replay(log, level, WARMUP + time);
                Some(replay::offered(log, level, WARMUP, time))
            }
        }
    }

    fn trouble(&mut self) -> Option<Trouble> {
        let dead = self.server.as_mut().is_none_or(|server| !server.lives());
        dead.then(|| Trouble::Died(self.folder.last_words(30)))
    }
}

impl Bench for Drive<'_> {
    fn start(&mut self, setting: Setting) -> Result<(), Trouble> {
        if self.change(setting)? {
            return Ok(());
        }
        self.stop();
        self.setting = setting;
        self.server = Some(Server::start(
            &self.folder,
            &self.words(),
            setting,
            &self.stop,
        )?);
        Ok(())
    }

    fn probe(&mut self) -> Result<Measured, Trouble> {
        let mut plan = self.plan.clone();
        let order = std::mem::replace(&mut plan.scenario.order, Order::Journey);
        let mut patience = Duration::from_secs(600);
        if matches!(order, Order::Log(_)) {
            // What visitors asked for has wrong addresses in it; each is looked at, as far as there is time.
            patience = self.asked.budget / 10;
        } else {
            plan.scenario.requests.truncate(PROBED);
        }
        plan.requests = Some(plan.scenario.requests.len() as u64);
        plan.load = Load::Users(vec![Stage {
            from: 1.0,
            to: 1.0,
            time: patience,
        }]);
        let outcome = run(&plan, &self.stop, Watcher::default(), &mut |_| None);
        let outcome = outcome.map_err(|why| Trouble::Fault(Fault::internal(why)))?;
        if outcome.ended_early.is_some() {
            return Err(Trouble::Stopped);
        }
        if let Some(trouble) = self.trouble() {
            return Err(trouble);
        }
        if outcome.total.error_share() >= 1.0 {
            return Err(Trouble::Fault(self.all_fail(&outcome)));
        }
        let fails: Vec<bool> = outcome.requests.iter().map(|it| it.errors > 0).collect();
        if fails.contains(&true) {
            let note = self.leave_out(&fails);
            self.announce(&note);
            self.notes.push(note);
        }
        let pids = self
            .server
            .as_ref()
            .map_or_else(Vec::new, |server| kernel::tree(server.pid));
        let mut measured = counted(&outcome);
        measured.memory = kernel::memory(&pids);
        Ok(measured)
    }

    fn load(&mut self, level: f64, length: Length) -> Result<Measured, Trouble> {
        let time = self.window(level, length);
        let mut plan = self.plan.clone();
        let offered = self.shape(&mut plan, level, time);
        let root = self.server.as_ref().map_or(0, |server| server.pid);
        let before = self.inside();
        let door = Door::Socket(self.folder.admin());
        let mut looks = Looks::new(root, self.ports.clone(), door, workers_of(before.as_ref()));
        let outcome = run(&plan, &self.stop, Watcher::default(), &mut |progress| {
            looks.look(progress);
            None
        });
        let outcome = outcome.map_err(|why| Trouble::Fault(Fault::internal(why)))?;
        if outcome.ended_early.is_some() {
            return Err(Trouble::Stopped);
        }
        if let Some(trouble) = self.trouble() {
            return Err(trouble);
        }
        looks.measure();
        let mut measured = counted(&outcome);
        measured.load_cpu = outcome.total.busy.as_secs_f64() / outcome.time.as_secs_f64();
        measured.cores = f64::from(self.asked.space.cores);
        measured.generator = outcome.generator_at_its_end(&plan);
        measured.offered = offered;
        measured.time = time;
        if offered.is_some() {
            // A replay ends with its last request, which may be before the end of its time.
            measured.rate = outcome.total.good_in_time() as f64 / time.as_secs_f64();
        }
        measured.phases = phases(before.as_ref(), self.inside().as_ref());
        looks.tell(&mut measured, self.setting);
        self.expected = Some((measured.p50, measured.rate));
        Ok(measured)
    }

    fn stop(&mut self) {
        self.server = None;
    }

    fn spent(&self) -> f64 {
        self.begin.elapsed().as_secs_f64() / self.asked.budget.as_secs_f64()
    }

    fn say(&mut self, what: &str) {
        self.announce(what);
    }
}

impl Drive<'_> {
    /// Gives the server that runs other workers; false when it has to be started anew.
    fn change(&mut self, setting: Setting) -> Result<bool, Trouble> {
        let old = workers_of(self.inside().as_ref());
        let Some(server) = self
            .server
            .as_mut()
            .filter(|server| server.can_become(setting))
        else {
            return Ok(false);
        };
        if old.is_empty() || !server.lives() {
            return Ok(false);
        }
        match server.change(&self.folder, setting, &old, &self.stop) {
            Ok(()) => {
                self.setting = setting;
                Ok(true)
            }
            Err(Trouble::Stopped) => Err(Trouble::Stopped),
            // What it would not do while it runs, it may do from the start.
            Err(_) => Ok(false),
        }
    }

    /// Names the requests that failed when asked alone. They are not asked for again where a log has them: what
    /// fails in every configuration tells none from another.
    fn leave_out(&mut self, fails: &[bool]) -> String {
        let failed = |which: usize| fails.get(which).is_some_and(|failed| *failed);
        let requests = self.plan.scenario.requests.iter().enumerate();
        let wrong: Vec<String> = requests
            .filter(|(which, _)| failed(*which))
            .map(|(_, request)| request.label())
            .collect();
        let more = wrong.len().saturating_sub(3);
        let mut listed = wrong.get(..3).unwrap_or(&wrong).join(", ");
        if more > 0 {
            listed = format!("{listed} and {more} more");
        }
        let mut note = format!(
            "Of the requests, {} failed when asked alone: {listed}.",
            wrong.len()
        );
        if let Order::Log(log) = &mut self.plan.scenario.order {
            let all = log.len();
            log.retain(|(which, _)| !failed(*which as usize));
            let share = (all - log.len()) as f64 / all.max(1) as f64 * 100.0;
            let left_out = format!(
                " What fails in every configuration tells none from another, so {share:.1} % of the log was left out."
            );
            note.push_str(&left_out);
        }
        note
    }

    fn all_fail(&self, outcome: &Outcome) -> Fault {
        let first = outcome
            .total
            .first_error
            .as_ref()
            .map_or("no answer", |first| &first.what);
        let said = self.folder.last_words(30);
        let what = format!("every request fails ({first}):\n{said}");
        let fault = Fault::new(Exit::App, what);
        let database = [
            "OperationalError",
            "could not connect",
            "connection to server",
            "database",
        ];
        if first == "status 400" {
            fault.hint(
                "an app that refuses the host `127.0.0.1` wants its own: `-H Host:www.example.org`; TLS \
                 behind a proxy is `-H X-Forwarded-Proto:https`",
            )
        } else if database.iter().any(|word| said.contains(word)) {
            fault.hint("the database does not answer the app: start it, or see `DATABASE_URL`")
        } else {
            fault.hint(
                "what the app said is above; `canter serve` with the same words shows it, too",
            )
        }
    }
}

/// What is counted while a load runs.
struct Looks {
    root: u32,
    ports: Vec<u16>,
    door: Door,
    workers: Vec<u32>,
    pids: Vec<u32>,
    /// CPU seconds of each process and of the machine at the begin of the counted time and now.
    first: Option<Cpu>,
    last: Option<Cpu>,
    next: Instant,
    memory: u64,
    connections: u32,
    queued: u32,
    threads: u32,
}

/// CPU times at one moment.
struct Cpu {
    at: Instant,
    each: Vec<(u32, f64)>,
    machine: (f64, f64),
}

impl Looks {
    fn new(root: u32, ports: Vec<u16>, door: Door, workers: Vec<u32>) -> Self {
        Self {
            root,
            ports,
            door,
            workers,
            pids: kernel::tree(root),
            first: None,
            last: None,
            next: Instant::now(),
            memory: 0,
            connections: 0,
            queued: 0,
            threads: 0,
        }
    }

    fn look(&mut self, progress: &Progress<'_>) {
        if progress.passed.is_zero() || progress.waiting {
            return;
        }
        let cpu = Cpu {
            at: Instant::now(),
            each: self
                .pids
                .iter()
                .map(|pid| (*pid, kernel::cpu(*pid)))
                .collect(),
            machine: kernel::machine(),
        };
        if self.first.is_none() {
            self.first = Some(cpu);
        } else {
            self.last = Some(cpu);
        }
        if Instant::now() >= self.next {
            self.measure();
            self.next = Instant::now() + MEMORY;
        }
    }

    fn measure(&mut self) {
        let pids = kernel::tree(self.root);
        self.memory = self.memory.max(kernel::memory(&pids));
        let inside = snapshot(&self.door, SNAPSHOT);
        let number = |pointer: &str| {
            let found = inside
                .as_ref()
                .and_then(|value| value.pointer(pointer)?.as_u64());
            u32::try_from(found.unwrap_or(0)).unwrap_or(u32::MAX)
        };
        let connections = kernel::connections(&pids, &self.ports).max(number("/pool/servers"));
        self.connections = self.connections.max(connections);
        self.queued = self.queued.max(number("/now/queued"));
        let threads = self.workers.iter().map(|pid| threads_of(*pid));
        // The main thread of a worker runs no requests.
        self.threads = self
            .threads
            .max(threads.max().unwrap_or(0).saturating_sub(1));
    }

    fn tell(&self, measured: &mut Measured, setting: Setting) {
        measured.memory = self.memory;
        measured.connections = self.connections;
        measured.queued = self.queued;
        measured.threads_used = self.threads.min(setting.threads);
        let (Some(first), Some(last)) = (&self.first, &self.last) else {
            return;
        };
        let seconds = last
            .at
            .saturating_duration_since(first.at)
            .as_secs_f64()
            .max(1e-3);
        let used = |pid: u32| {
            let at = |cpu: &Cpu| {
                cpu.each
                    .iter()
                    .find(|(known, _)| *known == pid)
                    .map_or(0.0, |(_, it)| *it)
            };
            (at(last) - at(first)).max(0.0) / seconds
        };
        measured.cpu = self.pids.iter().map(|pid| used(*pid)).sum();
        measured.worker_cpu = self
            .workers
            .iter()
            .map(|pid| used(*pid))
            .fold(0.0, f64::max);
        let busy = last.machine.0 - first.machine.0;
        measured.machine_busy = busy / (last.machine.1 - first.machine.1).max(1.0);
    }
}

/// What the generator counted.
fn counted(outcome: &Outcome) -> Measured {
    let total = &outcome.total;
    Measured {
        rate: outcome.good_rate(),
        p50: total.corrected.quantile(0.5),
        p95: total.corrected.quantile(0.95),
        p99: total.corrected.quantile(0.99),
        answers: total.hits.saturating_sub(total.bad()),
        errors: total.error_share(),
        timeouts: total.timeouts(),
        first_error: total.first_error.as_ref().map(|first| first.what.clone()),
        ..Measured::default()
    }
}

/// The processes that run the app.
fn workers_of(snapshot: Option<&Value>) -> Vec<u32> {
    let processes = snapshot.and_then(|value| value.get("processes")?.as_array().cloned());
    let worker = |process: &Value| {
        let is_worker = process.get("name")?.as_str()?.starts_with("worker");
        is_worker.then(|| process.get("pid")?.as_u64())?
    };
    let pids = processes.iter().flatten().filter_map(worker);
    pids.filter_map(|pid| u32::try_from(pid).ok()).collect()
}

/// The port in a database's URL.
fn port_of(url: &str) -> Option<u16> {
    let (_, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?']).next()?.rsplit('@').next()?;
    host.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use canter_load::record::Tally;

    #[test]
    fn the_processes_of_the_app_are_found() {
        let told = serde_json::json!({
            "processes": [{"name": "front", "pid": 1}, {"name": "worker 3", "pid": 2}]
        });
        assert_eq!(workers_of(Some(&told)), [2]);
    }

    #[test]
    fn failures_take_nothing_from_the_answers_and_late_ones_are_none() {
        let total = Tally {
            hits: 50,
            late: 10,
            late_bad: 4,
            classes: [0, 0, 44, 0, 0, 6],
            failures: [100; canter_load::record::Kind::ALL.len()],
            ..Tally::default()
        };
        let outcome = Outcome {
            began: 0,
            time: Duration::from_secs(2),
            total,
            warmup_hits: 0,
            rows: Vec::new(),
            row_time: Duration::from_secs(1),
            requests: Vec::new(),
            ended_early: None,
            inside: canter_load::inside::Inside::default(),
        };
        let measured = counted(&outcome);
        // Of 40 that came in time, two were bad.
        assert!((measured.rate - 19.0).abs() < 1e-9, "{}", measured.rate);
        assert_eq!(measured.answers, 44);
    }

    #[test]
    fn the_port_of_a_database_is_found() {
        assert_eq!(port_of("postgres://u:p@host:6543/name"), Some(6543));
        assert_eq!(port_of("postgres://host/name"), None);
    }
}
