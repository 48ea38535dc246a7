//! Owns the comparison of two sites or two reports: pairs of runs, a confidence interval, a word.
//! Leaves running them to `canter`.
//!
//! Each pair gives one ratio; the interval is that of the mean of their logarithms over resampled
//! pairs (bootstrap), with a seed, so that the same measurements give the same words.

use serde_json::Value;

use crate::random::Random;
use crate::run::Outcome;

const RESAMPLES: usize = 2000;

/// What is compared of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Answers a second.
    pub rate: f64,
    /// In milliseconds, from the intended start.
    pub p50: f64,
    /// The same.
    pub p95: f64,
    /// Errors among all.
    pub errors: f64,
}

impl Figures {
    /// Of a run.
    pub fn of(outcome: &Outcome) -> Self {
        let ms = |share| outcome.total.corrected.quantile(share).as_secs_f64() * 1000.0;
        Self {
            rate: outcome.rate(),
            p50: ms(0.5),
            p95: ms(0.95),
            errors: outcome.total.error_share(),
        }
    }
}

/// What the second is, compared with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Better, and not by chance.
    Better,
    /// Worse, and not by chance.
    Worse,
    /// No difference that could be told from chance, or one below the noise.
    NoDifference,
    /// Of several figures some are better and some worse.
    Mixed,
}

impl Word {
    /// As it is printed.
    pub fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifference => "no difference",
            Self::Mixed => "mixed: better in some figures, worse in others",
        }
    }
}

/// One figure of both.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Its name.
    pub name: &'static str,
    /// The mean of the first.
    pub first: f64,
    /// The mean of the second.
    pub second: f64,
    /// How much more the second has, as a share; its likely range.
    pub change: f64,
    /// The lower end of the 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// What that means.
    pub word: Word,
}

