//! Owns the fit of the Universal Scalability Law to answers a second at different levels of load:
//! `C(N) = c1 N / (1 + a (N - 1) + b N (N - 1))`, with `a` for what is done one after the other and `b` for
//! what grows with every pair. Leaves drawing it to the report.
//!
//! A fit is given only when the data carry it: a curve through few or scattered points would look like
//! knowledge. A peak is named only when `b` can be told from 0.

/// A fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Answers a second of one alone.
    pub alone: f64,
    /// Contention.
    pub contention: f64,
    /// Coherency.
    pub coherency: f64,
    /// The root of the mean of the squares of what the fit is off, relative.
    pub off: f64,
    /// The level with the most answers, when there is one.
    pub peak: Option<f64>,
}

/// Fewest levels of a fit with three numbers.
const FEWEST: usize = 6;
/// The most a fit may be off.
const MOST_OFF: f64 = 0.05;

impl Fit {
    /// Answers a second at a level.
    pub fn at(&self, level: f64) -> f64 {
        let divisor =
            1.0 + self.contention * (level - 1.0) + self.coherency * level * (level - 1.0);
        self.alone * level / divisor.max(1e-9)
    }
}

/// Fits, or says why not.
pub fn fit(points: &[(f64, f64)]) -> Result<Fit, String> {
    let sound: Vec<(f64, f64)> = points
        .iter()
        .copied()
        .filter(|(n, c)| *n >= 1.0 && *c > 0.0)
        .collect();
    if sound.len() < FEWEST {
        return Err(format!(
            "{} levels of load are too few for a scaling law, which takes {FEWEST}",
            sound.len()
        ));
    }
    // N / C is linear in the three numbers; C / N as the weight makes errors relative.
    let both = solve(&sound, [true, true, true]);
    let without_coherency = || solve(&sound, [true, true, false]);
    let straight = || solve(&sound, [true, false, false]);
    let found = both
        .filter(|(k, _)| k[1] >= 0.0 && k[2] >= 0.0)
        .or_else(|| without_coherency().filter(|(k, _)| k[1] >= 0.0))
        .or_else(straight)
        .filter(|(k, _)| k[0] > 0.0);
    let Some((k, errors)) = found else {
        return Err("the measurements follow no scaling law".to_owned());
    };
    let mut fit = Fit {
        alone: 1.0 / k[0],
        contention: k[1] / k[0],
        coherency: k[2] / k[0],
        off: 0.0,
        peak: None,
    };
    let squares: f64 = sound
        .iter()
        .map(|(n, c)| (fit.at(*n) / c - 1.0).powi(2))
        .sum();
    fit.off = (squares / sound.len() as f64).sqrt();
    if fit.off > MOST_OFF {
        return Err(format!(
            "a scaling law would be off by {:.0} %, so none is drawn",
            fit.off * 100.0
        ));
    }
    if k[2] > 2.0 * errors[2] && fit.coherency > 0.0 && fit.contention < 1.0 {
        let peak = ((1.0 - fit.contention) / fit.coherency).sqrt();
        let most = sound.iter().map(|(n, _)| *n).fold(0.0, f64::max);
        fit.peak = Some(peak).filter(|peak| *peak <= most * 2.0);
    }
    Ok(fit)
}

/// Weighted least squares of N/C on 1, N-1 and N(N-1), or some of them; with standard errors.
fn solve(points: &[(f64, f64)], used: [bool; 3]) -> Option<([f64; 3], [f64; 3])> {
    let row = |n: f64| [1.0, n - 1.0, n * (n - 1.0)];
    let mut normal = [[0.0; 3]; 3];
    let mut right = [0.0; 3];
    for (n, c) in points {
        let (row, y, weight) = (row(*n), n / c, (c / n).powi(2));
        for i in 0..3 {
            right[i] += weight * row[i] * y;
            for j in 0..3 {
                normal[i][j] += weight * row[i] * row[j];
            }
        }
    }
    for i in (0..3).filter(|i| !used[*i]) {
        normal[i] = [0.0; 3];
        for row in &mut normal {
            row[i] = 0.0;
        }
        (normal[i][i], right[i]) = (1.0, 0.0);
    }
    let inverse = invert(normal)?;
    let times = |row: &[f64; 3]| row.iter().zip(&right).map(|(a, b)| a * b).sum::<f64>();
    let k = [times(&inverse[0]), times(&inverse[1]), times(&inverse[2])];
    let rest: f64 = points
        .iter()
        .map(|(n, c)| {
            let fitted: f64 = row(*n).iter().zip(&k).map(|(a, b)| a * b).sum();
            ((fitted - n / c) * c / n).powi(2)
        })
        .sum();
    let free = points
        .len()
        .saturating_sub(used.iter().filter(|used| **used).count())
        .max(1);
    let variance = rest / free as f64;
    let error = |i: usize| (variance * inverse[i][i]).max(0.0).sqrt();
    Some((k, [error(0), error(1), error(2)]))
}

/// By cofactors; None when the points lie so that they determine nothing.
fn invert(m: [[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let minor = |i: usize, j: usize| {
        let (above, below) = (m[(i + 1) % 3], m[(i + 2) % 3]);
        let (left, right) = ((j + 1) % 3, (j + 2) % 3);
        above[left] * below[right] - above[right] * below[left]
    };
    let determinant: f64 = (0..3).map(|j| m[0][j] * minor(0, j)).sum();
    let scale: f64 = (0..3).map(|i| m[i][i].abs()).product();
    if determinant.abs() < 1e-12 * scale.max(1e-300) {
        return None;
    }
    let mut out = [[0.0; 3]; 3];
    for (i, row) in out.iter_mut().enumerate() {
        for (j, cell) in row.iter_mut().enumerate() {
            *cell = minor(j, i) / determinant;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use canter_load::Random;

    const LEVELS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

    fn points(law: &Fit, noise: f64) -> Vec<(f64, f64)> {
        let mut random = Random::new(9);
        let jitter = |random: &mut Random| 1.0 + noise * (random.share() - 0.5);
        LEVELS
            .iter()
            .map(|n| (*n, law.at(*n) * jitter(&mut random)))
            .collect()
    }

    fn law(contention: f64, coherency: f64) -> Fit {
        Fit {
            alone: 50.0,
            contention,
            coherency,
            off: 0.0,
            peak: None,
        }
    }

    #[test]
    fn b4_a_law_is_found_again_with_its_peak() {
        let found = fit(&points(&law(0.05, 0.001), 0.02)).unwrap();
        assert!((found.contention - 0.05).abs() < 0.01, "{found:?}");
        let peak = found.peak.unwrap();
        assert!((peak - (0.95_f64 / 0.001).sqrt()).abs() < 3.0, "{peak}");
    }

    #[test]
    fn b4_a_plateau_has_no_peak() {
        let found = fit(&points(&law(0.2, 0.0), 0.02)).unwrap();
        assert_eq!(found.peak, None, "{found:?}");
    }

    #[test]
    fn b4_few_or_scattered_points_carry_no_law() {
        assert!(
            fit(&points(&law(0.1, 0.0), 0.0)[..5])
                .unwrap_err()
                .contains("too few")
        );
        assert!(
            fit(&points(&law(0.1, 0.001), 0.9))
                .unwrap_err()
                .contains("off by")
        );
        assert!(fit(&[(1.0, 0.0); 9]).is_err());
        assert!(fit(&[(4.0, 9.0); 9]).is_ok_and(|fit| fit.peak.is_none()));
    }
}
