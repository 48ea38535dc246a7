//! Many purges in one of a fixed size, for when more wait than can be kept singly: owns that set, which
//! knows too much but never too little (Bloom, CACM 1970). What it knows too much costs a page its
//! next visitor's wait, and no other page anything.

use super::name::Name;
use crate::hash::fingerprint;

/// What several purges name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Several {
    bits: Box<[u8]>,
}

/// Four thousand names leave nine of ten other pages alone.
const BYTES: usize = 4096;
/// Bits for each name.
const PLACES: usize = 3;

impl Default for Several {
    fn default() -> Self {
        Self {
            bits: vec![0; BYTES].into_boxed_slice(),
        }
    }
}

impl Several {
    /// Adds a name.
    pub(super) fn add(&mut self, name: Name<'_>) {
        for (at, bit) in places(name) {
            if let Some(byte) = self.bits.get_mut(at) {
                *byte |= bit;
            }
        }
    }

    /// Adds what another has.
    pub(super) fn merge(&mut self, other: &Self) {
        for (own, other) in self.bits.iter_mut().zip(&other.bits) {
            *own |= other;
        }
    }

    pub(super) fn has(&self, name: Name<'_>) -> bool {
        let is_set = |(at, bit): (usize, u8)| self.bits.get(at).is_some_and(|byte| byte & bit != 0);
        places(name).into_iter().all(is_set)
    }

    /// Its bytes, for the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bits
    }

    /// From its bytes; None for anything of another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == BYTES).then(|| Self { bits: bytes.into() })
    }
}

/// The same on every machine.
fn places(name: Name<'_>) -> [(usize, u8); PLACES] {
    let hash = fingerprint(name.parts().into_iter());
    std::array::from_fn(|nth| {
        let place = (hash >> (32 * nth)) as usize % (BYTES * 8);
        (place / 8, 1 << (place % 8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::purge::Purge;

    fn path(number: usize) -> Purge {
        Purge::Path {
            host: Some(b"a.example".to_vec()),
            path: format!("/{number}").into_bytes(),
        }
    }

    #[test]
    fn many_purges_in_one_mean_all_of_theirs_and_few_others() {
        let mut several = Several::default();
        assert!((0..4096).all(|number| path(number).add_to(&mut several)));
        assert!(!Purge::Everything.add_to(&mut several));
        let has = |number| several.has(path(number).name().unwrap());
        assert!((0..4096).all(has));
        let wrong = (4096..14_096).filter(|&number| has(number)).count();
        assert!(wrong < 500, "{wrong} of 10,000");
        let read = Several::from_bytes(several.bytes()).unwrap();
        assert_eq!(read, several);
        let mut all = Several::default();
        assert!(Purge::Several(read).add_to(&mut all) && all == several);
        assert!(Several::from_bytes(b"short").is_none());
    }
}
