//! The store in memory: owns finding, keeping and letting go of entries within a bound in bytes.
//! What may be stored and served is left to [`crate::policy`].
//!
//! Entries are let go as S3-FIFO has it (Yang et al., SOSP 2023): new ones pass through a small
//! queue of a tenth of the space, and only those asked for again reach the main one. So endless
//! distinct URLs push out each other and not the pages that are in use.

mod evict;
mod list;
mod memory;
mod name;
mod purge;
mod purging;
mod recent;
mod several;
mod slots;
mod tag_index;

use std::collections::HashMap;
use std::sync::Arc;

use canter_http::coding::Coding;
use hashbrown::HashTable;

pub use purge::Purge;
pub use purging::Mark;
pub use recent::Recent;
pub use several::Several;
pub use slots::Handle;

use crate::body::Body;
use crate::entry::Entry;
use crate::hash::Seeded;
use crate::key::Key;
use crate::life::Life;
use crate::lines::Lines;
use crate::reason::Reason;
use crate::time::Time;
use crate::vary;
use list::{List, NIL};
use memory::{Ghosts, Refusals};
use purging::Paths;
use slots::{ByRule, Queue, Slot, Slots};
use tag_index::TagIndex;

/// How large the store may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes for everything: keys, fields, bodies, and what finds them.
    pub bytes: usize,
    /// Variants of one URL.
    pub variants: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 32 << 20,
            variants: 32,
        }
    }
}

/// What the store counted since it was made, and what it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Look-ups that found an entry.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Entries put in.
    pub stored: u64,
    /// Entries let go for want of room.
    pub evicted: u64,
    /// Entries that a purge removed or marked stale.
    pub purged: u64,
    /// Entries there are.
    pub entries: usize,
    /// Bytes they take, with everything that finds them.
    pub bytes: usize,
}

/// What was found for a request.
#[derive(Debug, Clone)]
pub struct Found {
    /// For what is done with it later.
    pub handle: Handle,
    /// The response.
    pub entry: Arc<Entry>,
    /// Its age and future.
    pub life: Life,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    seed: Seeded,
    /// From the hash of a URL to the first of its variants.
    index: HashTable<u32>,
    slots: Slots,
    small: List,
    main: List,
    small_bytes: usize,
    entry_bytes: usize,
    rules: HashMap<u32, List>,
    tags: TagIndex,
    ghosts: Ghosts,
    refusals: Refusals,
    paths: Paths,
    recent: Recent,
    /// How many purges there were.
    purges: u64,
    stats: Stats,
}

