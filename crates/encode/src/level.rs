//! How hard to try: owns what one number means for each coding. Leaves choosing it to the options.

use crate::Coding;

/// 1 (quick) to 9 (short).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

/// For each level: of zstd, of gzip, of brotli. The highest of each are left out: they cost a
/// hundred times as much and want tens of megabytes; they are for files, made ahead.
const TABLE: [(i32, u32, u32); 9] = [
    (1, 1, 1),
    (2, 2, 2),
    (3, 3, 3),
    (5, 4, 3),
    (6, 5, 4),
    (7, 6, 4),
    (9, 7, 5),
    (12, 8, 5),
    (15, 9, 6),
];

impl Level {
    /// For an answer that is sent once.
    pub const DEFAULT: Self = Self(3);
    /// For one that is kept and sent often.
    pub const KEPT: Self = Self(7);

    /// The nearest level there is.
    pub fn new(number: u8) -> Self {
        Self(number.clamp(1, 9))
    }

    /// Content of this length is encoded in about half a millisecond at most.
    pub fn quick(self) -> usize {
        match self.0 {
            0..=4 => 64 << 10,
            5 | 6 => 32 << 10,
            7 | 8 => 16 << 10,
            _ => 8 << 10,
        }
    }

    /// Bytes that a stream of this level takes while it is under way: measured by
    /// `examples/speed.rs`, and rounded up.
    pub(crate) fn memory(self, coding: Coding, is_trickle: bool) -> u64 {
        let kib = match (coding, is_trickle) {
            (Coding::Identity, _) => 0,
            (Coding::Gzip, _) => 320,
            (Coding::Brotli, true) => 256,
            (Coding::Brotli, false) => match self.of_brotli() {
                0..=3 => 1280,
                4 => 2176,
                5 => 2560,
                _ => 3584,
            },
            (Coding::Zstd, true) => 448,
            (Coding::Zstd, false) => 1024,
        };
        kib << 10
    }

    fn row(self) -> (i32, u32, u32) {
        let at = usize::from(self.0.saturating_sub(1));
        TABLE.get(at).copied().unwrap_or((3, 3, 3))
    }

    pub(crate) fn of_zstd(self) -> i32 {
        self.row().0
    }

    pub(crate) fn of_gzip(self) -> u32 {
        self.row().1
    }

    pub(crate) fn of_brotli(self) -> u32 {
        self.row().2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_is_a_level_and_none_is_easier_than_the_one_before() {
        assert_eq!(Level::new(0), Level::new(1));
        assert_eq!(Level::new(200), Level::new(9));
        for pair in TABLE.windows(2) {
            assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1 && pair[0].2 <= pair[1].2);
        }
        assert_eq!(Level::DEFAULT.row(), (3, 3, 3));
    }
}
