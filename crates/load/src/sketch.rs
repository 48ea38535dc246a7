//! Owns a histogram that takes little memory, for what is counted apart for each of many requests.
//! Leaves what all requests together took to `histogram`.
//!
//! It keeps the buckets that are not empty, 16 to each doubling as the coarse histogram has. When there
//! are more of them than it may keep, two neighbours become one, and so on: what is told is then up to
//! 1/16, 1/8 or 1/4 of itself away from what was recorded, instead of 1/32. Maximum and mean stay exact.

use std::time::Duration;

use crate::histogram::{COARSE, bucket, middle, quantile};

/// Counts of durations in as many buckets as it was given, or one to each doubling if those are fewer.
#[derive(Clone, Debug)]
pub struct Sketch {
    bits: u32,
    most: usize,
    /// Bucket and count, the buckets ascending.
    counts: Vec<(u16, u32)>,
    total: u64,
    sum_us: u64,
    max_us: u64,
}

/// Bytes of a bucket.
const BUCKET: usize = size_of::<(u16, u32)>();
/// Fewer than these tell nothing.
const FEWEST: usize = 12;

impl Sketch {
    /// One of so many that share `bytes`.
    pub fn of_many(many: usize, bytes: usize) -> Self {
        let most = bytes / many.max(1) / BUCKET;
        Self {
            bits: COARSE,
            most: most.max(FEWEST),
            counts: Vec::new(),
            total: 0,
            sum_us: 0,
            max_us: 0,
        }
    }

    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.add(us, 1);
        self.total += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        while self.bits > other.bits {
            self.fold();
        }
        for (index, count) in &other.counts {
            self.add(middle(other.bits, usize::from(*index)), *count);
        }
        self.total += other.total;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    fn add(&mut self, us: u64, count: u32) {
        let index = bucket(self.bits, us).min(usize::from(u16::MAX)) as u16;
        match self.counts.binary_search_by_key(&index, |(at, _)| *at) {
            Ok(at) => {
                if let Some((_, sum)) = self.counts.get_mut(at) {
                    *sum = sum.saturating_add(count);
                }
            }
            Err(at) => {
                if self.counts.len() == self.counts.capacity() {
                    let room = (self.most + 1).saturating_sub(self.counts.len());
                    let more = room.min(self.counts.len().max(4)).max(1);
                    self.counts.reserve_exact(more);
                }
                self.counts.insert(at, (index, count));
                while self.counts.len() > self.most && self.bits > 0 {
                    self.fold();
                }
            }
        }
    }

    /// Makes one bucket of two.
    fn fold(&mut self) {
        let (from, to) = (self.bits, self.bits.saturating_sub(1));
        let mut kept = 0;
        for place in 0..self.counts.len() {
            let (index, count) = self.counts[place];
            let index = bucket(to, middle(from, usize::from(index))) as u16;
            match self.counts[..kept].last_mut() {
                Some((last, sum)) if *last == index => *sum = sum.saturating_add(count),
                _ => {
                    self.counts[kept] = (index, count);
                    kept += 1;
                }
            }
        }
        self.counts.truncate(kept);
        self.bits = to;
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
        let filled = self.counts.iter();
        let filled = filled.map(|(index, count)| (usize::from(*index), u64::from(*count)));
        quantile(share, self.total, filled).map_or_else(
            || self.max(),
            |index| Duration::from_micros(middle(self.bits, index).min(self.max_us)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;

    fn values() -> impl Iterator<Item = Duration> {
        // From 1 ms to 30 s, the short ones more often.
        (0..20_000_u64).map(|at| Duration::from_micros(1000 + (at * 7919 % 20_000).pow(2) * 3 / 40))
    }

    #[test]
    fn it_tells_what_the_coarse_histogram_tells_while_there_is_room() {
        let (mut sketch, mut histogram) = (Sketch::of_many(1, 1 << 20), Histogram::coarse());
        for value in values() {
            sketch.record(value);
            histogram.record(value);
        }
        for share in [0.0, 0.1, 0.5, 0.95, 0.99, 1.0] {
            assert_eq!(sketch.quantile(share), histogram.quantile(share), "{share}");
        }
        assert_eq!(
            (sketch.count(), sketch.mean(), sketch.max()),
            (histogram.count(), histogram.mean(), histogram.max())
        );
    }

    #[test]
    fn a3_five_thousand_of_them_keep_to_their_share() {
        let bytes = 3 << 20;
        let mut sketch = Sketch::of_many(5000, bytes);
        let mut exact: Vec<Duration> = values().collect();
        for value in &exact {
            sketch.record(*value);
        }
        assert!(sketch.counts.capacity() * BUCKET <= bytes / 5000 + BUCKET);
        exact.sort();
        for share in [0.05, 0.5, 0.95, 0.99] {
            let known = exact[(share * exact.len() as f64) as usize].as_secs_f64();
            let told = sketch.quantile(share).as_secs_f64();
            assert!((told / known - 1.0).abs() < 0.26, "{share}: {told} {known}");
        }
        assert_eq!(sketch.max(), exact[exact.len() - 1]);
    }

    #[test]
    fn merged_is_the_same_as_recorded_together() {
        for bytes in [200, 400, 1 << 20] {
            let many = || Sketch::of_many(1, bytes);
            let (mut one, mut two, mut both) = (many(), many(), many());
            for (at, value) in values().enumerate() {
                both.record(value);
                if at % 3 == 0 { &mut one } else { &mut two }.record(value);
            }
            one.merge(&two);
            assert_eq!((one.bits, &one.counts), (both.bits, &both.counts));
            assert_eq!((one.count(), one.mean()), (both.count(), both.mean()));
        }
    }

    #[test]
    fn values_beyond_the_end_are_counted_and_their_maximum_is_exact() {
        let mut sketch = Sketch::of_many(1_000_000, 1);
        sketch.record(Duration::from_secs(u64::MAX / 2));
        sketch.record(Duration::ZERO);
        for shift in 0..63 {
            sketch.record(Duration::from_micros(1 << shift));
        }
        assert_eq!(sketch.count(), 65);
        assert_eq!(sketch.max(), Duration::from_micros(u64::MAX));
        assert!(sketch.quantile(0.99) > Duration::from_secs(1 << 20));
    }
}
