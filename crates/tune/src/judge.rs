//! Owns the statistics: whether a configuration is as good as the best, by pairs of measurements that were
//! made one after the other. Leaves what is measured next to `search`.
//!
//! Each block measures every configuration once, in random order; a machine that is slower for a while is
//! slower for all of a block. The ratio of two configurations within a block is what is compared, and the
//! mean of its logarithms has a t interval.

use std::collections::BTreeMap;

/// Turns of a fit; it is at its end long before.
const ROUNDS: u32 = 50;

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

/// How good each configuration is.
#[derive(Clone, Debug, Default)]
pub struct Strengths {
    /// The logarithm of its rate, and its measurements; None where nothing was measured.
    own: Vec<Option<(f64, f64)>>,
    /// The standard deviation of one measurement, as a share.
    scatter: f64,
}

impl Strengths {
    /// Not every block has every configuration, and blocks differ, so a mean of rates would favour who was measured
    /// in a good minute: the logarithm of each rate is taken for the sum of what its configuration and what its block
    /// give (the two-way layout without interaction, by least squares).
    pub fn of(all: &[Vec<(u32, f64)>]) -> Self {
        let logs: Vec<Vec<(u32, f64)>> = all.iter().map(|runs| logarithms(runs)).collect();
        let mut blocks: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        let mut found = vec![0.0; all.len()];
        for _ in 0..ROUNDS {
            blocks.clear();
            for (runs, own) in logs.iter().zip(&found) {
                for (block, log) in runs {
                    let (sum, count) = blocks.entry(*block).or_default();
                    *sum += log - own;
                    *count += 1.0;
                }
            }
            for (runs, own) in logs.iter().zip(&mut found) {
                let rest = runs.iter().map(|(block, log)| log - given(&blocks, *block));
                *own = rest.sum::<f64>() / runs.len().max(1) as f64;
            }
        }
        let mut squares = 0.0;
        for (runs, own) in logs.iter().zip(&found) {
            let rests = runs
                .iter()
                .map(|(block, log)| log - given(&blocks, *block) - own);
            squares += rests.map(|rest| rest * rest).sum::<f64>();
        }
        let measured = logs.iter().filter(|runs| !runs.is_empty()).count();
        let count: usize = logs.iter().map(Vec::len).sum();
        let freedom = (count + 1).saturating_sub(measured + blocks.len());
        let own = logs.iter().zip(found);
        Self {
            own: own
                .map(|(runs, own)| (!runs.is_empty()).then_some((own, runs.len() as f64)))
                .collect(),
            scatter: (squares / freedom.max(1) as f64).sqrt(),
        }
    }

    /// For an order of them; the least there is where nothing was measured.
    pub fn rank(&self, index: usize) -> f64 {
        self.get(index).map_or(f64::NEG_INFINITY, |(own, _)| own)
    }

    /// By which share one gives more than another, and the standard error of that.
    pub fn more(&self, one: usize, other: usize) -> Option<(f64, f64)> {
        let ((one, runs), (other, its)) = (self.get(one)?, self.get(other)?);
        let error = self.scatter * (1.0 / runs + 1.0 / its).sqrt();
        Some(((one - other).exp() - 1.0, error))
    }

    fn get(&self, index: usize) -> Option<(f64, f64)> {
        self.own.get(index).copied().flatten()
    }
}

fn given(blocks: &BTreeMap<u32, (f64, f64)>, block: u32) -> f64 {
    blocks.get(&block).map_or(0.0, |(sum, count)| sum / count)
}

fn logarithms(runs: &[(u32, f64)]) -> Vec<(u32, f64)> {
    let sound = runs.iter().filter(|(_, rate)| *rate > 0.0);
    sound.map(|(block, rate)| (*block, rate.ln())).collect()
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
    fn who_was_measured_in_good_minutes_only_is_not_stronger() {
        // The second is a tenth better, and has no part in the two good blocks.
        let all = [
            vec![(1, 100.0), (2, 100.0), (3, 300.0), (4, 300.0)],
            vec![(1, 110.0), (2, 110.0)],
            vec![(3, 240.0), (4, 240.0), (5, 0.0)],
            vec![],
            vec![(5, 0.0)],
        ];
        let found = Strengths::of(&all);
        let more = |one: usize, two: usize| found.more(one, two).unwrap();
        assert!((more(1, 0).0 - 0.1).abs() < 1e-6, "{found:?}");
        assert!((more(2, 0).0 + 0.2).abs() < 1e-6, "{found:?}");
        assert!(more(1, 0).1 < 1e-6, "nothing is left to chance");
        assert_eq!((found.more(3, 0), found.more(4, 0)), (None, None));
        assert!(found.rank(1) > found.rank(0) && found.rank(3) < found.rank(2));
    }

    #[test]
    fn the_error_follows_from_what_is_left_over_and_how_often_it_was_measured() {
        let mut random = Random::new(5);
        let shared = [1.0; 16];
        let mut each = |rate: f64| blocks(rate, 0.06, &shared, &mut random);
        let found = Strengths::of(&[each(100.0), each(100.0), each(90.0)]);
        // Even chance within 6 % has a standard deviation of 1.73 %.
        let (less, error) = found.more(2, 0).unwrap();
        assert!((less + 0.1).abs() < 0.02, "{less}");
        assert!((error - 0.0173 / 8_f64.sqrt()).abs() < 0.0015, "{error}");
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
