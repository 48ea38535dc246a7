//! Owns what `canter top` shows: lines of a width and a height, made of what the server knows, of
//! what is chosen and of the order. No I/O.
//! Leaves the terminal to `screen`.
//!
//! Names of routes, paths and statements come from strangers: no control character of theirs is
//! let through to the terminal.

use std::time::Duration;

use canter_insight::show::findings::duration;
use serde_json::Value as Json;

use super::screen::Key;

const BOLD: &str = "\x1b[1m";
const INVERSE: &str = "\x1b[7m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
/// Heights of a column of the chart.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns of the chart.
const CHART: usize = 40;
/// Lines for the processes, and for the chosen route.
const MOST_PROCESSES: usize = 8;
const DETAILS: usize = 5;
/// Below so many rows, processes are left out.
const ROOM_FOR_PROCESSES: usize = 18;

/// What the routes can be sorted by: the word in the headline, and the field.
const ORDERS: [(&str, &str); 6] = [
    ("time/hour", "time_per_hour_ms"),
    ("requests", "requests"),
    ("p95", "p95_ms"),
    ("queries", "queries_p50"),
    ("errors", "errors"),
    ("grown", "grown_kb"),
];

/// What is known, what is chosen.
pub(super) struct View {
    known: Json,
    trouble: Option<String>,
    order: usize,
    chosen: usize,
    /// Rows of the table in the last picture: a page.
    page: usize,
}

impl View {
    /// Shows this first.
    pub(super) fn new(known: Json) -> Self {
        Self {
            known,
            trouble: None,
            order: 0,
            chosen: 0,
            page: 10,
        }
    }

