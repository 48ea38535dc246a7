//! `canter bench`: loads a site and says what it took.
//!
//! Owns what happens in which order: read, ask for consent, run, report, judge. Leaves reading flags to
//! `bench/plan.rs`, progress to `bench/live.rs`, pauses to `bench/pause.rs`, `--compare` to `bench/versus.rs`, finding a server that
//! tells about itself to `bench/nearby.rs`, and the load itself to `canter_load`.

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use canter_base::flags::{BENCH, Given};
use canter_base::options::Value as _;
use canter_base::{Exit, Fault};
use canter_load::goal::{Goal, Judged};
use canter_load::inside::Watcher;
use canter_load::report::Report;
use canter_load::target::Site;
use canter_load::{Outcome, Pause, Plan};
use signal_hook::consts::{SIGINT, SIGTERM};

pub(crate) mod files;
mod live;
mod nearby;
mod pause;
pub(crate) mod plan;
mod versus;

use files::Files;

/// Runs it; exit code 8 when a condition of `--fail-if` is true or no verdict is possible, 9 when nobody answers.
pub fn run(args: &[OsString]) -> Result<Exit, Fault> {
    let given = BENCH.read(args)?;
    if given.has("compare") && versus::are_reports(&given) {
        return versus::of_reports(&given);
    }
    let plan = plan::read(&given);
    if let Err(fault) = &plan
        && fault.exit == Exit::Unreachable
    {
        Files::open(&given)?.write_unmeasured(url_of(&given), fault)?;
    }
    let plan = plan?;
    let conditions = Conditions::read(&given)?;
    let files = Files::open(&given)?;
    let _ = canter_sys::machine::raise_open_files();
    if let Err(fault) = consent(&plan, &given) {
        files.write_unmeasured(url_of(&given), &fault)?;
        return Err(fault);
    }
    if given.has("compare") {
        let stop = on_signals()?;
        return versus::of_sites(&given, &plan, &stop);
    }
    let quiet = given.has("quiet");
    let (stop, interrupted) = if pause::is_possible(quiet) {
        let stop = Arc::default();
        on_signal(SIGTERM, &stop)?;
        (stop, Some(pause::on_ctrl_c()?))
    } else {
        (on_signals()?, None)
    };
    let mut live = live::Live::new(quiet);
    let mut hold = |so_far: &Outcome| {
        let judged = conditions.judge(so_far);
        let report = Report {
            plan: &plan,
            outcome: so_far,
            judged: &judged,
        };
        let text = report.text();
        interrupted
            .as_ref()
            .is_some_and(|it| pause::goes_on(&text, it, &stop))
    };
    let pauses = interrupted.as_ref().map(|wanted| Pause {
        wanted,
        hold: &mut hold,
    });
    let watcher = watcher(&given, &plan)?;
    let run = canter_load::run_with_pauses(&plan, &stop, pauses, watcher, &mut |progress| {
        live.show(progress);
        conditions.broken(progress)
    });
    live.end();
    let outcome = run.map_err(Fault::internal)?;
    let judged = conditions.judge(&outcome);
    let report = Report {
        plan: &plan,
        outcome: &outcome,
        judged: &judged,
    };
    files.write(&report)?;
    Ok(conditions.exit(&plan, &outcome, &judged))
}

/// What is to be loaded, as it was given.
fn url_of(given: &Given) -> &str {
    given.words.first().map_or(plan::USUAL_URL, String::as_str)
}

/// What has to hold.
struct Conditions {
    goals: Vec<Goal>,
    abort_after: Option<Duration>,
}

impl Conditions {
    fn read(given: &Given) -> Result<Self, Fault> {
        let goal =
            |text: &String| Goal::parse(text).map_err(|why| plan::wrong("fail-if", text, &why));
        let goals: Result<Vec<Goal>, Fault> = given.values("fail-if").iter().map(goal).collect();
        let after = plan::duration(given, "after")?.unwrap_or(Duration::from_secs(10));
        Ok(Self {
            goals: goals?,
            abort_after: given.has("abort-on-fail").then_some(after),
        })
    }

    /// Why a run is to end now. A rate that is too low may still rise, so it ends nothing.
    fn broken(&self, progress: &canter_load::run::Progress<'_>) -> Option<String> {
        let after = self.abort_after?;
        if progress.passed < after || progress.total.ended() == 0 {
            return None;
        }
        let goals = self
            .goals
            .iter()
            .filter(|goal| !goal.to_string().starts_with("rate"));
        let mut judged = goals.map(|goal| goal.judge(progress.total, progress.passed));
        let broken = judged.find(|judged| judged.failed)?;
        Some(format!("`{}` was true: {}", broken.goal, broken.value))
    }

