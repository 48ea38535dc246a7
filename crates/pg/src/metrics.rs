//! What the pooler did and does as text for Prometheus (exposition format 0.0.4): one row for each
//! metric. Leaves serving it to the program.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::pool::{BOUNDS_US, Histogram, PoolStats};
use crate::pooler::PoolerStats;

/// Databases and users are named by clients: the largest have labels of their own, the others
/// share one.
const MOST: usize = 50;
const OTHERS: &str = "(others)";

/// A metric with one value for each pool.
struct Row {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    read: fn(&PoolStats) -> f64,
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&PoolStats) -> f64) -> Row {
    Row {
        name,
        kind: "gauge",
        help,
        read,
    }
}

const fn counter(name: &'static str, help: &'static str, read: fn(&PoolStats) -> f64) -> Row {
    Row {
        name,
        kind: "counter",
        help,
        read,
    }
}

const ROWS: [Row; 19] = [
    gauge("clients", "Clients connected.", |pool| pool.clients.into()),
    gauge(
        "waiting",
        "Clients that wait for a server connection.",
        |pool| pool.waiting.into(),
    ),
    gauge(
        "max_wait_seconds",
        "How long the first in the queue has waited.",
        |pool| pool.max_wait.as_secs_f64(),
    ),
    gauge(
        "paused",
        "Whether an administrator has paused it.",
        |pool| f64::from(u8::from(pool.paused)),
    ),
    gauge(
        "disabled",
        "Whether an administrator has it refuse new clients.",
        |pool| f64::from(u8::from(pool.disabled)),
    ),
    gauge(
        "servers_limit",
        "Server connections there may be to its database server, over all pools.",
        |pool| pool.cap.into(),
    ),
    counter("logins_total", "Clients that logged in.", |pool| {
        pool.logins as f64
    }),
    counter(
        "queries_total",
        "Queries answered, each up to the next ReadyForQuery.",
        |pool| pool.queries as f64,
    ),
    counter(
        "transactions_total",
        "Transactions ended, statements outside of any included.",
        |pool| pool.transactions as f64,
    ),
    counter(
        "transaction_seconds_total",
        "Time that servers spent in transactions.",
        |pool| seconds(pool.transaction_us),
    ),
    counter("received_bytes_total", "Bytes from clients.", |pool| {
        pool.bytes_in as f64
    }),
    counter("sent_bytes_total", "Bytes to clients.", |pool| {
        pool.bytes_out as f64
    }),
    counter(
        "waits_total",
        "Times that a client found no free server connection.",
        |pool| pool.waits as f64,
    ),
    counter(
        "binds_total",
        "Times that clients gave values to a statement.",
        |pool| pool.binds as f64,
    ),
    counter("leases_total", "Server connections handed out.", |pool| {
        pool.leases as f64
    }),
    counter(
        "servers_opened_total",
        "Server connections opened.",
        |pool| pool.connects as f64,
    ),
    counter(
        "servers_closed_total",
        "Server connections closed.",
        |pool| pool.closes as f64,
    ),
    counter(
        "client_parses_total",
        "Named statements that clients prepared.",
        |pool| pool.client_parses as f64,
    ),
    counter(
        "server_parses_total",
        "Named statements that servers were sent.",
        |pool| pool.server_parses as f64,
    ),
];

