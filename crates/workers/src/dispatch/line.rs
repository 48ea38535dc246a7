//! Owns the order in which requests wait: those that are urgent first, then classes of cost in turn
//! (`canter_shield::cost`), each kind as it came; and who gives way to whom.
//! Leaves what a request is, and who may wait, to `mod`.
//!
//! It may hold keys whose entry has left; those count for nothing, are skipped by whoever takes them, and
//! are swept when there are many.

use std::collections::VecDeque;
use std::time::Instant;

use canter_channel::call::{Answer, Failure};
use canter_shield::cost::{CLASSES, Class, Turns};

use super::{DEPTH, Entry, Inner, Key, SHALLOW, WorkerId};
use crate::dispatch::Place;
use crate::dispatch::worker::{Offer, Standing, Worker};

/// Requests after which what was given to workers counts as begun.
const RECENT: u64 = 2048;

/// After so many others have overtaken a request at its worker, it stays there: what never ends to come must
/// not keep it from its thread for ever.
const MOST_OVERTAKEN: u8 = 16;

/// Keys whose entry has left are swept when they are more than those that wait, and than this.
const SWEPT: usize = 64;

/// A request, and the number that tells it from the next user of its entry.
type Waiting = (Key, u64);

/// What goes ahead of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// Of everything else.
    Urgent,
    /// With others of about the same cost.
    Of(Class),
}

/// The queue.
#[derive(Default)]
pub(super) struct Line {
    urgent: Kind,
    others: [Kind; CLASSES],
    turns: Turns,
    /// How many wait, of all.
    live: usize,
}

/// Those of one rank.
#[derive(Default)]
struct Kind {
    keys: VecDeque<Waiting>,
    /// How many of them wait still.
    live: usize,
}

impl Line {
    fn of(&mut self, rank: Rank) -> &mut Kind {
        let Rank::Of(class) = rank else {
            return &mut self.urgent;
        };
        match self.others.get_mut(class.index()) {
            Some(others) => others,
            // There is a place for each class.
            None => &mut self.urgent,
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.live
    }

    pub fn push(&mut self, waiting: Waiting, rank: Rank) {
        if let Rank::Of(class) = rank
            && self.waiting(class) == 0
        {
            self.turns.begins(class);
        }
        self.live += 1;
        let kind = self.of(rank);
        kind.keys.push_back(waiting);
        kind.live += 1;
    }

    /// Back to the head of its kind: it was given out and taken back.
    pub fn put_back(&mut self, waiting: Waiting, rank: Rank) {
        if let Rank::Of(class) = rank
            && self.waiting(class) == 0
        {
            self.turns.begins(class);
        }
        self.live += 1;
        let kind = self.of(rank);
        kind.keys.push_front(waiting);
        kind.live += 1;
    }

    pub fn first(&self) -> Option<(Waiting, Rank)> {
        if self.urgent.live > 0 {
            return Some((*self.urgent.keys.front()?, Rank::Urgent));
        }
        let class = self.turns.next(|class| self.waiting(class) > 0)?;
        let first = self.others.get(class.index())?.keys.front()?;
        Some((*first, Rank::Of(class)))
    }

    pub fn drop_first(&mut self, rank: Rank) {
        self.of(rank).keys.pop_front();
    }

    /// One of these waits no more: given out, refused, or gone. Its key is taken out by whoever has it, or
    /// left to be passed over; true when so many of those are left that [`Line::sweep`] is due.
    pub fn left(&mut self, rank: Rank) -> bool {
        self.live -= 1;
        let kind = self.of(rank);
        kind.live -= 1;
        kind.keys.len() > 2 * kind.live + SWEPT
    }

    /// Forgets the keys of these that do not wait.
    pub fn sweep(&mut self, rank: Rank, waits: impl FnMut(&Waiting) -> bool) {
        self.of(rank).keys.retain(waits);
    }

    /// The keys it holds, of those that have left too.
    #[cfg(test)]
    pub fn keys(&self) -> usize {
        let others = self.others.iter().map(|kind| kind.keys.len());
        self.urgent.keys.len() + others.sum::<usize>()
    }

    /// One of these was given out while others wait.
    pub fn served(&mut self, rank: Rank) {
        if let Rank::Of(class) = rank {
            self.turns.served(class);
        }
    }

    /// How many go before one more of these.
    pub fn before(&self, rank: Rank) -> usize {
        match rank {
            Rank::Urgent => self.urgent.live,
            Rank::Of(class) => {
                self.urgent.live + self.turns.before(class, |other| self.waiting(other))
            }
        }
    }

    /// Whether one more of these would be the first.
    fn goes_first(&mut self, rank: Rank) -> bool {
        let Rank::Of(class) = rank else {
            return self.urgent.live == 0;
        };
        if self.urgent.live > 0 || self.waiting(class) > 0 {
            return false;
        }
        self.turns.begins(class);
        let next = |other| other == class || self.waiting(other) > 0;
        self.turns.next(next) == Some(class)
    }

    /// Whether what waits is dearer, some of it.
    fn has_dearer(&self, class: Class) -> bool {
        let mut dearer = Class::all().filter(|other| *other > class);
        dearer.any(|other| self.waiting(other) > 0)
    }

    fn waiting(&self, class: Class) -> usize {
        self.others.get(class.index()).map_or(0, |kind| kind.live)
    }

    /// The newest of the dearest that gives way to these.
    fn last_behind(&mut self, rank: Rank) -> Option<(Waiting, Rank)> {
        let gives_way = |class: &Class| match rank {
            Rank::Urgent => true,
            Rank::Of(cheaper) => *class > cheaper,
        };
        let mut dearest = Class::all().rev().filter(gives_way);
        dearest.find_map(|class| {
            let last = self.others.get_mut(class.index())?.keys.pop_back()?;
            Some((last, Rank::Of(class)))
        })
    }
}

impl Inner {
    /// Whether anybody waits who is to go before one more of these.
    pub(super) fn is_behind(&mut self, rank: Rank) -> bool {
        match rank {
            Rank::Urgent => self.line.before(rank) > 0,
            Rank::Of(_) => self.line.len() > 0 && !self.line.goes_first(rank),
        }
    }

