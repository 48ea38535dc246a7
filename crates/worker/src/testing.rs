//! Owns `_TestFront`: the front's side of the channel, played by a test.
//! Leaves everything a real front does with sockets; never part of a released wheel.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

use canter_channel::control::ProfileOrder;
use canter_channel::request::{Facts, Writer};
use canter_channel::response::{FilePart, Response};
use canter_channel::{Control, Event, FrontEnd, Kind, RecordHead, SlotId, create};
use canter_sys::fds;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use rustix::event::EventfdFlags;

use crate::guard::wait_readable;

/// The other ends, until a worker takes them.
struct Theirs([OwnedFd; 4]);

/// Plays the front.
#[pyclass(name = "_TestFront", module = "canter._worker")]
pub(crate) struct TestFront {
    end: FrontEnd,
    eventfd: OwnedFd,
    control: Option<OwnedFd>,
    files: Option<OwnedFd>,
    theirs: Option<Theirs>,
}

/// A request, read by attribute.
#[derive(FromPyObject)]
struct TestRequest {
    method: Vec<u8>,
    target: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    version: u8,
    https: bool,
    client: Vec<u8>,
    client_port: u16,
    server: Vec<u8>,
    server_port: u16,
    id: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    /// The descriptor of a file with the body, which then is not inline.
    file: Option<(i32, u64)>,
}

impl TestRequest {
    fn message(&self) -> Vec<u8> {
        let mut message = Vec::new();
        let facts = Facts {
            method: &self.method,
            target: &self.target,
            path: &self.path,
            query: &self.query,
            version: self.version,
            https: self.https,
            client: &self.client,
            client_port: self.client_port,
            server: &self.server,
            server_port: self.server_port,
            id: &self.id,
        };
        let mut writer = Writer::new(&mut message, &facts);
        for (at, (name, value)) in self.fields.iter().enumerate() {
            let repeated = self.fields[..at].iter().any(|(other, _)| other == name);
            writer.field(name, value, repeated);
        }
        match self.file {
            Some((_, len)) => writer.file_body(len),
            None => writer.inline_body(&self.body),
        }
        message
    }
}

fn slot_of(number: usize) -> PyResult<SlotId> {
    let slot = SlotId::all().nth(number);
    slot.ok_or_else(|| PyValueError::new_err("no such slot"))
}

#[pymethods]
impl TestFront {
    #[new]
    fn new() -> PyResult<Self> {
        let (memory, end) = create()?;
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(std::io::Error::from)?;
        let (control, their_control) = fds::pair()?;
        let (files, their_files) = fds::pair()?;
        let their_eventfd = eventfd.try_clone()?;
        Ok(Self {
            end,
            eventfd,
            control: Some(control),
            files: Some(files),
            theirs: Some(Theirs([memory, their_eventfd, their_control, their_files])),
        })
    }

    /// The worker's descriptors; they belong to the caller.
    fn worker_fds(&mut self) -> PyResult<(i32, i32, i32, i32)> {
        let theirs = self.theirs.take();
        let Theirs([a, b, c, d]) = theirs.ok_or_else(|| PyRuntimeError::new_err("given away"))?;
        Ok((
            a.into_raw_fd(),
            b.into_raw_fd(),
            c.into_raw_fd(),
            d.into_raw_fd(),
        ))
    }

    #[allow(clippy::needless_pass_by_value)] // extracted from Python
    fn offer(&mut self, slot: usize, number: u64, request: TestRequest) -> PyResult<bool> {
        if let (Some((fd, _)), Some(files)) = (request.file, &self.files) {
            // SAFETY: the test hands over a duplicate that is nobody else's. Safe code
            // cannot own what comes as a number.
            let file = unsafe { canter_sys::process::adopt_fd(fd) }?;
            fds::send(files, b"f", &[std::os::fd::AsFd::as_fd(&file)])?;
        }
        let message = request.message();
        Ok(self.end.offer(slot_of(slot)?, number, &message).is_ok())
    }

    fn wake_worker(&self) {
        self.end.wake_worker();
    }

