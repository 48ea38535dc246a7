//! Owns which configuration is the best of all that were measured, which is the smallest that is as good, and
//! whether that is clear. Leaves what is measured next to `search`, and the statistics to `judge`.

use crate::found::{Found, Kind, Trial, Wish};
use crate::judge::{Standing, Strengths, compare};

/// What one measurement finds below this share of the best is not looked at again.
pub(crate) const NEAR: f64 = 0.8;
/// Measurements from which on something can be chosen, once there are so many of any.
const ENOUGH: usize = 3;
/// Standard errors by which a mean must be better than what just does.
const CAUTION: f64 = 0.25;
/// Memory that differs by less is the same, as a share.
const MEMORY: f64 = 0.02;

impl Found {
    /// Finds the best and the smallest that is as good, from everything there is.
    pub(crate) fn choose(&mut self, wish: &Wish) {
        let most_runs = self.most_runs();
        // Once there are blocks, the choice is one of those that took part, and the best one that took part in most:
        // of many that were measured seldom, one is always lucky.
        let part = |trial: &Trial| trial.holds() && trial.runs.len() >= most_runs.min(ENOUGH);
        let most = |trial: &Trial| trial.runs.len() * 2 >= most_runs || most_runs < ENOUGH;
        let rates: Vec<Vec<(u32, f64)>> = self.trials.iter().map(Trial::rates).collect();
        let strengths = Strengths::of(&rates);
        let parts = self.trials.iter().map(part).enumerate();
        let parts: Vec<usize> = parts.filter(|(_, part)| *part).map(|(at, _)| at).collect();
        let best = parts.iter().copied();
        let best = best.filter(|index| most(&self.trials[*index]));
        let best = best.max_by(|one, two| strengths.rank(*one).total_cmp(&strengths.rank(*two)));
        (self.best, self.choice, self.sure) = (best, None, false);
        let Some(best) = best else {
            return;
        };
        let reference = rates.get(best).map_or(&[][..], Vec::as_slice);
        for (trial, own) in self.trials.iter_mut().zip(&rates) {
            trial.against_best = compare(reference, own);
        }
        // With some care where it is not well known.
        let more = |index: usize| match strengths.more(index, best) {
            Some((more, error)) if index != best => more - CAUTION * error,
            _ => 0.0,
        };
        let good: Vec<usize> = parts
            .into_iter()
            .filter(|index| more(*index) >= -wish.tolerance)
            .collect();
        // Where all keep up with what arrives, only latency tells them apart.
        let open = wish.kind != Kind::Users && wish.walls.p95.is_none();
        let p95 = |index: &usize| self.trials[*index].together().p95.as_secs_f64();
        let quickest = good.iter().map(p95).fold(f64::MAX, f64::min);
        let quick = |index: &usize| !open || p95(index) <= quickest * 1.25 + 0.005;
        let good: Vec<usize> = good.into_iter().filter(quick).collect();
        let memory = |index: &usize| self.trials[*index].together().memory as f64;
        let least = good.iter().map(memory).fold(f64::MAX, f64::min);
        let small = good
            .iter()
            .filter(|index| memory(index) <= least * (1.0 + MEMORY));
        self.choice = small
            .min_by_key(|index| self.trials[**index].setting.size())
            .copied();
        self.sure = self.is_sure(most_runs, wish.tolerance);
    }

    fn most_runs(&self) -> usize {
        let held = self.trials.iter().filter(|trial| trial.holds());
        held.map(|trial| trial.runs.len()).max().unwrap_or(0)
    }

    /// Whether the choice holds against the best, and all that is smaller clearly does not.
    fn is_sure(&self, most_runs: usize, tolerance: f64) -> bool {
        let (Some(chosen), Some(best)) = (self.chosen(), self.best()) else {
            return false;
        };
        let standing = |trial: &Trial| trial.against_best.map(|it| it.standing(tolerance));
        let holds = chosen.setting == best.setting || standing(chosen) == Some(Standing::AsGood);
        let most = best.together().rate;
        let settled = |trial: &Trial| {
            let far = trial.runs.len() == 1 && trial.together().rate < most * NEAR;
            trial.broken.is_some() || far || standing(trial) == Some(Standing::Worse)
        };
        let size = chosen.setting.size();
        let memory = chosen.together().memory as f64 * (1.0 + MEMORY);
        let smaller = |trial: &&Trial| {
            trial.setting.size() < size && trial.together().memory as f64 <= memory
        };
        most_runs >= ENOUGH && holds && self.trials.iter().filter(smaller).all(settled)
    }
}
