//! Owns where requests come from beside a URL: a list, an access log, a recording of a browser.
//! Leaves opening files to `canter`: what is read here is text. What cannot be used is counted and
//! said, never passed over in silence.

use canter_base::clock;
use serde_json::Value;

use crate::scenario::{Order, Request, Scenario, is_field};
use crate::target::{Site, is_path};

/// What is further than this from all other requests of a log, in milliseconds, is not of the same traffic.
const APART: i64 = 7 * 24 * 3600 * 1000;
/// Most requests taken from a log, and most different ones: memory has a bound.
const MOST_LINES: usize = 500_000;
const MOST_DIFFERENT: usize = 5_000;

/// Reads a list: `/path`, or `POST /path weight=3 type=application/json body=…` on each line.
pub fn url_list(text: &str, site: &Site) -> Result<Scenario, String> {
    let mut requests = Vec::new();
    let lines = text.lines().enumerate();
    let lines = lines.map(|(at, line)| (at + 1, line.trim()));
    for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        if requests.len() >= MOST_DIFFERENT {
            return Err(format!("line {at}: more than {MOST_DIFFERENT} requests"));
        }
        requests.push(list_line(line, site).map_err(|why| format!("line {at}: {why}"))?);
    }
    if requests.is_empty() {
        return Err("no request in it".to_owned());
    }
    Ok(Scenario {
        requests,
        order: Order::Weighted,
        left_out: Vec::new(),
    })
}

fn list_line(line: &str, site: &Site) -> Result<Request, String> {
    let (words, body) = match line.split_once(" body=") {
        Some((words, body)) => (words, Some(body)),
        None => (line, None),
    };
    let mut words = words.split_whitespace();
    let mut first = words.next().unwrap_or_default();
    let mut method = "GET";
    if !first.starts_with('/') && !first.contains("://") {
        method = first;
        first = words.next().ok_or("a method without a path")?;
    }
    if !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("`{method}` is neither a path nor a method"));
    }
    let path = own_path(first, site).ok_or_else(|| format!("`{first}` is no path of this site"))?;
    let mut request = Request {
        method: method.to_owned(),
        body: body.unwrap_or_default().as_bytes().to_vec(),
        ..Request::get(path)
    };
    for word in words {
        match word.split_once('=') {
            Some(("weight", number)) => {
                let weight = number
                    .parse()
                    .ok()
                    .filter(|weight| (0.0..=1e9).contains(weight));
                request.weight = weight.ok_or_else(|| format!("`{number}` is no weight"))?;
            }
            Some(("type", kind)) if is_field("Content-Type", kind) => {
                request
                    .fields
                    .push(("Content-Type".to_owned(), kind.to_owned()));
            }
            _ => {
                return Err(format!(
                    "`{word}` is neither `weight=`, `type=` nor `body=`"
                ));
            }
        }
    }
    Ok(request)
}

/// The path of a URL of this site, or a path as it is.
fn own_path(text: &str, site: &Site) -> Option<String> {
    if text.contains("://") {
        let (other, path) = Site::parse(text).ok()?;
        return (other.name == site.name && other.port == site.port).then_some(path);
    }
    is_path(text).then(|| text.to_owned())
}

/// Reads an access log: combined or common as most servers write it, or Canter's JSON.
pub fn access_log(lines: impl Iterator<Item = String>, writes: bool) -> Result<Scenario, String> {
    let mut requests: Vec<Request> = Vec::new();
    let mut known = std::collections::HashMap::new();
    let mut log: Vec<(u32, i64)> = Vec::new();
    let (mut unread, mut changing, mut too_many) = (0_u64, 0_u64, 0_u64);
    for line in lines {
        let Some((time, method, path)) = log_line(&line) else {
            unread += u64::from(!line.trim().is_empty());
            continue;
        };
        if !writes && !matches!(method.as_str(), "GET" | "HEAD") {
            changing += 1;
            continue;
        }
        let key = format!("{method} {path}");
        let next = requests.len();
        if log.len() >= MOST_LINES || (next >= MOST_DIFFERENT && !known.contains_key(&key)) {
            too_many += 1;
            continue;
        }
        let which = *known.entry(key).or_insert(next);
        if which == next {
            requests.push(Request {
                method,
                ..Request::get(path)
            });
        }
        log.push((u32::try_from(which).unwrap_or(0), time));
    }
    if log.is_empty() {
        return Err("no request in it that can be replayed".to_owned());
    }
    let found = log.len();
    let mut log = from_the_first(log);
    let apart = (found - log.len()) as u64;
    spread(&mut log);
    let reasons = [
        (unread, "lines that are no request"),
        (
            changing,
            "requests that may change something (`--allow-writes`)",
        ),
        (too_many, "requests beyond the bound on memory"),
        (apart, "requests more than a week away from most"),
    ];
    let told = reasons.iter().filter(|(count, _)| *count > 0);
    Ok(Scenario {
        requests,
        order: Order::Log(log),
        left_out: told
            .map(|(count, what)| format!("{count} {what}"))
            .collect(),
    })
}

