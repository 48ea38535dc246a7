//! Owns the metrics as a collector takes them: the same counts as for Prometheus, under the names of
//! OpenTelemetry where it has one. Sums are cumulative, from the start of the front on.
//! Leaves what is counted to `site`. Field numbers: `metrics.proto`.

mod database;

use super::Resource;
use super::wire::Message;
use crate::phases::Phase;
use crate::routes::{Answers, Route};
use crate::show::Live;
use crate::show::prometheus::BOUNDS_MS;
use crate::site::Site;

const CUMULATIVE: u64 = 2;

/// From when on, and when, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When the front began to count.
    pub start_ns: u64,
    /// Now.
    pub now_ns: u64,
}

/// `ExportMetricsServiceRequest` with all there is.
pub fn request(resource: &Resource, site: &Site, live: &Live, time: Span) -> Vec<u8> {
    resource.wrap(|scope| {
        let routes = || site.routes();
        metric(scope, "http.server.request.duration", "s", |told| {
            told.nested(9, |histogram| {
                for route in routes() {
                    for answers in &route.answers {
                        histogram.nested(1, |point| duration(point, route, answers, time));
                    }
                }
                histogram.count(2, CUMULATIVE);
            });
        });
        database::operations(scope, site, time);
        sum(scope, "canter.request.queries", "{query}", |sum| {
            for route in routes() {
                sum.nested(1, |point| {
                    labels(point, 7, route);
                    stamps(point, time);
                    point.fixed(6, route.queries.0);
                });
            }
        });
        sum(scope, "canter.request.timeouts", "{request}", |sum| {
            for route in routes() {
                sum.nested(1, |point| {
                    labels(point, 7, route);
                    stamps(point, time);
                    point.fixed(6, route.timeouts);
                });
            }
        });
        sum(scope, "canter.request.phase", "s", |sum| {
            for route in routes() {
                for phase in Phase::ALL {
                    sum.nested(1, |point| {
                        labels(point, 7, route);
                        point.attribute(7, "canter.phase", phase.word());
                        stamps(point, time);
                        point.number(4, seconds(route.phases.get(phase)));
                    });
                }
            }
        });
        moments(scope, live, time);
    })
}

/// What is seen at this moment.
fn moments(scope: &mut Message, live: &Live, time: Span) {
    let gauges = &live.gauges;
    for (name, unit, value) in [
        ("canter.requests.queued", "{request}", gauges.queued),
        ("canter.requests.running", "{request}", gauges.running),
        ("canter.connections", "{connection}", gauges.connections),
    ] {
        gauge(scope, name, unit, |told| {
            told.nested(1, |point| {
                stamps(point, time);
                point.fixed(6, value.into());
            });
        });
    }
    gauge(scope, "canter.process.memory", "By", |told| {
        for process in &live.processes {
            for (kind, kb) in ["pss", "uss", "rss"].iter().zip(process.memory_kb) {
                told.nested(1, |point| {
                    point.attribute(7, "canter.process", process.name.as_str());
                    point.attribute(7, "canter.memory.kind", *kind);
                    stamps(point, time);
                    point.fixed(6, kb.saturating_mul(1024));
                });
            }
        }
    });
    database::pools(scope, live, time);
}

fn metric(scope: &mut Message, name: &str, unit: &str, data: impl FnOnce(&mut Message)) {
    scope.nested(2, |told| {
        told.text(1, name);
        told.text(3, unit);
        data(told);
    });
}

fn gauge(scope: &mut Message, name: &str, unit: &str, points: impl FnOnce(&mut Message)) {
    metric(scope, name, unit, |told| told.nested(5, points));
}

/// What never falls.
fn sum(scope: &mut Message, name: &str, unit: &str, points: impl FnOnce(&mut Message)) {
    metric(scope, name, unit, |told| {
        told.nested(7, |sum| {
            points(sum);
            sum.count(2, CUMULATIVE);
            sum.count(3, 1);
        });
    });
}

/// What rises and falls and can be added up (`UpDownCounter`).
fn level(scope: &mut Message, name: &str, unit: &str, points: impl FnOnce(&mut Message)) {
    metric(scope, name, unit, |told| {
        told.nested(7, |sum| {
            points(sum);
            sum.count(2, CUMULATIVE);
        });
    });
}

fn duration(point: &mut Message, route: &Route, answers: &Answers, time: Span) {
    labels(point, 9, route);
    point.attribute(9, "url.scheme", answers.scheme());
    let status = answers.status;
    point.attribute(9, "http.response.status_code", u64::from(status));
    if answers.failed() {
        point.attribute(9, "error.type", status.to_string().as_str());
    }
    stamps(point, time);
    let total = answers.wall.total();
    point.fixed(4, total);
    point.number(5, seconds(answers.total_us));
    // Each bucket counts for itself, unlike those of Prometheus.
    let ends = BOUNDS_MS.iter().map(|ms| answers.wall.at_most(ms * 1000));
    let ends: Vec<u64> = ends.chain([total]).collect();
    let before = std::iter::once(&0).chain(&ends);
    let counts = ends.iter().zip(before);
    point.packed(6, counts.map(|(end, before)| end.saturating_sub(*before)));
    let bounds = BOUNDS_MS.iter().map(|ms| (*ms as f64 / 1000.0).to_bits());
    point.packed(7, bounds);
}

fn labels(point: &mut Message, field: u64, route: &Route) {
    point.attribute(field, "http.request.method", route.method);
    point.attribute_if(field, "http.route", &route.name);
}

fn stamps(point: &mut Message, time: Span) {
    point.fixed(2, time.start_ns);
    point.fixed(3, time.now_ns);
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::Connections;

    /// The kind of data of a metric: the field that follows its name and unit.
    fn kind(message: &[u8], name: &str, unit: &str) -> Option<u8> {
        let mut head = Message::default();
        head.text(1, name);
        head.text(3, unit);
        let head = head.into_bytes();
        let at = message.windows(head.len()).position(|part| part == head)?;
        message.get(at + head.len()).map(|key| key >> 3)
    }

    #[test]
    fn d3_what_rises_and_falls_and_can_be_added_is_a_sum() {
        let live = Live {
            pools: vec![Connections::default()],
            ..Live::default()
        };
        let time = Span {
            start_ns: 1,
            now_ns: 2,
        };
        let message = request(&Resource::default(), &Site::new(), &live, time);
        for (name, unit, field) in [
            ("db.client.connection.count", "{connection}", 7),
            ("db.client.connection.max", "{connection}", 7),
            ("db.client.connection.pending_requests", "{request}", 7),
            ("db.client.connection.timeouts", "{timeout}", 7),
            ("db.client.connection.wait_time", "s", 9),
            ("db.client.connection.use_time", "s", 9),
            ("db.client.operation.duration", "s", 9),
            ("canter.requests.queued", "{request}", 5),
            ("http.server.request.duration", "s", 9),
        ] {
            assert_eq!(kind(&message, name, unit), Some(field), "{name}");
        }
    }
}
