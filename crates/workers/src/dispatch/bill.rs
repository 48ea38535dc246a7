//! Owns finding the notes of the request that a thread is at work for, so that what it costs
//! elsewhere in this process can be written there.
//! Leaves what is written to whoever asks.

use std::rc::Rc;

use canter_channel::SlotId;
use canter_channel::trace::Trace;

use super::{Dispatch, WorkerId};

impl Dispatch {
    /// The notes of the request that this thread of a worker runs. With 0 for a thread that nobody
    /// knows, those of the only request that the worker runs: of several it could be any.
    pub fn notes_of(&self, id: WorkerId, thread: u32) -> Option<Rc<Trace>> {
        let inner = self.0.borrow();
        let worker = inner.workers.iter().find(|worker| worker.id == id)?;
        let (mut newest, mut threads) = (None, thread);
        for slot in SlotId::all() {
            let Some(key) = worker.started_at(slot) else {
                continue;
            };
            let by = worker.end.thread(slot);
            if thread == 0 && threads != 0 && by != threads {
                return None;
            }
            if thread == 0 {
                threads = by;
            }
            if by == threads
                && let Some(entry) = inner.entries.get(key)
            {
                // Of two, the end of the first has not been seen yet.
                newest = newest.max(Some((entry.number, key)));
            }
        }
        let (_, key) = newest?;
        inner.entries.get(key)?.trace.clone()
    }
}
