//! Owns the tests of `site`. Leaves what it consists of to the tests beside the code.

use super::*;
use crate::observation::{Advice, Group, Repeat};
use crate::phases::Phases;
use crate::rules::Rule;
use crate::statement::{Dialect, strip};

fn told(sql: &str) -> (Name, Told) {
    let statement = strip(sql.as_bytes(), Dialect::Sqlite);
    let told = Told {
        text: statement.text,
        traits: statement.traits,
    };
    (statement.fingerprint, told)
}

fn advise(site: &mut Site, route: &str, (statement, place): (Name, Name), text: &str) {
    site.tell_advice(&Advice {
        route: ("GET", route),
        statement,
        place,
        repeat: Repeat::Unknown,
        text,
    });
}

#[test]
fn c1_a_loop_is_found_with_its_statement_place_and_advice() {
    let mut site = Site::new();
    let (name, text) = told("SELECT a FROM customer WHERE id = %s");
    site.tell_statement(name, text);
    site.tell_place(
        9,
        Place::read("shop/views.py\n41\norders\nfor order in orders:"),
    );
    advise(
        &mut site,
        "/api/orders/",
        (name, 9),
        "Order.objects.select_related(\"customer\")",
    );
    let groups = [Group {
        statement: name,
        place: 9,
        count: 20,
        distinct: 20,
        price_us: 20_000,
        ..Group::default()
    }];
    let observation = Observation {
        method: "GET",
        route: "/api/orders/",
        status: 200,
        queries: 22,
        phases: Phases([0, 0, 0, 0, 9000, 0, 9000, 0, 0]),
        groups: &groups,
        ..Observation::default()
    };
    assert!(site.observe(10, &observation));
    assert!(!site.observe(11, &observation));
    let findings = site.findings(11);
    let [found] = findings.as_slice() else {
        panic!("{} findings", findings.len());
    };
    assert_eq!(
        (found.rule, found.place.line, found.finding.most),
        (Rule::NPlusOne, 41, 20)
    );
    assert_eq!(
        found.advice,
        Some("Order.objects.select_related(\"customer\")")
    );
    assert_eq!(found.route.label(), "GET /api/orders/");
    assert_eq!(site.statements()[0].1.calls, 40);
}

#[test]
fn a7_a_statement_keeps_its_places_within_a_bound_and_counts_all_its_runs() {
    let mut site = Site::new();
    let (name, text) = told("SELECT a FROM b");
    site.tell_statement(name, text);
    for place in 1..=MOST_ASKING as u64 + 3 {
        let groups = [Group {
            statement: name,
            place,
            count: 2,
            total_us: 10 * place,
            ..Group::default()
        }];
        site.observe(1, &asks(2, 0, &groups));
    }
    let counted = site.statements()[0].1;
    assert_eq!((counted.calls, counted.total_us), (14, 280));
    let places: Vec<_> = counted
        .asked()
        .iter()
        .map(|it| (it.place, it.calls))
        .collect();
    assert_eq!(places, [(4, 2), (3, 2), (2, 2), (1, 2)]);
}

#[test]
fn c10_what_was_seen_on_the_wire_alone_has_advice_that_holds_for_any_code() {
    let mut site = Site::new();
    let (name, text) = told("SELECT a FROM b WHERE c = %s");
    site.tell_statement(name, text);
    for place in [0, 9] {
        let groups = [Group {
            statement: name,
            place,
            count: 6,
            distinct: 6,
            ..Group::default()
        }];
        site.observe(1, &asks(6, 0, &groups));
    }
    let found = site.findings(1);
    let told = found
        .iter()
        .map(|seen| (seen.finding.most, seen.advice.is_some()));
    // Of the other one its worker says what helps, or nobody.
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    assert_eq!(told, [(6, false), (6, true)]);
}

#[test]
fn c5_a_relation_to_few_rows_is_one_query_for_each_row_and_what_repeats_else_has_its_remedy() {
    let mut site = Site::new();
    let (name, text) = told("SELECT a FROM category WHERE id = %s");
    site.tell_statement(name, text);
    let groups = [1, 2].map(|place| Group {
        statement: name,
        place,
        count: 20,
        distinct: 3,
        repeats: 17,
        ..Group::default()
    });
    let call = "Product.objects.select_related(\"category\")";
    site.tell_advice(&Advice {
        route: ("GET", "/api/orders/"),
        statement: name,
        place: 1,
        repeat: Repeat::Relation,
        text: call,
    });
    site.observe(1, &asks(40, 0, &groups));
    let found = site.findings(1);
    let mut found: Vec<_> = found
        .iter()
        .map(|it| (it.rule, it.finding.last.place, it.advice))
        .collect();
    found.sort_unstable();
    let again = Rule::Redundant.remedy();
    assert_eq!(
        found,
        [(Rule::NPlusOne, 1, Some(call)), (Rule::Redundant, 2, again)]
    );
}

