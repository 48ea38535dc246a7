//! Owns the sentence on what held the server back, by its own numbers. A snapshot counts from the start of
//! the server, so what the run came to is the difference of two. Leaves asking for them to `inside`.

use std::time::Duration;

use canter_insight::phases::{Phase, Phases};
use serde_json::Value;

use super::count;
use crate::inside::{Inside, phases};

/// A statement in a sentence is no longer than this.
const MOST_TEXT: usize = 200;
/// So many statements a snapshot has at most: what is not in it may still have run.
const MOST_STATEMENTS: usize = 50;

/// The queue and the pool at their longest, the phase in which the requests of the run spent the most time,
/// and the finding that cost them the most.
pub(super) fn cause(inside: &Inside) -> Option<String> {
    let last = inside.last.as_ref()?;
    let peak = |name: &str| {
        let values = inside.samples.iter().filter_map(|sample| sample.get(name));
        values.fold(0.0, f64::max)
    };
    let mut said = format!(
        "The server says: at most {:.0} requests waited for a worker while {:.0} were with one",
        peak("now.queued"),
        peak("now.running")
    );
    if peak("pool.waiting") > 0.0 {
        said.push_str(&format!(
            ", {:.0} waited for the database",
            peak("pool.waiting")
        ));
    }
    let spent = spent(inside.first.as_ref(), last);
    if spent.wall_us() > 0 {
        said.push_str(&format!("; {}", spent.sentence()));
    }
    if let Some(share) = share_of_database(&spent)
        && let Some(dearest) = dearest(inside.first.as_ref(), last)
    {
        said.push_str(&format!(
            "; of the time in which the app ran, {share} % was for the database, most for {}",
            dearest.words(last, spent.get(Phase::Sql))
        ));
    }
    if let Some(worst) = worst(inside.first.as_ref(), last) {
        let text = |key: &str| worst.get(key).and_then(Value::as_str).unwrap_or_default();
        let line = worst.get("line").and_then(Value::as_u64).unwrap_or(0);
        said.push_str(&format!(
            "; most is lost in {}, {}:{line}: {}",
            text("route"),
            text("file"),
            text("title")
        ));
    }
    said.push('.');
    Some(said)
}

/// What the server did when the first time-out came, by what it had said last before.
pub(super) fn at_timeout(inside: &Inside, at: Duration) -> Option<String> {
    let sample = inside.samples.iter().rfind(|sample| sample.at <= at)?;
    let (queued, running) = (sample.get("now.queued")?, sample.get("now.running")?);
    let mut said = format!(
        "Just before, {queued:.0} requests waited for a worker while {running:.0} were with one"
    );
    if let Some((sql, waiting)) = &sample.waits {
        said.push_str(&format!(", {waiting} of them in `{}`", cut(sql)));
    }
    Some(said + ".")
}

/// The share of the database in what the app's threads did, in percent, where it is the larger part.
/// Waiting for a thread is no cause: what the threads did meanwhile is.
fn share_of_database(spent: &Phases) -> Option<u64> {
    let database = spent.get(Phase::Sql) + spent.get(Phase::Pool);
    let ran = database + spent.get(Phase::App) + spent.get(Phase::Gil);
    (database > 0 && 2 * database >= ran).then(|| 100 * database / ran)
}

/// The statement that took the most time in the run, from where it took the most.
struct Dearest<'a> {
    sql: &'a str,
    ms: f64,
    calls: Option<f64>,
    /// None for what was seen on the wire alone.
    place: Option<&'a Value>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> f64 {
    value.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}

fn rows<'a>(value: Option<&'a Value>, key: &str) -> &'a [Value] {
    let list = value.and_then(|value| value.get(key)?.as_array());
    list.map_or(&[], Vec::as_slice)
}

fn dearest<'a>(first: Option<&Value>, last: &'a Value) -> Option<Dearest<'a>> {
    let before = rows(first, "statements");
    // It may have run before all the same, but for no longer than any that was told.
    let unknown = if before.len() < MOST_STATEMENTS {
        Some(0.0)
    } else {
        let told = before.iter().map(|row| number(row, "total_ms"));
        told.reduce(f64::min)
    };
    let found = rows(Some(last), "statements").iter().map(|row| {
        let old = before.iter().find(|old| old.get("id") == row.get("id"));
        let old_ms = old.map(|old| number(old, "total_ms")).or(unknown);
        let old_calls = match old {
            Some(old) => Some(number(old, "calls")),
            None => unknown.filter(|ms| *ms == 0.0),
        };
        let place = rows(Some(row), "places").iter().max_by(|one, other| {
            let took = |place: &Value| {
                let same = |old: &&Value| {
                    old.get("file") == place.get("file") && old.get("line") == place.get("line")
                };
                let old = rows(old, "places").iter().find(same);
                number(place, "total_ms") - old.map_or(0.0, |old| number(old, "total_ms"))
            };
            took(one).total_cmp(&took(other))
        });
        Dearest {
            sql: text(row, "sql"),
            ms: number(row, "total_ms") - old_ms.unwrap_or(0.0),
            calls: old_calls.map(|old| number(row, "calls") - old),
            place,
        }
    });
    let most = found.max_by(|one, other| one.ms.total_cmp(&other.ms))?;
    (most.ms > 0.0).then_some(most)
}

