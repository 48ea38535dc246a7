//! Owns the forms for programs: JSON, CSV, `JUnit`, SARIF. Leaves people to the other forms.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Report, escape};
use crate::histogram::{Histogram, PRECISION};
use crate::record::{First, Kind};

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn latency(histogram: &Histogram) -> Value {
    let quantile = |share| histogram.quantile(share);
    figures(
        histogram.count(),
        histogram.mean(),
        histogram.max(),
        quantile,
    )
}

fn figures(count: u64, mean: Duration, max: Duration, quantile: impl Fn(f64) -> Duration) -> Value {
    json!({
        "count": count,
        "mean_ms": ms(mean),
        "p50_ms": ms(quantile(0.5)),
        "p90_ms": ms(quantile(0.9)),
        "p95_ms": ms(quantile(0.95)),
        "p99_ms": ms(quantile(0.99)),
        "p999_ms": ms(quantile(0.999)),
        "max_ms": ms(max),
    })
}

fn first(first: Option<&First>) -> Value {
    first.map_or(
        Value::Null,
        |first| json!({"at_s": first.at.as_secs_f64(), "users": first.users, "what": first.what}),
    )
}

pub(super) fn json(report: &Report<'_>) -> Value {
    let (plan, outcome) = (report.plan, report.outcome);
    let total = &outcome.total;
    let failures: serde_json::Map<String, Value> = Kind::ALL
        .iter()
        .filter(|kind| total.failed(**kind) > 0)
        .map(|kind| (kind.word().to_owned(), total.failed(*kind).into()))
        .collect();
    let statuses: serde_json::Map<String, Value> = (2..6)
        .filter_map(|class| Some((format!("{class}xx"), (*total.classes.get(class)?).into())))
        .collect();
    let requests = plan
        .scenario
        .requests
        .iter()
        .zip(&outcome.requests)
        .take(200);
    let requests: Vec<Value> = requests
        .map(|(request, each)| {
            let sketch = &each.latency;
            let quantile = |share| sketch.quantile(share);
            let latency = figures(sketch.count(), sketch.mean(), sketch.max(), quantile);
            json!({"request": request.label(), "hits": each.hits, "errors": each.errors,
                   "latency": latency})
        })
        .collect();
    let judged: Vec<Value> = report.judged.iter().map(|judged| {
        json!({"condition": judged.goal, "value": judged.value, "failed": judged.failed})
    }).collect();
    json!({
        "canter_bench": 1,
        "url": plan.site.origin(),
        "scenario": plan.fingerprint(),
        "load": plan.load.words(),
        "model": if plan.is_open() { "open" } else { "closed" },
        "began": outcome.began,
        "time_s": outcome.time.as_secs_f64(),
        "ended_early": outcome.ended_early,
        "hits": total.hits,
        "late": total.late,
        "rate": outcome.rate(),
        "statuses": statuses,
        "errors": total.errors(),
        "error_share": total.error_share(),
        "timeouts": total.timeouts(),
        "failures": failures,
        "latency": latency(&total.corrected),
        "latency_server_only": latency(&total.naive),
        "precision": PRECISION,
        "first_error": first(total.first_error.as_ref()),
        "first_timeout": first(total.first_timeout.as_ref()),
        "bytes_in": total.bytes_in,
        "bytes_out": total.bytes_out,
        "connections": total.connections,
        "sent_again": total.resent,
        "steps": total.steps,
        "slow": {"answered": total.slow[0], "failed": total.slow[1]},
        "warmup_hits": outcome.warmup_hits,
        "generator": {
            "threads": plan.threads,
            "cpu_share": outcome.cpu_share(plan.threads),
            "lateness_p99_ms": ms(total.lateness.quantile(0.99)),
            "unsent": total.unsent,
            "held": total.held,
            "unfinished": total.unfinished,
            "limited": outcome.generator_limit(plan),
        },
        "prose": report.prose(),
        "conditions": judged,
        "requests": requests,
        "rows": rows(report),
        "left_out": plan.scenario.left_out,
        "inside": outcome.inside.last,
    })
}

