//! Owns telling the front what a request cost, just before its answer's last record.
//! Leaves measuring to `hook`, and what the record looks like to the channel.

use std::cell::RefCell;

use canter_channel::report::Report;
use canter_channel::{Kind, SlotId};
use canter_insight::statement::{self, Dialect};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::outbox::record;
use crate::worker::Worker;

thread_local! {
    /// The route of this thread's request, as an app that is no Django has noted it.
    static ROUTE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Tells what the calling thread's request cost, if the app is watched. Nothing waits for it: where
/// there is no room it is not told.
pub(crate) fn send(py: Python<'_>, worker: &Worker, slot: SlotId, number: u64) {
    let report = match &worker.report {
        Some(hook) => hook.get().take(py),
        None => noted(worker),
    };
    if let Some(mut report) = report {
        report.grown_kb = worker.growth.of_request();
        let head = record(Kind::Report, false, slot, number);
        worker.outbox.offer(head, &report.to_bytes());
    }
}

/// What is known of a request of an app that is no Django; most note no route, and cost nothing.
fn noted(worker: &Worker) -> Option<Report> {
    let route = worker.reads_routes.then(|| ROUTE.take())?;
    (!route.is_empty()).then(|| Report {
        route,
        ..Report::default()
    })
}

/// Looks for the route of the calling thread's request where frameworks note it; the app has been called.
pub(crate) fn note_route(worker: &Worker, environ: &Bound<'_, PyDict>) {
    if worker.reads_routes {
        let route = route(environ).ok().flatten().unwrap_or_default();
        ROUTE.set(route);
    }
}

/// Looks again, at the end of a body: an app that is a generator begins with its first chunk.
pub(crate) fn note_late_route(worker: &Worker, environ: &Bound<'_, PyDict>) {
    if worker.reads_routes && ROUTE.with_borrow(String::is_empty) {
        note_route(worker, environ);
    }
}

/// The pattern of the address, never the address itself: by the app's own word, which `canter.insight` says
/// for Flask, or by Bottle's.
fn route(environ: &Bound<'_, PyDict>) -> PyResult<Option<String>> {
    let py = environ.py();
    let found = if let Some(own) = environ.get_item(intern!(py, "canter.route"))? {
        own
    } else if let Some(route) = environ.get_item(intern!(py, "bottle.route"))? {
        route.getattr(intern!(py, "rule"))?
    } else {
        return Ok(None);
    };
    Ok(Some(found.cast::<PyString>()?.to_str()?.to_owned()))
}

/// A statement without its values: its name, what it does, its text.
#[pyfunction]
#[pyo3(signature = (sql, vendor, /))]
pub(crate) fn strip(sql: &str, vendor: &str) -> (u64, u8, String) {
    let statement = statement::strip(sql.as_bytes(), Dialect::of_vendor(vendor));
    (
        statement.fingerprint,
        statement.traits.to_bits(),
        statement.text,
    )
}
