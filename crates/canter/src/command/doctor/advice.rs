//! Owns what a piece of advice is made of, and which of two comes first. Leaves what is advised to `checks`,
//! `habits` and `plans`.

use std::cmp::Ordering;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// For programs.
    pub id: &'static str,
    /// What is the matter.
    pub title: String,
    /// What was seen.
    pub evidence: String,
    /// What to change, and to what.
    pub remedy: String,
    /// What that would gain.
    pub gain: Gain,
    /// How much it matters where no time tells.
    pub weight: Weight,
}

/// How much it matters, beside any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Visitors see what is not theirs or lose what is, or processes are ended: before all that is only slow.
    Harm,
    /// Each request pays for it.
    Cost,
    /// Some requests do, or browsers.
    Habit,
}

impl Weight {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Harm => "harm",
            Self::Cost => "cost",
            Self::Habit => "habit",
        }
    }
}

/// What following it would gain. Time of requests in an hour is the unit by which advice is put in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Gain {
    /// Milliseconds of requests in an hour.
    Time {
        /// How many.
        ms: f64,
        /// Some of it may stay.
        is_most: bool,
        /// What they were reckoned from, where that is more than what was seen.
        how: String,
    },
    /// Something else than time.
    Other(String),
    /// Nobody knows, and why.
    Unknown(String),
}

impl Gain {
    /// This time, as far as it was measured.
    pub fn about(ms: f64) -> Self {
        Self::Time {
            ms,
            is_most: false,
            how: String::new(),
        }
    }

    /// No more than this time.
    pub fn at_most(ms: f64) -> Self {
        Self::Time {
            ms,
            is_most: true,
            how: String::new(),
        }
    }

    /// The same, with what it was reckoned from.
    pub fn because(self, from: String) -> Self {
        match self {
            Self::Time { ms, is_most, .. } => Self::Time {
                ms,
                is_most,
                how: from,
            },
            other => other,
        }
    }

    /// Milliseconds in an hour, where they are known.
    pub fn ms(&self) -> Option<f64> {
        match self {
            Self::Time { ms, .. } => Some(*ms),
            Self::Other(_) | Self::Unknown(_) => None,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        match self {
            Self::Time { ms, is_most, how } => {
                let word = if *ms < 1.0 {
                    ""
                } else if *is_most {
                    "at most "
                } else {
                    "about "
                };
                let from = if how.is_empty() { "" } else { ": " };
                // Many wait at a time: it may well be more than an hour.
                format!(
                    "{word}{} in an hour, all requests together{from}{how}",
                    duration(*ms)
                )
            }
            Self::Other(text) => text.clone(),
            Self::Unknown(why) => format!("no estimate: {why}"),
        }
    }
}

/// Advice of which each request pays a part, of a gain that has yet to be told.
pub fn advice(id: &'static str, title: &str, evidence: String, remedy: &str) -> Advice {
    Advice {
        id,
        title: title.to_owned(),
        evidence,
        remedy: remedy.to_owned(),
        gain: Gain::Unknown("nothing of it was measured".to_owned()),
        weight: Weight::Cost,
    }
}

impl Advice {
    /// The same with what it would gain.
    pub fn gaining(self, gain: Gain) -> Self {
        Self { gain, ..self }
    }

    /// The same of another weight.
    pub fn weighing(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }

    /// Harm first, then by the time that would be saved, then what has no time, by its weight.
    pub fn order(&self, other: &Self) -> Ordering {
        let is_slow = |advice: &Self| advice.weight != Weight::Harm;
        let time = |advice: &Self| advice.gain.ms().unwrap_or(-1.0);
        is_slow(self)
            .cmp(&is_slow(other))
            .then(time(other).total_cmp(&time(self)))
            .then(self.weight.cmp(&other.weight))
    }
}

/// For people.
fn duration(ms: f64) -> String {
    if ms < 1.0 {
        "less than 1 ms".to_owned()
    } else if ms < 1000.0 {
        format!("{ms:.0} ms")
    } else if ms < 120_000.0 {
        format!("{:.1} s", ms / 1000.0)
    } else if ms < 7_200_000.0 {
        format!("{:.0} min", ms / 60_000.0)
    } else {
        format!("{:.1} h", ms / 3_600_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_says_its_unit_or_why_there_is_none() {
        let told = [
            Gain::about(0.2),
            Gain::about(2000.0),
            Gain::at_most(180_000.0).because("60 connections of 3 s".to_owned()),
            Gain::about(55_620_000.0),
            Gain::Other("28 MB of memory".to_owned()),
            Gain::Unknown("nobody has looked".to_owned()),
        ];
        assert_eq!(
            told.map(|gain| gain.text()),
            [
                "less than 1 ms in an hour, all requests together",
                "about 2.0 s in an hour, all requests together",
                "at most 3 min in an hour, all requests together: 60 connections of 3 s",
                "about 15.4 h in an hour, all requests together",
                "28 MB of memory",
                "no estimate: nobody has looked",
            ]
        );
    }

    #[test]
    fn harm_comes_first_then_time_then_what_has_none_by_its_weight() {
        let one = |id, gain: Gain, weight| {
            advice(id, "", String::new(), "")
                .gaining(gain)
                .weighing(weight)
        };
        let none = || Gain::Unknown(String::new());
        let mut found = [
            one("habit", none(), Weight::Habit),
            one("cost", none(), Weight::Cost),
            one("little", Gain::about(0.0), Weight::Habit),
            one("much", Gain::at_most(9.0), Weight::Habit),
            one("harm", none(), Weight::Harm),
        ];
        found.sort_by(Advice::order);
        let ids = found.map(|advice| advice.id);
        assert_eq!(ids, ["harm", "much", "little", "cost", "habit"]);
    }
}
