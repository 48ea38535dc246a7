//! Owns what a search is told as: sentences here, the forms beside this file. Leaves where it is written
//! to `canter`.

mod file;
mod html;
mod json;
mod text;

use std::time::Duration;

use canter_load::report::{bytes, rate, time};

use crate::binding::{Binding, binding};
use crate::judge::{Interval, Standing};
use crate::measured::{Measured, Wall};
use crate::search::{Found, Step, Trial, Wish};
use crate::usl::{self, Fit};

/// Everything there is to say.
pub struct Report<'a> {
    /// The words that name the app.
    pub app: &'a str,
    /// What is asked for, in words.
    pub requests: &'a str,
    /// What was wanted.
    pub wish: &'a Wish,
    /// What was found.
    pub found: &'a Found,
    /// How long it took.
    pub took: Duration,
    /// The database connections that were given.
    pub db_connections: Option<u32>,
    /// What else a reader must know.
    pub notes: &'a [String],
}

impl Report<'_> {
    /// For a terminal.
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// For a program.
    pub fn json(&self) -> String {
        format!("{:#}\n", json::json(self))
    }

    /// For a browser.
    pub fn html(&self) -> String {
        html::html(self)
    }

    /// A `canter.toml`; None when nothing was chosen.
    pub fn file(&self) -> Option<String> {
        file::file(self)
    }

    /// How it was measured.
    fn how(&self) -> String {
        format!(
            "{} at {}; {} configurations, {} measurements in {}, order of seed {}",
            self.requests,
            self.wish.kind.words(self.found.level),
            self.found.trials.len(),
            self.found.measurements,
            time(self.took),
            self.wish.seed
        )
    }

    /// What was found, in sentences.
    pub fn prose(&self) -> Vec<String> {
        let mut said = Vec::new();
        if let Some(why) = &self.found.ended {
            said.push(format!(
                "The search did not go to its end: {why}. This is what is known so far."
            ));
        }
        if let Some(chosen) = self.found.chosen() {
            self.about(chosen, &mut said);
        } else {
            said.push(self.nothing());
            said.extend(self.untried());
        }
        said.extend(self.notes.iter().cloned());
        said
    }

    fn about(&self, chosen: &Trial, said: &mut Vec<String>) {
        let measured = chosen.together();
        said.push(format!(
            "The smallest configuration that is as good as the best: {}. It gave {} answers a second, p95 {}, \
             with {} of memory.",
            chosen.setting.words(),
            rate(measured.rate),
            time(measured.p95),
            bytes(measured.memory)
        ));
        said.extend(self.against_best(chosen));
        said.extend(self.untried());
        let (_, what) = binding(chosen.setting, &measured);
        said.push(format!("What binds at this load: {what}."));
        if measured.others_busy() > 0.2 {
            said.push(format!(
                "Other programs used {:.0} % of the machine meanwhile: measure again when it is quiet.",
                measured.others_busy() * 100.0
            ));
        }
        said.extend(self.wall_above(chosen));
        said.extend(threads_sentence(chosen, &measured));
        said.extend(self.preload_sentence(chosen));
        said.push(self.breaks());
        said.push(self.law_sentence());
    }

    fn against_best(&self, chosen: &Trial) -> Option<String> {
        let best = self.found.best()?;
        let sure = if self.found.sure {
            "is clear"
        } else {
            "is not clear yet: `--time` with more of it would tell"
        };
        if best.setting == chosen.setting {
            return Some(format!("None gave more; that {sure}."));
        }
        let Some(interval) = chosen.against_best else {
            return Some(format!(
                "The most was {}, {}: `--time` with more of it would tell.",
                best.setting.words(),
                seldom(best)
            ));
        };
        Some(format!(
            "The most answers came from {}: the smaller one has {} ({} pairs, 95 % interval {} to {}). That \
             this is within {:.0} % {sure}. It needs {} less memory.",
            best.setting.words(),
            signed(interval.mean),
            interval.pairs,
            signed(interval.low),
            signed(interval.high),
            self.wish.tolerance * 100.0,
            bytes(
                best.together()
                    .memory
                    .saturating_sub(chosen.together().memory)
            )
        ))
    }

    fn untried(&self) -> Option<String> {
        let trials = self.found.trials.iter();
        let count = trials
            .filter(|trial| trial.runs.is_empty() && trial.broken.is_none())
            .count();
        (count > 0).then(|| {
            format!("{count} configurations were not tried, because the time was over: give more with `--time`.")
        })
    }

    /// Whether something larger would have been tried had it fitted.
    fn wall_above(&self, chosen: &Trial) -> Option<String> {
        let above = |trial: &&Trial| {
            let broken = trial.broken.as_ref();
            broken.is_some_and(|it| it.wall.grows_with_size())
                && trial.setting.size() > chosen.setting.size()
        };
        let first = self
            .found
            .trials
            .iter()
            .filter(above)
            .min_by_key(|trial| trial.setting.size())?;
        let broken = first.broken.as_ref()?;
        Some(format!(
            "The wall above it is {}: {} has {}.",
            broken.wall.word(),
            first.setting.words(),
            broken.how
        ))
    }

    fn preload_sentence(&self, chosen: &Trial) -> Option<String> {
        let other = self.found.trials.iter().find(|trial| {
            trial.setting.preload != chosen.setting.preload
                && (trial.setting.workers, trial.setting.threads)
                    == (chosen.setting.workers, chosen.setting.threads)
                && !trial.runs.is_empty()
        })?;
        let (with, without) = if chosen.setting.preload {
            (chosen, other)
        } else {
            (other, chosen)
        };
        let (with, without) = (with.together().memory, without.together().memory);
        Some(if without > with {
            format!(
                "Importing the app once for all workers saves {} here.",
                bytes(without - with)
            )
        } else {
            "Importing the app once for all workers saves no memory here.".to_owned()
        })
    }

    /// Where the chosen configuration breaks.
    fn breaks(&self) -> String {
        let words = |step: &Step| {
            let level = self.wish.kind.words(step.level);
            // One that died has no rate.
            if step.measured.answers == 0 {
                return level;
            }
            format!("{level} ({} a second)", rate(step.measured.rate))
        };
        let steps = &self.found.steps;
        let failing = steps.iter().find(|step| step.broken.is_some());
        let passing = steps.iter().take_while(|step| step.broken.is_none()).last();
        match (passing, failing) {
            (Some(last), Some(first)) => format!(
                "Under more load it held {} and broke at {}: {}.",
                words(last),
                words(first),
                first.broken.as_ref().map_or("", |broken| &broken.how)
            ),
            (None, Some(first)) => format!(
                "It breaks at the least load already, {}: {}.",
                words(first),
                first.broken.as_ref().map_or("", |broken| &broken.how)
            ),
            (Some(last), None) => format!("Under more load nothing broke up to {}.", words(last)),
            (None, None) => "There was no time to look where it breaks.".to_owned(),
        }
    }

    /// Answers a second over users, of the chosen configuration.
    fn scaling(&self) -> Vec<(f64, f64)> {
        let sound = self
            .found
            .steps
            .iter()
            .filter(|step| step.measured.answers > 0);
        sound.map(|step| (step.level, step.measured.rate)).collect()
    }

    fn law(&self) -> Result<Fit, String> {
        if self.wish.kind != crate::search::Kind::Users {
            return Err("arrivals that wait for nobody have no scaling law".to_owned());
        }
        usl::fit(&self.scaling())
    }

    fn law_sentence(&self) -> String {
        match self.law() {
            Ok(Fit {
                peak: Some(peak),
                contention,
                ..
            }) => format!(
                "Its answers follow the Universal Scalability Law with {:.1} % contention and a peak near {peak:.0} \
                 users.",
                contention * 100.0
            ),
            Ok(fit) => format!(
                "Its answers follow the Universal Scalability Law with {:.1} % contention: a plateau, no peak.",
                fit.contention * 100.0
            ),
            Err(why) => format!("No scaling law: {why}."),
        }
    }

    fn nothing(&self) -> String {
        let measured = |trial: &&Trial| !trial.runs.is_empty();
        let nearest = self
            .found
            .trials
            .iter()
            .filter(measured)
            .min_by_key(|trial| trial.together().p95);
        match nearest.and_then(|trial| Some((trial, trial.broken.as_ref()?))) {
            Some((trial, broken)) => format!(
                "No configuration holds. The nearest is {}: {}.{}",
                trial.setting.words(),
                broken.how,
                if broken.wall == Wall::Latency {
                    " More workers do not make one request faster: `canter queries` and `canter top` show \
                     where its time goes."
                } else {
                    ""
                }
            ),
            None => "Nothing was measured.".to_owned(),
        }
    }
}

