//! Owns the order in which requests wait: those that are urgent first, each kind as it came.
//! Leaves what a request is, and who may wait, to `mod`.
//!
//! It may hold keys whose entry has left; those are skipped by whoever takes them.

use std::collections::VecDeque;

use canter_channel::call::{Answer, Failure};

use super::{Inner, Key, WorkerId};
use crate::dispatch::Place;

/// A request, and the number that tells it from the next user of its entry.
type Waiting = (Key, u64);

/// The queue.
#[derive(Default)]
pub(super) struct Line {
    urgent: VecDeque<Waiting>,
    others: VecDeque<Waiting>,
}

impl Line {
    fn of(&mut self, urgent: bool) -> &mut VecDeque<Waiting> {
        if urgent {
            &mut self.urgent
        } else {
            &mut self.others
        }
    }

    pub fn push(&mut self, waiting: Waiting, urgent: bool) {
        self.of(urgent).push_back(waiting);
    }

    /// Back to the head of its kind: it was given out and taken back.
    pub fn put_back(&mut self, waiting: Waiting, urgent: bool) {
        self.of(urgent).push_front(waiting);
    }

    pub fn first(&self) -> Option<Waiting> {
        self.urgent.front().or(self.others.front()).copied()
    }

    pub fn drop_first(&mut self) {
        if self.urgent.pop_front().is_none() {
            self.others.pop_front();
        }
    }

    /// How many urgent ones wait.
    pub fn urgent(&self) -> usize {
        self.urgent.len()
    }

    fn last_of_others(&mut self) -> Option<Waiting> {
        self.others.pop_back()
    }
}

impl Inner {
    /// Refuses the newest request that is not urgent, to make room for one that is; false when none
    /// waits.
    pub(super) fn refuse_one(&mut self) -> bool {
        while let Some((key, number)) = self.line.last_of_others() {
            // Its entry may have left, and be another's now.
            let is_this = |entry: &super::Entry| entry.number == number;
            if !self.entries.get(key).is_some_and(is_this) {
                continue;
            }
            let entry = self.entries.remove(key);
            self.queued -= 1;
            if let Some(mailbox) = &entry.mailbox {
                let refusal = Answer::Failed(Failure::QueueFull);
                mailbox.borrow_mut().deliver(refusal);
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
            && let Some(key) = worker.offered.pop_front()
        {
            if let Some(entry) = self.entries.get(key)
                && let Place::Given(at, slot) = entry.place
                && at == id
                && worker.reclaim(slot)
            {
                back.push(key);
            }
        }
        if !back.is_empty() {
            self.put_back(back);
        }
    }

    /// Puts requests that had been given out back to the head of the queue, in order of arrival.
    pub(super) fn put_back(&mut self, mut keys: Vec<Key>) {
        keys.sort_by_key(|&key| self.entries.get(key).map(|entry| entry.number));
        for key in keys.into_iter().rev() {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.place = Place::Queued;
                self.line.put_back((key, entry.number), entry.urgent);
                self.queued += 1;
            }
        }
        self.pump();
    }
}
