//! Owns the sentence on what held the server back, by its own numbers. A snapshot counts from the start of
//! the server, so what the run came to is the difference of two. Leaves asking for them to `inside`.

use canter_insight::phases::{Phase, Phases};
use serde_json::Value;

use crate::inside::{Inside, phases};

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
