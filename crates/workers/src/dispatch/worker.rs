//! Owns one worker as the front sees it: its channel, its slots, and what it has been given.
//! Leaves which request goes where to the dispatch.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use canter_channel::{Broken, Control, FrontEnd, Kind, RecordHead, SlotId};
use canter_sys::fds;

use super::{Key, Reason, WorkerId};

/// What a worker says about itself and what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its app is still loading.
    Loading,
    /// It takes requests.
    Open,
    /// It finishes what it has and takes nothing new.
    Draining,
}

/// Offered requests, beside those in flight, that are kept before those that have begun are swept.
const UNSWEPT: usize = 32;

/// A request that was offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub key: Key,
    slot: SlotId,
    /// Of all in the worker's life: keys and slots are used again.
    count: u64,
}

/// One worker.
pub(super) struct Worker {
    pub id: WorkerId,
    /// How often the app had been loaded when it was started.
    pub release: u32,
    /// As in [`Control::Place`], from 0 on.
    pub place: u16,
    pub standing: Standing,
    pub end: FrontEnd,
    control: OwnedFd,
    files: OwnedFd,
    /// Which request each slot in use carries; short while traffic is light.
    slots: Vec<Option<Offer>>,
    free: Vec<SlotId>,
    /// Taken back by the front; free once the worker has come past their records.
    reclaimed: VecDeque<SlotId>,
    /// Offered requests, oldest first, that may not have started; started ones are swept lazily.
    pub offered: VecDeque<Offer>,
    /// Requests in its slots, offered and started.
    pub in_flight: u32,
    /// Requests whose deadline passed while they ran and that have not ended since.
    pub stuck: u32,
    /// Requests offered in its life.
    pub served: u64,
    /// Why it was asked for that it be replaced, if it was.
    pub replacing: Option<Reason>,
    /// Its ring of answers holds something impossible: it is not read any more.
    pub broken: bool,
    /// Requests pushed since it was last woken.
    pub pushed: u32,
    pub stalled_ticks: u32,
    /// Requests have waited in its ring for a while without any being taken.
    pub stands_still: bool,
    /// How many requests it had taken when it was last seen to take one, and when that was.
    taken: (u64, Instant),
}

impl Worker {
    /// Whether fewer than `depth` records lie in its ring. Those of requests that were taken back lie
    /// there, too, until it has come past them: one that stands still shall not be given more and more.
    pub fn has_room(&self, depth: u32) -> bool {
        // Never fewer than there are; the exact number is the worker's to say, on another core.
        let most = self.in_flight as usize + self.reclaimed.len();
        most < depth as usize || self.end.untaken() < depth
    }

    pub fn new(
        id: WorkerId,
        release: u32,
        end: FrontEnd,
        control: OwnedFd,
        files: OwnedFd,
    ) -> Self {
        Self {
            id,
            release,
            place: 0,
            standing: Standing::Loading,
            end,
            control,
            files,
            slots: Vec::new(),
            free: Vec::new(),
            reclaimed: VecDeque::new(),
            offered: VecDeque::new(),
            in_flight: 0,
            stuck: 0,
            served: 0,
            replacing: None,
            broken: false,
            pushed: 0,
            stalled_ticks: 0,
            stands_still: false,
            taken: (0, Instant::now()),
        }
    }

    /// Offers a request with its body's file; None when the channel has no room for it now.
    pub fn offer(
        &mut self,
        key: Key,
        number: u64,
        message: &[u8],
        file: Option<&OwnedFd>,
    ) -> Option<SlotId> {
        if !self.end.has_room(message.len()) {
            return None;
        }
        let slot = self.take_slot()?;
        if let Some(file) = file {
            // Before the record, so that it is there when the record is taken.
            if fds::send(&self.files, b"b", &[file.as_fd()]).is_err() {
                self.free.push(slot);
                return None;
            }
        }
        if self.end.offer(slot, number, message).is_err() {
            debug_assert!(false, "there was room a moment ago and nobody else pushes");
            self.free.push(slot);
            return None;
        }
        let offer = Offer {
            key,
            slot,
            count: self.served,
        };
        if let Some(row) = self.slots.get_mut(slot.index()) {
            *row = Some(offer);
        }
        self.in_flight += 1;
        // A busy ring never runs empty, and what has begun would be kept for ever.
        if self.offered.len() > 2 * (self.in_flight as usize + UNSWEPT) {
            while let Some(&first) = self.offered.front()
                && !self.has_unstarted(first)
            {
                self.offered.pop_front();
            }
        }
        self.offered.push_back(offer);
        self.served += 1;
        self.pushed += 1;
        Some(slot)
    }

