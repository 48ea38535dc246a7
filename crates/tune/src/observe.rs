//! Owns what a running server could do without, and what it lacks, read from looks at what it says of
//! itself. Leaves looking to `canter`, and changing anything to the person who reads it.

use canter_load::report::{bytes, rate};
use serde_json::{Value, json};

/// Requests below which nothing is called superfluous: what was not needed by few may be needed by many.
const ENOUGH: u64 = 1000;
/// Requests below which what they cost is not told from what else a process does.
const FEW: u64 = 100;
/// How busy a worker may be for its work to be given to others.
const ROOM: f64 = 0.7;
/// A share of the requests' time that is worth a word.
const SHARE: f64 = 0.05;
/// What a thread is reckoned with where nothing was measured, as in the sizing of `canter serve`.
const THREAD_BYTES: u64 = 64 << 10;

/// One look at a server.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What it said.
    pub told: Value,
    /// Seconds since the first look.
    pub at: f64,
}

/// Something to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// What it is about, for programs.
    pub about: &'static str,
    /// What to change.
    pub change: String,
    /// How that is known.
    pub why: String,
    /// Bytes that it saves.
    pub saves: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Seconds between the first look and the last.
    pub seconds: f64,
    /// Requests in that time.
    pub requests: u64,
    /// Requests since the server began.
    pub ever: u64,
    /// Worker processes.
    pub workers: u64,
    /// The most threads of a worker.
    pub threads: u64,
    /// The most requests that ran at one time.
    pub running: u64,
    /// The most that waited.
    pub queued: u64,
    /// Cores that all workers used.
    pub cpu: f64,
    /// Requests a second in the busiest seconds that the server remembers, of the last two hours.
    pub busiest: f64,
    /// Cores that all workers need for so many; at most, where few requests came while it was looked.
    pub needed: f64,
    /// Bytes of all processes.
    pub memory: u64,
    /// What to change.
    pub advice: Vec<Advice>,
}

/// The highest of a number in all looks.
fn peak(looks: &[Look], pointer: &str) -> u64 {
    let numbers = looks.iter().map(|look| number(&look.told, pointer));
    numbers.max().unwrap_or(0)
}

/// Reads several looks; None when they are of no running server.
pub fn observe(looks: &[Look]) -> Option<Observed> {
    let (first, last) = (looks.first()?, looks.last()?);
    let peak = |pointer: &str| peak(looks, pointer);
    let workers = workers(&last.told);
    let is_known = workers.iter().all(|(pid, ..)| cpu_ms(last, *pid).is_some());
    let busy: Vec<f64> = workers
        .iter()
        .map(|(pid, ..)| cores_of(first, last, *pid))
        .collect();
    let ever = number(&last.told, "/total/requests");
    let mut seen = Observed {
        seconds: last.at - first.at,
        requests: ever.saturating_sub(number(&first.told, "/total/requests")),
        ever,
        workers: workers.len() as u64,
        threads: workers
            .iter()
            .map(|(_, threads, _)| threads.saturating_sub(1))
            .max()
            .unwrap_or(0),
        running: peak("/now/running").max(number(&last.told, "/busiest/running")),
        queued: peak("/now/queued").max(number(&last.told, "/busiest/queued")),
        cpu: busy.iter().sum(),
        busiest: busiest_rate(&last.told),
        needed: 0.0,
        memory: peak("/now/memory_kb") * 1024,
        advice: Vec::new(),
    };
    seen.needed = needed(&seen, &last.told);
    if workers.is_empty() {
        return None;
    }
    let phases = Shares::between(&first.told, &last.told);
    let busiest = busy.iter().copied().fold(0.0, f64::max);
    let idle = number(&last.told, "/now/cores").max(1) as f64 - seen.cpu;
    let mut advice = lacking(&seen, &phases, busiest, idle, last);
    advice.extend(pool(looks, &phases, &seen));
    // Whose workers nobody knows to be idle can do without none.
    if seen.ever >= ENOUGH && advice.is_empty() && is_known {
        advice.extend(superfluous(&seen, &workers, &last.told));
    }
    seen.advice = advice;
    Some(seen)
}

