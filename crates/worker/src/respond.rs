//! Owns running one request: calls the app, sends what it returns, closes it, reports a failure.
//! Leaves how records are sent to `answer`, and what an iterable is to `chunks`.
//!
//! Nothing an app does here may cost more than its own request.

use std::sync::Arc;

use canter_channel::MOST_RECORD;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::answer::{StartResponse, Stop};
use crate::around;
use crate::chunks::{bytes_of, is_whole, iterate, sendable_file};
use crate::environ::Made;
use crate::failure;
use crate::report;
use crate::request_cpu;
use crate::ring_reader::Job;
use crate::worker::Worker;

/// How the answer ended.
enum Trouble {
    /// The app is at fault.
    App(PyErr),
    /// Nobody wants the rest; no fault.
    Unwanted,
}

impl From<PyErr> for Trouble {
    fn from(error: PyErr) -> Self {
        Self::App(error)
    }
}

impl From<Stop> for Trouble {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Unstarted => Self::App(PyRuntimeError::new_err(
                "the app returned a body but never called start_response()",
            )),
            Stop::Unwanted => Self::Unwanted,
        }
    }
}

/// Runs the request to its end, and answers it whatever happens.
pub(crate) fn run(py: Python<'_>, worker: &Arc<Worker>, job: Job<'_>) {
    let (slot, number, since) = (job.slot, job.number, job.since);
    let answer = StartResponse::new(Arc::clone(worker), slot, number, since);
    match (job.made, Bound::new(py, answer)) {
        (Ok(made), Ok(answer)) => {
            run_app(py, worker, &made, &answer);
            if let Some(file) = &made.file
                && let Err(error) = file.call_method0(intern!(py, "close"))
            {
                failure::log(py, &made, "could not close its body", &error);
            }
        }
        (Err(error), Ok(answer)) => {
            failure::log_error(py, "a request could not be turned into an environ", &error);
            send_page(py, worker, &answer, None);
        }
        (_, Err(error)) => {
            failure::log_error(py, "a request could not be run", &error);
            let answer = StartResponse::new(Arc::clone(worker), slot, number, since);
            answer.abort(py);
        }
    }
    worker.running.end(slot);
}

fn run_app(
    py: Python<'_>,
    worker: &Arc<Worker>,
    made: &Made<'_>,
    answer: &Bound<'_, StartResponse>,
) {
    let app = worker.ask.as_ref().filter(|_| made.is_ours);
    let app = app.unwrap_or(&worker.app);
    if !made.is_ours {
        add_early_hints(&made.environ, answer);
    }
    around::begin(py);
    let result = app.bind(py).call1((&made.environ, answer));
    report::note_route(worker, &made.environ);
    let (result, outcome) = match result {
        Ok(result) => {
            let outcome = send_body(worker, &made.environ, &result, answer.get());
            (Some(result), outcome)
        }
        Err(error) => (None, Err(Trouble::App(error))),
    };
    match outcome {
        Ok(()) => {}
        Err(Trouble::App(error)) => {
            let late = answer.get().is_sent();
            let what = if late {
                "failed after its response had begun"
            } else {
                "failed"
            };
            let traceback = failure::log(py, made, what, &error);
            send_page(py, worker, answer, Some(&traceback));
        }
        Err(Trouble::Unwanted) => answer.get().abort(py),
    }
    // Last, so that what an app does after the response keeps nobody waiting.
    if let Some(result) = result {
        match close(&result) {
            Ok(true) => request_cpu::forget_rest(),
            Ok(false) => {}
            Err(error) => {
                failure::log(py, made, "failed in close()", &error);
            }
        }
    }
    around::end(py);
}

/// An app does without when there is no memory for it.
fn add_early_hints(environ: &Bound<'_, PyDict>, answer: &Bound<'_, StartResponse>) {
    let py = environ.py();
    if let Ok(method) = answer.getattr(intern!(py, "early_hints")) {
        let _ = environ.set_item(intern!(py, "wsgi.early_hints"), method);
    }
}

fn send_body(
    worker: &Arc<Worker>,
    environ: &Bound<'_, PyDict>,
    result: &Bound<'_, PyAny>,
    answer: &StartResponse,
) -> Result<(), Trouble> {
    let py = environ.py();
    if result.is_instance(worker.file_wrapper.bind(py))? && answer.is_started() {
        let sendable = worker.sendable.bind(py);
        if let Some(found) = sendable_file(sendable, result, answer.declared_length())? {
            answer.finish_file(py, found.part, &found.file)?;
            return Ok(());
        }
    }
    if is_whole(result) {
        return send_whole(py, result, answer);
    }
    let mut chunks = iterate(result)?;
    for chunk in &mut chunks {
        let chunk = bytes_of(chunk?)?;
        // PEP 3333: empty chunks do not send the head, so that middleware may yield them while
        // it waits.
        let bytes = chunk.as_bytes();
        if bytes.len() > MOST_RECORD && answer.declared_length() == Some(bytes.len() as u64) {
            // All there is, as the app itself said.
            report::note_late_route(worker, environ);
            answer.finish(py, &[bytes])?;
            return Ok(());
        }
        if !bytes.is_empty() {
            answer.send(py, bytes)?;
        } else if answer.is_unwanted() {
            return Err(Trouble::Unwanted);
        }
    }
    report::note_late_route(worker, environ);
    answer.finish(py, &[])?;
    Ok(())
}

/// All chunks in one record.
fn send_whole(
    py: Python<'_>,
    result: &Bound<'_, PyAny>,
    answer: &StartResponse,
) -> Result<(), Trouble> {
    let mut chunks = iterate(result)?;
    let Some(first) = chunks.next() else {
        answer.finish(py, &[])?;
        return Ok(());
    };
    let first = bytes_of(first?)?;
    let Some(second) = chunks.next() else {
        answer.finish(py, &[first.as_bytes()])?;
        return Ok(());
    };
    let mut all = vec![first, bytes_of(second?)?];
    for chunk in chunks {
        all.push(bytes_of(chunk?)?);
    }
    let parts: Vec<&[u8]> = all.iter().map(PyBytesMethods::as_bytes).collect();
    answer.finish(py, &parts)?;
    Ok(())
}

/// An error page while that is possible, a broken connection otherwise.
fn send_page(
    py: Python<'_>,
    worker: &Worker,
    answer: &Bound<'_, StartResponse>,
    traceback: Option<&str>,
) {
    let answer = answer.get();
    if answer.is_sent() {
        return answer.abort(py);
    }
    let sent = failure::page(py, traceback.filter(|_| worker.debug)).map(|(head, body)| {
        answer.replace_head(head);
        answer.finish(py, &[&body]).is_ok()
    });
    if !matches!(sent, Ok(true)) {
        answer.abort(py);
    }
}

/// PEP 3333: called once whatever happened, if the iterable has it.
/// Whether there was anything to close.
fn close(result: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Some(close) = result.getattr_opt(intern!(result.py(), "close"))? else {
        return Ok(false);
    };
    close.call0()?;
    Ok(true)
}
