//! Which slots have a tag: owns that index. What it finds is checked against the entries, so that
//! it may know too much but never too little.

use std::collections::HashMap;

use crate::hash::Seeded;

/// A slot and which of its tenants is meant.
pub(super) type Tenant = (u32, u32);

#[derive(Debug, Default)]
pub(super) struct TagIndex {
    seed: Seeded,
    tags: HashMap<u64, Tenants>,
    /// The capacity of all lists.
    places: usize,
}

#[derive(Debug, Default)]
struct Tenants {
    list: Vec<Tenant>,
    /// How many of the list are still there.
    live: usize,
}

impl TagIndex {
    pub fn add(&mut self, tag: &[u8], tenant: Tenant, is_live: impl Fn(Tenant) -> bool) {
        let tenants = self.tags.entry(self.seed.hash(&[tag])).or_default();
        let before = tenants.list.capacity();
        // Those that are gone are dropped when they are the greater part.
        if tenants.list.len() == before && tenants.live * 2 < before {
            tenants.list.retain(|&tenant| is_live(tenant));
        }
        tenants.list.push(tenant);
        tenants.live += 1;
        self.places = self.places + tenants.list.capacity() - before;
    }

    pub fn remove(&mut self, tag: &[u8]) {
        let hash = self.seed.hash(&[tag]);
        let Some(tenants) = self.tags.get_mut(&hash) else {
            return;
        };
        tenants.live = tenants.live.saturating_sub(1);
        if tenants.live == 0
            && let Some(tenants) = self.tags.remove(&hash)
        {
            self.places -= tenants.list.capacity();
        }
    }

    pub fn tenants(&self, tag: &[u8]) -> Vec<Tenant> {
        let found = self.tags.get(&self.seed.hash(&[tag]));
        found.map_or_else(Vec::new, |tenants| tenants.list.clone())
    }

    pub fn cost(&self) -> usize {
        let row = size_of::<(u64, Tenants)>() + 1;
        self.tags.capacity() * row * 8 / 7
            + self.places * size_of::<Tenant>()
            + self.tags.len() * 16
    }
}
