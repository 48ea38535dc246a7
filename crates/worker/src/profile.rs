//! Owns profiling this worker for a while: a thread of its own runs `canter.profiler`, and what it
//! has found goes to the front in pieces.
//! Leaves sampling to Python, and merging and drawing to the front.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use canter_channel::Event;
use canter_channel::control::{MOST_PIECE, ProfileOrder};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::failure;
use crate::worker::Worker;

/// Whether a profile is being made.
#[derive(Default)]
pub(crate) struct Profiling(AtomicBool);

impl Profiling {
    /// The thread is in Python, or about to be: the process must not end yet.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Starts it. A second one while the first is made is answered with nothing.
pub(crate) fn begin(worker: &Arc<Worker>, order: ProfileOrder) {
    let is_first = !worker.profiling.0.swap(true, Ordering::AcqRel);
    if worker.profile.is_none() || !is_first {
        tell(worker, order.number, "");
        if is_first {
            worker.profiling.0.store(false, Ordering::Release);
        }
        return;
    }
    let mine = Arc::clone(worker);
    let make = move || {
        let text = Python::try_attach(|py| sample(py, &mine, order)).unwrap_or_default();
        tell(&mine, order.number, &text);
        mine.profiling.0.store(false, Ordering::Release);
        mine.ring_guard();
    };
    let thread = thread::Builder::new().name("canter-profile".into());
    if thread.spawn(make).is_err() {
        tell(worker, order.number, "");
        worker.profiling.0.store(false, Ordering::Release);
    }
}

fn sample(py: Python<'_>, worker: &Arc<Worker>, order: ProfileOrder) -> String {
    let watched = Arc::clone(worker);
    let running = move |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        (!watched.is_draining()).then(|| watched.running.threads())
    };
    let made = || -> PyResult<String> {
        let Some(profile) = &worker.profile else {
            return Ok(String::new());
        };
        let running = PyCFunction::new_closure(py, None, None, running)?;
        let seconds = f64::from(order.milliseconds) / 1e3;
        let interval = 1.0 / f64::from(order.rate.max(1));
        let text = profile.call1(py, (running, seconds, interval, order.holder))?;
        text.extract(py)
    };
    made().unwrap_or_else(|error| {
        failure::log_error(py, "a profile could not be made", &error);
        String::new()
    })
}

/// In pieces of whole lines, as far as they fit; the last one is marked.
fn tell(worker: &Worker, number: u64, text: &str) {
    let mut rest = text;
    loop {
        let end = match rest.as_bytes().get(..MOST_PIECE) {
            None => rest.len(),
            Some(head) => head
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1),
        };
        let (piece, more) = rest.split_at_checked(end).unwrap_or((rest, ""));
        // A line longer than a piece is not told.
        let more = if end == 0 { "" } else { more };
        worker.tell(&Event::Profile {
            number,
            last: more.is_empty(),
            text: piece.to_owned(),
        });
        if more.is_empty() {
            return;
        }
        rest = more;
    }
}
