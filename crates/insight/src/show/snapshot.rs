//! Owns the JSON of everything that is known, for the dashboard and for programs.
//! Leaves what is in it to `site`.

use crate::history::{Point, STEPS_S};
use crate::observation::Place;
use crate::phases::{Phase, Phases};
use crate::releases::Came;
use crate::routes::Route;
use crate::show::Live;
use crate::show::findings::duration;
use crate::show::json::Json;
use crate::site::{Asked, Seen, Site};

/// Statements that are shown.
const MOST_STATEMENTS: usize = 50;
/// Fine steps that are shown: a quarter of an hour is enough for a chart.
const MOST_POINTS: usize = 180;

/// Everything, as one object.
pub fn snapshot(site: &Site, live: &Live) -> String {
    let mut json = Json::default();
    json.object(|json| {
        json.text("version", live.version);
        json.number("uptime_s", live.now_s);
        now(json, live);
        memory(json, site, live);
        if let Some(total) = site.total() {
            json.text("sentence", &total.phases.sentence());
            json.key("total", |json| route(json, &total, live));
        } else {
            json.text("sentence", &Phases::default().sentence());
        }
        hour(json, site, live);
        json.list("phases", |json| {
            for phase in Phase::ALL {
                json.text_element(phase.word());
            }
        });
        let mut routes: Vec<&Route> = site.routes().collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.time_per_hour_us(live.now_s, 0)));
        json.list("routes", |json| {
            for one in routes {
                json.object(|json| fill_route(json, one, live));
            }
        });
        json.list("findings", |json| {
            for seen in site.findings(live.now_s) {
                json.object(|json| finding(json, &seen));
            }
        });
        mended(json, site, live.now_s);
        statements(json, site, live);
        busiest(json, site);
        for (name, coarse, step) in [("recent", false, STEPS_S[0]), ("day", true, STEPS_S[1])] {
            json.key(name, |json| {
                json.object(|json| {
                    json.number("step_s", step);
                    json.list("points", |json| {
                        let history = site.history();
                        let points: Vec<_> =
                            history.points(coarse).rev().take(MOST_POINTS).collect();
                        for one in points.into_iter().rev() {
                            json.elements(|json| point(json, one));
                        }
                    });
                });
            });
        }
    });
    json.into_text()
}

/// The most of any fine step that is remembered, which are more than are shown.
fn busiest(json: &mut Json, site: &Site) {
    let (requests, gauges) = site.history().busiest();
    json.key("busiest", |json| {
        json.object(|json| {
            json.number("step_s", STEPS_S[0])
                .number("requests", requests);
            json.number("queued", gauges.queued)
                .number("running", gauges.running);
        });
    });
}

/// What memory will come to.
fn memory(json: &mut Json, site: &Site, live: &Live) {
    if let Some(left) = site.memory_left_s(live.memory_limit_kb) {
        json.number("memory_left_s", left);
        json.text("memory_sentence", &crate::forecast::sentence(left));
    }
    if let Some(route) = site.grows_most().first() {
        json.text("growth_sentence", &crate::forecast::grown(route));
    }
    if let Some(threads) = &live.threads {
        json.text("threads_sentence", &live.threads_sentence());
        json.key("threads", |json| {
            json.object(|json| {
                let used = live.gauges.memory_kb.into();
                json.number("now", threads.now).number("most", threads.most);
                json.number("each_kb", threads.each_kb)
                    .number("needed_kb", threads.needed_kb(used));
                json.number("fit", threads.fit(used, live.memory_limit_kb));
            });
        });
    }
}

/// The last hour, and how long that really was.
fn hour(json: &mut Json, site: &Site, live: &Live) {
    let (requests, phases) = site.last_hour(live.now_s);
    let (seconds, statements_s) = Site::hour_s(live.now_s);
    json.key("hour", |json| {
        json.object(|json| {
            json.number("seconds", seconds)
                .number("statements_s", statements_s);
            json.number("requests", requests)
                .number("asking", site.asking_last_hour(live.now_s));
            json.list("phases_ms", |json| {
                for us in phases.0 {
                    json.element(us / 1000);
                }
            });
        });
    });
}

