//! Owns what a thread of a worker takes in memory, and how many fit: workers start threads while
//! requests wait and end them after, and what that changed was measured.
//! Leaves measuring to the program.
//!
//! Only neighbouring measurements of the same worker are compared, so that what grows slowly has
//! little part in it, and the middle one of all is taken. The first two are not: what an app loads with its
//! first requests comes with the threads that serve them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

/// Changes by fewer threads than this drown in what requests take and give back.
const LEAST_CHANGE: u32 = 2;
/// So many changes must have been seen before anything is said.
const LEAST_SEEN: usize = 3;
/// Measurements of a worker that nothing is compared with.
const WARM_UP: u32 = 1;
/// Changes that are remembered.
const MOST_SEEN: usize = 60;

/// What was seen of all workers.
#[derive(Debug, Default)]
pub struct Cost {
    /// Threads and own kilobytes by process, as measured last, and how often it was measured.
    last: BTreeMap<u32, (u32, u64, u32)>,
    /// Kilobytes for one thread, by change.
    seen: VecDeque<i64>,
}

impl Cost {
    /// A worker was measured.
    pub fn add(&mut self, process: u32, threads: u32, own_kb: u64) {
        let (threads_before, own_before, times) =
            self.last.get(&process).copied().unwrap_or_default();
        self.last
            .insert(process, (threads, own_kb, times.saturating_add(1)));
        if times <= WARM_UP || threads.abs_diff(threads_before) < LEAST_CHANGE {
            return;
        }
        let change = i64::from(threads) - i64::from(threads_before);
        let grown = own_kb.cast_signed() - own_before.cast_signed();
        if self.seen.len() >= MOST_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(grown / change);
    }

    /// These processes are all there are.
    pub fn keep(&mut self, is_there: impl Fn(u32) -> bool) {
        self.last.retain(|process, _| is_there(*process));
    }

    /// Kilobytes for one thread; None where that is not known, or where it is nothing.
    pub fn each_kb(&self) -> Option<u64> {
        if self.seen.len() < LEAST_SEEN {
            return None;
        }
        let mut seen: Vec<i64> = self.seen.iter().copied().collect();
        seen.sort_unstable();
        let middle = seen.get(seen.len() / 2).copied()?;
        u64::try_from(middle).ok().filter(|kb| *kb > 0)
    }
}

/// The threads of all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Threads {
    /// Those there are.
    pub now: u32,
    /// Those there may be.
    pub most: u32,
    /// Workers they belong to.
    pub workers: u32,
    /// Kilobytes for one of them.
    pub each_kb: u64,
}

impl Threads {
    /// Kilobytes that are needed with all of them, where so many are in use now.
    pub fn needed_kb(&self, used_kb: u64) -> u64 {
        let more = u64::from(self.most.saturating_sub(self.now));
        used_kb.saturating_add(self.each_kb.saturating_mul(more))
    }

    /// How many there may be in each worker, so that all fit; at least one.
    pub fn fit(&self, used_kb: u64, limit_kb: u64) -> u64 {
        let (now, left) = (u64::from(self.now), limit_kb.saturating_sub(used_kb));
        let over = used_kb
            .saturating_sub(limit_kb)
            .div_ceil(self.each_kb.max(1));
        let all = (now + left / self.each_kb.max(1)).saturating_sub(over);
        (all / u64::from(self.workers.max(1))).max(1)
    }

    /// For people: `a thread takes about 2.1 MB: all 40 that may run need 540 MB of 512 MB`.
    pub fn sentence(&self, used_kb: u64, limit_kb: u64) -> String {
        let each = match self.each_kb {
            kb @ 0..1024 => format!("{kb} kB"),
            kb => format!("{}.{} MB", kb / 1024, kb % 1024 * 10 / 1024),
        };
        let needed = self.needed_kb(used_kb);
        let mut said = format!(
            "a thread takes about {each}: all {} that may run need {} MB",
            self.most,
            needed / 1024
        );
        if limit_kb > 0 {
            // Writing to a String cannot fail.
            let _ = write!(said, " of {} MB", limit_kb / 1024);
        }
        if limit_kb > 0 && needed > limit_kb {
            let _ = write!(said, "; `--threads {}` fits", self.fit(used_kb, limit_kb));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d6_what_a_thread_takes_is_told_from_the_changes_of_their_number() {
        let mut cost = Cost::default();
        // A worker that grows by 100 kB each time, whatever it does, and by 2 MB for each thread.
        for (step, threads) in [2, 20, 10, 10, 9, 2].into_iter().enumerate() {
            assert_eq!(cost.each_kb(), None, "{step}");
            cost.add(
                7,
                threads,
                50_000 + 100 * step as u64 + 2048 * u64::from(threads),
            );
            // Another one that was replaced in between.
            cost.add(8 + step as u32, 2 + threads, 1000 * step as u64);
            cost.keep(|process| process == 7);
        }
        cost.add(7, 30, 50_600 + 2048 * 30);
        let each = cost.each_kb().unwrap();
        assert!((2000..2100).contains(&each), "{each}");
    }

    #[test]
    fn d6_what_an_app_loads_with_its_first_requests_is_not_held_against_threads() {
        let mut cost = Cost::default();
        for worker in 1..=3 {
            cost.add(worker, 3, 30_000);
            cost.add(worker, 9, 90_000);
        }
        assert_eq!(cost.each_kb(), None);
        for worker in 1..=3 {
            cost.add(worker, 3, 87_000);
        }
        assert_eq!(cost.each_kb(), Some(500));
    }

    #[test]
    fn d6_a_thread_that_takes_nothing_or_gives_back_is_not_spoken_of() {
        let mut cost = Cost::default();
        for step in 0..200_u32 {
            cost.add(7, step % 2 * 10, 50_000 - u64::from(step % 2) * 500);
        }
        assert_eq!((cost.each_kb(), cost.seen.len()), (None, MOST_SEEN));
    }

    #[test]
    fn d6_how_many_fit_is_said_before_they_run() {
        let threads = Threads {
            now: 4,
            most: 40,
            workers: 2,
            each_kb: 10 * 1024,
        };
        let mb = |mb: u64| mb * 1024;
        assert_eq!(threads.needed_kb(mb(180)), mb(540));
        assert_eq!(
            threads.sentence(mb(180), mb(512)),
            "a thread takes about 10.0 MB: all 40 that may run need 540 MB of 512 MB; `--threads 18` fits"
        );
        assert_eq!(
            threads.sentence(mb(180), mb(1024)),
            "a thread takes about 10.0 MB: all 40 that may run need 540 MB of 1024 MB"
        );
        let small = Threads {
            each_kb: 640,
            ..threads
        };
        assert_eq!(
            small.sentence(mb(180), 0),
            "a thread takes about 640 kB: all 40 that may run need 202 MB"
        );
        assert_eq!(threads.fit(mb(600), mb(512)), 1);
        assert_eq!(Threads::default().fit(mb(600), mb(512)), 1);
    }
}
