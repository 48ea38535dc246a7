//! Owns what one measurement of one configuration came to, and the walls it may not break.
//! Leaves taking it to `canter`.

use std::time::Duration;

use canter_load::report::{bytes, time};

/// Below this share of what arrives, a server does not keep up with it.
const KEPT_UP: f64 = 0.93;

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Good answers a second.
    pub rate: f64,
    /// Answers a second that should have come, where the load does not wait for answers.
    pub offered: Option<f64>,
    /// How long it was measured.
    pub time: Duration,
    /// Latency from the intended start, half of all.
    pub p50: Duration,
    /// 95 % of all.
    pub p95: Duration,
    /// 99 % of all.
    pub p99: Duration,
    /// Good answers.
    pub answers: u64,
    /// Failures, 4xx and 5xx among all.
    pub errors: f64,
    /// Time-outs.
    pub timeouts: u64,
    /// The first error, in words.
    pub first_error: Option<String>,
    /// The most memory of the whole tree of processes, proportional, in bytes.
    pub memory: u64,
    /// The most connections to databases at one time.
    pub connections: u32,
    /// Cores that the server used, all processes together.
    pub cpu: f64,
    /// Cores that the generator of the load used.
    pub load_cpu: f64,
    /// Cores there are.
    pub cores: f64,
    /// Cores that the busiest worker used: near 1 means that its interpreter was never free.
    pub worker_cpu: f64,
    /// The share of the machine's cores that anybody used.
    pub machine_busy: f64,
    /// Milliseconds in each phase of all requests, by the words of the server.
    pub phases: Vec<(String, f64)>,
    /// The most requests that waited for a thread.
    pub queued: u32,
    /// The most threads of one worker that ran at one time.
    pub threads_used: u32,
    /// Why the generator and not the server was the limit.
    pub generator: Option<String>,
}

impl Measured {
    /// Answers a second by which a server that keeps up may be below or above what arrives: the requests under way
    /// at the begin and at the end are not the same number, and each varies by its root (Little's law, Poisson).
    fn at_the_ends(&self, offered: f64) -> f64 {
        let seconds = self.time.as_secs_f64();
        if seconds <= 0.0 {
            return 0.0;
        }
        (2.0 * offered * self.p50.as_secs_f64()).sqrt() / seconds
    }

    /// The share of the machine's cores that neither the server nor the load on it used, but others.
    pub fn others_busy(&self) -> f64 {
        let ours = (self.cpu + self.load_cpu) / self.cores.max(1.0);
        (self.machine_busy - ours).max(0.0)
    }
}

/// What a configuration may not break.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Walls {
    /// Bytes, of all processes.
    pub memory: Option<u64>,
    /// To databases, of all processes.
    pub connections: Option<u32>,
    /// 95 % of the answers come within this time.
    pub p95: Option<Duration>,
    /// The share of errors from which on nothing else counts.
    pub errors: f64,
}

/// Which wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    /// The limit of memory.
    Memory,
    /// The limit of database connections.
    Connections,
    /// The limit of p95.
    Latency,
    /// Answers that are errors.
    Errors,
    /// Fewer answers than arrivals.
    Behind,
    /// It did not start.
    Start,
    /// It died under the load.
    Died,
}

impl Wall {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Connections => "database connections",
            Self::Latency => "p95",
            Self::Errors => "errors",
            Self::Behind => "arrivals",
            Self::Start => "start",
            Self::Died => "died",
        }
    }

    /// Whether a larger configuration breaks it all the more.
    pub fn grows_with_size(self) -> bool {
        matches!(self, Self::Memory | Self::Connections)
    }
}

/// A wall that was broken, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// Which.
    pub wall: Wall,
    /// The value and the limit.
    pub how: String,
}

impl Broken {
    /// A server that died with these last words.
    pub fn died(last: &str) -> Self {
        Self {
            wall: Wall::Died,
            how: format!("the server died: {last}"),
        }
    }
}

impl Walls {
    /// The first wall that a measurement breaks. What kills a server comes before what slows it.
    pub fn broken(&self, measured: &Measured) -> Option<Broken> {
        let broken = |wall, how| Some(Broken { wall, how });
        if let Some(limit) = self.memory.filter(|limit| measured.memory > *limit) {
            let how = format!(
                "{} of memory, limit {}",
                bytes(measured.memory),
                bytes(limit)
            );
            return broken(Wall::Memory, how);
        }
        if let Some(limit) = self
            .connections
            .filter(|limit| measured.connections > *limit)
        {
            let how = format!("{} connections, limit {limit}", measured.connections);
            return broken(Wall::Connections, how);
        }
        let asked_nothing = measured.offered == Some(0.0);
        if measured.errors > self.errors || (measured.answers == 0 && !asked_nothing) {
            let first = measured.first_error.as_deref().unwrap_or("no answers");
            let how = format!("{:.1} % errors ({first})", measured.errors * 100.0);
            return broken(Wall::Errors, how);
        }
        if let Some(offered) = measured
            .offered
            .filter(|offered| measured.rate < offered * KEPT_UP - measured.at_the_ends(*offered))
        {
            let how = format!("{:.1} answers a second of {offered:.1}", measured.rate);
            return broken(Wall::Behind, how);
        }
        if let Some(limit) = self.p95.filter(|limit| measured.p95 > *limit) {
            let how = format!("p95 {}, limit {}", time(measured.p95), time(limit));
            return broken(Wall::Latency, how);
        }
        None
    }
}