    /// An answer of the server, or why there is none.
    pub(super) fn hear(&mut self, answer: Result<Json, String>) {
        match answer {
            Ok(known) => (self.known, self.trouble) = (known, None),
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// A key; false for the end.
    pub(super) fn press(&mut self, key: Key) -> bool {
        let last = list(&self.known, "routes").len().saturating_sub(1);
        match key {
            Key::Up => self.chosen = self.chosen.saturating_sub(1),
            Key::Down => self.chosen = (self.chosen + 1).min(last),
            Key::PageUp => self.chosen = self.chosen.saturating_sub(self.page),
            Key::PageDown => self.chosen = self.chosen.saturating_add(self.page).min(last),
            Key::Sort => (self.order, self.chosen) = ((self.order + 1) % ORDERS.len(), 0),
            Key::Quit => return false,
        }
        true
    }

    /// The lines for so many columns and rows.
    pub(super) fn picture(&mut self, (columns, rows): (usize, usize)) -> Vec<String> {
        let mut lines = self.head(columns);
        if rows >= ROOM_FOR_PROCESSES {
            lines.push(String::new());
            let processes = list(&self.known, "processes").iter();
            lines.extend(
                processes
                    .take(MOST_PROCESSES)
                    .map(|it| cut(&process(it), columns)),
            );
        }
        lines.push(String::new());
        let routes = self.routes();
        let title = row(&ORDERS.map(|(word, _)| word.to_owned()), "p50", "route");
        let title = cut(&title, columns);
        let sorted = ORDERS.get(self.order).map_or("", |order| order.0);
        // The word may stand in the name of another column, but never before its own.
        let marked = title.replacen(sorted, &format!("{INVERSE}{sorted}{PLAIN}{BOLD}"), 1);
        lines.push(format!("{BOLD}{marked}{PLAIN}"));
        let room = rows.saturating_sub(lines.len() + DETAILS).max(1);
        let chosen = self.chosen.min(routes.len().saturating_sub(1));
        let first = (chosen + 1).saturating_sub(room);
        for (at, route) in routes.iter().enumerate().skip(first).take(room) {
            let text = cut(&route_row(route), columns);
            lines.push(if at == chosen {
                format!("{INVERSE}{text:<columns$}{PLAIN}")
            } else {
                text
            });
        }
        if let Some(route) = routes.get(chosen) {
            lines.push(String::new());
            lines.extend(self.details(route, columns));
        }
        lines.truncate(rows);
        (self.page, self.chosen) = (room, chosen);
        lines
    }

    fn head(&self, columns: usize) -> Vec<String> {
        let known = &self.known;
        let (now, total) = (&known["now"], &known["total"]);
        let up = duration(whole(known, "uptime_s").saturating_mul(1_000_000));
        let state = match &self.trouble {
            Some(trouble) => format!("asking again: {trouble}"),
            None => "q ends, s sorts, ↑ ↓ choose".to_owned(),
        };
        let title = format!("canter {}  up {up}  {state}", word(known, "version"));
        let limit = match whole(now, "memory_limit_kb") / 1024 {
            0 => String::new(),
            limit => format!(" of {limit} MB"),
        };
        let mut memory = format!("memory {} MB{limit}", whole(now, "memory_kb") / 1024);
        for (before, key) in [
            (", ", "memory_sentence"),
            (", ", "threads_sentence"),
            ("  grows in ", "growth_sentence"),
        ] {
            let sentence = word(known, key);
            if !sentence.is_empty() {
                memory += before;
                memory += sentence;
            }
        }
        let [queued, running, connections] =
            ["queued", "running", "connections"].map(|key| format!("{key} {}", whole(now, key)));
        let pool = match &known["pool"] {
            Json::Object(_) => format!(
                "  pool {} of {} busy, {} wait",
                whole(&known["pool"], "busy"),
                whole(&known["pool"], "servers"),
                whole(&known["pool"], "waiting")
            ),
            _ => String::new(),
        };
        let cache = match &known["cache"] {
            Json::Object(_) => format!(
                "  page cache {} hits, {} misses, {} pages",
                whole(&known["cache"], "hits"),
                whole(&known["cache"], "misses"),
                whole(&known["cache"], "pages")
            ),
            _ => String::new(),
        };
        let totals = format!(
            "requests {}  errors {}  over 30 s {}  p50 {}  p95 {}  p99 {}  max {}",
            whole(total, "requests"),
            whole(total, "errors"),
            whole(total, "timeouts"),
            span(total, "p50_ms"),
            span(total, "p95_ms"),
            span(total, "p99_ms"),
            span(total, "max_ms")
        );
        let plain = [
            format!("{queued}  {running}  {connections}{pool}{cache}"),
            memory,
            totals,
            chart(known),
            word(known, "sentence").to_owned(),
        ];
        let mut lines = vec![format!("{BOLD}{}{PLAIN}", cut(&title, columns))];
        lines.extend(plain.iter().map(|line| cut(line, columns)));
        lines
    }

    fn routes(&self) -> Vec<Json> {
        let mut routes = list(&self.known, "routes").to_vec();
        let field = ORDERS.get(self.order).map_or("requests", |order| order.1);
        // Stable: what is equal stays in the order of the server, the dearest first.
        routes.sort_by(|one, other| number(other, field).total_cmp(&number(one, field)));
        routes
    }

    fn details(&self, route: &Json, columns: usize) -> Vec<String> {
        let label = word(route, "label");
        let mut lines = vec![cut(
            &format!("{label}: {}", word(route, "sentence")),
            columns,
        )];
        let findings = list(&self.known, "findings").iter();
        for finding in findings.filter(|it| word(it, "route") == label) {
            lines.push(cut(
                &format!(
                    "{}, {} times, {}:{}",
                    word(finding, "title"),
                    whole(finding, "count"),
                    word(finding, "file"),
                    whole(finding, "line")
                ),
                columns,
            ));
            lines.push(format!(
                "{DIM}{}{PLAIN}",
                cut(word(finding, "advice"), columns)
            ));
        }
        lines.truncate(DETAILS - 1);
        lines
    }
}

fn process(process: &Json) -> String {
    let [pss, uss, rss] = ["pss_kb", "uss_kb", "rss_kb"].map(|key| whole(process, key));
    format!(
        "{:<12} pid {:<8} pss {:>5} MB  uss {:>5} MB  shared {:>5} MB  threads {}",
        word(process, "name"),
        whole(process, "pid"),
        pss / 1024,
        uss / 1024,
        rss.saturating_sub(uss) / 1024,
        whole(process, "threads")
    )
}

fn route_row(route: &Json) -> String {
    let cells = [
        span(route, "time_per_hour_ms"),
        whole(route, "requests").to_string(),
        span(route, "p95_ms"),
        whole(route, "queries_p50").to_string(),
        whole(route, "errors").to_string(),
        format!("{:.0} MB", number(route, "grown_kb") / 1024.0),
    ];
    row(&cells, &span(route, "p50_ms"), word(route, "label"))
}

/// One row of the table; the title is one, too.
fn row(cells: &[String; 6], p50: &str, label: &str) -> String {
    let [time, requests, p95, queries, errors, grown] = cells;
    format!(
        "{time:>9} {requests:>9} {p50:>8} {p95:>8} {queries:>7} {errors:>6} {grown:>7}  {label}"
    )
}

/// Requests each second, the newest to the right.
fn chart(known: &Json) -> String {
    let step = number(&known["recent"], "step_s").max(1.0);
    let points = list(&known["recent"], "points");
    // `at_s`, then requests.
    let counts = points.iter().filter_map(|point| point[1].as_u64());
    let counts: Vec<u64> = counts.rev().take(CHART).collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    let bars = counts.iter().rev().map(|count| {
        // Half a step is rounded up, as everywhere.
        let steps = count.saturating_mul(BARS.len() as u64 - 1);
        BARS.get((steps.saturating_add(most / 2) / most.max(1)) as usize)
    });
    let bars: String = bars.flatten().collect();
    let now = counts.first().copied().unwrap_or(0) as f64 / step;
    format!(
        "{now:.1} requests/s {bars} at most {:.1}",
        most as f64 / step
    )
}

/// What is in the terminal's width, without anything it would obey.
fn cut(text: &str, columns: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(columns)
        .collect()
}

fn list<'j>(json: &'j Json, key: &str) -> &'j [Json] {
    json[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn word<'j>(json: &'j Json, key: &str) -> &'j str {
    json[key].as_str().unwrap_or_default()
}

