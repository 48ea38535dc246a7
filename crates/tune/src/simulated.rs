//! Owns a server that exists in numbers only: what it answers follows from its configuration, with noise.

use std::time::Duration;

use canter_load::Random;

use crate::measured::Measured;
use crate::search::{Bench, Length, Trouble};
use crate::setting::Setting;

/// A site and the machine it runs on.
#[derive(Clone, Copy)]
pub struct Site {
    pub cores: f64,
    /// Seconds of one core for a request.
    pub cpu: f64,
    /// Seconds that a request waits for something else.
    pub wait: f64,
    /// Of database connections there are so many; 0 is no database.
    pub connections: f64,
    /// What each thread costs the others, as a share.
    pub friction: f64,
    /// How much a measurement may be off, as a share.
    pub noise: f64,
    /// How soft the knee is at which a limit is reached: 0 is none, more is softer.
    pub soft: f64,
}

pub const MB: f64 = 1e6;

impl Site {
    /// Answers a second with so many users: the least of its limits, and less near where two of them meet.
    pub fn rate(&self, setting: Setting, users: f64) -> f64 {
        let (workers, threads) = (f64::from(setting.workers), f64::from(setting.threads));
        let slots = (workers * threads).min(users);
        let mut each = self.cpu + self.wait;
        each *= 1.0 + self.friction * (slots - 1.0);
        let mut limits = vec![slots / each];
        if self.cpu > 0.0 {
            limits.push(workers.min(self.cores) / self.cpu);
        }
        if self.connections > 0.0 {
            limits.push(self.connections / self.wait);
        }
        let least = limits.iter().copied().fold(f64::MAX, f64::min);
        if self.soft <= 0.0 {
            return least;
        }
        let power = 1.0 / self.soft;
        let sum: f64 = limits.iter().map(|limit| (least / limit).powf(power)).sum();
        least / sum.powf(self.soft)
    }

    pub fn memory(setting: Setting) -> f64 {
        let each = if setting.preload { 30.0 } else { 60.0 };
        let threads = f64::from(setting.workers * setting.threads) * 0.03;
        (40.0 + f64::from(setting.workers) * each + threads) * MB
    }
}

pub struct Simulated {
    pub site: Site,
    pub random: Random,
    pub setting: Setting,
    pub seconds: f64,
    pub budget: f64,
    /// Slow weather of the whole machine.
    pub drift: f64,
    pub stop_after: Option<u32>,
    /// It dies under more users than this.
    pub dies_above: f64,
    pub loads: u32,
}

impl Simulated {
    pub fn new(site: Site, seed: u64) -> Self {
        Self {
            site,
            random: Random::new(seed ^ 0xabcd),
            setting: Setting::new(1, 1),
            seconds: 0.0,
            budget: 600.0,
            drift: 1.0,
            stop_after: None,
            dies_above: f64::MAX,
            loads: 0,
        }
    }
}

impl Bench for Simulated {
    fn start(&mut self, setting: Setting) -> Result<(), Trouble> {
        self.setting = setting;
        self.seconds += 1.0;
        Ok(())
    }

    fn probe(&mut self) -> Result<Measured, Trouble> {
        self.load(1.0, Length::Short)
    }

    fn load(&mut self, level: f64, length: Length) -> Result<Measured, Trouble> {
        self.loads += 1;
        if self.stop_after.is_some_and(|most| self.loads > most) {
            return Err(Trouble::Stopped);
        }
        if level > self.dies_above {
            return Err(Trouble::Died("MemoryError\nKilled".to_owned()));
        }
        self.seconds += if length == Length::Full { 3.5 } else { 2.0 };
        self.drift =
            (self.drift * (1.0 + self.site.noise * (self.random.share() - 0.5))).clamp(0.7, 1.3);
        let own = 1.0 + self.site.noise * (self.random.share() - 0.5);
        let rate = self.site.rate(self.setting, level) * own * self.drift;
        let wait = Duration::from_secs_f64(level / rate);
        Ok(Measured {
            rate,
            p50: wait,
            p95: wait,
            p99: wait,
            answers: (rate * 3.0) as u64 + 1,
            memory: Site::memory(self.setting) as u64,
            connections: (level.min(f64::from(self.setting.workers * self.setting.threads))) as u32,
            ..Measured::default()
        })
    }

    fn stop(&mut self) {}

    fn spent(&self) -> f64 {
        self.seconds / self.budget
    }

    fn say(&mut self, _what: &str) {}
}