/// The dearest statements, and where they were asked for.
fn statements(json: &mut Json, site: &Site, live: &Live) {
    json.list("statements", |json| {
        for (name, counted) in site.statements().iter().take(MOST_STATEMENTS) {
            json.object(|json| {
                json.text("id", &format!("{name:016x}"));
                json.text("sql", &counted.told.text);
                json.number("calls", counted.calls);
                let (calls, us) = counted.last_hour(live.now_s);
                json.number("calls_hour", calls);
                json.ms("hour_ms", us);
                json.ms("total_ms", counted.total_us);
                json.ms("max_ms", counted.max_us);
                json.list("places", |json| {
                    for asked in counted.asked() {
                        if let Some(place) = site.place(asked.place) {
                            json.object(|json| asked_at(json, place, asked));
                        }
                    }
                });
            });
        }
    });
}

fn asked_at(json: &mut Json, place: &Place, asked: Asked) {
    json.text("file", &place.file).number("line", place.line);
    json.text("function", &place.function);
    json.number("calls", asked.calls);
    json.ms("total_ms", asked.total_us);
}

/// What changes from moment to moment, as one object: for the stream of events.
pub fn moment(live: &Live) -> String {
    let mut json = Json::default();
    json.object(|json| now(json, live));
    json.into_text()
}

fn now(json: &mut Json, live: &Live) {
    json.key("now", |json| {
        json.object(|json| {
            json.number("queued", live.gauges.queued);
            json.number("running", live.gauges.running);
            json.number("connections", live.gauges.connections);
            json.number("memory_kb", live.gauges.memory_kb);
            json.number("memory_limit_kb", live.memory_limit_kb);
            json.number("cores", live.cores);
        });
    });
    json.list("processes", |json| {
        for process in &live.processes {
            json.object(|json| {
                let [pss, uss, rss] = process.memory_kb;
                json.text("name", &process.name).number("pid", process.pid);
                json.number("pss_kb", pss)
                    .number("uss_kb", uss)
                    .number("rss_kb", rss);
                json.number("threads", process.threads);
                if let Some(cpu_ms) = process.cpu_ms {
                    json.number("cpu_ms", cpu_ms);
                }
            });
        }
    });
    json.list("running", |json| {
        for running in &live.running {
            json.object(|json| {
                json.text("request", &running.request)
                    .text("id", &running.id);
                json.number("age_ms", running.age_ms);
                json.text("state", if running.queued { "queued" } else { "running" });
                json.text("route", &running.route).text("sql", &running.sql);
                json.text("stack", &running.stack);
            });
        }
    });
    if let Some(pool) = &live.pool {
        json.key("pool", |json| {
            json.object(|json| {
                json.number("servers", pool.servers.0)
                    .number("busy", pool.servers.1);
                json.number("clients", pool.clients.0)
                    .number("waiting", pool.clients.1);
                json.ms("waited_ms", pool.waited_us);
            });
        });
    }
    if let Some(cache) = &live.cache {
        json.key("cache", |json| {
            json.object(|json| {
                json.number("hits", cache.hits)
                    .number("misses", cache.misses);
                json.number("stored", cache.stored)
                    .number("evicted", cache.evicted);
                json.number("pages", cache.pages)
                    .number("bytes", cache.bytes);
            });
        });
    }
}

fn route(json: &mut Json, route: &Route, live: &Live) {
    json.object(|json| fill_route(json, route, live));
}

