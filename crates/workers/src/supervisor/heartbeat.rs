//! Owns when the front is asked whether it still turns, and when its silence means that it hangs.
//! Leaves asking it and ending it to the supervisor. No I/O; the clock is passed in.
//!
//! Silence is counted in questions, not in time: when the whole machine or container was
//! suspended, the supervisor slept as well, and much time has passed with one question asked.

use std::time::{Duration, Instant};

/// Between two questions, unless a service manager wants to hear more often.
const INTERVAL: Duration = Duration::from_secs(5);

/// Silence that a busy machine or a slow disk does not explain. Ending the front costs every open
/// connection, so this is long.
const PATIENCE: Duration = Duration::from_secs(30);

/// No service manager's impatience makes it shorter than this.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// What to do about the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Nothing.
    Idle,
    /// Ask it.
    Ping,
    /// Ask it, and tell people that it has been silent for long.
    Late,
    /// It hangs: end it.
    Hung,
}

/// The questions to one front.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    interval: Duration,
    /// Questions without an answer after which it hangs.
    most_missed: u32,
    missed: u32,
    /// The last question has no answer yet.
    asked: bool,
    due: Instant,
}

impl Heartbeat {
    /// For a front that listens from now on. `watchdog` is the silence after which a service
    /// manager ends the whole service: a front that hangs is replaced before that.
    pub fn new(watchdog: Option<Duration>, now: Instant) -> Self {
        let interval = watchdog.map_or(INTERVAL, |limit| (limit / 10).min(INTERVAL));
        let interval = interval.max(Duration::from_millis(1));
        let patience = watchdog.map_or(PATIENCE, |limit| (limit * 3 / 5).min(PATIENCE));
        let patience = patience.max(LEAST_PATIENCE);
        let most_missed = patience.as_millis().div_ceil(interval.as_millis());
        Self {
            interval,
            most_missed: u32::try_from(most_missed).unwrap_or(u32::MAX),
            missed: 0,
            asked: false,
            due: now,
        }
    }

    /// When [`Heartbeat::beat`] has something to say again.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// What is due now.
    pub fn beat(&mut self, now: Instant) -> Beat {
        if now < self.due {
            return Beat::Idle;
        }
        self.due = now + self.interval;
        if self.asked {
            self.missed += 1;
        }
        self.asked = true;
        if self.missed >= self.most_missed {
            Beat::Hung
        } else if self.missed > 0 && self.missed == self.most_missed.div_ceil(2) {
            Beat::Late
        } else {
            Beat::Ping
        }
    }

    /// It has answered.
    pub fn answered(&mut self) {
        self.asked = false;
        self.missed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beats until the front counts as hung; the time that took, and how often it was doubted.
    fn silent(heartbeat: &mut Heartbeat, start: Instant) -> (Duration, usize) {
        let mut doubts = 0;
        loop {
            let now = heartbeat.due();
            match heartbeat.beat(now) {
                Beat::Hung => return (now - start, doubts),
                Beat::Late => doubts += 1,
                Beat::Ping => {}
                Beat::Idle => panic!("due and at rest"),
            }
        }
    }

    #[test]
    fn a_silent_front_hangs_after_half_a_minute_or_before_the_service_manager_acts() {
        let start = Instant::now();
        let seconds = |limit: Option<u64>| {
            let limit = limit.map(Duration::from_secs);
            let (took, doubts) = silent(&mut Heartbeat::new(limit, start), start);
            assert_eq!(doubts, 1);
            took.as_secs_f64()
        };
        assert!((30.0..36.0).contains(&seconds(None)));
        assert!((30.0..36.0).contains(&seconds(Some(3600))));
        assert!((18.0..24.0).contains(&seconds(Some(30))));
        assert!((5.0..10.0).contains(&seconds(Some(1))));
    }

    #[test]
    fn a_front_that_answers_late_never_hangs() {
        let mut heartbeat = Heartbeat::new(None, Instant::now());
        for _ in 0..100 {
            for _ in 0..heartbeat.most_missed {
                assert_ne!(heartbeat.beat(heartbeat.due()), Beat::Hung);
            }
            heartbeat.answered();
        }
    }

    #[test]
    fn a_suspended_machine_is_one_question_missed() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(None, start);
        assert_eq!(heartbeat.beat(start), Beat::Ping);
        let later = start + Duration::from_secs(3600);
        assert_eq!(heartbeat.beat(later), Beat::Ping);
        assert_eq!(heartbeat.beat(later), Beat::Idle);
        assert_eq!(heartbeat.missed, 1);
    }
}
