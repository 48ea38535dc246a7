//! Owns the tasks that keep the dispatch going inside a tokio runtime of one thread.
//! Leaves every decision to the other parts of the dispatch.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use canter_channel::{Control, Event, FrontEnd};

use super::clock::SWEEP;
use super::worker::{Standing, Worker};
use super::{Dispatch, Inner, Notice, Reason, WorkerId};
use crate::socket::{Alarm, MessageSocket};

/// The descriptors of a new worker, as the supervisor passes them on.
pub struct Adopted {
    /// How often the app had been loaded when it was started.
    pub release: u32,
    /// The shared memory.
    pub memory: OwnedFd,
    /// Written by the worker to wake the front.
    pub eventfd: OwnedFd,
    /// The front's end of the control socket.
    pub control: OwnedFd,
    /// The front's end of the files socket.
    pub files: OwnedFd,
}

thread_local! {
    /// For [`before_sleep`], which the runtime calls without arguments.
    static CURRENT: RefCell<Option<Rc<RefCell<Inner>>>> = const { RefCell::new(None) };
}

/// To be called each time the runtime is about to sleep (`on_thread_park`): brings answers home
/// and wakes workers that were given requests, once per turn of the loop.
pub fn before_sleep() {
    CURRENT.with_borrow(|current| {
        if let Some(inner) = current
            && let Ok(mut inner) = inner.try_borrow_mut()
        {
            inner.turn();
        }
    });
}

impl Inner {
    fn turn(&mut self) {
        loop {
            for worker in &mut self.workers {
                if worker.pushed > 0 {
                    worker.pushed = 0;
                    worker.end.wake_worker();
                }
            }
            if self.drain() {
                // Askers are awake now: the runtime runs them instead of sleeping.
                if self.workers.iter().any(|worker| worker.pushed > 0) {
                    continue;
                }
                return;
            }
            let mut came = false;
            for worker in self.workers.iter().filter(|worker| !worker.broken) {
                came |= worker.end.about_to_sleep();
            }
            if !came {
                return;
            }
        }
    }
}

impl Dispatch {
    /// Starts the ticker and the sweep. Call once, inside a local runtime.
    pub fn start(&self) {
        CURRENT.set(Some(Rc::clone(&self.0)));
        tokio::task::spawn_local(tick(Rc::clone(&self.0)));
        tokio::task::spawn_local(sweep(Rc::clone(&self.0)));
    }

    /// Takes a new worker on; it gets requests once it has said that it is ready.
    ///
    /// # Errors
    /// When a descriptor is not what it should be, or the runtime refuses it.
    pub fn adopt(&self, id: WorkerId, adopted: Adopted) -> io::Result<()> {
        let end = FrontEnd::open(&adopted.memory)?;
        let flags = rustix::fs::fcntl_getfl(&adopted.files)?;
        rustix::fs::fcntl_setfl(&adopted.files, flags | rustix::fs::OFlags::NONBLOCK)?;
        let alarm = Alarm::new(adopted.eventfd)?;
        let mut worker = Worker::new(id, adopted.release, end, adopted.control, adopted.files);
        let control = MessageSocket::new(worker.control()?)?;
        let mut inner = self.0.borrow_mut();
        inner.tell_threads(&worker);
        worker.place = inner.free_place();
        let place = inner.first_place.wrapping_add(worker.place);
        worker.say(Control::Place(place));
        inner.workers.push(worker);
        drop(inner);
        tokio::task::spawn_local(listen(Rc::clone(&self.0), id, control, alarm));
        Ok(())
    }

    /// The process of a worker has ended. Its socket need not have: a process that it forked may
    /// hold that.
    pub fn ended(&self, id: WorkerId) {
        self.0.borrow_mut().worker_ended(id);
    }
}

/// Hears what one worker says, until its end.
async fn listen(inner: Rc<RefCell<Inner>>, id: WorkerId, control: MessageSocket, alarm: Alarm) {
    let mut buf = vec![0; 64 * 1024];
    while let Ok((len, _)) = control.receive(&mut buf).await
        && len > 0
    {
        let event = buf.get(..len).map(Event::read);
        let mut inner = inner.borrow_mut();
        match event {
            Some(Ok(event)) => inner.heard(id, event),
            _ => inner.replace(id, Reason::Broken),
        }
    }
    drop(alarm);
    inner.borrow_mut().worker_ended(id);
}

impl Inner {
    /// The least place that no worker has which is to stay.
    fn free_place(&self) -> u16 {
        let stays =
            |worker: &&Worker| worker.standing != Standing::Draining && worker.replacing.is_none();
        let is_free = |place: &u16| {
            let mut staying = self.workers.iter().filter(stays);
            staying.all(|worker| worker.place != *place)
        };
        (0..u16::MAX).find(is_free).unwrap_or_default()
    }

    fn heard(&mut self, id: WorkerId, event: Event) {
        match event {
            Event::Ready => {
                if let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id)
                    && worker.standing == Standing::Loading
                {
                    worker.standing = Standing::Open;
                    self.opens(Instant::now());
                    (self.notices)(Notice::Ready(id));
                    self.pump();
                }
            }
            Event::Stack { number, sample } => self.stack_came(id, number, sample, Instant::now()),
            Event::Profile { number, last, text } => (self.notices)(Notice::Profile {
                worker: id,
                number,
                last,
                text,
            }),
            Event::Leaving => self.replace(id, Reason::Leaving),
        }
    }
}

async fn tick(inner: Rc<RefCell<Inner>>) {
    loop {
        std::future::poll_fn(|cx| inner.borrow_mut().clock.poll_started(cx)).await;
        loop {
            let interval = inner.borrow().clock.interval();
            tokio::time::sleep(interval).await;
            if !inner.borrow_mut().tick() {
                break;
            }
        }
    }
}

async fn sweep(inner: Rc<RefCell<Inner>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let mut inner = inner.borrow_mut();
        inner.drain();
        inner.sweep(Instant::now());
    }
}