/// Cores for the busiest seconds: what a request cost while it was looked. Where too few came meanwhile, it
/// was no more than the time that the app, and the interpreter's lock before it, ever took of one: what
/// workers have used that are gone nobody knows. A quiet hour alone would say that nothing is needed.
fn needed(seen: &Observed, told: &Value) -> f64 {
    let each = if seen.requests >= FEW {
        seen.cpu * seen.seconds / seen.requests as f64
    } else {
        let ran_ms = phase_ms(told, "app") + phase_ms(told, "gil");
        ran_ms / 1000.0 / seen.ever.max(1) as f64
    };
    seen.cpu.max(each * seen.busiest)
}

/// Milliseconds that all requests ever spent in this phase.
fn phase_ms(told: &Value, phase: &str) -> f64 {
    let names = told.get("phases").and_then(Value::as_array);
    let at = names.and_then(|names| names.iter().position(|name| name == phase));
    let spent = at.and_then(|at| told.pointer("/total/phases_ms")?.get(at)?.as_f64());
    spent.unwrap_or(0.0)
}

/// What requests waited for.
fn lacking(seen: &Observed, phases: &Shares, busiest: f64, idle: f64, last: &Look) -> Vec<Advice> {
    let percent = |share: f64| format!("{:.0} % of the requests' time", share * 100.0);
    let mut found = Vec::new();
    let mut say = |about, change: String, why: String| {
        found.push(Advice {
            about,
            change,
            why,
            saves: 0,
        });
    };
    let lock = phases.get("gil") > SHARE || busiest > 0.85;
    if lock && idle > 0.5 {
        let why = format!(
            "the busiest worker uses {busiest:.2} cores, and {} was waiting for the interpreter's lock before the \
             app began, while {idle:.1} cores are idle",
            percent(phases.get("gil"))
        );
        say(
            "interpreter_lock",
            format!("`--workers {}`: one more", seen.workers + 1),
            why,
        );
    } else if lock {
        let why = format!(
            "the workers use {:.1} cores, and {idle:.1} are idle",
            seen.cpu
        );
        say(
            "cpu",
            "a larger machine, or less work: `canter queries` shows where it goes".to_owned(),
            why,
        );
    }
    if phases.get("queue") > SHARE && !lock {
        let cap = seen.threads.max(1) * 2;
        let why = format!(
            "{} was waiting for a thread, up to {} requests at once, while the busiest worker used {busiest:.2} cores",
            percent(phases.get("queue")),
            seen.queued
        );
        say("threads", format!("`--threads {cap}` or more"), why);
    }
    let limit = number(&last.told, "/now/memory_limit_kb") * 1024;
    if limit > 0 && seen.memory > limit / 10 * 9 {
        let why = format!("{} of {} are used", bytes(seen.memory), bytes(limit));
        say(
            "memory",
            format!("fewer workers than {}, or more memory", seen.workers),
            why,
        );
    }
    found
}

/// Connections to the database: too few, or more than are used.
fn pool(looks: &[Look], phases: &Shares, seen: &Observed) -> Option<Advice> {
    let peak = |pointer: &str| peak(looks, pointer);
    let (servers, busy, waiting) = (
        peak("/pool/servers"),
        peak("/pool/busy"),
        peak("/pool/waiting"),
    );
    if waiting > 0 || phases.get("pool") > SHARE {
        return Some(Advice {
            about: "database_connections",
            change: format!(
                "more connections than {servers} (`--db-connections`), or shorter transactions"
            ),
            why: format!(
                "{waiting} requests waited for one at a time, {:.0} % of the requests' time",
                phases.get("pool") * 100.0
            ),
            saves: 0,
        });
    }
    (servers >= 4 && busy * 2 < servers && seen.ever >= ENOUGH).then(|| Advice {
        about: "database_connections",
        change: format!("`--db-connections {}`", (busy + 2).max(busy * 3 / 2)),
        why: format!(
            "of {servers} open connections at most {busy} were in use; others can have the rest"
        ),
        saves: 0,
    })
}

