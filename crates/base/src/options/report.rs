//! `canter options`: every value and where it came from, for people and for programs.

use std::fmt::Write as _;

use super::resolve::Resolved;
use crate::fault::printable;
use crate::log::push_json_string;

/// A table for a terminal: name, value, origin.
pub fn report_text(resolved: &Resolved) -> String {
    let rows: Vec<[String; 3]> = resolved
        .chosen
        .iter()
        .map(|chosen| {
            let value = if chosen.shown.is_empty() {
                format!("({})", chosen.row.unset)
            } else {
                chosen.shown.join(", ")
            };
            [
                chosen.row.name(),
                printable(&value),
                printable(&chosen.origin.to_string()),
            ]
        })
        .collect();
    let width = |column: usize, most: usize| {
        let widths = rows
            .iter()
            .map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        widths.max().unwrap_or(0).min(most)
    };
    let (names, values) = (width(0, 40), width(1, 60));
    let mut text = String::new();
    for [name, value, origin] in &rows {
        let _ = writeln!(text, "{name:<names$}  {value:<values$}  {origin}");
    }
    for notice in &resolved.notices {
        let _ = write!(text, "\nnote: {notice}");
    }
    if !resolved.notices.is_empty() {
        text.push('\n');
    }
    text
}

/// One JSON object: a list of options and a list of notices.
pub fn report_json(resolved: &Resolved) -> String {
    let mut text = String::from("{\"app\":");
    match &resolved.config.app {
        Some(app) => push_json_string(&mut text, &app.to_string()),
        None => text.push_str("null"),
    }
    text.push_str(",\"options\":[");
    for (index, chosen) in resolved.chosen.iter().enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.push_str("{\"name\":");
        push_json_string(&mut text, &chosen.row.name());
        text.push_str(",\"values\":[");
        for (index, value) in chosen.shown.iter().enumerate() {
            text.push_str(if index == 0 { "" } else { "," });
            push_json_string(&mut text, value);
        }
        text.push_str("],\"layer\":");
        push_json_string(&mut text, chosen.origin.layer());
        text.push_str(",\"origin\":");
        push_json_string(&mut text, &chosen.origin.to_string());
        text.push('}');
    }
    text.push_str("\n],\"notices\":[");
    for (index, notice) in resolved.notices.iter().enumerate() {
        text.push_str(if index == 0 { "" } else { "," });
        push_json_string(&mut text, notice);
    }
    text.push_str("]}\n");
    text
}
