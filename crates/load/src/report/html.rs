//! Owns the report for a browser: one file, nothing loaded from elsewhere, no script.
//! Leaves drawing to `chart` and the sentences to `prose`.

use std::fmt::Write as _;
use std::time::Duration;

use super::chart::{Chart, Line, Mark};
use super::{Report, count, rate, time};
use crate::record::{First, Kind};
use crate::run::Row;

/// Text for HTML and XML, attributes included.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            char if char.is_control() => out.push(' '),
            char => out.push(char),
        }
    }
    out
}

/// A sentence for HTML: what stands between backticks is code. One backtick alone stays as it is.
pub fn sentence(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, (code, after))) = rest
        .split_once('`')
        .and_then(|(before, after)| Some((before, after.split_once('`')?)))
    {
        let _ = write!(out, "{}<code>{}</code>", escape(before), escape(code));
        rest = after;
    }
    out + &escape(rest)
}

/// A whole page around some content.
pub fn page(title: &str, content: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{}</title>\
         <style>{STYLE}</style></head>\n<body><main>\n{content}</main></body></html>\n",
        escape(title)
    )
}

const STYLE: &str = "\
:root{--ground:#fff;--ink:#1c2530;--soft:#5c6875;--line:#e3e7eb;--a:#1769c2;--b:#0f8a5f;--c:#b7791f;\
--d:#9aa5b1;--bad:#c62f2f;--late:#8e3bb3}\
@media (prefers-color-scheme:dark){:root{--ground:#12171d;--ink:#e5eaf0;--soft:#98a5b3;--line:#2a333d;\
--a:#63aef5;--b:#4cc79a;--c:#e2b34d;--d:#6d7a88;--bad:#ff7b72;--late:#d19af0}}\
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:900px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0}\
.sub{color:var(--soft);margin:2px 0 20px}.limit{border-left:4px solid var(--bad);padding-left:12px}\
.tiles{display:flex;flex-wrap:wrap;gap:10px 34px;margin:22px 0}.tiles b{display:block;font-size:26px;\
font-weight:600;line-height:1.2;font-variant-numeric:tabular-nums}.tiles span{color:var(--soft);font-size:14px}\
figure{margin:26px 0 0;overflow-x:auto}figcaption{font-weight:600;margin-bottom:4px}svg{width:100%;\
min-width:640px;height:auto;display:block}\
.k{font-weight:400;font-size:14px;margin-left:12px;color:var(--soft)}.k::before{content:'';display:inline-block;\
width:14px;height:3px;margin-right:6px;vertical-align:4px;background:currentColor}\
.k.a::before{background:var(--a)}.k.b::before{background:var(--b)}.k.c::before{background:var(--c)}\
.k.d::before{background:var(--d)}.k.e::before{background:var(--bad)}.k.t::before{background:var(--late)}\
.g{stroke:var(--line)}.l{fill:var(--soft);font-size:12px}.p{fill:none;stroke-width:2;stroke-linejoin:round}\
.p.a,.o.a{stroke:var(--a)}.p.b,.o.b{stroke:var(--b)}.p.c,.o.c{stroke:var(--c)}.p.d,.o.d{stroke:var(--d)}\
.p.e,.o.e{stroke:var(--bad)}.p.t,.o.t{stroke:var(--late)}circle.o{fill:var(--ground);stroke-width:2}\
.m{stroke-width:1.5;stroke-dasharray:4 3}.m.e{stroke:var(--bad)}.m.t{stroke:var(--late)}.m.n{stroke:var(--soft)}\
.w{font-size:12px}.w.e{fill:var(--bad)}.w.t{fill:var(--late)}.w.n{fill:var(--soft)}.h{fill:transparent}\
.h:hover{fill:var(--ink);opacity:.07}.scroll{overflow-x:auto}table{border-collapse:collapse;margin:10px 0 0;\
font-variant-numeric:tabular-nums}th,td{text-align:right;padding:4px 14px 4px 0;border-bottom:1px solid var(--line)}\
th{color:var(--soft);font-weight:400;font-size:14px}th:first-child,td:first-child{text-align:left}\
main>table{display:block;overflow-x:auto}h1,.sub,p{overflow-wrap:anywhere}table.n td:not(:first-child){white-space:nowrap}\
h2{font-size:18px;margin:34px 0 4px}.bad{color:var(--bad)}code{font-size:14px}pre{overflow-x:auto;padding:12px;\
border:1px solid var(--line)}tr.pick td{font-weight:600}";