    /// The next record as a dict, or None when none came in time.
    fn take<'py>(&mut self, py: Python<'py>, seconds: f64) -> PyResult<Option<Bound<'py, PyDict>>> {
        let mut payload = Vec::new();
        let found = py.detach(|| self.take_within(seconds, &mut payload));
        let Some(head) = found.map_err(PyRuntimeError::new_err)? else {
            return Ok(None);
        };
        self.describe(py, head, &payload).map(Some)
    }

    /// Waits to be woken by the worker, after `fall_asleep`.
    fn is_woken_within(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let limit = Duration::from_secs_f64(seconds);
        let woken = py.detach(|| wait_readable(&self.eventfd, limit))?;
        Ok(woken && rustix::io::read(&self.eventfd, &mut [0; 8]).is_ok())
    }

    /// Says that the front sleeps, so that the next wake-up shows.
    fn fall_asleep(&self) -> bool {
        self.end.about_to_sleep()
    }

    fn reclaim(&self, slot: usize) -> PyResult<bool> {
        Ok(self.end.reclaim(slot_of(slot)?))
    }

    fn cancel(&self, slot: usize) -> PyResult<()> {
        self.end.cancel(slot_of(slot)?);
        Ok(())
    }

    fn free(&self, slot: usize) -> PyResult<()> {
        self.end.free(slot_of(slot)?);
        Ok(())
    }

    fn is_free(&self, slot: usize) -> PyResult<bool> {
        Ok(self.end.is_free(slot_of(slot)?))
    }

    fn has_started(&self, slot: usize) -> PyResult<bool> {
        Ok(self.end.has_started(slot_of(slot)?))
    }

    fn thread(&self, slot: usize) -> PyResult<u32> {
        Ok(self.end.thread(slot_of(slot)?))
    }

    fn untaken(&self) -> u32 {
        self.end.untaken()
    }

    fn look(&self) -> PyResult<()> {
        self.say(Control::CheckThreads)
    }

    fn drain(&self) -> PyResult<()> {
        self.say(Control::Drain)
    }

    fn dump(&self, slot: usize, number: u64) -> PyResult<()> {
        let slot = slot_of(slot)?;
        self.say(Control::Dump { slot, number })
    }

    fn profile(&self, number: u64, milliseconds: u32, holder: bool) -> PyResult<()> {
        self.say(Control::Profile(ProfileOrder {
            number,
            milliseconds,
            rate: 200,
            holder,
        }))
    }

    /// The next word of the worker as (name, number, text), or None.
    fn event(&self, py: Python<'_>, seconds: f64) -> PyResult<Option<(String, u64, String)>> {
        let Some(control) = &self.control else {
            return Ok(None);
        };
        let limit = Duration::from_secs_f64(seconds);
        if !py.detach(|| wait_readable(control, limit))? {
            return Ok(None);
        }
        let mut bytes = vec![0; 65_536];
        let (len, _) = fds::receive(control, &mut bytes)?;
        if len == 0 {
            return Ok(Some(("End".to_owned(), 0, String::new())));
        }
        Ok(match Event::read(&bytes[..len]) {
            Ok(Event::Ready) => Some(("Ready".to_owned(), 0, String::new())),
            Ok(Event::Leaving) => Some(("Leaving".to_owned(), 0, String::new())),
            Ok(Event::Stack { number, sample }) => Some(("Stack".to_owned(), number, sample.stack)),
            Ok(Event::Profile { number, text, .. }) => Some(("Profile".to_owned(), number, text)),
            Err(malformed) => return Err(PyRuntimeError::new_err(malformed.to_string())),
        })
    }

    /// The front dies.
    fn hang_up(&mut self) {
        self.control = None;
        self.files = None;
    }

    /// Exchanges `count` requests, `depth` at a time; answers the seconds it took.
    #[allow(clippy::needless_pass_by_value)] // extracted from Python
    fn exchange(
        &mut self,
        py: Python<'_>,
        request: TestRequest,
        count: u64,
        depth: usize,
    ) -> PyResult<f64> {
        let message = request.message();
        py.detach(|| self.exchange_all(&message, count, depth))
            .map_err(PyRuntimeError::new_err)
    }
}

impl TestFront {
    fn say(&self, control: Control) -> PyResult<()> {
        if let Some(socket) = &self.control {
            fds::send(socket, &control.to_bytes(), &[])?;
        }
        Ok(())
    }

    fn take_within(
        &mut self,
        seconds: f64,
        payload: &mut Vec<u8>,
    ) -> Result<Option<RecordHead>, String> {
        let end_by = Instant::now() + Duration::from_secs_f64(seconds);
        loop {
            let head = self
                .end
                .take(payload)
                .map_err(|broken| broken.to_string())?;
            if head.is_some() {
                return Ok(head);
            }
            let left = end_by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if !self.end.about_to_sleep() {
                let _ = wait_readable(&self.eventfd, left);
                let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
            }
            self.end.awake();
        }
    }

    fn describe<'py>(
        &self,
        py: Python<'py>,
        head: RecordHead,
        payload: &[u8],
    ) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(py);
        found.set_item("kind", format!("{:?}", head.kind))?;
        found.set_item("last", head.last)?;
        found.set_item("slot", head.slot.index())?;
        found.set_item("number", head.number)?;
        let mut body = payload;
        if matches!(head.kind, Kind::Response | Kind::File) {
            let response = Response::read(payload)
                .map_err(|error| PyValueError::new_err(error.to_string()))?;
            found.set_item("status", response.facts.status)?;
            found.set_item("reason", PyBytes::new(py, response.facts.reason))?;
            let fields: Vec<_> = response
                .fields()
                .map(|(name, value)| (PyBytes::new(py, name), PyBytes::new(py, value)))
                .collect();
            found.set_item("fields", fields)?;
            body = &payload[response.body_at..];
        }
        if head.kind == Kind::File
            && let Some(files) = &self.files
        {
            let part =
                FilePart::read(body).map_err(|error| PyValueError::new_err(error.to_string()))?;
            let (_, mut received) = fds::receive(files, &mut [0; 16])?;
            let file = received
                .pop()
                .ok_or_else(|| PyValueError::new_err("no file came"))?;
            let mut bytes = vec![0; part.len as usize];
            let len =
                rustix::io::pread(&file, &mut bytes, part.offset).map_err(std::io::Error::from)?;
            bytes.truncate(len);
            found.set_item("fd_seen", file.as_raw_fd())?;
            found.set_item("body", PyBytes::new(py, &bytes))?;
            return Ok(found);
        }
        found.set_item("body", PyBytes::new(py, body))?;
        Ok(found)
    }

    fn exchange_all(&mut self, message: &[u8], count: u64, depth: usize) -> Result<f64, String> {
        let mut payload = Vec::new();
        let mut free: Vec<SlotId> = SlotId::all().take(depth).collect();
        let (mut offered, mut answered) = (0, 0);
        let begin = Instant::now();
        while answered < count {
            while offered < count
                && let Some(slot) = free.pop()
            {
                if self.end.offer(slot, offered, message).is_err() {
                    free.push(slot);
                    break;
                }
                offered += 1;
            }
            self.end.wake_worker();
            let Some(head) = self.take_within(30.0, &mut payload)? else {
                return Err("an answer did not come".to_owned());
            };
            if head.last {
                self.end.free(head.slot);
                free.push(head.slot);
                answered += 1;
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    }
}
