//! Entries at hand, with a bound on their number, memory and descriptors: owns which one has to go.
//! Leaves whether one is still true to `load`.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::entry::Entry;

/// Entries at once.
const MOST: usize = 4096;
/// Bytes of all of them.
const MOST_BYTES: usize = 16 << 20;
/// Files they hold open.
const MOST_OPEN: usize = 128;
/// How long an entry is taken for true without a look at the disk.
const VALID: Duration = Duration::from_secs(1);
/// Entries that are compared to find one that was not used lately.
const SAMPLE: usize = 8;

/// What is known of a path.
pub(crate) enum Hit {
    Fresh(Rc<Entry>),
    /// To be looked at again.
    Old(Rc<Entry>),
    None,
}

struct Slot {
    path: Box<[u8]>,
    entry: Rc<Entry>,
    until: Instant,
    used: u64,
}

/// The entries.
#[derive(Default)]
pub(crate) struct Cache {
    index: HashMap<Box<[u8]>, usize>,
    slots: Vec<Slot>,
    bytes: usize,
    open: usize,
    clock: u64,
}

impl Cache {
    pub fn get(&mut self, path: &[u8], now: Instant) -> Hit {
        let slot = self.index.get(path).and_then(|&at| self.slots.get_mut(at));
        let Some(slot) = slot else { return Hit::None };
        self.clock += 1;
        slot.used = self.clock;
        let entry = Rc::clone(&slot.entry);
        if now < slot.until {
            Hit::Fresh(entry)
        } else {
            Hit::Old(entry)
        }
    }

    /// It was looked at and is as it was.
    pub fn touch(&mut self, path: &[u8], now: Instant) {
        let slot = self.index.get(path).and_then(|&at| self.slots.get_mut(at));
        if let Some(slot) = slot {
            slot.until = now + VALID;
        }
    }

    /// Keeps an entry, or not when it is too large. `lasts` is false where each request looks.
    pub fn put(&mut self, path: &[u8], entry: Rc<Entry>, now: Instant, lasts: bool) {
        self.remove(path);
        let weight = entry.weight() + 2 * path.len();
        if !lasts || weight > MOST_BYTES / 4 {
            return;
        }
        let open = entry.descriptors();
        while self.slots.len() >= MOST
            || self.bytes + weight > MOST_BYTES
            || (open > 0 && self.open + open > MOST_OPEN)
        {
            if !self.drop_one(self.open + open > MOST_OPEN && open > 0) {
                return;
            }
        }
        self.clock += 1;
        self.bytes += weight;
        self.open += open;
        self.index.insert(path.into(), self.slots.len());
        self.slots.push(Slot {
            path: path.into(),
            entry,
            until: now + VALID,
            used: self.clock,
        });
    }

    pub fn remove(&mut self, path: &[u8]) {
        if let Some(&at) = self.index.get(path) {
            self.remove_at(at);
        }
    }

    fn remove_at(&mut self, at: usize) {
        if at >= self.slots.len() {
            return;
        }
        let slot = self.slots.swap_remove(at);
        self.index.remove(&slot.path);
        self.bytes = self
            .bytes
            .saturating_sub(slot.entry.weight() + 2 * slot.path.len());
        self.open = self.open.saturating_sub(slot.entry.descriptors());
        // Another one has moved to its place.
        if let Some(moved) = self.slots.get(at)
            && let Some(index) = self.index.get_mut(&moved.path)
        {
            *index = at;
        }
    }

    /// Drops the one of a few that was used longest ago; of those that hold a file open, when it is
    /// descriptors that are wanted.
    fn drop_one(&mut self, must_be_open: bool) -> bool {
        let count = self.slots.len();
        if count == 0 {
            return false;
        }
        // A walk with a fixed step from a place that changes: no entry is out of its reach.
        let start =
            usize::try_from(self.clock.wrapping_mul(0x9e37_79b9) % count as u64).unwrap_or(0);
        let candidates = (0..count).map(|step| (start + step) % count);
        let fits = |&at: &usize| {
            let slot = self.slots.get(at);
            slot.is_some_and(|slot| !must_be_open || slot.entry.descriptors() > 0)
        };
        let oldest = candidates
            .filter(fits)
            .take(SAMPLE)
            .min_by_key(|&at| self.slots.get(at).map(|slot| slot.used));
        match oldest {
            Some(at) => {
                self.remove_at(at);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Kind;

    fn entry(weight: usize, is_open: bool) -> Rc<Entry> {
        use crate::entry::{Bytes, Form};
        let mut entry = Entry::for_kind(Kind::Static);
        let bytes = if is_open {
            Bytes::File(std::fs::File::open("/dev/null").unwrap())
        } else {
            Bytes::Memory(vec![0; weight].into())
        };
        let null = std::fs::File::open("/dev/null").unwrap();
        entry.forms.push(Form {
            identity: crate::open::Identity::of(&null).unwrap(),
            coding: canter_http::coding::Coding::Identity,
            length: weight as u64,
            bytes,
            etag: String::new(),
            content_type: String::new(),
            fields: Vec::new(),
            head: None,
        });
        Rc::new(entry)
    }

    fn sums(cache: &Cache) -> (usize, usize) {
        let bytes = cache
            .slots
            .iter()
            .map(|slot| slot.entry.weight() + 2 * slot.path.len());
        let open = cache.slots.iter().map(|slot| slot.entry.descriptors());
        (bytes.sum(), open.sum())
    }

    #[test]
    fn number_memory_and_descriptors_have_bounds_and_what_is_used_stays() {
        let now = Instant::now();
        let mut cache = Cache::default();
        for number in 0..3 * MOST {
            let path = format!("/static/{number}");
            let is_open = number % 7 == 0;
            cache.put(path.as_bytes(), entry(number % 20_000, is_open), now, true);
            assert!(matches!(cache.get(path.as_bytes(), now), Hit::Fresh(_)));
            if number > 0 {
                assert!(
                    matches!(cache.get(b"/static/0", now), Hit::Fresh(_)),
                    "{number}"
                );
            }
            assert!(cache.bytes <= MOST_BYTES && cache.open <= MOST_OPEN);
        }
        assert_eq!(sums(&cache), (cache.bytes, cache.open));
        assert!(cache.slots.len() <= MOST && cache.index.len() == cache.slots.len());
        for (at, slot) in cache.slots.iter().enumerate() {
            assert_eq!(cache.index[&slot.path], at);
        }
    }

    #[test]
    fn an_entry_is_looked_at_again_after_a_while() {
        let now = Instant::now();
        let mut cache = Cache::default();
        cache.put(b"/a", entry(1, false), now, true);
        assert!(matches!(cache.get(b"/a", now), Hit::Fresh(_)));
        let later = now + VALID;
        assert!(matches!(cache.get(b"/a", later), Hit::Old(_)));
        cache.touch(b"/a", later);
        assert!(matches!(cache.get(b"/a", later), Hit::Fresh(_)));
        cache.remove(b"/a");
        assert!(matches!(cache.get(b"/a", later), Hit::None));
        cache.put(b"/b", entry(1, false), now, false);
        assert!(matches!(cache.get(b"/b", now), Hit::None));
        cache.put(b"/c", entry(MOST_BYTES, false), now, true);
        assert!(matches!(cache.get(b"/c", now), Hit::None) && cache.bytes == 0);
    }
}
