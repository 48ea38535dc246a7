//! Owns the place at the ring of requests: who holds it takes the next record.
//! Leaves who may read to `thread_pool`, and running the request to `respond`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use canter_channel::request::{Body, Request};
use canter_channel::{Broken, RecordHead, Requests, SlotId, trace};
use canter_sys::fds;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;

use crate::environ::{Environs, Made};
use crate::running::ThreadFacts;
use crate::wake_policy;
use crate::worker::Worker;

/// What one thread at a time holds.
pub(crate) struct RingReader {
    pub requests: Requests,
    pub environs: Environs,
    /// How long the last wait for the interpreter's lock took; the next request pays for it.
    pub waited: u32,
}

/// A request that this thread has started and must answer.
pub(crate) struct Job<'py> {
    pub slot: SlotId,
    pub number: u64,
    /// When it was started, as in [`trace::now_us`].
    pub since: u32,
    pub made: PyResult<Made<'py>>,
}

/// What came out of the ring.
pub(crate) enum Taken<'py> {
    /// No record waits.
    Nothing,
    /// The front has taken the request back.
    Skipped,
    /// Run this.
    Job(Job<'py>),
}

impl RingReader {
    /// Takes the next record. Allocating Python objects may run the garbage collector and with it
    /// any code of the app, so no lock but the one on this place is held, and that is only tried.
    pub fn take<'py>(
        &mut self,
        py: Python<'py>,
        worker: &Worker,
        thread: ThreadFacts,
    ) -> Result<Taken<'py>, Broken> {
        let environs = &mut self.environs;
        let thread = (thread, std::mem::take(&mut self.waited));
        let taken = self
            .requests
            .take(|head, message| read(py, environs, worker, thread, head, message))?;
        Ok(taken.unwrap_or(Taken::Nothing))
    }

    /// Sleeps until a request comes; the thread has taken `taken` since it last slept.
    pub fn sleep(&mut self, py: Python<'_>, taken: u32) {
        let requests = &self.requests;
        let woken = py.detach(|| {
            wake_policy::sleeps(taken);
            requests.sleep(None);
            trace::now_us()
        });
        self.waited = trace::now_us().wrapping_sub(woken);
    }
}

fn read<'py>(
    py: Python<'py>,
    environs: &mut Environs,
    worker: &Worker,
    (thread, waited): (ThreadFacts, u32),
    head: RecordHead,
    message: &[u8],
) -> Taken<'py> {
    let request = Request::read(message);
    // Descriptors come in the order of the records, so one is taken also for a request that was
    // taken back.
    let file = match &request {
        Ok(request) if matches!(request.body_at, Body::File(_)) => {
            Some(py.detach(|| receive_file(&worker.files)))
        }
        _ => None,
    };
    let Some(since) = worker.watch.start(head.slot, thread.tid, waited) else {
        return Taken::Skipped;
    };
    worker.running.begin(head.slot, head.number, thread);
    worker.note_taken(thread.tid, message.len());
    let made = match (request, file.transpose()) {
        (Err(malformed), _) => Err(PyRuntimeError::new_err(malformed.to_string())),
        (_, Err(error)) => Err(PyOSError::new_err(error.to_string())),
        (Ok(request), Ok(file)) => environs.make(py, &request, file),
    };
    Taken::Job(Job {
        slot: head.slot,
        number: head.number,
        since,
        made,
    })
}

/// How long a descriptor may be behind its record.
const FILE_LIMIT: Duration = Duration::from_secs(5);

fn receive_file(socket: &OwnedFd) -> io::Result<OwnedFd> {
    if !crate::guard::wait_readable(socket, FILE_LIMIT)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (_, mut files) = fds::receive(socket, &mut [0; 16])?;
    files.pop().ok_or_else(|| io::ErrorKind::NotFound.into())
}
