//! Owns a table of fixed size from hashed keys to small values, for facts about strangers: however
//! many different keys arrive, it never grows and never slows down.
//! Leaves what a value means, and which of two is worth less, to the callers.

use std::hash::{BuildHasher, Hash, RandomState};

/// Places that one key may be in. A key that finds all of them taken displaces the least.
const WAYS: usize = 8;

/// Buckets that come into being together, with the first key that falls into one of them: a site of
/// few visitors does not pay for the memory of many.
const SHELF: usize = 16;

/// Something that can lose its place.
pub(crate) trait Slot: Copy + Default {
    /// What keeps it in its place; the lowest leaves first. An empty slot has 0.
    fn weight(&self, now_ms: u64) -> u64;
}

/// The table. Keys are hashed with a random key of its own, so nobody outside can aim at a place.
pub(crate) struct Slots<S> {
    hasher: RandomState,
    buckets: usize,
    shelves: Vec<Option<Shelf<S>>>,
}

type Shelf<S> = Box<[(u64, S)]>;

impl<S: Slot> Slots<S> {
    /// Room for at least this many keys.
    pub fn new(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(WAYS).max(1).next_power_of_two();
        Self {
            hasher: RandomState::new(),
            buckets,
            shelves: (0..buckets.div_ceil(SHELF)).map(|_| None).collect(),
        }
    }

    /// The value of a key, when it is known.
    pub fn get(&self, key: &impl Hash) -> Option<S> {
        let print = self.print(key);
        let (shelf, range) = self.bucket(print);
        let bucket = self.shelves.get(shelf)?.as_ref()?.get(range)?;
        bucket
            .iter()
            .find(|(owner, _)| *owner == print)
            .map(|(_, value)| *value)
    }

    /// The value of a key to be changed: its own, or a fresh one in place of the least.
    pub fn entry(&mut self, key: &impl Hash, now_ms: u64) -> Option<&mut S> {
        let print = self.print(key);
        let (shelf, range) = self.bucket(print);
        let size = SHELF.min(self.buckets) * WAYS;
        let empty = || vec![(0, S::default()); size].into_boxed_slice();
        let shelf = self.shelves.get_mut(shelf)?.get_or_insert_with(empty);
        let bucket = shelf.get_mut(range)?;
        let at = bucket.iter().position(|(owner, _)| *owner == print);
        let at = at.or_else(|| {
            let weights = bucket.iter().map(|(_, value)| value.weight(now_ms));
            weights
                .enumerate()
                .min_by_key(|(_, weight)| *weight)
                .map(|(at, _)| at)
        })?;
        let row = bucket.get_mut(at)?;
        if row.0 != print {
            *row = (print, S::default());
        }
        Some(&mut row.1)
    }

    /// Every value that is not empty.
    pub fn iter(&self) -> impl Iterator<Item = &S> {
        let rows = self.shelves.iter().flatten().flatten();
        let used = rows.filter(|(owner, _)| *owner != 0);
        used.map(|(_, value)| value)
    }

    /// Places that take memory.
    #[cfg(test)]
    pub fn places(&self) -> usize {
        self.shelves.iter().flatten().flatten().count()
    }

    /// 0 stands for an empty place, so no key has it.
    fn print(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key).max(1)
    }

    /// The shelf, and the places on it.
    fn bucket(&self, print: u64) -> (usize, std::ops::Range<usize>) {
        let bucket = print as usize & (self.buckets - 1);
        let first = bucket % SHELF * WAYS;
        (bucket / SHELF, first..first + WAYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Default)]
    struct Count(u64);

    impl Slot for Count {
        fn weight(&self, _: u64) -> u64 {
            self.0
        }
    }

    #[test]
    fn the_heaviest_keys_stay_and_the_table_never_grows() {
        let mut slots = Slots::<Count>::new(1000);
        assert_eq!(slots.places(), 0);
        for _ in 0..50 {
            if let Some(count) = slots.entry(&"regular", 0) {
                count.0 += 1;
            }
        }
        assert_eq!(slots.places(), SHELF * WAYS);
        for stranger in 0..100_000_u32 {
            if let Some(count) = slots.entry(&stranger, 0) {
                count.0 += 1;
            }
        }
        assert_eq!(slots.places(), 1024);
        assert_eq!(slots.get(&"regular").map(|count| count.0), Some(50));
        assert!(slots.get(&"never seen").is_none());
    }
}