    /// Whether one of these goes ahead of what is dearer and waits, here or at workers.
    pub(super) fn is_amid_dearer(&self, rank: Rank) -> bool {
        let Rank::Of(class) = rank else { return false };
        self.has_given_dearer(class) || (self.line.len() > 0 && self.line.has_dearer(class))
    }

    fn has_given_dearer(&self, class: Class) -> bool {
        let dearest = self.dearest_given;
        dearest.is_some_and(|(number, dear)| dear.is_far_above(class) && self.is_recent(number))
    }

    fn is_recent(&self, number: u64) -> bool {
        self.next_number - number < RECENT
    }

    /// Notes that it was given to a worker.
    pub(super) fn has_given(&mut self, number: u64, rank: Rank) {
        if self.line.len() > 0 {
            self.line.served(rank);
        }
        let Rank::Of(class) = rank else { return };
        let dearest = self.dearest_given;
        let dearest = dearest.filter(|(number, _)| self.is_recent(*number));
        if class > Class::default() && dearest.is_none_or(|(_, dearest)| class >= dearest) {
            self.dearest_given = Some((number, class));
        }
    }

    pub(super) fn depth(&self) -> u32 {
        if self.settings.has_priorities {
            SHALLOW
        } else {
            DEPTH
        }
    }

    /// How many may lie in a worker's ring for one more of these to be given.
    pub(super) fn depth_for(&self, rank: Rank) -> u32 {
        match rank {
            Rank::Urgent => DEPTH,
            // What was taken back to let it pass lies there still.
            Rank::Of(_) if self.is_amid_dearer(rank) => 2 * self.depth(),
            Rank::Of(_) => self.depth(),
        }
    }

    /// Takes what is dearer than these, and not begun, back from the workers, that one of these need not
    /// wait behind it whoever gets it; true when there was any.
    pub(super) fn overtake(&mut self, rank: Rank) -> bool {
        let Rank::Of(class) = rank else { return false };
        if !self.has_given_dearer(class) {
            return false;
        }
        let is_dearer = |entry: &Entry| {
            entry.overtaken < MOST_OVERTAKEN
                && matches!(entry.rank, Rank::Of(other) if other.is_far_above(class))
        };
        let mut back = Vec::new();
        for worker in &mut self.workers {
            if worker.standing != Standing::Open || worker.end.untaken() == 0 {
                continue;
            }
            let mut kept = VecDeque::new();
            for offer in std::mem::take(&mut worker.offered) {
                if !worker.has_unstarted(offer) {
                    continue;
                }
                match self.entries.get(offer.key) {
                    Some(entry) if is_dearer(entry) && take_from(worker, entry) => {
                        back.push(offer.key);
                    }
                    _ => kept.push_back(offer),
                }
            }
            worker.offered = kept;
        }
        for &key in &back {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.overtaken += 1;
            }
        }
        let any = !back.is_empty();
        self.return_to_line(back);
        any
    }

    /// Refuses the newest of the dearest requests that give way to one of these, to make room for it;
    /// false when none waits.
    pub(super) fn refuse_one(&mut self, rank: Rank) -> bool {
        while let Some(((key, number), rank)) = self.line.last_behind(rank) {
            // Its entry may have left, and be another's now.
            let is_this = |entry: &Entry| entry.number == number;
            if !self.entries.get(key).is_some_and(is_this) {
                continue;
            }
            let entry = self.entries.remove(key);
            self.leaves_line(rank);
            if let Some(mailbox) = &entry.mailbox {
                let failure = self.reason(Failure::QueueFull, Instant::now());
                mailbox.borrow_mut().deliver(Answer::Failed(failure));
            }
            return true;
        }
        false
    }

    /// Gives others up to `most` requests that this worker has been offered and has not begun, the
    /// oldest first.
    pub(super) fn take_back(&mut self, id: WorkerId, most: usize) {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) else {
            return;
        };
        let mut back = Vec::new();
        while back.len() < most
            && let Some(Offer { key, .. }) = worker.offered.pop_front()
        {
            if let Some(entry) = self.entries.get(key)
                && take_from(worker, entry)
            {
                back.push(key);
            }
        }
        if !back.is_empty() {
            self.put_back(back);
        }
    }

    /// Puts requests that had been given out back to the head of the queue, in order of arrival.
    pub(super) fn put_back(&mut self, keys: Vec<Key>) {
        self.return_to_line(keys);
        self.pump();
    }

    /// One that waited in the line waits there no more.
    pub(super) fn leaves_line(&mut self, rank: Rank) {
        if self.line.left(rank) {
            let entries = &self.entries;
            self.line.sweep(rank, |&(key, number)| {
                let entry = entries.get(key);
                entry.is_some_and(|entry| entry.number == number && entry.place == Place::Queued)
            });
        }
    }

    fn return_to_line(&mut self, mut keys: Vec<Key>) {
        keys.sort_by_key(|&key| self.entries.get(key).map(|entry| entry.number));
        for key in keys.into_iter().rev() {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.place = Place::Queued;
                self.line.put_back((key, entry.number), entry.rank);
            }
        }
    }
}

/// Takes a request back that a worker was offered; false when it is not there, or has begun.
fn take_from(worker: &mut Worker, entry: &Entry) -> bool {
    matches!(entry.place, Place::Given(at, slot) if at == worker.id && worker.reclaim(slot))
}
