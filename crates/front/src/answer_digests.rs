//! Owns the digests of answers to visitors without a cookie: whether an address answers byte for byte what
//! it has answered a moment before, which proves that a page rule would help.
//! Leaves which answers are compared to `conn`, and what is advised to whoever reads the counts.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use crate::request::random;

/// Addresses that are remembered; then they are forgotten.
const MOST: usize = 1024;
/// The longest answer that is looked at.
const MOST_BODY: usize = 256 << 10;
/// Between two answers that are compared: a page older than this says nothing.
const WITHIN: Duration = Duration::from_secs(60);
/// Comparisons at an address after which it is known well enough to be looked at now and then only.
const WELL_KNOWN: u32 = 100;
/// Between two comparisons at an address that is known well: at thousands of answers a second each one
/// of them would cost more than it tells.
const NOW_AND_THEN: Duration = Duration::from_millis(10);

/// How many requests may have their address taken within [`NOW_AND_THEN`]: with more of them the share
/// of answers that are alike is as well known from a part of them.
const MOST_AT_ONCE: u32 = 32;

/// The last answer that was looked at, at one address.
struct Last {
    digest: u64,
    at: Instant,
    /// How many were looked at.
    times: u32,
}

/// The last answer of each address, as a digest.
pub(crate) struct AnswerDigests {
    /// Nobody outside can tell which addresses are taken for the same.
    seed: u64,
    last: HashMap<u64, Last, BuildHasherDefault<Hashed>>,
    /// Since when addresses are counted, and how many there were.
    taken: (Option<Instant>, u32),
}

impl Default for AnswerDigests {
    fn default() -> Self {
        Self {
            seed: random(),
            last: HashMap::default(),
            taken: (None, 0),
        }
    }
}

impl AnswerDigests {
    /// Whether a request that came now may be one whose answer is compared.
    pub fn may_sample(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.taken;
        *count += 1;
        if *count <= MOST_AT_ONCE {
            return true;
        }
        let is_over =
            since.is_none_or(|since| now.saturating_duration_since(since) >= NOW_AND_THEN);
        if is_over {
            (*since, *count) = (Some(now), 1);
        }
        is_over
    }

    /// An address, by its host and target.
    pub fn address(&self, host: &[u8], target: &[u8]) -> u64 {
        digest(digest(self.seed, host), target)
    }

    /// Whether this is the answer of before; None when there is none to compare it with, or it was
    /// looked at a moment ago.
    pub fn compare(&mut self, address: u64, body: &[u8], now: Instant) -> Option<bool> {
        if body.len() > MOST_BODY {
            return None;
        }
        if let Some(last) = self.last.get_mut(&address) {
            let age = now.saturating_duration_since(last.at);
            if last.times >= WELL_KNOWN && age < NOW_AND_THEN {
                return None;
            }
            let before = std::mem::replace(&mut last.digest, digest(0, body));
            last.at = now;
            last.times = last.times.saturating_add(1);
            return (age <= WITHIN).then_some(before == last.digest);
        }
        if self.last.len() >= MOST {
            self.last.clear();
        }
        let last = Last {
            digest: digest(0, body),
            at: now,
            times: 1,
        };
        self.last.insert(address, last);
        None
    }
}

