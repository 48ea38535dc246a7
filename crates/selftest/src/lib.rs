//! `canter selftest`: fires the attacks that servers fall to at a server on this machine, asks it
//! for an ordinary page meanwhile, and says what held.
//! Leaves the command line to `canter`. Refuses every address that is not loopback: what it sends
//! would be an attack.
//!
//! ```text
//! attack ─▶ many connections that misbehave ─┐
//! probe  ─▶ ordinary requests, timed ────────┴─▶ report
//! ```
#![forbid(unsafe_code)]

mod attack;
mod h2;
mod memory;
mod parser;
mod probe;
mod report;
mod slow;
mod target;

pub use attack::{Attack, Outcome, Verdict};
pub use report::{Format, Report};
pub use target::{Refused, Target};

use std::time::Duration;

/// What is to be tried, and how hard.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// Connections of each slow attack.
    pub connections: usize,
    /// Ordinary requests during each attack.
    pub probes: usize,
    /// How much longer than without the attack an ordinary request may take to count as answered at
    /// once.
    pub patience: Duration,
    /// A path whose response is large, for slow readers; None leaves that attack out.
    pub big: Option<String>,
    /// Only attacks with one of these ids, or whose id or name begins so; all when empty.
    pub only: Vec<String>,
    /// A process of the server: memory is measured over it and its children.
    pub process: Option<u32>,
}

impl Plan {
    /// The usual one.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            connections: 400,
            probes: 20,
            patience: Duration::from_millis(50),
            big: None,
            only: Vec::new(),
            process: None,
        }
    }

    /// A word of `only` that leads to no attack, and what would; nothing is left out in silence.
    pub fn unmet(&self) -> Option<(&str, String)> {
        let met = |word: &str| {
            let mut all = Attack::ALL.iter();
            all.any(|attack| is_meant(*attack, word) && self.can(*attack))
        };
        let word = self.only.iter().find(|word| !met(word))?;
        let slow_read = is_meant(Attack::SlowRead, word);
        let hint = if slow_read {
            "the slow read needs a path whose response is large: `--big /path`".to_owned()
        } else {
            let ids: Vec<_> = Attack::ALL.iter().map(|attack| attack.id()).collect();
            format!(
                "an id ({}), its letter, or the beginning of a name",
                ids.join(", ")
            )
        };
        Some((word, hint))
    }

    fn wants(&self, attack: Attack) -> bool {
        let meant = |word: &String| is_meant(attack, word);
        (self.only.is_empty() || self.only.iter().any(meant)) && self.can(attack)
    }

    fn can(&self, attack: Attack) -> bool {
        attack != Attack::SlowRead || self.big.is_some()
    }
}

fn is_meant(attack: Attack, word: &str) -> bool {
    let is_id = |attack: Attack| attack.id().eq_ignore_ascii_case(word);
    // `S1` is not `S13`, nor is `H2` all that is done over HTTP/2.
    if Attack::ALL.iter().any(|any| is_id(*any)) {
        return is_id(attack);
    }
    let word = word.to_ascii_lowercase();
    let is_letter = word.len() == 1 && attack.id().to_ascii_lowercase().starts_with(&word);
    !word.is_empty() && (is_letter || attack.name().starts_with(&word))
}

/// Runs every attack in turn; `progress` hears of each before it starts.
///
/// # Errors
/// When the server does not answer an ordinary request before anything was tried.
pub async fn run(plan: &Plan, mut progress: impl FnMut(Attack)) -> Result<Report, String> {
    probe::once(&plan.target, Duration::from_secs(10))
        .await
        .map_err(|why| {
            format!(
                "{} does not answer an ordinary request: {why}",
                plan.target.url()
            )
        })?;
    let mut outcomes = Vec::new();
    for attack in Attack::ALL
        .iter()
        .copied()
        .filter(|attack| plan.wants(*attack))
    {
        progress(attack);
        let outcome = attack::run(attack, plan).await;
        let stop = outcome.verdict == Verdict::Down;
        outcomes.push(outcome);
        if stop {
            break;
        }
    }
    Ok(Report {
        url: plan.target.url(),
        outcomes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_means_itself_and_a_letter_or_the_beginning_of_a_name_all_that_begin_so() {
        let meant = |word: &str| {
            let all = Attack::ALL.iter().filter(|attack| is_meant(**attack, word));
            all.map(|attack| attack.id()).collect::<Vec<_>>().join(" ")
        };
        for (word, ids) in [
            ("S1", "S1"),
            ("s14", "S14"),
            ("H2", "H2"),
            ("h", "H1 H2 H3 H4 H5 H6 H7"),
            ("h2 rapid", "H1"),
            ("slow", "S1 S3 S4"),
            ("S99", ""),
            ("", ""),
        ] {
            assert_eq!(meant(word), ids, "{word}");
        }
    }
}
