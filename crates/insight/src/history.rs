//! Owns what is remembered of the last two hours in steps of 5 s and of the last day in steps of a
//! minute.
//! Leaves when a step ends to `site`.

use std::collections::VecDeque;

use crate::histogram::{Histogram, Step};
use crate::phases::{PHASES, Phases};

/// Seconds of a fine step and of a coarse one.
pub const STEPS_S: [u64; 2] = [5, 60];
/// Steps kept: two hours, and a day.
const KEPT: usize = 1440;

/// What is seen at a moment rather than counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Requests that wait for a thread.
    pub queued: u32,
    /// Requests given to workers.
    pub running: u32,
    /// Connections of clients.
    pub connections: u32,
    /// Memory of all processes in kilobytes, shared parts counted once.
    pub memory_kb: u32,
}

/// One step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// When it ended, in seconds since the start.
    pub at_s: u32,
    /// Responses.
    pub requests: u32,
    /// Those with a status from 500 on.
    pub errors: u32,
    /// Those that took 30 s or were given up.
    pub timeouts: u32,
    /// The middle, 95 and 99 of 100, and the longest, in units of 100 µs.
    pub latency: [u32; 4],
    /// Milliseconds by phase.
    pub phases_ms: [u32; PHASES],
    /// Statements.
    pub queries: u32,
    /// The most of the moment.
    pub gauges: Gauges,
}

/// A step that has not ended.
#[derive(Clone, Debug, Default)]
struct Open {
    wall: Histogram,
    longest_us: u64,
    phases: Phases,
    point: Point,
}

impl Open {
    /// Adds all of another.
    fn merge(&mut self, other: &Self) {
        self.wall.merge(&other.wall);
        self.longest_us = self.longest_us.max(other.longest_us);
        self.phases.add(&other.phases);
        for (sum, more) in [
            (&mut self.point.requests, other.point.requests),
            (&mut self.point.errors, other.point.errors),
            (&mut self.point.timeouts, other.point.timeouts),
            (&mut self.point.queries, other.point.queries),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.point.gauges = most(self.point.gauges, other.point.gauges);
    }

    fn close(&mut self, now_s: u64, gauges: Gauges) -> Point {
        let tenths = |us: u64| u32::try_from(us / 100).unwrap_or(u32::MAX);
        let mut point = self.point;
        point.at_s = u32::try_from(now_s).unwrap_or(u32::MAX);
        let quantile = |share| tenths(self.wall.quantile_us(share).min(self.longest_us));
        point.latency = [
            quantile(500),
            quantile(950),
            quantile(990),
            tenths(self.longest_us),
        ];
        for (ms, us) in point.phases_ms.iter_mut().zip(&self.phases.0) {
            *ms = u32::try_from(us / 1000).unwrap_or(u32::MAX);
        }
        point.gauges = most(point.gauges, gauges);
        *self = Self::default();
        point
    }
}

fn most(one: Gauges, other: Gauges) -> Gauges {
    Gauges {
        queued: one.queued.max(other.queued),
        running: one.running.max(other.running),
        connections: one.connections.max(other.connections),
        memory_kb: one.memory_kb.max(other.memory_kb),
    }
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct History {
    open: [Open; 2],
    ended_s: [u64; 2],
    points: [VecDeque<Point>; 2],
}

impl History {
    /// Counts one request, of which the wall time is known with its step.
    pub fn add(
        &mut self,
        (wall, step): (u64, Step),
        phases: &Phases,
        queries: u32,
        is_error: bool,
        is_timeout: bool,
    ) {
        let [open, _] = &mut self.open;
        open.wall.add_step(step);
        open.longest_us = open.longest_us.max(wall);
        open.phases.add(phases);
        open.point.requests = open.point.requests.saturating_add(1);
        open.point.errors = open.point.errors.saturating_add(is_error.into());
        open.point.timeouts = open.point.timeouts.saturating_add(is_timeout.into());
        open.point.queries = open.point.queries.saturating_add(queries);
    }

    /// Looks at the clock, in seconds since the start: steps that are over are closed.
    pub fn tick(&mut self, now_s: u64, gauges: Gauges) {
        // What is counted goes to the fine step; the coarse one gets it when that ends, which it does
        // at the end of each coarse one, too.
        let mut ended = None;
        let steps = self
            .open
            .iter_mut()
            .zip(&mut self.ended_s)
            .zip(&mut self.points);
        for (((open, ended_s), points), step) in steps.zip(STEPS_S) {
            if let Some(finer) = &ended {
                open.merge(finer);
            }
            open.point.gauges = most(open.point.gauges, gauges);
            if now_s < *ended_s + step {
                return;
            }
            if points.len() == KEPT {
                points.pop_front();
            }
            ended = Some(open.clone());
            points.push_back(open.close(now_s, gauges));
            *ended_s = now_s;
        }
    }

    /// The most requests of a fine step, and the most of each gauge.
    pub fn busiest(&self) -> (u32, Gauges) {
        let nothing = (0, Gauges::default());
        self.points(false).fold(nothing, |(requests, gauges), one| {
            (requests.max(one.requests), most(gauges, one.gauges))
        })
    }

    /// The fine steps or the coarse ones, oldest first.
    pub fn points(&self, coarse: bool) -> impl DoubleEndedIterator<Item = &Point> {
        self.points[usize::from(coarse)].iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d5_history_is_bounded_and_a_day_stays_below_its_share() {
        let mut history = History::default();
        let phases = Phases([1000; PHASES]);
        for second in 0..100_000 {
            let wall = phases.wall_us();
            history.add((wall, Step::of(wall)), &phases, 2, false, false);
            let gauges = Gauges {
                queued: 3,
                ..Gauges::default()
            };
            history.tick(second, gauges);
        }
        let [fine, coarse] = [false, true].map(|coarse| history.points(coarse).count());
        assert_eq!((fine, coarse), (KEPT, KEPT));
        assert!(2 * KEPT * size_of::<Point>() < 300_000);
        let last = history.points(true).next_back().unwrap();
        assert_eq!(
            (last.requests, last.queries, last.gauges.queued),
            (60, 120, 3)
        );
        assert_eq!(last.phases_ms, [60; PHASES]);
        assert_eq!(last.latency[3], 90);
    }
}
