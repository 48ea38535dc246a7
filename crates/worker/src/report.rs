//! Owns telling the front what a request cost, just before its answer's last record.
//! Leaves measuring to `canter.insight`, and what the record looks like to the channel.

use canter_channel::report::Report;
use canter_channel::{Kind, SlotId};
use canter_insight::statement::{self, Dialect};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::failure;
use crate::outbox::record;
use crate::worker::Worker;

/// Route; statements, writes, microseconds in them and held; groups; what is told for the first
/// time.
type Told = (
    String,
    u32,
    u32,
    u64,
    u64,
    Vec<[u64; 8]>,
    Vec<(u64, u8, String)>,
    Vec<(u64, String)>,
    Vec<(u64, u64, String)>,
);

/// Tells what the calling thread's request cost, if the app is watched. Nothing waits for it: where
/// there is no room it is not told.
pub(crate) fn send(py: Python<'_>, worker: &Worker, slot: SlotId, number: u64) {
    let Some(report) = &worker.report else {
        return;
    };
    let told = report.bind(py).call0().and_then(|told| read(&told));
    match told {
        Ok(None) => {}
        Ok(Some(mut told)) => {
            told.grown_kb = worker.growth.of_request();
            let head = record(Kind::Report, false, slot, number);
            worker.outbox.offer(head, &told.to_bytes());
        }
        Err(error) => failure::log_error(py, "what a request cost could not be told", &error),
    }
}

fn read(told: &Bound<'_, PyAny>) -> PyResult<Option<Report>> {
    if let Ok(route) = told.cast::<PyString>() {
        // No statement: nearly always in a site whose pages are cached.
        return Ok(Some(Report {
            route: route.to_str()?.to_owned(),
            ..Report::default()
        }));
    }
    let Ok(told) = told.cast::<PyTuple>() else {
        return Ok(None);
    };
    let (route, queries, writes, sql_us, held_us, groups, statements, places, advice): Told =
        told.extract()?;
    Ok(Some(Report {
        route,
        queries,
        writes,
        sql_us,
        held_us,
        groups,
        statements,
        places,
        advice,
        ..Report::default()
    }))
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
