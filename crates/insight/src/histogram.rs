//! Owns how durations are counted: 64 steps from 0.1 ms to 200 s, ten to each power of ten, and one
//! for all that is longer. 260 bytes each, and two can be added. Every bound that a metric is told
//! by is the end of a step, so that what is told by it is exact.
//! Leaves what is measured to its callers.

/// The ends of ten steps, in hundredths of a power of ten: none is more than a third above the last.
const STEPS: [u64; 10] = [100, 125, 150, 200, 250, 300, 400, 500, 600, 750];
/// Steps with an upper end.
const BUCKETS: usize = 64;

/// The upper ends of the steps in microseconds.
const ENDS_US: [u64; BUCKETS] = {
    let mut ends = [0; BUCKETS];
    let (mut step, mut power) = (0, 1);
    while step < BUCKETS {
        ends[step] = STEPS[step % STEPS.len()] * power;
        step += 1;
        if step % STEPS.len() == 0 {
            power *= 10;
        }
    }
    ends
};

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

/// The step that a duration falls into. Where one is counted in several places, it is looked for once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step(usize);

impl Step {
    /// That of a duration in microseconds.
    pub fn of(us: u64) -> Self {
        Self(ENDS_US.partition_point(|end| *end < us))
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, us: u64) {
        self.add_step(Step::of(us));
    }

    /// Counts one duration by its step.
    pub fn add_step(&mut self, step: Step) {
        if let Some(count) = self.counts.get_mut(step.0) {
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
                // What is longer than all steps is at least this long.
                return ENDS_US.get(step).or(ENDS_US.last()).copied().unwrap_or(0);
            }
        }
        0
    }

    /// How many did not exceed this, exact where a step ends there.
    pub fn at_most(&self, us: u64) -> u64 {
        let steps = ENDS_US.iter().zip(&self.counts);
        let within = steps.take_while(|(end, _)| **end <= us);
        within.map(|(_, count)| u64::from(*count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_without_gap_and_reach_three_minutes() {
        for (step, ends) in ENDS_US.windows(2).enumerate() {
            assert!(ends[0] < ends[1] && ends[1] * 3 <= ends[0] * 4, "{ends:?}");
            assert_eq!(Step::of(ends[0]), Step(step));
            assert_eq!(Step::of(ends[0] + 1), Step(step + 1));
        }
        assert_eq!((ENDS_US[0], ENDS_US[BUCKETS - 1]), (100, 200_000_000));
        assert_eq!((Step::of(0), Step::of(u64::MAX)), (Step(0), Step(BUCKETS)));
        assert!(size_of::<Histogram>() == 260);
    }

    #[test]
    fn d3_what_is_told_by_a_bound_is_exact_to_the_microsecond() {
        for ms in crate::show::prometheus::BOUNDS_MS {
            let mut histogram = Histogram::default();
            for us in [ms * 1000 - 1, ms * 1000, ms * 1000 + 1] {
                histogram.add(us);
            }
            assert_eq!(histogram.at_most(ms * 1000), 2, "{ms} ms");
        }
        let mut histogram = Histogram::default();
        histogram.add(29_000_000);
        assert_eq!(
            [25_000_000, 30_000_000].map(|us| histogram.at_most(us)),
            [0, 1]
        );
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
        let mut long = Histogram::default();
        long.add(u64::MAX);
        assert_eq!(
            (long.at_most(u64::MAX), long.quantile_us(500)),
            (0, 200_000_000)
        );
    }
}
