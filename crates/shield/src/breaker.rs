//! Owns the breaker: a part of a site that fails slowly, again and again, gets few requests at a
//! time until it works again, so that it does not take the threads of the parts that work.
//! Leaves what a failure is, and the answer to those refused, to the callers. Sans-IO.
//!
//! Nothing is counted for a part that has not failed lately. One in which more than half of the
//! requests fail may have a few at once, each failure halves that, down to one at a time: those
//! are the probes. Each success lets one more in, until nothing is held back any more.

use std::collections::HashMap;

/// Longest beginning of a path that names a part.
const LONGEST: usize = 24;
/// Parts that are remembered; more than any site has that fail at once.
const PARTS: usize = 64;
/// Over this time failures are held against successes, in ms.
const WINDOW_MS: u64 = 10_000;
/// Failures before a part counts as failing.
const FAILURES: u32 = 5;
/// Requests at once that a failing part begins with, and with which it counts as well again.
const FEW: u32 = 4;
const WELL: u32 = 16;

/// A part of a site: the first step of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    bytes: [u8; LONGEST],
    length: u8,
}

impl Part {
    /// The part that `/shop/cart?a=b` belongs to is `/shop/`.
    pub fn of(target: &[u8]) -> Self {
        let path = target
            .split(|&byte| byte == b'?')
            .next()
            .unwrap_or_default();
        let mut part = Self {
            bytes: [0; LONGEST],
            length: 0,
        };
        for (place, &byte) in part.bytes.iter_mut().zip(path) {
            *place = byte;
            part.length += 1;
            if byte == b'/' && part.length > 1 {
                break;
            }
        }
        part
    }

    /// As it stands in the path.
    pub fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Well,
    /// It failed, and took its time over it.
    Failed,
    /// Nobody can tell: the client has left, say.
    Unknown,
}

/// What has changed for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It fails: few requests pass from now on.
    Fails,
    /// It works again.
    Works,
}

#[derive(Debug, Default)]
struct Record {
    window_ms: u64,
    well: u32,
    failed: u32,
    /// Requests that may be under way at once; None for any number.
    most: Option<u32>,
    inside: u32,
}

/// Watches the parts of a site.
#[derive(Debug, Default)]
pub struct Breaker {
    records: HashMap<Part, Record>,
}

/// Leave for one request; to be given back with its outcome.
#[derive(Debug, PartialEq, Eq)]
pub struct Leave {
    counted: bool,
}

impl Breaker {
    /// Whether a request may go to the app; None when its part has as many under way as it may.
    pub fn enter(&mut self, part: Part) -> Option<Leave> {
        // Nearly always: nothing has failed.
        let Some(record) = self.records.get_mut(&part) else {
            return Some(Leave { counted: false });
        };
        let Some(most) = record.most else {
            return Some(Leave { counted: false });
        };
        if record.inside >= most {
            return None;
        }
        record.inside += 1;
        Some(Leave { counted: true })
    }

    /// Takes the leave back with what became of the request. The clock is asked only where something
    /// has failed.
    pub fn leave(
        &mut self,
        part: Part,
        leave: &Leave,
        outcome: Outcome,
        now_ms: impl FnOnce() -> u64,
    ) -> Option<Change> {
        let is_known = self.records.contains_key(&part);
        if !is_known && outcome != Outcome::Failed {
            return None;
        }
        let now_ms = now_ms();
        if !is_known {
            self.make_room(now_ms);
            let record = Record {
                window_ms: now_ms,
                ..Record::default()
            };
            self.records.insert(part, record);
        }
        let record = self.records.get_mut(&part)?;
        if leave.counted {
            record.inside = record.inside.saturating_sub(1);
        }
        record.roll(now_ms);
        let change = match outcome {
            Outcome::Unknown => None,
            Outcome::Well => record.well(),
            Outcome::Failed => record.failed(),
        };
        if record.is_forgettable() {
            self.records.remove(&part);
        }
        change
    }

