//! Owns the supervisor: the one process that holds the listening sockets, starts the front and the
//! Python processes, hears signals, and reaps. One thread, one `poll`.
//! Leaves what a worker's end leads to to `worker_set`, every byte from the network to the front, and
//! the command line, the sockets and what people read at the start to `canter`.
//!
//! ```text
//!   supervisor.rs   the loop: wait, hear, act
//!     front.rs      starting the front, hearing it, its end
//!     launcher.rs   starting Python, hearing it, its end, reloads
//!     orders.rs     doing what the set of workers orders
//!     ending.rs     signals, reaping, the way to the exit
//!   deciding, without I/O
//!     worker_set.rs, life.rs, backoff.rs, heartbeat.rs, loading.rs
//!   what it speaks with
//!     zygote.rs, spawn.rs, notify.rs, signals.rs, watch.rs, terminals.rs
//! ```

mod backoff;
mod ending;
mod exit_status;
mod front;
mod heartbeat;
mod launcher;
mod life;
mod loading;
mod notify;
mod orders;
mod signals;
mod spawn;
mod terminals;
mod watch;
mod worker_set;
mod zygote;

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use canter_base::options::Preload;
use canter_base::{Exit, Fault};
use canter_sys::process::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::link::WorkerId;
use backoff::Backoff;
use ending::Phase;
use front::Front;
use launcher::Launcher;
use life::Limits;
use loading::Loading;
pub use notify::Notify;
use notify::Word;
use signals::Signals;
use spawn::Half;
use terminals::Terminals;
use watch::Watch;
use worker_set::WorkerSet;
pub use zygote::{Loaded, Python};

/// What the front starts with.
#[derive(Debug)]
pub struct FrontStart {
    /// Listening sockets, each with the address as people read it.
    pub listeners: Vec<(OwnedFd, String)>,
    /// A `SOCK_SEQPACKET` socket to the supervisor; see [`crate::link`].
    pub link: OwnedFd,
}

/// What the supervisor is set to.
pub struct Plan {
    /// What `ps` and `top` show.
    pub name: String,
    /// How to start Python.
    pub python: Python,
    /// Worker processes.
    pub workers: usize,
    /// Whether they are forked.
    pub preload: Preload,
    /// How long requests may go on after the order to stop.
    pub graceful_timeout: Duration,
    /// Directories with the app's source, and further files, when changes start a reload.
    pub reload: Option<(Vec<PathBuf>, Vec<PathBuf>)>,
    /// The service manager, when there is one.
    pub notify: Option<Notify>,
}

/// What the composition supplies.
pub struct Hooks<'a> {
    /// Runs in the front's process and ends it.
    pub front: &'a dyn Fn(FrontStart) -> std::convert::Infallible,
    /// Called once, when the app is imported for the first time.
    pub loaded: &'a dyn Fn(&Loaded),
    /// Called when no front is started any more: lets go of the listening sockets that are not among
    /// the supervisor's, or the system would go on taking connections for nobody.
    pub closing: &'a dyn Fn(),
}

/// How the supervisor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop, and did.
    Stopped,
    /// A person was in a hurry: SIGINT came twice.
    Interrupted,
}

/// Early deaths in a row, with none ever ready, after which the start is given up: about six
/// seconds.
const HOPELESS: u32 = 7;

/// How long a forked worker may take until it takes requests.
const FORKED_START: Duration = Duration::from_secs(30);

/// The same for one that imports the app first.
const IMPORTING_START: Duration = Duration::from_secs(300);

/// Serves until told to stop.
///
/// # Errors
/// When the app cannot be imported at the first start, when no worker ever becomes ready, or when
/// the system refuses what the supervisor needs.
pub fn run(
    plan: Plan,
    listeners: Vec<(OwnedFd, String)>,
    hooks: Hooks<'_>,
) -> Result<Ended, Fault> {
    let refused = |error: io::Error| Fault::internal(format!("the system refused: {error}"));
    // Workers are forked by the zygote, whose child ends at once: as subreaper this process
    // becomes their parent and learns how they end.
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(|error| refused(error.into()))?;
    let signals = Signals::new().map_err(refused)?;
    name_process(&plan.name);
    Supervisor::new(plan, listeners, hooks, signals).run()
}

/// The kernel cuts names at 15 bytes.
fn name_process(name: &str) {
    if let Ok(name) = CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

struct Supervisor<'a> {
    hooks: Hooks<'a>,
    name: String,
    listeners: Vec<(OwnedFd, String)>,
    graceful_timeout: Duration,
    /// None only in the front's process, on its way to its own code.
    signals: Option<Signals>,
    terminals: Terminals,
    front: Option<Front>,
    front_backoff: Backoff,
    /// What is kept for the front until the worker exists.
    halves: HashMap<WorkerId, (Half, Option<Pid>)>,
    launcher: Launcher,
    workers: WorkerSet,
    phase: Phase,
    /// A reason to give up.
    fault: Option<Fault>,
    watch: Option<Watch>,
    /// A source file has changed; act when this time has come.
    changed: Option<(Instant, PathBuf)>,
    notify: Option<Notify>,
    /// READY=1 is to be said when a worker with so many reloads before it takes requests.
    announce: Option<u32>,
    /// Code is being read of which no worker takes requests yet.
    loading: Option<Loading>,
}

