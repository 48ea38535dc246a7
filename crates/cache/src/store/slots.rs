//! The places of the entries: owns the table of slots, which of them are free, and the handles that
//! stay true when a slot gets another tenant.

use std::sync::Arc;

use super::list::{Link, Links, NIL};
use super::tag_index::Tenant;
use crate::entry::Entry;
use crate::life::Life;
use crate::time::Time;

/// A stored entry, until it is let go or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    slot: u32,
    generation: u32,
}

impl Handle {
    pub(super) fn slot(self) -> u32 {
        self.slot
    }

    pub(super) fn tenant(self) -> Tenant {
        (self.slot, self.generation)
    }
}

/// Which queue an entry waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    Small,
    Main,
}

/// An entry and what the store knows of it.
#[derive(Debug)]
pub(super) struct Slot {
    pub entry: Arc<Entry>,
    pub life: Life,
    /// Of its URL.
    pub hash: u64,
    pub cost: usize,
    pub rule: u32,
    /// The next of the same URL.
    pub next_variant: u32,
    /// How often it was asked for, as far as that is counted.
    pub uses: u8,
    pub queue: Queue,
    /// Somebody gets another copy until then.
    pub claimed_until: Time,
}

#[derive(Debug, Default)]
struct Place {
    slot: Option<Slot>,
    generation: u32,
    queue: Link,
    rule: Link,
    path: Link,
}

/// All slots.
#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Slots {
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub fn get(&self, slot: u32) -> Option<&Slot> {
        self.places.get(slot as usize)?.slot.as_ref()
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.places.get_mut(slot as usize)?.slot.as_mut()
    }

    pub fn handle(&self, slot: u32) -> Option<Handle> {
        let generation = self.places.get(slot as usize)?.generation;
        Some(Handle { slot, generation })
    }

    pub fn tenant(&self, handle: Handle) -> Option<&Slot> {
        let place = self.places.get(handle.slot as usize)?;
        place
            .slot
            .as_ref()
            .filter(|_| place.generation == handle.generation)
    }

    pub fn tenant_mut(&mut self, handle: Handle) -> Option<&mut Slot> {
        let place = self.places.get_mut(handle.slot as usize)?;
        place
            .slot
            .as_mut()
            .filter(|_| place.generation == handle.generation)
    }

    pub fn is_live(&self, (slot, generation): Tenant) -> bool {
        self.tenant(Handle { slot, generation }).is_some()
    }

    pub fn all(&self) -> impl Iterator<Item = u32> {
        let places = (0_u32..).zip(&self.places);
        places.filter_map(|(at, place)| place.slot.as_ref().map(|_| at))
    }

    pub fn add(&mut self, slot: Slot) -> Handle {
        let at = self.free.pop().unwrap_or_else(|| {
            if self.places.len() == self.places.capacity() {
                // An eighth at a time: what is reserved counts as used.
                let more = (self.places.len() / 8).max(64);
                self.places.reserve_exact(more);
            }
            self.places.push(Place::default());
            // The store is bounded long before there are so many.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let mut generation = 0;
        if let Some(place) = self.places.get_mut(at as usize) {
            place.slot = Some(slot);
            generation = place.generation;
        }
        Handle {
            slot: at,
            generation,
        }
    }

    /// Makes handles given so far void, and gives the new one.
    pub fn renew(&mut self, slot: u32) -> Option<Handle> {
        let place = self.places.get_mut(slot as usize)?;
        place.generation = place.generation.wrapping_add(1);
        self.handle(slot)
    }

    pub fn free(&mut self, slot: u32) {
        if let Some(place) = self.places.get_mut(slot as usize)
            && place.slot.take().is_some()
        {
            place.generation = place.generation.wrapping_add(1);
            self.free.push(slot);
        }
    }

    /// The next of the same path.
    pub fn after_in_path(&self, slot: u32) -> u32 {
        let place = self.places.get(slot as usize);
        place.map_or(NIL, |place| place.path.after)
    }

    pub fn cost(&self) -> usize {
        self.places.capacity() * size_of::<Place>() + self.free.capacity() * size_of::<u32>()
    }
}

/// The queues' links.
impl Links for Slots {
    fn link(&mut self, slot: u32) -> Option<&mut Link> {
        Some(&mut self.places.get_mut(slot as usize)?.queue)
    }
}

/// The links of the lists by rule.
pub(super) struct ByRule<'a>(pub &'a mut Slots);

impl Links for ByRule<'_> {
    fn link(&mut self, slot: u32) -> Option<&mut Link> {
        Some(&mut self.0.places.get_mut(slot as usize)?.rule)
    }
}

/// The links of the lists by path.
pub(super) struct ByPath<'a>(pub &'a mut Slots);

impl Links for ByPath<'_> {
    fn link(&mut self, slot: u32) -> Option<&mut Link> {
        Some(&mut self.0.places.get_mut(slot as usize)?.path)
    }
}
