//! Owns the Python processes that are no workers yet: the zygote that forks, its successor while
//! it imports, and single workers while they import the app for themselves.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use canter_base::options::Preload;
use canter_base::{Exit, Fault, debug, error, info, warn};
use canter_sys::process::Pid;
use rustix::process::{Signal, kill_process};

use super::backoff::Backoff;
use super::exit_status::ExitStatus;
use super::life::{Event, Limits};
use super::loading::Loading;
use super::notify::Word;
use super::spawn::Half;
use super::watch::Watch;
use super::zygote::{Heard, Loaded, Process, Python, Report};
use super::{FORKED_START, IMPORTING_START, Supervisor};
use crate::link::{ToFront, WorkerId};

/// How workers come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The zygote forks them.
    Fork,
    /// Each imports the app.
    Single,
}

/// Why a zygote was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    First,
    /// The one before has died.
    Again,
    /// Its workers replace all others.
    Reload,
}

/// A zygote that imports the app.
struct Candidate {
    process: Process,
    purpose: Purpose,
    /// Its socket has ended; how, is known when it is reaped.
    closed: bool,
}

pub(super) struct Launcher {
    python: Python,
    preload: Preload,
    way: Way,
    /// Forks workers.
    zygote: Option<Process>,
    /// Imports the app; becomes the zygote when that works.
    candidate: Option<Candidate>,
    backoff: Backoff,
    /// Workers that import the app.
    singles: HashMap<WorkerId, Process>,
    /// Zygotes that were killed and are not reaped yet.
    killed: Vec<Pid>,
    /// The zygote whose socket has ended by itself; why, is known when it is reaped.
    lost: Option<Pid>,
    /// Told when a worker died that it could not import the app.
    failed: Vec<WorkerId>,
    loaded: Option<Loaded>,
    /// The first import has failed, and no other has begun.
    is_broken: bool,
}

impl Launcher {
    /// Whether each worker reads the app's code for itself, by choice.
    pub fn reads_code_for_each(&self) -> bool {
        self.preload == Preload::Off
    }

    pub fn new(python: Python, preload: Preload) -> Self {
        Self {
            python,
            preload,
            way: if preload == Preload::Off {
                Way::Single
            } else {
                Way::Fork
            },
            zygote: None,
            candidate: None,
            backoff: Backoff::default(),
            singles: HashMap::new(),
            killed: Vec::new(),
            lost: None,
            failed: Vec::new(),
            loaded: None,
            is_broken: false,
        }
    }

    /// Whether the app cannot be imported, and nobody tries.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.as_ref()
    }

    /// Every process with something to say.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let candidate = self.candidate.iter().filter(|candidate| !candidate.closed);
        let candidate = candidate.map(|candidate| &candidate.process);
        self.zygote
            .iter()
            .chain(candidate)
            .chain(self.singles.values())
    }

    /// Lets go of the sockets without ending anybody: this process is becoming the front.
    pub fn forget(&mut self) {
        self.zygote = None;
        self.candidate = None;
        self.singles.clear();
    }

    pub fn has_zygotes(&self) -> bool {
        self.zygote.is_some() || self.candidate.is_some() || !self.killed.is_empty()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.backoff.until().filter(|_| self.candidate.is_none())
    }

    /// The process number is known at once when it is not forked by the zygote.
    pub fn start_worker(&mut self, worker: WorkerId, half: &Half) -> io::Result<Option<Pid>> {
        match (&self.zygote, self.way) {
            (Some(zygote), Way::Fork) => zygote.fork(worker, half).map(|()| None),
            (None, Way::Fork) => Err(io::Error::other("the zygote has gone")),
            (_, Way::Single) => {
                let process = Process::single(&self.python, worker, half)?;
                let pid = process.pid;
                self.singles.insert(worker, process);
                Ok(Some(pid))
            }
        }
    }

    /// A process that imports the app.
    pub fn importing(&self) -> Option<Pid> {
        let candidate = self.candidate.as_ref().map(|it| it.process.pid);
        candidate.or_else(|| self.singles.values().next().map(|it| it.pid))
    }

    pub fn worker_ready(&mut self, worker: WorkerId) {
        self.singles.remove(&worker);
    }

    /// Whether the reason for its end was logged already.
    pub fn worker_ended(&mut self, worker: WorkerId) -> bool {
        self.singles.remove(&worker);
        let before = self.failed.len();
        self.failed.retain(|failed| *failed != worker);
        self.failed.len() < before
    }

    /// A zygote has no state worth keeping, and may be deep in an import.
    pub fn end_zygotes(&mut self) {
        let candidate = self.candidate.take().map(|candidate| candidate.process);
        for process in self.zygote.take().into_iter().chain(candidate) {
            self.end(&process);
        }
    }

    fn end(&mut self, process: &Process) {
        let _ = kill_process(process.pid, Signal::KILL);
        self.killed.push(process.pid);
    }

    /// It has not forked a worker in all the time a start may take. Its end is heard as any other.
    pub fn end_hung_zygote(&self) {
        if let Some(zygote) = &self.zygote {
            warn!(
                "the zygote does not answer: ending it",
                pid = zygote.pid.as_raw_nonzero().get()
            );
            let _ = kill_process(zygote.pid, Signal::KILL);
        }
    }

    fn end_candidate(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            self.end(&candidate.process);
        }
    }
}

