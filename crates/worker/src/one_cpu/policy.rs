//! Owns the decision: whether threads are to be held together, from what a look now and then shows.
//! Leaves looking, and holding them, to its parent. Pure.

use std::time::Duration;

use crate::thread_pool::{FEW, MANY};

/// Share of one CPU from which on they compute enough to be in each other's way, and from which on they compute
/// without the lock.
const COMPUTES: f64 = 0.4;
const COMPUTES_APART: f64 = 1.5;

/// So few requests a second that chance rules what is seen between two looks.
const TOO_FEW: f64 = 20.0;

/// Below this share of a full CPU somebody else computes on it, too.
const NEARLY_ALL: f64 = 0.85;

/// Idle shares of a CPU that is full, and of one that could be used.
const FULL: f64 = 0.05;
const SPARE: f64 = 0.25;

/// So many times what was answered apart must be answered together, where another CPU could be used and where none
/// could.
const GAIN: f64 = 1.05;
const NO_LOSS: f64 = 0.95;

/// Looks for which they part to see how that is.
const TRIAL: u32 = 2;

/// So many looks one after the other have to show it, and up to two more, by chance: of two
/// servers on one CPU one shall leave it, and not both.
const STRIKES: u32 = 2;

/// Until they are tried together again after the first time that it was in vain, or apart after the first time that
/// it was well; each time twice as long, and at most the second.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_LAST: Duration = Duration::from_secs(320);

/// What a look shows, of the time since the last.
pub(super) struct Seen {
    pub clock: Duration,
    /// Threads that run requests.
    pub busy: usize,
    /// CPU time of the process, as a share of one CPU.
    pub share: f64,
    /// Requests taken in a second.
    pub rate: f64,
    /// How idle the CPU was that the threads are held on.
    pub idle: f64,
    /// How idle the most idle of the others was.
    pub spare: f64,
}

pub(super) struct Policy {
    /// As [`STRIKES`].
    patience: u32,
    pub together: bool,
    /// Looks since that began.
    pub looks: u32,
    /// So many have to show them apart before they come together.
    wanted: u32,
    /// Requests a second in the last of those.
    rate_apart: f64,
    strikes: u32,
    /// Tries that were in vain, since it last was well, and trials that went well since it was in vain.
    vain: u32,
    well: u32,
    /// Tries that were in vain, ever.
    pub vain_ever: usize,
    /// In the time of [`Seen::clock`], the next try together or apart.
    next: Duration,
}

impl Policy {
    /// `chance` is any number.
    pub fn new(chance: u32) -> Self {
        Self {
            patience: STRIKES + chance % 3,
            together: false,
            looks: 0,
            wanted: 1,
            rate_apart: 0.0,
            strikes: 0,
            vain: 0,
            well: 0,
            vain_ever: 0,
            next: Duration::ZERO,
        }
    }

    pub fn look(&mut self, seen: &Seen) {
        self.looks += 1;
        if !self.together {
            // The mean of those looks that count.
            let count = f64::from(self.looks.min(self.wanted));
            self.rate_apart += (seen.rate - self.rate_apart) / count;
            let compute = seen.busy > MANY && (COMPUTES..COMPUTES_APART).contains(&seen.share);
            if compute
                && seen.rate > TOO_FEW
                && self.looks >= self.wanted
                && seen.clock >= self.next
            {
                self.turn(true, 1, pause(self.well), seen);
            }
            return;
        }
        let is_full = seen.idle < FULL;
        // The first look shows how they come together.
        let is_held_back = is_full && self.looks > 1 && !self.gains(seen);
        self.strikes = if is_held_back { self.strikes + 1 } else { 0 };
        if seen.busy < FEW {
            self.turn(false, 1, Duration::ZERO, seen);
        } else if self.strikes >= self.patience {
            self.turn(false, 1, pause(self.vain), seen);
            self.vain = self.vain.saturating_add(1);
            self.vain_ever = self.vain_ever.wrapping_add(1);
            self.well = 0;
        } else if is_full && seen.clock >= self.next {
            self.turn(false, TRIAL, Duration::ZERO, seen);
            self.well = self.well.saturating_add(1);
            self.vain = 0;
        }
    }

    fn gains(&self, seen: &Seen) -> bool {
        let has_spare = seen.spare > SPARE;
        let least = if has_spare { GAIN } else { NO_LOSS };
        seen.rate >= least * self.rate_apart && !(has_spare && seen.share < NEARLY_ALL)
    }

    fn turn(&mut self, together: bool, wanted: u32, pause: Duration, seen: &Seen) {
        self.together = together;
        self.wanted = wanted;
        self.looks = 0;
        self.strikes = 0;
        self.next = seen.clock + pause;
    }
}