impl Store {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            seed: Seeded::default(),
            index: HashTable::new(),
            slots: Slots::default(),
            small: List::default(),
            main: List::default(),
            small_bytes: 0,
            entry_bytes: 0,
            rules: HashMap::new(),
            tags: TagIndex::default(),
            ghosts: Ghosts::new((limits.bytes / 1024).max(64)),
            refusals: Refusals::new((limits.bytes / 4096).clamp(64, 16_384)),
            paths: Paths::default(),
            recent: Recent::new((limits.bytes / 2048).clamp(256, 16_384)),
            purges: 0,
            stats: Stats::default(),
        }
    }

    /// Looks for a response to this request: the key must be the same, byte for byte, and so must
    /// be what it varies on.
    pub fn find(&mut self, key: &Key, request: &(impl Lines + ?Sized)) -> Option<Found> {
        let slot = self.select(key, request);
        let found = slot.and_then(|slot| self.found(slot));
        match &found {
            Some(found) => {
                self.stats.hits += 1;
                if let Some(slot) = self.slots.get_mut(found.handle.slot()) {
                    slot.uses = (slot.uses + 1).min(MOST_USES);
                }
            }
            None => self.stats.misses += 1,
        }
        found
    }

    /// Whether nothing is stored at all: then what was looked for need not be named. It counts as a
    /// miss.
    pub fn misses_all(&mut self) -> bool {
        let is_empty = self.slots.len() == 0;
        self.stats.misses += u64::from(is_empty);
        is_empty
    }

    /// Whether anything is stored for the URL.
    pub fn knows_url(&self, key: &Key) -> bool {
        self.head_of(key.url()).is_some()
    }

    /// What a handle stands for, unless it has gone or was replaced.
    pub fn get(&self, handle: Handle) -> Option<Found> {
        self.slots.tenant(handle)?;
        self.found(handle.slot())
    }

    /// Puts a response in, in place of the one for the same key and variant. `rule` is the page
    /// rule it came under and `most_of_rule` how many entries that may have, zero for any number.
    /// It is not stored when it was purged since `begun`, or when it is too large.
    pub fn put(
        &mut self,
        entry: Entry,
        life: Life,
        rule: u32,
        most_of_rule: usize,
        begun: Mark,
    ) -> Result<Handle, Reason> {
        if self.recent.last(&entry) > begun.0 {
            return Err(Reason::Superseded);
        }
        let cost = entry.cost();
        if cost > self.limits.bytes / 8 {
            return Err(Reason::TooLarge);
        }
        if let Some(before) = self.twin_of(&entry) {
            self.remove(before);
        }
        let most = if most_of_rule == 0 {
            usize::MAX
        } else {
            most_of_rule
        };
        while let Some(list) = self.rules.get(&rule).filter(|list| list.count >= most) {
            let oldest = list.first;
            self.evict(oldest);
        }
        self.limit_variants(entry.url());
        let handle = self.insert(entry, life, rule, cost);
        self.stats.stored += 1;
        self.shrink();
        self.slots
            .tenant(handle)
            .map(|_| handle)
            .ok_or(Reason::TooLarge)
    }

    /// Puts the result of [`crate::policy::freshen`] in place of what it was made from.
    pub fn replace(&mut self, handle: Handle, entry: Entry, life: Life) -> Option<Handle> {
        let slot = self.slots.tenant(handle)?;
        let (rule, uses, queue) = (slot.rule, slot.uses, slot.queue);
        self.remove(handle.slot());
        if let Some(twin) = self.twin_of(&entry) {
            self.remove(twin);
        }
        let cost = entry.cost();
        let handle = self.insert(entry, life, rule, cost);
        if let Some(slot) = self.slots.get_mut(handle.slot()) {
            slot.uses = uses;
        }
        if queue == Queue::Main {
            self.promote(handle.slot());
        }
        self.shrink();
        self.slots.tenant(handle).map(|_| handle)
    }

    /// Adds an encoded form that was made of the entry's body.
    pub fn add_form(&mut self, handle: Handle, coding: Coding, body: Body) {
        let Some(slot) = self.slots.tenant_mut(handle) else {
            return;
        };
        let entry = Arc::new(slot.entry.with_form(coding, body));
        let (before, after) = (slot.cost, entry.cost());
        slot.entry = entry;
        slot.cost = after;
        if slot.queue == Queue::Small {
            self.small_bytes = self.small_bytes + after - before;
        }
        self.entry_bytes = self.entry_bytes + after - before;
        self.shrink();
    }

    /// Lets one go.
    pub fn drop_entry(&mut self, handle: Handle) {
        if self.slots.tenant(handle).is_some() {
            self.remove(handle.slot());
        }
    }

    /// Takes the right to get another copy, until `until`; false when somebody has it, or when it
    /// failed so shortly ago that it is not tried again.
    pub fn claim_refresh(&mut self, handle: Handle, now: Time, until: Time) -> bool {
        let Some(slot) = self.slots.tenant_mut(handle) else {
            return false;
        };
        let is_free = slot.claimed_until <= now && !slot.life.is_backing_off(now);
        if is_free {
            slot.claimed_until = until;
        }
        is_free
    }

    /// Gives that right back: getting another copy failed, and the old one stays.
    pub fn refresh_failed(&mut self, handle: Handle, now: Time) {
        if let Some(slot) = self.slots.tenant_mut(handle) {
            slot.claimed_until = Time::default();
            slot.life.back_off(now);
        }
    }

    /// Gives that right back: what came says nothing of the entry.
    pub fn release_refresh(&mut self, handle: Handle) {
        if let Some(slot) = self.slots.tenant_mut(handle) {
            slot.claimed_until = Time::default();
        }
    }

    /// Remembers until `until` that an answer for this key could not be stored.
    pub fn refuse(&mut self, key: &Key, reason: Reason, until: Time) {
        self.refusals.add(self.key_hash(key), reason, until);
    }

    /// Why an answer for this key could not be stored a moment ago: requests for it need not wait
    /// for each other.
    pub fn refused(&mut self, key: &Key, now: Time) -> Option<Reason> {
        self.refusals.find(self.key_hash(key), now)
    }

    /// Forgets that.
    pub fn forget_refusal(&mut self, key: &Key) {
        self.refusals.remove(self.key_hash(key));
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        Stats {
            entries: self.slots.len(),
            bytes: self.bytes(),
            ..self.stats
        }
    }

    /// What the store takes of memory.
    pub fn bytes(&self) -> usize {
        let own = self.own_bytes();
        own + own / HOLES
    }

    fn own_bytes(&self) -> usize {
        let rules = self.rules.capacity() * (size_of::<(u32, List)>() + 1);
        self.entry_bytes
            + self.index.allocation_size()
            + self.slots.cost()
            + self.tags.cost()
            + self.ghosts.cost()
            + self.refusals.cost()
            + self.paths.cost()
            + self.recent.cost()
            + rules
    }

    /// Every entry with its life, in no order: for writing them elsewhere.
    pub fn entries(&self) -> impl Iterator<Item = (Arc<Entry>, Life)> {
        let slots = self.slots.all().filter_map(|slot| self.slots.get(slot));
        slots.map(|slot| (Arc::clone(&slot.entry), slot.life))
    }
}

