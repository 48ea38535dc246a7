//! Owns starting the front, the words to and from it, and what follows from its end.
//! Runs in the supervisor, except for the lines after the fork.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use canter_base::{Exit, Fault, debug, error, info, warn};
use canter_sys::fds;
use canter_sys::process::{Forked, Pid, exit_now, fork};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Signal, kill_process};

use super::exit_status::ExitStatus;
use super::heartbeat::{Beat, Heartbeat};
use super::life::Event;
use super::notify::Word;
use super::worker_set::Order;
use super::{FrontStart, HOPELESS, Supervisor, name_process};
use crate::link::{MOST_WORD, Reason, ToFront, ToSupervisor};

/// A front that lives no longer than this has not worked.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// The front's process.
pub(super) struct Front {
    pub pid: Pid,
    pub link: OwnedFd,
    started: Instant,
    /// None until it listens.
    heartbeat: Option<Heartbeat>,
    /// Its link has ended; its process is about to.
    pub deaf: bool,
}

impl Front {
    /// When it is to be asked whether it still turns.
    pub fn next_question(&self) -> Option<Instant> {
        let heartbeat = self.heartbeat.as_ref().filter(|_| !self.deaf)?;
        Some(heartbeat.due())
    }

    /// It is of no use any more; the rest follows when it is reaped.
    fn end(&mut self) {
        self.deaf = true;
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

impl Supervisor<'_> {
    pub(super) fn start_front(&mut self) {
        match self.fork_front() {
            Ok(front) => {
                debug!("front started", pid = front.pid.as_raw_nonzero().get());
                self.front = Some(front);
                if let Some(loaded) = self.launcher.loaded() {
                    let files = loaded.files.clone();
                    self.tell_files(&files);
                }
                if self.launcher.is_broken() {
                    self.tell_front(&ToFront::Import { has_failed: true });
                }
                self.hand_over_kept();
            }
            Err(error) => {
                error!("cannot start the front", reason = &error.to_string());
                self.front_backoff.failed(Instant::now());
            }
        }
    }

    fn fork_front(&mut self) -> io::Result<Front> {
        let (link, theirs) = fds::pair()?;
        let flags = rustix::fs::fcntl_getfl(&link)?;
        rustix::fs::fcntl_setfl(&link, flags | rustix::fs::OFlags::NONBLOCK)?;
        match fork()? {
            Forked::Parent(pid) => Ok(Front {
                pid,
                link,
                started: Instant::now(),
                heartbeat: None,
                deaf: false,
            }),
            Forked::Child => {
                drop(link);
                self.become_front(theirs)
            }
        }
    }

    /// Everything of the supervisor's is let go, or the end of a worker's or the zygote's socket
    /// would go unnoticed while the front holds a copy.
    fn become_front(&mut self, link: OwnedFd) -> ! {
        self.signals = None;
        self.halves.clear();
        self.launcher.forget();
        self.watch = None;
        self.notify = None;
        name_process(&format!("{}-front", self.name));
        let start = FrontStart {
            listeners: std::mem::take(&mut self.listeners),
            link,
        };
        // The supervisor's stack is below: nothing may unwind or return into it.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.hooks.front)(start)));
        exit_now(i32::from(Exit::Internal.code()));
    }

    /// Says a word; a front that does not take it is ended, and replaced when it is reaped.
    pub(super) fn tell_front(&mut self, word: &ToFront) {
        self.send_front(word, &[]);
    }

    pub(super) fn send_front(&mut self, word: &ToFront, given: &[std::os::fd::BorrowedFd<'_>]) {
        let Some(front) = self.front.as_mut().filter(|front| !front.deaf) else {
            return;
        };
        if let Err(error) = fds::send(&front.link, &word.to_bytes(), given) {
            if error.kind() == io::ErrorKind::WouldBlock {
                warn!("the front does not listen: ending it");
            }
            front.end();
        }
    }

    /// Passes on what the app's settings say of its files; too much for one word.
    pub(super) fn tell_files(&mut self, text: &str) {
        let written = memfd_create("files", MemfdFlags::CLOEXEC)
            .map_err(io::Error::from)
            .and_then(|fd| {
                let mut file = File::from(fd);
                file.write_all(text.as_bytes())?;
                Ok(file)
            });
        match written {
            Ok(file) => self.send_front(&ToFront::Files, &[file.as_fd()]),
            Err(error) => error!(
                "the front cannot be told of static files",
                reason = &error.to_string()
            ),
        }
    }

    /// Takes every word that has come.
    pub(super) fn hear_front(&mut self) {
        let mut buf = [0; MOST_WORD];
        while let Some(front) = self.front.as_mut().filter(|front| !front.deaf) {
            match fds::receive(front.link.as_fd(), &mut buf) {
                Ok((0, _)) => front.deaf = true,
                Ok((length, _)) => {
                    if let Some(Ok(word)) = buf.get(..length).map(ToSupervisor::read) {
                        self.heard_front(word);
                    } else {
                        warn!("the front said something impossible: ending it");
                        front.end();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => front.deaf = true,
            }
        }
    }

    fn heard_front(&mut self, word: ToSupervisor) {
        let now = Instant::now();
        let orders = match word {
            ToSupervisor::Ready { worker } => self.workers.handle(worker, Event::Ready, now),
            ToSupervisor::Gone { worker } => self.workers.handle(worker, Event::Settled, now),
            // A service manager's SIGTERM reaches workers, too: they ask to end as everything does.
            ToSupervisor::Replace {
                reason: Reason::Leaving,
                ..
            } if self.phase.is_ending() => {
                return;
            }
            ToSupervisor::Replace { worker, reason } => self.workers.replace(worker, reason, now),
            ToSupervisor::Scale { .. } if self.phase.is_ending() => return,
            ToSupervisor::Scale { workers, fresh } => self.scale(workers, fresh, now),
            ToSupervisor::Listening => {
                if let Some(front) = &mut self.front {
                    let watchdog = self.notify.as_ref().and_then(|notify| notify.watchdog);
                    front.heartbeat = Some(Heartbeat::new(watchdog, now));
                }
                return;
            }
            ToSupervisor::Pong => {
                if let Some(heartbeat) = self
                    .front
                    .as_mut()
                    .and_then(|front| front.heartbeat.as_mut())
                {
                    heartbeat.answered();
                }
                self.feed_watchdog();
                return;
            }
            ToSupervisor::Drained => {
                debug!("front drained");
                return;
            }
        };
        self.perform(orders);
    }

    /// Somebody with the right to do so has changed the number of workers, or wants new ones.
    fn scale(&mut self, workers: u32, fresh: bool, now: Instant) -> Vec<Order> {
        if let Some(workers) = usize::try_from(workers).ok().filter(|workers| *workers > 0) {
            self.workers.set_wanted(workers);
            info!("number of workers changed", workers = workers);
        }
        if fresh {
            // Without a zygote each worker reads the code anew.
            if self.launcher.reads_code_for_each() {
                self.workers.renew();
            } else {
                self.workers.refresh();
            }
        }
        self.workers.tick(now)
    }

    /// The front was reaped.
    pub(super) fn front_ended(&mut self, status: ExitStatus) {
        let Some(front) = self.front.take() else {
            return;
        };
        let now = Instant::now();
        self.halves.retain(|_, (_, pid)| pid.is_none());
        if self.phase.is_ending() {
            self.front_has_drained(now);
            return;
        }
        error!(
            "the front died: starting another, connections in progress are lost",
            pid = front.pid.as_raw_nonzero().get(),
            reason = &status.to_string(),
        );
        if now.saturating_duration_since(front.started) < SHORT_LIFE {
            self.front_backoff.failed(now);
        } else {
            self.front_backoff.succeeded();
        }
        if front.heartbeat.is_none() && self.front_backoff.failures() >= HOPELESS {
            self.give_up(Fault::internal("the front dies as soon as it is started"));
            return;
        }
        let orders = self.workers.handle_all(Event::FrontLost, now);
        self.perform(orders);
        info!("workers without a front finish what they have");
    }

    /// The service manager's watchdog is fed while the front answers.
    fn feed_watchdog(&self) {
        if let Some(notify) = self.notify.as_ref().filter(|it| it.watchdog.is_some()) {
            notify.say(Word::Watchdog);
        }
    }

    /// Asks the front whether it still turns; ends one that hangs, for a process that accepts
    /// connections and answers none is worse than none.
    pub(super) fn ask_front(&mut self, now: Instant) {
        let Some(front) = self.front.as_mut().filter(|front| !front.deaf) else {
            return;
        };
        let Some(heartbeat) = &mut front.heartbeat else {
            return;
        };
        match heartbeat.beat(now) {
            Beat::Idle => return,
            Beat::Ping => {}
            Beat::Late => warn!("the front has not answered for a while"),
            Beat::Hung => {
                error!("the front hangs: ending it");
                front.end();
                return;
            }
        }
        self.tell_front(&ToFront::Ping);
    }
}