impl Dearest<'_> {
    /// The statement, the line that asked for it, how often in a request and in all, its share of all SQL.
    fn words(&self, last: &Value, sql_us: u64) -> String {
        let mut said = format!("`{}`", cut(self.sql));
        if let Some(place) = self.place {
            let (file, line) = (text(place, "file"), number(place, "line"));
            said.push_str(&format!(
                " at {file}:{line:.0} in {}",
                text(place, "function")
            ));
            let mut findings = rows(Some(last), "findings").iter();
            let same = findings.find(|one| {
                text(one, "sql") == self.sql
                    && text(one, "file") == file
                    && one.get("line") == place.get("line")
            });
            let each = same.map_or(0.0, |finding| number(finding, "count"));
            if each > 1.0 {
                said.push_str(&format!(", {each:.0} times in a request"));
            }
        }
        let share = (100_000.0 * self.ms / sql_us.max(1) as f64).min(100.0);
        let calls = match self.calls {
            Some(calls) => format!("{} times, ", count(calls as u64)),
            None => String::new(),
        };
        said + &format!(" ({calls}{share:.0} % of all SQL)")
    }
}

/// A statement for a sentence, where it stands between backticks: it has none itself.
fn cut(sql: &str) -> String {
    let sql = sql.replace('`', "\"");
    match sql.char_indices().nth(MOST_TEXT) {
        None => sql,
        Some((end, _)) => format!("{}…", sql.get(..end).unwrap_or_default()),
    }
}

/// Where the time of the run's requests went.
fn spent(first: Option<&Value>, last: &Value) -> Phases {
    let told = phases(first, Some(last));
    Phases(Phase::ALL.map(|phase| {
        let found = told.iter().find(|(name, _)| name == phase.word());
        found.map_or(0, |(_, ms)| (ms.max(0.0) * 1000.0) as u64)
    }))
}

