//! Owns telling the front what a request cost, just before its answer's last record.
//! Leaves measuring to `hook`, and what the record looks like to the channel.

use canter_channel::{Kind, SlotId};
use canter_insight::statement::{self, Dialect};
use pyo3::prelude::*;

use crate::outbox::record;
use crate::worker::Worker;

/// Tells what the calling thread's request cost, if the app is watched. Nothing waits for it: where
/// there is no room it is not told.
pub(crate) fn send(py: Python<'_>, worker: &Worker, slot: SlotId, number: u64) {
    let Some(hook) = &worker.report else {
        return;
    };
    if let Some(mut report) = hook.get().take(py) {
        report.grown_kb = worker.growth.of_request();
        let head = record(Kind::Report, false, slot, number);
        worker.outbox.offer(head, &report.to_bytes());
    }
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
