//! Owns `--compare`: two sites asked in turn, or two reports. Leaves the arithmetic to
//! `canter_load::compare`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use canter_base::flags::Given;
use canter_base::{Exit, Fault};
use canter_load::compare::{Compared, Figures, Word, pairs, reports, verdict};
use canter_load::inside::Watcher;
use canter_load::{Plan, Random};

/// Whether both sides are files.
pub(super) fn are_reports(given: &Given) -> bool {
    let both = [
        given.words.first().map(String::as_str),
        given.value("compare"),
    ];
    both.iter()
        .all(|side| side.is_some_and(|side| std::path::Path::new(side).is_file()))
}

/// Compares two reports.
pub(super) fn of_reports(given: &Given) -> Result<Exit, Fault> {
    let noise = super::share(given, "noise")?.unwrap_or(0.02);
    let read = |path: &str| -> Result<serde_json::Value, Fault> {
        serde_json::from_str(&super::plan::text(path)?).map_err(|error| {
            Fault::usage(format!("`{path}` is no JSON: {error}")).from("command line")
        })
    };
    let (first, second) = match (given.words.first(), given.value("compare")) {
        (Some(first), Some(second)) => (first.as_str(), second),
        _ => return Err(Fault::usage("`--compare` needs two sides").from("command line")),
    };
    let all = reports(&read(first)?, &read(second)?, noise, 1)
        .map_err(|why| Fault::usage(why).from("`--compare`"))?;
    super::print(&table(first, second, &all));
    super::print(
        "The two did not run in turn: what changed on the machine between them is in these numbers.\n",
    );
    Ok(exit(&all))
}

/// Compares two sites, round after round, in random order within each.
pub(super) fn of_sites(given: &Given, first: &Plan, stop: &AtomicBool) -> Result<Exit, Fault> {
    let noise = super::share(given, "noise")?.unwrap_or(0.02);
    let rounds = super::plan::number(given, "rounds", 3, 1000)?.unwrap_or(8);
    let other = given.value("compare").unwrap_or_default();
    let second = super::plan::of_url(given, other)?;
    super::consent(&second, given)?;
    if first.fingerprint() != second.fingerprint() {
        return Err(
            Fault::usage("the two sides would be asked for different things")
                .from("`--compare`")
                .hint("give both the same path, and the same scheme"),
        );
    }
    let mut random = Random::new(first.seed);
    let mut runs = Vec::new();
    for round in 0..rounds {
        let swapped = random.below(2) == 1;
        let order = if swapped {
            [&second, first]
        } else {
            [first, &second]
        };
        let mut figures = Vec::new();
        for plan in order {
            let outcome = canter_load::run(plan, stop, Watcher::default(), &mut |_| None)
                .map_err(Fault::internal)?;
            if let Some(why) = outcome.generator_at_its_end(plan) {
                return Err(Fault::new(Exit::Verdict, format!("no verdict: {why}")));
            }
            if outcome.total.hits == 0 {
                let what = format!("{} gives no answers", plan.site.origin());
                return Err(Fault::new(Exit::Unreachable, what));
            }
            figures.push(Figures::of(&outcome));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if let [one, two] = figures[..] {
            runs.push(if swapped { (two, one) } else { (one, two) });
        }
        if !given.has("quiet") {
            let _ = writeln!(std::io::stderr().lock(), "pair {} of {rounds}", round + 1);
        }
    }
    if runs.len() < 3 {
        return Err(Fault::new(
            Exit::Verdict,
            "ended before three pairs had run: no verdict",
        ));
    }
    let all = pairs(&runs, noise, first.seed);
    let url = given
        .words
        .first()
        .map_or("http://127.0.0.1:8000/", String::as_str);
    super::print(&table(url, other, &all));
    super::print(&format!("{} pairs of runs, in turn.\n", runs.len()));
    Ok(exit(&all))
}

fn exit(all: &[Compared]) -> Exit {
    match verdict(all) {
        Word::Worse | Word::Mixed => Exit::Verdict,
        Word::Better | Word::NoDifference => Exit::Ok,
    }
}

fn table(first: &str, second: &str, all: &[Compared]) -> String {
    let mut out = format!(
        "\nA  {first}\nB  {second}\n\n{:<18}{:>12}{:>12}{:>10}   {:<20}\n",
        "", "A", "B", "change", "95 % interval"
    );
    for compared in all {
        let _ = writeln!(
            out,
            "{:<18}{:>12.3}{:>12.3}{:>9.1}%   {:>6.1}% to {:>5.1}%     {}",
            compared.name,
            compared.first,
            compared.second,
            compared.change * 100.0,
            compared.low * 100.0,
            compared.high * 100.0,
            compared.word.text()
        );
    }
    let _ = writeln!(out, "\nB is: {}", verdict(all).text());
    out
}
