//! Owns how what is known is shown: JSON, Prometheus, SARIF, text for terminals.
//! Leaves the page to whoever serves it.

pub mod findings;
pub mod json;
pub mod prometheus;
pub mod snapshot;
pub mod top;

use crate::forecast::threads::Threads;
use crate::history::Gauges;

/// The dashboard: one page that needs nothing else. `NONCE` stands where the policy's nonce goes.
pub const PAGE: &str = include_str!("show/page.html");

/// For whom the moment is told: what nobody there reads is not made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// The history, each second: the numbers alone.
    #[default]
    History,
    /// A collector of metrics.
    Collectors,
    /// Somebody looks: what runs is asked where it is.
    People,
}

/// What only this moment knows.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Seconds since the start.
    pub now_s: u64,
    /// Who asks.
    pub audience: Audience,
    /// The version of the program.
    pub version: &'static str,
    /// What is seen at this moment.
    pub gauges: Gauges,
    /// What the processes may use together, in kilobytes; 0 when nothing says so.
    pub memory_limit_kb: u64,
    /// Cores that the processes may use.
    pub cores: u32,
    /// The processes.
    pub processes: Vec<Process>,
    /// The workers' threads, where it is known what one takes.
    pub threads: Option<Threads>,
    /// Requests under way for a while, the oldest first.
    pub running: Vec<Running>,
    /// The pool of database connections; None where there is none.
    pub pool: Option<Pool>,
    /// The same by database, as metrics have it.
    pub pools: Vec<Connections>,
    /// The page cache; None where nothing is stored.
    pub cache: Option<Cache>,
}

impl Live {
    /// What the threads take, for people; empty where nobody knows.
    pub fn threads_sentence(&self) -> String {
        let (used, limit) = (self.gauges.memory_kb.into(), self.memory_limit_kb);
        let told = self.threads.map(|threads| threads.sentence(used, limit));
        told.unwrap_or_default()
    }
}

/// One process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// `front`, `worker 1`…
    pub name: String,
    /// Its number.
    pub pid: u32,
    /// Memory with its part of what it shares, what is its own alone, and all that it maps, in
    /// kilobytes.
    pub memory_kb: [u64; 3],
    /// What was its own alone when it was measured first.
    pub first_own_kb: u64,
    /// Its threads.
    pub threads: u32,
    /// Milliseconds of CPU time since it began, where somebody asked and the system says.
    pub cpu_ms: Option<u64>,
}

/// A request under way.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// `GET /path`, without its query.
    pub request: String,
    /// Its id.
    pub id: String,
    /// Milliseconds since it came.
    pub age_ms: u64,
    /// Whether it waits for a thread.
    pub queued: bool,
    /// The pattern of its address, as far as it was asked.
    pub route: String,
    /// The statement it waits for, without values.
    pub sql: String,
    /// Where its thread is.
    pub stack: String,
}

/// The pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pool {
    /// Connections to the server, and how many of them nobody else can have now.
    pub servers: (u32, u32),
    /// Connections of the app, and how many of them wait for a server connection.
    pub clients: (u32, u32),
    /// Microseconds waited in all.
    pub waited_us: u64,
}

/// The connections of a pool to one database, and what was done with them since the start.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// Server and database.
    pub name: String,
    /// Those that are in use.
    pub used: u32,
    /// Those that are not.
    pub idle: u32,
    /// The most there may be to the server.
    pub max: u32,
    /// Clients that wait for one.
    pub pending: u32,
    /// Clients that waited in vain.
    pub timeouts: u64,
    /// How long clients waited; those that did not are in the first step.
    pub wait: Spread,
    /// How long they were used at a time.
    pub used_for: Spread,
}

/// Durations by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// The upper ends of the steps in microseconds.
    pub bounds_us: &'static [u64],
    /// How many in each, and one more for what was longer.
    pub counts: Vec<u64>,
    /// All together in microseconds.
    pub total_us: u64,
}

/// The page cache in memory, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cache {
    /// Look-ups that found a page.
    pub hits: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Pages put in.
    pub stored: u64,
    /// Pages let go for want of room.
    pub evicted: u64,
    /// Pages there are.
    pub pages: u64,
    /// Bytes they take.
    pub bytes: u64,
}

impl Cache {
    /// How many of 100 look-ups found a page, rounded down; None before the first look-up.
    pub fn hit_percent(&self) -> Option<u64> {
        let all = self.hits.saturating_add(self.misses);
        self.hits.saturating_mul(100).checked_div(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::STEPS_S;
    use crate::site::Site;

    #[test]
    fn d6_what_threads_take_is_told_in_every_form_and_only_where_it_is_known() {
        let mut live = Live {
            memory_limit_kb: 512 * 1024,
            ..Live::default()
        };
        live.gauges.memory_kb = 180 * 1024;
        let mut site = Site::new();
        site.observe(
            1,
            &crate::Observation {
                method: "GET",
                ..Default::default()
            },
        );
        let told = |live: &Live| [snapshot::snapshot(&site, live), top::text(&site, live)];
        for text in told(&live) {
            assert!(!text.contains("a thread takes"), "{text}");
        }
        live.threads = Some(Threads {
            now: 4,
            most: 40,
            workers: 2,
            each_kb: 10 * 1024,
        });
        for text in told(&live) {
            assert!(
                text.contains("40 that may run need 540 MB of 512 MB; `--threads 18` fits"),
                "{text}"
            );
        }
        let numbers =
            r#""threads":{"now":4,"most":40,"each_kb":10240,"needed_kb":552960,"fit":18}"#;
        assert!(told(&live)[0].contains(numbers));
    }

    #[test]
    fn b7_the_busiest_seconds_are_told_for_longer_than_the_chart_shows() {
        let (mut site, mut live) = (Site::new(), Live::default());
        let one = crate::Observation {
            method: "GET",
            ..Default::default()
        };
        for _ in 0..30 {
            site.observe(1, &one);
        }
        (live.gauges.queued, live.gauges.running) = (7, 4);
        site.tick(STEPS_S[0], live.gauges);
        live.gauges = Gauges::default();
        // An hour.
        for step in 2..720 {
            site.tick(step * STEPS_S[0], live.gauges);
        }
        let text = snapshot::snapshot(&site, &live);
        let busiest = r#""busiest":{"step_s":5,"requests":30,"queued":7,"running":4}"#;
        assert!(text.contains(busiest), "{text}");
    }
}