/// How many uses are counted.
const MOST_USES: u8 = 3;

/// Between entries of different sizes the allocator is left with holes: this part of them on top,
/// as measured in the program, with a million URLs (`python3 bench/cache.py memory`).
const HOLES: usize = 8;

impl Store {
    fn found(&self, slot: u32) -> Option<Found> {
        let tenant = self.slots.get(slot)?;
        Some(Found {
            handle: self.slots.handle(slot)?,
            entry: Arc::clone(&tenant.entry),
            life: tenant.life,
        })
    }

    fn key_hash(&self, key: &Key) -> u64 {
        self.seed.hash(&[key.bytes()])
    }

    fn head_of(&self, url: &[u8]) -> Option<u32> {
        let hash = self.seed.hash(&[url]);
        let same = |slot: &u32| {
            let slot = self.slots.get(*slot);
            slot.is_some_and(|slot| slot.hash == hash && slot.entry.url() == url)
        };
        self.index.find(hash, same).copied()
    }

    fn variants(&self, url: &[u8]) -> impl Iterator<Item = u32> {
        let mut next = self.head_of(url);
        std::iter::from_fn(move || {
            let slot = next?;
            let after = self.slots.get(slot)?.next_variant;
            next = Some(after).filter(|&after| after != NIL);
            Some(slot)
        })
    }

    fn select(&self, key: &Key, request: &(impl Lines + ?Sized)) -> Option<u32> {
        // Most variants of a URL vary on the same, so that the values are made once.
        let mut made: Option<(&[u8], Option<Vec<u8>>)> = None;
        self.variants(key.url()).find(|&slot| {
            let Some(slot) = self.slots.get(slot) else {
                return false;
            };
            let (names, entry) = (slot.entry.vary(), &slot.entry);
            if entry.inputs() != key.inputs() {
                return false;
            }
            if names.is_empty() {
                return true;
            }
            if made.as_ref().is_none_or(|(of, _)| *of != names) {
                made = Some((names, vary::values(names, request)));
            }
            let values = made.as_ref().and_then(|(_, values)| values.as_deref());
            values.is_some_and(|values| values == entry.vary_values())
        })
    }

    /// The slot of the same key and variant.
    fn twin_of(&self, entry: &Entry) -> Option<u32> {
        self.variants(entry.url()).find(|&slot| {
            self.slots.get(slot).is_some_and(|slot| {
                let other = &slot.entry;
                other.inputs() == entry.inputs()
                    && other.vary() == entry.vary()
                    && other.vary_values() == entry.vary_values()
            })
        })
    }

