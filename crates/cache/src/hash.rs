//! Hashes: owns one for looking things up, seeded so that nobody outside can make keys collide, and
//! one over content, for checksums and entity tags.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A seeded hash for tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seeded(RandomState);

impl Seeded {
    /// Of several parts, which must not run together by themselves.
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.0.build_hasher();
        for part in parts {
            hasher.write(part);
        }
        hasher.finish()
    }
}

const ONE: u64 = 0x9e37_79b9_7f4a_7c15;
const OTHER: u64 = 0xd6e8_feb8_6659_fd93;

/// 128 bits over content in chunks; the same wherever the chunks are cut, on every machine and in
/// every release. It finds accidents, not forgeries.
pub(crate) fn fingerprint<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> u128 {
    let mut state = Mixer {
        low: ONE,
        high: OTHER,
        held: [0; 8],
        filled: 0,
        len: 0,
    };
    for chunk in chunks {
        state.write(chunk);
    }
    state.finish()
}

/// A checksum of bytes: any change within eight of them, and nearly any other, changes it.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    fingerprint(std::iter::once(bytes)) as u64
}

struct Mixer {
    low: u64,
    high: u64,
    held: [u8; 8],
    filled: usize,
    len: u64,
}

impl Mixer {
    fn write(&mut self, mut bytes: &[u8]) {
        self.len = self.len.wrapping_add(bytes.len() as u64);
        while self.filled > 0 && self.filled < 8 {
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            self.hold(*first);
            bytes = rest;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.hold(*byte);
        }
    }

    fn hold(&mut self, byte: u8) {
        if let Some(place) = self.held.get_mut(self.filled) {
            *place = byte;
        }
        self.filled += 1;
        if self.filled == 8 {
            self.word(u64::from_le_bytes(self.held));
            self.filled = 0;
            self.held = [0; 8];
        }
    }

    /// Each step can be undone, so that one changed word always changes the end.
    fn word(&mut self, word: u64) {
        self.low = (self.low ^ word).wrapping_mul(ONE);
        self.low ^= self.low >> 29;
        self.high = (self.high.rotate_left(23) ^ word).wrapping_mul(OTHER);
        self.high ^= self.high >> 32;
    }

    fn finish(mut self) -> u128 {
        if self.filled > 0 {
            self.word(u64::from_le_bytes(self.held));
        }
        self.word(self.len);
        self.word(ONE ^ OTHER);
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_into_chunks_does_not_matter() {
        let bytes: Vec<u8> = (0..100).collect();
        let whole = fingerprint(std::iter::once(&bytes[..]));
        for size in 1..40 {
            assert_eq!(fingerprint(bytes.chunks(size)), whole, "{size}");
        }
        assert_ne!(fingerprint(bytes[..99].chunks(7)), whole);
    }

    #[test]
    fn a_changed_bit_changes_the_checksum() {
        let mut bytes: Vec<u8> = (0..67).collect();
        let whole = checksum(&bytes);
        for at in 0..bytes.len() * 8 {
            bytes[at / 8] ^= 1 << (at % 8);
            assert_ne!(checksum(&bytes), whole, "{at}");
            bytes[at / 8] ^= 1 << (at % 8);
        }
        assert_ne!(checksum(b""), checksum(b"\0"));
    }

    #[test]
    fn the_seed_differs_from_table_to_table() {
        let parts: &[&[u8]] = &[b"a", b"b"];
        assert_ne!(Seeded::default().hash(parts), Seeded::default().hash(parts));
    }
}
