//! `canter tune`: starts an app in different configurations and says which one to run.
//!
//! Owns its command line and what is written where. Leaves the search and its reports to `canter_tune`,
//! driving a server to `tune/drive.rs`, starting one to
//! `tune/server.rs`, looking at a running one to `tune/observe.rs`.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use canter_base::flags::{Given, TUNE};
use canter_base::options::Value as _;
use canter_base::{Exit, Fault};
use canter_load::Plan;
use canter_load::scenario::Order;
use canter_load::schedule::Load;
use canter_sys::machine;
use canter_tune::measured::Walls;
use canter_tune::report::Report;
use canter_tune::search::{Kind, Wish, find};
use canter_tune::setting::{Setting, Space};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::bench::{self, plan};

mod drive;
pub(crate) mod kernel;
mod observe;
mod replay;
mod server;

use drive::Drive;

/// The highest levels of load tried.
const MOST_USERS: f64 = 512.0;
/// More errors than this, and nothing else counts.
const MOST_ERRORS: f64 = 0.01;
/// The longest measurement that is made longer by itself.
const LONGEST: Duration = Duration::from_secs(15);
/// Arrivals in one measurement below which nothing can be told from it.
const FEW: f64 = 10.0;

/// Runs it; exit code 8 when no configuration holds.
pub fn run(args: &[OsString]) -> Result<Exit, Fault> {
    let given = TUNE.read(args)?;
    if given.has("observe") {
        return observe::run(&given);
    }
    let asked = Asked::read(&given)?;
    let files = Files::open(&given)?;
    let _ = machine::raise_open_files();
    let stop = on_signals()?;
    let begin = Instant::now();
    let mut drive = Drive::new(&asked, stop)?;
    drive.announce(&format!(
        "{}, order of seed {}, about {}",
        asked.requests,
        asked.wish.seed,
        asked.budget.show()
    ));
    let found = find(&mut drive, asked.space, &asked.wish)?;
    let report = Report {
        app: asked.app.as_deref().unwrap_or("the project in this folder"),
        requests: &asked.requests,
        wish: &asked.wish,
        found: &found,
        took: begin.elapsed(),
        db_connections: asked.wish.walls.connections,
        notes: &drive.notes,
    };
    files.write(&report)?;
    Ok(if found.choice.is_some() {
        Exit::Ok
    } else {
        Exit::Verdict
    })
}

/// The command line, understood.
struct Asked {
    app: Option<String>,
    /// Further words for `canter serve`.
    serve: Vec<String>,
    plan: Plan,
    requests: String,
    wish: Wish,
    space: Space,
    budget: Duration,
    window: Duration,
    quiet: bool,
}

impl Asked {
    fn read(given: &Given) -> Result<Self, Fault> {
        let mut words = given.words.iter().cloned().peekable();
        let app = words.next_if(|word| !word.starts_with('-'));
        let plan = plan::of_url(given, "http://127.0.0.1/")?;
        let (kind, level) = level(given, &plan)?;
        let memory = bench::size(given, "memory")?;
        let walls = Walls {
            memory: memory.or_else(machine::memory_limit),
            connections: plan::number(given, "db-connections", 1, 100_000)?,
            p95: plan::duration(given, "p95")?,
            errors: MOST_ERRORS,
        };
        let cores = u32::try_from(machine::cpus()).unwrap_or(1).max(1);
        let most = plan::number(given, "most-workers", 1, 1024)?.unwrap_or(cores * 2 + 1);
        let space = Space {
            cores,
            most_workers: most,
            most_threads: 1000,
            automatic: automatic(cores, walls.memory),
            users: None,
        };
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        let clock = clock.map_or(1, |now| u64::from(now.subsec_nanos()));
        let wish = Wish {
            walls,
            tolerance: bench::share(given, "noise")?.unwrap_or(0.03),
            seed: plan::number(given, "seed", 0, u64::MAX)?.unwrap_or(clock),
            level,
            kind,
            most_level: match (kind, level) {
                (Kind::Users, level) => level.unwrap_or(0.0).mul_add(8.0, 0.0).max(MOST_USERS),
                (_, level) => level.unwrap_or(1.0) * 64.0,
            },
        };
        let budget = plan::duration(given, "time")?.unwrap_or(Duration::from_secs(240));
        let window = plan::duration(given, "window")?.unwrap_or(Duration::from_secs(3));
        for (long, time) in [("time", budget), ("window", window)] {
            if time < Duration::from_millis(500) {
                return Err(plan::wrong(
                    long,
                    &time.show(),
                    "nothing is measured in so short a time",
                ));
            }
        }
        let asked = Self {
            app,
            serve: words.collect(),
            requests: requests(given, &plan),
            plan,
            wish,
            space,
            budget,
            window,
            quiet: given.has("quiet"),
        };
        asked.enough(given)?;
        Ok(asked)
    }

    /// Refuses arrivals that are too few to compare anything by.
    fn enough(&self, given: &Given) -> Result<(), Fault> {
        let arrivals = self.wish.level.and_then(|level| self.arrivals(level));
        let longest = self.longest();
        let Some(arrivals) = arrivals.filter(|it| it * longest.as_secs_f64() < FEW) else {
            return Ok(());
        };
        let long = if self.wish.kind == Kind::Rate {
            "rate"
        } else {
            "speed"
        };
        let why = format!(
            "{arrivals:.2} arrivals a second are too few to tell configurations apart in {}",
            longest.show()
        );
        let hint = format!(
            "take more of it, or a longer `--window`; without `--{long}` users are added who ask as fast as they \
             are answered"
        );
        Err(plan::wrong(long, given.value(long).unwrap_or_default(), &why).hint(&hint))
    }

