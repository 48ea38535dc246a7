//! Letting entries go: owns the order in which that happens. Counting what they take is the store's.

use super::Store;
use super::slots::Queue;

/// How many slots are looked at in one eviction before one is let go whatever its uses: those
/// that were used are let off a bounded number of times, so this is only a guard.
const MOST_STEPS: usize = 4 * 1024;

impl Store {
    pub(super) fn evict(&mut self, slot: u32) {
        let Some(tenant) = self.slots.get(slot) else {
            return;
        };
        if tenant.queue == Queue::Small {
            self.ghosts.add(tenant.hash);
        }
        self.remove(slot);
        self.stats.evicted += 1;
    }

    /// Lets entries go until everything fits.
    pub(super) fn shrink(&mut self) {
        while self.bytes() > self.limits.bytes && self.slots.len() > 0 {
            self.evict_one();
        }
    }

    fn evict_one(&mut self) {
        for _ in 0..MOST_STEPS {
            let from_small = self.main.count == 0 || self.small_bytes > self.limits.bytes / 10;
            let slot = if from_small && self.small.count > 0 {
                self.small.first
            } else {
                self.main.first
            };
            let Some(tenant) = self.slots.get_mut(slot) else {
                break;
            };
            if tenant.uses == 0 {
                return self.evict(slot);
            }
            if tenant.queue == Queue::Small {
                tenant.uses = 0;
                self.promote(slot);
            } else {
                tenant.uses -= 1;
                self.main.remove(&mut self.slots, slot);
                self.main.push(&mut self.slots, slot);
            }
        }
        let first = if self.main.count > 0 {
            self.main.first
        } else {
            self.small.first
        };
        self.evict(first);
    }
}
