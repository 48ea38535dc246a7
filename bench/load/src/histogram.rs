//! Latencies as counts in buckets of at most 0.8 % width: constant memory, one addition per request.

/// Buckets between one power of two and the next.
const STEPS: u64 = 128;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Highest value kept apart, about 18 minutes; anything above counts as this.
const MAX_NANOS: u64 = (1 << 40) - 1;

/// Counts of durations, by size.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        let buckets = usize::try_from(index_of(MAX_NANOS) + 1).unwrap_or(0);
        Self {
            buckets: vec![0; buckets],
            count: 0,
            max: 0,
        }
    }

    /// Counts one duration.
    pub fn record(&mut self, nanos: u64) {
        let index = usize::try_from(index_of(nanos.min(MAX_NANOS))).unwrap_or(0);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds what another histogram has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.max = 0;
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The duration that `permille` of a thousand do not exceed; `None` when nothing was counted.
    pub fn quantile(&self, permille: u64) -> Option<u64> {
        let rank = (self.count * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in (0u64..).zip(&self.buckets) {
            seen += count;
            if seen >= rank {
                return Some(middle_of(index).min(self.max));
            }
        }
        None
    }
}

fn index_of(nanos: u64) -> u64 {
    if nanos < STEPS {
        return nanos;
    }
    let shift = u64::from(nanos.ilog2() - STEP_BITS);
    shift * STEPS + (nanos >> shift)
}

fn middle_of(index: u64) -> u64 {
    if index < 2 * STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let low = (index - shift * STEPS) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_never_further_than_half_its_width_from_what_it_counts() {
        let mut nanos = 1;
        while nanos < MAX_NANOS / 2 {
            for value in [nanos - 1, nanos, nanos + nanos / 3] {
                let middle = middle_of(index_of(value));
                assert!(
                    middle.abs_diff(value) * 2 * STEPS <= value.max(1),
                    "{value} {middle}"
                );
            }
            nanos *= 2;
        }
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut last = index_of(0);
        for value in 1..100_000 {
            let index = index_of(value);
            assert!(index == last || index == last + 1, "{value}");
            last = index;
        }
    }

    #[test]
    fn quantiles_of_one_to_a_hundred() {
        let mut histogram = Histogram::new();
        for value in 1..=100 {
            histogram.record(value);
        }
        assert_eq!(histogram.quantile(500), Some(50));
        assert_eq!(histogram.quantile(990), Some(99));
        assert_eq!(histogram.quantile(1000), Some(100));
        assert_eq!(Histogram::new().quantile(500), None);
    }
}
