//! Owns when a worker is to be replaced, and that each reason is said once.
//! Leaves doing it to the supervisor, and its end to `answers`.

use super::worker::Standing;
use super::{Inner, Notice, Reason, WorkerId};

impl Inner {
    /// Asks for a replacement once a worker has served its share.
    pub(super) fn count_served(&mut self, id: WorkerId, served: u64, replacing: bool) {
        let most = self.settings.max_requests;
        if most == 0 || replacing {
            return;
        }
        // Spread by the worker's number, so that the same worker always draws the same.
        let spread = self.settings.max_requests_jitter.saturating_add(1);
        let draw = (u64::from(id.0) ^ self.jitter).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 17;
        if served >= most.saturating_add(draw % spread) {
            self.replace(id, Reason::MaxRequests);
        }
    }

    /// Has a worker replaced; said once. That it is broken is said in any case: one that was finishing
    /// must be ended then.
    pub(super) fn replace(&mut self, id: WorkerId, reason: Reason) {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) else {
            return;
        };
        let was_told = match reason {
            Reason::Broken => worker.replacing == Some(Reason::Broken),
            Reason::MaxRequests
            | Reason::Large
            | Reason::Stuck
            | Reason::Leaving
            | Reason::Memory => worker.replacing.is_some(),
        };
        if !was_told {
            worker.replacing = Some(reason);
            (self.notices)(Notice::Replace(id, reason));
        }
    }

    /// The worker wrote something impossible into its ring: nothing more is read from there, and
    /// nothing more is given to it.
    pub(super) fn condemn(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.id == id) {
            worker.broken = true;
            worker.standing = Standing::Draining;
        }
        self.replace(id, Reason::Broken);
    }
}
