//! Owns the phases of a request: where its time went, each microsecond in exactly one of them.
//! Leaves taking the times to the front and the worker.

/// Where the time of a request can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before it came here: in a router that says when it took the request.
    Router,
    /// Until its body was here.
    BodyIn,
    /// For a thread of a worker.
    Queue,
    /// For the interpreter's lock, before the app could begin.
    Gil,
    /// In the app, beside what follows.
    App,
    /// For a connection of the pool.
    Pool,
    /// For answers of the database.
    Sql,
    /// In the page cache.
    Cache,
    /// Until the response was with the client's system.
    Write,
}

/// How many there are.
pub const PHASES: usize = 9;

impl Phase {
    /// In the order in which they are shown.
    pub const ALL: [Self; PHASES] = [
        Self::Router,
        Self::BodyIn,
        Self::Queue,
        Self::Gil,
        Self::App,
        Self::Pool,
        Self::Sql,
        Self::Cache,
        Self::Write,
    ];

    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::BodyIn => "body_in",
            Self::Queue => "queue",
            Self::Gil => "gil",
            Self::App => "app",
            Self::Pool => "pool",
            Self::Sql => "sql",
            Self::Cache => "cache",
            Self::Write => "write",
        }
    }

    /// For people, in «rate-limiting step: …».
    pub fn name(self) -> &'static str {
        match self {
            Self::Router => "waiting in the router",
            Self::BodyIn => "receiving request bodies",
            Self::Queue => "waiting for a free thread",
            Self::Gil => "waiting for the interpreter's lock",
            Self::App => "Python code of the app",
            Self::Pool => "waiting for a database connection",
            Self::Sql => "SQL",
            Self::Cache => "the page cache",
            Self::Write => "sending to clients",
        }
    }
}

/// Microseconds in each phase, in the order of [`Phase::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases(pub [u64; PHASES]);

impl Phases {
    /// The time in one phase.
    pub fn get(&self, phase: Phase) -> u64 {
        self.0.get(phase as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, phase: Phase, us: u64) {
        if let Some(slot) = self.0.get_mut(phase as usize) {
            *slot = us;
        }
    }

    /// All phases together: the wall time.
    pub fn wall_us(&self) -> u64 {
        self.0.iter().fold(0, |sum, us| sum.saturating_add(*us))
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        for (sum, us) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(*us);
        }
    }

    /// The phase that takes most of the time and its share in percent; None without any time.
    pub fn longest(&self) -> Option<(Phase, u64)> {
        self.ranked().into_iter().next()
    }

    /// The phases that take time, the longest first, with their shares in percent.
    pub fn ranked(&self) -> Vec<(Phase, u64)> {
        let wall = self.wall_us();
        let mut found: Vec<_> = Phase::ALL
            .into_iter()
            .filter(|phase| self.get(*phase) > 0)
            .map(|phase| (phase, self.get(phase).saturating_mul(100) / wall.max(1)))
            .collect();
        found.sort_by_key(|(phase, _)| std::cmp::Reverse(self.get(*phase)));
        found
    }

    /// «rate-limiting step: SQL, 61 % of the time; next: …»; or «no single one», where the second takes
    /// nearly as long: mending one alone leaves the other.
    pub fn sentence(&self) -> String {
        let ranked = self.ranked();
        let mut ranked = ranked.iter();
        let Some((phase, share)) = ranked.next() else {
            return "rate-limiting step: none yet".to_owned();
        };
        let first = format!("{}, {share} % of the time", phase.name());
        match ranked.next().filter(|(_, next)| *next > 0) {
            None => format!("rate-limiting step: {first}"),
            Some((next, second)) if second * 5 >= share * 4 => format!(
                "rate-limiting step: no single one: {first}, and {}, {second} %",
                next.name()
            ),
            Some((next, second)) => {
                format!(
                    "rate-limiting step: {first}; next: {}, {second} %",
                    next.name()
                )
            }
        }
    }
}