/// Requests with the times since the first, in their order: a log is written when requests end, so its times
/// may go back a little. A line with another date, as a wrong clock writes it, would make a replay wait for
/// weeks, so only the part with most requests is taken.
fn from_the_first(mut log: Vec<(u32, i64)>) -> Vec<(u32, u32)> {
    log.sort_by_key(|(_, time)| *time);
    let parts = log.chunk_by(|(_, one), (_, two)| two - one <= APART);
    let most = parts.max_by_key(|part| part.len()).unwrap_or_default();
    let first = most.first().map_or(0, |(_, time)| *time);
    let since = |time: i64| u32::try_from(time - first).unwrap_or(u32::MAX);
    most.iter()
        .map(|(which, time)| (*which, since(*time)))
        .collect()
}

/// Most logs tell whole seconds; the requests of one are spread over it, as they surely were.
fn spread(log: &mut [(u32, u32)]) {
    if log.iter().any(|(_, time)| !time.is_multiple_of(1000)) {
        return;
    }
    for second in log.chunk_by_mut(|one, two| one.1 == two.1) {
        let count = second.len() as u64;
        for (place, entry) in second.iter_mut().enumerate() {
            entry.1 = entry.1.saturating_add((place as u64 * 1000 / count) as u32);
        }
    }
}

/// Time in milliseconds, method, path.
fn log_line(line: &str) -> Option<(i64, String, String)> {
    let line = line.trim();
    let (time, method, path) = if line.starts_with('{') {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        (iso_time(&text("time")?)?, text("method")?, text("target")?)
    } else {
        let (_, rest) = line.split_once('[')?;
        let (date, rest) = rest.split_once(']')?;
        let request = rest.split('"').nth(1)?;
        let mut words = request.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        words.next()?.starts_with("HTTP/").then_some(())?;
        (log_time(date)?, method, path)
    };
    let sound = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    (sound && is_path(&path)).then_some((time, method, path))
}

/// `21/Nov/2026:10:00:00 +0000`.
fn log_time(text: &str) -> Option<i64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (day, rest) = text.split_once('/')?;
    let (month, rest) = rest.split_once('/')?;
    let mut numbers = rest.split([':', ' ']);
    let mut number = || numbers.next()?.parse::<i64>().ok();
    let (year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    is_time(hour, minute, second).then_some(())?;
    let month = (month.len() == 3).then(|| MONTHS.find(month))?? / 3 + 1;
    let zone = numbers.next().unwrap_or("+0000");
    let (sign, digits) = zone.split_at_checked(1)?;
    let zone = digits
        .parse::<i64>()
        .ok()
        .filter(|zone| (0..=1500).contains(zone))?;
    let zone = (zone / 100 * 60 + zone % 100) * if sign == "-" { -1 } else { 1 };
    let days = days(year, month as i64, day.parse().ok()?)?;
    Some((((days * 24 + hour) * 60 + minute - zone) * 60 + second) * 1000)
}

/// `2026-11-21T10:00:00.123Z`.
fn iso_time(text: &str) -> Option<i64> {
    let mut parts = text.trim_end_matches('Z').split(['-', 'T', ':', '.']);
    let mut number = || parts.next()?.parse::<i64>().ok();
    let (year, month, day) = (number()?, number()?, number()?);
    let (hour, minute, second) = (number()?, number()?, number()?);
    let ms = parts.next().map_or(Some(0), |digits| {
        format!("{digits:0<3}").get(..3)?.parse::<i64>().ok()
    })?;
    is_time(hour, minute, second).then_some(())?;
    let days = days(year, month, day)?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

/// Whether a clock shows this; a minute may have a leap second.
fn is_time(hour: i64, minute: i64, second: i64) -> bool {
    (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second)
}

/// Days since 1970; None for a day that there is not.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let number = |number: i64| u64::try_from(number).ok();
    let days = clock::days(number(year)?, number(month)?, number(day)?)?;
    i64::try_from(days).ok()
}

