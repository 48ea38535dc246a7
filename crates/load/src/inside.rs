//! Owns what a server says about itself while it is loaded: Canter's snapshot, asked for from time to
//! time. Leaves what follows from it to the prose of the report.
//!
//! The snapshot is one JSON object, [`SNAPSHOT`]. A server without it is measured from outside only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::once::{Request, request};
use crate::target::Door;

/// Where a Canter tells about itself.
pub const SNAPSHOT: &str = "/-/canter/data.json";
/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(1);
/// Most samples kept; then every other one is dropped.
const MOST: usize = 300;
/// How long it may take to tell.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest snapshot taken.
const LONGEST: u64 = 1 << 20;
/// What is kept of each sample: the rest of a snapshot is kept of the last one only.
const READ: [&str; 3] = ["now.queued", "now.running", "pool.waiting"];

/// Numbers of one snapshot, by their dotted names (`now.queued`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Since the begin of the run.
    pub at: Duration,
    /// Those of `READ` that the snapshot had.
    pub numbers: Vec<(&'static str, f64)>,
    /// The statement that most of the requests under way waited for, without values, and how many did.
    pub waits: Option<(String, u32)>,
}

impl Sample {
    /// A number by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        let found = self.numbers.iter().find(|(known, _)| *known == name);
        found.map(|(_, number)| *number)
    }
}

/// All that was learnt.
#[derive(Clone, Debug, Default)]
pub struct Inside {
    /// In the order of time; empty when the server said nothing.
    pub samples: Vec<Sample>,
    /// What the first snapshot counted: time in phases, requests of routes.
    pub first: Option<Value>,
    /// The last snapshot as it came.
    pub last: Option<Value>,
}

/// Asks a server, or does not.
#[derive(Clone, Debug, Default)]
pub struct Watcher {
    /// Where its snapshot is: the door and the path. None: nothing is asked.
    pub at: Option<(Door, String)>,
}

/// A watcher at work.
pub(crate) struct Watched {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Inside>>,
}

impl Watcher {
    pub(crate) fn start(self) -> Watched {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = self.at.and_then(|(door, path)| {
            let work = move || watch(&door, &path, &told);
            thread::Builder::new()
                .name("inside".to_owned())
                .spawn(work)
                .ok()
        });
        Watched { over, thread }
    }
}

impl Watched {
    pub(crate) fn finish(self) -> Inside {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.map(|thread| {
            thread.thread().unpark();
            thread.join()
        });
        thread.and_then(Result::ok).unwrap_or_default()
    }
}

fn watch(door: &Door, path: &str, over: &AtomicBool) -> Inside {
    let begin = Instant::now();
    let mut inside = Inside::default();
    let (mut every, mut misses) = (EVERY, 0);
    loop {
        match snapshot(door, path) {
            Some(value) => {
                inside.samples.push(Sample {
                    at: begin.elapsed(),
                    numbers: numbers(&value),
                    waits: waits(&value),
                });
                inside.first.get_or_insert_with(|| counts(&value));
                inside.last = Some(value);
                misses = 0;
            }
            None => misses += 1,
        }
        if inside.samples.len() >= MOST {
            let mut keep = false;
            inside.samples.retain(|_| {
                keep = !keep;
                keep
            });
            every *= 2;
        }
        // A server that never had a snapshot is not asked for it again and again.
        if over.load(Ordering::Relaxed) || (inside.samples.is_empty() && misses > 2) {
            return inside;
        }
        thread::park_timeout(every);
    }
}

/// Asks once; None when there is no JSON object.
pub fn snapshot(door: &Door, path: &str) -> Option<Value> {
    let host = match door {
        Door::Address(address) => address.to_string(),
        Door::Socket(_) => "localhost".to_owned(),
    };
    let asked = Request {
        method: "GET",
        path,
        host: &host,
        fields: &[("Accept", "application/json")],
        patience: PATIENCE,
        longest: LONGEST,
    };
    let answer = request(std::slice::from_ref(door), &asked).ok()?;
    let value: Value = serde_json::from_slice(&answer.body).ok()?;
    (answer.status == 200 && value.is_object()).then_some(value)
}

