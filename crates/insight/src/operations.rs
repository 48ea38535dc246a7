//! Owns how long statements took, by database and by what they do: what OpenTelemetry calls
//! `db.client.operation.duration`. A name that is not listed here is none, so that nothing that an app
//! writes makes more of them.
//! Leaves single statements and their places to `site`.
//!
//! <https://opentelemetry.io/docs/specs/semconv/db/database-metrics/>

use std::collections::BTreeMap;

use crate::statement::Statement;

/// Upper ends of the steps in microseconds, as the conventions recommend them.
pub const BOUNDS_US: [u64; 9] = [
    1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 10_000_000,
];
/// One for what took longer.
const STEPS: usize = BOUNDS_US.len() + 1;

/// Runs of one kind in a request: what, their microseconds all together, and how many by step.
pub type Row = [u64; 2 + STEPS];
/// Kinds that are told apart in one request.
const MOST_ROWS: usize = 64;
/// Kinds that are told apart in all; of further ones their database alone.
const MOST: usize = 100;

/// The words of Django's backends, and the convention's for the same (`db.system.name`).
const SYSTEMS: [(&str, &str); 6] = [
    ("", "other_sql"),
    ("postgresql", "postgresql"),
    ("sqlite", "sqlite"),
    ("mysql", "mysql"),
    ("oracle", "oracle.db"),
    ("microsoft", "microsoft.sql_server"),
];
/// First words of statements.
const OPERATIONS: [&str; 33] = [
    "",
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "CLOSE",
    "COMMIT",
    "COPY",
    "CREATE",
    "DECLARE",
    "DELETE",
    "DO",
    "DROP",
    "EXPLAIN",
    "FETCH",
    "INSERT",
    "LOCK",
    "MERGE",
    "NOTIFY",
    "PRAGMA",
    "REFRESH",
    "RELEASE",
    "REPLACE",
    "RESET",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "TRUNCATE",
    "UPDATE",
    "VALUES",
    "WITH",
];
/// What is raised, by the names of PEP 249, which Django's are, too.
const ERRORS: [&str; 10] = [
    "",
    "_OTHER",
    "DataError",
    "DatabaseError",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
];

/// Of which kind a run was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct What {
    system: u8,
    operation: u8,
    error: u8,
}

fn place<'a>(mut names: impl Iterator<Item = &'a str>, name: &str) -> Option<u8> {
    let found = names.position(|known| known.eq_ignore_ascii_case(name));
    found.and_then(|at| u8::try_from(at).ok())
}

impl What {
    /// Of a statement, and the word that Django's backend calls itself. A text of several statements
    /// has no name, nor has one that begins with no word of the list.
    pub fn of(vendor: &str, statement: &Statement) -> Self {
        let text = statement.text.trim_matches(['(', ' ', ';']);
        let word = text.split(|c: char| !c.is_ascii_alphabetic()).next();
        let word = match word.unwrap_or_default() {
            _ if text.contains(';') => "",
            with if with.eq_ignore_ascii_case("WITH")
                && statement.traits.reads
                && !statement.traits.writes =>
            {
                "SELECT"
            }
            word => word,
        };
        Self {
            operation: place(OPERATIONS.into_iter(), word).unwrap_or(0),
            ..Self::unread(vendor)
        }
    }

    /// Of a statement whose text is not known.
    pub fn unread(vendor: &str) -> Self {
        let vendors = SYSTEMS.iter().map(|(vendor, _)| *vendor);
        Self {
            system: place(vendors, vendor).unwrap_or(0),
            ..Self::default()
        }
    }

    /// The same, but an exception of this class was raised.
    #[must_use]
    pub fn failed(self, class: &str) -> Self {
        let error = place(ERRORS.into_iter(), class).unwrap_or(0).max(1);
        Self { error, ..self }
    }

    /// `db.system.name`.
    pub fn system(self) -> &'static str {
        SYSTEMS.get(usize::from(self.system)).map_or("", |it| it.1)
    }

    /// `db.operation.name`; empty where it has none.
    pub fn operation(self) -> &'static str {
        OPERATIONS
            .get(usize::from(self.operation))
            .map_or("", |it| it)
    }

    /// `error.type`; empty where it went well.
    pub fn error(self) -> &'static str {
        ERRORS.get(usize::from(self.error)).map_or("", |it| it)
    }

    fn to_bits(self) -> u64 {
        u64::from_le_bytes([self.system, self.operation, self.error, 0, 0, 0, 0, 0])
    }

    fn from_bits(bits: u64) -> Option<Self> {
        let [system, operation, error, 0, 0, 0, 0, 0] = bits.to_le_bytes() else {
            return None;
        };
        let is_known = usize::from(system) < SYSTEMS.len()
            && usize::from(operation) < OPERATIONS.len()
            && usize::from(error) < ERRORS.len();
        is_known.then_some(Self {
            system,
            operation,
            error,
        })
    }
}

/// Counts one run of a request.
pub fn count(rows: &mut Vec<Row>, what: What, took_us: u64) {
    let bits = what.to_bits();
    let known = rows.iter().position(|row| row[0] == bits);
    let at = known.unwrap_or(rows.len());
    if known.is_none() && at < MOST_ROWS {
        let mut row = [0; 2 + STEPS];
        row[0] = bits;
        rows.push(row);
    }
    let step = BOUNDS_US.partition_point(|end| *end < took_us);
    if let Some(row) = rows.get_mut(at) {
        row[1] = row[1].saturating_add(took_us);
        if let Some(count) = row.get_mut(2 + step) {
            *count += 1;
        }
    }
}

