//! Owns what follows from what was measured: what to do, in order of gain, each with its evidence and the
//! setting to change.
//! Leaves what settings say by themselves to `habits`, and asking and printing to `site`.

use serde_json::Value as Json;

use super::advice::{Advice, Gain, Weight, advice};
use super::habits;
use super::known::Known;
use super::plans::indexes;

/// From this share of all time on a phase is worth a word.
const SHARE: f64 = 0.2;
/// For the interpreter's lock less is enough: what is waited for it after the app has begun is not seen.
const SHARE_OF_THE_LOCK: f64 = 0.1;
/// So many requests of the last hour tell how others wait than those that come while the app is loaded.
const ENOUGH_TO_QUEUE: u64 = 1000;
/// So many anonymous answers must have been compared before their likeness proves anything.
const COMPARED: u64 = 20;

/// All there is to do: what does harm, then the greatest gain first; what has no number comes by its weight.
pub fn advise(known: &Known) -> Vec<Advice> {
    // In order of importance where nothing was measured.
    let mut found: Vec<Advice> = Vec::new();
    found.extend(debug(known));
    found.extend(threads(known));
    found.extend(habits::caches(known));
    found.extend(findings(known));
    found.extend(indexes(&known.plans, |ms| known.per_hour(ms)));
    found.extend(steps(known));
    found.extend(pages(known));
    found.extend(habits::connections(known));
    found.extend(habits::sessions(known));
    found.extend(habits::templates(known));
    found.extend(habits::middleware(known));
    found.extend(habits::static_files(known));
    found.sort_by(Advice::order);
    found
}

fn debug(known: &Known) -> Option<Advice> {
    (known.settings["debug"] == true).then(|| {
        advice(
            "debug",
            "DEBUG is on",
            "settings.DEBUG is True: Django keeps the last 9000 statements with their values, and shows \
             visitors tracebacks and settings"
                .to_owned(),
            "DEBUG = False, and ALLOWED_HOSTS with the names of the site",
        )
        .gaining(Gain::Other("no estimate of time: visitors no longer see what is not theirs".to_owned()))
        .weighing(Weight::Harm)
    })
}

/// The dearest findings are advice already.
fn findings(known: &Known) -> Vec<Advice> {
    let list = known.measured["findings"].as_array().into_iter().flatten();
    let open = list.filter(|finding| finding["acknowledged"] != true);
    let word = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let told = open.take(5).map(|finding| {
        let (id, fix) = (word(&finding["id"]), word(&finding["advice"]));
        let (file, sql) = (word(&finding["file"]), word(&finding["sql"]));
        let is_django = !known.settings["django"].is_null();
        let remedy = match (fix.is_empty(), finding["rule"] == "slow") {
            (_, true) if is_django => {
                format!("`canter queries --explain {id}` tells whether an index is missing")
            }
            (_, true) => "its plan (`EXPLAIN`) tells whether an index is missing".to_owned(),
            (false, _) => fix,
            (true, _) if file.is_empty() => "look at what that route asks for".to_owned(),
            (true, _) => format!("look at {file} first"),
        };
        // What was seen on the wire alone has no line.
        let place = if file.is_empty() {
            sql
        } else {
            format!("at {file}:{}", finding["line"])
        };
        let times = match finding["count"].as_u64() {
            Some(1) => "once".to_owned(),
            _ => format!("{} times", finding["count"]),
        };
        Advice {
            id: "finding",
            title: format!("{} in {}", word(&finding["title"]), word(&finding["route"])),
            evidence: format!("{times} in a request, {place} [{id}]"),
            remedy,
            gain: Gain::about(finding["lost_per_hour_ms"].as_f64().unwrap_or(0.0)),
            weight: Weight::Cost,
        }
    });
    told.collect()
}

/// Phases in which requests only wait.
fn steps(known: &Known) -> Vec<Advice> {
    let rows = [
        (
            "gil",
            "too many threads",
            "requests wait for the interpreter's lock",
            "fewer threads and one process more: `--threads` and `--workers`; `canter tune` finds how many",
        ),
        (
            "queue",
            "too few threads or processes",
            "requests wait for a free thread",
            "`--threads` or `--workers` higher, where memory allows; `canter tune` finds how many",
        ),
        (
            "pool",
            "too few connections to the database",
            "requests wait for a connection of the pool",
            "shorter transactions first; then `--db-connections` higher",
        ),
    ];
    let found = rows.into_iter().filter_map(|(word, title, what, remedy)| {
        let (hour, share) = known.phase(word);
        let least = if word == "gil" {
            SHARE_OF_THE_LOCK
        } else {
            SHARE
        };
        // The first of all wait while the app is loaded, whatever threads there are.
        let is_early = word == "queue" && known.requests() < ENOUGH_TO_QUEUE;
        (!is_early && share >= least && hour >= 1000.0).then(|| {
            let seen = format!(
                "{what}: {:.0} % of all their time in {}",
                share * 100.0,
                known.span()
            );
            advice(word, title, seen, remedy).gaining(Gain::at_most(hour))
        })
    });
    found.collect()
}

/// All threads that may run need more memory than there is.
fn threads(known: &Known) -> Option<Advice> {
    let threads = &known.measured["threads"];
    let needed = threads["needed_kb"].as_u64()?;
    let limit = known.measured["now"]["memory_limit_kb"].as_u64()?;
    let fit = threads["fit"].as_u64()?;
    let said = known.measured["threads_sentence"].as_str()?;
    (limit > 0 && needed > limit).then(|| {
        advice(
            "threads",
            "memory does not suffice for all threads",
            format!("{said}, {} run now", threads["now"]),
            &format!(
                "`--threads {fit}`, or more memory; `canter tune --memory` finds what pays most"
            ),
        )
        .gaining(Gain::Other(format!(
            "{} MB of memory that is not there: processes are ended where it is used up",
            (needed - limit).div_ceil(1024)
        )))
        .weighing(Weight::Harm)
    })
}

/// Pages that were the same for several visitors: proof that a rule would help.
fn pages(known: &Known) -> Vec<Advice> {
    let told = known.routes().filter_map(|route| {
        let (compared, same) = (route["compared"].as_u64()?, route["same"].as_u64()?);
        if compared < COMPARED || same * 2 < compared {
            return None;
        }
        let share = same as f64 / compared as f64;
        let hour = route["time_per_hour_ms"].as_f64().unwrap_or(0.0);
        let name = route["route"].as_str().unwrap_or_default();
        // Of an app that is no Django's no routes are known.
        let (what, path) = match name {
            "" => ("each page".to_owned(), "/*".to_owned()),
            name => (name.to_owned(), pattern(name)),
        };
        let seen = format!(
            "of {compared} answers to visitors without a cookie, {same} were byte for byte \
             what the same address had answered within the minute before: {:.0} %",
            share * 100.0
        );
        let told = advice(
            "pages",
            &format!("{what} is made anew for each visitor, and is the same"),
            seen,
            &format!("in canter.toml: [[cache.rules]] path = \"{path}\", ttl = \"10s\""),
        );
        Some(told.gaining(Gain::at_most(hour * share)))
    });
    told.collect()
}

/// `/news/<pk>/` as a rule says it: `/news/*/`.
fn pattern(route: &str) -> String {
    let mut out = String::new();
    let mut depth = 0_u32;
    for c in route.chars() {
        match c {
            '<' => {
                depth += 1;
                out.push('*');
            }
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests;