pub(super) fn report(report: &Report<'_>) -> String {
    let (plan, outcome) = (report.plan, report.outcome);
    let origin = plan.site.origin();
    let first = plan.scenario.requests.first();
    let shown = match (plan.scenario.requests.len(), first) {
        (1, Some(only)) => format!("{origin}{}", only.path),
        (many, _) => format!("{origin}, {many} requests"),
    };
    let mut out = format!(
        "<h1>{}</h1><p class=\"sub\">{} &middot; {}</p>\n",
        escape(&shown),
        escape(&plan.load.words()),
        report.model()
    );
    let limited = outcome.generator_limit(plan).is_some();
    let _ = writeln!(
        out,
        "<div{}>",
        if limited { " class=\"limit\"" } else { "" }
    );
    for said in report.prose() {
        let _ = writeln!(out, "<p>{}</p>", sentence(&said));
    }
    out.push_str("</div>\n");
    tiles(report, &mut out);
    for chart in charts(report) {
        out.push_str(&chart.svg());
    }
    latency_table(report, &mut out);
    errors_table(report, &mut out);
    requests_table(report, &mut out);
    if !report.judged.is_empty() {
        out.push_str("<h2>Conditions</h2><table><tr><th>fails if</th><th>is</th><th></th></tr>");
        for judged in report.judged {
            let (class, word) = if judged.failed {
                (" class=\"bad\"", "failed")
            } else {
                ("", "held")
            };
            let _ = write!(
                out,
                "<tr><td><code>{}</code></td><td>{}</td><td{class}>{word}</td></tr>",
                escape(&judged.goal),
                judged.value
            );
        }
        out.push_str("</table>\n");
    }
    let _ = writeln!(
        out,
        "<p class=\"sub\">Generator: {:.0} % of a CPU, late {} (p99). Latencies are told within 0.4 %.</p>",
        outcome.cpu_share(plan.threads) * 100.0,
        time(outcome.total.lateness.quantile(0.99))
    );
    page(&format!("canter bench {shown}"), &out)
}

fn tiles(report: &Report<'_>, out: &mut String) {
    let total = &report.outcome.total;
    out.push_str("<div class=\"tiles\">");
    for (value, name) in [
        (rate(report.outcome.rate()), "answers a second"),
        (time(total.corrected.quantile(0.5)), "p50"),
        (time(total.corrected.quantile(0.95)), "p95"),
        (time(total.corrected.quantile(0.99)), "p99"),
        (count(total.errors()), "errors"),
        (count(total.timeouts()), "time-outs"),
    ] {
        let _ = write!(out, "<div><b>{value}</b><span>{name}</span></div>");
    }
    out.push_str("</div>\n");
}

fn charts(report: &Report<'_>) -> Vec<Chart> {
    let rows = &report.outcome.rows;
    let middle = |row: &Row| row.at.as_secs_f64() + report.outcome.row_time.as_secs_f64() / 2.0;
    let line = |name: &str, class: char, value: &dyn Fn(&Row) -> f64| Line {
        name: name.to_owned(),
        class,
        points: rows.iter().map(|row| (middle(row), value(row))).collect(),
        dots: false,
    };
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let quantile = |share: f64| move |row: &Row| ms(row.latency.quantile(share));
    let errors = |row: &Row| row.errors as f64 / report.row_seconds(row);
    let who = if report.plan.is_open() {
        "requests under way"
    } else {
        "users"
    };
    let (latency, hits) = ("Latency from the intended start, ms", "Answers a second");
    let chart = |title: &str, height: f64, lines: Vec<Line>| Chart {
        title: title.to_owned(),
        across: " s".to_owned(),
        lines,
        marks: marks(report, who),
        tips: rows
            .iter()
            .map(|row| (row.at.as_secs_f64(), tip(report, row, who)))
            .collect(),
        height,
    };
    vec![
        chart(
            latency,
            250.0,
            vec![
                line("max", 'd', &|row| ms(row.latency.max())),
                line("p99", 'c', &quantile(0.99)),
                line("p95", 'b', &quantile(0.95)),
                line("p50", 'a', &quantile(0.5)),
            ],
        ),
        chart(
            hits,
            190.0,
            vec![
                line("answers", 'a', &|row| report.row_rate(row)),
                line("errors", 'e', &errors),
            ],
        ),
        chart(
            if report.plan.is_open() {
                "Requests under way"
            } else {
                "Users"
            },
            130.0,
            vec![line("", 'b', &|row| row.active as f64)],
        ),
    ]
}

