//! Owns the statements of a request that were seen on their way to the database and that no worker
//! tells of.
//! Leaves what a statement is without its values to whoever notes it, and judging to the front.

use std::collections::HashSet;

/// Statements of a request that are told apart.
const MOST: usize = 64;

/// The same statement, in one request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Row {
    /// The statement's fingerprint.
    pub statement: u64,
    /// What it does, as in a [`crate::report::Report`].
    pub bits: u8,
    /// Without its values.
    pub text: String,
    /// How often.
    pub count: u32,
    /// With how many different values.
    pub distinct: u32,
    /// How often with values that had been asked for before, with nothing written since.
    pub repeats: u32,
    /// Microseconds, all together and the longest.
    pub us: (u64, u64),
    since_written: HashSet<u64>,
    ever: HashSet<u64>,
}

/// All of one request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    /// In order of appearance.
    pub rows: Vec<Row>,
    /// Statements.
    pub queries: u32,
    /// Those of them that write.
    pub writes: u32,
    /// Microseconds in all of them, and in what begins and ends transactions.
    pub us: u64,
    /// Microseconds in transactions between statements.
    pub held_us: u64,
    /// How long they took, by kind: what `canter-insight` counts in `operations`.
    pub times: Vec<[u64; 12]>,
}

impl Seen {
    /// Counts one.
    pub fn add(&mut self, statement: (u64, u8, String), writes: bool, values: u64, us: u64) {
        self.us = self.us.saturating_add(us);
        self.queries = self.queries.saturating_add(1);
        if writes {
            self.writes = self.writes.saturating_add(1);
            // What is asked from here on may have another answer.
            for row in &mut self.rows {
                row.since_written.clear();
            }
        }
        let (name, bits, text) = statement;
        let at = self.rows.iter().position(|row| row.statement == name);
        if at.is_none() && self.rows.len() >= MOST {
            return;
        }
        let at = at.unwrap_or_else(|| {
            self.rows.push(Row {
                statement: name,
                bits,
                text,
                ..Row::default()
            });
            self.rows.len() - 1
        });
        let Some(row) = self.rows.get_mut(at) else {
            return;
        };
        row.count = row.count.saturating_add(1);
        row.us = (row.us.0.saturating_add(us), row.us.1.max(us));
        if writes {
            return;
        }
        if row.since_written.contains(&values) {
            row.repeats += 1;
        } else if row.since_written.len() < MOST {
            row.since_written.insert(values);
            if row.ever.len() < MOST && row.ever.insert(values) {
                row.distinct += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(name: u64) -> (u64, u8, String) {
        (name, 1, "SELECT ?".to_owned())
    }

    #[test]
    fn c10_repeats_and_different_values_are_told_apart_and_a_write_begins_anew() {
        let mut seen = Seen::default();
        for values in [1, 2, 1] {
            seen.add(statement(7), false, values, 10);
        }
        seen.add(statement(8), true, 0, 5);
        seen.add(statement(7), false, 1, 20);
        let row = &seen.rows[0];
        assert_eq!((row.count, row.distinct, row.repeats), (4, 2, 1));
        assert_eq!(row.us, (50, 20));
        assert_eq!((seen.queries, seen.writes, seen.us), (5, 1, 55));
    }

    #[test]
    fn c10_statements_beyond_the_bound_are_counted_and_not_kept() {
        let mut seen = Seen::default();
        for name in 0..1000 {
            seen.add(statement(name), false, name, 1);
        }
        assert_eq!((seen.rows.len(), seen.queries), (MOST, 1000));
    }
}
