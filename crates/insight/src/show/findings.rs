//! Owns the findings as text for people, as JSON, and as SARIF 2.1.0 for code hosts.
//! Leaves what they are to `site`.

use std::fmt::Write as _;

use crate::phases::Phase;
use crate::rules::Rule;
use crate::show::json::Json;
use crate::show::snapshot::{came_sentence, finding, mended};
use crate::site::{Seen, Site};

/// Routes that are shown to people.
const MOST_ROUTES: usize = 20;

/// For people, the dearest first.
pub fn text(site: &Site, now_s: u64) -> String {
    let found = site.findings(now_s);
    let mut out = String::new();
    if found.is_empty() {
        out += "No findings: no route repeats a query for each row, asks twice or waits long.\n";
    }
    for (number, seen) in found.iter().enumerate() {
        let _ = one(&mut out, number + 1, seen);
    }
    let mended = site.mended(now_s);
    if !mended.is_empty() {
        out += "\nMended since the app was loaded anew:\n";
    }
    for (seen, before, came) in &mended {
        let sentence = came_sentence(seen, came);
        let _ = writeln!(
            out,
            "   {}: {} [{}]; {} of a request were to be saved, the middle one took {} and now {}{}{sentence}",
            seen.route.label(),
            seen.rule.sentence(),
            seen.id,
            duration(seen.finding.lost_per_request_us()),
            duration(before.p50_us),
            duration(seen.route.release.p50_us()),
            if sentence.is_empty() { "" } else { ": " }
        );
    }
    // Writing to a String cannot fail.
    let _ = routes(&mut out, site, &found, now_s);
    out
}

/// The routes that ask for anything, by the time they take: what each costs, and what is to be saved.
fn routes(out: &mut String, site: &Site, found: &[Seen<'_>], now_s: u64) -> std::fmt::Result {
    let mut routes: Vec<_> = site.routes().filter(|route| route.queries.0 > 0).collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.time_per_hour_us(now_s, 0)));
    if routes.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:>9} {:>15} {:>9} {:>9} {:>9} {:>8} {:>9}  route",
        "requests", "queries p50/max", "different", "SQL each", "pool each", "findings", "could go"
    )?;
    for route in routes.iter().take(MOST_ROUTES) {
        let own = || {
            let of = |seen: &&Seen<'_>| std::ptr::eq(seen.route, *route) && !seen.acknowledged;
            found.iter().filter(of)
        };
        let lost: u64 = own().map(|seen| seen.finding.lost_per_request_us()).sum();
        let each = |phase| duration(route.phases.get(phase) / route.requests.max(1));
        let queries = format!("{}/{}", route.queries_p50(), route.queries.1);
        writeln!(
            out,
            "{:>9} {queries:>15} {:>9} {:>9} {:>9} {:>8} {:>9}  {}",
            route.requests,
            route.statements_told(),
            each(Phase::Sql),
            each(Phase::Pool),
            own().count(),
            duration(lost),
            route.label()
        )?;
    }
    Ok(())
}

fn one(out: &mut String, number: usize, seen: &Seen<'_>) -> std::fmt::Result {
    let finding = seen.finding;
    writeln!(
        out,
        "{number}. {}: {}  [{}{}{}]",
        seen.route.label(),
        seen.rule.sentence(),
        seen.id,
        if finding.critical { ", critical" } else { "" },
        if seen.acknowledged {
            ", acknowledged"
        } else {
            ""
        }
    )?;
    match seen.rule {
        Rule::Holding => writeln!(
            out,
            "   {} ms of a request with a transaction open and no query running",
            finding.lost_per_request_us() / 1000
        )?,
        Rule::More => writeln!(
            out,
            "   {} queries in a request, at most {} before the app was loaded anew; they take {} ms",
            finding.last.count,
            finding.last.distinct,
            finding.lost_per_request_us() / 1000
        )?,
        Rule::WriteLoop => writeln!(
            out,
            "   {} rows of a request, each with a statement of its own; up to {} ms of it could go",
            finding.last.count,
            finding.lost_per_request_us() / 1000
        )?,
        Rule::NPlusOne | Rule::Redundant | Rule::Slow => writeln!(
            out,
            "   {} in a request, with {}; {} ms of it could go",
            times(finding.last.count),
            values(finding.last.distinct),
            finding.lost_per_request_us() / 1000
        )?,
    }
    let place = &seen.place;
    if !place.file.is_empty() {
        writeln!(
            out,
            "   at    {}:{} in {}",
            place.file, place.line, place.function
        )?;
    }
    if !place.source.is_empty() {
        writeln!(out, "         {}", place.source)?;
    }
    if let Some(told) = seen.statement {
        writeln!(out, "   SQL   {}", told.text)?;
    }
    if let Some(advice) = seen.advice {
        writeln!(out, "   fix   {advice}")?;
    }
    if seen.quiet_for > 0 {
        writeln!(
            out,
            "   not seen in {} since the app was loaded anew; in {} it counts as mended",
            requests(seen.quiet_for),
            seen.quiet_until
        )?;
    }
    writeln!(
        out,
        "   lost  {} in an hour, seen in {}\n",
        duration(seen.lost_per_hour_us),
        requests(finding.requests)
    )
}

/// `1 request` or `3 requests`.
fn requests(count: u64) -> String {
    let word = if count == 1 { "request" } else { "requests" };
    format!("{count} {word}")
}

/// `once` or `3 times`.
fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

/// How many values there were, for people.
fn values(distinct: u32) -> String {
    match distinct {
        1 => "the same values".to_owned(),
        many => format!("{many} different values"),
    }
}

