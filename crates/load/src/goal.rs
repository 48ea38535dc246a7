//! Owns conditions on a run, as `--fail-if` has them: `p95>400ms`, `errors>1%`, `rate<100/s`.
//! Leaves the exit code to `canter`.

use std::fmt;
use std::time::Duration;

use canter_base::options::Value as _;

use crate::record::Tally;

/// What fails a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    metric: Metric,
    above: bool,
    equal: bool,
    limit: f64,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    /// In milliseconds.
    Quantile(f64),
    Max,
    Mean,
    ErrorShare,
    Errors,
    TimeoutShare,
    Timeouts,
    Rate,
}

/// A goal and the value that a run has for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// As it was written.
    pub goal: String,
    /// The value, with its unit.
    pub value: String,
    /// Whether the run fails by it.
    pub failed: bool,
}

const EXPECTED: &str =
    "expected a condition such as `p95>400ms`, `max>2s`, `errors>1%`, `timeouts>0` or `rate<100/s`";

impl Goal {
    /// Reads a condition.
    pub fn parse(text: &str) -> Result<Self, String> {
        let at = text.find(['>', '<']).ok_or(EXPECTED)?;
        let (name, rest) = text.split_at(at);
        let above = rest.starts_with('>');
        let rest = rest.get(1..).unwrap_or_default();
        let (equal, limit) = match rest.strip_prefix('=') {
            Some(limit) => (true, limit.trim()),
            None => (false, rest.trim()),
        };
        let share = limit
            .strip_suffix('%')
            .and_then(|number| number.trim().parse::<f64>().ok());
        let count = || limit.parse::<f64>().ok();
        let time = || {
            Duration::parse(limit)
                .ok()
                .map(|time| time.as_secs_f64() * 1000.0)
        };
        let (metric, limit) = match name.trim() {
            "max" => (Metric::Max, time()),
            "mean" => (Metric::Mean, time()),
            "errors" if share.is_some() => (Metric::ErrorShare, share),
            "errors" => (Metric::Errors, count()),
            "timeouts" if share.is_some() => (Metric::TimeoutShare, share),
            "timeouts" => (Metric::Timeouts, count()),
            "rate" => {
                let number = limit.strip_suffix("/s").unwrap_or(limit);
                (Metric::Rate, number.trim().parse().ok())
            }
            name => {
                let quantile = name.strip_prefix('p').and_then(quantile);
                (quantile.ok_or(EXPECTED)?, time())
            }
        };
        let limit = limit.filter(|limit| limit.is_finite() && *limit >= 0.0);
        Ok(Self {
            metric,
            above,
            equal,
            limit: limit.ok_or(EXPECTED)?,
            text: text.trim().to_owned(),
        })
    }

    /// Compares with what was counted in a time.
    pub fn judge(&self, tally: &Tally, time: Duration) -> Judged {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let of_ended = |count: u64| 100.0 * count as f64 / tally.ended().max(1) as f64;
        let (value, unit) = match self.metric {
            Metric::Quantile(share) => (ms(tally.corrected.quantile(share)), " ms"),
            Metric::Max => (ms(tally.corrected.max()), " ms"),
            Metric::Mean => (ms(tally.corrected.mean()), " ms"),
            Metric::ErrorShare => (of_ended(tally.errors()), " %"),
            Metric::Errors => (tally.errors() as f64, ""),
            Metric::TimeoutShare => (of_ended(tally.timeouts()), " %"),
            Metric::Timeouts => (tally.timeouts() as f64, ""),
            Metric::Rate => (tally.in_time() as f64 / time.as_secs_f64().max(1e-9), "/s"),
        };
        let equal = self.equal && (value - self.limit).abs() < f64::EPSILON;
        let failed = equal
            || if self.above {
                value > self.limit
            } else {
                value < self.limit
            };
        let digits = if unit.is_empty() { 0 } else { 2 };
        Judged {
            goal: self.text.clone(),
            value: format!("{value:.digits$}{unit}"),
            // Nothing measured is no success of a limit on time.
            failed: failed || (tally.ended() == 0 && self.above && unit == " ms"),
        }
    }
}

/// What stands behind the `p`: a percentage, `95` or `99.9`, for which `999` is another spelling; the
/// hundredth is the longest of all.
fn quantile(text: &str) -> Option<Metric> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if text == "100" {
        return Some(Metric::Max);
    }
    let percent = match (whole.strip_prefix("99"), text.contains('.')) {
        (Some(nines), false) if digits(nines, 3) => format!("99.{nines}"),
        _ if digits(whole, 2) && digits(part, 3) => text.to_owned(),
        _ => return None,
    };
    let share = percent.parse::<f64>().ok()? / 100.0;
    (share > 0.0).then_some(Metric::Quantile(share))
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;

    #[test]
    fn conditions_are_read_and_judged() {
        let mut tally = Tally::default();
        for ms in 1..=100 {
            tally.hit(if ms > 98 { 500 } else { 200 }, Duration::ZERO, 1);
            tally.corrected.record(Duration::from_millis(ms));
        }
        tally.fail(Kind::TimedOut, Duration::ZERO, 1);
        for (text, failed) in [
            ("p95>90ms", true),
            ("p95 > 97ms", false),
            ("p99.9>99ms", true),
            ("max>=100ms", true),
            ("max>100ms", false),
            ("mean>60ms", false),
            ("errors>2%", true),
            ("errors>3", false),
            ("errors>=3", true),
            ("timeouts>0", true),
            ("timeouts>1%", false),
            ("rate<11/s", true),
            ("rate<9", false),
            ("p50<1s", true),
            ("p100>=100ms", true),
            ("p100>100ms", false),
            ("p9>9ms", false),
            ("p9>8ms", true),
            ("p999>=100ms", true),
            ("p99.999>=100ms", true),
        ] {
            let judged = Goal::parse(text)
                .unwrap()
                .judge(&tally, Duration::from_secs(10));
            assert_eq!(judged.failed, failed, "{text}: {}", judged.value);
        }
        assert!(
            Goal::parse("p95>1s")
                .unwrap()
                .judge(&Tally::default(), Duration::ZERO)
                .failed
        );
        for text in [
            "",
            "p95",
            "p95>",
            "p95>soon",
            "latency>1s",
            "errors>x%",
            "p>1s",
            "rate<-1",
            "pxx>1s",
            "p9e9>1s",
            "p101>1s",
            "p950>1s",
            "p0>1s",
            "p99.>1s",
            "p.9>1s",
            "p99.9999>1s",
            "p+9>1s",
            "p-9>1s",
        ] {
            assert!(Goal::parse(text).is_err(), "{text}");
        }
    }
}
