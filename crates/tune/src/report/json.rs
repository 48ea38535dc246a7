//! Owns the report for programs.

use serde_json::{Value, json};

use super::{Report, in_order};
use crate::binding::binding;
use crate::judge::Interval;
use crate::measured::{Broken, Measured};
use crate::search::{Step, Trial};

pub(super) fn json(report: &Report<'_>) -> Value {
    let found = report.found;
    let chosen = found.chosen();
    let last_passing = found
        .steps
        .iter()
        .take_while(|step| step.broken.is_none())
        .last();
    let first_failing = found.steps.iter().find(|step| step.broken.is_some());
    let binds = chosen.map(|trial| {
        let (binds, said) = binding(trial.setting, &trial.together());
        json!({"constraint": binds.word(), "sentence": said})
    });
    json!({
        "app": report.app,
        "requests": report.requests,
        "seed": report.wish.seed,
        "level": found.level,
        "level_is": report.wish.kind.words(found.level),
        "measurements": found.measurements,
        "took_s": report.took.as_secs_f64(),
        "ended": found.ended,
        "choice": chosen.map(setting),
        "best": found.best().map(setting),
        "sure": found.sure,
        "binding": binds,
        "last_passing": last_passing.map(step),
        "first_failing": first_failing.map(step),
        "trials": in_order(report).into_iter().map(|(_, it)| trial(it)).collect::<Vec<_>>(),
        "steps": found.steps.iter().map(step).collect::<Vec<_>>(),
        "prose": report.prose(),
        "file": report.file(),
    })
}

fn setting(trial: &Trial) -> Value {
    let setting = trial.setting;
    json!({"workers": setting.workers, "threads": setting.threads,
           "preload": if setting.preload { "auto" } else { "off" }})
}

fn trial(trial: &Trial) -> Value {
    let mut told = setting(trial);
    told["runs"] = trial.runs.len().into();
    told["measured"] = if trial.runs.is_empty() {
        Value::Null
    } else {
        measured(&trial.together())
    };
    told["fails"] = trial.broken.as_ref().map_or(Value::Null, broken);
    told["against_best"] = trial.against_best.as_ref().map_or(Value::Null, interval);
    told
}

fn interval(interval: &Interval) -> Value {
    json!({"mean": interval.mean, "low": interval.low, "high": interval.high, "pairs": interval.pairs})
}

fn broken(broken: &Broken) -> Value {
    json!({"wall": broken.wall.word(), "how": broken.how})
}

fn step(step: &Step) -> Value {
    json!({"level": step.level, "measured": measured(&step.measured),
           "fails": step.broken.as_ref().map(broken)})
}

fn measured(measured: &Measured) -> Value {
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    let phases: serde_json::Map<String, Value> = measured
        .phases
        .iter()
        .map(|(name, ms)| (name.clone(), (*ms).into()))
        .collect();
    json!({
        "rate": measured.rate, "p50_ms": ms(measured.p50), "p95_ms": ms(measured.p95),
        "p99_ms": ms(measured.p99), "answers": measured.answers, "error_share": measured.errors,
        "timeouts": measured.timeouts, "memory": measured.memory, "connections": measured.connections,
        "cpu": measured.cpu, "worker_cpu": measured.worker_cpu, "machine_busy": measured.machine_busy,
        "queued": measured.queued, "threads_used": measured.threads_used, "phases_ms": phases,
    })
}
