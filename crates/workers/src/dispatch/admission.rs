//! Owns which requests are taken: not while it stops, none that may have killed workers, and none that
//! would wait for longer than it is worth.
//! Leaves the order in which they wait to `line`, and the reckoning of waits to `canter_shield`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use canter_channel::call::{Answer, Failure, Submission};
use canter_channel::{MOST_RECORD, request};

use super::line::Rank;
use super::named::fingerprint;
use super::ticket::Mailbox;
use super::worker::Worker;
use super::{DEPTH, Entry, Inner, Key, Place, slow};

/// Requests given to workers below which nobody waits for long.
const BUSY: u32 = 32;

impl Inner {
    pub(super) fn submit(
        &mut self,
        submission: Submission,
        mailbox: &Rc<RefCell<Mailbox>>,
    ) -> Option<(Key, u64)> {
        let now = submission.at;
        let whose = request::path_and_client(&submission.message);
        let kind = whose.map(|(path, client)| self.costs.kind(path, client));
        let kind = kind.unwrap_or_default();
        let rank = if submission.urgent {
            Rank::Urgent
        } else {
            Rank::Of(self.costs.class(kind))
        };
        let refused = if self.stopping {
            Some(Failure::Stopping)
        } else if self.is_import_broken() {
            Some(Failure::NotImported)
        } else if submission.message.len() > MOST_RECORD {
            Some(Failure::TooLong)
        } else if self.poison.has_suspects()
            && self.poison.refuses(fingerprint(&submission.message), now)
        {
            Some(Failure::Refused)
        } else if !self.has_room(&submission, rank, now) {
            Some(self.reason(Failure::QueueFull, now))
        } else {
            None
        };
        if let Some(failure) = refused {
            mailbox.borrow_mut().deliver(Answer::Failed(failure));
            return None;
        }
        if let Some(trace) = &submission.trace {
            trace.submitted.set(Some(now));
        }
        let number = self.next_number;
        self.next_number += 1;
        let key = self.entries.insert(Entry {
            number,
            message: submission.message,
            file: submission.file,
            place: Place::Queued,
            rank,
            overtaken: 0,
            kind,
            submitted: now,
            deadline: submission.deadline,
            wanted_until: submission.wanted_until,
            mailbox: Some(Rc::clone(mailbox)),
            answered: false,
            stuck: false,
            stack_asked: None,
            looks: slow::Looks::default(),
            trace: submission.trace,
        });
        let is_behind = self.is_behind(rank);
        let has_overtaken = !is_behind && self.overtake(rank);
        if is_behind || !self.give(key) {
            self.line.push((key, number), rank);
            if submission.urgent || has_overtaken {
                // Those before it may all have left: then nobody else would look.
                self.pump();
            } else {
                self.want_waking();
            }
        } else if has_overtaken {
            self.pump();
        }
        Some((key, number))
    }

    /// Whether it may wait. Where others are refused one that goes ahead of them takes the place of one.
    fn has_room(&mut self, submission: &Submission, rank: Rank, now: Instant) -> bool {
        let is_full = self.is_full();
        let passes = self.is_amid_dearer(rank);
        if is_full && !submission.urgent && !passes {
            return false;
        }
        // Nearly always: nobody waits.
        let waits = self.line.len() > 0;
        let before = if waits { self.line.before(rank) } else { 0 };
        self.is_worth_waiting(before, passes, submission.begin_until(), now)
            && (!is_full || self.refuse_one(rank))
    }

    /// Whether as many requests wait as may. Those offered to a worker that has not begun them wait,
    /// too.
    pub(super) fn is_full(&self) -> bool {
        let most = self.settings.queue_size;
        // Nearly always: the number that workers write need not be read.
        if self.line.len() + self.workers.len() * (DEPTH as usize) < most {
            return false;
        }
        let untaken = self
            .workers
            .iter()
            .map(|worker| worker.end.untaken() as usize);
        // Counted exactly, without those taken back, only where it matters.
        self.line.len() + untaken.sum::<usize>() >= most
            && self.line.len() + self.workers.iter().map(Worker::unstarted).sum::<usize>() >= most
    }

    /// Whether one more would be served in useful time, behind so many that wait already; `passes` if
    /// it goes ahead of what is at workers, too.
    fn is_worth_waiting(
        &mut self,
        before: usize,
        passes: bool,
        deadline: Option<Instant>,
        now: Instant,
    ) -> bool {
        let given: u32 = self.workers.iter().map(|worker| worker.in_flight).sum();
        // Nearly always: nobody waits.
        if before == 0 && (given < BUSY || passes) {
            return true;
        }
        let now_ms = now.duration_since(self.started).as_millis() as u64;
        let left = deadline.map(|end| end.saturating_duration_since(now).as_millis() as u64);
        let mut ahead = before as u64 + u64::from(given);
        if !self.waits.is_short(ahead, self.served, left, now_ms) {
            // Those that run are not ahead of it. Where that makes no difference, the numbers that
            // workers write all the time need not be read.
            let untaken = self.workers.iter().map(|worker| worker.end.untaken());
            ahead = before as u64 + untaken.map(u64::from).sum::<u64>();
        }
        self.waits.admits(ahead, self.served, left, now_ms)
    }
}
