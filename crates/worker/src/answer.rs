//! Owns one answer on its way out: `start_response`, `write`, and the order head, chunks, end.
//! Leaves checking the head to `head`, the ring to `outbox`, and the app's iterable to `respond`.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use canter_channel::response::FilePart;
use canter_channel::{Kind, MOST_RECORD, SlotId, trace};
use canter_sys::temp;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::head::{Head, called_twice, type_name};
use crate::outbox::{Unwanted, record};
use crate::report;
use crate::request_cpu;
use crate::worker::Worker;

/// Between two looks at whether a held answer's client is still there.
const HOLD_LIMIT: Duration = Duration::from_millis(100);

/// Early hints that are passed on for one request: the front keeps them for a client that does not
/// read.
const MOST_HINTS: u32 = 8;

/// Where an answer is.
enum State {
    /// `start_response` was not called.
    Unstarted,
    /// It was; nothing is sent, so it may still be replaced.
    Started(Head),
    /// The head is in the ring.
    Sent,
    /// The last record is in the ring: nothing may follow.
    Over,
}

/// Why an answer could not go on.
pub(crate) enum Stop {
    /// The app returned a body before it called `start_response`.
    Unstarted,
    /// Nobody wants the rest.
    Unwanted,
}

impl From<Unwanted> for Stop {
    fn from(_: Unwanted) -> Self {
        Self::Unwanted
    }
}

/// The callable an app gets as its second argument (PEP 3333).
#[pyclass(frozen, module = "canter._worker")]
pub(crate) struct StartResponse {
    worker: Arc<Worker>,
    slot: SlotId,
    number: u64,
    /// When the request was started, as in [`canter_channel::trace::now_us`].
    since: u32,
    hints: AtomicU32,
    /// Locked for a moment at a time, never across a call into Python or a wait.
    state: Mutex<State>,
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, headers, exc_info=None))]
    fn __call__(
        slf: Bound<'_, Self>,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Write> {
        let this = slf.get();
        let (is_started, is_sent, is_over) = {
            let state = this.state();
            (
                matches!(&*state, State::Started(_)),
                matches!(&*state, State::Sent),
                matches!(&*state, State::Over),
            )
        };
        match exc_info {
            _ if is_over => return Err(over()),
            // PEP 3333: with the head sent, the error must reach the server.
            Some(exc_info) if is_sent => return Err(raised(exc_info)?),
            None if is_sent || is_started => return Err(called_twice()),
            _ => {}
        }
        let head = Head::read(status, headers)?;
        *this.state() = State::Started(head);
        Ok(Write {
            start_response: slf.unbind(),
        })
    }

    /// `environ["wsgi.early_hints"]`, as Gunicorn has it: fields for a `103 Early Hints` ahead of the
    /// answer. The front passes on what a client can use; after the head it does nothing.
    #[pyo3(signature = (headers, /))]
    fn early_hints(&self, py: Python<'_>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let head = Head::read_hints(headers)?;
        if self.is_sent() || self.hints.fetch_add(1, Ordering::Relaxed) >= MOST_HINTS {
            return Ok(());
        }
        // A client that has left is found by whoever sends the answer.
        if self.push(py, Kind::Hints, false, &[&head.message]).is_ok() {
            self.worker.outbox.wake(&self.worker.watch);
        }
        Ok(())
    }
}

