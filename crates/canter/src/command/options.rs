//! `canter options`: what `serve` would run with, and why.

use canter_base::options::{Resolved, report_json, report_text};

/// The report, for a person or for a program.
pub fn text(resolved: &Resolved, json: bool) -> String {
    if json {
        report_json(resolved)
    } else {
        report_text(resolved)
    }
}
