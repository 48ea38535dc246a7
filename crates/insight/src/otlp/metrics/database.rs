//! Owns the metrics of databases as a collector takes them: how long statements took, and the pools.
//! Leaves what is counted to `operations` and to whoever fills in `Live`.
//!
//! <https://opentelemetry.io/docs/specs/semconv/db/database-metrics/>

use super::{CUMULATIVE, Span, level, metric, seconds, stamps, sum};
use crate::operations::{BOUNDS_US, What};
use crate::otlp::wire::Message;
use crate::show::{Connections, Live, Spread};
use crate::site::Site;

/// One of a pool's histograms.
type Read = fn(&Connections) -> &Spread;

const POOL: &str = "db.client.connection.pool.name";

/// How long statements took.
pub(super) fn operations(scope: &mut Message, site: &Site, time: Span) {
    metric(scope, "db.client.operation.duration", "s", |told| {
        told.nested(9, |histogram| {
            for (what, times) in site.operations().rows() {
                histogram.nested(1, |point| {
                    labels(point, what);
                    spread(point, (&BOUNDS_US, &times.counts, times.total_us), time);
                });
            }
            histogram.count(2, CUMULATIVE);
        });
    });
}

/// The pools, where there are any.
pub(super) fn pools(scope: &mut Message, live: &Live, time: Span) {
    if live.pools.is_empty() {
        return;
    }
    let name = "db.client.connection.count";
    level(scope, name, "{connection}", |told| {
        for pool in &live.pools {
            for (state, count) in [("used", pool.used), ("idle", pool.idle)] {
                told.nested(1, |point| {
                    point.attribute(7, POOL, pool.name.as_str());
                    point.attribute(7, "db.client.connection.state", state);
                    stamps(point, time);
                    point.fixed(6, count.into());
                });
            }
        }
    });
    let each = |told: &mut Message, read: fn(&Connections) -> u64| {
        for pool in &live.pools {
            told.nested(1, |point| {
                point.attribute(7, POOL, pool.name.as_str());
                stamps(point, time);
                point.fixed(6, read(pool));
            });
        }
    };
    level(scope, "db.client.connection.max", "{connection}", |told| {
        each(told, |pool| pool.max.into());
    });
    let name = "db.client.connection.pending_requests";
    level(scope, name, "{request}", |told| {
        each(told, |pool| pool.pending.into());
    });
    sum(
        scope,
        "db.client.connection.timeouts",
        "{timeout}",
        |told| {
            each(told, |pool| pool.timeouts);
        },
    );
    let rows: [(&str, Read); 2] = [
        ("db.client.connection.wait_time", |pool| &pool.wait),
        ("db.client.connection.use_time", |pool| &pool.used_for),
    ];
    for (name, read) in rows {
        metric(scope, name, "s", |told| {
            told.nested(9, |histogram| {
                for pool in &live.pools {
                    histogram.nested(1, |point| {
                        point.attribute(9, POOL, pool.name.as_str());
                        let one = read(pool);
                        spread(point, (one.bounds_us, &one.counts, one.total_us), time);
                    });
                }
                histogram.count(2, CUMULATIVE);
            });
        });
    }
}

fn labels(point: &mut Message, what: What) {
    point.attribute(9, "db.system.name", what.system());
    point.attribute_if(9, "db.operation.name", what.operation());
    point.attribute_if(9, "error.type", what.error());
}

/// The rest of a point: upper ends, counts of which each stands for itself, microseconds all together.
fn spread(point: &mut Message, (bounds_us, counts, total_us): (&[u64], &[u64], u64), time: Span) {
    stamps(point, time);
    let total = counts
        .iter()
        .fold(0_u64, |sum, more| sum.saturating_add(*more));
    point.fixed(4, total);
    point.number(5, seconds(total_us));
    point.packed(6, counts.iter().copied());
    let bounds = bounds_us.iter().map(|end| seconds(*end).to_bits());
    point.packed(7, bounds);
}
