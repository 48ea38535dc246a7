//! Owns the tests of the forms of a report, on a run made by hand.

use super::*;
use crate::goal::Goal;
use crate::histogram::Histogram;
use crate::record::{Kind, PerRequest, Tally};
use crate::scenario::{Order, Request, Scenario};
use crate::schedule::{Load, stages};
use crate::target::{Door, Site};

fn plan() -> Plan {
    let (site, path) = Site::parse("http://127.0.0.1:8000/<b>").unwrap();
    let scenario = Scenario {
        requests: vec![Request::get(path), Request::get("/other")],
        order: Order::Weighted,
        left_out: vec!["2 lines that are no requests".into()],
    };
    let load = Load::Users(stages("1-100:20s", Duration::ZERO, false).unwrap());
    let door = Door::Address(([127, 0, 0, 1], 8000).into());
    Plan::new(site, door, scenario, load)
}

fn outcome() -> Outcome {
    let mut total = Tally::default();
    let mut rows = Vec::new();
    for second in 0..20_u64 {
        let at = Duration::from_secs(second);
        let mut latency = Histogram::coarse();
        for hit in 0..(second * 20).min(100) {
            total.hit(200, at, second as usize * 5);
            total.corrected.record(Duration::from_millis(hit + second));
            total.naive.record(Duration::from_millis(second));
            latency.record(Duration::from_millis(hit + second));
        }
        rows.push(Row {
            at,
            active: 1 + second as usize * 5,
            hits: latency.count(),
            late: 0,
            bad: 0,
            errors: 0,
            timeouts: 0,
            bytes_in: 0,
            bytes_out: 0,
            latency,
        });
    }
    total.fail(Kind::TimedOut, Duration::from_secs(15), 76);
    Outcome {
        began: 0,
        time: Duration::from_secs(20),
        total,
        warmup_hits: 0,
        rows,
        row_time: Duration::from_secs(1),
        requests: PerRequest::all(&plan()),
        ended_early: None,
        inside: crate::inside::Inside::default(),
    }
}

#[test]
fn the_sentences_say_where_it_broke_and_where_it_stopped_growing() {
    let (plan, outcome) = (plan(), outcome());
    let report = Report {
        plan: &plan,
        outcome: &outcome,
        judged: &[],
    };
    let prose = report.prose().join(" ");
    for part in [
        "1,700 requests were answered in 20.00 s: 85.0 a second",
        "7.3 million a day",
        "From about 26 users on",
        "The first error (time-out) came at 76 users, after 15.00 s",
        "The first time-out came at 76 users",
        "would have told a p99 of",
    ] {
        assert!(prose.contains(part), "{part}: {prose}");
    }
    assert!(!prose.contains("No verdict"), "{prose}");
}

#[test]
fn answers_that_are_errors_are_no_success() {
    let (plan, mut outcome) = (plan(), outcome());
    // Time-outs beside good answers take nothing from these.
    for row in &mut outcome.rows[5..8] {
        row.errors = 1000;
    }
    for row in outcome.rows.iter_mut().skip(8) {
        // Refused at once, and so twenty times as many.
        row.hits *= 20;
        row.bad = row.hits;
        row.errors = row.hits;
        for _ in 0..row.hits {
            outcome.total.hit(503, row.at, row.active);
        }
    }
    let report = Report {
        plan: &plan,
        outcome: &outcome,
        judged: &[],
    };
    let prose = report.prose().join(" ");
    for part in [
        "25,700 requests were answered in 20.00 s, 24,000 of them with an error. The good ones were 85.0 a \
         second, which would be 7.3 million a day.",
        "100 a second was the most",
    ] {
        assert!(prose.contains(part), "{part}: {prose}");
    }
}

#[test]
fn the_cause_is_what_the_server_says() {
    let (plan, mut outcome) = (plan(), outcome());
    outcome.inside.samples = [2.0, 17.0, 5.0]
        .map(|queued| crate::inside::Sample {
            at: Duration::ZERO,
            numbers: vec![("now.queued", queued), ("now.running", 8.0)],
            waits: None,
        })
        .to_vec();
    outcome.inside.last = Some(serde_json::json!({
        "phases": ["sql", "app"],
        "total": {"phases_ms": [61, 39]},
        "routes": [{"label": "GET /a", "requests": 9}, {"label": "GET /b", "requests": 9}],
        "findings": [
            {"route": "GET /a", "file": "a.py", "line": 1, "title": "little", "lost_ms": 5},
            {"route": "GET /b", "file": "b.py", "line": 41, "title": "one for each row", "lost_ms": 900},
        ],
    }));
    let report = Report {
        plan: &plan,
        outcome: &outcome,
        judged: &[],
    };
    let prose = report.prose().join(" ");
    assert!(prose.contains(
        "at most 17 requests waited for a worker while 8 were with one; rate-limiting step: SQL, 61 % of the \
         time; next: Python code of the app, 39 %; most is lost in GET /b, b.py:41: one for each row."
    ), "{prose}");
}