/// Reads a HAR file, which browsers export.
pub fn har(text: &str, site: &Site, writes: bool) -> Result<Scenario, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("is no HAR: {error}"))?;
    let entries = value.pointer("/log/entries").and_then(Value::as_array);
    let entries = entries.ok_or("is no HAR: it has no `log.entries`")?;
    let (mut requests, mut elsewhere, mut changing) = (Vec::new(), 0_u64, 0_u64);
    for entry in entries.iter().take(MOST_DIFFERENT) {
        let request = entry.get("request");
        let text = |key: &str| request?.get(key)?.as_str();
        let path = text("url").and_then(|url| Site::parse(url).ok());
        let path = path.filter(|(other, _)| other.name == site.name);
        let (Some((_, path)), Some(method)) = (path, text("method")) else {
            elsewhere += 1;
            continue;
        };
        if !writes && !matches!(method, "GET" | "HEAD") {
            changing += 1;
            continue;
        }
        let body = request.and_then(|request| request.pointer("/postData/text"));
        requests.push(Request {
            method: method.to_owned(),
            fields: har_fields(request),
            body: body.and_then(Value::as_str).unwrap_or_default().into(),
            ..Request::get(path)
        });
    }
    if requests.is_empty() {
        return Err(format!("no request to {} in it", site.name));
    }
    let reasons = [
        (elsewhere, "requests to other hosts"),
        (
            changing,
            "requests that may change something (`--allow-writes`)",
        ),
    ];
    let told = reasons.iter().filter(|(count, _)| *count > 0);
    Ok(Scenario {
        requests,
        order: Order::Journey,
        left_out: told
            .map(|(count, what)| format!("{count} {what}"))
            .collect(),
    })
}