fn threads_sentence(chosen: &Trial, measured: &Measured) -> Option<String> {
    let (binds, _) = binding(chosen.setting, measured);
    match binds {
        Binding::Cpu | Binding::InterpreterLock if chosen.setting.threads <= 2 => Some(
            "More threads bring nothing here: the app computes, and one interpreter computes one thing \
             at a time."
                .to_owned(),
        ),
        Binding::Waits | Binding::Threads => Some(format!(
            "Threads are added only while requests wait, so a higher cap costs nothing until more than {} \
             requests are under way at once.",
            chosen.setting.workers * chosen.setting.threads
        )),
        _ => None,
    }
}

fn signed(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

/// What a trial is, in one word or two.
fn standing(report: &Report<'_>, index: usize, trial: &Trial) -> String {
    if let Some(broken) = &trial.broken {
        return format!("fails: {}", broken.how);
    }
    let found = report.found;
    if trial.runs.is_empty() {
        return "not tried".to_owned();
    }
    let mut said = Vec::new();
    if found.choice == Some(index) {
        said.push("chosen".to_owned());
    }
    if found.best == Some(index) {
        said.push("most answers".to_owned());
    } else {
        said.push(match trial.against_best {
            Some(interval) => interval_words(&interval, report.wish.tolerance),
            None => seldom(trial).to_owned(),
        });
    }
    said.join(", ")
}

/// Why there is no interval.
fn seldom(trial: &Trial) -> &'static str {
    if trial.runs.len() > 1 {
        "measured too seldom beside it"
    } else {
        "measured once"
    }
}

fn interval_words(interval: &Interval, tolerance: f64) -> String {
    let word = match interval.standing(tolerance) {
        Standing::AsGood => "as good",
        Standing::Worse => "worse",
        Standing::Open => "may be as good",
    };
    format!(
        "{word}: {} ({} to {})",
        signed(interval.mean),
        signed(interval.low),
        signed(interval.high)
    )
}

/// Trials with their numbers, in the order of size.
fn in_order<'a>(report: &'a Report<'_>) -> Vec<(usize, &'a Trial)> {
    let mut all: Vec<_> = report.found.trials.iter().enumerate().collect();
    all.sort_by_key(|(_, trial)| trial.setting.size());
    all
}

#[cfg(test)]
mod tests;
