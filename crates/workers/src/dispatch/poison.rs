//! Owns the suspicion that a request kills workers: who ran when one died, and who is refused.
//! Leaves clocks and workers to the dispatch.
//!
//! A request whose fingerprint was running at two deaths, with no success in between, is refused
//! for a while. A success clears it, so that bystanders of somebody else's crash stay welcome.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::link::WorkerId;

/// How long a request that killed two workers is refused.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// Deaths further apart than this do not add up.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// The most suspects remembered; a table that is full forgets the one heard of longest ago.
const MOST_SUSPECTS: usize = 256;
const DEATHS: u32 = 2;

/// The suspects.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    suspects: HashMap<u64, Suspect>,
}

#[derive(Debug)]
struct Suspect {
    deaths: u32,
    last: Instant,
    /// Whose death was the last: one death counts once, however many equal requests it ran.
    worker: WorkerId,
}

impl Poison {
    /// False nearly always: nothing else need be asked then.
    pub fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// This worker died while this request ran. True when it is refused from now on.
    pub fn died(&mut self, fingerprint: u64, worker: WorkerId, now: Instant) -> bool {
        self.suspects
            .retain(|_, suspect| now.duration_since(suspect.last) < REMEMBERED_FOR);
        if self.suspects.len() >= MOST_SUSPECTS && !self.suspects.contains_key(&fingerprint) {
            let oldest = self.suspects.iter().min_by_key(|(_, suspect)| suspect.last);
            if let Some(oldest) = oldest.map(|(&fingerprint, _)| fingerprint) {
                self.suspects.remove(&oldest);
            }
        }
        let suspect = self.suspects.entry(fingerprint).or_insert(Suspect {
            deaths: 0,
            last: now,
            worker,
        });
        if suspect.deaths > 0 && suspect.worker == worker {
            return false;
        }
        suspect.deaths += 1;
        suspect.last = now;
        suspect.worker = worker;
        suspect.deaths == DEATHS
    }

    /// This request got an answer from the app.
    pub fn succeeded(&mut self, fingerprint: u64) {
        self.suspects.remove(&fingerprint);
    }

    /// Whether to refuse this request now.
    pub fn refuses(&mut self, fingerprint: u64, now: Instant) -> bool {
        let Some(suspect) = self.suspects.get_mut(&fingerprint) else {
            return false;
        };
        if suspect.deaths < DEATHS {
            return false;
        }
        let refused = now.duration_since(suspect.last) < REFUSED_FOR;
        if !refused {
            // One more try; the next death refuses it again at once.
            suspect.deaths = DEATHS - 1;
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_deaths_refuse_a_request_for_a_while() {
        let (mut poison, now) = (Poison::default(), Instant::now());
        assert!(!poison.died(1, WorkerId(1), now) && !poison.refuses(1, now));
        assert!(poison.died(1, WorkerId(2), now) && poison.refuses(1, now));
        assert!(!poison.refuses(2, now));
        let later = now + REFUSED_FOR;
        assert!(!poison.refuses(1, later));
        assert!(poison.died(1, WorkerId(3), later) && poison.refuses(1, later));
    }

    #[test]
    fn one_death_counts_once_however_many_equal_requests_it_ran() {
        let (mut poison, now) = (Poison::default(), Instant::now());
        for _ in 0..5 {
            assert!(!poison.died(1, WorkerId(7), now));
        }
        assert!(!poison.refuses(1, now));
        assert!(poison.died(1, WorkerId(8), now) && poison.refuses(1, now));
    }

    #[test]
    fn a_success_in_between_clears_a_bystander() {
        let (mut poison, now) = (Poison::default(), Instant::now());
        poison.died(1, WorkerId(1), now);
        poison.succeeded(1);
        poison.died(1, WorkerId(2), now);
        assert!(!poison.refuses(1, now));
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut poison, now) = (Poison::default(), Instant::now());
        for fingerprint in 0..10 * MOST_SUSPECTS as u64 {
            poison.died(fingerprint, WorkerId(1), now);
        }
        assert_eq!(poison.suspects.len(), MOST_SUSPECTS);
    }
}
