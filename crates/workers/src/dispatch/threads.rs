//! Owns how many threads each worker may run, where that is changed while it runs.
//! Leaves how many workers there are to the supervisor, and threads to the workers.

use canter_channel::Control;

use super::worker::Worker;
use super::{Dispatch, Inner};

impl Dispatch {
    /// The cap on the threads of a worker, where it was changed since the start.
    pub fn threads(&self) -> Option<u16> {
        self.0.borrow().threads
    }

    /// From now on no worker, of now or later, runs more threads than this.
    pub fn set_threads(&self, most: u16) {
        let mut inner = self.0.borrow_mut();
        inner.threads = Some(most);
        inner.settings.most_stuck = u32::from(most / 4);
        for worker in &inner.workers {
            inner.tell_threads(worker);
        }
    }
}

impl Inner {
    /// Tells a worker what was changed since it was started.
    pub(super) fn tell_threads(&self, worker: &Worker) {
        if let Some(most) = self.threads {
            worker.say(Control::Threads(most));
        }
    }
}
