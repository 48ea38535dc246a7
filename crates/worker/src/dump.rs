//! Owns answering «what is this request doing?» with the Python stack of its thread.
//! Leaves who asks, and why, to the front.
//!
//! Usually a helper thread waits for its turn in the interpreter and formats the stack. When it
//! does not get one within [`PATIENCE`], native code holds the interpreter's lock; then the
//! stuck thread is sent a signal on which `faulthandler` writes the stack without any lock.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use canter_channel::{Event, SlotId, StackSample};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::fs::{MemfdFlags, SeekFrom};

use crate::failure;
use crate::os;
use crate::running::ThreadFacts;
use crate::worker::Worker;

const PATIENCE: Duration = Duration::from_secs(1);

/// How long the stuck thread gets to write its stack down.
const WRITING_LIMIT: Duration = Duration::from_millis(200);

/// A stack asked for and not given yet.
pub(crate) struct Dump {
    slot: SlotId,
    number: u64,
    deadline: Instant,
    /// Set by whoever answers first.
    answered: Arc<AtomicBool>,
}

/// Where `faulthandler` writes.
pub(crate) struct Stacks {
    file: OwnedFd,
}

impl Stacks {
    /// Prepares the way that needs no lock.
    pub fn install(py: Python<'_>) -> PyResult<Self> {
        let file = rustix::fs::memfd_create("canter-stack", MemfdFlags::CLOEXEC)
            .map_err(|errno| pyo3::exceptions::PyOSError::new_err(errno.to_string()))?;
        let options = PyDict::new(py);
        options.set_item("file", file.as_raw_fd())?;
        options.set_item("all_threads", false)?;
        options.set_item("chain", false)?;
        py.import("faulthandler")?.call_method(
            "register",
            (os::stack_signal(),),
            Some(&options),
        )?;
        Ok(Self { file })
    }

    /// Undoes it, before the file is closed.
    pub fn uninstall(py: Python<'_>) -> PyResult<()> {
        py.import("faulthandler")?
            .call_method1("unregister", (os::stack_signal(),))?;
        Ok(())
    }

    fn of_thread(&self, thread: ThreadFacts) -> String {
        let _ = rustix::fs::ftruncate(&self.file, 0);
        let _ = rustix::fs::seek(&self.file, SeekFrom::Start(0));
        os::signal_thread(thread.tid, os::stack_signal());
        let begin = Instant::now();
        let mut before = String::new();
        while begin.elapsed() < WRITING_LIMIT {
            thread::sleep(Duration::from_millis(10));
            let text = self.read();
            // Written in many small pieces: whole once it has stopped growing.
            if !text.is_empty() && text == before {
                break;
            }
            before = text;
        }
        before
    }

    fn read(&self) -> String {
        let mut bytes = vec![0; 64 * 1024];
        let len = rustix::io::pread(&self.file, &mut bytes, 0).unwrap_or(0);
        bytes.truncate(len);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Dump {
    /// Starts the helper thread.
    pub fn begin(worker: &Arc<Worker>, slot: SlotId, number: u64) -> Self {
        let answered = Arc::new(AtomicBool::new(false));
        let (worker, claim) = (Arc::clone(worker), Arc::clone(&answered));
        let take = move || {
            // None when the interpreter has ended meanwhile.
            let sample = Python::try_attach(|py| stack_sample(py, &worker, slot, number));
            let sample = sample.unwrap_or_default();
            if !claim.swap(true, Ordering::AcqRel) {
                worker.tell(&Event::Stack { number, sample });
            }
        };
        // Without the helper the deadline brings the other way.
        let _ = thread::Builder::new()
            .name("canter-dump".into())
            .spawn(take);
        Self {
            slot,
            number,
            deadline: Instant::now() + PATIENCE,
            answered,
        }
    }

    /// Time left before the other way is taken; None once answered.
    pub fn left(&self) -> Option<Duration> {
        (!self.answered.load(Ordering::Acquire))
            .then(|| self.deadline.saturating_duration_since(Instant::now()))
    }

    /// Takes the other way, if nobody has answered yet.
    pub fn give_up_waiting(&self, worker: &Worker) {
        if self.answered.swap(true, Ordering::AcqRel) {
            return;
        }
        let thread = worker.running.thread(self.slot, self.number);
        let stack = thread.map_or_else(String::new, |thread| worker.stacks.of_thread(thread));
        worker.tell(&Event::Stack {
            number: self.number,
            sample: StackSample {
                stack,
                ..StackSample::default()
            },
        });
    }
}

/// What the thread that runs this request does; empty when it has ended.
fn stack_sample(py: Python<'_>, worker: &Worker, slot: SlotId, number: u64) -> StackSample {
    let see = |thread: ThreadFacts| -> PyResult<StackSample> {
        let frames = py.import("sys")?.call_method0("_current_frames")?;
        let frames = frames.cast_into::<PyDict>()?;
        let Some(frame) = frames.get_item(thread.ident)? else {
            return Ok(StackSample::default());
        };
        let (route, sql) = match &worker.current {
            Some(current) => current.call1(py, (thread.ident, &frame))?.extract(py)?,
            None => (String::new(), String::new()),
        };
        let lines: Vec<String> = py
            .import("traceback")?
            .call_method1("format_stack", (frame,))?
            .extract()?;
        Ok(StackSample {
            route,
            sql,
            stack: lines.concat(),
        })
    };
    let Some(thread) = worker.running.thread(slot, number) else {
        return StackSample::default();
    };
    see(thread).unwrap_or_else(|error| {
        failure::log_error(py, "a stack could not be read", &error);
        StackSample::default()
    })
}