/// What was there and not needed; `workers` are their processes, threads and own memory.
fn superfluous(seen: &Observed, workers: &[(u64, u64, u64)], told: &Value) -> Vec<Advice> {
    let mut found = Vec::new();
    let own = workers.iter().map(|(.., own)| *own).min().unwrap_or(0);
    let needed = ((seen.needed / ROOM).ceil() as u64).clamp(1, seen.workers);
    if needed < seen.workers {
        found.push(Advice {
            about: "workers",
            change: format!("`--workers {needed}`"),
            why: format!(
                "{} workers use {}{:.2} cores together at their busiest ({} requests a second); {needed} would be {:.0} % busy",
                seen.workers,
                if seen.requests < FEW { "at most " } else { "" },
                seen.needed,
                rate(seen.busiest.max(seen.requests as f64 / seen.seconds.max(1e-9))),
                seen.needed / needed as f64 * 100.0
            ),
            saves: own * (seen.workers - needed),
        });
    }
    let cap = (seen.running * 2).div_ceil(needed).max(2);
    // What the server has measured of its own threads.
    let each = match number(told, "/threads/each_kb") * 1024 {
        0 => THREAD_BYTES,
        measured => measured,
    };
    let mut beyond: Vec<u64> = workers
        .iter()
        .map(|(_, threads, _)| threads.saturating_sub(1 + cap))
        .collect();
    beyond.sort_unstable_by(|one, other| other.cmp(one));
    let beyond: u64 = beyond.iter().take(needed as usize).sum();
    if seen.threads > cap {
        found.push(Advice {
            about: "threads",
            change: format!("`--threads {cap}`, twice what was used"),
            why: format!(
                "at most {} requests were seen to run at once, and a worker has {} threads",
                seen.running, seen.threads
            ),
            saves: beyond * each,
        });
    }
    found
}

impl Observed {
    /// For a terminal.
    pub fn text(&self) -> String {
        let mut out = format!(
            "Looked for {:.0} s: {} requests ({} a second; {} since it began), at most {} at once and {} waiting; {} \
             worker{} with up to {} threads, {:.2} cores, {} of memory.\n\n",
            self.seconds,
            self.requests,
            rate(self.requests as f64 / self.seconds.max(1e-9)),
            self.ever,
            self.running,
            self.queued,
            self.workers,
            if self.workers == 1 { "" } else { "s" },
            self.threads,
            self.cpu,
            bytes(self.memory)
        );
        for advice in &self.advice {
            out.push_str(&format!("- {}: {}", advice.change, advice.why));
            if advice.saves > 0 {
                out.push_str(&format!("; saves about {}", bytes(advice.saves)));
            }
            out.push_str(".\n");
        }
        if self.advice.is_empty() && self.ever < ENOUGH {
            out.push_str(&format!(
                "Nothing is short. What could be left out is said from {ENOUGH} requests on: look again later.\n"
            ));
        } else if self.advice.is_empty() {
            out.push_str("Nothing to change: nothing is short, and nothing is left over.\n");
        } else {
            out.push_str("\nNothing was changed. `canter tune` tries it before you do.\n");
        }
        out
    }

    /// For a program.
    pub fn json(&self) -> String {
        let advice = self.advice.iter().map(|it| {
            json!({"about": it.about, "change": it.change, "why": it.why, "saves_bytes": it.saves})
        });
        let told = json!({
            "seconds": self.seconds, "requests": self.requests, "requests_ever": self.ever,
            "workers": self.workers, "threads": self.threads, "running_peak": self.running,
            "queued_peak": self.queued, "cpu": self.cpu, "memory": self.memory,
            "busiest_rate": self.busiest, "cpu_at_busiest": self.needed,
            "advice": advice.collect::<Vec<_>>(),
        });
        format!("{told:#}\n")
    }
}

