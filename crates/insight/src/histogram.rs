//! Owns how durations are counted: 64 steps from 0.1 ms on, three to each doubling, and one for all
//! that is longer. 260 bytes each, and two can be added.
//! Leaves what is measured to its callers.

/// The end of the first step in microseconds: shorter ones are all alike.
const FIRST_US: u64 = 100;
/// Steps to a doubling, evenly spread within it.
const STEPS: usize = 3;
/// Steps with an upper end: the last one is beyond three minutes.
const BUCKETS: usize = 64;

/// Counts of durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u32; BUCKETS + 1],
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS + 1],
        }
    }
}

/// The upper end of a step in microseconds.
fn upper_us(step: usize) -> u64 {
    let base = FIRST_US << (step / STEPS).min(40);
    base + base * (step % STEPS) as u64 / STEPS as u64
}

fn step_of(us: u64) -> usize {
    if us <= FIRST_US {
        return 0;
    }
    // `us` lies within base < us <= 2 · base for one base = 100 · 2^n.
    let doubling = ((us - 1) / FIRST_US).ilog2() as usize;
    let first = doubling * STEPS;
    (first..=first + STEPS)
        .find(|step| us <= upper_us(*step))
        .unwrap_or(first + STEPS)
        .min(BUCKETS)
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, us: u64) {
        if let Some(count) = self.counts.get_mut(step_of(us)) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// The duration that this share of all did not exceed, to the upper end of its step; 0 when
    /// nothing was counted. `share` is in thousandths.
    pub fn quantile_us(&self, share: u64) -> u64 {
        let total = self.total();
        let rank = (total * share).div_ceil(1000).max(1);
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank && total > 0 {
                return upper_us(step);
            }
        }
        0
    }

    /// How many did not exceed this, exact where a step ends there.
    pub fn at_most(&self, us: u64) -> u64 {
        let counts = self.counts.iter().enumerate();
        let counts = counts.filter(|(step, _)| *step < BUCKETS && upper_us(*step) <= us);
        counts.map(|(_, count)| u64::from(*count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_without_gap_and_reach_three_minutes() {
        for step in 1..BUCKETS {
            assert!(upper_us(step) > upper_us(step - 1));
            assert_eq!(step_of(upper_us(step)), step);
            assert_eq!(step_of(upper_us(step) + 1), (step + 1).min(BUCKETS));
        }
        assert!(upper_us(BUCKETS - 1) > 180_000_000);
        assert_eq!((step_of(0), step_of(u64::MAX)), (0, BUCKETS));
        assert!(size_of::<Histogram>() == 260);
    }

    #[test]
    fn quantiles_are_right_within_a_third() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(500), 0);
        for ms in 1..=1000 {
            histogram.add(ms * 1000);
        }
        for (share, ms) in [(500, 500), (950, 950), (990, 990), (1000, 1000)] {
            let found = histogram.quantile_us(share) / 1000;
            assert!(found >= ms && found * 3 <= ms * 4 + 3, "{share}: {found}");
        }
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert_eq!(twice.total(), 2000);
        assert_eq!(histogram.at_most(u64::MAX), 1000);
    }
}