fn tip(report: &Report<'_>, row: &Row, who: &str) -> String {
    format!(
        "{:.1} s: {} {who}, {} answers a second, p50 {}, p95 {}, max {}, {} errors, {} time-outs",
        row.at.as_secs_f64(),
        row.active,
        rate(report.row_rate(row)),
        time(row.latency.quantile(0.5)),
        time(row.latency.quantile(0.95)),
        time(row.latency.max()),
        row.errors,
        row.timeouts
    )
}

fn marks(report: &Report<'_>, who: &str) -> Vec<Mark> {
    let total = &report.outcome.total;
    let mark = |first: &Option<First>, word: &str, class| {
        first.as_ref().map(|first| Mark {
            at: first.at.as_secs_f64(),
            word: format!("{word}: {} {who}", first.users),
            class,
        })
    };
    let error = mark(&total.first_error, "first error", 'e');
    error
        .into_iter()
        .chain(mark(&total.first_timeout, "first time-out", 't'))
        .collect()
}

fn latency_table(report: &Report<'_>, out: &mut String) {
    let total = &report.outcome.total;
    out.push_str("<h2>Latency</h2><div class=\"scroll\"><table class=\"n\"><tr><th></th>");
    let shares = [
        ("p50", 0.5),
        ("p90", 0.9),
        ("p95", 0.95),
        ("p99", 0.99),
        ("p99.9", 0.999),
    ];
    for (name, _) in shares {
        let _ = write!(out, "<th>{name}</th>");
    }
    out.push_str("<th>max</th></tr>");
    for (name, told) in [
        (
            "as users feel it, from the intended start",
            &total.corrected,
        ),
        ("server only, from the first byte sent", &total.naive),
    ] {
        let _ = write!(out, "<tr><td>{name}</td>");
        for (_, share) in shares {
            let _ = write!(out, "<td>{}</td>", time(told.quantile(share)));
        }
        let _ = write!(out, "<td>{}</td></tr>", time(told.max()));
    }
    out.push_str("</table></div>\n");
}

fn errors_table(report: &Report<'_>, out: &mut String) {
    let total = &report.outcome.total;
    if total.errors() == 0 {
        return;
    }
    out.push_str("<h2>Errors</h2><table><tr><th>kind</th><th>count</th></tr>");
    for (status, hits) in &total.error_statuses {
        let _ = write!(
            out,
            "<tr><td>status {status}</td><td>{}</td></tr>",
            count(*hits)
        );
    }
    for kind in Kind::ALL.iter().filter(|kind| total.failed(**kind) > 0) {
        let failed = count(total.failed(*kind));
        let _ = write!(out, "<tr><td>{}</td><td>{failed}</td></tr>", kind.word());
    }
    out.push_str("</table>\n");
}

fn requests_table(report: &Report<'_>, out: &mut String) {
    if report.plan.scenario.requests.len() < 2 {
        return;
    }
    out.push_str(
        "<h2>Requests</h2><div class=\"scroll\"><table class=\"n\"><tr><th>request</th><th>answers</th>\
         <th>errors</th><th>p50</th><th>p95</th></tr>",
    );
    for (request, each) in report
        .plan
        .scenario
        .requests
        .iter()
        .zip(&report.outcome.requests)
        .take(50)
    {
        let label: String = request.label().chars().take(80).collect();
        let _ = write!(
            out,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&label),
            count(each.hits),
            count(each.errors),
            time(each.latency.quantile(0.5)),
            time(each.latency.quantile(0.95))
        );
    }
    out.push_str("</table></div>\n");
}
