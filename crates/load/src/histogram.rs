//! Owns the histogram of latencies: fixed size, log-linear, mergeable.
//! Leaves what is measured, and from when, to the recorder.
//!
//! Up to 127 microseconds each value has a bucket; above, each doubling is cut into 128 steps, and a
//! value is told as the middle of its step. So what is told is at most 1/256 (0.4 %) away from what
//! was recorded, or half a microsecond where that is more. The coarse kind has 16 steps (3 %).

use std::time::Duration;

/// Steps to each doubling, as a power of two: of the fine kind, of the coarse.
const FINE: u32 = 7;
pub(crate) const COARSE: u32 = 4;
/// The last bucket ends at 2^36 microseconds, 19 hours.
const LAST: u32 = 36;

/// How far a told value may be from the recorded one, as a share of it.
pub const PRECISION: f64 = 1.0 / 256.0;

/// Counts of durations. 30 KiB, or 4 of the coarse kind, whatever is recorded.
#[derive(Clone, Debug)]
pub struct Histogram {
    bits: u32,
    counts: Box<[u64]>,
    total: u64,
    sum_us: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::with_bits(FINE)
    }
}

impl Histogram {
    /// One that takes little memory: for charts, of which there are many.
    pub fn coarse() -> Self {
        Self::with_bits(COARSE)
    }

    fn with_bits(bits: u32) -> Self {
        let buckets = ((LAST - bits + 1) as usize) << bits;
        Self {
            bits,
            counts: vec![0; buckets].into_boxed_slice(),
            total: 0,
            sum_us: 0,
            max_us: 0,
        }
    }

    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let last = self.counts.len() - 1;
        if let Some(count) = self.counts.get_mut(bucket(self.bits, us).min(last)) {
            *count += 1;
        }
        self.total += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        if other.total == 0 {
            return;
        }
        if self.bits == other.bits {
            for (count, more) in self.counts.iter_mut().zip(&other.counts) {
                *count += more;
            }
        } else {
            let last = self.counts.len() - 1;
            let filled = other.counts.iter().enumerate().filter(|(_, n)| **n > 0);
            for (index, more) in filled {
                let index = bucket(self.bits, middle(other.bits, index)).min(last);
                if let Some(count) = self.counts.get_mut(index) {
                    *count += more;
                }
            }
        }
        self.total += other.total;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The longest; exact.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }

    /// The mean; exact. Zero when nothing was counted.
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum_us.checked_div(self.total).unwrap_or(0))
    }

    /// The duration that a share of all did not exceed: 0.95 is p95. Zero when nothing was counted.
    pub fn quantile(&self, share: f64) -> Duration {
        let filled = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        let index = quantile(share, self.total, filled.map(|(index, n)| (index, *n)));
        index.map_or_else(
            || self.max(),
            |index| Duration::from_micros(middle(self.bits, index).min(self.max_us)),
        )
    }

    /// Buckets that are not empty: the middle of each, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let filled = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        filled.map(|(index, count)| (Duration::from_micros(middle(self.bits, index)), *count))
    }
}

/// The bucket in which the count reaches a share of the total; None when it never does. `filled` are the
/// buckets that are not empty, in order.
pub(crate) fn quantile(
    share: f64,
    total: u64,
    filled: impl Iterator<Item = (usize, u64)>,
) -> Option<usize> {
    let wanted = ((total as f64) * share.clamp(0.0, 1.0)).ceil();
    let mut seen = 0_u64;
    for (index, count) in filled {
        seen += count;
        if seen as f64 >= wanted {
            return Some(index);
        }
    }
    None
}

#[inline]
pub(crate) fn bucket(bits: u32, us: u64) -> usize {
    let doubling = us.checked_ilog2().unwrap_or(0);
    if doubling < bits {
        return us as usize;
    }
    let shift = doubling - bits;
    ((shift as usize) << bits) + (us >> shift) as usize
}

/// The middle of a bucket; the inverse of `bucket` as far as there is one.
pub(crate) fn middle(bits: u32, index: usize) -> u64 {
    let steps = 1_usize << bits;
    if index < steps {
        return index as u64;
    }
    let shift = (index >> bits) - 1;
    let low = ((steps + (index & (steps - 1))) as u64) << shift;
    low + ((1_u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(value: u64) -> Duration {
        Duration::from_micros(value)
    }

    #[test]
    fn a_told_value_is_within_the_stated_precision() {
        let mut value = 1_u64;
        while value < 1 << 34 {
            for near in [value - 1, value, value + 1, value + value / 3] {
                let told = middle(FINE, bucket(FINE, near));
                let off = told.abs_diff(near) as f64;
                assert!(
                    off <= (near as f64) * PRECISION + 0.5,
                    "{near} told as {told}"
                );
            }
            value = value * 17 / 16 + 1;
        }
    }

    #[test]
    fn buckets_ascend_without_gaps() {
        for bits in [FINE, COARSE] {
            for index in 1..Histogram::with_bits(bits).counts.len() {
                assert_eq!(bucket(bits, middle(bits, index)), index);
                assert!(middle(bits, index) > middle(bits, index - 1));
            }
        }
    }

    #[test]
    fn values_beyond_the_end_are_counted_and_their_maximum_is_exact() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_secs(u64::MAX / 2));
        histogram.record(us(u64::MAX - 1));
        assert_eq!(histogram.count(), 2);
        assert_eq!(histogram.max(), us(u64::MAX));
        assert!(histogram.quantile(0.5) > Duration::from_secs(3600));
    }

    #[test]
    fn quantiles_of_one_to_thousand() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        for value in 1..=1000 {
            histogram.record(us(value * 1000));
        }
        for (share, expected) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1000.0)] {
            let told = histogram.quantile(share).as_secs_f64() * 1000.0;
            assert!(
                (told - expected).abs() <= expected * PRECISION + 0.001,
                "{share}: {told}"
            );
        }
        assert_eq!(histogram.mean(), us(500_500));
    }

    #[test]
    fn merged_is_the_same_as_recorded_together() {
        let (mut one, mut two, mut both) = (
            Histogram::default(),
            Histogram::default(),
            Histogram::default(),
        );
        for value in 0..5000_u64 {
            let duration = us(value * value);
            both.record(duration);
            if value % 3 == 0 { &mut one } else { &mut two }.record(duration);
        }
        one.merge(&two);
        assert_eq!(
            one.buckets().collect::<Vec<_>>(),
            both.buckets().collect::<Vec<_>>()
        );
        assert_eq!(
            (one.count(), one.mean(), one.max()),
            (both.count(), both.mean(), both.max())
        );
        let mut coarse = Histogram::coarse();
        coarse.merge(&both);
        let (fine, rough) = (
            both.quantile(0.9).as_secs_f64(),
            coarse.quantile(0.9).as_secs_f64(),
        );
        assert!((fine - rough).abs() < fine * 0.05, "{fine} {rough}");
    }
}