/// The finding that cost the most time in the run; those of routes that nobody asked for have no part in it.
fn worst<'a>(first: Option<&Value>, last: &'a Value) -> Option<&'a Value> {
    let requests = |snapshot: &Value, label: &str| {
        let routes = snapshot.get("routes").and_then(Value::as_array);
        let mut routes = routes.into_iter().flatten();
        let route = routes.find(|route| route.get("label").and_then(Value::as_str) == Some(label));
        route.and_then(|route| route.get("requests")?.as_f64())
    };
    let lost = |finding: &Value| {
        let label = finding.get("route")?.as_str()?;
        let before = first.and_then(|first| requests(first, label));
        let more = requests(last, label)? - before.unwrap_or(0.0);
        let each = finding.get("lost_ms")?.as_f64()?;
        (more > 0.0).then_some(each * more)
    };
    let findings = last.get("findings").and_then(Value::as_array);
    let findings = findings.into_iter().flatten();
    let costs = findings.filter_map(|finding| Some((lost(finding)?, finding)));
    let most = costs.max_by(|(one, _), (two, _)| one.total_cmp(two))?;
    Some(most.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::Sample;
    use serde_json::json;

    fn snapshot(phases_ms: [u64; 3], requests: [u64; 3]) -> Value {
        let labels = ["GET /old", "GET /rare", "GET /often"];
        let routes = labels
            .iter()
            .zip(requests)
            .map(|(label, requests)| json!({"label": label, "requests": requests}));
        let findings = labels.iter().zip([900, 90, 20]).map(|(label, lost)| {
            json!({"route": label, "file": "views.py", "line": lost, "title": "many", "lost_ms": lost})
        });
        json!({
            "sentence": "rate-limiting step: waiting for a free thread, 80 % of the time",
            "phases": ["queue", "app", "sql"],
            "total": {"phases_ms": phases_ms},
            "routes": routes.collect::<Vec<_>>(),
            "findings": findings.collect::<Vec<_>>(),
        })
    }

    fn said(first: Value, last: Value) -> String {
        let inside = Inside {
            first: Some(first),
            last: Some(last),
            ..Inside::default()
        };
        cause(&inside).unwrap()
    }

    #[test]
    fn a5_the_cause_is_that_of_the_run_and_not_of_the_servers_life() {
        let said = said(
            snapshot([80_000, 20_000, 0], [500, 10, 1]),
            snapshot([80_000, 20_100, 300], [500, 11, 101]),
        );
        assert!(
            said.contains(
                "rate-limiting step: SQL, 75 % of the time; next: Python code of the app, 25 %"
            ),
            "{said}"
        );
        assert!(
            said.contains("most is lost in GET /often, views.py:20: many."),
            "{said}"
        );
    }

    /// Name, milliseconds, and of these by line.
    type Statement<'a> = (&'a str, u64, &'a [(u64, u64)]);

    /// A server with this time in the app and in SQL, and these statements.
    fn database(app: u64, statements: &[Statement<'_>]) -> Value {
        let statements = statements.iter().map(|(id, ms, places)| {
            let places = places.iter().map(|(line, ms)| {
                json!({"file": "views.py", "line": line, "function": "orders", "total_ms": ms})
            });
            json!({"id": id, "sql": format!("SELECT {id}"), "calls": ms / 5, "total_ms": ms,
                   "places": places.collect::<Vec<_>>()})
        });
        let statements: Vec<_> = statements.collect();
        let sql: f64 = statements.iter().map(|row| number(row, "total_ms")).sum();
        json!({"phases": ["queue", "app", "sql"], "total": {"phases_ms": [50_000, app, sql]},
               "statements": statements,
               "findings": [{"sql": "SELECT often", "file": "views.py", "line": 41, "count": 20}]})
    }

    #[test]
    fn a7_where_the_database_was_the_cause_its_dearest_statement_of_the_run_is_told_with_its_line()
    {
        let first = database(
            1000,
            &[
                ("old", 90_000, &[(7, 90_000)]),
                ("often", 2000, &[(9, 1900), (41, 100)]),
            ],
        );
        let last = |app| {
            let often: Statement<'_> = ("often", 5000, &[(9, 2000), (41, 3000)]);
            database(app, &[("old", 91_000, &[(7, 91_000)]), often])
        };
        let slow = said(first.clone(), last(2000));
        let wanted = "; of the time in which the app ran, 80 % was for the database, most for `SELECT often` at \
                      views.py:41 in orders, 20 times in a request (600 times, 75 % of all SQL)";
        assert!(slow.contains(wanted), "{slow}");
        let busy = said(first, last(9000));
        assert!(!busy.contains("SELECT"), "{busy}");
    }

    #[test]
    fn a7_a_statement_that_was_not_told_before_has_cost_no_less_than_is_said() {
        let ids: Vec<String> = (0..MOST_STATEMENTS).map(|n| format!("{n}")).collect();
        let mut rows: Vec<Statement<'_>> =
            ids.iter().map(|id| (id.as_str(), 40, &[][..])).collect();
        let first = database(0, &rows);
        rows[0] = ("new", 90, &[]);
        let told = said(first, database(0, &rows));
        assert!(
            told.contains("most for `SELECT new` (100 % of all SQL)"),
            "{told}"
        );
    }

    #[test]
    fn a7_the_first_time_out_is_told_with_what_everybody_waited_for() {
        let sample = |seconds, waiting: u32| Sample {
            at: Duration::from_secs(seconds),
            numbers: vec![("now.queued", 135.0), ("now.running", 8.0)],
            waits: Some((format!("SELECT {}", "x".repeat(300)), waiting)),
        };
        let inside = Inside {
            samples: vec![sample(1, 2), sample(2, 8), sample(3, 4)],
            ..Inside::default()
        };
        let told = at_timeout(&inside, Duration::from_millis(2500)).unwrap();
        let wanted = "Just before, 135 requests waited for a worker while 8 were with one, 8 of them in `SELECT xxx";
        assert!(told.starts_with(wanted) && told.ends_with("x…`."), "{told}");
        assert_eq!(at_timeout(&inside, Duration::ZERO), None);
    }

    #[test]
    fn a7_a_statement_ends_where_its_marks_in_the_sentence_do() {
        let first = database(0, &[]);
        let last = database(0, &[("`order`", 90, &[])]);
        let told = said(first, last);
        assert!(told.contains("most for `SELECT \"order\"` ("), "{told}");
    }

    #[test]
    fn a5_what_did_not_change_is_no_cause() {
        let same = snapshot([80_000, 20_000, 0], [500, 10, 1]);
        let said = said(same.clone(), same);
        assert!(said.ends_with("while 0 were with one."), "{said}");
    }

    #[test]
    fn a5_a_server_that_had_no_request_before_begins_at_nothing() {
        let said = said(json!({}), snapshot([0, 100, 0], [0, 0, 9]));
        assert!(said.contains("Python code of the app, 100 %"), "{said}");
        assert!(said.contains("GET /often"), "{said}");
    }
}