    /// How long one measurement may become by itself.
    fn longest(&self) -> Duration {
        self.window.max(LONGEST.min(self.budget / 40))
    }

    /// Requests a second at a level of the load; None where users wait for their answers.
    fn arrivals(&self, level: f64) -> Option<f64> {
        match (self.wish.kind, &self.plan.scenario.order) {
            (Kind::Rate, _) => Some(level),
            (Kind::Speed, Order::Log(log)) => Some(replay::rate(log, level)),
            _ => None,
        }
    }
}

/// What the level of the load counts, and the level that was given.
fn level(given: &Given, plan: &Plan) -> Result<(Kind, Option<f64>), Fault> {
    match &plan.load {
        Load::Rate(stages) => match stages.as_slice() {
            [one] if (one.from - one.to).abs() < f64::EPSILON => Ok((Kind::Rate, Some(one.from))),
            _ => Err(plan::wrong(
                "rate",
                given.value("rate").unwrap_or_default(),
                "expected one rate such as `50/s`: more and less load is found by the search",
            )),
        },
        Load::Replay(_) if given.has("speed") => Ok((Kind::Speed, Some(plan.speed))),
        Load::Users(_) if given.has("users") => Ok((
            Kind::Users,
            plan::number(given, "users", 1, 10_000)?.map(|users: u32| f64::from(users)),
        )),
        Load::Users(_) | Load::Replay(_) => Ok((Kind::Users, None)),
    }
}

/// What `canter serve` takes by itself on a machine with so much memory.
fn automatic(cores: u32, memory: Option<u64>) -> Setting {
    let words: [OsString; 0] = [];
    let config = canter_base::options::resolve(canter_base::options::Inputs {
        args: &words,
        env: &[],
        read_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
        process_id: 0,
    });
    let Ok(resolved) = config else {
        return Setting::new(cores, 64);
    };
    let machine = canter_base::sizing::Machine {
        cores,
        memory_bytes: memory.unwrap_or(512 << 20),
        descriptors: 4096,
    };
    let sizing = canter_base::sizing::plan(machine, &resolved.config);
    Setting::new(sizing.workers, sizing.threads)
}

fn requests(given: &Given, plan: &Plan) -> String {
    let count = plan.scenario.requests.len();
    let from = ["url-list", "access-log"]
        .into_iter()
        .find_map(|long| given.value(long));
    match (from, plan.scenario.requests.first()) {
        (Some(file), _) => format!(
            "{count} different request{} of {file}",
            if count == 1 { "" } else { "s" }
        ),
        (None, first) => first.map_or_else(String::new, canter_load::scenario::Request::label),
    }
}

/// Ends the search with what is known so far. The servers are stopped either way, so a second one does no more.
fn on_signals() -> Result<Arc<AtomicBool>, Fault> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Fault::internal(format!("cannot take signals: {error}")))?;
    }
    Ok(stop)
}

/// Where reports go. They are made before the search, so that a wrong name costs none.
struct Files {
    html: Option<(String, File)>,
    json: Option<(String, Option<File>)>,
    write: Option<(String, File)>,
}

impl Files {
    fn open(given: &Given) -> Result<Self, Fault> {
        let named = |long: &str| given.value(long).map(str::to_owned);
        let html = named("html").map(|path| bench::files::create(&path).map(|file| (path, file)));
        let json = named("json").map(|path| {
            let file = if path == "-" {
                None
            } else {
                Some(bench::files::create(&path)?)
            };
            Ok::<_, Fault>((path, file))
        });
        let write = named("write").map(|path| {
            let file = File::create_new(&path).map_err(|error| {
                Fault::new(Exit::File, format!("cannot write `{path}`: {error}"))
                    .from("`--write`")
                    .hint("a file that is there is left alone: name another one, or leave `--write` out and copy")
            })?;
            Ok::<_, Fault>((path, file))
        });
        Ok(Self {
            html: html.transpose()?,
            json: json.transpose()?,
            write: write.transpose()?,
        })
    }

    fn write(self, report: &Report<'_>) -> Result<(), Fault> {
        let put = |path: &str, mut file: File, text: &str| {
            file.write_all(text.as_bytes())
                .map_err(|error| Fault::new(Exit::File, format!("cannot write `{path}`: {error}")))
        };
        let on_stdout = self.json.as_ref().is_some_and(|(_, file)| file.is_none());
        if on_stdout {
            bench::print(&report.json());
        } else {
            bench::print(&report.text());
        }
        if let Some((path, Some(file))) = self.json {
            put(&path, file, &report.json())?;
        }
        if let Some((path, file)) = self.html {
            put(&path, file, &report.html())?;
        }
        match (self.write, report.file()) {
            (Some((path, file)), Some(text)) => {
                put(&path, file, &text)?;
                if !on_stdout {
                    bench::print(&format!("Written to {path}.\n"));
                }
            }
            (Some((path, _)), None) => {
                let _ = std::fs::remove_file(path);
            }
            (None, Some(text)) if !on_stdout => bench::print(&format!("\n{text}")),
            (None, _) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