    fn judge(&self, outcome: &Outcome) -> Vec<Judged> {
        let judge = |goal: &Goal| goal.judge(&outcome.total, outcome.time);
        self.goals.iter().map(judge).collect()
    }

    fn exit(&self, plan: &Plan, outcome: &Outcome, judged: &[Judged]) -> Exit {
        let total = &outcome.total;
        if total.hits == 0 {
            let answers = outcome.warmup_hits + total.slow[0] > 0;
            let asked = total.ended() + total.unfinished > 0;
            // Nobody answered, or nothing was measured that a word could be said on.
            return if asked && !answers {
                Exit::Unreachable
            } else {
                Exit::Verdict
            };
        }
        let limited = !self.goals.is_empty() && outcome.generator_limit(plan).is_some();
        if limited || judged.iter().any(|judged| judged.failed) {
            Exit::Verdict
        } else {
            Exit::Ok
        }
    }
}

/// Makes sure that the host may be loaded.
fn consent(plan: &Plan, given: &Given) -> Result<(), Fault> {
    if plan.door.is_local() || given.has("i-own-this-host") {
        return Ok(());
    }
    let from_variable = std::env::var("CANTER_BENCH_TOKEN").ok();
    let token = given.value("token").map(str::to_owned).or(from_variable);
    let refused = |why: String| {
        Fault::usage(why).from("command line").hint(
            "start its server with `canter serve --bench-token TOKEN` and give the same `--token` here, \
             or say `--i-own-this-host`",
        )
    };
    let Some(token) = token else {
        return Err(refused(format!(
            "{} is not this machine ({}), and nothing says that it may be loaded",
            plan.site.name, plan.door
        )));
    };
    match canter_load::consent::ask(plan, &token) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(format!(
            "{} does not know this token",
            plan.site.name
        ))),
        Err(why) => Err(Fault::new(Exit::Unreachable, why)),
    }
}

/// The first signal ends the run, the second the program.
pub(crate) fn on_signals() -> Result<Arc<AtomicBool>, Fault> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        on_signal(signal, &stop)?;
    }
    Ok(stop)
}

/// The signal sets the flag; once more while it is set, and it ends the program.
fn on_signal(signal: i32, flag: &Arc<AtomicBool>) -> Result<(), Fault> {
    signal_hook::flag::register_conditional_default(signal, Arc::clone(flag))
        .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag)))
        .map(|_| ())
        .map_err(|error| Fault::internal(format!("cannot take signals: {error}")))
}

/// Who is asked about itself: what was named, or the Canter that is loaded, if it can be found.
fn watcher(given: &Given, plan: &Plan) -> Result<Watcher, Fault> {
    let url = match given.value("inside") {
        None => {
            let at = nearby::dashboard(&plan.door);
            return Ok(Watcher {
                at: at.map(|door| (door, canter_load::inside::SNAPSHOT.to_owned())),
            });
        }
        Some("off") => return Ok(Watcher::default()),
        Some(url) => url,
    };
    let wrong = |why: String| plan::wrong("inside", url, &why);
    let (site, path) = Site::parse(url).map_err(wrong)?;
    let door = site.resolve().map_err(wrong)?;
    if site.tls || !door.is_local() {
        return Err(wrong("only this machine is asked, without TLS".to_owned()));
    }
    Ok(Watcher {
        at: Some((door, path)),
    })
}

/// Writes to standard output. A reader that has seen enough is no fault.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// A share: `5%` or `0.05`.
pub(crate) fn share(given: &Given, long: &str) -> Result<Option<f64>, Fault> {
    let Some(text) = given.value(long) else {
        return Ok(None);
    };
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    let number = number.ok().filter(|share| (0.0..=1.0).contains(share));
    number
        .map(Some)
        .ok_or_else(|| plan::wrong(long, text, "expected a share such as `5%`"))
}

/// A size in bytes.
pub(crate) fn size(given: &Given, long: &str) -> Result<Option<u64>, Fault> {
    let read = |text| {
        let size = canter_base::options::Size::parse(text);
        size.map(|size| size.0)
            .map_err(|wrong| plan::wrong(long, text, &wrong.expected))
    };
    given.value(long).map(read).transpose()
}
