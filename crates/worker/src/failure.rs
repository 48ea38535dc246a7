//! Owns what happens when an app fails: what the log is told and the error page.
//! Leaves when that is to `respond`, and the form of an entry to `entry`.

use canter_base::log::{Level, Value};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::entry;
use crate::environ::Made;
use crate::head::Head;

/// The longest target that is copied into a log line.
const MOST_TARGET: usize = 1000;

/// Writes the failure to the log in one piece, so that two threads do not mix theirs, and answers
/// its traceback.
pub(crate) fn log(py: Python<'_>, made: &Made<'_>, what: &str, error: &PyErr) -> String {
    let traceback = traceback_text(py, error);
    let (method, path) = (visible(&made.method), visible(&made.target));
    let (id, summary) = (visible(&made.id), summary(py, error));
    let text = format!(
        "{method} {path} {what} (request {id}): {summary}\n{}",
        block(&traceback),
    );
    let facts = [
        ("method", Value::from(&method)),
        ("path", Value::from(&path)),
        ("request_id", Value::from(&id)),
        ("error", Value::from(&summary)),
        ("traceback", Value::Block(&traceback)),
    ];
    let message = format!("the request {what}");
    // A disk may take its time, too.
    py.detach(|| entry::write(Level::Error, &text, &message, &facts));
    traceback
}

/// Lines below an entry of the log. What an exception says is often a client's words: no line of it
/// may pose as an entry, and nothing in it may steer a terminal.
fn block(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in text.lines() {
        out.push_str("    ");
        for letter in line.chars() {
            if letter.is_control() && letter != '\t' {
                out.extend(letter.escape_default());
            } else {
                out.push(letter);
            }
        }
        out.push('\n');
    }
    out
}

/// Logs what belongs to no request, in one line.
pub(crate) fn log_text(text: &str) {
    entry::write(Level::Error, text, text, &[]);
}

/// Logs a failure that belongs to no request.
pub(crate) fn log_error(py: Python<'_>, what: &str, error: &PyErr) {
    let (summary, traceback) = (summary(py, error), traceback_text(py, error));
    let text = format!("{what}\n{}", block(&traceback));
    let facts = [
        ("error", Value::from(&summary)),
        ("traceback", Value::Block(&traceback)),
    ];
    py.detach(|| entry::write(Level::Error, &text, what, &facts));
}

/// The page a client sees; the traceback only where the developer has asked for it.
pub(crate) fn page(py: Python<'_>, traceback: Option<&str>) -> PyResult<(Head, Vec<u8>)> {
    let (kind, body) = match traceback {
        Some(traceback) => ("text/plain; charset=utf-8", traceback.to_owned()),
        None => ("text/html; charset=utf-8", PAGE.to_owned()),
    };
    let status = PyString::new(py, "500 Internal Server Error");
    let headers = PyList::new(py, [("Content-Type", kind), ("Cache-Control", "no-store")])?;
    Ok((Head::read(&status, &headers)?, body.into_bytes()))
}

const PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n<head><title>Internal Server \
     Error</title></head>\n<body><h1>Internal Server Error</h1></body>\n</html>\n";

/// As Python prints it.
fn traceback_text(py: Python<'_>, error: &PyErr) -> String {
    let format = || -> PyResult<String> {
        // Before 3.12 an exception that Python has just raised does not yet hold its traceback.
        let parts = (error.get_type(py), error.value(py), error.traceback(py));
        let lines = py
            .import("traceback")?
            .call_method1("format_exception", parts)?;
        let text = PyString::new(py, "").call_method1("join", (lines,))?;
        let text = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
        Ok(String::from_utf8_lossy(text.extract::<&[u8]>()?).into_owned())
    };
    // An exception may be too broken to be printed.
    format().unwrap_or_else(|_| format!("{}\n", summary(py, error)))
}

fn summary(py: Python<'_>, error: &PyErr) -> String {
    let kind = error.get_type(py);
    kind.qualname()
        .map_or_else(|_| "an exception".to_owned(), |name| name.to_string())
}

/// What came from a client, fit for one line of a log.
fn visible(text: &Bound<'_, PyString>) -> String {
    let text = text.to_string_lossy();
    text.chars()
        .take(MOST_TARGET)
        .flat_map(|letter| match letter {
            ' '..='~' => letter.to_string().chars().collect::<Vec<_>>(),
            _ => letter.escape_default().collect(),
        })
        .collect()
}