/// How long runs of one kind took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How many by step: one for each of [`BOUNDS_US`], and one for what took longer.
    pub counts: [u64; STEPS],
    /// All together.
    pub total_us: u64,
}

/// All kinds, in a fixed order.
#[derive(Debug, Default)]
pub struct Operations(BTreeMap<What, Times>);

impl Operations {
    /// Adds the runs of a request. What is no row says nothing.
    pub fn add(&mut self, rows: &[Row]) {
        for row in rows {
            let [bits, total_us, counts @ ..] = row;
            let Some(mut what) = What::from_bits(*bits) else {
                continue;
            };
            if self.0.len() >= MOST && !self.0.contains_key(&what) {
                (what.operation, what.error) = (0, 0);
            }
            let times = self.0.entry(what).or_default();
            times.total_us = times.total_us.saturating_add(*total_us);
            for (sum, more) in times.counts.iter_mut().zip(counts) {
                *sum = sum.saturating_add(*more);
            }
        }
    }

    /// Each kind with its times.
    pub fn rows(&self) -> impl Iterator<Item = (What, &Times)> {
        self.0.iter().map(|(what, times)| (*what, times))
    }

    /// Bytes that are held, about.
    pub fn bytes(&self) -> usize {
        self.0.len() * size_of::<(What, Times)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{Dialect, strip};

    fn what(vendor: &str, sql: &str) -> What {
        What::of(vendor, &strip(sql.as_bytes(), Dialect::of_vendor(vendor)))
    }

    #[test]
    fn d3_a_statement_has_the_conventions_name_of_its_database_and_of_what_it_does() {
        for (vendor, sql, system, operation) in [
            (
                "postgresql",
                "SELECT 'INSERT' FROM a",
                "postgresql",
                "SELECT",
            ),
            (
                "sqlite",
                "/* DROP */ insert into a values (1);",
                "sqlite",
                "INSERT",
            ),
            ("mysql", "(select 1) union (select 2)", "mysql", "SELECT"),
            (
                "oracle",
                "WITH b AS (SELECT 1) SELECT * FROM b",
                "oracle.db",
                "SELECT",
            ),
            (
                "postgresql",
                "WITH b AS (DELETE FROM a RETURNING *) SELECT 1 FROM b",
                "postgresql",
                "WITH",
            ),
            (
                "microsoft",
                "SAVEPOINT \"s1\"",
                "microsoft.sql_server",
                "SAVEPOINT",
            ),
            ("of its own", "VACUUM a", "other_sql", ""),
            ("postgresql", "SELECT 1; DELETE FROM a", "postgresql", ""),
            ("", "", "other_sql", ""),
        ] {
            let what = what(vendor, sql);
            assert_eq!(
                (what.system(), what.operation()),
                (system, operation),
                "{sql}"
            );
        }
        let fine = what("sqlite", "SELECT 1");
        for (class, error) in [
            ("IntegrityError", "IntegrityError"),
            ("MyOwn", "_OTHER"),
            ("", "_OTHER"),
        ] {
            assert_eq!((fine.error(), fine.failed(class).error()), ("", error));
        }
    }

    #[test]
    fn d3_runs_are_counted_by_kind_and_step_and_arrive_as_they_were_counted() {
        let (read, write) = (
            what("sqlite", "SELECT 1"),
            what("sqlite", "UPDATE a SET b = 1"),
        );
        let mut rows = Vec::new();
        for took_us in [0, 1_000, 1_001, 10_000_000, 10_000_001] {
            count(&mut rows, read, took_us);
        }
        count(&mut rows, write.failed("DataError"), 7);
        let mut all = Operations::default();
        all.add(&rows);
        all.add(&rows);
        let told: Vec<_> = all.rows().collect();
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].0, read);
        assert_eq!(told[0].1.counts, [4, 2, 0, 0, 0, 0, 0, 0, 2, 2]);
        assert_eq!(told[0].1.total_us, 40_004_004);
        assert_eq!(
            (told[1].0.operation(), told[1].0.error()),
            ("UPDATE", "DataError")
        );
    }

    #[test]
    fn d3_there_is_a_bound_to_the_kinds_and_nonsense_is_none() {
        let mut all = Operations::default();
        let mut rows = Vec::new();
        for operation in 0..OPERATIONS.len() as u8 {
            for error in 0..ERRORS.len() as u8 {
                let what = What {
                    system: 1,
                    operation,
                    error,
                };
                count(&mut rows, what, 1);
                let mut one = Vec::new();
                count(&mut one, what, 1);
                all.add(&one);
            }
        }
        assert_eq!((rows.len(), all.rows().count()), (MOST_ROWS, MOST));
        let runs: u64 = all
            .rows()
            .map(|(_, times)| times.counts.iter().sum::<u64>())
            .sum();
        assert_eq!(runs, (OPERATIONS.len() * ERRORS.len()) as u64);
        let before = all.rows().count();
        for bits in [u64::MAX, 6, 33 << 8, 10 << 16, 1 << 24] {
            all.add(&[[bits; 2 + STEPS]]);
        }
        assert_eq!(all.rows().count(), before);
    }
}