impl StartResponse {
    pub fn new(worker: Arc<Worker>, slot: SlotId, number: u64, since: u32) -> Self {
        Self {
            worker,
            slot,
            number,
            since,
            hints: AtomicU32::new(0),
            state: Mutex::new(State::Unstarted),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the head is in the ring, so that an error page is too late.
    pub fn is_sent(&self) -> bool {
        matches!(&*self.state(), State::Sent | State::Over)
    }

    /// The length the app has declared, before the head is sent.
    pub fn declared_length(&self) -> Option<u64> {
        match &*self.state() {
            State::Started(head) => head.content_length,
            _ => None,
        }
    }

    /// Whether the head waits to be sent with a whole body.
    pub fn is_started(&self) -> bool {
        matches!(&*self.state(), State::Started(_))
    }

    /// Whether nobody reads this answer any more.
    pub fn is_unwanted(&self) -> bool {
        self.worker.watch.is_cancelled(self.slot) || self.worker.front_has_gone()
    }

    /// Replaces whatever head is not sent yet; for error pages.
    pub fn replace_head(&self, head: Head) {
        let mut state = self.state();
        if matches!(&*state, State::Unstarted | State::Started(_)) {
            *state = State::Started(head);
        }
    }

    /// Sends the whole body, or its end, and the head before it if that has not gone out.
    pub fn finish(&self, py: Python<'_>, chunks: &[&[u8]]) -> Result<(), Stop> {
        report::send(py, &self.worker, self.slot, self.number);
        let total: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        if total > MOST_RECORD && self.is_started() && self.finish_spilled(py, chunks, total)? {
            return Ok(());
        }
        let ended = self.ends();
        let mut head = self.take_head(State::Sent)?;
        let room = MOST_RECORD - head.as_ref().map_or(0, |head| head.message.len());
        if total > room {
            if let Some(head) = &mut head {
                head.add_content_length(total as u64);
            }
            self.send_parts(py, head, chunks)?;
            self.push(py, Kind::Chunk, true, &[])?;
        } else if let Some(head) = head {
            if let [one] = chunks {
                self.push(py, Kind::Response, true, &[&head.message, one])?;
            } else {
                let mut parts = Vec::with_capacity(chunks.len() + 1);
                parts.push(head.message.as_slice());
                parts.extend_from_slice(chunks);
                self.push(py, Kind::Response, true, &parts)?;
            }
        } else {
            self.push(py, Kind::Chunk, true, chunks)?;
        }
        self.over(ended);
        Ok(())
    }

    /// Sends a chunk at once, and the head before it if that has not gone out.
    pub fn send(&self, py: Python<'_>, chunk: &[u8]) -> Result<(), Stop> {
        let head = self.take_head(State::Sent)?;
        self.send_parts(py, head, &[chunk])?;
        self.worker.outbox.wake(&self.worker.watch);
        Ok(())
    }

    /// Sends the head with a part of a file as the body.
    pub fn finish_file(&self, py: Python<'_>, part: FilePart, file: &OwnedFd) -> Result<(), Stop> {
        report::send(py, &self.worker, self.slot, self.number);
        let ended = self.ends();
        let Some(head) = self.take_head(State::Sent)? else {
            return Err(Stop::Unwanted);
        };
        let record = record(Kind::File, true, self.slot, self.number);
        let parts: [&[u8]; 2] = [&head.message, &part.to_bytes()];
        self.worker
            .outbox
            .push_file(py, &self.worker, record, &parts, file)
            .map_err(Stop::from)?;
        self.over(ended);
        Ok(())
    }

    /// Sends a large body as a file, so that neither this thread nor memory waits for its client;
    /// false, and nothing sent, where it cannot be stored.
    fn finish_spilled(&self, py: Python<'_>, chunks: &[&[u8]], total: usize) -> Result<bool, Stop> {
        let dir = &self.worker.temp_dir;
        let stored = py.detach(|| {
            if !temp::has_room(dir, total as u64) {
                return None;
            }
            let mut file = temp::unlinked(dir).ok()?;
            chunks
                .iter()
                .try_for_each(|chunk| file.write_all(chunk))
                .ok()?;
            Some(file)
        });
        let Some(file) = stored else {
            return Ok(false);
        };
        let part = FilePart {
            offset: 0,
            len: total as u64,
        };
        self.finish_file(py, part, &file.into())?;
        Ok(true)
    }

    /// Ends an answer that cannot be completed: the client sees a broken connection.
    pub fn abort(&self, py: Python<'_>) {
        if matches!(&*self.state(), State::Over) {
            return;
        }
        report::send(py, &self.worker, self.slot, self.number);
        let ended = self.ends();
        // A front that has gone is owed nothing.
        let _ = self.push(py, Kind::Abort, true, &[]);
        self.over(ended);
    }

    /// Before the last record: says what the request has cost. It has ended at the time returned, as in
    /// [`trace::now_us`].
    fn ends(&self) -> u32 {
        let worker = &self.worker;
        let now = trace::now_us();
        // Where no other thread can come, one that waits keeps others waiting, too.
        if let Some(us) = request_cpu::of(self.since, now)
            && !worker.thread_pool.is_full()
        {
            worker.watch.note_computed(self.slot, us);
        }
        now
    }

    fn over(&self, ended: u32) {
        *self.state() = State::Over;
        let worker = &self.worker;
        worker.outbox.wake_or_hold(&worker.watch, self.since, ended);
    }

    /// The head if it is not sent yet; the state moves on to `next`.
    fn take_head(&self, next: State) -> Result<Option<Head>, Stop> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, next) {
            State::Unstarted => {
                *state = State::Unstarted;
                Err(Stop::Unstarted)
            }
            State::Started(head) => Ok(Some(head)),
            State::Sent => Ok(None),
            State::Over => {
                *state = State::Over;
                Err(Stop::Unwanted)
            }
        }
    }

