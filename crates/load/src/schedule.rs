//! Owns how much load there is at which time: users that wait for their answers, or arrivals that
//! do not. Leaves starting them to the engine.
//!
//! Both are a line of straight pieces. The integral of the arrivals' line is the number of requests
//! that should have been sent by then, so the time of the n-th one follows without a list of them.

use std::time::Duration;

use canter_base::options::Value as _;

/// From one level to another in a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Users, or arrivals a second, at its begin.
    pub from: f64,
    /// The same at its end.
    pub to: f64,
    /// How long it takes.
    pub time: Duration,
}

/// What the load is.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// Users: each sends its next request when it has the answer to the last.
    Users(Vec<Stage>),
    /// Arrivals a second, whether or not earlier ones have been answered.
    Rate(Vec<Stage>),
    /// Requests at the times of a log, shared out by the log itself.
    Replay(Duration),
}

impl Load {
    /// How long it lasts.
    pub fn time(&self) -> Duration {
        match self {
            Self::Users(stages) | Self::Rate(stages) => stages.iter().map(|stage| stage.time).sum(),
            Self::Replay(time) => *time,
        }
    }

    /// The level at a time: users or arrivals a second; 0 for a replay, which has none of its own.
    pub fn level(&self, at: Duration) -> f64 {
        match self {
            Self::Users(stages) | Self::Rate(stages) => level(stages, at),
            Self::Replay(_) => 0.0,
        }
    }

    /// The most users there will be.
    pub fn most_users(&self) -> Option<usize> {
        match self {
            Self::Users(stages) => {
                let most = stages.iter().map(|stage| stage.from.max(stage.to));
                Some(most.fold(0.0, f64::max).round() as usize)
            }
            _ => None,
        }
    }

    /// How a person would say it.
    pub fn words(&self) -> String {
        match self {
            Self::Users(stages) => format!("users {}", show(stages)),
            Self::Rate(stages) => format!("arrivals a second {}", show(stages)),
            Self::Replay(time) => format!("replay of a log, {}", time.show()),
        }
    }
}

/// The level of a line of stages at a time. Before the begin it is that of the begin.
pub fn level(stages: &[Stage], at: Duration) -> f64 {
    let mut begin = Duration::ZERO;
    for stage in stages {
        let end = begin + stage.time;
        if at < end {
            let share = at.saturating_sub(begin).as_secs_f64() / stage.time.as_secs_f64();
            return stage.from + (stage.to - stage.from) * share;
        }
        begin = end;
    }
    stages.last().map_or(0.0, |stage| stage.to)
}

/// When so many arrivals should have come; None when they never do.
pub fn time_of(stages: &[Stage], arrivals: f64) -> Option<Duration> {
    let (mut before, mut begin) = (0.0, 0.0);
    for stage in stages {
        let time = stage.time.as_secs_f64();
        let whole = f64::midpoint(stage.from, stage.to) * time;
        if arrivals < before + whole {
            let rest = arrivals - before;
            let slope = if time > 0.0 {
                (stage.to - stage.from) / time
            } else {
                0.0
            };
            // rest = from * t + slope * t^2 / 2, in the form that is stable for a small slope.
            let root = (stage.from * stage.from + 2.0 * slope * rest)
                .max(0.0)
                .sqrt();
            let within = if stage.from + root > 0.0 {
                2.0 * rest / (stage.from + root)
            } else {
                0.0
            };
            return Some(Duration::from_secs_f64(begin + within.clamp(0.0, time)));
        }
        before += whole;
        begin += time;
    }
    None
}

fn show(stages: &[Stage]) -> String {
    let stage = |stage: &Stage| {
        let time = stage.time.show();
        if (stage.from - stage.to).abs() < f64::EPSILON {
            format!("{}:{time}", stage.from)
        } else {
            format!("{}-{}:{time}", stage.from, stage.to)
        }
    };
    stages.iter().map(stage).collect::<Vec<_>>().join(",")
}

