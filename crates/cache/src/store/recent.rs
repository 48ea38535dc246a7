//! Which purges there were, in memory of a fixed size: owns telling what was made before one of them.
//! It knows the last of each name for ever, and now and then takes one name for another: then a page is
//! not stored, or not taken, that could have been. Other pages lose nothing, however many purges come.

use std::collections::VecDeque;

use super::name::{Name, names};
use super::purge::Purge;
use crate::entry::Entry;
use crate::hash::Seeded;

/// The latest purges, each with a number greater than those before. The first may have number 1.
#[derive(Debug)]
pub struct Recent {
    seed: Seeded,
    /// The number of the last purge whose name fell into each place.
    places: Box<[u64]>,
    /// Those that no name of an entry leads to: prefixes, and several at once.
    others: VecDeque<(Purge, u64)>,
    /// All with this number or less may have meant anything.
    all: u64,
}

/// So many [`Recent::others`] are told apart; only who may purge makes them.
const MOST_OTHERS: usize = 64;
/// Places for each name.
const PLACES: u32 = 3;

impl Recent {
    /// With `places` for names, a power of two of at most 2^21; a tenth as many names are told apart
    /// but for one in fifty.
    pub fn new(places: usize) -> Self {
        Self {
            seed: Seeded::default(),
            places: vec![0; places.next_power_of_two().min(1 << 21)].into_boxed_slice(),
            others: VecDeque::new(),
            all: 0,
        }
    }

    /// Adds a purge.
    pub fn add(&mut self, purge: &Purge, number: u64) {
        if let Some(name) = purge.name() {
            for at in self.places_of(name) {
                if let Some(place) = self.places.get_mut(at) {
                    *place = number;
                }
            }
            return;
        }
        if *purge == Purge::Everything {
            self.all = number;
            return;
        }
        self.others.retain(|(other, _)| other != purge);
        if self.others.len() == MOST_OTHERS
            && let Some((_, number)) = self.others.pop_front()
        {
            self.all = self.all.max(number);
        }
        self.others.push_back((purge.clone(), number));
    }

    /// The number of the last purge that meant an entry, or a greater one; 0 when there was none.
    pub fn last(&self, entry: &Entry) -> u64 {
        let named = names(entry.url(), entry.tags()).map(|name| {
            let numbers = self.places_of(name);
            let numbers = numbers.filter_map(|at| self.places.get(at).copied());
            // Each place has that of this name or a later one.
            numbers.min().unwrap_or(0)
        });
        let others = self.others.iter().rev();
        let other = others.filter(|(purge, _)| purge.means(entry));
        let other = other.map(|(_, number)| *number).next().unwrap_or(0);
        named.max().unwrap_or(0).max(other).max(self.all)
    }

    fn places_of(&self, name: Name<'_>) -> impl Iterator<Item = usize> + use<> {
        let hash = self.seed.hash(&name.parts());
        let mask = self.places.len() - 1;
        (0..PLACES).map(move |nth| (hash >> (21 * nth)) as usize & mask)
    }

    /// Bytes of the places.
    pub(super) fn cost(&self) -> usize {
        size_of_val::<[u64]>(&self.places)
    }
}
