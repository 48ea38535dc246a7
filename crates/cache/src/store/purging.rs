//! Purging what is in memory: owns finding what a purge means without looking at the rest, and what then
//! becomes of it. Which responses a purge means is in [`super::purge`].

use std::collections::HashMap;
use std::sync::Arc;

use super::list::{List, NIL};
use super::slots::{ByPath, Slots};
use super::{Purge, Store};
use crate::hash::Seeded;
use crate::key::UrlParts;
use crate::time::Time;

/// A moment between purges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark(pub(super) u64);

/// The entries of each path of a host, by the hash of both.
#[derive(Debug, Default)]
pub(super) struct Paths {
    seed: Seeded,
    lists: HashMap<u64, List>,
}

impl Paths {
    fn hash(&self, host: &[u8], path: &[u8]) -> u64 {
        self.seed.hash(&[host, b"\0", path])
    }

    fn hash_of(&self, url: &[u8]) -> Option<u64> {
        UrlParts::read(url).map(|parts| self.hash(parts.host, parts.path))
    }

    pub fn add(&mut self, slots: &mut Slots, url: &[u8], slot: u32) {
        if let Some(hash) = self.hash_of(url) {
            let list = self.lists.entry(hash).or_default();
            list.push(&mut ByPath(slots), slot);
        }
    }

    pub fn remove(&mut self, slots: &mut Slots, url: &[u8], slot: u32) {
        let Some(hash) = self.hash_of(url) else {
            return;
        };
        if let Some(list) = self.lists.get_mut(&hash) {
            list.remove(&mut ByPath(slots), slot);
            if list.count == 0 {
                self.lists.remove(&hash);
            }
        }
    }

    /// The slots of a path, and perhaps some of another.
    fn slots(&self, slots: &Slots, host: &[u8], path: &[u8]) -> Vec<u32> {
        let list = self.lists.get(&self.hash(host, path));
        let mut next = list.map_or(NIL, |list| list.first);
        let mut found = Vec::new();
        while next != NIL {
            found.push(next);
            next = slots.after_in_path(next);
        }
        found
    }

    pub fn cost(&self) -> usize {
        self.lists.capacity() * (size_of::<(u64, List)>() + 1) * 8 / 7
    }
}

impl Store {
    /// A moment to hand to [`Store::put`]: taken when the app is asked.
    pub fn mark(&self) -> Mark {
        Mark(self.purges)
    }

    /// Purges; how many entries were meant. A soft purge marks them stale, so that they can still
    /// be served while another is got, or when the app fails.
    pub fn purge(&mut self, purge: &Purge, soft: bool) -> usize {
        self.each_meant(purge, |store, slot| {
            if soft {
                store.expire(slot);
            } else {
                store.remove(slot);
            }
        })
    }

    /// Marks what an unsafe request made wrong: it is served only once the app has confirmed it, or
    /// when the app fails.
    pub fn invalidate(&mut self, purge: &Purge) -> usize {
        self.each_meant(purge, |store, slot| {
            store.expire(slot);
            if let Some(slot) = store.slots.get_mut(slot) {
                slot.life.invalidated = true;
                // The app has just answered well.
                slot.life.failures = 0;
            }
        })
    }

    /// Marks stale what may have changed: it is served once more while another is got. What is being
    /// made meanwhile is as good as what would be made now, so that nothing is remembered.
    pub fn age(&mut self, purge: &Purge, now: Time) {
        for slot in self.meant(purge) {
            if let Some(slot) = self.slots.get_mut(slot)
                && slot.claimed_until <= now
            {
                slot.life.expired = true;
                slot.life.aged = true;
            }
        }
    }

    fn each_meant(&mut self, purge: &Purge, mut act: impl FnMut(&mut Self, u32)) -> usize {
        if purge.names_nothing() {
            return 0;
        }
        self.purges += 1;
        self.recent.add(purge, self.purges);
        let meant = self.meant(purge);
        for &slot in &meant {
            act(self, slot);
        }
        self.stats.purged += meant.len() as u64;
        // The index of tags may have grown.
        self.shrink();
        meant.len()
    }

    /// Marks an entry stale. Who has a handle to it asked the app before the purge, and must not
    /// make it fresh with the answer.
    fn expire(&mut self, slot: u32) {
        let Some(handle) = self.slots.renew(slot) else {
            return;
        };
        let Some(tenant) = self.slots.get_mut(slot) else {
            return;
        };
        tenant.life.expired = true;
        tenant.claimed_until = Time::default();
        let entry = Arc::clone(&tenant.entry);
        for tag in entry.tags() {
            self.tags.remove(tag);
            let is_live = |tenant| self.slots.is_live(tenant);
            self.tags.add(tag, handle.tenant(), is_live);
        }
    }

    fn meant(&self, purge: &Purge) -> Vec<u32> {
        let means = |slot: &u32| {
            let slot = self.slots.get(*slot);
            slot.is_some_and(|slot| purge.means(&slot.entry))
        };
        match purge {
            Purge::Url(key) => self.variants(key.url()).filter(means).collect(),
            Purge::Tag(tag) => {
                let tenants = self.tags.tenants(tag).into_iter();
                let live = tenants.filter(|&tenant| self.slots.is_live(tenant));
                let mut slots: Vec<u32> = live.map(|(slot, _)| slot).filter(means).collect();
                slots.sort_unstable();
                slots.dedup();
                slots
            }
            Purge::Path {
                host: Some(host),
                path,
            } => {
                let mut slots = self.paths.slots(&self.slots, host, path);
                slots.retain(means);
                slots
            }
            Purge::Path { host: None, .. }
            | Purge::Prefix { .. }
            | Purge::Host(_)
            | Purge::Several(_)
            | Purge::Everything => self.slots.all().filter(means).collect(),
        }
    }
}