/// What was measured of one request, in microseconds since its head was here. Those that did not
/// happen are None; nothing is taken on trust: what is out of order counts as nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamps {
    /// How long the router had it before.
    pub router: u64,
    /// It was handed to the queue.
    pub submitted: Option<u64>,
    /// A thread began it.
    pub started: Option<u64>,
    /// The app's last word came.
    pub answered: Option<u64>,
    /// It was over.
    pub ended: u64,
    /// How long the thread waited for the interpreter's lock before it began.
    pub gil: u64,
    /// How long the app waited for the database.
    pub sql: u64,
    /// How long of this for a connection of the pool.
    pub pool: u64,
    /// How long for one beside this.
    pub pool_apart: u64,
    /// How long the page cache took.
    pub cache: u64,
}

impl Stamps {
    /// The phases; they add up to `router + ended`.
    pub fn phases(&self) -> Phases {
        let mut phases = Phases::default();
        let end = self.ended;
        let submitted = self.submitted.unwrap_or(end).min(end);
        let started = self.started.map_or(end, |at| at.clamp(submitted, end));
        let answered = self.answered.map_or(end, |at| at.clamp(started, end));
        phases.set(Phase::Router, self.router);
        let waited = started - submitted;
        let gil = self.gil.min(waited);
        phases.set(Phase::Gil, gil);
        phases.set(Phase::Queue, waited - gil);
        let ran = answered - started;
        let sql = self.sql.min(ran);
        let pool = self.pool.min(sql);
        let apart = self.pool_apart.min(ran - sql);
        phases.set(Phase::Pool, pool + apart);
        phases.set(Phase::Sql, sql - pool);
        phases.set(Phase::App, ran - sql - apart);
        phases.set(Phase::Write, end - answered);
        // Before the app: the cache was asked, and the body came.
        let cache = self.cache.min(submitted);
        if self.submitted.is_some() {
            phases.set(Phase::Cache, cache);
            phases.set(Phase::BodyIn, submitted - cache);
        } else {
            // Answered without the app.
            phases.set(Phase::Cache, cache);
            phases.set(Phase::Queue, 0);
            phases.set(Phase::Write, end - cache);
        }
        phases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_phases_add_up_to_the_wall_time_whatever_the_stamps_say() {
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(3);
            (state >> 40) % 1000
        };
        for _ in 0..50_000 {
            let some = |us: u64| (!us.is_multiple_of(5)).then_some(us);
            let stamps = Stamps {
                router: next(),
                submitted: some(next()),
                started: some(next()),
                answered: some(next()),
                ended: next(),
                gil: next(),
                sql: next(),
                pool: next(),
                pool_apart: next(),
                cache: next(),
            };
            assert_eq!(
                stamps.phases().wall_us(),
                stamps.router + stamps.ended,
                "{stamps:?}"
            );
        }
    }

    #[test]
    fn d1_each_time_is_in_its_phase_and_the_sentence_names_the_longest() {
        let stamps = Stamps {
            router: 5,
            submitted: Some(10),
            started: Some(110),
            answered: Some(1110),
            ended: 1160,
            gil: 40,
            sql: 700,
            pool: 70,
            pool_apart: 30,
            cache: 0,
        };
        let phases = stamps.phases();
        assert_eq!(phases.0, [5, 10, 60, 40, 270, 100, 630, 0, 50]);
        assert_eq!(
            phases.sentence(),
            "rate-limiting step: SQL, 54 % of the time; next: Python code of the app, 23 %"
        );
        assert_eq!(Phases::default().sentence(), "rate-limiting step: none yet");
        // Two that take nearly the same are both told; one alone is alone.
        let told = |app, sql| Phases([0, 0, 0, 0, app, 0, sql, 0, 0]).sentence();
        assert_eq!(
            told(41, 59),
            "rate-limiting step: SQL, 59 % of the time; next: Python code of the app, 41 %"
        );
        assert_eq!(
            told(45, 55),
            "rate-limiting step: no single one: SQL, 55 % of the time, and Python code of the app, 45 %"
        );
        assert_eq!(told(0, 9), "rate-limiting step: SQL, 100 % of the time");
    }
}
