//! Owns taking answers out of the rings and bringing each to its asker, and what follows when a
//! worker ends.
//! Leaves giving requests out to `mod`.

use std::os::fd::OwnedFd;
use std::time::Instant;

use canter_channel::call::{Answer, Failure};
use canter_channel::report::Report;
use canter_channel::trace::{Moment, Trace};
use canter_channel::{Kind, RecordHead, SlotId};

use super::named::{describe, fingerprint};
use super::{Inner, Key, Notice, Place, WorkerId};

/// Bytes of answers brought home in one go. A worker can write as fast as they are taken, and the
/// askers, who bring them on to clients and to disk, must get their turn.
const MOST_AT_ONCE: usize = 2 << 20;

/// The longest message whose room is used for an answer.
const MOST_KEPT: usize = 2048;

impl Inner {
    /// Takes answers that have come, from all workers; true when there was any. Some may be left:
    /// then askers are awake, and with them the runtime.
    pub(super) fn drain(&mut self) -> bool {
        self.drain_some(MOST_AT_ONCE)
    }

    fn drain_some(&mut self, most: usize) -> bool {
        let mut any = false;
        let mut at = 0;
        let mut brought = 0;
        // Asked for once, when there is something to note; what is brought home together came by then.
        let mut now = None;
        while let Some(worker) = self.workers.get_mut(at)
            && brought < most
        {
            let id = worker.id;
            if worker.broken {
                at += 1;
                continue;
            }
            match worker.take(&mut self.scratch) {
                Ok(Some((head, file))) => {
                    any = true;
                    brought += self.answer(at, head, file, &mut now);
                }
                Ok(None) => at += 1,
                Err(_) => {
                    self.condemn(id);
                    at += 1;
                }
            }
        }
        if any && self.line.len() > 0 {
            self.pump();
        }
        any
    }

    /// Brings one record to its asker; answers how many bytes came to somebody.
    fn answer(
        &mut self,
        at: usize,
        head: RecordHead,
        file: Option<OwnedFd>,
        now: &mut Option<Moment>,
    ) -> usize {
        let Some(worker) = self.workers.get_mut(at) else {
            return 0;
        };
        let Some(key) = worker.key_at(head.slot) else {
            return 0;
        };
        let Some(entry) = self.entries.get_mut(key) else {
            return 0;
        };
        if entry.number != head.number {
            return 0;
        }
        if head.kind == Kind::Report {
            if let Some(trace) = &entry.trace {
                // One that cannot be read is no reason to give up an answer.
                let report = Report::read(&self.scratch).ok().map(Box::new);
                *trace.report.borrow_mut() = report;
                trace.release.set(Some(worker.release));
            }
            return 0;
        }
        let bytes = self.scratch.len();
        if head.kind == Kind::Hints {
            // No answer yet: its deadline runs on.
            if let Some(mailbox) = &entry.mailbox {
                let hints = Answer::Hints(std::mem::take(&mut self.scratch));
                mailbox.borrow_mut().deliver(hints);
            }
            return bytes;
        }
        let answer = match (head.kind, file) {
            (Kind::Response, _) => Answer::Head {
                message: std::mem::take(&mut self.scratch),
                last: head.last,
            },
            (Kind::File, Some(file)) => Answer::File {
                message: std::mem::take(&mut self.scratch),
                file,
            },
            (Kind::Chunk, _) => Answer::Chunk {
                bytes: std::mem::take(&mut self.scratch),
                last: head.last,
            },
            (
                Kind::Abort | Kind::File | Kind::Skip | Kind::Request | Kind::Report | Kind::Hints,
                _,
            ) => Answer::Failed(Failure::Aborted),
        };
        entry.answered = true;
        let last = head.last || answer.is_last();
        if let Some(trace) = &entry.trace {
            let now = *now.get_or_insert_with(Moment::now);
            note(trace, worker.end.stamps(head.slot), now, last);
        }
        let brought = if let Some(mailbox) = &entry.mailbox {
            mailbox.borrow_mut().deliver(answer);
            bytes
        } else {
            0
        };
        if last {
            self.finish(at, head.slot, key, *now.get_or_insert_with(Moment::now));
        }
        brought
    }

    fn finish(&mut self, at: usize, slot: SlotId, key: Key, now: Moment) {
        let Some(entry) = self.entries.try_remove(key) else {
            return;
        };
        self.served += 1;
        if let Some(worker) = self.workers.get(at) {
            let (started, _) = worker.end.stamps(slot);
            let took = now.us_since(started);
            self.costs
                .learn(entry.kind, cost(took, worker.end.computed(slot)));
        }
        if self.poison.has_suspects() {
            self.poison.succeeded(fingerprint(&entry.message));
        }
        if self.scratch.capacity() == 0 && entry.message.capacity() <= MOST_KEPT {
            // The next answer goes where this request was.
            self.scratch = entry.message;
        }
        if let Some(worker) = self.workers.get_mut(at) {
            worker.finish(slot);
            if entry.stuck {
                worker.stuck = worker.stuck.saturating_sub(1);
            }
        }
    }

    /// The worker has ended: what it had not begun goes to others, what it ran is lost.
    pub(super) fn worker_ended(&mut self, id: WorkerId) {
        // Answers that it completed before it died count.
        self.drain_some(usize::MAX);
        let Some(at) = self.workers.iter().position(|worker| worker.id == id) else {
            return;
        };
        let mut worker = self.workers.remove(at);
        let now = Instant::now();
        let (mut back, mut lost) = (Vec::new(), Vec::new());
        for (slot, key) in worker.take_all() {
            let Some(entry) = self.entries.get(key) else {
                continue;
            };
            if entry.place != Place::Given(id, slot) {
                continue;
            }
            if entry.mailbox.is_some() && !worker.end.has_started(slot) {
                back.push(key);
                continue;
            }
            lost.extend(self.lose(key, id, now));
        }
        (self.notices)(Notice::Gone { worker: id, lost });
        self.put_back(back);
    }

    /// A request was running when its worker died; answers what it was, for the log.
    fn lose(&mut self, key: Key, worker: WorkerId, now: Instant) -> Option<String> {
        let entry = self.entries.try_remove(key)?;
        let request = describe(&entry.message);
        if self.poison.died(fingerprint(&entry.message), worker, now) {
            (self.notices)(Notice::Refused {
                request: request.clone(),
            });
        }
        if let Some(mailbox) = &entry.mailbox {
            let failure = if entry.answered {
                Failure::Aborted
            } else {
                Failure::WorkerDied
            };
            mailbox.borrow_mut().deliver(Answer::Failed(failure));
        }
        Some(request)
    }
}

/// What a request has cost that took so long, and of which the worker says how much it computed. Nobody can have
/// computed for longer than it took.
fn cost(took_us: u32, computed_us: Option<u32>) -> u32 {
    computed_us.map_or(took_us, |us| us.min(took_us))
}

/// Writes down when the answer came, and from when on it was worked on.
fn note(trace: &Trace, stamps: (u32, u32), now: Moment, last: bool) {
    if !last && trace.started.get().is_some() {
        return;
    }
    if trace.started.get().is_none() {
        trace.note_started(stamps, now);
    }
    if last {
        trace.answered.set(Some(now.at));
    }
}