fn pause(times: u32) -> Duration {
    (PAUSE * 2_u32.saturating_pow(times.min(8))).min(PAUSE_LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(500);

    /// Looks one after the other.
    struct Watch {
        policy: Policy,
        clock: Duration,
    }

    /// Threads, their share, requests a second, idle shares here and elsewhere.
    type Row = (usize, f64, f64, f64, f64);

    const APART: Row = (100, 0.8, 500.0, 1.0, 0.1);
    const WELL_TOGETHER: Row = (100, 0.8, 600.0, 0.1, 0.6);

    fn is_about(number: f64, expected: f64) -> bool {
        (number - expected).abs() < 1e-9
    }

    impl Watch {
        fn new() -> Self {
            Self {
                policy: Policy::new(0),
                clock: Duration::ZERO,
            }
        }

        fn look(&mut self, (busy, share, rate, idle, spare): Row) -> bool {
            self.clock += LOOK;
            self.policy.look(&Seen {
                clock: self.clock,
                busy,
                share,
                rate,
                idle,
                spare,
            });
            self.policy.together
        }

        fn together() -> Self {
            let mut watch = Self::new();
            assert!(watch.look(APART));
            watch
        }
    }

    #[test]
    fn many_threads_that_compute_come_together() {
        for (row, comes) in [
            (APART, true),
            ((25, 0.4, 22.0, 1.0, 0.9), true),
            ((25, 0.4, 20.0, 1.0, 0.9), false),
            ((100, 1.49, 500.0, 1.0, 0.1), true),
            ((100, 1.5, 500.0, 1.0, 0.1), false),
            ((24, 0.8, 500.0, 1.0, 0.1), false),
            ((900, 0.39, 500.0, 1.0, 0.1), false),
        ] {
            assert_eq!(Watch::new().look(row), comes, "{row:?}");
        }
    }

    #[test]
    fn they_stay_until_they_are_few() {
        let mut watch = Watch::together();
        for _ in 0..1000 {
            // Nobody needs the CPU, whatever is answered.
            assert!(watch.look((100, 0.8, 1.0, 0.1, 0.6)));
        }
        assert!(watch.look((12, 0.1, 1.0, 0.8, 0.9)) && !watch.look((11, 0.1, 1.0, 0.8, 0.9)));
        // It was not in vain.
        assert!(watch.look(APART));
    }

    #[test]
    fn on_a_full_cpu_they_stay_if_they_gain() {
        for (share, rate, spare, stays) in [
            // They have all of it, and answer more than apart, or no more.
            (0.99, 530.0, 0.5, true),
            (0.99, 520.0, 0.5, false),
            // Somebody else has some of it, and there is another.
            (0.6, 800.0, 0.5, false),
            // There is no other.
            (0.6, 480.0, 0.2, true),
            (0.99, 470.0, 0.2, false),
        ] {
            let row = (100, share, rate, 0.01, spare);
            let mut watch = Watch::together();
            // The first says nothing, and one alone neither.
            assert!(watch.look(row) && watch.look(row) && watch.look(WELL_TOGETHER));
            assert!(watch.look(row));
            assert_eq!(watch.look(row), stays, "{row:?}");
        }
    }

    #[test]
    fn what_was_in_vain_is_tried_again_more_and_more_rarely() {
        let bad = (100, 0.5, 300.0, 0.0, 0.1);
        let mut watch = Watch::together();
        for (times, seconds) in (0_u32..).zip([5, 10, 20, 40, 80, 160, 320, 320]) {
            assert_eq!(watch.policy.vain, times);
            assert!(watch.look(bad) && watch.look(bad) && !watch.look(bad));
            let parted = watch.clock;
            while !watch.look(APART) {}
            assert_eq!(watch.clock, parted + Duration::from_secs(seconds));
        }
    }

    #[test]
    fn where_it_is_well_they_see_now_and_then_how_it_is_apart() {
        let full = (100, 0.9, 600.0, 0.01, 0.1);
        let mut watch = Watch::together();
        for seconds in [5, 10, 20, 40, 80, 160, 320, 320] {
            let came = watch.clock;
            while watch.look(full) {}
            assert_eq!(watch.clock, came + Duration::from_secs(seconds));
            assert!(!watch.look((100, 0.9, 500.0, 1.0, 0.1)));
            assert!(watch.look((100, 0.9, 580.0, 1.0, 0.1)));
            assert!(is_about(watch.policy.rate_apart, 540.0));
        }
        // Now it is better apart.
        while watch.look(full) {}
        assert!(!watch.look((100, 0.9, 700.0, 1.0, 0.1)));
        assert!(watch.look((100, 0.9, 700.0, 1.0, 0.1)));
        assert!(watch.look(full) && watch.look(full) && !watch.look(full));
        assert_eq!((watch.policy.vain, watch.policy.well), (1, 0));
        // Not each trial is another CPU's, but each that was in vain is.
        assert_eq!(watch.policy.vain_ever, 1);
    }

    #[test]
    fn of_two_servers_on_one_cpu_one_is_more_patient() {
        let bad = (100, 0.5, 400.0, 0.0, 0.5);
        let mut watch = Watch::together();
        watch.policy.patience = 4;
        assert!((0..4).all(|_| watch.look(bad)));
        // The other has gone.
        assert!(watch.look((100, 0.95, 900.0, 0.0, 0.5)) && watch.look(WELL_TOGETHER));
        assert_eq!(watch.policy.vain, 0);
    }
}
