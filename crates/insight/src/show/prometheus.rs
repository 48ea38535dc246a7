//! Owns the metrics as Prometheus reads them (text format 0.0.4), under the names of OpenTelemetry
//! where it has one: <https://opentelemetry.io/docs/specs/semconv/http/http-metrics/>.
//! Leaves what is counted to `site`.
//!
//! The boundaries OpenTelemetry recommends end at 10 s; these go on to 60 s, or every request that
//! a router gave up on would hide in `+Inf`.

pub mod database;

use std::fmt::Write as _;

use crate::phases::Phase;
use crate::routes::Route;
use crate::show::{Cache, Live};
use crate::site::Site;

/// What is measured: name, type, and one sentence.
pub const METRICS: &[(&str, &str, &str)] = &[
    (
        "http_server_request_duration_seconds",
        "histogram",
        "Time from a request's head to the end of its response, with the time in the router where that is known.",
    ),
    (
        "canter_request_phase_seconds_total",
        "counter",
        "Where the time of requests went; the phases add up to it.",
    ),
    (
        "canter_request_timeouts_total",
        "counter",
        "Requests that took 30 s or were given up.",
    ),
    (
        "canter_request_queries_total",
        "counter",
        "SQL statements of requests.",
    ),
    (
        "canter_requests_queued",
        "gauge",
        "Requests that wait for a thread.",
    ),
    (
        "canter_requests_running",
        "gauge",
        "Requests that a thread runs.",
    ),
    ("canter_connections", "gauge", "Connections of clients."),
    (
        "canter_process_memory_bytes",
        "gauge",
        "Memory of a process: pss with its part of what it shares, uss its own alone.",
    ),
    (
        "canter_process_cpu_seconds_total",
        "counter",
        "CPU time of a process.",
    ),
    (
        "canter_memory_limit_bytes",
        "gauge",
        "What the processes may use together.",
    ),
    (
        "canter_memory_limit_reached_in_seconds",
        "gauge",
        "When the limit is reached if memory goes on growing as in the last half hour; absent while it does not.",
    ),
    (
        "canter_route_memory_grown_bytes",
        "gauge",
        "What the requests of a route made their processes grow by.",
    ),
    (
        "canter_cache_memory_total",
        "counter",
        "What came of look-ups in the page cache, and pages put in and let go for want of room.",
    ),
    (
        "canter_cache_memory_pages",
        "gauge",
        "Pages in the page cache.",
    ),
    ("canter_cache_memory_bytes", "gauge", "What they take."),
    ("canter_findings", "gauge", "Findings by rule."),
    (
        "canter_finding_lost_seconds_per_hour",
        "gauge",
        "What all findings of a rule cost in an hour.",
    ),
    ("canter_uptime_seconds", "gauge", "Since the front started."),
];

/// Upper ends in milliseconds.
pub const BOUNDS_MS: [u64; 19] = [
    5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000, 15_000, 20_000, 25_000,
    30_000, 60_000,
];

/// All of it.
pub fn text(site: &Site, live: &Live) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for (name, kind, help) in METRICS.iter().chain(&database::METRICS) {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        let _ = metric(&mut out, name, site, live);
    }
    out
}

fn metric(out: &mut String, name: &str, site: &Site, live: &Live) -> std::fmt::Result {
    let gauge = |out: &mut String, value: u64| writeln!(out, "{name} {value}");
    match name {
        "http_server_request_duration_seconds" => {
            for route in site.routes() {
                durations(out, name, route)?;
            }
            Ok(())
        }
        "canter_request_phase_seconds_total" => {
            for route in site.routes() {
                for phase in Phase::ALL {
                    let (labels, us) = (labels(route), route.phases.get(phase));
                    let word = phase.word();
                    writeln!(out, "{name}{{{labels},phase=\"{word}\"}} {}", Seconds(us))?;
                }
            }
            Ok(())
        }
        "canter_request_timeouts_total" => {
            let mut routes = site.routes();
            routes.try_for_each(|it| writeln!(out, "{name}{{{}}} {}", labels(it), it.timeouts))
        }
        "canter_request_queries_total" => {
            let mut routes = site.routes();
            routes.try_for_each(|it| writeln!(out, "{name}{{{}}} {}", labels(it), it.queries.0))
        }
        "canter_requests_queued" => gauge(out, live.gauges.queued.into()),
        "canter_requests_running" => gauge(out, live.gauges.running.into()),
        "canter_connections" => gauge(out, live.gauges.connections.into()),
        "canter_process_memory_bytes" => live.processes.iter().try_for_each(|process| {
            let process_name = escaped(&process.name);
            let kinds = ["pss", "uss", "rss"].iter().zip(process.memory_kb);
            kinds.into_iter().try_for_each(|(kind, kb)| {
                let bytes = kb * 1024;
                writeln!(
                    out,
                    "{name}{{process=\"{process_name}\",kind=\"{kind}\"}} {bytes}"
                )
            })
        }),
        "canter_process_cpu_seconds_total" => live.processes.iter().try_for_each(|process| {
            let Some(ms) = process.cpu_ms else {
                return Ok(());
            };
            let process_name = escaped(&process.name);
            let seconds = Seconds(ms.saturating_mul(1000));
            writeln!(out, "{name}{{process=\"{process_name}\"}} {seconds}")
        }),
        "canter_memory_limit_reached_in_seconds" => {
            match site.memory_left_s(live.memory_limit_kb) {
                Some(left) => gauge(out, left),
                None => Ok(()),
            }
        }
        "canter_route_memory_grown_bytes" => site.routes().try_for_each(|route| {
            let bytes = route.grown_kb.saturating_mul(1024);
            writeln!(out, "{name}{{{}}} {bytes}", labels(route))
        }),
        "canter_cache_memory_total" | "canter_cache_memory_pages" | "canter_cache_memory_bytes" => {
            live.cache.iter().try_for_each(|one| cached(out, name, one))
        }
        "canter_memory_limit_bytes" => gauge(out, live.memory_limit_kb * 1024),
        "canter_findings" | "canter_finding_lost_seconds_per_hour" => {
            let found = site.findings(live.now_s);
            crate::rules::Rule::ALL.iter().try_for_each(|rule| {
                let mine = found.iter().filter(|seen| seen.rule == *rule);
                let word = rule.word();
                if name == "canter_findings" {
                    return writeln!(out, "{name}{{rule=\"{word}\"}} {}", mine.count());
                }
                let lost = mine.map(|seen| seen.lost_per_hour_us).sum();
                writeln!(out, "{name}{{rule=\"{word}\"}} {}", Seconds(lost))
            })
        }
        "canter_uptime_seconds" => gauge(out, live.now_s),
        _ => database::metric(out, name, site, live).unwrap_or(Ok(())),
    }
}