/// What the loop waits for.
enum Source {
    Signals,
    Front,
    Python,
    Watch,
}

impl<'a> Supervisor<'a> {
    fn new(
        plan: Plan,
        listeners: Vec<(OwnedFd, String)>,
        hooks: Hooks<'a>,
        signals: Signals,
    ) -> Self {
        let limits = Limits {
            start: if plan.preload == Preload::Off {
                IMPORTING_START
            } else {
                FORKED_START
            },
            finish: plan.graceful_timeout,
        };
        Self {
            hooks,
            name: plan.name,
            listeners,
            graceful_timeout: plan.graceful_timeout,
            signals: Some(signals),
            terminals: Terminals::of_this_process(),
            front: None,
            front_backoff: Backoff::default(),
            halves: HashMap::new(),
            launcher: Launcher::new(plan.python, plan.preload),
            workers: WorkerSet::new(plan.workers, limits),
            phase: Phase::Serving,
            fault: None,
            watch: plan.reload.map(|(roots, files)| Watch::new(roots, &files)),
            changed: None,
            notify: plan.notify,
            announce: Some(0),
            loading: None,
        }
    }

    fn run(mut self) -> Result<Ended, Fault> {
        self.start_front();
        self.start_python();
        loop {
            self.act();
            if let Some(ended) = self.finished() {
                return ended;
            }
            for source in self.wait()? {
                match source {
                    Source::Signals => self.hear_signals(),
                    Source::Front => self.hear_front(),
                    Source::Python => self.hear_python(),
                    Source::Watch => self.hear_watch(),
                }
            }
        }
    }

    /// Whatever is due by the clock.
    fn act(&mut self) {
        let now = Instant::now();
        let orders = self.workers.tick(now);
        self.perform(orders);
        if self.phase == Phase::Serving {
            if self.front.is_none() && self.front_backoff.is_over(now) {
                self.start_front();
            }
            self.restart_zygote(now);
            self.give_up_when_hopeless();
            if let Some((_, file)) = self.changed.take_if(|(due, _)| *due <= now) {
                canter_base::info!(
                    "source changed, reloading",
                    file = &file.display().to_string()
                );
                self.reload();
            }
            self.ask_front(now);
            self.tell_of_loading(now);
        }
        self.end_when_due(now);
    }

    /// Waits for the next event or deadline.
    fn wait(&mut self) -> Result<Vec<Source>, Fault> {
        let mut sources = Vec::new();
        let mut fds = Vec::new();
        let mut add = |source: Source, fd| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        };
        for process in self.launcher.processes() {
            add(Source::Python, process.as_fd());
        }
        if let Some(front) = &self.front
            && !front.deaf
        {
            add(Source::Front, front.link.as_fd());
        }
        if let Some(fd) = self.watch.as_ref().and_then(Watch::as_fd) {
            add(Source::Watch, fd);
        }
        if let Some(signals) = &self.signals {
            add(Source::Signals, signals.as_fd());
        }
        let timeout = self.next_deadline().map(|at| {
            // Rounded up, so that the deadline has passed when the wait ends.
            let wait = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec::try_from(wait).unwrap_or(Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            })
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Fault::internal(format!("cannot wait: {error}"))),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        let mut ready = ready.into_iter();
        sources.retain(|_| ready.next().unwrap_or(false));
        if self
            .watch
            .as_ref()
            .is_some_and(|watch| watch.as_fd().is_none())
        {
            sources.push(Source::Watch);
        }
        Ok(sources)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let polled = self.watch.as_ref().filter(|watch| watch.as_fd().is_none());
        let serving = [
            self.front_backoff.until().filter(|_| self.front.is_none()),
            self.launcher.next_deadline(),
            self.changed.as_ref().map(|(due, _)| *due),
            self.front.as_ref().and_then(Front::next_question),
            polled.map(|_| Instant::now() + watch::INTERVAL),
            self.loading.as_ref().map(Loading::due),
        ];
        let serving = serving.into_iter().flatten();
        let serving = serving.filter(|_| self.phase == Phase::Serving);
        serving
            .chain(self.workers.next_deadline())
            .chain(self.phase.until())
            .min()
    }

    fn hear_watch(&mut self) {
        if let Some(file) = self.watch.as_mut().and_then(Watch::changed) {
            self.changed = Some((Instant::now() + watch::QUIET, file));
        }
    }

    /// No worker ever became ready, again and again.
    fn give_up_when_hopeless(&mut self) {
        let hopeless = !self.workers.was_ever_ready() && self.workers.failures() >= HOPELESS;
        if hopeless && self.watch.is_none() {
            self.give_up(
                Fault::new(
                    Exit::CrashLoop,
                    "every worker died before it could take a request",
                )
                .hint("the lines above say how they ended"),
            );
        }
    }

    fn tell_manager(&self, word: Word) {
        if let Some(notify) = &self.notify {
            notify.say(word);
        }
    }
}
