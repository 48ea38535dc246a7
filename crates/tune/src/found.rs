//! Owns what is looked for and what is found, as values. Leaves finding it to `search`.

use crate::judge::Interval;
use crate::measured::{Broken, Measured, Walls, together};
use crate::setting::Setting;

/// What the level of the load counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Users, each of whom waits for its answer.
    Users,
    /// Arrivals a second.
    Rate,
    /// Times as fast as a log was recorded.
    Speed,
}

impl Kind {
    /// A level in words.
    pub fn words(self, level: f64) -> String {
        match self {
            Self::Users => format!("{level:.0} user{}", if level > 1.0 { "s" } else { "" }),
            Self::Rate => format!("{level:.1} arrivals a second"),
            Self::Speed => format!("{level:.1} times the log's speed"),
        }
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What may not be broken.
    pub walls: Walls,
    /// A difference below this does not matter.
    pub tolerance: f64,
    /// Where the order begins.
    pub seed: u64,
    /// The load; found by itself when it is None.
    pub level: Option<f64>,
    /// What the level counts.
    pub kind: Kind,
    /// The highest level tried.
    pub most_level: f64,
}

/// A load and what came of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The level of the load.
    pub level: f64,
    /// The measurement.
    pub measured: Measured,
    /// What broke.
    pub broken: Option<Broken>,
}

/// All that is known of one configuration.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Which.
    pub setting: Setting,
    /// Measurements at the one level, with the number of their block.
    pub runs: Vec<(u32, Measured)>,
    /// What it breaks.
    pub broken: Option<Broken>,
    /// Compared with the best.
    pub against_best: Option<Interval>,
}

impl Trial {
    /// Everything measured, as one.
    pub fn together(&self) -> Measured {
        let runs: Vec<&Measured> = self.runs.iter().map(|(_, run)| run).collect();
        together(&runs)
    }

    pub(crate) fn rates(&self) -> Vec<(u32, f64)> {
        self.runs
            .iter()
            .map(|(block, run)| (*block, run.rate))
            .collect()
    }

    pub(crate) fn holds(&self) -> bool {
        self.broken.is_none() && !self.runs.is_empty()
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The load at which configurations were compared.
    pub level: f64,
    /// How the load was found.
    pub climb: Vec<Step>,
    /// Every configuration that was tried.
    pub trials: Vec<Trial>,
    /// The one with the most answers among those that break nothing.
    pub best: Option<usize>,
    /// The smallest that is as good.
    pub choice: Option<usize>,
    /// Whether each comparison with the choice is clear.
    pub sure: bool,
    /// The chosen one under more and more load.
    pub steps: Vec<Step>,
    /// Why it ended early.
    pub ended: Option<String>,
    /// Measurements made.
    pub measurements: u32,
}

impl Found {
    /// The highest load the chosen one was measured at; the least there is, one, when it was not.
    pub fn highest(&self) -> f64 {
        self.steps.iter().map(|step| step.level).fold(1.0, f64::max)
    }

    /// The chosen one.
    pub fn chosen(&self) -> Option<&Trial> {
        self.choice.and_then(|index| self.trials.get(index))
    }

    /// The best one.
    pub fn best(&self) -> Option<&Trial> {
        self.best.and_then(|index| self.trials.get(index))
    }
}
