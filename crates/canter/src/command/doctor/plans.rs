//! Owns which statements the doctor has the database explain, and what follows from their plans: an
//! index that is missing.
//! Leaves asking to `site`, and reading plans to `canter.explain` in a worker.

use serde_json::Value as Json;

use super::advice::{Advice, Gain, Weight};

/// Statements that are looked at, the dearest first.
const MOST: usize = 5;
/// A statement that took less than this in all is nobody's trouble.
const LEAST_MS: f64 = 20.0;

/// A statement, and what the database said of it.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Its name, by which the server knows it.
    pub name: String,
    calls: u64,
    total_ms: f64,
    /// What was answered.
    pub told: Json,
}

/// The statements whose plans are worth a look.
pub fn wanted(measured: &Json) -> Vec<Plan> {
    let rows = measured["statements"].as_array().into_iter().flatten();
    let plans = rows.filter_map(|row| {
        let plan = Plan {
            name: row["id"].as_str()?.to_owned(),
            calls: row["calls"].as_u64()?,
            total_ms: row["total_ms"].as_f64()?,
            told: Json::Null,
        };
        let sql = row["sql"].as_str()?.trim_start_matches(['(', ' ']);
        let reads = sql
            .get(..6)
            .is_some_and(|word| word.eq_ignore_ascii_case("select"));
        (reads && plan.total_ms >= LEAST_MS).then_some(plan)
    });
    plans.take(MOST).collect()
}

/// One advice for each index, however many statements miss it.
pub fn indexes(plans: &[Plan], per_hour: impl Fn(f64) -> f64) -> Vec<Advice> {
    let mut found: Vec<Advice> = Vec::new();
    for plan in plans {
        let hints = plan.told["hints"].as_array().into_iter().flatten();
        for hint in hints.filter_map(Json::as_str) {
            let (seen, remedy) = hint.split_once(": ").unwrap_or((hint, hint));
            let gain = per_hour(plan.total_ms);
            if let Some(known) = found.iter_mut().find(|known| known.remedy == remedy) {
                known.gain = Gain::at_most(known.gain.ms().unwrap_or(0.0) + gain);
                continue;
            }
            found.push(Advice {
                id: "index",
                title: "an index is missing".to_owned(),
                evidence: format!(
                    "{} says so of statement {}, asked {} times for {:.0} ms in all: {seen}",
                    plan.told["how"].as_str().unwrap_or("the plan"),
                    plan.name,
                    plan.calls,
                    plan.total_ms
                ),
                remedy: remedy.to_owned(),
                // Finding the rows by an index takes some of it, too.
                gain: Gain::at_most(gain),
                weight: Weight::Cost,
            });
        }
    }
    found
}

/// Why plans could not be read, each reason once.
pub fn unread(plans: &[Plan]) -> Vec<&str> {
    let mut reasons: Vec<&str> = plans
        .iter()
        .filter_map(|plan| plan.told["error"].as_str())
        .collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_dearest_reads_are_looked_at_and_nothing_else() {
        let row = |id: &str, sql: &str, ms: f64| json!({"id": id, "sql": sql, "calls": 7, "total_ms": ms});
        let mut rows = vec![
            row("aa", "SELECT 1", 900.0),
            row("bb", "UPDATE t SET a = ?", 800.0),
            row("cc", "(select 2) UNION (SELECT 3)", 700.0),
        ];
        rows.extend((0..9).map(|n| row(&format!("d{n}"), "SELECT 4", 30.0 - f64::from(n) * 5.0)));
        let plans = wanted(&json!({"statements": rows}));
        let names: Vec<_> = plans.iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(names, ["aa", "cc", "d0", "d1", "d2"]);
        assert!(wanted(&json!({})).is_empty());
    }

    #[test]
    fn an_index_is_said_once_with_the_statement_that_misses_it() {
        let told = json!({"how": "EXPLAIN (GENERIC_PLAN)", "hints": ["all of t is read: CREATE INDEX ON t (a)"]});
        let plan = |name: &str, total_ms: f64, told: &Json| Plan {
            name: name.to_owned(),
            calls: 7,
            total_ms,
            told: told.clone(),
        };
        let refused = json!({"error": "PostgreSQL 16 or newer is needed"});
        let plans = [
            plan("aa", 100.0, &told),
            plan("bb", 50.0, &told),
            plan("cc", 9.0, &refused),
            plan("dd", 9.0, &refused),
        ];
        let found = indexes(&plans, |ms| ms * 2.0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].remedy, "CREATE INDEX ON t (a)");
        assert_eq!(found[0].gain, Gain::at_most(300.0));
        for word in [
            "GENERIC_PLAN",
            "statement aa",
            "7 times",
            "all of t is read",
        ] {
            assert!(found[0].evidence.contains(word), "{}", found[0].evidence);
        }
        assert_eq!(unread(&plans), ["PostgreSQL 16 or newer is needed"]);
    }
}