/// The fields of a recorded request that are neither the connection's, nor the user's.
fn har_fields(request: Option<&Value>) -> Vec<(String, String)> {
    const OTHERS: [&str; 8] = [
        "host",
        "connection",
        "content-length",
        "cookie",
        "transfer-encoding",
        "upgrade",
        "te",
        "keep-alive",
    ];
    let list = request
        .and_then(|request| request.get("headers"))
        .and_then(Value::as_array);
    let field = |value: &Value| {
        let name = value.get("name")?.as_str()?.to_owned();
        Some((name, value.get("value")?.as_str()?.to_owned()))
    };
    list.into_iter()
        .flatten()
        .filter_map(field)
        .filter(|(name, value)| {
            let other = OTHERS.iter().any(|other| name.eq_ignore_ascii_case(other));
            !other && is_field(name, value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site::parse("http://127.0.0.1:8000/").unwrap().0
    }

    #[test]
    fn a_list_is_read_line_by_line() {
        let text = "# pages\n/\n/a?b weight=3\n\nPOST /c type=application/json body={\"a\": 1}\nhttp://127.0.0.1:8000/d\n";
        let scenario = url_list(text, &site()).unwrap();
        let labels: Vec<String> = scenario.requests.iter().map(Request::label).collect();
        assert_eq!(labels, ["GET /", "GET /a?b", "POST /c", "GET /d"]);
        assert!((scenario.requests[1].weight - 3.0).abs() < 1e-9);
        assert_eq!(scenario.requests[2].body, b"{\"a\": 1}");
        for (text, why) in [
            ("", "no request"),
            ("/\nget /", "line 2"),
            ("POST", "without a path"),
            ("/ weight=-1", "no weight"),
            ("http://example.org/", "no path of this site"),
            ("/ colour=red", "neither"),
        ] {
            assert!(url_list(text, &site()).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn logs_of_several_servers_are_read() {
        let lines = [
            r#"127.0.0.1 - - [21/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl""#,
            r#"127.0.0.1 - bob [21/Nov/2026:11:00:01 +0100] "GET /b?x=1 HTTP/1.1" 200 5"#,
            r#"{"time":"2026-11-21T10:00:02.000Z","method":"GET","target":"/a","status":200}"#,
            r#"127.0.0.1 - - [21/Nov/2026:10:00:02 +0000] "POST /c HTTP/1.1" 200 5"#,
            "nonsense",
            r#"127.0.0.1 - - [21/Nov/2026:10:00:02 +0000] "\x16\x03" 400 5"#,
        ];
        let scenario = access_log(lines.iter().map(|line| (*line).to_owned()), false).unwrap();
        assert_eq!(
            scenario.order,
            Order::Log(vec![(0, 0), (1, 1000), (0, 2000)])
        );
        assert_eq!(scenario.requests.len(), 2);
        assert_eq!(scenario.left_out.len(), 2, "{:?}", scenario.left_out);
        let with_writes = access_log(lines.iter().map(|line| (*line).to_owned()), true).unwrap();
        assert_eq!(with_writes.requests.len(), 3);
        assert_eq!(
            with_writes.order,
            Order::Log(vec![(0, 0), (1, 1000), (0, 2000), (2, 2500)])
        );
        assert!(access_log(std::iter::empty(), false).is_err());
    }

    #[test]
    fn a8_a_line_with_another_date_does_not_stretch_a_replay() {
        let line = |date: &str| format!("127.0.0.1 - - [{date} +0000] \"GET / HTTP/1.1\" 200 5");
        let lines = [
            "21/Nov/2026:10:00:00",
            "01/Jan/1970:00:00:00",
            "23/Nov/2026:10:00:00",
            "21/Nov/9999:10:00:00",
        ];
        let scenario = access_log(lines.into_iter().map(line), false).unwrap();
        assert_eq!(
            scenario.order,
            Order::Log(vec![(0, 0), (0, 2 * 24 * 3600 * 1000)])
        );
        assert_eq!(
            scenario.left_out,
            ["2 requests more than a week away from most"]
        );
    }

    #[test]
    fn a8_numbers_that_no_clock_shows_are_no_time() {
        for text in [
            "21/Nov/2026:9999999999999999999:00:00 +0000",
            "21/Nov/2026:999999999999999999:00:00 +0000",
            "21/Nov/2026:10:999999999999999999:00 +0000",
            "21/Nov/2026:10:00:999999999999999999 +0000",
            "21/Nov/2026:10:00:00 +999999999999999999",
            "21/Nov/2026:-1:00:00 +0000",
            "21/Nov/2026:24:00:00 +0000",
        ] {
            assert_eq!(log_time(text), None, "{text}");
        }
        for text in ["30/Feb/2026:10:00:00 +0000", "00/Nov/2026:10:00:00 +0000"] {
            assert_eq!(log_time(text), None, "{text}");
        }
        for text in [
            "2026-11-21T999999999999999999:00:00Z",
            "2026-11-21T10:999999999999999999:00Z",
            "2026-11-21T10:00:999999999999999999Z",
            "2026-11-21T10:00:61Z",
            "2026-02-30T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "1969-12-31T10:00:00Z",
        ] {
            assert_eq!(iso_time(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_days_since_1970() {
        for ((year, month, day), expected) in [
            ((1970, 1, 1), 0),
            ((2000, 3, 1), 11_017),
            ((2024, 2, 29), 19_782),
            ((2026, 11, 21), 20_778),
        ] {
            assert_eq!(days(year, month, day), Some(expected));
        }
        assert_eq!(iso_time("1970-01-02T00:00:01.5Z"), Some(86_401_500));
        assert_eq!(log_time("01/Xyz/2026:10:00:00 +0000"), None);
    }

    #[test]
    fn a_recording_keeps_what_belongs_to_the_site() {
        let har_text = serde_json::json!({"log": {"entries": [
            {"request": {"method": "GET", "url": "http://127.0.0.1:8000/a", "headers": [
                {"name": "Accept", "value": "text/html"}, {"name": "Cookie", "value": "secret"},
                {"name": ":authority", "value": "x"}]}},
            {"request": {"method": "GET", "url": "https://cdn.example/x.js", "headers": []}},
            {"request": {"method": "POST", "url": "http://127.0.0.1:8000/b", "headers": [],
                         "postData": {"text": "a=b"}}},
        ]}});
        let scenario = har(&har_text.to_string(), &site(), false).unwrap();
        assert_eq!(scenario.requests.len(), 1);
        assert_eq!(
            scenario.requests[0].fields,
            [("Accept".to_owned(), "text/html".to_owned())]
        );
        assert_eq!(scenario.left_out.len(), 2);
        let all = har(&har_text.to_string(), &site(), true).unwrap();
        assert_eq!(all.requests[1].body, b"a=b");
        assert!(har("{}", &site(), false).is_err() && har("x", &site(), false).is_err());
    }
}
