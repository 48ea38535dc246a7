//! Owns the statistics: whether a configuration is as good as the best, by pairs of measurements that were
//! made one after the other. Leaves what is measured next to `search`.
//!
//! Each block measures every configuration once, in random order; a machine that is slower for a while is
//! slower for all of a block. The ratio of two configurations within a block is what is compared, and the
//! mean of its logarithms has a t interval.

/// How much less than another, as a share: 0 is the same, -0.1 a tenth less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// The lower end of the 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Pairs behind it.
    pub pairs: usize,
}

/// What an interval says, for a difference that would matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not worse by as much as matters.
    AsGood,
    /// Worse by more than matters.
    Worse,
    /// It may be either.
    Open,
}

impl Interval {
    /// For a tolerance such as 0.03.
    pub fn standing(&self, tolerance: f64) -> Standing {
        if self.high < -tolerance {
            Standing::Worse
        } else if self.low > -tolerance {
            Standing::AsGood
        } else {
            Standing::Open
        }
    }
}

/// Compares measurements, each with the number of its block; None when fewer than two blocks have both.
pub fn compare(best: &[(u32, f64)], other: &[(u32, f64)]) -> Option<Interval> {
    let logs: Vec<f64> = other
        .iter()
        .filter_map(|(block, value)| {
            let (_, reference) = best.iter().find(|(known, _)| known == block)?;
            (*value > 0.0 && *reference > 0.0).then(|| (value / reference).ln())
        })
        .collect();
    if logs.len() < 2 {
        return None;
    }
    let count = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = t_975(logs.len() - 1) * (variance / count).sqrt();
    let share = |log: f64| log.exp() - 1.0;
    Some(Interval {
        mean: share(mean),
        low: share(mean - half),
        high: share(mean + half),
        pairs: logs.len(),
    })
}

/// The 97.5 % point of Student's t.
fn t_975(freedom: usize) -> f64 {
    const TABLE: [f64; 15] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131,
    ];
    let at = freedom.saturating_sub(1);
    // Beyond the table the point falls slowly from 2.12 to 1.96.
    TABLE
        .get(at)
        .copied()
        .unwrap_or(1.96 + 2.5 / freedom as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use canter_load::Random;

    fn blocks(rate: f64, jitter: f64, shared: &[f64], random: &mut Random) -> Vec<(u32, f64)> {
        let each = shared.iter().enumerate();
        each.map(|(block, shared)| {
            let own = 1.0 + jitter * (random.share() - 0.5);
            (block as u32, rate * shared * own)
        })
        .collect()
    }

    #[test]
    fn what_a_whole_block_shares_is_no_difference() {
        let mut random = Random::new(3);
        let shared = [1.0, 0.5, 0.9, 0.3, 1.1];
        let best = blocks(100.0, 0.02, &shared, &mut random);
        let same = compare(&best, &blocks(100.0, 0.02, &shared, &mut random)).unwrap();
        assert_eq!(same.standing(0.03), Standing::AsGood, "{same:?}");
        let less = compare(&best, &blocks(90.0, 0.02, &shared, &mut random)).unwrap();
        assert_eq!(less.standing(0.03), Standing::Worse, "{less:?}");
        assert!((less.mean + 0.1).abs() < 0.02);
    }

    #[test]
    fn few_or_noisy_pairs_leave_it_open() {
        let mut random = Random::new(3);
        let shared = [1.0; 3];
        let best = blocks(100.0, 0.4, &shared, &mut random);
        let noisy = compare(&best, &blocks(95.0, 0.4, &shared, &mut random)).unwrap();
        assert_eq!(noisy.standing(0.03), Standing::Open, "{noisy:?}");
        assert_eq!(compare(&best, &[(0, 1.0)]), None);
        assert_eq!(compare(&best, &[(7, 1.0), (8, 1.0), (9, 1.0)]), None);
    }

    #[test]
    fn an_equal_one_is_called_worse_in_few_of_many_tries() {
        let mut wrong = 0;
        for seed in 0..500 {
            let mut random = Random::new(seed);
            let best = blocks(100.0, 0.2, &[1.0; 5], &mut random);
            let other = blocks(100.0, 0.2, &[1.0; 5], &mut random);
            let found = compare(&best, &other).unwrap();
            wrong += usize::from(found.standing(0.0) == Standing::Worse);
        }
        assert!(wrong <= 25, "{wrong} of 500");
    }
}
