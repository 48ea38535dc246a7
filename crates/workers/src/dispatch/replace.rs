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
        let more = draw(id, self.jitter, self.settings.max_requests_jitter);
        if served >= most.saturating_add(more) {
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

/// Odd, and without a pattern in its bits: 2 to the 64th over the golden ratio.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// How many requests more than its share this worker serves: from none to `most`, each as likely. By its
/// number, so that it always draws the same; by the front's, so that each start draws anew.
fn draw(id: WorkerId, of_front: u64, most: u64) -> u64 {
    // Once is too little: numbers that follow each other would fall on few places.
    let mixed = (u64::from(id.0) ^ of_front).wrapping_mul(MIX);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(MIX) >> 32;
    mixed % most.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn workers_that_start_together_draw_from_all_of_the_jitter() {
        let most = 100;
        for front in [1_u64, 4321, 4_194_303].map(|pid| pid ^ 0x9E37_79B9_7F4A_7C15) {
            let all: Vec<_> = (1..=2000)
                .map(|id| draw(WorkerId(id), front, most))
                .collect();
            assert!(all.iter().all(|more| *more <= most));
            let share = |range: std::ops::Range<u64>| {
                all.iter().filter(|more| range.contains(more)).count() * 100 / all.len()
            };
            // A quarter each.
            for begin in [0, 25, 50, 75] {
                let found = share(begin..begin + 25);
                assert!((18..=32).contains(&found), "{found} % from {begin} on");
            }
            // Few of eight that start together draw the same.
            for eight in all.chunks_exact(8) {
                assert!(eight.iter().collect::<BTreeSet<_>>().len() > 4, "{eight:?}");
            }
        }
        assert_eq!(draw(WorkerId(1), 7, 0), 0);
    }
}