fn fill_route(json: &mut Json, route: &Route, live: &Live) {
    json.text("method", route.method).text("route", &route.name);
    json.text("label", &route.label());
    json.number("requests", route.requests);
    json.number("compared", route.alike.0)
        .number("same", route.alike.1);
    json.number("errors", route.errors())
        .number("timeouts", route.timeouts);
    let (count, us) = route.not_modified();
    json.number("not_modified", count).ms("not_modified_ms", us);
    let quantile = |share| route.wall.quantile_us(share).min(route.slowest_us);
    json.ms("p50_ms", quantile(500))
        .ms("p95_ms", quantile(950))
        .ms("p99_ms", quantile(990));
    json.ms("max_ms", route.slowest_us);
    json.number("grown_kb", route.grown_kb);
    json.number("queries", route.queries.0);
    json.number("queries_p50", route.queries_p50())
        .number("queries_max", route.queries.1);
    json.number("statements", route.statements());
    json.ms("time_per_hour_ms", route.time_per_hour_us(live.now_s, 0));
    json.text("sentence", &route.phases.sentence());
    json.list("phases_ms", |json| {
        for us in route.phases.0 {
            json.element(us / 1000);
        }
    });
}

/// One finding.
pub(super) fn finding(json: &mut Json, seen: &Seen<'_>) {
    let last = &seen.finding.last;
    json.text("id", &seen.id).text("rule", seen.rule.word());
    json.flag("acknowledged", seen.acknowledged);
    json.text("title", seen.rule.sentence());
    json.text(
        "severity",
        if seen.finding.critical {
            "critical"
        } else {
            "warning"
        },
    );
    json.text("route", &seen.route.label());
    json.text("file", &seen.place.file)
        .number("line", seen.place.line);
    json.text("function", &seen.place.function)
        .text("source", &seen.place.source);
    json.text("sql", seen.statement.map_or("", |told| &told.text));
    json.text("advice", seen.advice.unwrap_or(""));
    json.number("requests", seen.finding.requests);
    json.number("count", last.count)
        .number("distinct", last.distinct);
    json.number("most", seen.finding.most);
    json.ms("lost_ms", seen.finding.lost_per_request_us());
    json.ms("lost_per_hour_ms", seen.lost_per_hour_us);
}

/// What the last release has mended, with what was predicted and what came of it.
pub(super) fn mended(json: &mut Json, site: &Site, now_s: u64) {
    json.list("mended", |json| {
        for (seen, before, came) in site.mended(now_s) {
            json.object(|json| {
                json.text("id", &seen.id).text("rule", seen.rule.word());
                json.text("title", seen.rule.sentence())
                    .text("route", &seen.route.label());
                json.ms("predicted_ms", seen.finding.lost_per_request_us());
                json.ms("before_ms", before.p50_us)
                    .ms("after_ms", seen.route.release.p50_us());
                json.ms("route_predicted_ms", came.predicted_us);
                if let Some(percent) = came.percent() {
                    json.number("came_percent", percent);
                }
                json.text("sentence", &came_sentence(&seen, &came));
            });
        }
    });
}

/// What came of it, for people.
pub(super) fn came_sentence(seen: &Seen<'_>, came: &Came) -> String {
    let Some(percent) = came.percent() else {
        return String::new();
    };
    let saved = duration(came.saved_us.unsigned_abs());
    let what = if came.saved_us < 0 {
        format!("{saved} more than before")
    } else {
        format!("{saved} less, {percent} % of what was predicted")
    };
    if came.predicted_us > seen.finding.lost_per_request_us() {
        let all = duration(came.predicted_us);
        return format!("{what}, which is {all} for all that was mended in this route");
    }
    what
}

/// `[at_s, requests, errors, timeouts, p50, p95, p99, max, queries, queued, running, memory_kb]`;
/// durations in milliseconds.
fn point(json: &mut Json, point: &Point) {
    for number in [point.at_s, point.requests, point.errors, point.timeouts] {
        json.element(number);
    }
    for tenths in point.latency {
        json.element(format_args!("{}.{}", tenths / 10, tenths % 10));
    }
    let gauges = point.gauges;
    for number in [
        point.queries,
        gauges.queued,
        gauges.running,
        gauges.memory_kb,
    ] {
        json.element(number);
    }
}
