//! Owns the two ends of one worker's channel, as the front and the worker hold them.
//! Leaves the rings, slots and bells they are made of to their modules.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use canter_sys::memory::Mapping;

use crate::bell;
use crate::layout::{Direction, LAYOUT, SHARED_BYTES, Shared};
use crate::ring::{Broken, Consumer, Full, Kind, Producer, RecordHead};
use crate::slots::{SlotId, Slots};

/// Makes the shared memory of one worker; its descriptor is for the worker's side.
///
/// # Errors
/// The system's own when it refuses the memory.
pub fn create() -> io::Result<(OwnedFd, FrontEnd)> {
    let (fd, mapping) = Mapping::create("canter-channel", SHARED_BYTES)?;
    let shared = Shared::new(mapping);
    shared.header().layout.0.store(LAYOUT, Ordering::Release);
    Ok((fd, FrontEnd::new(shared)))
}

/// Maps what [`create`] of the same build has made.
fn open(fd: impl AsFd) -> io::Result<Shared> {
    let shared = Shared::new(Mapping::open(fd, SHARED_BYTES).map_err(of_this_build)?);
    if shared.header().layout.0.load(Ordering::Acquire) != LAYOUT {
        return Err(of_this_build(io::ErrorKind::InvalidData.into()));
    }
    Ok(shared)
}

/// The front's end: pushes requests, takes answers.
pub struct FrontEnd {
    requests: Producer,
    answers: Consumer,
    slots: Slots,
    shared: Shared,
    offered: u32,
    /// Bytes taken out of the ring of answers since a worker was last told of room.
    room: usize,
}

/// Room made before a worker that waits for it is told, while answers are taken out one after the
/// other: looking whether one waits costs a fence.
const ROOM: usize = 64 * 1024;

impl FrontEnd {
    fn new(shared: Shared) -> Self {
        Self {
            requests: Producer::new(shared.clone(), Direction::Requests),
            answers: Consumer::new(shared.clone(), Direction::Answers),
            slots: Slots(shared.clone()),
            shared,
            offered: 0,
            room: 0,
        }
    }

    /// Maps the memory made by [`create`] in the process that hands it on.
    ///
    /// # Errors
    /// `InvalidData` when `fd` is something else.
    pub fn open(fd: impl AsFd) -> io::Result<Self> {
        Ok(Self::new(open(fd)?))
    }

    /// Offers a request: its slot must be free. The worker is not woken before
    /// [`FrontEnd::wake_worker`], which is called once per turn of the event loop.
    ///
    /// # Errors
    /// [`Full`] when the ring has no room; nothing has changed then.
    pub fn offer(&mut self, slot: SlotId, number: u64, message: &[u8]) -> Result<(), Full> {
        // Before the push: the worker may start the request the moment it is published.
        self.slots.offer(slot);
        let head = RecordHead {
            kind: Kind::Request,
            last: true,
            slot,
            number,
        };
        if let Err(full) = self.requests.push(head, &[message]) {
            self.slots.free(slot);
            return Err(full);
        }
        self.offered = self.offered.wrapping_add(1);
        let offered = &self.shared.header().offered.0;
        offered.store(self.offered, Ordering::Release);
        Ok(())
    }

    /// Takes an offered request back. True means that the worker will not run it; its slot is
    /// free again once the worker has come past the record ([`FrontEnd::is_free`]).
    pub fn reclaim(&self, slot: SlotId) -> bool {
        self.slots.reclaim(slot)
    }

    /// Requests pushed that the worker has not taken out of the ring yet.
    pub fn untaken(&self) -> u32 {
        let taken = self.shared.header().taken.0.load(Ordering::Acquire);
        self.offered.wrapping_sub(taken)
    }

    /// Asks to be woken once no more than `left` offered requests remain untaken.
    pub fn wake_when_untaken(&self, left: u32) {
        let at = self.offered.wrapping_sub(left);
        // Odd values only: zero means that nobody asked.
        self.shared
            .header()
            .wake_at
            .0
            .store(at | 1, Ordering::Release);
    }

    /// Wakes a thread of the worker if one sleeps at the ring.
    pub fn wake_worker(&self) {
        let bell = &self.shared.header().worker_bell.0;
        if bell::take(bell) {
            bell::wake(bell);
        }
    }

    /// Copies the next answer's payload to `out`.
    ///
    /// # Errors
    /// [`Broken`] when the worker wrote something impossible: it must be ended.
    pub fn take(&mut self, out: &mut Vec<u8>) -> Result<Option<RecordHead>, Broken> {
        let taken = self.answers.take(out)?;
        self.room += if taken.is_some() { out.len().max(1) } else { 0 };
        if self.room >= ROOM || (taken.is_none() && self.room > 0) {
            self.room = 0;
            let bell = &self.shared.header().room_bell.0;
            if bell::take(bell) {
                bell::wake(bell);
            }
        }
        Ok(taken)
    }