    /// Sends head and chunks in records that are not the last, cut where they are too long.
    fn send_parts(&self, py: Python<'_>, head: Option<Head>, chunks: &[&[u8]]) -> Result<(), Stop> {
        let mut head = head;
        for chunk in chunks {
            let mut rest = *chunk;
            while !rest.is_empty() {
                let before = head.take().map(|head| head.message).unwrap_or_default();
                let kind = if before.is_empty() {
                    Kind::Chunk
                } else {
                    Kind::Response
                };
                let (now, later) = rest.split_at(rest.len().min(MOST_RECORD - before.len()));
                self.push(py, kind, false, &[&before, now])?;
                rest = later;
            }
        }
        match head {
            Some(head) => self.push(py, Kind::Response, false, &[&head.message]),
            None => Ok(()),
        }
    }

    /// Waits, without the interpreter's lock, while the front wants no more of this answer: its
    /// client is slow and its spool full. True when nobody wants it any more.
    fn is_held_to_the_end(&self, py: Python<'_>) -> bool {
        let watch = &self.worker.watch;
        if watch.is_held(self.slot) {
            py.detach(|| {
                while watch.is_held(self.slot) && !self.is_unwanted() {
                    watch.wait_while_held(self.slot, HOLD_LIMIT);
                }
            });
            return self.is_unwanted();
        }
        false
    }

    fn push(&self, py: Python<'_>, kind: Kind, last: bool, parts: &[&[u8]]) -> Result<(), Stop> {
        let head = record(kind, last, self.slot, self.number);
        let worker = &self.worker;
        if !last && (worker.watch.is_cancelled(self.slot) || self.is_held_to_the_end(py)) {
            return Err(Stop::Unwanted);
        }
        worker
            .outbox
            .push(py, worker, head, parts)
            .map_err(Stop::from)
    }
}

/// The callable that `start_response` returns: an older way to send a body (PEP 3333, "The
/// `write()` Callable").
#[pyclass(frozen, module = "canter._worker")]
pub(crate) struct Write {
    start_response: Py<StartResponse>,
}

#[pymethods]
impl Write {
    #[pyo3(signature = (data, /))]
    fn __call__(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = data.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err(format!("write() takes bytes, not {}", type_name(data)))
        })?;
        let answer = self.start_response.get();
        if matches!(&*answer.state(), State::Over) {
            return Err(over());
        }
        // A client that has left is found by whoever iterates next; PEP 3333 gives write() no way
        // to say so.
        let _ = answer.send(py, data.as_bytes());
        Ok(())
    }
}

fn over() -> PyErr {
    PyRuntimeError::new_err("this response has ended; start_response and write are of no use now")
}

/// The exception inside `exc_info`, as `raise exc.with_traceback(tb)` would raise it.
fn raised(exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let triple = exc_info
        .cast::<PyTuple>()
        .ok()
        .filter(|triple| triple.len() == 3);
    let Some(triple) = triple else {
        return Err(PyTypeError::new_err(
            "exc_info must be the tuple of sys.exc_info()",
        ));
    };
    let exception = triple.get_item(1)?;
    let exception = exception.call_method1("with_traceback", (triple.get_item(2)?,))?;
    Ok(PyErr::from_value(exception))
}