/// A metric of the page cache.
fn cached(out: &mut String, name: &str, cache: &Cache) -> std::fmt::Result {
    match name {
        "canter_cache_memory_pages" => writeln!(out, "{name} {}", cache.pages),
        "canter_cache_memory_bytes" => writeln!(out, "{name} {}", cache.bytes),
        _ => [
            ("hit", cache.hits),
            ("miss", cache.misses),
            ("stored", cache.stored),
            ("evicted", cache.evicted),
        ]
        .iter()
        .try_for_each(|(what, count)| writeln!(out, "{name}{{what=\"{what}\"}} {count}")),
    }
}

fn durations(out: &mut String, name: &str, route: &Route) -> std::fmt::Result {
    for answers in &route.answers {
        let (status, scheme) = (answers.status, answers.scheme());
        let mut labels = labels(route);
        write!(
            labels,
            ",http_response_status_code=\"{status}\",url_scheme=\"{scheme}\""
        )?;
        if answers.failed() {
            write!(labels, ",error_type=\"{status}\"")?;
        }
        let ends = BOUNDS_MS.into_iter().map(|ms| ms * 1000);
        let steps = ends.map(|us| (us, answers.wall.at_most(us)));
        let all = (answers.wall.total(), answers.total_us);
        histogram(out, (name, &labels), steps, all)?;
    }
    Ok(())
}

/// A histogram: upper ends in microseconds with how many are at most that, then how many there are
/// and their microseconds all together.
fn histogram<N: std::fmt::Display>(
    out: &mut String,
    (name, labels): (&str, &str),
    steps: impl Iterator<Item = (u64, N)>,
    (total, total_us): (N, u64),
) -> std::fmt::Result {
    for (end_us, count) in steps {
        let end = Seconds(end_us);
        writeln!(out, "{name}_bucket{{{labels},le=\"{end}\"}} {count}")?;
    }
    writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}")?;
    writeln!(out, "{name}_sum{{{labels}}} {}", Seconds(total_us))?;
    writeln!(out, "{name}_count{{{labels}}} {total}")
}

fn labels(route: &Route) -> String {
    format!(
        "http_request_method=\"{}\",http_route=\"{}\"",
        route.method,
        escaped(&route.name)
    )
}

/// A label's value; control characters were taken out before.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', " ")
}

/// Microseconds as seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let text = format!("{whole}.{part:06}");
        let short = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(if short.is_empty() { "0" } else { short })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Observation;
    use crate::phases::{PHASES, Phases};

    #[test]
    fn d3_every_metric_is_there_and_no_label_can_be_forged() {
        let mut site = Site::new();
        let mut phases = Phases::default();
        phases.0[4] = 31_000_000;
        site.observe(
            1,
            &Observation {
                method: "GET",
                route: "/a\"} 1\nforged 2",
                status: 503,
                phases,
                queries: 3,
                ..Observation::default()
            },
        );
        let text = text(
            &site,
            &Live {
                now_s: 7,
                ..Live::default()
            },
        );
        for (name, kind, _) in METRICS.iter().chain(&database::METRICS) {
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        }
        assert!(!text.lines().any(|line| line.starts_with("forged")));
        let route = "http_request_method=\"GET\",http_route=\"/a\\\"} 1forged 2\"";
        let answered = format!(
            "{route},http_response_status_code=\"503\",url_scheme=\"http\",error_type=\"503\""
        );
        let bucket = |le: &str, count: u32| {
            format!("duration_seconds_bucket{{{answered},le=\"{le}\"}} {count}\n")
        };
        for line in [bucket("30", 0), bucket("60", 1), bucket("+Inf", 1)] {
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(text.contains(&format!(
            "phase_seconds_total{{{route},phase=\"app\"}} 31\n"
        )));
        assert_eq!(text.matches("phase=").count(), PHASES);
        assert!(text.contains("\ncanter_uptime_seconds 7\n"));
    }
}