    /// Says that the front is about to sleep in its event loop. True means that an answer has
    /// come meanwhile: do not sleep.
    pub fn about_to_sleep(&self) -> bool {
        bell::raise(&self.shared.header().front_bell.0);
        !self.answers.is_empty()
    }

    /// Says that the front is awake, so that answers need not wake it.
    pub fn awake(&self) {
        bell::lower(&self.shared.header().front_bell.0);
    }

    /// Whether an answer waits.
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Whether the worker has begun the request in this slot.
    pub fn has_started(&self, slot: SlotId) -> bool {
        self.slots.has_started(slot)
    }

    /// Whether the slot can carry a new request.
    pub fn is_free(&self, slot: SlotId) -> bool {
        self.slots.is_free(slot)
    }

    /// The last record of the slot's answer has been taken.
    pub fn free(&self, slot: SlotId) {
        self.slots.free(slot);
    }

    /// Nobody reads this answer any more; the worker may stop producing it.
    pub fn cancel(&self, slot: SlotId) {
        self.slots.cancel(slot);
    }

    /// Asks the worker to pause producing this answer, or to go on. Records already in the ring
    /// still come, so a pause overshoots by at most the ring.
    pub fn set_hold(&self, slot: SlotId, hold: bool) {
        self.slots.set_hold(slot, hold);
    }

    /// Whether a request message of this length can be offered now.
    pub fn has_room(&mut self, len: usize) -> bool {
        self.requests.has_room(len)
    }

    /// Whether a thread of the worker sleeps at the ring: it has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.shared.header().worker_bell.0.load(Ordering::Acquire) == 1
    }

    /// When a request was started, and how long its thread had waited for the interpreter's lock;
    /// see [`crate::trace::now_us`].
    pub fn stamps(&self, slot: SlotId) -> (u32, u32) {
        self.slots.stamps(slot)
    }

    /// How much CPU time a request took whose answer is whole, in microseconds, where the worker has said so. It
    /// may say anything.
    pub fn computed(&self, slot: SlotId) -> Option<u32> {
        self.slots.computed(slot)
    }

    /// The kernel's number of the thread that runs the slot's request.
    pub fn thread(&self, slot: SlotId) -> u32 {
        self.slots.thread(slot)
    }
}

/// Whether an answer must wake the front if it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waking {
    /// At once.
    Now,
    /// With the next one that does, at the latest when the ring of requests is empty.
    Later,
}

/// The worker's end, split so that one thread can read the ring while others answer.
pub struct WorkerEnd {
    /// Takes requests. One thread at a time.
    pub requests: Requests,
    /// Gives answers. One thread at a time.
    pub answers: Answers,
    /// Looks at slots and bells. Any thread.
    pub watch: Watch,
}

impl WorkerEnd {
    /// Maps the memory made by [`create`]; `eventfd` wakes the front.
    ///
    /// # Errors
    /// `InvalidData` when `fd` is something else.
    pub fn open(fd: impl AsFd, eventfd: OwnedFd) -> io::Result<Self> {
        let shared = open(fd)?;
        Ok(Self {
            requests: Requests {
                ring: Consumer::new(shared.clone(), Direction::Requests),
                taken: shared.header().taken.0.load(Ordering::Relaxed),
                shared: shared.clone(),
            },
            answers: Answers {
                ring: Producer::new(shared.clone(), Direction::Answers),
            },
            watch: Watch {
                slots: Slots(shared.clone()),
                shared,
                eventfd,
            },
        })
    }
}

/// The reading half of the worker's end.
pub struct Requests {
    ring: Consumer,
    shared: Shared,
    taken: u32,
}

impl Requests {
    /// Gives the next request's record to `read` and counts it as taken.
    ///
    /// # Errors
    /// [`Broken`] when the front wrote something impossible, which is a bug.
    pub fn take<T>(
        &mut self,
        read: impl FnOnce(RecordHead, &[u8]) -> T,
    ) -> Result<Option<T>, Broken> {
        let result = self.ring.take_in_place(read)?;
        if result.is_some() {
            // Nobody else counts.
            self.taken = self.taken.wrapping_add(1);
            self.shared
                .header()
                .taken
                .0
                .store(self.taken, Ordering::Release);
        }
        Ok(result)
    }

    /// Whether no request waits in the ring.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Sleeps until a request comes, or `limit` has passed, or for no reason. Does not sleep when
    /// one waits already.
    pub fn sleep(&self, limit: Option<Duration>) {
        let bell = &self.shared.header().worker_bell.0;
        bell::raise(bell);
        if self.ring.is_empty() {
            bell::sleep(bell, limit);
        }
        bell::lower(bell);
    }
}

/// The writing half of the worker's end.
pub struct Answers {
    ring: Producer,
}

impl Answers {
    /// Pushes one record of an answer.
    ///
    /// # Errors
    /// [`Full`] when there is no room now: [`Watch::wait_for_room`], without any lock held.
    pub fn push(&mut self, head: RecordHead, parts: &[&[u8]]) -> Result<(), Full> {
        self.ring.push(head, parts)
    }

