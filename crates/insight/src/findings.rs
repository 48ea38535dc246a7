//! Owns the findings: what was seen wrong, how often, what it costs an hour, under a name that an
//! edit elsewhere in the file does not change.
//! Leaves what is wrong to `rules`.

use std::collections::HashMap;

use crate::observation::{Group, Name, Place};
use crate::releases::ENOUGH;
use crate::rules::{Rule, Verdict};
use crate::statement::fnv_text;
use crate::window::Window;

/// Findings kept; beyond it the one not seen for longest goes.
pub const MOST: usize = 300;

/// What a finding is found again by, within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The place of the route in its table.
    pub route: usize,
    /// Which rule.
    pub rule: Rule,
    /// The statement; 0 where the whole request is meant.
    pub statement: Name,
    /// Where it was asked for.
    pub place: Name,
}

/// Something wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Requests in which it was seen.
    pub requests: u64,
    /// The last of them.
    pub last: Group,
    /// The most statements in one request.
    pub most: u32,
    /// Whether it was ever a bad one.
    pub critical: bool,
    /// When it was seen first and last, in seconds.
    pub seen_s: (u64, u64),
    /// The release in which it was seen last.
    pub release: u32,
    /// Requests of that release in which it was seen, and all that the route had by then.
    rate: (u64, u64),
    /// Microseconds that could be saved.
    lost: Window,
    lost_last_us: u64,
}

impl Finding {
    /// What it costs in an hour, in microseconds.
    pub fn lost_per_hour_us(&self, now_s: u64, since_s: u64) -> u64 {
        self.lost.per_hour(now_s, since_s)
    }

    /// How many requests without it show that it is gone. What is seen in one of n requests would show in 3·n
    /// with 95 of 100 (the rule of three); what depends on the moment, as time does, in 20 at least.
    pub fn enough(&self, rule: Rule) -> u64 {
        let least = match rule {
            Rule::NPlusOne | Rule::Redundant | Rule::More | Rule::WriteLoop => 3,
            Rule::Slow | Rule::Holding => ENOUGH,
        };
        let (seen, of) = self.rate;
        let seen = seen.max(1);
        (3 * of.max(seen)).div_ceil(seen).max(least)
    }

    /// What it cost the last request.
    pub fn lost_per_request_us(&self) -> u64 {
        self.lost_last_us
    }
}

/// All findings.
#[derive(Debug, Default)]
pub struct Findings {
    known: HashMap<Key, Finding>,
}

impl Findings {
    /// Counts one, at a second and in a release of which `of` requests have come to the route; true when it
    /// was not known before.
    pub fn add(
        &mut self,
        now: (u64, u32),
        key: Key,
        group: &Group,
        verdict: Verdict,
        of: u64,
    ) -> bool {
        let (now_s, release) = now;
        let is_new = !self.known.contains_key(&key);
        if is_new && self.known.len() >= MOST {
            let oldest = self
                .known
                .iter()
                .min_by_key(|(_, finding)| finding.seen_s.1);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.known.remove(&oldest);
            }
        }
        let finding = self.known.entry(key).or_insert_with(|| Finding {
            requests: 0,
            last: *group,
            most: 0,
            critical: false,
            seen_s: (now_s, now_s),
            release,
            rate: (0, 0),
            lost: Window::default(),
            lost_last_us: 0,
        });
        finding.requests += 1;
        finding.last = *group;
        finding.most = finding.most.max(group.count);
        finding.critical |= verdict.critical;
        finding.seen_s.1 = now_s;
        if release > finding.release {
            (finding.release, finding.rate) = (release, (0, 0));
        }
        if release == finding.release {
            finding.rate = (finding.rate.0 + 1, of);
        }
        finding.lost.add(now_s, verdict.lost_us);
        finding.lost_last_us = verdict.lost_us;
        is_new
    }

    /// All that are known.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.known.keys()
    }

    /// What costs most first.
    pub fn ranked(&self, now_s: u64, since_s: u64) -> Vec<(Key, &Finding)> {
        let mut found: Vec<_> = self
            .known
            .iter()
            .map(|(key, finding)| (*key, finding))
            .collect();
        found.sort_by_key(|(key, finding)| {
            (
                std::cmp::Reverse(finding.lost_per_hour_us(now_s, since_s)),
                *key,
            )
        });
        found
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// The name of a finding: the same in every process and after edits elsewhere, since neither the
/// line nor any value is in it.
pub fn identity(method: &str, route: &str, place: &Place, rule: Rule, statement: Name) -> String {
    let statement = format!("{statement:016x}");
    let parts = [
        method,
        route,
        &place.file,
        &place.function,
        rule.word(),
        &statement,
    ];
    format!("{:012x}", fnv_text(&parts) & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(route: usize) -> Key {
        Key {
            route,
            rule: Rule::NPlusOne,
            statement: 1,
            place: 2,
        }
    }

    const VERDICT: Verdict = Verdict {
        rule: Rule::NPlusOne,
        critical: false,
        lost_us: 1000,
    };

    #[test]
    fn c3_findings_rank_by_the_time_lost_in_an_hour() {
        let mut findings = Findings::default();
        let group = Group {
            count: 20,
            ..Group::default()
        };
        assert!(findings.add((100, 1), key(1), &group, VERDICT, 1));
        assert!(!findings.add((100, 1), key(1), &group, VERDICT, 2));
        let dear = Verdict {
            lost_us: 5000,
            critical: true,
            ..VERDICT
        };
        assert!(findings.add((100, 1), key(2), &group, dear, 3));
        let ranked = findings.ranked(100, 0);
        assert_eq!(ranked[0].0, key(2));
        assert_eq!(ranked[1].1.lost_per_hour_us(100, 0), 72_000);
        assert_eq!((ranked[1].1.requests, ranked[1].1.most), (2, 20));
    }

    #[test]
    fn findings_are_bounded_and_the_one_not_seen_for_longest_goes() {
        let mut findings = Findings::default();
        for route in 0..MOST + 10 {
            findings.add((route as u64, 1), key(route), &Group::default(), VERDICT, 1);
        }
        assert_eq!(findings.len(), MOST);
        assert!(findings.ranked(0, 0).iter().all(|(key, _)| key.route >= 10));
    }

    #[test]
    fn c4_a_line_that_moves_does_not_change_the_name() {
        let place = |line, function: &str| Place {
            file: "shop/views.py".to_owned(),
            line,
            function: function.to_owned(),
            source: "x".to_owned(),
        };
        let name = |place: &Place| identity("GET", "/api/orders/", place, Rule::NPlusOne, 7);
        assert_eq!(name(&place(41, "orders")), name(&place(99, "orders")));
        assert_ne!(name(&place(41, "orders")), name(&place(41, "others")));
        assert_eq!(name(&place(41, "orders")).len(), 12);
    }
}