impl Supervisor<'_> {
    pub(super) fn start_python(&mut self) {
        self.loading = Some(Loading::new(Instant::now()));
        match self.launcher.way {
            Way::Fork => self.start_zygote(Purpose::First),
            Way::Single => self.workers.open(),
        }
    }

    fn start_zygote(&mut self, purpose: Purpose) {
        match Process::zygote(&self.launcher.python) {
            Ok(process) => {
                let pid = process.pid.as_raw_nonzero().get();
                debug!("zygote started", pid = pid);
                self.launcher.candidate = Some(Candidate {
                    process,
                    purpose,
                    closed: false,
                });
            }
            Err(error) => self.import_failed(
                purpose,
                format!("cannot start Python: {error}"),
                Some("name an interpreter with `--python`".to_owned()),
            ),
        }
    }

    /// The zygote has died and its successor is due.
    pub(super) fn restart_zygote(&mut self, now: Instant) {
        let missing = self.launcher.way == Way::Fork
            && self.launcher.zygote.is_none()
            && self.launcher.candidate.is_none();
        // Before the first import works there is nothing to keep up; a change of the source starts
        // the next attempt.
        if missing && self.launcher.loaded.is_some() && self.launcher.backoff.is_over(now) {
            self.start_zygote(Purpose::Again);
        }
    }

    /// Reads the code again; workers with the old one stay until new ones take requests.
    pub(super) fn reload(&mut self) {
        if self.phase.is_ending() {
            return;
        }
        self.tell_manager(Word::Reloading);
        let purpose = if self.launcher.loaded.is_some() {
            Purpose::Reload
        } else {
            Purpose::First
        };
        // The first code that can be read replaces none.
        let is_read_for_each = self.launcher.reads_code_for_each();
        let replaces = is_read_for_each || purpose == Purpose::Reload;
        self.announce = Some(self.workers.reloads() + u32::from(replaces));
        self.loading = Some(Loading::new(Instant::now()));
        self.launcher.end_candidate();
        self.set_broken(false);
        if is_read_for_each {
            self.workers.renew();
        } else {
            self.start_zygote(purpose);
        }
    }

    /// Takes every word that has come from Python.
    pub(super) fn hear_python(&mut self) {
        self.hear_zygote();
        self.hear_candidate();
        for worker in self.launcher.singles.keys().copied().collect::<Vec<_>>() {
            self.hear_single(worker);
        }
    }

    fn hear_zygote(&mut self) {
        while let Some(zygote) = &self.launcher.zygote {
            let now = Instant::now();
            let orders = match zygote.hear() {
                Heard::Nothing => return,
                Heard::Report(Report::Forked { worker, pid }) => {
                    self.workers.handle(worker, Event::Forked(pid), now)
                }
                Heard::Report(Report::NotForked { worker, what }) => {
                    error!("cannot fork a worker", worker = worker.0, reason = &what);
                    self.halves.remove(&worker);
                    self.workers.handle(worker, Event::NotForked, now)
                }
                Heard::Report(Report::Watch(roots)) => {
                    self.watch_more(roots);
                    Vec::new()
                }
                Heard::End
                | Heard::Report(Report::Loaded(_) | Report::Files(_) | Report::Failed { .. }) => {
                    self.lose_zygote(now);
                    Vec::new()
                }
            };
            self.perform(orders);
        }
    }

    /// Workers that it was asked for will not come.
    fn lose_zygote(&mut self, now: Instant) {
        let Some(zygote) = self.launcher.zygote.take() else {
            return;
        };
        self.launcher.end(&zygote);
        self.launcher.lost = Some(zygote.pid);
        self.launcher.backoff.failed(now);
        self.workers.close();
        self.settle_asked(now);
    }

    /// Workers that a zygote was asked for and that will not come from it.
    fn settle_asked(&mut self, now: Instant) {
        let asked: Vec<WorkerId> = self
            .halves
            .iter()
            .filter_map(|(worker, (_, pid))| pid.is_none().then_some(*worker))
            .collect();
        for worker in asked {
            debug!(
                "the zygote that was asked for a worker has gone",
                worker = worker.0
            );
            self.halves.remove(&worker);
            let orders = self.workers.handle(worker, Event::NotForked, now);
            self.perform(orders);
        }
    }

    fn hear_candidate(&mut self) {
        while let Some(candidate) = self.launcher.candidate.as_mut().filter(|c| !c.closed) {
            let purpose = candidate.purpose;
            match candidate.process.hear() {
                Heard::Nothing => return,
                Heard::Report(Report::Watch(roots)) => self.watch_more(roots),
                Heard::Report(Report::Loaded(loaded)) => {
                    match self.newly_broken(purpose, &loaded) {
                        Some(what) => {
                            self.launcher.end_candidate();
                            self.import_failed(purpose, what, None);
                        }
                        None => self.promote(loaded),
                    }
                }
                Heard::Report(Report::Failed { what, hint }) => {
                    self.launcher.end_candidate();
                    self.import_failed(purpose, what, hint);
                }
                Heard::End
                | Heard::Report(
                    Report::Files(_) | Report::Forked { .. } | Report::NotForked { .. },
                ) => {
                    candidate.closed = true;
                }
            }
        }
    }

    /// What is broken in new code that was not so in the code that runs, which would go on better. Where each
    /// worker imports for itself, what is missing may be what those that run still hold, such as a port.
    fn newly_broken(&self, purpose: Purpose, loaded: &Loaded) -> Option<String> {
        let ran_well = |known: &Loaded| known.broken.is_none();
        let is_better = self.launcher.loaded.as_ref().is_some_and(ran_well);
        (purpose != Purpose::First && is_better && loaded.danger.is_none())
            .then(|| loaded.broken.clone())
            .flatten()
    }

    /// The import has worked.
    fn promote(&mut self, loaded: Loaded) {
        // What the old zygote has forked counts.
        self.hear_zygote();
        let Some(candidate) = self.launcher.candidate.take() else {
            return;
        };
        let (process, purpose) = (candidate.process, candidate.purpose);
        if let Some(old) = self.launcher.zygote.take() {
            self.launcher.end(&old);
            // Or they would be waited for in vain, and this one be taken for hung.
            self.workers.close();
            self.settle_asked(Instant::now());
        }
        self.launcher.backoff.succeeded();
        let start = match (&loaded.danger, self.launcher.preload) {
            (Some(danger), Preload::Auto) => {
                warn!(
                    "each worker imports the app by itself, because forking is not safe here; \
                     `--no-preload` says so from the start and saves this line",
                    found = danger
                );
                self.launcher.end(&process);
                self.launcher.way = Way::Single;
                IMPORTING_START
            }
            (danger, _) => {
                if let Some(danger) = danger {
                    warn!(
                        "workers are forked although that is not safe here (--preload)",
                        found = danger
                    );
                }
                self.launcher.zygote = Some(process);
                self.launcher.way = Way::Fork;
                FORKED_START
            }
        };
        self.workers.set_limits(Limits {
            start,
            finish: self.graceful_timeout,
        });
        if purpose == Purpose::Reload {
            info!("the code was read again", took_ms = loaded.took_ms);
            self.workers.renew();
        }
        self.was_loaded(loaded);
        if !self.phase.is_ending() {
            self.workers.open();
        }
    }

    fn was_loaded(&mut self, loaded: Loaded) {
        // A worker that imports for itself tries again by itself.
        self.set_broken(false);
        self.tell_files(&loaded.files);
        if self.launcher.loaded.is_none() {
            (self.hooks.loaded)(&loaded);
        }
        self.launcher.loaded = Some(loaded);
    }

    /// Whether requests would wait in vain for the app: the front is told of each change.
    fn set_broken(&mut self, is_broken: bool) {
        if std::mem::replace(&mut self.launcher.is_broken, is_broken) != is_broken {
            self.tell_front(&ToFront::Import {
                has_failed: is_broken,
            });
        }
    }

    fn import_failed(&mut self, purpose: Purpose, what: String, hint: Option<String>) {
        if purpose != Purpose::Again {
            self.loading = None;
        }
        if purpose == Purpose::First && self.watch.is_none() {
            let mut fault = Fault::new(Exit::App, what);
            fault.hint = hint;
            self.give_up(fault);
            return;
        }
        let reason = hint.map_or_else(|| what.clone(), |hint| format!("{what}; {hint}"));
        match purpose {
            Purpose::First => {
                error!(
                    "the app cannot be imported; waiting for a change of its source",
                    reason = &reason
                );
                self.set_broken(true);
            }
            Purpose::Again => {
                self.launcher.backoff.failed(Instant::now());
                error!("the app cannot be imported", reason = &reason);
            }
            Purpose::Reload => {
                self.announce = None;
                self.tell_manager(Word::Ready);
                error!(
                    "the new code cannot be imported; the old workers stay",
                    reason = &reason
                );
            }
        }
    }

    fn hear_single(&mut self, worker: WorkerId) {
        while let Some(process) = self.launcher.singles.get(&worker) {
            match process.hear() {
                Heard::Nothing => return,
                Heard::Report(Report::Watch(roots)) => self.watch_more(roots),
                Heard::Report(Report::Loaded(loaded)) => {
                    self.launcher.singles.remove(&worker);
                    match self.launcher.loaded.take() {
                        None => self.was_loaded(loaded),
                        Some(known) => {
                            if known.files != loaded.files {
                                self.tell_files(&loaded.files);
                            }
                            self.launcher.loaded = Some(loaded);
                        }
                    }
                }
                Heard::Report(Report::Failed { what, hint }) => {
                    self.launcher.singles.remove(&worker);
                    self.launcher.failed.push(worker);
                    let purpose = if self.launcher.loaded.is_some() {
                        Purpose::Reload
                    } else {
                        Purpose::First
                    };
                    self.import_failed(purpose, what, hint);
                }
                Heard::End
                | Heard::Report(
                    Report::Files(_) | Report::Forked { .. } | Report::NotForked { .. },
                ) => {
                    self.launcher.singles.remove(&worker);
                }
            }
        }
    }

    /// A long import looks from outside like a server that does nothing.
    pub(super) fn tell_of_loading(&mut self, now: Instant) {
        let Some(after) = self.loading.as_mut().and_then(|it| it.take_due(now)) else {
            return;
        };
        let seconds = after.as_secs();
        let doing = self.launcher.importing().map_or_else(
            || "its workers are being started".to_owned(),
            |pid| format!("process {} imports it", pid.as_raw_nonzero()),
        );
        if self.workers.was_ever_ready() {
            warn!(
                "the new code is still being loaded: the old workers go on",
                seconds = seconds,
                now = &doing
            );
        } else {
            warn!(
                "the app is still being loaded: requests wait for it",
                seconds = seconds,
                now = &doing
            );
        }
    }

    fn watch_more(&mut self, roots: Vec<std::path::PathBuf>) {
        if let Some(watch) = &mut self.watch {
            Watch::add(watch, roots);
        }
    }

    /// Whether the process that was reaped was a zygote.
    pub(super) fn zygote_ended(&mut self, pid: Pid, status: ExitStatus) -> bool {
        if self
            .launcher
            .zygote
            .as_ref()
            .is_some_and(|zygote| zygote.pid == pid)
        {
            self.lose_zygote(Instant::now());
        }
        if self.launcher.lost.take_if(|lost| *lost == pid).is_some() {
            warn!(
                "the zygote died: workers go on, the app is imported again for later ones",
                pid = pid.as_raw_nonzero().get(),
                reason = &status.to_string()
            );
        }
        if let Some(at) = self
            .launcher
            .killed
            .iter()
            .position(|killed| *killed == pid)
        {
            self.launcher.killed.swap_remove(at);
            return true;
        }
        if let Some(candidate) = self.launcher.candidate.take_if(|c| c.process.pid == pid) {
            let what = format!("Python ended while it imported the app: {status}");
            self.import_failed(candidate.purpose, what, None);
            return true;
        }
        false
    }
}