#[test]
fn late_answers_behind_the_end_are_no_peak() {
    let (plan, mut outcome) = (plan(), outcome());
    outcome.time = Duration::from_millis(19_001);
    let report = Report {
        plan: &plan,
        outcome: &outcome,
        judged: &[],
    };
    assert!(
        report
            .prose()
            .join(" ")
            .contains("100 a second was the most")
    );
    for row in &outcome.rows {
        assert!(report.row_rate(row) <= 100.0, "{:?}", row.at);
    }
}

#[test]
fn a_generator_that_was_the_limit_gives_no_verdict() {
    let (plan, mut outcome) = (plan(), outcome());
    outcome.total.busy = Duration::from_secs(19);
    let report = Report {
        plan: &plan,
        outcome: &outcome,
        judged: &[],
    };
    assert!(
        report
            .prose()
            .first()
            .unwrap()
            .starts_with("No verdict on the server: the generator used 95 %")
    );
    outcome.total.busy = Duration::ZERO;
    for _ in 0..1000 {
        outcome.total.lateness.record(Duration::from_millis(30));
    }
    assert!(
        outcome
            .generator_limit(&plan)
            .unwrap()
            .contains("30 ms late")
    );
}

#[test]
fn latency_judged_with_users_who_wait_says_so() {
    let (mut plan, outcome) = (plan(), outcome());
    let said = |plan: &Plan, goal: &str| {
        let judged = [Goal::parse(goal)
            .unwrap()
            .judge(&outcome.total, outcome.time)];
        let report = Report {
            plan,
            outcome: &outcome,
            judged: &judged,
        };
        report
            .prose()
            .join(" ")
            .contains("`--rate` asks as visitors do")
    };
    assert!(said(&plan, "p95>1s") && said(&plan, "max>1s") && !said(&plan, "errors>1%"));
    plan.load = Load::Rate(stages("5/s", Duration::from_secs(20), true).unwrap());
    assert!(!said(&plan, "p95>1s"));
}

