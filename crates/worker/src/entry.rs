//! Owns the entries of a Python process in the log: text for people, or one object with facts where
//! `--log-format` asks for that. A pipe or terminal that nobody reads holds nobody up: what it does not take
//! is counted.
//! Leaves how a line looks and where it goes to `canter_base::log`, and what is worth saying to the others.

use std::time::Duration;

use canter_base::log::{self, Format, Level, Settings, Value};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Writes one entry: `text` behind the program's name for people, `message` and `facts` for programs.
pub(crate) fn write(level: Level, text: &str, message: &str, facts: &[(&str, Value<'_>)]) {
    if !log::enabled(level) {
        return;
    }
    match log::format() {
        Format::Human => {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            log::put(&format!("canter: {text}{end}"));
        }
        Format::Json | Format::Logfmt => log::write(level, message, facts),
    }
}

/// Sets the form and the least important level of this process and those forked from it: the words of
/// `--log-format` and `--log-level`.
#[pyfunction]
#[pyo3(signature = (form, level, /))]
pub(crate) fn start_log(form: &str, level: &str) -> PyResult<()> {
    let format = match form {
        "human" => Format::Human,
        "json" => Format::Json,
        "logfmt" => Format::Logfmt,
        other => return Err(PyValueError::new_err(format!("no form of a log: {other}"))),
    };
    log::init(Settings {
        level: level_of(level)?,
        format,
        colour: false,
        // Of a thread that has let go of the interpreter: the end of a long traceback is what it is about.
        patience: Duration::from_millis(200),
    });
    Ok(())
}

/// Writes an entry of Canter's Python side. A fact called `traceback` keeps its lines.
#[pyfunction]
#[pyo3(signature = (level, text, message, facts, /))]
pub(crate) fn log_entry(
    py: Python<'_>,
    level: &str,
    text: &str,
    message: &str,
    facts: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let level = level_of(level)?;
    let facts: Vec<(String, String)> = facts.extract()?;
    let value = |key: &str, text| match key {
        "traceback" => Value::Block(text),
        _ => Value::Text(text),
    };
    let pairs = facts.iter();
    let facts: Vec<(&str, Value<'_>)> = pairs
        .map(|(key, text)| (key.as_str(), value(key, text.as_str())))
        .collect();
    py.detach(|| write(level, text, message, &facts));
    Ok(())
}

fn level_of(word: &str) -> PyResult<Level> {
    let found = Level::ALL.iter().find(|level| level.word() == word);
    found
        .copied()
        .ok_or_else(|| PyValueError::new_err(format!("no level of a log: {word}")))
}
