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
    /// Who took the last request, and how many it has taken since it last slept or another did.
    pub taker: Taker,
}

/// A thread, by the kernel's number, and its requests.
#[derive(Default)]
pub(crate) struct Taker {
    tid: u32,
    taken: u32,
}

impl Taker {
    fn took(&mut self, tid: u32) {
        if self.tid != tid {
            *self = Self { tid, taken: 0 };
        }
        self.taken += 1;
    }

    /// What this thread has taken since it last asked.
    fn since(&mut self, tid: u32) -> u32 {
        let own = self.tid == tid;
        if own {
            std::mem::take(&mut self.taken)
        } else {
            0
        }
    }
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
        let tid = thread.tid;
        let thread = (thread, std::mem::take(&mut self.waited));
        let taken = self
            .requests
            .take(|head, message| read(py, environs, worker, thread, head, message))?;
        if taken.is_some() {
            self.taker.took(tid);
        }
        Ok(taken.unwrap_or(Taken::Nothing))
    }

    /// Sleeps until a request comes.
    pub fn sleep(&mut self, py: Python<'_>, tid: u32) {
        let requests = &self.requests;
        let taken = self.taker.since(tid);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_told_of_its_own_requests_only() {
        let mut taker = Taker::default();
        for tid in [7, 7, 7] {
            taker.took(tid);
        }
        assert_eq!((taker.since(8), taker.since(7), taker.since(7)), (0, 3, 0));
        for tid in [7, 7, 8, 8, 7] {
            taker.took(tid);
        }
        assert_eq!((taker.since(8), taker.since(7)), (0, 1));
    }
}