/// A figure: its name, where it is, whether more is better.
type Figure = (&'static str, fn(&Figures) -> f64, bool);

/// What is compared beside the figures.
const ERRORS: &str = "errors, share";

const FIGURES: [Figure; 3] = [
    ("answers a second", |figures| figures.rate, true),
    ("p50, ms", |figures| figures.p50, false),
    ("p95, ms", |figures| figures.p95, false),
];

/// Compares pairs of runs that followed each other. Errors come first: a site that fails faster is
/// not the better one.
pub fn pairs(pairs: &[(Figures, Figures)], noise: f64, seed: u64) -> Vec<Compared> {
    let mut all: Vec<Compared> = FIGURES
        .iter()
        .map(|(name, get, more)| {
            let ratios: Vec<f64> = pairs.iter().map(|(a, b)| ratio(get(a), get(b))).collect();
            let mut random = Random::new(seed);
            let interval = bootstrap(|random| mean_of_resample(&ratios, random), &mut random);
            let first = mean(pairs.iter().map(|(a, _)| get(a)));
            let second = mean(pairs.iter().map(|(_, b)| get(b)));
            compared(
                name,
                (first, second),
                mean(ratios.iter().copied()),
                interval,
                noise,
                *more,
            )
        })
        .collect();
    let errors = |get: fn(&(Figures, Figures)) -> f64| mean(pairs.iter().map(get));
    let (first, second) = (errors(|pair| pair.0.errors), errors(|pair| pair.1.errors));
    all.push(share_of_errors(first, second, noise));
    all
}

/// Compares two JSON reports by their rows; refuses those of different scenarios.
pub fn reports(
    first: &Value,
    second: &Value,
    noise: f64,
    seed: u64,
) -> Result<Vec<Compared>, String> {
    comparable(first, second)?;
    let mut all = Vec::new();
    for (name, key, more) in [
        ("answers a second", "rate", true),
        ("p50, ms", "p50_ms", false),
        ("p95, ms", "p95_ms", false),
    ] {
        let (one, other) = (column(first, key), column(second, key));
        if one.len() < 5 || other.len() < 5 {
            return Err("a report has too few rows to compare: let it run longer".to_owned());
        }
        let mut random = Random::new(seed);
        let difference = |random: &mut Random| {
            let (one, other) = (
                mean_of_resample(&one, random),
                mean_of_resample(&other, random),
            );
            ratio(one, other)
        };
        let interval = bootstrap(difference, &mut random);
        let means = (mean(one.iter().copied()), mean(other.iter().copied()));
        all.push(compared(
            name,
            means,
            ratio(means.0, means.1),
            interval,
            noise,
            more,
        ));
    }
    let errors = |report: &Value| {
        report
            .get("error_share")
            .and_then(Value::as_f64)
            .unwrap_or(0.0)
    };
    all.push(share_of_errors(errors(first), errors(second), noise));
    Ok(all)
}

/// The values of a column in the rows of a report that say something of it. The first row holds the begin of
/// the run, the last in its time the end of it, and those behind it only late answers; a row in which nothing
/// was answered has a rate, but no latency.
fn column(report: &Value, name: &str) -> Vec<f64> {
    let rows = report.get("rows").and_then(Value::as_array);
    let end = report.get("time_s").and_then(Value::as_f64);
    let begun = |row: &&Value| {
        let at = row.get("at_s").and_then(Value::as_f64);
        at.zip(end).is_none_or(|(at, end)| at < end)
    };
    let rows: Vec<&Value> = rows.into_iter().flatten().filter(begun).collect();
    let inner = rows
        .get(1..rows.len().saturating_sub(1))
        .unwrap_or_default();
    let values = inner.iter().filter_map(|row| row.get(name)?.as_f64());
    values
        .filter(|value| !name.ends_with("_ms") || *value > 0.0)
        .collect()
}

/// Whether a difference of two reports would say anything.
fn comparable(first: &Value, second: &Value) -> Result<(), String> {
    let scenario = |report: &Value| {
        report
            .get("scenario")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    match (scenario(first), scenario(second)) {
        (Some(one), Some(other)) if one == other => {}
        (Some(_), Some(_)) => {
            return Err(
                "the two reports are of different scenarios, so a difference would say \
                        nothing about the servers"
                    .to_owned(),
            );
        }
        _ => return Err("one of the two is no report of `canter bench --json`".to_owned()),
    }
    for report in [first, second] {
        if report
            .pointer("/generator/limited")
            .is_some_and(Value::is_string)
        {
            return Err("the generator was the limit in one of the two reports".to_owned());
        }
    }
    Ok(())
}

/// The one word for all figures. More errors are worse, whatever else is better: who fails does so fast.
pub fn verdict(all: &[Compared]) -> Word {
    let any = |word| all.iter().any(|compared| compared.word == word);
    let fails = |compared: &Compared| compared.name == ERRORS && compared.word == Word::Worse;
    if all.iter().any(fails) {
        return Word::Worse;
    }
    match (any(Word::Better), any(Word::Worse)) {
        (true, true) => Word::Mixed,
        (true, false) => Word::Better,
        (false, true) => Word::Worse,
        (false, false) => Word::NoDifference,
    }
}

fn share_of_errors(first: f64, second: f64, noise: f64) -> Compared {
    let change = second - first;
    let word = if change > noise.min(0.01) {
        Word::Worse
    } else if -change > noise.min(0.01) {
        Word::Better
    } else {
        Word::NoDifference
    };
    Compared {
        name: ERRORS,
        first,
        second,
        change,
        low: change,
        high: change,
        word,
    }
}

fn compared(
    name: &'static str,
    (first, second): (f64, f64),
    ratio: f64,
    (low, high): (f64, f64),
    noise: f64,
    more_is_better: bool,
) -> Compared {
    let [change, low, high] = [ratio, low, high].map(|log| log.exp() - 1.0);
    let clear = (low > 0.0 || high < 0.0) && change.abs() >= noise;
    let word = match (clear, (change > 0.0) == more_is_better) {
        (false, _) => Word::NoDifference,
        (true, true) => Word::Better,
        (true, false) => Word::Worse,
    };
    Compared {
        name,
        first,
        second,
        change,
        low,
        high,
        word,
    }
}

/// The logarithm of how many times as much the second is; both may be 0.
fn ratio(first: f64, second: f64) -> f64 {
    ((second + 1e-6) / (first + 1e-6)).ln()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

fn mean_of_resample(values: &[f64], random: &mut Random) -> f64 {
    mean((0..values.len()).filter_map(|_| values.get(random.below(values.len())).copied()))
}

/// The middle 95 % of a statistic over many resamples.
fn bootstrap(mut statistic: impl FnMut(&mut Random) -> f64, random: &mut Random) -> (f64, f64) {
    let mut all: Vec<f64> = (0..RESAMPLES).map(|_| statistic(random)).collect();
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all.get((share * (RESAMPLES - 1) as f64) as usize).copied();
    (at(0.025).unwrap_or(0.0), at(0.975).unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(rate: f64, jitter: f64, random: &mut Random) -> Figures {
        let rate = rate * (1.0 + jitter * (random.share() - 0.5));
        Figures {
            rate,
            p50: 10_000.0 / rate,
            p95: 20_000.0 / rate,
            errors: 0.0,
        }
    }

    fn word(second: f64, jitter: f64) -> Word {
        let mut random = Random::new(5);
        let runs: Vec<_> = (0..8)
            .map(|_| {
                (
                    some(1000.0, jitter, &mut random),
                    some(second, jitter, &mut random),
                )
            })
            .collect();
        verdict(&pairs(&runs, 0.02, 1))
    }

    #[test]
    fn a_clear_difference_has_its_word_and_noise_has_none() {
        assert_eq!(word(1200.0, 0.05), Word::Better);
        assert_eq!(word(900.0, 0.05), Word::Worse);
        assert_eq!(word(1000.0, 0.2), Word::NoDifference);
        assert_eq!(
            word(1005.0, 0.001),
            Word::NoDifference,
            "clear, but below the noise"
        );
    }

    #[test]
    fn equal_sites_are_called_different_in_few_of_many_tries() {
        let mut wrong = 0;
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let runs: Vec<_> = (0..8)
                .map(|_| {
                    (
                        some(1000.0, 0.2, &mut random),
                        some(1000.0, 0.2, &mut random),
                    )
                })
                .collect();
            wrong += usize::from(pairs(&runs, 0.02, seed)[0].word != Word::NoDifference);
        }
        assert!(wrong <= 24, "{wrong} of 200");
    }

    #[test]
    fn a_site_that_fails_is_not_better_because_it_fails_fast() {
        let good = Figures {
            rate: 100.0,
            p50: 10.0,
            p95: 20.0,
            errors: 0.0,
        };
        let failing = Figures {
            rate: 500.0,
            p50: 1.0,
            p95: 2.0,
            errors: 0.5,
        };
        assert_eq!(verdict(&pairs(&[(good, failing); 5], 0.02, 1)), Word::Worse);
    }

    #[test]
    fn a7_what_is_better_in_one_figure_and_worse_in_another_is_mixed() {
        let one = |rate, p95, errors| Figures {
            rate,
            p50: 10.0,
            p95,
            errors,
        };
        let word = |other| verdict(&pairs(&[(one(100.0, 20.0, 0.0), other); 5], 0.02, 1));
        assert_eq!(word(one(120.0, 40.0, 0.0)), Word::Mixed);
        assert_eq!(word(one(120.0, 20.1, 0.0)), Word::Better);
        assert_eq!(word(one(120.0, 10.0, 0.5)), Word::Worse);
        assert_eq!(
            Word::Mixed.text(),
            "mixed: better in some figures, worse in others"
        );
    }

    /// A report of 30 s with so many answers in each second and their p50; late answers behind the end.
    fn report(each: impl Fn(u64) -> (f64, f64), behind: u64) -> Value {
        let rows: Vec<Value> = (0..30 + behind)
            .map(|at| {
                let (rate, p50) = each(at);
                serde_json::json!({"at_s": at, "rate": rate, "p50_ms": p50, "p95_ms": p50 * 2.0})
            })
            .collect();
        serde_json::json!({"scenario": "x", "time_s": 30.0, "rows": rows})
    }

    #[test]
    fn a7_a_report_with_stalls_is_not_the_faster_one() {
        let even = report(
            |at| (100.0 + (at % 2) as f64, 10.0 + (at % 3) as f64 / 10.0),
            0,
        );
        let stalls = report(
            |at| {
                if at % 3 == 0 {
                    (0.0, 0.0)
                } else {
                    (100.0, 10.0 + (at % 2) as f64 / 10.0)
                }
            },
            0,
        );
        let all = reports(&even, &stalls, 0.02, 1).unwrap();
        let word = |name: &str| all.iter().find(|it| it.name == name).unwrap().word;
        assert_eq!(word("answers a second"), Word::Worse);
        assert_eq!(word("p50, ms"), Word::NoDifference);
        assert_eq!(word("p95, ms"), Word::NoDifference);
    }

    #[test]
    fn a7_rows_behind_the_end_are_not_compared() {
        let even = |at: u64| (100.0 + (at % 2) as f64, 10.0 + (at % 3) as f64 / 10.0);
        let with_late = |at: u64| if at < 30 { even(at) } else { (900.0, 900.0) };
        let all = reports(&report(even, 0), &report(with_late, 20), 0.02, 1).unwrap();
        assert_eq!(verdict(&all), Word::NoDifference, "{all:?}");
    }

    #[test]
    fn reports_of_different_scenarios_are_refused() {
        let rows: Vec<Value> = (0..10)
            .map(|row| serde_json::json!({"rate": 100 + row % 2, "p50_ms": 5.0, "p95_ms": 9.0}))
            .collect();
        let report = |scenario: &str| serde_json::json!({"scenario": scenario, "rows": rows});
        let words = reports(&report("x"), &report("x"), 0.02, 1).unwrap();
        assert_eq!(verdict(&words), Word::NoDifference);
        assert!(
            reports(&report("x"), &report("y"), 0.02, 1)
                .unwrap_err()
                .contains("different")
        );
        assert!(reports(&report("x"), &serde_json::json!({}), 0.02, 1).is_err());
    }
}
