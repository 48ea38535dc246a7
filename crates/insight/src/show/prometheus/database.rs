//! Owns the metrics of databases as Prometheus reads them: how long statements took, and the pools.
//! Leaves what is counted to `operations` and to whoever fills in `Live`.

use std::fmt::{Result, Write as _};

use super::escaped;
use crate::operations::{BOUNDS_US, What};
use crate::show::{Connections, Live, Spread};
use crate::site::Site;

/// What is measured: name, type, and one sentence.
pub const METRICS: [(&str, &str, &str); 7] = [
    (
        "db_client_operation_duration_seconds",
        "histogram",
        "How long SQL statements of requests took.",
    ),
    (
        "db_client_connection_count",
        "gauge",
        "Connections of the pool by state: used by a transaction or idle.",
    ),
    (
        "db_client_connection_max",
        "gauge",
        "Connections there may be to the pool's database server, over all its databases.",
    ),
    (
        "db_client_connection_pending_requests",
        "gauge",
        "Clients that wait for a connection of the pool.",
    ),
    (
        "db_client_connection_timeouts_total",
        "counter",
        "Clients that waited for a connection of the pool in vain.",
    ),
    (
        "db_client_connection_wait_time_seconds",
        "histogram",
        "How long clients waited for a connection of the pool; in the first step those that did not.",
    ),
    (
        "db_client_connection_use_time_seconds",
        "histogram",
        "How long connections were used between being handed out and coming back.",
    ),
];

/// One of them; None where the name is none.
pub(super) fn metric(out: &mut String, name: &str, site: &Site, live: &Live) -> Option<Result> {
    let each = |out: &mut String, read: fn(&Connections) -> u64| {
        let mut pools = live.pools.iter();
        pools.try_for_each(|pool| writeln!(out, "{name}{{{}}} {}", label(pool), read(pool)))
    };
    let spread = |out: &mut String, read: fn(&Connections) -> &Spread| {
        let mut pools = live.pools.iter();
        pools.try_for_each(|pool| {
            let spread = read(pool);
            let parts = (spread.bounds_us, &*spread.counts, spread.total_us);
            cumulative_histogram(out, (name, &label(pool)), parts)
        })
    };
    Some(match name {
        "db_client_operation_duration_seconds" => {
            let mut rows = site.operations().rows();
            rows.try_for_each(|(what, times)| {
                let parts = (&BOUNDS_US[..], &times.counts[..], times.total_us);
                cumulative_histogram(out, (name, &labels(what)), parts)
            })
        }
        "db_client_connection_count" => live.pools.iter().try_for_each(|pool| {
            let states = [("used", pool.used), ("idle", pool.idle)];
            states.iter().try_for_each(|(state, count)| {
                let label = label(pool);
                writeln!(
                    out,
                    "{name}{{{label},db_client_connection_state=\"{state}\"}} {count}"
                )
            })
        }),
        "db_client_connection_max" => each(out, |pool| pool.max.into()),
        "db_client_connection_pending_requests" => each(out, |pool| pool.pending.into()),
        "db_client_connection_timeouts_total" => each(out, |pool| pool.timeouts),
        "db_client_connection_wait_time_seconds" => spread(out, |pool| &pool.wait),
        "db_client_connection_use_time_seconds" => spread(out, |pool| &pool.used_for),
        _ => return None,
    })
}

fn label(pool: &Connections) -> String {
    format!("db_client_connection_pool_name=\"{}\"", escaped(&pool.name))
}

fn labels(what: What) -> String {
    let mut labels = format!("db_system_name=\"{}\"", what.system());
    for (name, value) in [
        ("db_operation_name", what.operation()),
        ("error_type", what.error()),
    ] {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(labels, ",{name}=\"{value}\"");
        }
    }
    labels
}

/// Upper ends, counts of which each stands for itself, and microseconds all together.
fn cumulative_histogram(
    out: &mut String,
    (name, labels): (&str, &str),
    (bounds_us, counts, total_us): (&[u64], &[u64], u64),
) -> Result {
    let mut below = 0_u64;
    let steps = bounds_us.iter().zip(counts).map(|(end_us, count)| {
        below = below.saturating_add(*count);
        (*end_us, below)
    });
    let total: u64 = counts.iter().fold(0, |sum, more| sum.saturating_add(*more));
    super::histogram(out, (name, labels), steps, (total, total_us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Observation;
    use crate::operations::count;
    use crate::show::prometheus::text;

    #[test]
    fn d3_statements_and_pools_have_the_conventions_names_and_no_label_can_be_forged() {
        let mut site = Site::new();
        let mut times = Vec::new();
        count(&mut times, What::unread("sqlite"), 4_000);
        count(
            &mut times,
            What::unread("sqlite").failed("DataError"),
            20_000_000,
        );
        site.observe(
            1,
            &Observation {
                method: "GET",
                times: [&times, &[]],
                ..Observation::default()
            },
        );
        let spread = Spread {
            bounds_us: &[100, 60_000_000],
            counts: vec![3, 1, 1],
            total_us: 61_500_000,
        };
        let pool = Connections {
            name: "db:5432/a\"} 1\nforged 2".to_owned(),
            used: 2,
            idle: 1,
            max: 7,
            pending: 4,
            timeouts: 5,
            wait: spread.clone(),
            used_for: spread,
        };
        let live = Live {
            pools: vec![pool],
            ..Live::default()
        };
        let told = text(&site, &live);
        assert!(!told.lines().any(|line| line.starts_with("forged")));
        let name = "db_client_connection_pool_name=\"db:5432/a\\\"} 1 forged 2\"";
        for line in [
            "db_client_operation_duration_seconds_bucket{db_system_name=\"sqlite\",le=\"0.001\"} 0",
            "db_client_operation_duration_seconds_bucket{db_system_name=\"sqlite\",le=\"0.005\"} 1",
            "db_client_operation_duration_seconds_sum{db_system_name=\"sqlite\"} 0.004",
            "db_client_operation_duration_seconds_bucket{db_system_name=\"sqlite\",error_type=\"DataError\",le=\"10\"} 0",
            "db_client_operation_duration_seconds_count{db_system_name=\"sqlite\",error_type=\"DataError\"} 1",
            &format!("db_client_connection_count{{{name},db_client_connection_state=\"used\"}} 2"),
            &format!("db_client_connection_count{{{name},db_client_connection_state=\"idle\"}} 1"),
            &format!("db_client_connection_max{{{name}}} 7"),
            &format!("db_client_connection_pending_requests{{{name}}} 4"),
            &format!("db_client_connection_timeouts_total{{{name}}} 5"),
            &format!("db_client_connection_wait_time_seconds_bucket{{{name},le=\"0.0001\"}} 3"),
            &format!("db_client_connection_wait_time_seconds_bucket{{{name},le=\"60\"}} 4"),
            &format!("db_client_connection_use_time_seconds_bucket{{{name},le=\"+Inf\"}} 5"),
            &format!("db_client_connection_use_time_seconds_sum{{{name}}} 61.5"),
        ] {
            assert!(told.lines().any(|found| found == line), "{line}\n{told}");
        }
    }
}
