//! Owns taking answers out of the rings and bringing each to its asker, and what follows when a
//! worker ends.
//! Leaves giving requests out to `mod`.

use std::os::fd::OwnedFd;
use std::time::Instant;

use canter_channel::call::{Answer, Failure};
use canter_channel::{Kind, RecordHead, SlotId};

use super::{Inner, Key, Notice, Place, Reason, WorkerId, describe, fingerprint};

impl Inner {
    /// Takes all answers that have come, from all workers; true when there was any.
    pub(super) fn drain(&mut self) -> bool {
        let mut any = false;
        let mut at = 0;
        while let Some(worker) = self.workers.get_mut(at) {
            let id = worker.id;
            match worker.take(&mut self.scratch) {
                Ok(Some((head, file))) => {
                    any = true;
                    self.answer(at, head, file);
                }
                Ok(None) => at += 1,
                Err(_) => {
                    self.replace(id, Reason::Broken);
                    at += 1;
                }
            }
        }
        if any && self.queued > 0 {
            self.pump();
        }
        any
    }

    /// Brings one record to its asker.
    fn answer(&mut self, at: usize, head: RecordHead, file: Option<OwnedFd>) {
        let Some(worker) = self.workers.get_mut(at) else {
            return;
        };
        let Some(key) = worker.key_at(head.slot) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if entry.number != head.number {
            return;
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
            (Kind::Abort | Kind::File | Kind::Skip | Kind::Request, _) => {
                Answer::Failed(Failure::Aborted)
            }
        };
        entry.answered = true;
        let last = head.last || answer.is_last();
        if let Some(mailbox) = &entry.mailbox {
            mailbox.borrow_mut().deliver(answer);
        }
        if last {
            self.finish(at, head.slot, key);
        }
    }

    fn finish(&mut self, at: usize, slot: SlotId, key: Key) {
        let Some(entry) = self.entries.try_remove(key) else {
            return;
        };
        if self.poison.has_suspects() {
            self.poison.succeeded(fingerprint(&entry.message));
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
        self.drain();
        let Some(at) = self.workers.iter().position(|worker| worker.id == id) else {
            return;
        };
        let mut worker = self.workers.remove(at);
        let now = Instant::now();
        let (mut back, mut lost) = (Vec::new(), 0);
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
            lost += 1;
            self.lose(key, now);
        }
        (self.notices)(Notice::Gone { worker: id, lost });
        self.put_back(back);
    }

    /// A request was running when its worker died.
    fn lose(&mut self, key: Key, now: Instant) {
        let Some(entry) = self.entries.try_remove(key) else {
            return;
        };
        if self.poison.died(fingerprint(&entry.message), now) {
            (self.notices)(Notice::Refused {
                request: describe(&entry.message),
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
    }
}
