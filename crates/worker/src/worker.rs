//! Owns what all parts of a worker share, and `serve`, which runs one to its end.
//! Leaves each part's work to its module.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use canter_channel::{Event, Watch, WorkerEnd};
use canter_sys::process::adopt_fd;
use canter_sys::{allocator, fds, machine};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::event::EventfdFlags;

use crate::dump::Stacks;
use crate::environ::Environs;
use crate::growth::Growth;
use crate::guard::{Guard, Signals};
use crate::hook::Hook;
use crate::os;
use crate::outbox::Outbox;
use crate::profile::Profiling;
use crate::ring_reader::RingReader;
use crate::running::Running;
use crate::switch_interval::SwitchInterval;
use crate::thread_pool::ThreadPool;

/// `canter.worker.WorkerSettings`, read by attribute.
#[derive(FromPyObject)]
pub(crate) struct Settings {
    threads: usize,
    threads_min: usize,
    idle_seconds: f64,
    orphan_seconds: f64,
    script_name: String,
    temp_dir: PathBuf,
    debug: bool,
}

/// The app and what it needs from Python: `canter.worker.Application`, read by attribute.
#[derive(FromPyObject)]
pub(crate) struct Application {
    app: Py<PyAny>,
    environ: Py<PyDict>,
    file_wrapper: Py<PyAny>,
    sendable: Py<PyAny>,
    report: Option<Py<Hook>>,
    reads_routes: bool,
    current: Option<Py<PyAny>>,
    profile: Option<Py<PyAny>>,
    ask: Option<Py<PyAny>>,
}

/// Threads whose number is kept of those that took requests.
const TAKERS: usize = 8;

/// Freed memory a worker keeps for its next request.
const KEPT: i32 = 1 << 20;

/// One worker process.
pub(crate) struct Worker {
    pub app: Py<PyAny>,
    pub file_wrapper: Py<PyAny>,
    pub sendable: Py<PyAny>,
    /// Knows what this thread's request cost: `canter.insight.hook`.
    pub report: Option<Py<Hook>>,
    /// Routes are read from the environ: somebody wants them, and no hook tells.
    pub reads_routes: bool,
    pub growth: Growth,
    /// Tells the route of a thread's request and the statement it waits for: `canter.looking.current`.
    pub current: Option<Py<PyAny>>,
    /// Samples where threads are: `canter.profiler.sample`.
    pub profile: Option<Py<PyAny>>,
    pub profiling: Profiling,
    /// Answers what the front itself asks: `canter.asked.answer`.
    pub ask: Option<Py<PyAny>>,
    pub debug: bool,
    /// Where bodies go that are too large for memory.
    pub temp_dir: PathBuf,
    /// The place at the ring. Only ever tried, never waited for.
    pub ring_reader: Mutex<RingReader>,
    pub outbox: Outbox,
    pub watch: Watch,
    pub thread_pool: ThreadPool,
    pub running: Running,
    pub stacks: Stacks,
    pub control: OwnedFd,
    pub files: OwnedFd,
    /// Wakes the main thread when a thread has ended.
    pub guard_bell: OwnedFd,
    /// How long running requests may go on when the front has gone.
    pub orphan_limit: Duration,
    /// Whether threads share one interpreter lock.
    pub has_lock: bool,
    /// Below this share of the clock the process counts as waiting.
    pub busy_share: f64,
    draining: AtomicBool,
    front_gone: AtomicBool,
    broken: AtomicBool,
    ready: AtomicBool,
    /// The kernel's numbers of the threads that took the last requests, each in its turn.
    takers: [AtomicU32; TAKERS],
    last_size: AtomicU32,
    pub switch_interval: SwitchInterval,
}

impl Worker {
    /// Whether the worker ends once the ring is empty and nothing runs.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub fn front_has_gone(&self) -> bool {
        self.front_gone.load(Ordering::Acquire)
    }

    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Lets the worker end; the main thread wakes those that sleep.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.ring_guard();
    }

    /// The ring cannot be read any more.
    pub fn give_up_ring(&self) {
        self.broken.store(true, Ordering::Release);
        self.drain();
    }

    /// Nobody offers requests or reads answers any more.
    pub fn lose_front(&self) {
        self.front_gone.store(true, Ordering::Release);
        self.drain();
    }

    /// Whether a thread holds the place at the ring.
    pub fn has_reader(&self) -> bool {
        matches!(
            self.ring_reader.try_lock(),
            Err(std::sync::TryLockError::WouldBlock)
        )
    }

    /// A thread has taken a request of `size` bytes from the ring.
    pub fn note_taken(&self, tid: u32, size: usize) {
        self.taker(self.watch.taken()).store(tid, Ordering::Relaxed);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        self.last_size.store(size, Ordering::Relaxed);
    }

    fn taker(&self, taken: u32) -> &AtomicU32 {
        // In range by the remainder.
        &self.takers[taken as usize % TAKERS]
    }

    /// The kernel's number of the thread that took a request last.
    pub fn last_taker(&self) -> u32 {
        // Counted as taken once its record is released.
        let last = self.watch.taken().wrapping_sub(1);
        self.taker(last).load(Ordering::Relaxed)
    }

    /// The threads that took the last requests: those among hundreds of which some may compute.
    pub fn last_takers(&self) -> Vec<u32> {
        let takers = self.takers.iter().map(|tid| tid.load(Ordering::Relaxed));
        let mut tids: Vec<_> = takers.filter(|&tid| tid != 0).collect();
        tids.sort_unstable();
        tids.dedup();
        tids
    }

    /// The size of the request that was taken last.
    pub fn last_size(&self) -> u64 {
        u64::from(self.last_size.load(Ordering::Relaxed))
    }

    /// Once, when the first thread has come to the ring.
    pub fn announce_ready(&self) {
        if !self.ready.load(Ordering::Relaxed) && !self.ready.swap(true, Ordering::AcqRel) {
            self.tell(&Event::Ready);
        }
    }

    /// Says a word to the front. One that has gone is noticed by the main thread.
    pub fn tell(&self, event: &Event) {
        let _ = fds::send(&self.control, &event.to_bytes(), &[]);
    }

    pub fn ring_guard(&self) {
        let _ = rustix::io::write(&self.guard_bell, &1_u64.to_ne_bytes());
    }

    pub fn clear_guard_bell(&self) {
        let _ = rustix::io::read(&self.guard_bell, &mut [0; 8]);
    }
}