/// Several measurements of one configuration as one: the middle of what varies, the most of what is limited.
pub fn together(runs: &[&Measured]) -> Measured {
    let Some(last) = runs.last() else {
        return Measured::default();
    };
    let middle = |get: &dyn Fn(&Measured) -> f64| {
        let mut all: Vec<f64> = runs.iter().map(|run| get(run)).collect();
        all.sort_by(f64::total_cmp);
        let upper = all.get(all.len() / 2).copied().unwrap_or(0.0);
        let lower = all.get((all.len() - 1) / 2).copied().unwrap_or(0.0);
        f64::midpoint(lower, upper)
    };
    let wait = |get: fn(&Measured) -> Duration| {
        Duration::from_secs_f64(middle(&|run: &Measured| get(run).as_secs_f64()))
    };
    let mean = runs.iter().map(|run| run.rate).sum::<f64>() / runs.len() as f64;
    let ended = |run: &&Measured| run.answers as f64 / (1.0 - run.errors).max(1e-9);
    let all: f64 = runs.iter().filter(|run| run.answers > 0).map(ended).sum();
    let wrong: f64 = runs
        .iter()
        .filter(|run| run.answers > 0)
        .map(|run| ended(run) * run.errors)
        .sum();
    Measured {
        rate: mean,
        offered: last.offered,
        time: last.time,
        p50: wait(|run| run.p50),
        p95: wait(|run| run.p95),
        p99: wait(|run| run.p99),
        answers: runs.iter().map(|run| run.answers).sum(),
        errors: if all > 0.0 { wrong / all } else { 1.0 },
        timeouts: runs.iter().map(|run| run.timeouts).sum(),
        first_error: runs.iter().find_map(|run| run.first_error.clone()),
        memory: runs.iter().map(|run| run.memory).max().unwrap_or(0),
        connections: runs.iter().map(|run| run.connections).max().unwrap_or(0),
        cpu: middle(&|run| run.cpu),
        load_cpu: middle(&|run| run.load_cpu),
        cores: last.cores,
        worker_cpu: middle(&|run| run.worker_cpu),
        machine_busy: middle(&|run| run.machine_busy),
        phases: phases(runs),
        queued: runs.iter().map(|run| run.queued).max().unwrap_or(0),
        threads_used: runs.iter().map(|run| run.threads_used).max().unwrap_or(0),
        generator: runs.iter().find_map(|run| run.generator.clone()),
    }
}

/// Their sums, as the answers are summed.
fn phases(runs: &[&Measured]) -> Vec<(String, f64)> {
    let mut sums: Vec<(String, f64)> = Vec::new();
    for (name, ms) in runs.iter().flat_map(|run| &run.phases) {
        match sums.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += ms,
            None => sums.push((name.clone(), *ms)),
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Measured {
        Measured {
            rate: 100.0,
            p95: Duration::from_millis(100),
            answers: 200,
            memory: 100 << 20,
            connections: 5,
            ..Measured::default()
        }
    }

    #[test]
    fn b3_each_wall_is_told_with_the_value_that_broke_it() {
        let walls = Walls {
            memory: Some(512_000_000),
            connections: Some(20),
            p95: Some(Duration::from_millis(300)),
            errors: 0.01,
        };
        assert_eq!(walls.broken(&good()), None);
        for (measured, wall, how) in [
            (
                Measured {
                    memory: 600_000_000,
                    ..good()
                },
                Wall::Memory,
                "600.0 MB",
            ),
            (
                Measured {
                    connections: 21,
                    ..good()
                },
                Wall::Connections,
                "21 connections",
            ),
            (
                Measured {
                    errors: 0.02,
                    ..good()
                },
                Wall::Errors,
                "2.0 %",
            ),
            (
                Measured {
                    answers: 0,
                    ..good()
                },
                Wall::Errors,
                "no answers",
            ),
            (
                Measured {
                    p95: Duration::from_millis(410),
                    ..good()
                },
                Wall::Latency,
                "p95 410 ms, limit 300 ms",
            ),
        ] {
            let broken = walls.broken(&measured).unwrap();
            assert_eq!(broken.wall, wall);
            assert!(broken.how.contains(how), "{}", broken.how);
        }
    }

    #[test]
    fn b3_who_keeps_up_with_arrivals_is_not_behind_for_what_is_under_way() {
        let walls = Walls {
            errors: 0.01,
            ..Walls::default()
        };
        let behind = |offered: f64, rate: f64, p50: u64, time: Duration| {
            let measured = Measured {
                rate,
                offered: Some(offered),
                p50: Duration::from_millis(p50),
                time,
                ..good()
            };
            let broken = walls.broken(&measured);
            broken.is_some_and(|it| it.wall == Wall::Behind)
        };
        // 20 arrivals of 50 ms in half a second: two are always under way, and one or two more at the end.
        let half = Duration::from_millis(500);
        assert!(!behind(40.0, 36.0, 50, half));
        assert!(behind(40.0, 20.0, 250, half));
        let long = Duration::from_secs(15);
        assert!(behind(100.0, 90.0, 700, long) && !behind(100.0, 94.0, 100, long));
        let none = Measured {
            answers: 0,
            offered: Some(0.0),
            ..Measured::default()
        };
        assert_eq!(walls.broken(&none), None, "nothing was asked");
    }

    #[test]
    fn runs_together_have_the_middle_of_times_and_the_most_of_memory() {
        let slow = Measured {
            p95: Duration::from_secs(5),
            memory: 200 << 20,
            ..good()
        };
        let all = together(&[&good(), &slow, &good()]);
        assert_eq!(
            (all.p95, all.memory),
            (Duration::from_millis(100), 200 << 20)
        );
        assert_eq!(all.answers, 600);
        let dead = Measured {
            answers: 0,
            errors: 1.0,
            ..good()
        };
        assert!((together(&[&dead]).errors - 1.0).abs() < 1e-9);
    }
}
