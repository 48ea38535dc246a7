//! Owns the report for a browser: the page and style of `canter bench`, with charts of its own.

use std::fmt::Write as _;

use canter_load::report::{Chart, Line, Mark, bytes, escape, page, rate, sentence, time};

use super::{Report, in_order, standing};
use crate::binding::binding;

pub(super) fn html(report: &Report<'_>) -> String {
    let title = report.found.chosen().map_or_else(
        || "Nothing chosen".to_owned(),
        |trial| trial.setting.words(),
    );
    let mut out = format!(
        "<h1>{}</h1><p class=\"sub\">canter tune {} &middot; {}</p>\n",
        escape(&title),
        escape(report.app),
        escape(&report.how())
    );
    for said in report.prose() {
        let _ = writeln!(out, "<p>{}</p>", sentence(&said));
    }
    tiles(report, &mut out);
    if report.found.steps.len() > 1 {
        out.push_str(&scaling(report).svg());
        out.push_str(&latency(report).svg());
    }
    if let Some(chart) = memory(report) {
        out.push_str(&chart.svg());
    }
    table(report, &mut out);
    if let Some(file) = report.file() {
        let _ = writeln!(out, "<h2>canter.toml</h2><pre>{}</pre>", lines(&file));
    }
    page(&format!("canter tune {}", report.app), &out)
}

/// Line breaks stay: `escape` makes blanks of them.
fn lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

fn tiles(report: &Report<'_>, out: &mut String) {
    let Some(chosen) = report.found.chosen() else {
        return;
    };
    let measured = chosen.together();
    let (binds, _) = binding(chosen.setting, &measured);
    out.push_str("<div class=\"tiles\">");
    for (value, name) in [
        (rate(measured.rate), "answers a second"),
        (time(measured.p95), "p95"),
        (bytes(measured.memory), "memory"),
        (binds.word().replace('_', " "), "binds"),
    ] {
        let _ = write!(
            out,
            "<div><b>{}</b><span>{name}</span></div>",
            escape(&value)
        );
    }
    out.push_str("</div>\n");
}

fn line(name: &str, class: char, points: Vec<(f64, f64)>, dots: bool) -> Line {
    Line {
        name: name.to_owned(),
        class,
        points,
        dots,
    }
}

fn marks(report: &Report<'_>) -> Vec<Mark> {
    let failing = report.found.steps.iter().find(|step| step.broken.is_some());
    let failing = failing.map(|step| Mark {
        at: step.level,
        word: format!("first failing: {}", report.wish.kind.words(step.level)),
        class: 'e',
    });
    let compared = Mark {
        at: report.found.level,
        word: "compared here".to_owned(),
        class: 'n',
    };
    let last = report.found.highest();
    let compared = (compared.at <= last).then_some(compared);
    failing.into_iter().chain(compared).collect()
}

fn tips(report: &Report<'_>) -> Vec<(f64, String)> {
    let steps = report.found.steps.iter();
    let tip = |step: &crate::search::Step| {
        let said = step
            .broken
            .as_ref()
            .map_or_else(String::new, |broken| format!(", breaks: {}", broken.how));
        let words = report.wish.kind.words(step.level);
        let measured = &step.measured;
        (
            step.level,
            format!(
                "{words}: {} a second, p95 {}{said}",
                rate(measured.rate),
                time(measured.p95)
            ),
        )
    };
    steps.map(tip).collect()
}

/// Answers a second over load: dots as measured, the law as a line where there is one.
fn scaling(report: &Report<'_>) -> Chart {
    let mut drawn = vec![line("measured", 'a', report.scaling(), true)];
    if let Ok(fit) = report.law() {
        let last = report.found.highest();
        let points = (0..=60).map(|at| {
            let level = 1.0 + (last - 1.0) * f64::from(at) / 60.0;
            (level, fit.at(level))
        });
        drawn.insert(0, line("scaling law", 'b', points.collect(), false));
    }
    Chart {
        title: "Answers a second under more and more load".to_owned(),
        across: String::new(),
        lines: drawn,
        marks: marks(report),
        tips: tips(report),
        height: 230.0,
    }
}

