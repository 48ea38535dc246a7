//! `SHOW STATS` and its kin: sums for each database since the start, and averages of the last full
//! minute. Owns the ticker that keeps the sums of the two last full minutes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep};

use super::command::Topic;
use super::table::{Cell, Column, Kind, Table};
use crate::pool::PoolStats;
use crate::pooler::Shared;

/// PgBouncer's `stats_period`.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

const COUNT: usize = 12;

/// In the order of PgBouncer's columns: servers handed out, transactions, queries, bytes from
/// clients, bytes to clients, microseconds in transactions, in queries, in waits, statements
/// prepared by clients, on servers, used, logins.
type Sums = [u64; COUNT];
/// Where times are, and how many of what they are spread over.
const TIMES: [(usize, usize); 3] = [(5, 1), (6, 2), (7, 0)];

use Kind::{Numeric, Text};

pub(super) const STATS: &[Column] = &[
    ("database", Text),
    ("total_server_assignment_count", Numeric),
    ("total_xact_count", Numeric),
    ("total_query_count", Numeric),
    ("total_received", Numeric),
    ("total_sent", Numeric),
    ("total_xact_time", Numeric),
    ("total_query_time", Numeric),
    ("total_wait_time", Numeric),
    ("total_client_parse_count", Numeric),
    ("total_server_parse_count", Numeric),
    ("total_bind_count", Numeric),
    ("total_client_login_count", Numeric),
    ("avg_server_assignment_count", Numeric),
    ("avg_xact_count", Numeric),
    ("avg_query_count", Numeric),
    ("avg_recv", Numeric),
    ("avg_sent", Numeric),
    ("avg_xact_time", Numeric),
    ("avg_query_time", Numeric),
    ("avg_wait_time", Numeric),
    ("avg_client_parse_count", Numeric),
    ("avg_server_parse_count", Numeric),
    ("avg_bind_count", Numeric),
    ("avg_client_login_count", Numeric),
];
pub(super) const TOTALS_BY_DATABASE: &[Column] = &[
    ("database", Text),
    ("server_assignment_count", Numeric),
    ("xact_count", Numeric),
    ("query_count", Numeric),
    ("bytes_received", Numeric),
    ("bytes_sent", Numeric),
    ("xact_time", Numeric),
    ("query_time", Numeric),
    ("wait_time", Numeric),
    ("client_parse_count", Numeric),
    ("server_parse_count", Numeric),
    ("bind_count", Numeric),
    ("client_login_count", Numeric),
];
pub(super) const AVERAGES: &[Column] = &[
    ("database", Text),
    ("server_assignment_count", Numeric),
    ("xact_count", Numeric),
    ("query_count", Numeric),
    ("bytes_received", Numeric),
    ("bytes_sent", Numeric),
    ("xact_time", Numeric),
    ("query_time", Numeric),
    ("wait_time", Numeric),
    ("avg_client_parse_count", Numeric),
    ("avg_server_parse_count", Numeric),
    ("avg_bind_count", Numeric),
    ("avg_client_login_count", Numeric),
];
pub(super) const TOTALS: &[Column] = &[("name", Text), ("value", Numeric)];
/// The rows of `SHOW TOTALS`, behind `total_` and `avg_`.
const NAMES: [&str; COUNT] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
];

/// Sums at one moment, for each database.
type Snapshot = (Instant, BTreeMap<String, Sums>);

/// Sums at the ends of the last two minutes.
#[derive(Default)]
pub(crate) struct Minutes {
    older: RefCell<Option<Snapshot>>,
    newer: RefCell<Option<Snapshot>>,
    ticker: RefCell<Option<AbortHandle>>,
}

impl Minutes {
    /// Begins to keep them, once.
    pub(crate) fn keep(&self, shared: &Rc<Shared>) {
        let mut ticker = self.ticker.borrow_mut();
        if ticker.is_none() {
            self.turn(snapshot(shared));
            *ticker = Some(spawn_local(tick(Rc::downgrade(shared))).abort_handle());
        }
    }

    fn turn(&self, now: Snapshot) {
        let before = self.newer.replace(Some(now));
        self.older.replace(before);
    }

    /// For each second, or for each of its kind, over the last full minute.
    fn averages(&self, database: &str) -> Sums {
        let (older, newer) = (self.older.borrow(), self.newer.borrow());
        let (Some((from, older)), Some((to, newer))) = (&*older, &*newer) else {
            return Sums::default();
        };
        let nothing = Sums::default();
        average(
            older.get(database).unwrap_or(&nothing),
            newer.get(database).unwrap_or(&nothing),
            to.saturating_duration_since(*from),
        )
    }
}

