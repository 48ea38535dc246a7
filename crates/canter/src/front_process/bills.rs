//! Owns writing what a request costs in the pooler to the request's notes: waiting for a server
//! connection, and statements that Django does not tell of.
//! Leaves whose session it is to `pooled`.

use std::time::Duration;

use canter_channel::trace::Trace;
use canter_insight::operations::{self, What};
use canter_insight::statement::{Dialect, Traits, strip};
use canter_pg::Billed;

/// Writes it down.
pub fn note(trace: &Trace, billed: Billed<'_>) {
    match billed {
        Billed::Waited {
            waited,
            in_statement,
        } => {
            let (within, apart) = trace.pool.get();
            trace.pool.set(if in_statement {
                (within + waited, apart)
            } else {
                (within, apart + waited)
            });
        }
        Billed::Statement { sql, values, took } => {
            let mut seen = trace.seen.borrow_mut();
            let seen = seen.get_or_insert_default();
            if sql.is_empty() {
                seen.us = seen.us.saturating_add(us(took));
                return;
            }
            let statement = strip(sql, Dialect::Postgres);
            let what = What::of("postgresql", &statement);
            operations::count(&mut seen.times, what, us(took));
            // All values are counted together here, so that keys are not told from what is asked in pieces.
            let traits = Traits {
                keyed: false,
                ..statement.traits
            };
            let told = (statement.fingerprint, traits.to_bits(), statement.text);
            seen.add(told, statement.traits.writes, values, us(took));
        }
        Billed::Held { held } => {
            // Not what a request before this one has left open.
            let since = trace.started.get().map(|started| started.elapsed());
            let mut seen = trace.seen.borrow_mut();
            let seen = seen.get_or_insert_default();
            let held = held.min(since.unwrap_or(held));
            seen.held_us = seen.held_us.saturating_add(us(held));
        }
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn d1_waits_are_summed_by_whether_the_app_times_them_too() {
        let trace = Trace::default();
        for in_statement in [true, false, true] {
            let waited = Duration::from_millis(2);
            let billed = Billed::Waited {
                waited,
                in_statement,
            };
            note(&trace, billed);
        }
        let ms = Duration::from_millis;
        assert_eq!(trace.pool.get(), (ms(4), ms(2)));
    }

    #[test]
    fn s3_what_was_held_open_is_summed_and_no_longer_than_the_request() {
        let trace = Trace::default();
        let held = Duration::from_millis(60);
        for _ in 0..2 {
            note(&trace, Billed::Held { held });
        }
        let sum = || trace.seen.borrow().as_ref().map(|seen| seen.held_us);
        assert_eq!(sum(), Some(120_000));
        trace.started.set(Some(Instant::now()));
        let held = Duration::from_secs(3600);
        note(&trace, Billed::Held { held });
        assert!(sum().is_some_and(|us| us < 3_600_000_000));
    }

    #[test]
    fn c10_a_statement_seen_on_the_wire_is_kept_without_its_values() {
        let trace = Trace::default();
        let took = Duration::from_micros(30);
        for sql in ["SELECT a FROM t WHERE b = 'hunter2'", ""] {
            let sql = sql.as_bytes();
            note(
                &trace,
                Billed::Statement {
                    sql,
                    values: 1,
                    took,
                },
            );
        }
        let seen = trace.seen.borrow();
        let seen = seen.as_ref().unwrap();
        assert_eq!((seen.queries, seen.us), (1, 60));
        // What only begins or ends a transaction is no operation.
        assert_eq!((seen.times.len(), seen.times[0][1]), (1, 30));
        assert!(!seen.rows[0].text.contains("hunter2"), "{:?}", seen.rows);
    }
}
