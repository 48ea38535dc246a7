//! Owns the proof that a page rule would help: whether an answer to a visitor without a cookie is byte
//! for byte what the same address has answered a moment before.
//! Leaves which answers are compared to `conn`, and what is advised to whoever reads the counts.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// Addresses that are remembered; then they are forgotten.
const MOST: usize = 1024;
/// The longest answer that is looked at.
const MOST_BODY: usize = 256 << 10;
/// Between two answers that are compared: a page older than this says nothing.
const WITHIN: Duration = Duration::from_secs(60);

/// The last answers, as hashes.
#[derive(Default)]
pub(crate) struct Likeness {
    hasher: RandomState,
    last: HashMap<u64, (u64, Instant)>,
}

impl Likeness {
    /// An address, by its host and target.
    pub fn address(&self, host: &[u8], target: &[u8]) -> u64 {
        self.hasher.hash_one((host, target))
    }

    /// Whether this is the answer of before; None when there is none to compare it with.
    pub fn compare(&mut self, address: u64, body: &[u8], now: Instant) -> Option<bool> {
        if body.len() > MOST_BODY {
            return None;
        }
        if self.last.len() >= MOST && !self.last.contains_key(&address) {
            self.last.clear();
        }
        let hash = digest(body);
        let (before, at) = self.last.insert(address, (hash, now))?;
        (now.saturating_duration_since(at) <= WITHIN).then_some(before == hash)
    }
}

/// Eight bytes at a time: an answer of ten kilobytes costs about a microsecond. Good enough to tell
/// pages apart that nobody makes alike on purpose.
fn digest(body: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(ODD).rotate_left(29);
    let (words, rest) = body.as_chunks::<8>();
    let mut hash = words.iter().fold(body.len() as u64, |hash, word| {
        mix(hash, u64::from_le_bytes(*word))
    });
    for byte in rest {
        hash = mix(hash, u64::from(*byte));
    }
    mix(hash, hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s8_the_same_answer_of_the_same_address_is_like_the_one_before_for_a_minute() {
        let (mut likeness, now) = (Likeness::default(), Instant::now());
        let [one, other] = [b"/a", b"/b"].map(|target| likeness.address(b"h", target));
        assert_ne!(one, other);
        assert_eq!(likeness.compare(one, b"page 1 of 2", now), None);
        assert_eq!(likeness.compare(other, b"page 1 of 2", now), None);
        assert_eq!(likeness.compare(one, b"page 1 of 2", now), Some(true));
        assert_eq!(likeness.compare(one, b"page 1 of 3", now), Some(false));
        assert_eq!(likeness.compare(one, b"page 2 of 3", now), Some(false));
        let later = now + WITHIN + Duration::from_secs(1);
        assert_eq!(likeness.compare(one, b"page 2 of 3", later), None);
        for address in 0..5000 {
            likeness.compare(address, b"", now);
        }
        assert!(likeness.last.len() <= MOST);
    }
}