impl Drop for Minutes {
    fn drop(&mut self) {
        if let Some(ticker) = self.ticker.take() {
            ticker.abort();
        }
    }
}

async fn tick(shared: Weak<Shared>) {
    loop {
        sleep(PERIOD).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.minutes.turn(snapshot(&shared));
    }
}

fn snapshot(shared: &Rc<Shared>) -> Snapshot {
    (Instant::now(), by_database(&shared.pools.stats()))
}

fn by_database(all: &[PoolStats]) -> BTreeMap<String, Sums> {
    let mut databases = BTreeMap::<String, Sums>::new();
    for pool in all {
        let sums = databases.entry(pool.database.clone()).or_default();
        for (sum, more) in sums.iter_mut().zip(sums_of(pool)) {
            *sum = sum.wrapping_add(more);
        }
    }
    databases
}

fn sums_of(pool: &PoolStats) -> Sums {
    [
        pool.leases,
        pool.transactions,
        pool.queries,
        pool.bytes_in,
        pool.bytes_out,
        pool.transaction_us,
        pool.query_time.sum_us,
        pool.wait_time.sum_us,
        pool.client_parses,
        pool.server_parses,
        pool.binds,
        pool.logins,
    ]
}

fn average(older: &Sums, newer: &Sums, over: Duration) -> Sums {
    let grown: Sums = std::array::from_fn(|at| {
        let get = |sums: &Sums| sums.get(at).copied().unwrap_or_default();
        get(newer).saturating_sub(get(older))
    });
    let micros = over.as_micros().max(1);
    let per_second =
        |grown: u64| u64::try_from(u128::from(grown) * 1_000_000 / micros).unwrap_or(u64::MAX);
    let mut averages = grown.map(per_second);
    for (time, of) in TIMES {
        if let (Some(average), Some(spent), Some(count)) =
            (averages.get_mut(time), grown.get(time), grown.get(of))
        {
            *average = spent.checked_div(*count).unwrap_or(0);
        }
    }
    averages
}

/// Fills one of the four tables.
pub(super) fn fill(topic: Topic, table: &mut Table, shared: &Rc<Shared>) {
    let databases = by_database(&shared.pools.stats());
    if topic == Topic::Totals {
        return totals(table, shared, &databases);
    }
    for (name, sums) in databases {
        let averages = shared.minutes.averages(&name);
        let (with_sums, with_averages) = match topic {
            Topic::StatsTotals => (true, false),
            Topic::StatsAverages => (false, true),
            _ => (true, true),
        };
        let mut row = vec![Cell::Text(name)];
        if with_sums {
            row.extend(sums.map(Cell::from));
        }
        if with_averages {
            row.extend(averages.map(Cell::from));
        }
        table.rows.push(row);
    }
}

/// All databases in one, a row for each number.
fn totals(table: &mut Table, shared: &Rc<Shared>, databases: &BTreeMap<String, Sums>) {
    let (mut sums, mut averages) = (Sums::default(), Sums::default());
    for (name, of_one) in databases {
        for (sum, more) in sums.iter_mut().zip(of_one) {
            *sum = sum.wrapping_add(*more);
        }
        for (sum, more) in averages.iter_mut().zip(shared.minutes.averages(name)) {
            *sum = sum.wrapping_add(more);
        }
    }
    for (prefix, values) in [("total", sums), ("avg", averages)] {
        for (name, value) in NAMES.iter().zip(values) {
            table.push([format!("{prefix}_{name}").into(), value.into()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_averages_are_for_each_second_and_times_for_each_of_their_kind() {
        let older = [10, 10, 20, 100, 100, 1000, 500, 70, 0, 0, 0, 1];
        let newer = [130, 70, 140, 700, 1300, 7000, 2900, 670, 60, 6, 600, 1];
        let averages = average(&older, &newer, Duration::from_secs(60));
        assert_eq!(averages, [2, 1, 2, 10, 20, 100, 20, 5, 1, 0, 10, 0]);
        assert_eq!(average(&newer, &newer, Duration::ZERO), Sums::default());
    }

    #[test]
    fn i1_rows_have_as_many_cells_as_columns() {
        assert_eq!(STATS.len(), 1 + 2 * COUNT);
        assert_eq!(TOTALS_BY_DATABASE.len(), 1 + COUNT);
        assert_eq!(AVERAGES.len(), 1 + COUNT);
    }
}