fn rows(report: &Report<'_>) -> Vec<Value> {
    report
        .outcome
        .rows
        .iter()
        .map(|row| {
            json!({"at_s": row.at.as_secs_f64(), "users": row.active, "hits": row.hits,
               "late": row.late, "rate": report.row_rate(row), "bad": row.bad, "errors": row.errors, "timeouts": row.timeouts,
               "bytes_in": row.bytes_in, "p50_ms": ms(row.latency.quantile(0.5)),
               "p95_ms": ms(row.latency.quantile(0.95)), "p99_ms": ms(row.latency.quantile(0.99)),
               "max_ms": ms(row.latency.max())})
        })
        .collect()
}

/// What stands above the rows.
pub(super) const COLUMNS: &str =
    "at_s,users,hits,rate,errors,timeouts,bytes_in,bytes_out,p50_ms,p95_ms,p99_ms,max_ms\n";

pub(super) fn csv(report: &Report<'_>) -> String {
    let mut out = COLUMNS.to_owned();
    for row in &report.outcome.rows {
        let _ = writeln!(
            out,
            "{:.1},{},{},{:.2},{},{},{},{},{:.3},{:.3},{:.3},{:.3}",
            row.at.as_secs_f64(),
            row.active,
            row.hits,
            report.row_rate(row),
            row.errors,
            row.timeouts,
            row.bytes_in,
            row.bytes_out,
            ms(row.latency.quantile(0.5)),
            ms(row.latency.quantile(0.95)),
            ms(row.latency.quantile(0.99)),
            ms(row.latency.max()),
        );
    }
    out
}

/// What a build is told of: its name, and why it fails.
pub(super) type Case = (String, Option<String>);

/// What a build is told: whether something was answered, each condition, and, where there are conditions,
/// whether there is a verdict at all. Beside each name why it fails.
fn cases(report: &Report<'_>) -> Vec<Case> {
    let nothing = (report.outcome.total.hits == 0).then(|| "no request was answered".to_owned());
    let mut cases = vec![("is answered".to_owned(), nothing)];
    cases.extend(report.judged.iter().map(|judged| {
        let why = || format!("{}: it is {}", judged.goal, judged.value);
        (format!("not {}", judged.goal), judged.failed.then(why))
    }));
    if !report.judged.is_empty() {
        let limit = report.outcome.generator_limit(report.plan);
        let why = limit.map(|why| format!("no verdict on the server: {why}"));
        cases.push(("the generator is not the limit".to_owned(), why));
    }
    cases
}

/// For code hosts (SARIF 2.1.0, sections 3.14 to 3.27): a rule for each case, a result for each that fails.
pub(super) fn sarif(report: &Report<'_>) -> String {
    sarif_of(&report.plan.site.origin(), &cases(report))
}

pub(super) fn sarif_of(site: &str, cases: &[Case]) -> String {
    let rules = cases.iter().map(|(name, _)| json!({"id": name}));
    let failed = cases.iter().filter_map(|(name, why)| {
        Some(json!({
            "ruleId": name,
            "level": "error",
            "message": {"text": why.as_ref()?},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": site}}}],
        }))
    });
    let sarif = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "canter bench",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.collect::<Vec<_>>(),
            }},
            "results": failed.collect::<Vec<_>>(),
        }],
    });
    format!("{sarif:#}\n")
}

/// For build servers: a test case for each.
pub(super) fn junit(report: &Report<'_>) -> String {
    let time = report.outcome.time.as_secs_f64();
    junit_of(&report.plan.site.origin(), time, &cases(report))
}

pub(super) fn junit_of(site: &str, time: f64, cases: &[Case]) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"canter bench {}\" \
         tests=\"{}\" failures=\"{}\" time=\"{time:.3}\">\n",
        escape(site),
        cases.len(),
        cases.iter().filter(|(_, why)| why.is_some()).count(),
    );
    for (name, why) in cases {
        let _ = write!(
            out,
            "  <testcase classname=\"canter.bench\" name=\"{}\"",
            escape(name)
        );
        let _ = match why {
            None => writeln!(out, "/>"),
            Some(why) => writeln!(out, "><failure message=\"{}\"/></testcase>", escape(why)),
        };
    }
    out.push_str("</testsuite>\n");
    out
}
