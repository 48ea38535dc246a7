//! Owns the worker's main thread: it waits for words from the front, signals and the end of
//! threads, without the interpreter.
//! Leaves requests to `thread_pool`, the need for threads to `thread_demand`, stacks to `dump`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use canter_channel::{Control, Event};
use canter_sys::{fds, process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, getppid};

use crate::dump::Dump;
use crate::failure;
use crate::one_cpu::OneCpu;
use crate::profile;
use crate::thread_demand::{DemandWindow, Shed};
use crate::thread_pool::ThreadPool;
use crate::worker::Worker;

/// While draining: how often sleepers are woken again, for one may have missed the first call.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// For threads to end when everybody else has.
const AFTER_ALL: Duration = Duration::from_millis(200);

/// Ended because threads did not within the bound.
const EXIT_STUCK: i32 = 4;

const SIGTERM: i32 = 15;
const SIGINT: i32 = 2;
const SIGHUP: i32 = 1;

/// SIGTERM as bytes in a pipe. A handler and not a mask, which programs started by the app would
/// inherit. SIGINT and SIGHUP get a handler that does nothing: Ctrl-C and the end of a terminal reach
/// the whole group, and it is the supervisor who decides what follows; an ignored signal would be
/// inherited, a handled one is not.
pub(crate) struct Signals {
    pipe: OwnedFd,
    ids: Vec<signal_hook::SigId>,
}

impl Signals {
    pub fn install() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let term = signal_hook::low_level::pipe::register(SIGTERM, write)?;
        let ignore = Arc::new(AtomicBool::new(false));
        let int = signal_hook::flag::register(SIGINT, Arc::clone(&ignore))?;
        let hup = signal_hook::flag::register(SIGHUP, ignore)?;
        Ok(Self {
            pipe: read,
            ids: vec![term, int, hup],
        })
    }

    fn came(&self) -> bool {
        let mut bytes = [0; 64];
        rustix::io::read(&self.pipe, &mut bytes).is_ok_and(|len| len > 0)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// What the main thread keeps in mind.
pub(crate) struct Guard<'w> {
    worker: &'w Arc<Worker>,
    signals: Signals,
    demand: Option<DemandWindow>,
    shed: Shed,
    one_cpu: OneCpu,
    dumps: Vec<Dump>,
    /// The supervisor.
    parent: Option<Pid>,
    /// Set when the front has gone.
    end_by: Option<Instant>,
}

impl<'w> Guard<'w> {
    pub fn new(worker: &'w Arc<Worker>, signals: Signals) -> Self {
        Self {
            worker,
            signals,
            demand: None,
            shed: Shed::new(),
            one_cpu: OneCpu::new(worker.has_lock),
            dumps: Vec::new(),
            parent: getppid(),
            end_by: None,
        }
    }

    /// Runs until the worker is drained. Does not return when threads are stuck for good.
    pub fn run(mut self) {
        ThreadPool::begin(self.worker);
        while !self.is_done() {
            let [control, signal, bell] = self.wait();
            if bell {
                self.worker.clear_guard_bell();
            }
            if signal && self.signals.came() {
                self.worker.tell(&Event::Leaving);
            }
            if control && self.end_by.is_none() {
                self.hear();
            }
            self.step();
        }
    }

    fn is_done(&mut self) -> bool {
        let worker = self.worker;
        if self.end_by.is_some_and(|end_by| Instant::now() >= end_by) {
            failure::log_text("requests did not end after the front had gone; leaving them");
            process::exit_now(EXIT_STUCK);
        }
        if !worker.is_draining() || worker.thread_pool.alive() > 0 || worker.profiling.is_on() {
            return false;
        }
        if worker.watch.has_requests() && !worker.front_has_gone() && !worker.is_broken() {
            // Offered between the last look of the last thread and now.
            ThreadPool::wake_or_spawn(worker, 1);
            return false;
        }
        true
    }

    /// Waits for the front, a signal or the threads, no longer than the next thing to do.
    fn wait(&self) -> [bool; 3] {
        let worker = self.worker;
        let draining = worker.is_draining().then_some(DRAIN_TICK);
        let window = self.demand.as_ref().map(DemandWindow::left);
        let dump = self.dumps.iter().filter_map(Dump::left).min();
        let look = self.one_cpu.left();
        let limit = [draining, window, dump, look].into_iter().flatten().min();
        let nothing = PollFlags::empty();
        let control = if self.end_by.is_some() {
            nothing
        } else {
            PollFlags::IN
        };
        let mut fds = [
            PollFd::new(&self.signals.pipe, PollFlags::IN),
            PollFd::new(&worker.guard_bell, PollFlags::IN),
            PollFd::new(&worker.control, control),
        ];
        // A closed control socket is ready for ever; it is left out once it was seen.
        let watched = if self.end_by.is_some() { 2 } else { 3 };
        if poll_some(&mut fds[..watched], limit).is_err() {
            return [false; 3];
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        [ready(&fds[2]), ready(&fds[0]), ready(&fds[1])]
    }

    fn hear(&mut self) {
        let mut bytes = [0; 64];
        let control = match fds::receive(&self.worker.control, &mut bytes) {
            Ok((len, _)) if len > 0 => Control::read(bytes.get(..len).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => return self.front_has_gone(),
        };
        match control {
            Ok(Control::CheckThreads) => {
                self.worker.outbox.flush(&self.worker.watch);
                if self.demand.is_none() {
                    self.demand = Some(DemandWindow::begin(self.worker));
                }
            }
            Ok(Control::Drain) => self.worker.drain(),
            Ok(Control::Dump { slot, number }) => {
                self.dumps.push(Dump::begin(self.worker, slot, number));
            }
            Ok(Control::Profile(order)) => profile::begin(self.worker, order),
            Ok(Control::Threads(most)) => self.worker.thread_pool.set_most(most.into()),
            Ok(Control::Place(place)) => self.one_cpu.set_place(place),
            Err(malformed) => failure::log_text(&format!("a word from the front: {malformed}")),
        }
    }

    /// Nobody reads answers any more, but a request may be within a transaction.
    fn front_has_gone(&mut self) {
        // With the supervisor gone, too, nobody else ends this process; and if the front has told
        // it to end before, the time for what runs is over.
        let is_over = self.worker.is_draining() && getppid() != self.parent;
        let limit = if is_over {
            AFTER_ALL
        } else {
            self.worker.orphan_limit
        };
        self.end_by = Some(Instant::now() + limit);
        self.worker.lose_front();
    }

    /// Does what has become due.
    fn step(&mut self) {
        let worker = self.worker;
        if self
            .demand
            .as_ref()
            .is_some_and(|window| window.left().is_zero())
        {
            let shed = &mut self.shed;
            self.demand = self
                .demand
                .take()
                .and_then(|window| window.end(worker, shed));
        }
        self.one_cpu.step(worker);
        for dump in &self.dumps {
            if dump.left().is_some_and(|left| left.is_zero()) {
                dump.give_up_waiting(worker);
            }
        }
        self.dumps.retain(|dump| dump.left().is_some());
        if worker.is_draining() {
            worker.watch.wake_reader();
            worker.thread_pool.wake_all();
        }
    }
}

/// Waits until `fd` can be read. False means that the time is over.
pub(crate) fn wait_readable(fd: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let fd: BorrowedFd<'_> = fd.as_fd();
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll_some(&mut fds, Some(limit))?;
    Ok(!fds[0].revents().is_empty())
}

fn poll_some(fds: &mut [PollFd<'_>], limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    });
    match poll(fds, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
