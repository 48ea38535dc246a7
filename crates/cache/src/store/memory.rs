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
    places: Box<[Refusal]>,
}

#[derive(Debug, Clone, Copy)]
struct Refusal {
    hash: u64,
    until: Time,
    reason: Reason,
}

impl Refusals {
    pub fn new(count: usize) -> Self {
        let empty = Refusal {
            hash: 0,
            until: Time::default(),
            reason: Reason::KnownUncacheable,
        };
        Self {
            places: vec![empty; count.next_power_of_two()].into_boxed_slice(),
        }
    }

    fn place(&mut self, hash: u64) -> Option<&mut Refusal> {
        let mask = self.places.len() as u64 - 1;
        self.places.get_mut(usize::try_from(hash & mask).ok()?)
    }

    pub fn add(&mut self, hash: u64, reason: Reason, until: Time) {
        if let Some(place) = self.place(hash) {
            *place = Refusal {
                hash,
                until,
                reason,
            };
        }
    }

    pub fn find(&mut self, hash: u64, now: Time) -> Option<Reason> {
        let place = self.place(hash)?;
        (place.hash == hash && now < place.until).then_some(place.reason)
    }

    pub fn remove(&mut self, hash: u64) {
        if let Some(place) = self.place(hash).filter(|place| place.hash == hash) {
            place.until = Time::default();
        }
    }

    pub fn cost(&self) -> usize {
        size_of_val::<[Refusal]>(&self.places)
    }
}
