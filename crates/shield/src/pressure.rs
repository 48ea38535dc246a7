//! Owns when memory is short: from which share of the limit on, and when it is well again.
//! Leaves measuring, and what is given up for it, to the callers.

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is enough.
    #[default]
    Calm,
    /// What is comfortable is given up: idle connections, large uploads.
    Tight,
    /// Whatever can be refused is.
    Critical,
}

/// From this percentage of the limit on.
const TIGHT: u64 = 85;
const CRITICAL: u64 = 92;
/// So much less ends it, or it would come and go with each request.
const LESS: u64 = 5;

impl Level {
    /// The level after this one, when so many percent of the limit are used.
    #[must_use]
    pub fn at(self, percent: u64) -> Self {
        let is = |level: Self, from: u64| {
            let from = if self >= level { from - LESS } else { from };
            percent >= from
        };
        if is(Self::Critical, CRITICAL) {
            Self::Critical
        } else if is(Self::Tight, TIGHT) {
            Self::Tight
        } else {
            Self::Calm
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Level;
    use super::Level::{Calm as O, Critical as C, Tight as T};

    #[test]
    fn l9_memory_is_short_from_85_percent_on_until_it_is_below_80() {
        let mut level = Level::default();
        let mut seen = Vec::new();
        for percent in [50, 84, 85, 81, 80, 79, 84, 91, 92, 88, 87, 86, 70, 99, 0] {
            level = level.at(percent);
            seen.push(level);
        }
        assert_eq!(seen, [O, O, T, T, T, O, O, T, C, C, C, T, O, C, O]);
    }
}