/// Serves requests until the front lets the worker go; answers the exit code. `fds` are the
/// memory of the channel, the eventfd that wakes the front, the control socket and the files
/// socket; they belong to this call.
#[pyfunction]
#[pyo3(signature = (application, settings, fds, /))]
#[allow(clippy::needless_pass_by_value)] // extracted from Python
pub(crate) fn serve(
    py: Python<'_>,
    application: Application,
    settings: Settings,
    fds: (i32, i32, i32, i32),
) -> PyResult<i32> {
    // The interpreter's lock lets one thread allocate at a time anyway.
    allocator::limit_arenas(2);
    allocator::keep_freed(KEPT);
    os::notice_forks();
    let signals = Signals::install()?;
    let worker = Arc::new(build(py, application, &settings, fds)?);
    py.detach(|| Guard::new(&worker, signals).run());
    Stacks::uninstall(py)?;
    Ok(0)
}

fn build(
    py: Python<'_>,
    application: Application,
    settings: &Settings,
    fds: (i32, i32, i32, i32),
) -> PyResult<Worker> {
    let take = |fd: i32| {
        // SAFETY: the program that starts the worker opened it for the worker alone, and gives each number
        // once. Safe code cannot own what comes as a number.
        let taken = unsafe { adopt_fd(fd) };
        taken.map_err(|error| PyOSError::new_err(format!("descriptor {fd}: {error}")))
    };
    let (memory, eventfd) = (take(fds.0)?, take(fds.1)?);
    let (control, files) = (take(fds.2)?, take(fds.3)?);
    let end = WorkerEnd::open(&memory, eventfd)?;
    let idle_limit = duration("idle_seconds", settings.idle_seconds)?;
    let orphan_limit = duration("orphan_seconds", settings.orphan_seconds)?;
    let has_lock = has_lock(py)?;
    let environs = Environs::new(application.environ.bind(py), &settings.script_name)?;
    Ok(Worker {
        app: application.app,
        file_wrapper: application.file_wrapper,
        sendable: application.sendable,
        report: application.report,
        reads_routes: application.reads_routes,
        growth: Growth::default(),
        current: application.current,
        profile: application.profile,
        profiling: Profiling::default(),
        ask: application.ask,
        debug: settings.debug,
        temp_dir: settings.temp_dir.clone(),
        ring_reader: Mutex::new(RingReader {
            requests: end.requests,
            environs,
            waited: 0,
        }),
        outbox: Outbox::new(end.answers),
        watch: end.watch,
        thread_pool: ThreadPool::new(settings.threads, settings.threads_min, idle_limit),
        running: Running::new(),
        stacks: Stacks::install(py)?,
        control,
        files,
        guard_bell: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(std::io::Error::from)?,
        orphan_limit,
        has_lock,
        busy_share: busy_share(has_lock),
        draining: AtomicBool::new(false),
        front_gone: AtomicBool::new(false),
        broken: AtomicBool::new(false),
        ready: AtomicBool::new(false),
        takers: [const { AtomicU32::new(0) }; TAKERS],
        last_size: AtomicU32::new(0),
        switch_interval: SwitchInterval::new(),
    })
}

fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| PyValueError::new_err(format!("{name}: {error}")))
}

/// Whether this Python has the interpreter's lock.
fn has_lock(py: Python<'_>) -> PyResult<bool> {
    match py.import("sys")?.getattr_opt("_is_gil_enabled")? {
        Some(ask) => ask.call0()?.extract(),
        None => Ok(true),
    }
}

/// Three quarters of what the interpreter can use: one CPU with its lock, all of them without.
fn busy_share(has_lock: bool) -> f64 {
    let cpus = if has_lock { 1 } else { machine::cpus() };
    0.75 * cpus as f64
}