/// Reads `1-250:60s`, `50:30s`, or several with commas; `otherwise` is the time of a stage that
/// names none. A stage of one number goes there at once; `/s` and `/m` behind a number are allowed
/// where it is a rate.
pub fn stages(text: &str, otherwise: Duration, rate: bool) -> Result<Vec<Stage>, String> {
    let expected = if rate {
        "expected a rate such as `100/s`, `5-80:60s` or `10:30s,50:1m`"
    } else {
        "expected users such as `1-250:60s` or `10:30s,50:1m`"
    };
    let number = |text: &str| -> Option<f64> {
        let (text, each) = match text.split_once('/') {
            Some((text, "s")) if rate => (text, 1.0),
            Some((text, "m" | "min")) if rate => (text, 60.0),
            Some(_) => return None,
            None => (text, 1.0),
        };
        let number: f64 = text.trim().parse().ok()?;
        let sound = number.is_finite() && (0.0..=1e7).contains(&number);
        let sound = sound && (rate || number.fract() == 0.0);
        sound.then_some(number / each)
    };
    let stage = |text: &str| -> Option<Stage> {
        let (levels, time) = match text.split_once(':') {
            Some((levels, time)) => (levels, Duration::parse(time.trim()).ok()?),
            None => (text, otherwise),
        };
        let (from, to) = match levels.split_once('-') {
            Some((from, to)) => (number(from)?, number(to)?),
            None => (number(levels)?, number(levels)?),
        };
        let longest = Duration::from_secs(7 * 24 * 3600);
        (!time.is_zero() && time <= longest).then_some(Stage { from, to, time })
    };
    let read: Option<Vec<Stage>> = text.split(',').map(stage).collect();
    read.filter(|stages| stages.iter().any(|stage| stage.from + stage.to > 0.0))
        .ok_or_else(|| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn read(text: &str, rate: bool) -> Result<Vec<Stage>, String> {
        stages(text, secs(10.0), rate)
    }

    #[test]
    fn stages_are_read_as_people_write_them() {
        let stage = |from, to, time| Stage {
            from,
            to,
            time: secs(time),
        };
        for (text, rate, expected) in [
            ("1-250:60s", false, vec![stage(1.0, 250.0, 60.0)]),
            ("1-250:60", false, vec![stage(1.0, 250.0, 60.0)]),
            ("50", false, vec![stage(50.0, 50.0, 10.0)]),
            (
                "10:30s,50:1m",
                false,
                vec![stage(10.0, 10.0, 30.0), stage(50.0, 50.0, 60.0)],
            ),
            ("100/s", true, vec![stage(100.0, 100.0, 10.0)]),
            ("90/m:1m", true, vec![stage(1.5, 1.5, 60.0)]),
            ("5-80:60s", true, vec![stage(5.0, 80.0, 60.0)]),
        ] {
            assert_eq!(read(text, rate), Ok(expected), "{text}");
        }
        for (text, rate) in [
            ("", false),
            ("0:10s", false),
            ("1-", false),
            ("a-b:10s", false),
            ("1.5", false),
            ("10:0s", false),
            ("10:soon", false),
            ("-5", true),
            ("10/h", true),
            ("100/s", false),
            ("1e99", true),
            ("nan", true),
        ] {
            assert!(read(text, rate).is_err(), "{text}");
        }
    }

    #[test]
    fn levels_follow_the_line() {
        let stages = read("0-10:10s,50:5s", false).unwrap();
        for (at, expected) in [
            (0.0, 0.0),
            (5.0, 5.0),
            (10.0, 50.0),
            (14.0, 50.0),
            (99.0, 50.0),
        ] {
            assert!((level(&stages, secs(at)) - expected).abs() < 1e-6, "{at}");
        }
        let load = Load::Users(stages);
        assert_eq!((load.time(), load.most_users()), (secs(15.0), Some(50)));
    }

    #[test]
    fn arrivals_come_when_the_integral_says_so() {
        let steady = read("100/s", true).unwrap();
        assert_eq!(time_of(&steady, 0.0), Some(Duration::ZERO));
        assert!((time_of(&steady, 250.0).unwrap().as_secs_f64() - 2.5).abs() < 1e-9);
        assert_eq!(time_of(&steady, 1000.0), None);
        // From 0 to 80 in 10 s: n = 4 t^2.
        let ramp = read("0-80:10s,0-0:5s,10:1s", true).unwrap();
        assert!((time_of(&ramp, 100.0).unwrap().as_secs_f64() - 5.0).abs() < 1e-9);
        assert!((time_of(&ramp, 405.0).unwrap().as_secs_f64() - 15.5).abs() < 1e-9);
        let mut last = Duration::ZERO;
        for arrival in 0..409 {
            let time = time_of(&ramp, f64::from(arrival)).unwrap();
            assert!(time >= last);
            last = time;
        }
    }
}
