//! Owns what Python wants to be called around each request that this worker runs: before the app, and
//! after its answer was closed.
//! Leaves what is done there to whoever asks for it, such as `canter.django`.
//!
//! Django's own signals will not do: a view that runs a handler of its own, as Django's test client
//! does, sends them in the middle of a request.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::failure;

struct Around {
    begin: Py<PyAny>,
    end: Py<PyAny>,
}

/// Nothing but one look at it is paid for before somebody asks.
static AROUND: PyOnceLock<Around> = PyOnceLock::new();

/// Calls `begin` before and `end` after each request, on its thread. The first caller is the only one.
#[pyfunction]
#[pyo3(signature = (begin, end, /))]
pub(crate) fn around_requests(py: Python<'_>, begin: Py<PyAny>, end: Py<PyAny>) {
    let _ = AROUND.set(py, Around { begin, end });
}

/// A request begins.
pub(crate) fn begin(py: Python<'_>) {
    if let Some(around) = AROUND.get(py) {
        call(
            py,
            &around.begin,
            "what is to be done before a request failed",
        );
    }
}

/// It is over. What has been asked for in the middle of a request is done at its end.
pub(crate) fn end(py: Python<'_>) {
    if let Some(around) = AROUND.get(py) {
        call(py, &around.end, "what is to be done after a request failed");
    }
}

fn call(py: Python<'_>, what: &Py<PyAny>, failed: &str) {
    if let Err(error) = what.bind(py).call0() {
        failure::log_error(py, failed, &error);
    }
}