fn number(json: &Json, key: &str) -> f64 {
    json[key].as_f64().unwrap_or(0.0)
}

fn whole(json: &Json, key: &str) -> u64 {
    json[key].as_u64().unwrap_or(0)
}

fn span(json: &Json, key: &str) -> String {
    let time = Duration::try_from_secs_f64(number(json, key) / 1000.0).unwrap_or_default();
    duration(time.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Json {
        let route = |label: &str, requests: u64, p95: f64| {
            serde_json::json!({"label": label, "requests": requests, "p95_ms": p95, "p50_ms": 1.5,
                "time_per_hour_ms": 1000.0, "queries_p50": 4, "errors": 0, "grown_kb": 2048,
                "sentence": format!("of {label}")})
        };
        let mut routes = vec![route("GET /a/", 5, 9.0), route("GET /b/", 9, 3.0)];
        routes.extend((0..50).map(|n| route(&format!("GET /{n}/"), 1, 1.0)));
        serde_json::json!({"version": "1", "uptime_s": 60, "routes": routes, "sentence": "all is well",
            "memory_sentence": "full in ~40 min", "growth_sentence": "GET /a/ +2 MB, 4 kB a request",
            "now": {"queued": 3, "memory_kb": 102_400, "memory_limit_kb": 512_000},
            "cache": {"hits": 30, "misses": 10, "pages": 4, "bytes": 9000},
            "recent": {"step_s": 5, "points": [[0, 0], [5, 50], [10, 25]]},
            "processes": [{"name": "front", "pid": 7, "pss_kb": 2048}],
            "findings": [{"route": "GET /b/", "title": "one \u{1b}[2Jquery\r\n\u{9b}for each row", "count": 20,
                "file": "v.py", "line": 4, "advice": "select_related(\"x\")"}]})
    }

    /// Without what makes it bold.
    fn bare(line: &str) -> String {
        let mut line = line.to_owned();
        for code in [BOLD, INVERSE, DIM, PLAIN] {
            line = line.replace(code, "");
        }
        line
    }

    #[test]
    fn d5_every_size_is_filled_and_never_overfilled() {
        let mut view = View::new(known());
        for (columns, rows) in [(100, 30), (80, 24), (20, 8), (1, 1), (300, 100), (0, 0)] {
            let lines = view.picture((columns, rows));
            assert!(lines.len() <= rows, "{columns} {rows}");
            for line in lines {
                let bare = bare(&line);
                assert!(bare.chars().count() <= columns, "{columns} {rows}: {bare}");
                assert!(!bare.chars().any(char::is_control), "{bare:?}");
            }
        }
        for nothing in [serde_json::json!({}), serde_json::json!([]), Json::Null] {
            let lines = View::new(nothing).picture((80, 24));
            assert!(lines.len() > 5);
        }
        let all = view.picture((100, 30)).join("\n");
        for wanted in [
            "full in ~40 min",
            "5.0 requests/s ▁█▅ at most 10.0",
            "front",
            "all is well",
            "page cache 30 hits, 10 misses, 4 pages",
        ] {
            assert!(all.contains(wanted), "{wanted} is not in\n{all}");
        }
    }

    #[test]
    fn d5_keys_sort_choose_and_end() {
        let mut view = View::new(known());
        let chosen = |view: &mut View| {
            let lines = view.picture((100, 30));
            let line = lines.iter().find(|line| line.starts_with(INVERSE)).cloned();
            bare(&line.unwrap_or_default()).trim_end().to_owned()
        };
        assert!(chosen(&mut view).ends_with("GET /a/"));
        assert!(view.press(Key::Sort));
        assert!(chosen(&mut view).ends_with("GET /b/"));
        let all = view.picture((100, 30)).join("\n");
        assert!(
            all.contains("one [2Jqueryfor each row, 20 times, v.py:4"),
            "{all}"
        );
        assert!(all.contains("select_related(\"x\")"));
        assert!(view.press(Key::Down) && chosen(&mut view).ends_with("GET /a/"));
        for _ in 0..100 {
            assert!(view.press(Key::PageDown));
        }
        assert!(chosen(&mut view).ends_with("GET /49/"));
        view.hear(Ok(serde_json::json!({})));
        assert_eq!(chosen(&mut view), "");
        assert!(view.press(Key::Up) && !view.press(Key::Quit));
        view.hear(Err("the server does not answer".to_owned()));
        assert!(view.picture((100, 30))[0].contains("asking again: the server does not answer"));
    }
}