    /// Forgets what failed longest ago.
    fn make_room(&mut self, now_ms: u64) {
        if self.records.len() < PARTS {
            return;
        }
        self.records.retain(|_, record| {
            record.inside > 0 || now_ms.saturating_sub(record.window_ms) < 2 * WINDOW_MS
        });
        if self.records.len() >= PARTS
            && let Some(part) = self
                .records
                .iter()
                .min_by_key(|(_, record)| record.window_ms)
                .map(|(part, _)| *part)
        {
            self.records.remove(&part);
        }
    }
}

impl Record {
    fn roll(&mut self, now_ms: u64) {
        let windows = now_ms.saturating_sub(self.window_ms) / WINDOW_MS;
        if windows > 0 {
            let shift = u32::try_from(windows).unwrap_or(u32::MAX).min(31);
            (self.well, self.failed) = (self.well >> shift, self.failed >> shift);
            self.window_ms = now_ms;
        }
    }

    fn well(&mut self) -> Option<Change> {
        self.well = self.well.saturating_add(1);
        let most = self.most? + 1;
        self.most = Some(most).filter(|&most| most <= WELL);
        if self.most.is_some() {
            return None;
        }
        (self.well, self.failed, self.inside) = (0, 0, 0);
        Some(Change::Works)
    }

    fn failed(&mut self) -> Option<Change> {
        self.failed = self.failed.saturating_add(1);
        if let Some(most) = self.most {
            self.most = Some((most / 2).max(1));
            return None;
        }
        if self.failed < FAILURES || self.failed <= self.well {
            return None;
        }
        self.most = Some(FEW);
        Some(Change::Fails)
    }

    fn is_forgettable(&self) -> bool {
        self.most.is_none() && self.failed == 0 && self.inside == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(breaker: &mut Breaker, part: Part, outcome: Outcome, now_ms: u64) -> Option<Change> {
        let leave = breaker.enter(part).unwrap();
        breaker.leave(part, &leave, outcome, || now_ms)
    }

    #[test]
    fn l8_a_part_is_the_first_step_of_the_path() {
        for (target, part) in [
            ("/", "/"),
            ("/about", "/about"),
            ("/shop/cart?x=/y/", "/shop/"),
            ("/?a=/b/", "/"),
            ("*", "*"),
            (
                "/a-name-that-is-longer-than-most/x",
                "/a-name-that-is-longer-t",
            ),
        ] {
            assert_eq!(Part::of(target.as_bytes()).bytes(), part.as_bytes());
        }
    }

    #[test]
    fn l8_a_part_that_fails_gets_one_at_a_time_and_comes_back_step_by_step() {
        let (bad, good) = (Part::of(b"/bad/1"), Part::of(b"/good/1"));
        let mut breaker = Breaker::default();
        for now in 1..5 {
            assert_eq!(run(&mut breaker, bad, Outcome::Failed, now), None);
        }
        assert_eq!(
            run(&mut breaker, bad, Outcome::Failed, 5),
            Some(Change::Fails)
        );
        for now in 6..8 {
            assert_eq!(run(&mut breaker, bad, Outcome::Failed, now), None);
        }
        let probe = breaker.enter(bad).unwrap();
        assert!(breaker.enter(bad).is_none() && breaker.enter(good).is_some());
        assert_eq!(breaker.leave(bad, &probe, Outcome::Unknown, || 9), None);
        let mut changes = (0..20).filter_map(|now| run(&mut breaker, bad, Outcome::Well, 10 + now));
        assert_eq!(changes.next(), Some(Change::Works));
        assert!(changes.next().is_none() && breaker.records.is_empty());
    }

    #[test]
    fn l8_a_part_that_fails_now_and_then_is_left_alone() {
        let part = Part::of(b"/page");
        let mut breaker = Breaker::default();
        for now in 0..1000 {
            let outcome = if now % 3 == 0 {
                Outcome::Failed
            } else {
                Outcome::Well
            };
            assert_eq!(run(&mut breaker, part, outcome, now * 100), None);
        }
    }

    #[test]
    fn l8_what_is_remembered_is_bounded() {
        let mut breaker = Breaker::default();
        for number in 0..10_000_u32 {
            let part = Part::of(format!("/{number}/").as_bytes());
            run(&mut breaker, part, Outcome::Failed, number.into());
        }
        assert_eq!(breaker.records.len(), PARTS);
    }
}
