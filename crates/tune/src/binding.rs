//! Owns the question what holds a configuration back, from measurements of the kernel and of the server
//! itself. Leaves taking them to `canter`.
//!
//! A thread that waits for the interpreter's lock burns no CPU, so time that is not CPU is not yet time
//! that something else took: a worker that keeps a core busy is asked first, and only then who waits.

use crate::measured::Measured;
use crate::setting::Setting;

/// What holds it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// All cores are busy.
    Cpu,
    /// A worker keeps its interpreter busy while there are idle cores.
    InterpreterLock,
    /// The database's answers.
    Database,
    /// Connections to the database.
    DatabaseConnections,
    /// Something outside that the app waits for.
    Waits,
    /// Requests wait for a thread, and none may be added.
    Threads,
    /// The load: everything that comes is answered.
    Load,
    /// What loads it.
    Generator,
}

impl Binding {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::InterpreterLock => "interpreter_lock",
            Self::Database => "database",
            Self::DatabaseConnections => "database_connections",
            Self::Waits => "api_waits",
            Self::Threads => "threads",
            Self::Load => "load",
            Self::Generator => "generator",
        }
    }
}

/// A busy machine, as a share of its cores; a busy interpreter, in cores.
const BUSY: f64 = 0.88;
const BUSY_WORKER: f64 = 0.8;
/// Below this share of the machine, it is others who keep it busy.
const OURS: f64 = 0.5;
/// Of a request's time inside the app, what it computes itself, from which on the rest was waiting for a core.
const COMPUTES: f64 = 0.3;

/// The share of the time of requests in a phase.
pub fn share(measured: &Measured, phase: &str) -> f64 {
    let all: f64 = measured.phases.iter().map(|(_, ms)| ms).sum();
    let found = measured.phases.iter().find(|(name, _)| name == phase);
    found.map_or(0.0, |(_, ms)| ms / all.max(1e-9))
}

/// How much of the time that requests were inside the app the server computed.
fn computes(measured: &Measured) -> f64 {
    let app = measured.phases.iter().find(|(name, _)| name == "app");
    let inside = app.map_or(0.0, |(_, ms)| ms / 1000.0) / (measured.answers as f64).max(1.0);
    if measured.rate <= 0.0 || inside <= 0.0 {
        return 0.0;
    }
    measured.cpu / measured.rate / inside
}

/// What binds, and how that is known, in a sentence.
pub fn binding(setting: Setting, measured: &Measured) -> (Binding, String) {
    let [queue, gil, app, pool, sql] =
        ["queue", "gil", "app", "pool", "sql"].map(|phase| share(measured, phase));
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    if let Some(why) = &measured.generator {
        return (
            Binding::Generator,
            format!("the generator of the load, not the server: {why}"),
        );
    }
    let ours = measured.machine_busy - measured.others_busy();
    if measured.machine_busy > BUSY && (ours > OURS || computes(measured) > COMPUTES) {
        let said = format!(
            "the CPU: {} of all cores were busy, {:.2} cores with the server and {:.2} with the load on it",
            percent(measured.machine_busy),
            measured.cpu,
            measured.load_cpu
        );
        return (Binding::Cpu, said);
    }
    if measured.worker_cpu > BUSY_WORKER {
        let said = format!(
            "the interpreter's lock: a worker used {:.2} cores, and one interpreter runs on one core at a \
             time, while {} of the machine was idle; {} of the requests' time was waiting for the lock \
             before the app began",
            measured.worker_cpu,
            percent(1.0 - measured.machine_busy),
            percent(gil)
        );
        return (Binding::InterpreterLock, said);
    }
    let full = measured.threads_used >= setting.threads;
    let outside = [
        (Binding::Waits, app),
        (Binding::Database, sql),
        (Binding::DatabaseConnections, pool),
    ];
    let (longest, most) = outside
        .into_iter()
        .max_by(|one, two| one.1.total_cmp(&two.1))
        .unwrap_or((Binding::Waits, 0.0));
    if queue > 0.3 && queue > most && full && longest != Binding::DatabaseConnections {
        let said = format!(
            "the cap of {} on threads: {} of the requests' time was waiting for one, while no core was busy",
            setting.threads,
            percent(queue)
        );
        return (Binding::Threads, said);
    }
    if most < 0.2 {
        return (
            Binding::Load,
            "the load: nothing inside was short".to_owned(),
        );
    }
    let said = match longest {
        Binding::Database => format!(
            "the database: {} of the requests' time was waiting for SQL",
            percent(sql)
        ),
        Binding::DatabaseConnections => format!(
            "database connections: {} of the requests' time was waiting for one; {} were open at most",
            percent(pool),
            measured.connections
        ),
        _ => format!(
            "waiting inside the app for something else (an API, a file, a lock of its own): {} of the \
             requests' time, while the busiest worker used {:.2} cores",
            percent(app),
            measured.worker_cpu
        ),
    };
    (longest, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(busy: f64, worker: f64, phases: &[(&str, f64)]) -> Measured {
        Measured {
            machine_busy: busy,
            cpu: busy * 2.0,
            cores: 2.0,
            worker_cpu: worker,
            threads_used: 8,
            phases: phases
                .iter()
                .map(|(name, ms)| ((*name).to_owned(), *ms))
                .collect(),
            ..Measured::default()
        }
    }

    #[test]
    fn b5_what_binds_is_told_from_what_was_measured() {
        let app: &[(&str, f64)] = &[("app", 90.0), ("queue", 5.0), ("gil", 5.0)];
        for (busy, worker, phases, expected) in [
            (0.97, 0.9, app, Binding::Cpu),
            // A convoy at the lock looks like waiting inside the app: the busy worker tells.
            (0.6, 0.97, app, Binding::InterpreterLock),
            (0.2, 0.1, app, Binding::Waits),
            (
                0.3,
                0.3,
                &[("app", 20.0), ("sql", 70.0)][..],
                Binding::Database,
            ),
            (
                0.3,
                0.3,
                &[("app", 20.0), ("pool", 70.0), ("queue", 80.0)][..],
                Binding::DatabaseConnections,
            ),
            (
                0.2,
                0.1,
                &[("app", 20.0), ("queue", 70.0)][..],
                Binding::Threads,
            ),
            (0.2, 0.1, &[("write", 20.0)][..], Binding::Load),
        ] {
            let (found, said) = binding(Setting::new(1, 8), &measured(busy, worker, phases));
            assert_eq!(found, expected, "{said}");
        }
        // Others keep the machine busy: of 90 ms inside the app it computes 2, or of 4.
        for (inside, expected) in [(90.0, Binding::Waits), (4.0, Binding::Cpu)] {
            let crowded = Measured {
                cpu: 0.2,
                rate: 100.0,
                answers: 100,
                ..measured(0.97, 0.1, &[("app", inside * 100.0)])
            };
            assert_eq!(binding(Setting::new(1, 8), &crowded).0, expected);
        }
        let limited = Measured {
            generator: Some("full".into()),
            ..Measured::default()
        };
        assert_eq!(binding(Setting::new(1, 1), &limited).0, Binding::Generator);
    }
}