fn latency(report: &Report<'_>) -> Chart {
    let points = |get: fn(&crate::measured::Measured) -> std::time::Duration| {
        let steps = report.found.steps.iter();
        let answered = steps.filter(|step| step.measured.answers > 0);
        answered
            .map(|step| (step.level, get(&step.measured).as_secs_f64() * 1000.0))
            .collect()
    };
    let last = report.found.highest();
    let mut lines = vec![
        line("p99", 'c', points(|it| it.p99), false),
        line("p95", 'b', points(|it| it.p95), false),
        line("p50", 'a', points(|it| it.p50), false),
    ];
    if let Some(limit) = report.wish.walls.p95 {
        let limit = limit.as_secs_f64() * 1000.0;
        lines.push(line(
            "limit of p95",
            'e',
            vec![(0.0, limit), (last, limit)],
            false,
        ));
    }
    Chart {
        title: "Latency under more and more load, ms".to_owned(),
        across: String::new(),
        lines,
        marks: marks(report),
        tips: tips(report),
        height: 190.0,
    }
}

/// What each configuration gives for its memory.
fn memory(report: &Report<'_>) -> Option<Chart> {
    let points = |held: bool| -> Vec<(f64, f64)> {
        let trials = report.found.trials.iter();
        let trials =
            trials.filter(|trial| !trial.runs.is_empty() && trial.broken.is_none() == held);
        trials
            .map(|trial| {
                let measured = trial.together();
                (measured.memory as f64 / 1e6, measured.rate)
            })
            .collect()
    };
    let mut lines = vec![
        line("holds", 'a', points(true), true),
        line("fails", 'e', points(false), true),
    ];
    lines.retain(|line| !line.points.is_empty());
    let chosen = report.found.chosen()?.together();
    let chosen_mb = chosen.memory as f64 / 1e6;
    lines.push(line("chosen", 'b', vec![(chosen_mb, chosen.rate)], true));
    // Beyond the axis a mark would stand at its end, which is another place.
    let most = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.0)
        .fold(0.0, f64::max);
    let limit = report
        .wish
        .walls
        .memory
        .filter(|limit| *limit as f64 / 1e6 <= most);
    let limit = limit.map(|limit| Mark {
        at: limit as f64 / 1e6,
        word: "limit of memory".to_owned(),
        class: 't',
    });
    Some(Chart {
        title: "Answers a second for each configuration's memory, MB".to_owned(),
        across: String::new(),
        lines,
        marks: limit.into_iter().collect(),
        tips: Vec::new(),
        height: 210.0,
    })
}

fn table(report: &Report<'_>, out: &mut String) {
    out.push_str("<h2>Configurations</h2><div class=\"scroll\"><table><tr>");
    for name in [
        "workers",
        "threads",
        "preload",
        "answers/s",
        "p95",
        "memory",
        "for each more MB",
        "db",
        "runs",
        "",
    ] {
        let _ = write!(out, "<th>{name}</th>");
    }
    out.push_str("</tr>");
    let smallest = in_order(report)
        .into_iter()
        .find(|(_, trial)| !trial.runs.is_empty());
    let smallest = smallest.map(|(_, trial)| trial.together());
    for (index, trial) in in_order(report) {
        let setting = trial.setting;
        let class = if report.found.choice == Some(index) {
            " class=\"pick\""
        } else {
            ""
        };
        let preload = if setting.preload { "auto" } else { "off" };
        let _ = write!(
            out,
            "<tr{class}><td>{}</td><td>{}</td><td>{preload}</td>",
            setting.workers, setting.threads
        );
        if trial.runs.is_empty() {
            out.push_str("<td>-</td><td>-</td><td>-</td><td>-</td><td>-</td><td>0</td>");
        } else {
            let measured = trial.together();
            let gain = smallest.as_ref().map_or_else(String::new, |smallest| {
                let more = (measured.memory as f64 - smallest.memory as f64) / 1e6;
                if more < 1.0 {
                    "-".to_owned()
                } else {
                    format!("{:+.2}/s", (measured.rate - smallest.rate) / more)
                }
            });
            let _ = write!(
                out,
                "<td>{}</td><td>{}</td><td>{}</td><td>{gain}</td><td>{}</td><td>{}</td>",
                rate(measured.rate),
                time(measured.p95),
                bytes(measured.memory),
                measured.connections,
                trial.runs.len()
            );
        }
        let bad = if trial.broken.is_some() {
            " class=\"bad\""
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "<td{bad}>{}</td></tr>",
            sentence(&standing(report, index, trial))
        );
    }
    out.push_str("</table></div>\n");
}
