//! Owns the text of `canter top --once`: what a terminal of 100 columns shows.
//! Leaves what is known to `site`.

use std::fmt::Write as _;

use crate::forecast;
use crate::show::Live;
use crate::show::findings::duration;
use crate::site::Site;

/// Routes and findings that are shown.
const MOST: usize = 10;

/// Routes of which is said that they make memory grow.
const MOST_GROWING: usize = 3;

/// All of it.
pub fn text(site: &Site, live: &Live) -> String {
    let mut out = String::new();
    let _ = write_text(&mut out, site, live);
    out
}

fn write_text(out: &mut String, site: &Site, live: &Live) -> std::fmt::Result {
    let gauges = live.gauges;
    writeln!(
        out,
        "canter {}  up {}  queued {}  running {}  connections {}  memory {} MB{}{}",
        live.version,
        duration(live.now_s * 1_000_000),
        gauges.queued,
        gauges.running,
        gauges.connections,
        gauges.memory_kb / 1024,
        match live.memory_limit_kb {
            0 => String::new(),
            limit => format!(" of {} MB", limit / 1024),
        },
        match site.memory_left_s(live.memory_limit_kb) {
            Some(left) => format!(", {}", forecast::sentence(left)),
            None => String::new(),
        }
    )?;
    let Some(total) = site.total() else {
        return writeln!(out, "no request yet");
    };
    let quantile = |share| duration(total.wall.quantile_us(share).min(total.slowest_us));
    writeln!(
        out,
        "requests {}  errors {}  over 30 s {}  p50 {}  p95 {}  p99 {}  max {}",
        total.requests,
        total.errors(),
        total.timeouts,
        quantile(500),
        quantile(950),
        quantile(990),
        duration(total.slowest_us)
    )?;
    write_beside(out, live)?;
    writeln!(out, "{}\n", total.phases.sentence())?;
    for process in &live.processes {
        let [pss, uss, rss] = process.memory_kb.map(|kb| kb / 1024);
        writeln!(
            out,
            "{:<12} pid {:<8} pss {pss:>5} MB  uss {uss:>5} MB  shared {:>5} MB  threads {}",
            process.name,
            process.pid,
            rss.saturating_sub(uss),
            process.threads
        )?;
    }
    let threads = live.threads_sentence();
    if !threads.is_empty() {
        writeln!(out, "{threads}")?;
    }
    for route in site.grows_most().into_iter().take(MOST_GROWING) {
        writeln!(out, "memory grows in {}", forecast::grown(route))?;
    }
    writeln!(
        out,
        "\n{:>9} {:>9} {:>9} {:>7} {:>11}  route",
        "requests", "p50", "p95", "queries", "time/hour"
    )?;
    let mut routes: Vec<_> = site.routes().collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.time_per_hour_us(live.now_s, 0)));
    for route in routes.into_iter().take(MOST) {
        let quantile = |share| duration(route.wall.quantile_us(share).min(route.slowest_us));
        writeln!(
            out,
            "{:>9} {:>9} {:>9} {:>7} {:>11}  {}",
            route.requests,
            quantile(500),
            quantile(950),
            route.queries_p50(),
            duration(route.time_per_hour_us(live.now_s, 0)),
            route.label()
        )?;
    }
    write_findings(out, site, live)
}

/// The pool and the page cache, where there are such.
fn write_beside(out: &mut String, live: &Live) -> std::fmt::Result {
    if let Some(pool) = &live.pool {
        writeln!(
            out,
            "pool {} of {} busy  {} of {} clients wait  waited {}",
            pool.servers.1,
            pool.servers.0,
            pool.clients.1,
            pool.clients.0,
            duration(pool.waited_us)
        )?;
    }
    if let Some(cache) = &live.cache {
        writeln!(
            out,
            "page cache {} hits  {} misses{}  {} pages  {} kB",
            cache.hits,
            cache.misses,
            match cache.hit_percent() {
                Some(percent) => format!("  {percent} % found"),
                None => String::new(),
            },
            cache.pages,
            cache.bytes / 1024
        )?;
    }
    Ok(())
}

fn write_findings(out: &mut String, site: &Site, live: &Live) -> std::fmt::Result {
    let found = site.findings(live.now_s);
    if !found.is_empty() {
        writeln!(out, "\n{:>11}  finding", "lost/hour")?;
    }
    for seen in found.iter().take(MOST) {
        writeln!(
            out,
            "{:>11}  {}: {}, {} times, {}",
            duration(seen.lost_per_hour_us),
            seen.route.label(),
            seen.rule.sentence(),
            seen.finding.last.count,
            match seen.place.file.as_str() {
                "" => "seen on the wire alone".to_owned(),
                file => format!("{file}:{}", seen.place.line),
            }
        )?;
        if let Some(advice) = seen.advice {
            writeln!(out, "{:>11}  {advice}", "")?;
        }
    }
    Ok(())
}