/// How many of a pool's servers are in this state.
type State = (&'static str, fn(&PoolStats) -> u32);
const STATES: [State; 4] = [
    ("active", |pool| pool.active),
    ("idle", |pool| pool.idle),
    ("connecting", |pool| pool.connecting),
    ("looking", |pool| pool.looking),
];

/// How often this went wrong.
type Error = (&'static str, fn(&PoolStats) -> u64);
const ERRORS: [Error; 4] = [
    ("wait_timeout", |pool| pool.wait_timeouts),
    ("connect", |pool| pool.connect_failures),
    ("server_found_dead", |pool| pool.found_dead),
    ("server_unsettled", |pool| pool.unsettled),
];

/// How long something took: name, help and where it is.
type Time = (&'static str, &'static str, fn(&PoolStats) -> &Histogram);
const TIMES: [Time; 2] = [
    (
        "pool_wait_seconds",
        "How long clients waited for a server; those that did not are not in it.",
        |pool| &pool.wait_time,
    ),
    (
        "pool_query_seconds",
        "How long servers worked on a query.",
        |pool| &pool.query_time,
    ),
];

impl PoolerStats {
    /// All of it in Prometheus's text format.
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        let whole = [
            (
                "clients",
                "gauge",
                "Clients of all doors, the console's too.",
                self.clients,
            ),
            (
                "clients_refused_total",
                "counter",
                "Clients refused because there were too many.",
                self.clients_refused,
            ),
            (
                "cancels_total",
                "counter",
                "Cancel requests sent to servers.",
                self.cancels,
            ),
        ];
        for (name, kind, help, value) in whole {
            head(&mut out, name, kind, help);
            let _ = writeln!(out, "canter_pg_{name} {value}");
        }
        let pools = merged(&self.pools);
        for row in &ROWS {
            let name = format!("pool_{}", row.name);
            head(&mut out, &name, row.kind, row.help);
            for (labels, pools) in &pools {
                let value = pools.iter().copied().map(row.read);
                let value = if row.kind == "gauge" && !is_sum(row.name) {
                    value.fold(0.0, f64::max)
                } else {
                    value.sum()
                };
                let _ = writeln!(out, "canter_pg_{name}{{{labels}}} {value}");
            }
        }
        by_word(&mut out, &pools);
        for (name, help, read) in TIMES {
            head(&mut out, name, "histogram", help);
            for (labels, pools) in &pools {
                histogram(&mut out, name, labels, pools.iter().copied().map(read));
            }
        }
        out
    }
}

/// Whether several pools under one label add up; the largest counts otherwise.
fn is_sum(name: &str) -> bool {
    !matches!(
        name,
        "max_wait_seconds" | "paused" | "disabled" | "servers_limit"
    )
}

/// Pools under their labels: one for each database and user, whatever their targets are.
fn merged(all: &[PoolStats]) -> BTreeMap<String, Vec<&PoolStats>> {
    let mut by_name = BTreeMap::<(&str, &str), Vec<&PoolStats>>::new();
    for pool in all {
        let name = (&*pool.database, &*pool.user);
        by_name.entry(name).or_default().push(pool);
    }
    let mut ranked: Vec<_> = by_name.into_iter().collect();
    ranked.sort_by_key(|(_, pools)| {
        let queries: u64 = pools.iter().map(|pool| pool.queries).sum();
        std::cmp::Reverse(queries)
    });
    let mut pools = BTreeMap::<String, Vec<&PoolStats>>::new();
    for (rank, ((database, user), of_one)) in ranked.into_iter().enumerate() {
        let (database, user) = if rank < MOST {
            (database, user)
        } else {
            (OTHERS, OTHERS)
        };
        let labels = format!("database={},user={}", quoted(database), quoted(user));
        pools.entry(labels).or_default().extend(of_one);
    }
    pools
}

/// Servers by state, errors by kind, pins by reason.
fn by_word(out: &mut String, pools: &BTreeMap<String, Vec<&PoolStats>>) {
    head(
        out,
        "pool_servers",
        "gauge",
        "Server connections by what they do.",
    );
    for (labels, pools) in pools {
        for (state, read) in STATES {
            let count: u64 = pools.iter().map(|pool| u64::from(read(pool))).sum();
            let _ = writeln!(
                out,
                "canter_pg_pool_servers{{{labels},state=\"{state}\"}} {count}"
            );
        }
    }
    head(
        out,
        "pool_errors_total",
        "counter",
        "What went wrong, by kind.",
    );
    for (labels, pools) in pools {
        for (kind, read) in ERRORS {
            let count: u64 = pools.iter().map(|pool| read(pool)).sum();
            let _ = writeln!(
                out,
                "canter_pg_pool_errors_total{{{labels},kind=\"{kind}\"}} {count}"
            );
        }
    }
    head(
        out,
        "pool_pins",
        "gauge",
        "Sessions that keep a server between transactions, by reason; one may have several.",
    );
    for (labels, pools) in pools {
        let mut reasons = BTreeMap::<&str, u64>::new();
        let pins = pools.iter().flat_map(|pool| &pool.pins);
        for reason in pins.flat_map(|pin| pin.reasons.split(", ")) {
            *reasons.entry(reason).or_default() += 1;
        }
        for (reason, count) in reasons {
            let reason = quoted(reason);
            let _ = writeln!(
                out,
                "canter_pg_pool_pins{{{labels},reason={reason}}} {count}"
            );
        }
    }
}

fn histogram<'a>(
    out: &mut String,
    name: &str,
    labels: &str,
    parts: impl Iterator<Item = &'a Histogram>,
) {
    let mut sum = Histogram::default();
    parts.for_each(|part| sum.add(part));
    let mut below = 0_u64;
    for (bound, count) in BOUNDS_US.iter().zip(sum.counts) {
        below = below.saturating_add(count);
        let bound = seconds(*bound);
        let _ = writeln!(
            out,
            "canter_pg_{name}_bucket{{{labels},le=\"{bound}\"}} {below}"
        );
    }
    let count = sum.count();
    let _ = writeln!(
        out,
        "canter_pg_{name}_bucket{{{labels},le=\"+Inf\"}} {count}"
    );
    let _ = writeln!(
        out,
        "canter_pg_{name}_sum{{{labels}}} {}",
        seconds(sum.sum_us)
    );
    let _ = writeln!(out, "canter_pg_{name}_count{{{labels}}} {count}");
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(
        out,
        "# HELP canter_pg_{name} {help}\n# TYPE canter_pg_{name} {kind}"
    );
}

fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

/// A label's value: backslash, quote and line feed are escaped, no more.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pool::PinStats;

    fn pool(database: &str, queries: u64) -> PoolStats {
        PoolStats {
            database: database.into(),
            user: "app".into(),
            queries,
            ..PoolStats::default()
        }
    }

    #[test]
    fn i1_metrics_as_prometheus_reads_them() {
        let mut shop = PoolStats {
            active: 2,
            idle: 1,
            waiting: 3,
            max_wait: Duration::from_millis(1500),
            wait_timeouts: 4,
            waits: 9,
            cap: 12,
            ..pool("shop", 7)
        };
        shop.wait_time.counts[1] = 2;
        shop.wait_time.counts[18] = 1;
        shop.wait_time.sum_us = 2_500_000;
        shop.pins = vec![PinStats {
            client: "c".into(),
            database: "shop".into(),
            reasons: "advisory lock, temporary table".into(),
            age: Duration::ZERO,
            text: String::new(),
        }];
        let stats = PoolerStats {
            clients: 5,
            // Another target with the same names is in the same series.
            pools: vec![shop, pool("shop", 1), pool("a\"b\\c\nd", 0)],
            ..PoolerStats::default()
        };
        let text = stats.prometheus();
        for line in [
            "# TYPE canter_pg_clients gauge",
            "canter_pg_clients 5",
            "# TYPE canter_pg_pool_queries_total counter",
            "canter_pg_pool_queries_total{database=\"shop\",user=\"app\"} 8",
            "canter_pg_pool_queries_total{database=\"a\\\"b\\\\c\\nd\",user=\"app\"} 0",
            "canter_pg_pool_waiting{database=\"shop\",user=\"app\"} 3",
            "canter_pg_pool_servers_limit{database=\"shop\",user=\"app\"} 12",
            "canter_pg_pool_waits_total{database=\"shop\",user=\"app\"} 9",
            "canter_pg_pool_max_wait_seconds{database=\"shop\",user=\"app\"} 1.5",
            "canter_pg_pool_servers{database=\"shop\",user=\"app\",state=\"active\"} 2",
            "canter_pg_pool_errors_total{database=\"shop\",user=\"app\",kind=\"wait_timeout\"} 4",
            "canter_pg_pool_pins{database=\"shop\",user=\"app\",reason=\"advisory lock\"} 1",
            "# TYPE canter_pg_pool_wait_seconds histogram",
            "canter_pg_pool_wait_seconds_bucket{database=\"shop\",user=\"app\",le=\"0.0001\"} 0",
            "canter_pg_pool_wait_seconds_bucket{database=\"shop\",user=\"app\",le=\"60\"} 2",
            "canter_pg_pool_wait_seconds_bucket{database=\"shop\",user=\"app\",le=\"+Inf\"} 3",
            "canter_pg_pool_wait_seconds_sum{database=\"shop\",user=\"app\"} 2.5",
            "canter_pg_pool_wait_seconds_count{database=\"shop\",user=\"app\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let mut seen = std::collections::HashSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series), "twice: {series}");
        }
    }

    #[test]
    fn i1_names_that_clients_make_up_share_one_label() {
        let stats = PoolerStats {
            pools: (0..500).map(|n| pool(&format!("d{n}"), n)).collect(),
            ..PoolerStats::default()
        };
        let text = stats.prometheus();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("canter_pg_pool_queries_total{"));
        assert_eq!(lines.count(), MOST + 1);
        assert!(
            text.contains("queries_total{database=\"d499\""),
            "the busiest has its own"
        );
        let rest: u64 = (0..450).sum();
        let others = format!("queries_total{{database=\"(others)\",user=\"(others)\"}} {rest}");
        assert!(text.contains(&others));
    }
}