/// `1.2 s`, `3 min`.
pub fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", us / 1000),
        1_000_000..120_000_000 => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
        _ => format!("{} min", us / 60_000_000),
    }
}

/// As a list, for programs.
pub fn json(site: &Site, now_s: u64) -> String {
    let mut json = Json::default();
    json.object(|json| {
        json.list("findings", |json| {
            for seen in site.findings(now_s) {
                json.object(|json| finding(json, &seen));
            }
        });
        mended(json, site, now_s);
        json.list("routes", |json| {
            for route in site.routes() {
                json.object(|json| {
                    json.text("route", &route.label());
                    json.number("requests", route.requests);
                    json.number("queries_p50", route.queries_p50());
                    json.number("queries_max", route.queries.1);
                    json.number("statements", route.statements());
                    for (name, phase) in [("sql_ms", Phase::Sql), ("pool_ms", Phase::Pool)] {
                        json.ms(name, route.phases.get(phase));
                    }
                });
            }
        });
    });
    json.into_text()
}

/// For code hosts: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.
pub fn sarif(site: &Site, now_s: u64, version: &str) -> String {
    let mut json = Json::default();
    json.object(|json| {
        json.text("$schema", "https://json.schemastore.org/sarif-2.1.0.json");
        json.text("version", "2.1.0");
        json.list("runs", |json| {
            json.object(|json| {
                json.key("tool", |json| {
                    json.object(|json| {
                        json.key("driver", |json| json.object(|json| driver(json, version)));
                    });
                });
                json.list("results", |json| {
                    for seen in site.findings(now_s) {
                        json.object(|json| result(json, &seen));
                    }
                });
            });
        });
    });
    json.into_text()
}

fn driver(json: &mut Json, version: &str) {
    json.text("name", "canter").text("version", version);
    json.list("rules", |json| {
        for rule in Rule::ALL {
            json.object(|json| {
                json.text("id", rule.word());
                json.key("shortDescription", |json| {
                    json.object(|json| {
                        json.text("text", rule.sentence());
                    });
                });
            });
        }
    });
}

fn result(json: &mut Json, seen: &Seen<'_>) {
    let many = match (seen.rule, seen.finding.last.count) {
        (Rule::More, 1) => "1 query".to_owned(),
        (Rule::More, count) => format!("{count} queries"),
        (_, count) => times(count),
    };
    let mut text = format!(
        "{}: {}, {many} in a request.",
        seen.route.label(),
        seen.rule.sentence(),
    );
    if let Some(advice) = seen.advice {
        let _ = write!(text, " {advice}");
    }
    json.text("ruleId", seen.rule.word());
    json.text(
        "level",
        if seen.finding.critical {
            "error"
        } else {
            "warning"
        },
    );
    json.key("message", |json| {
        json.object(|json| {
            json.text("text", &text);
        });
    });
    json.key("partialFingerprints", |json| {
        json.object(|json| {
            json.text("canter/v1", &seen.id);
        });
    });
    if seen.acknowledged {
        // Section 3.35: what people have accepted.
        json.list("suppressions", |json| {
            json.object(|json| {
                json.text("kind", "external").text("status", "accepted");
            });
        });
    }
    json.list("locations", |json| {
        json.object(|json| location(json, seen));
    });
}

/// Where in the code; code hosts leave out what has no file, so that what has none stands at the project.
fn location(json: &mut Json, seen: &Seen<'_>) {
    let file = seen.place.file.as_str();
    json.key("physicalLocation", |json| {
        json.object(|json| {
            json.key("artifactLocation", |json| {
                json.object(|json| {
                    json.text("uri", &uri(file));
                    if !file.starts_with('/') {
                        json.text("uriBaseId", "%SRCROOT%");
                    }
                });
            });
            json.key("region", |json| {
                json.object(|json| {
                    json.number("startLine", seen.place.line.max(1));
                });
            });
        });
    });
    json.list("logicalLocations", |json| {
        json.object(|json| {
            json.text("fullyQualifiedName", &seen.route.label());
            json.text("kind", "resource");
        });
    });
}

/// A path as a reference (RFC 3986): relative to the project, or of a file elsewhere.
fn uri(file: &str) -> String {
    let mut out = match file.as_bytes() {
        [] => ".".to_owned(),
        [b'/', ..] => "file://".to_owned(),
        _ => String::new(),
    };
    for byte in file.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Group, Observation, Place};

    #[test]
    fn c6_every_result_of_sarif_has_a_location_that_can_be_read() {
        for (file, wanted) in [
            ("shop/views.py", "shop/views.py"),
            ("my site/50%/vüe.py", "my%20site/50%25/v%C3%BCe.py"),
            ("/srv/lib/a b.py", "file:///srv/lib/a%20b.py"),
            ("", "."),
        ] {
            assert_eq!(uri(file), wanted);
        }
        let mut site = Site::new();
        site.tell_place(3, Place::read("a b.py\n7\nview\nx"));
        for place in [0, 3] {
            let groups = [Group {
                place,
                max_us: crate::rules::SLOW_US,
                ..Group::default()
            }];
            let observation = Observation {
                method: "GET",
                route: "/x/",
                queries: 1,
                groups: &groups,
                ..Observation::default()
            };
            site.observe(1, &observation);
        }
        let text = sarif(&site, 1, "0");
        for part in [
            r#""uri":".","uriBaseId":"%SRCROOT%"},"region":{"startLine":1}"#,
            r#""uri":"a%20b.py","uriBaseId":"%SRCROOT%"},"region":{"startLine":7}"#,
            r#""fullyQualifiedName":"GET /x/""#,
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