/// The counts of a snapshot, which is far larger.
fn counts(value: &Value) -> Value {
    let list = |value: &Value, key: &str, kept: &[&str]| -> Vec<Value> {
        let rows = value.get(key).and_then(Value::as_array);
        let rows = rows.into_iter().flatten().map(|row| only(row, kept));
        rows.collect()
    };
    let mut statements = list(value, "statements", &["id", "calls", "total_ms", "places"]);
    for statement in &mut statements {
        let places = list(statement, "places", &["file", "line", "calls", "total_ms"]);
        statement["places"] = places.into();
    }
    json!({
        "total": {"phases_ms": value.pointer("/total/phases_ms")},
        "routes": list(value, "routes", &["label", "requests"]),
        "statements": statements,
    })
}

/// These members of an object, as far as it has them.
fn only(row: &Value, kept: &[&str]) -> Value {
    let members = kept
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), row.get(key)?.clone())));
    Value::Object(members.collect())
}

/// Milliseconds that requests spent in each phase between two snapshots.
pub fn phases(before: Option<&Value>, after: Option<&Value>) -> Vec<(String, f64)> {
    let list = |value: Option<&Value>, pointer: &str| -> Vec<Value> {
        let found = value.and_then(|value| value.pointer(pointer)?.as_array().cloned());
        found.unwrap_or_default()
    };
    let names = list(after, "/phases");
    let (was, is) = (
        list(before, "/total/phases_ms"),
        list(after, "/total/phases_ms"),
    );
    let number = |list: &[Value], at: usize| list.get(at).and_then(Value::as_f64).unwrap_or(0.0);
    let each = names.iter().enumerate();
    each.filter_map(|(at, name)| {
        let name = name.as_str()?.to_owned();
        Some((name, number(&is, at) - number(&was, at)))
    })
    .collect()
}

/// The statement that most of the requests wait for that run for a second or more.
fn waits(value: &Value) -> Option<(String, u32)> {
    let running = value.get("running").and_then(Value::as_array)?.iter();
    let mut counts: Vec<(&str, u32)> = Vec::new();
    for sql in running.filter_map(|one| one.get("sql")?.as_str()) {
        match counts.iter_mut().find(|(known, _)| *known == sql) {
            Some((_, count)) => *count += 1,
            None => counts.push((sql, 1)),
        }
    }
    counts.retain(|(sql, _)| !sql.is_empty());
    let (sql, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    Some((sql.to_owned(), count))
}

fn numbers(value: &Value) -> Vec<(&'static str, f64)> {
    let number = |name: &&'static str| {
        let at = format!("/{}", name.replace('.', "/"));
        Some((*name, value.pointer(&at)?.as_f64()?))
    };
    READ.iter().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_those_of_the_time_between_two_snapshots() {
        let snapshot = |gil: u64, app: u64| json!({"phases": ["gil", "app"], "total": {"phases_ms": [gil, app]}});
        let (one, other) = (counts(&snapshot(5, 10)), snapshot(7, 110));
        let found = phases(Some(&one), Some(&other));
        assert_eq!(found, [("gil".to_owned(), 2.0), ("app".to_owned(), 100.0)]);
        assert_eq!(phases(None, Some(&other)).len(), 2);
        assert!(phases(Some(&one), None).is_empty());
    }

    #[test]
    fn a5_what_most_of_the_requests_wait_for_is_told() {
        let running = ["", "SELECT b", "SELECT a", "SELECT b", "", ""];
        let running = running.map(|sql| json!({"sql": sql}));
        let told = waits(&json!({"running": running}));
        assert_eq!(told, Some(("SELECT b".to_owned(), 2)));
        for nothing in [json!({}), json!({"running": [{"sql": ""}, {}, 5]})] {
            assert_eq!(waits(&nothing), None);
        }
    }

    #[test]
    fn a_snapshot_becomes_numbers_with_names() {
        let value =
            serde_json::json!({"now": {"queued": 3, "running": "x"}, "up": 1.5, "list": [1]});
        let sample = Sample {
            at: Duration::ZERO,
            numbers: numbers(&value),
            waits: None,
        };
        assert_eq!(sample.get("now.queued"), Some(3.0));
        for absent in ["now.running", "pool.waiting", "up"] {
            assert_eq!(sample.get(absent), None, "{absent}");
        }
    }
}