    /// Whether the front has taken everything that was pushed.
    pub fn are_taken(&self) -> bool {
        self.ring.is_taken()
    }
}

/// What any thread of the worker may look at.
pub struct Watch {
    slots: Slots,
    shared: Shared,
    eventfd: OwnedFd,
}

impl Watch {
    /// When it is started, as in [`crate::trace::now_us`]. None means that the front has taken the
    /// request back: skip it.
    pub fn start(&self, slot: SlotId, thread: u32, waited_us: u32) -> Option<u32> {
        self.slots.start(slot, thread, waited_us)
    }

    /// How much CPU time the request took since this was last said, in microseconds; before the last record of its
    /// answer.
    pub fn note_computed(&self, slot: SlotId, us: u32) {
        self.slots.note_computed(slot, us);
    }

    /// Whether the front has lost interest in the rest of the answer.
    pub fn is_cancelled(&self, slot: SlotId) -> bool {
        self.slots.is_cancelled(slot)
    }

    /// Whether the front wants no more of this answer for now; the first record is not held.
    pub fn is_held(&self, slot: SlotId) -> bool {
        self.slots.is_held(slot)
    }

    /// Waits while the answer is held, at most `limit`; hold no lock meanwhile.
    pub fn wait_while_held(&self, slot: SlotId, limit: Duration) {
        self.slots.wait_while_held(slot, limit);
    }

    /// Whether requests wait in the ring, seen from a thread that does not stand at it.
    pub fn has_requests(&self) -> bool {
        let requests = &self.shared.header().requests;
        requests.head.0.load(Ordering::Acquire) != requests.tail.0.load(Ordering::Acquire)
    }

    /// Bytes that the requests in the ring take up.
    pub fn bytes_waiting(&self) -> u64 {
        let requests = &self.shared.header().requests;
        let tail = requests.tail.0.load(Ordering::Acquire);
        let head = requests.head.0.load(Ordering::Acquire);
        head.wrapping_sub(tail)
    }

    /// Requests taken so far, wrapping: moves when work begins.
    pub fn taken(&self) -> u32 {
        self.shared.header().taken.0.load(Ordering::Acquire)
    }

    /// Requests in the ring that nobody has taken out yet.
    pub fn untaken(&self) -> u32 {
        let offered = self.shared.header().offered.0.load(Ordering::Acquire);
        offered.wrapping_sub(self.taken())
    }

    /// Whether the front asked to be woken at this point because it has more requests to give.
    pub fn front_wants_waking(&self) -> bool {
        let wake_at = &self.shared.header().wake_at.0;
        let at = wake_at.load(Ordering::Acquire);
        // Reached when `taken` has come to `at`; half the range counts as past.
        at != 0
            && self.taken().wrapping_sub(at & !1) < u32::MAX / 2
            && wake_at.swap(0, Ordering::AcqRel) != 0
    }

    /// Wakes the front if it sleeps.
    pub fn wake_front(&self) {
        if bell::take(&self.shared.header().front_bell.0) {
            bell::wake_eventfd(self.eventfd.as_fd());
        }
    }

    /// Ends the sleep of the thread at the ring, if one sleeps there.
    pub fn wake_reader(&self) {
        let worker_bell = &self.shared.header().worker_bell.0;
        if bell::take(worker_bell) {
            bell::wake(worker_bell);
        }
    }

    /// Waits until the front has made room in the ring of answers, or `limit` has passed.
    pub fn wait_for_room(&self, limit: Duration) {
        let room_bell = &self.shared.header().room_bell.0;
        bell::raise(room_bell);
        self.wake_front();
        bell::sleep(room_bell, Some(limit));
        bell::lower(room_bell);
    }
}

/// Memory of another size or layout is what a worker meets whose package was replaced under a running
/// server.
fn of_this_build(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::InvalidData {
        return error;
    }
    io::Error::new(
        io::ErrorKind::InvalidData,
        "front and worker are of different builds of Canter: install canter again, then stop it \
         and start it anew",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_of_another_build_is_told_what_to_do() {
        let (memory, _mapping) = Mapping::create("other", SHARED_BYTES + 4096).unwrap();
        let eventfd = memory.try_clone().unwrap();
        let error = WorkerEnd::open(&memory, eventfd).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(
            error.to_string().contains("install canter again"),
            "{error}"
        );
    }

    #[test]
    fn memory_of_the_same_size_and_another_layout_is_refused_by_both_sides() {
        let (memory, front) = create().unwrap();
        assert!(FrontEnd::open(&memory).is_ok());
        let layout = &front.shared.header().layout.0;
        layout.store(LAYOUT + 1, Ordering::Release);
        let eventfd = memory.try_clone().unwrap();
        let worker = WorkerEnd::open(&memory, eventfd).err().unwrap();
        for error in [worker, FrontEnd::open(&memory).err().unwrap()] {
            assert!(error.to_string().contains("different builds"), "{error}");
        }
    }
}
