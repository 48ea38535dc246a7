//! Reports of simulated searches: what they say, and that what they write can be read.
// The path of a method is not general enough over the lifetime of a report.
#![allow(clippy::redundant_closure_for_method_calls)]

use std::time::Duration;

use super::*;
use crate::measured::Walls;
use crate::search::{Kind, find};
use crate::setting::{Setting, Space};
use crate::simulated::{Simulated, Site};

const SITE: Site = Site {
    cores: 2.0,
    cpu: 0.01,
    wait: 0.03,
    connections: 0.0,
    friction: 0.002,
    noise: 0.03,
    soft: 0.0,
};

/// What the chosen configuration answers where a test wants a law to be followed.
const LAW: Fit = Fit {
    alone: 30.0,
    contention: 0.05,
    coherency: 0.0005,
    off: 0.0,
    peak: None,
};

fn told<T>(
    p95: u64,
    stop_after: Option<u32>,
    by_law: bool,
    read: impl FnOnce(&Report<'_>) -> T,
) -> T {
    let wish = Wish {
        walls: Walls {
            memory: Some(200_000_000),
            p95: Some(Duration::from_millis(p95)),
            errors: 0.01,
            ..Walls::default()
        },
        tolerance: 0.03,
        seed: 11,
        level: Some(16.0),
        kind: Kind::Users,
        most_level: 512.0,
    };
    let space = Space {
        cores: 2,
        most_workers: 8,
        most_threads: 64,
        automatic: Setting::new(2, 64),
        users: None,
    };
    let mut bench = Simulated::new(SITE, 11);
    bench.stop_after = stop_after;
    let mut found = find(&mut bench, space, &wish).unwrap();
    for step in found.steps.iter_mut().filter(|_| by_law) {
        step.measured.rate = LAW.at(step.level);
    }
    read(&Report {
        app: "shop.wsgi <x>",
        requests: "4 requests of urls.txt",
        wish: &wish,
        found: &found,
        took: Duration::from_secs(60),
        db_connections: Some(20),
        notes: &["a note".to_owned()],
    })
}

#[test]
fn b2_the_report_names_choice_binding_and_first_failing_point() {
    let (text, json) = told(700, None, false, |report| (report.text(), report.json()));
    for words in [
        "smallest configuration",
        "What binds",
        "broke at",
        "limit 700 ms",
        "chosen",
        "seed 11",
        "a note",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["choice"]["workers"], 2);
    assert_eq!(json["first_failing"]["fails"]["wall"], "p95");
    assert!(json["last_passing"]["level"].as_f64().unwrap() >= 16.0);
    assert!(json["binding"]["constraint"].is_string());
    assert!(json["file"].as_str().unwrap().contains("workers = 2"));
}

#[test]
fn b4_the_page_has_the_law_the_walls_and_no_code_of_others() {
    let page = told(700, None, true, |report| report.html());
    for words in [
        "scaling law",
        "limit of memory",
        "first failing",
        "for each more MB",
        "shop.wsgi &lt;x&gt;",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(
        page.contains("class=\"o b\"") && page.contains(".o.b{"),
        "the chosen one has its colour"
    );
    assert!(!page.contains("<x>") && !page.contains("<script") && !page.contains("href="));
    assert!(
        page.contains("\nworkers = 2\nthreads = "),
        "the file keeps its lines"
    );
}

#[test]
fn b2_a_search_that_was_stopped_says_so() {
    let text = told(700, Some(9), false, |report| report.text());
    assert!(
        text.contains("did not go to its end: ended by hand"),
        "{text}"
    );
}

#[test]
fn b2_no_configuration_that_holds_is_said_with_the_nearest() {
    let (text, file, page) = told(1, None, false, |report| {
        (report.text(), report.file(), report.html())
    });
    assert!(text.contains("`canter queries` and `canter top` show"));
    assert!(page.contains("<code>canter queries</code> and <code>canter top</code> show"));
    assert!(
        text.contains("No configuration holds. The nearest is"),
        "{text}"
    );
    assert_eq!(file, None);
}