fn number(told: &Value, pointer: &str) -> u64 {
    told.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// Requests a second in the busiest step of the history.
fn busiest_rate(told: &Value) -> f64 {
    let step_s = number(told, "/busiest/step_s").max(1);
    number(told, "/busiest/requests") as f64 / step_s as f64
}

/// The process, threads and own memory of each worker.
fn workers(told: &Value) -> Vec<(u64, u64, u64)> {
    let all = told.get("processes").and_then(Value::as_array);
    let each = all.into_iter().flatten().filter(|process| {
        let name = process.get("name").and_then(Value::as_str);
        name.is_some_and(|name| name.starts_with("worker"))
    });
    each.map(|it| {
        (
            number(it, "/pid"),
            number(it, "/threads"),
            number(it, "/uss_kb") * 1024,
        )
    })
    .collect()
}

/// How many cores a process has kept busy, as its server tells: it may run on another machine, or where processes
/// have other numbers.
fn cores_of(first: &Look, last: &Look, pid: u64) -> f64 {
    match (cpu_ms(first, pid), cpu_ms(last, pid)) {
        (Some(before), Some(after)) => {
            (after - before).max(0.0) / 1000.0 / (last.at - first.at).max(1e-3)
        }
        _ => 0.0,
    }
}

fn cpu_ms(look: &Look, pid: u64) -> Option<f64> {
    let mut all = look.told.get("processes")?.as_array()?.iter();
    let process = all.find(|it| number(it, "/pid") == pid)?;
    process.get("cpu_ms")?.as_f64()
}

/// The shares of the phases in the time between two looks.
struct Shares(Vec<(String, f64)>);

impl Shares {
    fn between(first: &Value, last: &Value) -> Self {
        let list =
            |told: &Value, pointer: &str| told.pointer(pointer).and_then(Value::as_array).cloned();
        let names = list(last, "/phases").unwrap_or_default();
        let (was, is) = (
            list(first, "/total/phases_ms"),
            list(last, "/total/phases_ms"),
        );
        let at = |list: &Option<Vec<Value>>, at: usize| {
            list.as_ref()
                .and_then(|list| list.get(at)?.as_f64())
                .unwrap_or(0.0)
        };
        let times = (0..names.len()).map(|index| (at(&is, index) - at(&was, index)).max(0.0));
        let times: Vec<f64> = times.collect();
        let all: f64 = times.iter().sum::<f64>().max(1e-9);
        let each = names.iter().zip(times);
        Self(
            each.filter_map(|(name, ms)| Some((name.as_str()?.to_owned(), ms / all)))
                .collect(),
        )
    }

    fn get(&self, phase: &str) -> f64 {
        self.0
            .iter()
            .find(|(name, _)| name == phase)
            .map_or(0.0, |(_, share)| *share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two looks ten seconds apart at two workers; the second has the numbers.
    fn looks(
        requests: u64,
        running: u64,
        busy: f64,
        phases: [u64; 4],
        pool: [u64; 3],
    ) -> Vec<Look> {
        let told = |requests: u64, phases: [u64; 4], used: f64| {
            let cpu_ms = (used * 1000.0) as u64;
            json!({
                "phases": ["queue", "gil", "app", "pool"],
                "total": {"requests": requests, "phases_ms": phases},
                "now": {"queued": 3, "running": running, "memory_kb": 90_000, "memory_limit_kb": 512_000, "cores": 4},
                "pool": {"servers": pool[0], "busy": pool[1], "waiting": pool[2]},
                "processes": [{"name": "front", "pid": 1, "threads": 9},
                    {"name": "worker 1", "pid": 2, "threads": 41, "uss_kb": 30_000, "cpu_ms": cpu_ms},
                    {"name": "worker 2", "pid": 3, "threads": 9, "uss_kb": 31_000, "cpu_ms": cpu_ms / 4}],
            })
        };
        let look = |told, at: f64| Look { told, at };
        vec![
            look(told(0, [0; 4], 0.0), 0.0),
            look(told(requests, phases, busy * 10.0), 10.0),
        ]
    }

    fn about(looks: &[Look], cores: u64) -> Vec<&'static str> {
        let mut looks = looks.to_vec();
        for look in &mut looks {
            look.told["now"]["cores"] = json!(cores);
        }
        observe(&looks)
            .unwrap()
            .advice
            .iter()
            .map(|advice| advice.about)
            .collect()
    }

    #[test]
    fn b7_what_is_left_over_is_said_with_what_it_saves() {
        let seen = observe(&looks(5000, 3, 0.2, [0, 0, 100, 0], [0; 3])).unwrap();
        assert_eq!((seen.workers, seen.threads, seen.requests), (2, 40, 5000));
        let changes: Vec<&str> = seen
            .advice
            .iter()
            .map(|advice| advice.change.as_str())
            .collect();
        assert_eq!(
            changes,
            ["`--workers 1`", "`--threads 6`, twice what was used"]
        );
        assert_eq!(seen.advice[0].saves, 30_000 * 1024);
        // One worker is to stay, and the other has 34 threads more than that.
        assert_eq!(seen.advice[1].saves, 34 * THREAD_BYTES);
        let mut measured = looks(5000, 3, 0.2, [0, 0, 100, 0], [0; 3]);
        measured[1].told["threads"] = json!({"each_kb": 10_000});
        let seen = observe(&measured).unwrap();
        assert_eq!(seen.advice[1].saves, 34 * 10_000 * 1024);
        assert!(
            seen.text().contains("saves about 30.7 MB")
                && seen.text().contains("Nothing was changed")
        );
        let json: Value = serde_json::from_str(&seen.json()).unwrap();
        assert_eq!(json["advice"][0]["saves_bytes"], 30_000 * 1024);
    }

    #[test]
    fn b7_a_quiet_hour_does_not_say_that_a_busy_one_needs_nothing() {
        // 1 ms for each request, of CPU as they are looked at or in the app ever; 900 a second at their busiest.
        for requests in [50, 2000] {
            let mut looks = looks(
                requests,
                3,
                requests as f64 / 1e4 / 1.25,
                [0, 0, 100, 0],
                [0; 3],
            );
            for look in &mut looks {
                look.told["busiest"] = json!({"step_s": 5, "requests": 4500});
                let ever = look.told["total"]["requests"].as_u64().unwrap() + 10_000;
                look.told["total"]["requests"] = json!(ever);
                look.told["total"]["phases_ms"] = json!([0, 0, ever, 0]);
                // Others ran before these, which have used little.
                for process in look.told["processes"].as_array_mut().unwrap() {
                    process["cpu_ms"] = json!(number(process, "/cpu_ms") + 100);
                }
            }
            let seen = observe(&looks).unwrap();
            assert!((seen.busiest - 900.0).abs() < 1e-9);
            assert!((seen.needed - 0.9).abs() < 0.01, "{}", seen.needed);
            assert!(
                seen.advice.iter().all(|advice| advice.about != "workers"),
                "{:?}",
                seen.advice
            );
        }
    }

    #[test]
    fn b7_what_is_known_as_a_bound_alone_is_told_as_one() {
        let mut looks = looks(50, 3, 0.0, [0, 0, 100, 0], [0; 3]);
        for look in &mut looks {
            look.told["busiest"] = json!({"step_s": 5, "requests": 500, "running": 8, "queued": 9});
            look.told["total"] = json!({"requests": 5000, "phases_ms": [9000, 500, 4500, 0]});
        }
        let seen = observe(&looks).unwrap();
        assert_eq!((seen.running, seen.queued), (8, 9));
        let said = "2 workers use at most 0.10 cores together at their busiest (100 requests a second); 1 would be 10 % busy";
        assert_eq!(seen.advice[0].why, said);
    }

    #[test]
    fn b7_few_requests_leave_nothing_out() {
        let seen = observe(&looks(50, 1, 0.1, [0, 0, 100, 0], [0; 3])).unwrap();
        assert!(seen.advice.is_empty() && seen.text().contains("from 1000 requests on"));
    }

    #[test]
    fn b7_a_server_that_does_not_tell_its_processor_time_is_not_told_that_it_needs_less() {
        let mut looks = looks(5000, 3, 0.2, [0, 0, 100, 0], [0; 3]);
        assert!(!observe(&looks).unwrap().advice.is_empty());
        for look in &mut looks {
            for process in look.told["processes"].as_array_mut().unwrap() {
                process.as_object_mut().unwrap().remove("cpu_ms");
            }
        }
        assert_eq!(observe(&looks).unwrap().advice, []);
    }

    #[test]
    fn b5_what_is_short_is_told_apart() {
        for (busy, phases, pool, cores, expected) in [
            (0.95, [50, 30, 20, 0], [0; 3], 4, "interpreter_lock"),
            (0.95, [50, 30, 20, 0], [0; 3], 1, "cpu"),
            (0.2, [50, 0, 50, 0], [0; 3], 4, "threads"),
            (0.2, [0, 0, 50, 50], [20, 20, 7], 4, "database_connections"),
            (0.8, [0, 0, 99, 0], [20, 2, 0], 4, "database_connections"),
        ] {
            let found = about(&looks(5000, 40, busy, phases, pool), cores);
            assert_eq!(
                found.first(),
                Some(&expected),
                "{busy} {phases:?}: {found:?}"
            );
        }
    }

    #[test]
    fn what_is_no_server_is_nothing() {
        assert_eq!(observe(&[]), None);
        assert_eq!(observe(&[Look::default()]), None);
    }
}
