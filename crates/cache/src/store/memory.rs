//! What is remembered of things that are not stored: owns two small tables of fixed size, of keys
//! that were let go and of keys whose answers cannot be stored.

use crate::reason::Reason;
use crate::time::Time;

/// Keys that were evicted a while ago; one that comes back was worth more than it seemed.
#[derive(Debug)]
pub(super) struct Ghosts {
    places: Box<[u32]>,
}

impl Ghosts {
    pub fn new(count: usize) -> Self {
        Self {
            places: vec![0; count.next_power_of_two()].into_boxed_slice(),
        }
    }

    fn place(&mut self, hash: u64) -> Option<&mut u32> {
        let mask = self.places.len() as u64 - 1;
        self.places.get_mut(usize::try_from(hash & mask).ok()?)
    }

    pub fn add(&mut self, hash: u64) {
        if let Some(place) = self.place(hash) {
            *place = mark(hash);
        }
    }

    /// Whether it is there; it is no longer, afterwards.
    pub fn take(&mut self, hash: u64) -> bool {
        let found = self.place(hash).filter(|place| **place == mark(hash));
        found.map(|place| *place = 0).is_some()
    }

    pub fn cost(&self) -> usize {
        size_of_val::<[u32]>(&self.places)
    }
}

/// Never zero, which is an empty place.
fn mark(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

/// Keys whose answers could not be stored: requests for them do not wait for each other. A key
/// pushes out another of the same place, so that there is nothing to bound.
#[derive(Debug)]
pub(super) struct Refusals {
    shelves: Vec<Option<Shelf>>,
}

type Shelf = Box<[Refusal]>;

/// Places that come into being together, with the first refusal that falls into one of them.
const SHELF: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Refusal {
    hash: u64,
    until: Time,
    reason: Reason,
}

impl Refusals {
    pub fn new(count: usize) -> Self {
        let places = count.next_power_of_two().max(SHELF);
        Self {
            shelves: vec![None; places / SHELF],
        }
    }

    /// The shelf of a key, and its place there.
    fn place(&mut self, hash: u64) -> (Option<&mut Option<Shelf>>, usize) {
        let shelves = self.shelves.len();
        let at = hash as usize & (shelves * SHELF - 1);
        (self.shelves.get_mut(at / SHELF), at % SHELF)
    }

    /// The place of this key, when it is the key's.
    fn known(&mut self, hash: u64) -> Option<&mut Refusal> {
        let (shelf, at) = self.place(hash);
        let place = shelf?.as_mut()?.get_mut(at)?;
        (place.hash == hash).then_some(place)
    }

    pub fn add(&mut self, hash: u64, reason: Reason, until: Time) {
        let refusal = Refusal {
            hash,
            until,
            reason,
        };
        let (Some(shelf), at) = self.place(hash) else {
            return;
        };
        let nothing = Refusal { hash: 0, ..refusal };
        let shelf = shelf.get_or_insert_with(|| vec![nothing; SHELF].into_boxed_slice());
        if let Some(place) = shelf.get_mut(at) {
            *place = refusal;
        }
    }

    pub fn find(&mut self, hash: u64, now: Time) -> Option<Reason> {
        let refusal = self.known(hash)?;
        (now < refusal.until).then_some(refusal.reason)
    }

    pub fn remove(&mut self, hash: u64) {
        if let Some(refusal) = self.known(hash) {
            refusal.until = Time::default();
        }
    }

    /// Bytes of the places, once all of them are there.
    pub fn cost(&self) -> usize {
        self.shelves.len() * (SHELF * size_of::<Refusal>() + size_of::<Option<Shelf>>())
    }
}
