//! How hard to try: owns what one number means for each coding. Leaves choosing it to the options.

/// 1 (quick) to 9 (short).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

/// For each level: of zstd, of gzip, of brotli. Beyond brotli's 9 a byte costs a hundred times what
/// it costs before; that is for files, made ahead.
const TABLE: [(i32, u32, u32); 9] = [
    (1, 1, 1),
    (2, 2, 2),
    (3, 4, 3),
    (4, 5, 4),
    (6, 6, 5),
    (8, 6, 5),
    (10, 7, 6),
    (12, 8, 7),
    (15, 9, 9),
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

    fn row(self) -> (i32, u32, u32) {
        let at = usize::from(self.0.saturating_sub(1));
        TABLE.get(at).copied().unwrap_or((3, 4, 3))
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
        assert_eq!(Level::DEFAULT.row(), (3, 4, 3));
    }
}