    /// How long requests have waited in the ring without any being taken.
    pub fn untaken_for(&mut self, now: Instant) -> Duration {
        let untaken = self.end.untaken();
        let taken = self.served.wrapping_sub(u64::from(untaken));
        if untaken == 0 || taken != self.taken.0 {
            self.taken = (taken, now);
        }
        now.saturating_duration_since(self.taken.1)
    }

    /// Whether any of its requests has begun.
    pub fn runs_anything(&self) -> bool {
        self.unstarted() < self.in_flight as usize
    }

    /// The thread that runs the request in this slot; None when it has begun another since, whose
    /// answer or end the front has not seen yet.
    pub fn thread_of(&self, slot: SlotId) -> Option<u32> {
        let thread = self.end.thread(slot);
        let others = SlotId::all().zip(&self.slots);
        let mut others = others.filter(|(other, row)| *other != slot && row.is_some());
        let is_elsewhere = others
            .any(|(other, _)| self.end.has_started(other) && self.end.thread(other) == thread);
        (thread != 0 && !is_elsewhere).then_some(thread)
    }

    /// The request of a slot, once it has begun.
    pub fn started_at(&self, slot: SlotId) -> Option<Key> {
        self.key_at(slot).filter(|_| self.end.has_started(slot))
    }

    /// The requests that this thread has begun.
    pub fn run_by(&self, thread: u32) -> impl Iterator<Item = Key> {
        let slots = SlotId::all().zip(&self.slots);
        slots.filter_map(move |(slot, row)| {
            let is_its = self.end.has_started(slot) && self.end.thread(slot) == thread;
            row.filter(|_| is_its).map(|offer| offer.key)
        })
    }

    /// Whether the request is in its slot still and has not begun.
    pub fn has_unstarted(&self, offer: Offer) -> bool {
        let row = self.slots.get(offer.slot.index()).copied().flatten();
        row.is_some_and(|row| row.count == offer.count) && !self.end.has_started(offer.slot)
    }

    /// Requests offered to it that have not begun.
    pub fn unstarted(&self) -> usize {
        let slots = SlotId::all().zip(&self.slots);
        slots
            .filter(|(slot, row)| row.is_some() && !self.end.has_started(*slot))
            .count()
    }

    fn take_slot(&mut self) -> Option<SlotId> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        if let Some(&slot) = self.reclaimed.front()
            && self.end.is_free(slot)
        {
            self.reclaimed.pop_front();
            return Some(slot);
        }
        let slot = SlotId::all().nth(self.slots.len())?;
        self.slots.push(None);
        Some(slot)
    }

    /// Takes an offered request back; false when it has started.
    pub fn reclaim(&mut self, slot: SlotId) -> bool {
        if !self.end.reclaim(slot) {
            return false;
        }
        self.clear(slot);
        self.reclaimed.push_back(slot);
        true
    }

    /// The answer in this slot is complete.
    pub fn finish(&mut self, slot: SlotId) {
        self.end.free(slot);
        self.clear(slot);
        self.free.push(slot);
    }

    fn clear(&mut self, slot: SlotId) {
        if let Some(row) = self.slots.get_mut(slot.index())
            && row.take().is_some()
        {
            self.in_flight -= 1;
        }
    }

    /// The request that a record from the worker speaks of.
    pub fn key_at(&self, slot: SlotId) -> Option<Key> {
        let offer = self.slots.get(slot.index()).copied().flatten();
        offer.map(|offer| offer.key)
    }

    /// Every request it still has, with its slot.
    pub fn take_all(&mut self) -> Vec<(SlotId, Key)> {
        let all = SlotId::all().zip(&mut self.slots);
        let all = all
            .filter_map(|(slot, row)| row.take().map(|offer| (slot, offer.key)))
            .collect();
        self.in_flight = 0;
        self.offered.clear();
        all
    }

    /// Copies the next record to `out`; for a `File` record also its descriptor.
    pub fn take(
        &mut self,
        out: &mut Vec<u8>,
    ) -> Result<Option<(RecordHead, Option<OwnedFd>)>, Broken> {
        let Some(head) = self.end.take(out)? else {
            return Ok(None);
        };
        if head.kind != Kind::File {
            return Ok(Some((head, None)));
        }
        let mut byte = [0; 8];
        let received = fds::receive(&self.files, &mut byte).ok();
        let file = received.and_then(|(_, mut fds)| fds.pop());
        match file {
            Some(file) => Ok(Some((head, Some(file)))),
            None => Err(Broken("a file record without its file")),
        }
    }

    /// Sends a word; a worker that does not read them is about to be found dead or stuck.
    pub fn say(&self, control: Control) {
        let _ = fds::send(&self.control, &control.to_bytes(), &[]);
    }

    /// Another handle of the control socket, for the task that listens to it.
    pub fn control(&self) -> io::Result<OwnedFd> {
        self.control.try_clone()
    }
}
