//! Owns the report for a terminal.

use std::fmt::Write as _;

use canter_load::report::{bytes, rate, time};

use super::{Report, in_order, standing};

pub(super) fn text(report: &Report<'_>) -> String {
    let mut out = format!("\n{}: {}\n\n", report.app, report.how());
    let _ = writeln!(
        out,
        "{:>7} {:>7} {:>7} {:>10} {:>9} {:>9} {:>4} {:>5}  ",
        "workers", "threads", "preload", "answers/s", "p95", "memory", "db", "runs"
    );
    for (index, trial) in in_order(report) {
        let setting = trial.setting;
        let preload = if setting.preload { "auto" } else { "off" };
        let _ = write!(
            out,
            "{:>7} {:>7} {preload:>7} ",
            setting.workers, setting.threads
        );
        if trial.runs.is_empty() {
            let _ = write!(out, "{:>10} {:>9} {:>9} {:>4} {:>5}", "-", "-", "-", "-", 0);
        } else {
            let measured = trial.together();
            let _ = write!(
                out,
                "{:>10} {:>9} {:>9} {:>4} {:>5}",
                rate(measured.rate),
                time(measured.p95),
                bytes(measured.memory),
                measured.connections,
                trial.runs.len()
            );
        }
        let _ = writeln!(out, "  {}", standing(report, index, trial));
    }
    out.push('\n');
    for sentence in report.prose() {
        let _ = writeln!(out, "{sentence}");
    }
    out
}