#[test]
fn c5_each_route_is_told_its_own_call_for_a_line_that_they_share() {
    let mut site = Site::new();
    let (name, text) = told("SELECT a FROM author WHERE id = %s");
    site.tell_statement(name, text);
    let groups = [Group {
        statement: name,
        place: 1,
        count: 20,
        distinct: 20,
        ..Group::default()
    }];
    for (route, call) in [("/books/", "Book"), ("/reviews/", "Review"), ("/none/", "")] {
        if !call.is_empty() {
            advise(&mut site, route, (name, 1), call);
        }
        let observation = Observation {
            route,
            ..asks(20, 1, &groups)
        };
        site.observe(1, &observation);
    }
    let found = site.findings(1);
    let mut found: Vec<_> = found
        .iter()
        .map(|it| (&*it.route.name, it.advice))
        .collect();
    found.sort_unstable();
    let wanted = [
        ("/books/", Some("Book")),
        ("/none/", None),
        ("/reviews/", Some("Review")),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn c4_what_is_wrong_for_get_and_head_of_a_route_is_wrong_once() {
    let mut site = Site::new();
    let (name, text) = told("SELECT a FROM author WHERE id = %s");
    site.tell_statement(name, text);
    let groups = [Group {
        statement: name,
        count: 20,
        distinct: 20,
        ..Group::default()
    }];
    let ask = |site: &mut Site, method, release, groups| {
        let observation = Observation {
            method,
            ..asks(20, release, groups)
        };
        site.observe(1, &observation)
    };
    assert!(ask(&mut site, "HEAD", 1, &groups));
    let labels = |site: &Site| {
        let found = site.findings(1);
        found
            .iter()
            .map(|it| (it.route.label(), it.finding.requests))
            .collect::<Vec<_>>()
    };
    assert_eq!(labels(&site), [("GET /api/orders/".to_owned(), 1)]);
    // What came is counted as it came.
    assert_eq!(
        site.routes().map(|it| it.method).collect::<Vec<_>>(),
        ["HEAD"]
    );
    assert!(!ask(&mut site, "GET", 1, &groups));
    assert_eq!(labels(&site), [("GET /api/orders/".to_owned(), 2)]);
    assert!(ask(&mut site, "OPTIONS", 1, &groups));
    assert_eq!(labels(&site).len(), 2);
    // Either shows that it is mended.
    for method in ["HEAD", "GET", "HEAD"] {
        ask(&mut site, method, 2, &[]);
    }
    assert_eq!(labels(&site), [("OPTIONS /api/orders/".to_owned(), 1)]);
}

#[test]
fn c1_the_different_statements_of_a_route_are_counted_and_bounded() {
    let mut site = Site::new();
    let see = |site: &mut Site, names: std::ops::Range<u64>| {
        let groups: Vec<_> = names
            .map(|statement| Group {
                statement,
                ..Group::default()
            })
            .collect();
        site.observe(1, &asks(9, 1, &groups));
        site.routes().next().map(Route::statements_told)
    };
    assert_eq!(see(&mut site, 1..5).as_deref(), Some("4"));
    assert_eq!(see(&mut site, 3..7).as_deref(), Some("6"));
    assert_eq!(see(&mut site, 1..999).as_deref(), Some("64+"));
}

#[test]
fn c4_a_column_more_in_a_table_leaves_a_finding_its_name() {
    let mut site = Site::new();
    let see = |site: &mut Site, release: u32, columns: &str| {
        let (name, text) = told(&format!("SELECT {columns} FROM c WHERE c.id = %s"));
        site.tell_statement(name, text);
        let groups = [Group {
            statement: name,
            count: 20,
            distinct: 20,
            ..Group::default()
        }];
        for _ in 0..3 {
            site.observe(1, &asks(20, release, &groups));
        }
        let found: Vec<_> = site.findings(1).into_iter().map(|it| it.id).collect();
        assert!(site.mended(1).is_empty());
        found
    };
    let before = see(&mut site, 1, "c.id, c.name");
    // The old one is still listed until enough requests have come without it.
    let after = see(&mut site, 2, "c.id, c.name, c.vat");
    assert!(
        before.len() == 1 && after.iter().all(|id| *id == before[0]),
        "{before:?} {after:?}"
    );
}

fn asks(count: u32, release: u32, groups: &[Group]) -> Observation<'_> {
    Observation {
        method: "GET",
        route: "/api/orders/",
        status: 200,
        queries: count,
        phases: Phases([0, 0, 0, 0, 9000, 0, u64::from(count) * 1000, 0, 0]),
        groups,
        release: Some(release),
        ..Observation::default()
    }
}

#[test]
fn s4_what_a_release_has_mended_is_told_with_what_was_predicted_and_what_came_of_it() {
    let mut site = Site::new();
    let groups = [Group {
        statement: 7,
        place: 9,
        count: 20,
        distinct: 20,
        price_us: 20_000,
        ..Group::default()
    }];
    let (name, text) = told("SELECT a FROM customer WHERE id = %s");
    site.tell_statement(name, text);
    let groups = groups.map(|group| Group {
        statement: name,
        ..group
    });
    for _ in 0..3 {
        site.observe(1, &asks(20, 1, &groups));
    }
    for requests in 0..3 {
        let found = site.findings(3);
        assert!(site.mended(3).is_empty());
        assert_eq!((found[0].quiet_for, found[0].quiet_until), (requests, 3));
        site.observe(2, &asks(2, 2, &[]));
    }
    assert!(site.findings(3).is_empty());
    let mended = site.mended(3);
    let [(seen, before, came)] = mended.as_slice() else {
        panic!("{} mended", mended.len());
    };
    assert_eq!(seen.rule, Rule::NPlusOne);
    assert_eq!(seen.finding.lost_per_request_us(), 19_000);
    assert!(before.p50_us >= 28_000 && seen.route.release.p50_us() < 28_000);
    assert_eq!(came.predicted_us, 19_000);
    // A worker of before has the last word of its own code, and none of this one.
    site.observe(4, &asks(20, 1, &groups));
    assert!(site.findings(4).is_empty());
    // It is back.
    site.observe(5, &asks(20, 2, &groups));
    assert!(site.mended(5).is_empty());
    assert_eq!(site.findings(5).len(), 1);
}

#[test]
fn s4_one_request_that_was_fast_mends_nothing_slow() {
    let mut site = Site::new();
    let (name, text) = told("SELECT a FROM customer WHERE name LIKE %s");
    site.tell_statement(name, text);
    let slow = [Group {
        statement: name,
        count: 1,
        max_us: crate::rules::SLOW_US,
        ..Group::default()
    }];
    // One request in ten is slow.
    for number in 0..50 {
        let groups: &[Group] = if number % 10 == 9 { &slow } else { &[] };
        site.observe(1, &asks(1, 1, groups));
    }
    for _ in 0..29 {
        site.observe(2, &asks(1, 2, &[]));
        assert_eq!((site.findings(2).len(), site.mended(2).len()), (1, 0));
    }
    site.observe(2, &asks(1, 2, &[]));
    assert_eq!((site.findings(2).len(), site.mended(2).len()), (0, 1));
}

#[test]
fn d5_past_the_caps_new_statements_and_places_are_known_and_findings_keep_their_names() {
    let mut site = Site::new();
    let see = |site: &mut Site, number: u64, distinct: u32| {
        let (name, text) = told(&format!("SELECT a FROM t{number} WHERE id = %s"));
        site.tell_statement(name, text);
        let place = format!("shop/views.py\n{number}\nview{number}\nrow.t");
        site.tell_place(number + 1, Place::read(&place));
        let text = format!("advice {number}");
        advise(site, "/api/orders/", (name, number + 1), &text);
        let groups = [Group {
            statement: name,
            place: number + 1,
            count: distinct,
            distinct,
            ..Group::default()
        }];
        site.observe(number, &asks(distinct, 1, &groups));
    };
    see(&mut site, 0, 20);
    let id = site.findings(0)[0].id.clone();
    site.acknowledge(vec![id.clone()]);
    for number in 1..5000 {
        see(&mut site, number, 1);
    }
    // It was told long ago and is seen all the time.
    let oft = told("SELECT a FROM t4000 WHERE id = %s").0;
    for number in 5000..9000 {
        see(&mut site, 4000, 1);
        see(&mut site, number, 1);
    }
    assert_eq!(
        site.statement(oft).map(|it| it.text.contains("t4000")),
        Some(true)
    );
    see(&mut site, 9999, 20);
    let found = site.findings(9999);
    let names: Vec<_> = found
        .iter()
        .map(|it| {
            (
                it.place.function.as_str(),
                it.advice,
                it.statement.is_some(),
            )
        })
        .collect();
    let wanted = [
        ("view9999", Some("advice 9999"), true),
        ("view0", Some("advice 0"), true),
    ];
    assert_eq!(names, wanted);
    assert!(found[1].acknowledged && found[1].id == id);
    assert!(site.statements.len() <= MOST_STATEMENTS && site.places.len() <= MOST_PLACES);
    assert!(site.advice.len() <= MOST_ADVICE);
}

#[test]
fn s10_a_route_that_asks_for_more_since_a_release_is_a_finding_and_its_loop_the_place() {
    let mut site = Site::new();
    for _ in 0..crate::releases::ENOUGH {
        assert!(!site.observe(1, &asks(4, 1, &[])));
    }
    let groups = [Group {
        statement: 7,
        place: 9,
        count: 57,
        ..Group::default()
    }];
    assert!(site.observe(2, &asks(61, 2, &groups)));
    let grown = Grown {
        route: "GET /api/orders/".to_owned(),
        queries: 61,
        before: 4,
    };
    assert_eq!(site.take_grown(), Some(grown));
    assert!(!site.observe(2, &asks(61, 2, &groups)));
    assert_eq!(site.take_grown(), None, "it is said once");
    let findings = site.findings(2);
    let found = findings.iter().find(|seen| seen.rule == Rule::More);
    let found = found.unwrap_or_else(|| panic!("{} findings", findings.len()));
    let last = found.finding.last;
    assert_eq!((last.count, last.distinct, last.place), (61, 4, 9));
    assert_eq!(found.finding.lost_per_request_us(), 57_000);
    assert!(found.finding.critical);
}

#[test]
fn d6_routes_in_which_memory_grows_are_named_the_worst_first() {
    let mut site = Site::new();
    for (route, grown_kb) in [
        ("/a", 900),
        ("/b", 700),
        ("/a", 1200),
        ("/c", 3000),
        ("/d", -9),
    ] {
        let observation = Observation {
            method: "GET",
            route,
            grown_kb,
            ..Observation::default()
        };
        site.observe(1, &observation);
    }
    let found: Vec<_> = site.grows_most().into_iter().map(forecast::grown).collect();
    let wanted = [
        "GET /c +2 MB, 3000 kB a request",
        "GET /a +2 MB, 1050 kB a request",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn d5_everything_that_is_remembered_stays_below_three_megabytes() {
    let mut site = Site::new();
    let long = "x".repeat(1000);
    for number in 0..3000_u64 {
        let text = told(&format!("SELECT {long}{number}")).1;
        site.tell_statement(number, text);
        site.tell_place(number, Place::read(&format!("{long}\n1\n{long}\n{long}")));
        let route = format!("/{number}{long}");
        advise(&mut site, &route, (number, number), &long);
        let groups = [Group {
            statement: number,
            place: number,
            count: 9,
            distinct: 9,
            ..Group::default()
        }];
        site.observe(
            number,
            &Observation {
                method: "GET",
                route: &route,
                queries: 9,
                groups: &groups,
                ..Observation::default()
            },
        );
    }
    for second in 0..90_000 {
        site.tick(second, Gauges::default());
    }
    assert!(site.bytes() < 3_000_000, "{}", site.bytes());
    assert!(site.bytes() > 1_000_000, "{}", site.bytes());
}

#[test]
fn s10_what_was_usual_is_known_after_a_restart() {
    let (mut before, mut after) = (Site::new(), Site::new());
    for _ in 0..20 {
        before.observe(1, &asks(4, 1, &[]));
    }
    let told = before.usual();
    after.remember(&told);
    // Nobody has asked for anything: it is told on as it was.
    assert_eq!((after.usual(), after.routes().count()), (told.clone(), 0));
    let groups = [];
    assert!(!after.observe(1, &asks(9, 1, &groups)));
    assert!(after.observe(1, &asks(61, 1, &groups)));
    let found = after.findings(1);
    assert_eq!((found.len(), found[0].rule), (1, Rule::More));
    assert_eq!(
        (found[0].finding.last.count, found[0].finding.last.distinct),
        (61, 4)
    );
    // Too few to be a habit of its own.
    assert_eq!(after.usual(), told);
    for _ in 0..20 {
        after.observe(1, &asks(61, 1, &groups));
    }
    assert!(after.usual().contains("\t61\t"), "{}", after.usual());
}