#[test]
fn every_form_is_written_and_escapes_what_came_from_outside() {
    let (plan, outcome) = (plan(), outcome());
    let judged = [Goal::parse("errors>0")
        .unwrap()
        .judge(&outcome.total, outcome.time)];
    let report = Report {
        plan: &plan,
        outcome: &outcome,
        judged: &judged,
    };
    let html = report.html();
    assert!(!html.contains("/<b>") && html.contains("/&lt;b&gt;"));
    assert!(!html.contains("<script") && !html.contains("http://www") && html.len() < 150_000);
    assert!(html.contains("first time-out: 76 users"));
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(
        (json["hits"].as_u64(), json["timeouts"].as_u64()),
        (Some(1700), Some(1))
    );
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(20));
    assert_eq!(report.csv().lines().count(), 21);
    assert!(
        report.junit().contains("failures=\"1\"")
            && report.text().contains("FAILED  errors>0 (is 1)")
    );
    let sarif: serde_json::Value = serde_json::from_str(&report.sarif()).unwrap();
    let run = &sarif["runs"][0];
    assert_eq!(run["tool"]["driver"]["rules"][1]["id"], "not errors>0");
    assert_eq!(run["results"][0]["ruleId"], "not errors>0");
    assert_eq!(run["results"][0]["message"]["text"], "errors>0: it is 1");
    assert_eq!(run["results"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_stands_between_backticks_is_code_in_a_browser() {
    for (text, told) in [
        ("no code", "no code"),
        ("`--time` with more", "<code>--time</code> with more"),
        (
            "in `a < b` & `c`.",
            "in <code>a &lt; b</code> &amp; <code>c</code>.",
        ),
        ("a ` alone", "a ` alone"),
        ("`a` and ` alone", "<code>a</code> and ` alone"),
        ("``", "<code></code>"),
        ("`<b>` <b>", "<code>&lt;b&gt;</code> &lt;b&gt;"),
    ] {
        assert_eq!(sentence(text), told);
    }
    let (plan, mut outcome) = (plan(), outcome());
    outcome.total.held = 3;
    let report = Report {
        plan: &plan,
        outcome: &outcome,
        judged: &[],
    };
    assert!(report.text().contains("`--connections` allows more"));
    let html = report.html();
    assert!(html.contains("<code>--connections</code> allows more") && !html.contains('`'));
}

#[test]
fn a_run_without_one_answer_still_has_its_report() {
    let plan = plan();
    let mut outcome = outcome();
    outcome.total = Tally::default();
    outcome.rows.clear();
    for _ in 0..5 {
        outcome.total.fail(Kind::Refused, Duration::ZERO, 1);
    }
    let report = Report {
        plan: &plan,
        outcome: &outcome,
        judged: &[],
    };
    assert!(report.text().contains("Not one request was answered."));
    assert!(report.text().contains("Nobody listens there"));
    assert!(report.html().contains("connection refused"));
    assert!(report.junit().contains("no request was answered"));
    assert!(report.sarif().contains("no request was answered"));
}

#[test]
fn each_way_to_fail_says_what_to_do() {
    let (plan, mut outcome) = (plan(), outcome());
    for (kind, word) in [
        (Kind::Refused, "is the server running"),
        (Kind::Unreachable, "is the address right"),
        (Kind::Tls, "`--cacert FILE`"),
        (Kind::Reset, "`https://`"),
        (Kind::Truncated, "`https://`"),
        (Kind::Invalid, "`--http2`"),
        (Kind::HeadTooLong, "64 KiB"),
        (Kind::BodyTooLong, "`--max-body`"),
        (Kind::TimedOut, "`--timeout`"),
        (Kind::Login, "`--login-data`"),
        (Kind::Exhausted, "fewer users"),
    ] {
        outcome.total = Tally::default();
        outcome.total.fail(kind, Duration::ZERO, 1);
        let prose = |outcome: &crate::Outcome| {
            let (plan, judged) = (&plan, &[][..]);
            Report {
                plan,
                outcome,
                judged,
            }
            .prose()
            .join(" ")
        };
        assert!(prose(&outcome).contains(word), "{kind:?}");
        // Where some are answered, the server is there and it is no matter of the address.
        outcome.total.hit(200, Duration::ZERO, 1);
        assert!(!prose(&outcome).contains(word), "{kind:?}");
    }
}

#[test]
fn a6_a_run_that_the_generator_limited_is_green_nowhere() {
    let (plan, mut outcome) = (plan(), outcome());
    let judged = [Goal::parse("p95>30s")
        .unwrap()
        .judge(&outcome.total, outcome.time)];
    let judge = |outcome: &Outcome, judged: &[Judged]| {
        let report = Report {
            plan: &plan,
            outcome,
            judged,
        };
        let sarif: serde_json::Value = serde_json::from_str(&report.sarif()).unwrap();
        (report.junit(), sarif["runs"][0]["results"].clone())
    };
    let (junit, sarif) = judge(&outcome, &judged);
    assert!(junit.contains("tests=\"3\" failures=\"0\""), "{junit}");
    assert_eq!(sarif, serde_json::json!([]));
    outcome.total.fail(Kind::Exhausted, Duration::ZERO, 1);
    let (junit, sarif) = judge(&outcome, &judged);
    assert!(junit.contains("tests=\"3\" failures=\"1\""), "{junit}");
    let why =
        "no verdict on the server: 1 requests found no port or file descriptor on this machine";
    assert!(
        junit.contains(&format!("<failure message=\"{why}\"/>")),
        "{junit}"
    );
    assert_eq!(sarif[0]["ruleId"], "the generator is not the limit");
    assert_eq!(sarif[0]["message"]["text"], why);
    // Without a condition nothing was to be judged.
    assert!(
        judge(&outcome, &[])
            .0
            .contains("tests=\"1\" failures=\"0\"")
    );
}

#[test]
fn a_run_in_which_nothing_ended_says_why() {
    let (plan, mut outcome) = (plan(), outcome());
    for (slow, warmup_hits, unfinished, expected) in [
        (
            [0, 0],
            0,
            7,
            "Not one request was answered: 7 still waited when the run ended.",
        ),
        ([9, 0], 0, 0, "there were only slow clients (`--slow`)"),
        (
            [0, 0],
            12,
            0,
            "12 answers came in the warm-up, and none after it.",
        ),
        ([0, 0], 0, 0, "the run ended before a request was sent"),
    ] {
        outcome.total = Tally {
            slow,
            unfinished,
            ..Tally::default()
        };
        outcome.warmup_hits = warmup_hits;
        let report = Report {
            plan: &plan,
            outcome: &outcome,
            judged: &[],
        };
        let prose = report.prose().join(" ");
        assert!(prose.contains(expected), "{prose}");
    }
}
