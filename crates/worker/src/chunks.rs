//! Owns what the iterable that an app returns looks like: whole or streamed, a file, its chunks.
//! Leaves sending to `answer` and the order of steps to `respond`.

use canter_channel::response::FilePart;
use canter_sys::process::adopt_fd;
use pyo3::exceptions::{PyOSError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyTuple};
use std::os::fd::OwnedFd;

use crate::head::type_name;

/// Whether all chunks exist already, so that waiting for the last of them holds nothing back: a
/// list or tuple, an object that says `streaming = False` (Django's `HttpResponse`), or one whose
/// length is one (PEP 3333, "Handling the Content-Length Header").
pub(crate) fn is_whole(result: &Bound<'_, PyAny>) -> bool {
    if result.is_exact_instance_of::<PyList>() || result.is_exact_instance_of::<PyTuple>() {
        return true;
    }
    if result.is_instance_of::<PyList>() || result.is_instance_of::<PyTuple>() {
        return true;
    }
    match result.getattr_opt(intern!(result.py(), "streaming")) {
        Ok(Some(streaming)) => {
            streaming.is_exact_instance_of::<pyo3::types::PyBool>()
                && !streaming.is_truthy().unwrap_or(true)
        }
        // A property that fails and one that is not there say nothing either way.
        _ => {
            !result.is_exact_instance_of::<pyo3::types::PyBytes>()
                && result.len().is_ok_and(|len| len == 1)
        }
    }
}

/// A part of a regular file that an app has wrapped in `wsgi.file_wrapper`.
pub(crate) struct Sendable {
    pub file: OwnedFd,
    pub part: FilePart,
}

/// The file behind a `FileWrapper`, if the front can send it by itself. `sendable` is the
/// function of that name in `canter.wsgi`.
pub(crate) fn sendable_file(
    sendable: &Bound<'_, PyAny>,
    wrapper: &Bound<'_, PyAny>,
    declared: Option<u64>,
) -> PyResult<Option<Sendable>> {
    let found = sendable.call1((wrapper,))?;
    let Some((fd, offset, len)) = found.extract::<Option<(i32, u64, u64)>>()? else {
        return Ok(None);
    };
    // SAFETY: `sendable` of `canter.wsgi` answers a duplicate that it made for us and keeps no hold of: the
    // app may close its own at any time. Safe code cannot own what comes as a number.
    let file = unsafe { adopt_fd(fd) };
    let file = file.map_err(|error| PyOSError::new_err(error.to_string()))?;
    // PEP 3333, "Optional Platform-Specific File Handling": no more than was declared.
    let len = declared.map_or(len, |declared| declared.min(len));
    Ok(Some(Sendable {
        file,
        part: FilePart { offset, len },
    }))
}

/// The iterator over the chunks.
pub(crate) fn iterate<'py>(result: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyIterator>> {
    if result.is_exact_instance_of::<PyBytes>() {
        return Err(PyTypeError::new_err(
            "the app returned bytes; it must return an iterable of bytes, such as [body]",
        ));
    }
    result.try_iter().map_err(|error| {
        if error.is_instance_of::<PyTypeError>(result.py()) {
            PyTypeError::new_err(format!(
                "the app must return an iterable of bytes, not {}",
                type_name(result)
            ))
        } else {
            error
        }
    })
}

/// One chunk, which must be bytes.
pub(crate) fn bytes_of(chunk: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyBytes>> {
    chunk.cast_into::<PyBytes>().map_err(|error| {
        let chunk = error.into_inner();
        PyTypeError::new_err(format!(
            "the chunks of a body must be bytes, not {}",
            type_name(&chunk)
        ))
    })
}
