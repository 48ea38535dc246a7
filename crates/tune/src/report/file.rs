//! Owns the `canter.toml` that a search ends in.

use std::fmt::Write as _;

use canter_load::report::{bytes, rate, time};

use super::Report;

pub(super) fn file(report: &Report<'_>) -> Option<String> {
    let chosen = report.found.chosen()?;
    let (setting, measured) = (chosen.setting, chosen.together());
    let mut out = String::from("# Written by `canter tune`.\n");
    let _ = writeln!(out, "# Measured: {}.", one_line(&report.how()));
    let _ = writeln!(
        out,
        "# {} answers a second, p95 {}, {} of memory.",
        rate(measured.rate),
        time(measured.p95),
        bytes(measured.memory)
    );
    let _ = writeln!(
        out,
        "workers = {}\nthreads = {}",
        setting.workers, setting.threads
    );
    if !setting.preload {
        out.push_str("preload = \"off\"\n");
    }
    if let Some(connections) = report.db_connections {
        let _ = writeln!(out, "db-connections = {connections}");
    }
    Some(out)
}

/// A comment must not end before its line does.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}
