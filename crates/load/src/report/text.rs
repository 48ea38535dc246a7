//! Owns the report for a terminal. Leaves the sentences to `prose`.

use std::fmt::Write as _;

use super::{Report, bytes, count, rate, time};
use crate::record::Kind;

pub(super) fn text(report: &Report<'_>) -> String {
    let plan = report.plan;
    let total = &report.outcome.total;
    let mut out = format!("\n{}   {}\n", plan.site.origin(), plan.load.words());
    let _ = writeln!(out, "{}\n", report.model());
    for sentence in report.prose() {
        for line in wrap(&sentence, 96) {
            let _ = writeln!(out, "{line}");
        }
    }
    let _ = writeln!(
        out,
        "\n{:<12}{:>12}{:>14}",
        "latency", "as felt", "server only"
    );
    for (name, share) in [
        ("p50", 0.5),
        ("p90", 0.9),
        ("p95", 0.95),
        ("p99", 0.99),
        ("p99.9", 0.999),
    ] {
        let (felt, naive) = (total.corrected.quantile(share), total.naive.quantile(share));
        let _ = writeln!(out, "{name:<12}{:>12}{:>14}", time(felt), time(naive));
    }
    let (felt, naive) = (total.corrected.max(), total.naive.max());
    let _ = writeln!(out, "{:<12}{:>12}{:>14}\n", "max", time(felt), time(naive));
    counts(report, &mut out);
    requests(report, &mut out);
    for judged in report.judged {
        let word = if judged.failed { "FAILED" } else { "held" };
        let _ = writeln!(out, "{word:<8}{} (is {})", judged.goal, judged.value);
    }
    out
}

fn counts(report: &Report<'_>, out: &mut String) {
    let (plan, outcome) = (report.plan, report.outcome);
    let total = &outcome.total;
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<26}{value}");
    };
    line(
        "answers",
        format!(
            "{} ({} a second)",
            count(total.in_time()),
            rate(outcome.rate())
        ),
    );
    if total.late > 0 {
        line("answers after the end", count(total.late));
    }
    for (class, hits) in total.classes.iter().enumerate().skip(2) {
        if *hits > 0 {
            line(&format!("  {class}xx"), count(*hits));
        }
    }
    line(
        "errors",
        format!(
            "{} ({:.2} %)",
            count(total.errors()),
            total.error_share() * 100.0
        ),
    );
    for (status, hits) in &total.error_statuses {
        line(&format!("  status {status}"), count(*hits));
    }
    for kind in Kind::ALL {
        if total.failed(kind) > 0 {
            line(&format!("  {}", kind.word()), count(total.failed(kind)));
        }
    }
    line(
        "received, sent",
        format!("{}, {}", bytes(total.bytes_in), bytes(total.bytes_out)),
    );
    line("connections", count(total.connections));
    for (name, number) in [
        ("warm-up, not counted", outcome.warmup_hits),
        ("sent again", total.resent),
        ("logins and redirects", total.steps),
        ("slow clients, answered", total.slow[0]),
        ("slow clients, failed", total.slow[1]),
        ("unfinished", total.unfinished),
        ("arrivals not sent", total.unsent),
    ] {
        if number > 0 {
            line(name, count(number));
        }
    }
    line(
        "generator",
        format!(
            "{:.0} % of a CPU, late {} (p99)",
            outcome.cpu_share(plan.threads) * 100.0,
            time(total.lateness.quantile(0.99))
        ),
    );
    for left_out in &plan.scenario.left_out {
        line("left out", left_out.clone());
    }
}

/// The ten requests that took the most time in all, when there are several.
fn requests(report: &Report<'_>, out: &mut String) {
    let scenario = &report.plan.scenario.requests;
    if scenario.len() < 2 {
        return;
    }
    let mut told: Vec<_> = scenario.iter().zip(&report.outcome.requests).collect();
    told.sort_by_key(|(_, each)| {
        std::cmp::Reverse(each.latency.mean().as_micros() * u128::from(each.hits))
    });
    let _ = writeln!(
        out,
        "\n{:>10}{:>9}{:>11}{:>11}  request",
        "answers", "errors", "p50", "p95"
    );
    for (request, each) in told.iter().take(10) {
        let label: String = request.label().chars().take(60).collect();
        let _ = writeln!(
            out,
            "{:>10}{:>9}{:>11}{:>11}  {label}",
            count(each.hits),
            count(each.errors),
            time(each.latency.quantile(0.5)),
            time(each.latency.quantile(0.95)),
        );
    }
    out.push('\n');
}

/// Lines of at most so many characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut() {
            if line.is_empty() {
                line.push_str(word);
                continue;
            }
            if line.chars().count() + 1 + word.chars().count() <= width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
        }
        lines.push(format!("  {word}"));
    }
    lines
}