    fn limit_variants(&mut self, url: &[u8]) {
        while self.variants(url).count() >= self.limits.variants.max(1) {
            // The newest is first.
            let Some(oldest) = self.variants(url).last() else {
                return;
            };
            self.evict(oldest);
        }
    }

    fn insert(&mut self, entry: Entry, life: Life, rule: u32, cost: usize) -> Handle {
        let hash = self.seed.hash(&[entry.url()]);
        let head = self.head_of(entry.url());
        let tags: Vec<Vec<u8>> = entry.tags().map(<[u8]>::to_vec).collect();
        let url = entry.url().to_vec();
        let handle = self.slots.add(Slot {
            entry: Arc::new(entry),
            life,
            hash,
            cost,
            rule,
            next_variant: head.unwrap_or(NIL),
            uses: 0,
            queue: Queue::Small,
            claimed_until: Time::default(),
        });
        let slot = handle.slot();
        let slots = &self.slots;
        let rehash = |slot: &u32| slots.get(*slot).map_or(0, |slot| slot.hash);
        match head.and_then(|head| self.index.find_mut(hash, |own| *own == head)) {
            Some(first) => *first = slot,
            None => {
                self.index.insert_unique(hash, slot, rehash);
            }
        }
        for tag in &tags {
            let is_live = |tenant| self.slots.is_live(tenant);
            self.tags.add(tag, handle.tenant(), is_live);
        }
        self.paths.add(&mut self.slots, &url, slot);
        let by_rule = self.rules.entry(rule).or_default();
        by_rule.push(&mut ByRule(&mut self.slots), slot);
        if self.ghosts.take(hash) {
            self.main.push(&mut self.slots, slot);
            if let Some(slot) = self.slots.get_mut(slot) {
                slot.queue = Queue::Main;
            }
        } else {
            self.small.push(&mut self.slots, slot);
            self.small_bytes += cost;
        }
        self.entry_bytes += cost;
        handle
    }

    fn promote(&mut self, slot: u32) {
        let Some(tenant) = self.slots.get_mut(slot) else {
            return;
        };
        if tenant.queue == Queue::Small {
            tenant.queue = Queue::Main;
            self.small_bytes -= tenant.cost;
            self.small.remove(&mut self.slots, slot);
            self.main.push(&mut self.slots, slot);
        }
    }

    /// Takes a slot out of everything that finds it.
    fn remove(&mut self, slot: u32) {
        let Some(tenant) = self.slots.get(slot) else {
            return;
        };
        let (hash, next, rule) = (tenant.hash, tenant.next_variant, tenant.rule);
        let (queue, cost, entry) = (tenant.queue, tenant.cost, Arc::clone(&tenant.entry));
        let head = self.head_of(entry.url());
        if head == Some(slot) {
            if let Ok(mut place) = self.index.find_entry(hash, |own| *own == slot) {
                if next == NIL {
                    place.remove();
                } else {
                    *place.get_mut() = next;
                }
            }
        } else {
            let before = self.variants(entry.url()).find(|&other| {
                let other = self.slots.get(other);
                other.is_some_and(|other| other.next_variant == slot)
            });
            if let Some(before) = before.and_then(|before| self.slots.get_mut(before)) {
                before.next_variant = next;
            }
        }
        if queue == Queue::Small {
            self.small.remove(&mut self.slots, slot);
            self.small_bytes -= cost;
        } else {
            self.main.remove(&mut self.slots, slot);
        }
        if let Some(list) = self.rules.get_mut(&rule) {
            list.remove(&mut ByRule(&mut self.slots), slot);
            if list.count == 0 {
                self.rules.remove(&rule);
            }
        }
        for tag in entry.tags() {
            self.tags.remove(tag);
        }
        self.paths.remove(&mut self.slots, entry.url(), slot);
        self.entry_bytes -= cost;
        self.slots.free(slot);
    }
}