/// Takes a number that is a hash for its hash.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = digest(self.0, bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Good enough to tell pages apart that nobody makes alike on purpose. Four products that do not wait
/// for each other: one that goes through the body word by word costs two microseconds for ten
/// kilobytes.
fn digest(seed: u64, body: &[u8]) -> u64 {
    const ODD: [u64; 4] = [
        0x9E37_79B9_7F4A_7C15,
        0xC2B2_AE3D_27D4_EB4F,
        0x1656_67B1_9E37_79F9,
        0xD6E8_FEB8_6659_FD93,
    ];
    let mix = |hash: u64, word: u64, odd: u64| (hash ^ word).wrapping_mul(odd).rotate_left(29);
    let (words, rest) = body.as_chunks::<8>();
    let (fours, few) = words.as_chunks::<4>();
    let mut lanes = ODD.map(|odd| odd ^ seed ^ body.len() as u64);
    for four in fours {
        for ((lane, word), odd) in lanes.iter_mut().zip(four).zip(ODD) {
            *lane = mix(*lane, u64::from_le_bytes(*word), odd);
        }
    }
    let mut hash = match fours {
        // Addresses are short: what no word has gone into tells nothing.
        [] => seed ^ body.len() as u64,
        _ => lanes
            .into_iter()
            .fold(0, |hash, lane| mix(hash, lane, ODD[0])),
    };
    for word in few {
        hash = mix(hash, u64::from_le_bytes(*word), ODD[0]);
    }
    for byte in rest {
        hash = mix(hash, u64::from(*byte), ODD[0]);
    }
    mix(hash, hash >> 32, ODD[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s8_the_same_answer_of_the_same_address_is_like_the_one_before_for_a_minute() {
        let (mut digests, now) = (AnswerDigests::default(), Instant::now());
        let [one, other] = [b"/a", b"/b"].map(|target| digests.address(b"h", target));
        assert_ne!(one, other);
        assert_eq!(digests.compare(one, b"page 1 of 2", now), None);
        assert_eq!(digests.compare(other, b"page 1 of 2", now), None);
        assert_eq!(digests.compare(one, b"page 1 of 2", now), Some(true));
        assert_eq!(digests.compare(one, b"page 1 of 3", now), Some(false));
        assert_eq!(digests.compare(one, b"page 2 of 3", now), Some(false));
        let later = now + WITHIN + Duration::from_secs(1);
        assert_eq!(digests.compare(one, b"page 2 of 3", later), None);
        for address in 0..5000 {
            digests.compare(address, b"", now);
        }
        assert!(digests.last.len() <= MOST);
    }

    #[test]
    fn one_changed_byte_anywhere_is_another_answer() {
        let mut body: Vec<u8> = (0..200_u8).collect();
        for length in 0..body.len() {
            let whole = digest(0, &body[..length]);
            assert_ne!(whole, digest(0, &body[..=length]), "{length}");
            for at in 0..length {
                body[at] ^= 1;
                assert_ne!(whole, digest(0, &body[..length]), "{at} of {length}");
                body[at] ^= 1;
            }
        }
        let swapped = [&body[8..16], &body[..8], &body[16..64]].concat();
        assert_ne!(digest(0, &body[..64]), digest(0, &swapped));
    }

    #[test]
    fn where_requests_come_by_thousands_a_part_of_them_is_compared() {
        let (mut digests, start) = (AnswerDigests::default(), Instant::now());
        let mut looked = |from: u64, apart: Duration| {
            let start = start + Duration::from_secs(from);
            let times = (0..10_000).map(|at| start + apart * at);
            times.filter(|now| digests.may_sample(*now)).count()
        };
        // For a tenth of a second: 32 in each hundredth, and those before the clock is looked at.
        let many = looked(0, Duration::from_micros(10));
        assert!((300..400).contains(&many), "{many}");
        let all = looked(1, Duration::from_millis(1));
        assert_eq!(all, 10_000);
    }

    #[test]
    fn an_address_that_answers_very_often_is_looked_at_now_and_then() {
        let (mut digests, start) = (AnswerDigests::default(), Instant::now());
        let looked = |digests: &mut AnswerDigests, from: Duration, apart: Duration, count: u32| {
            let times = (0..count).map(|at| start + from + apart * at);
            let said = times.map(|now| digests.compare(1, b"page", now));
            said.filter(|said| *said == Some(true)).count()
        };
        let us = Duration::from_micros;
        let second = Duration::from_secs(1);
        // All of the first hundred, and none of those that follow at once.
        assert_eq!(looked(&mut digests, us(0), us(10), 500), 99);
        // Then every ten milliseconds.
        assert_eq!(looked(&mut digests, second, us(10), 2000), 2);
        assert_eq!(looked(&mut digests, second * 2, NOW_AND_THEN, 50), 50);
    }
}
