//! Freshness, validation and stale copies: owns the acceptance list D as far as a decision alone can
//! keep it.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod common;

use canter_cache::policy::{Answer, Forward, Freshened, Lookup, Lost, freshen, lookup, on_failure};
use canter_cache::{Entry, Life, Mode, Reason, Rule, Settings, Time};
use canter_http::coding::Coding;
use common::{Case, DATE, NOW, Pairs, fields, minute, overriding};

fn later(seconds: u64) -> Time {
    NOW.plus_seconds(seconds)
}

/// The lifetime that an answer states, or why it is not stored.
fn lifetime(response: Pairs<'_>) -> Result<u32, Reason> {
    Case::answering(response)
        .plan()
        .map(|plan| plan.life.lifetime)
}

fn look(case: &Case<'_>, life: &Life, now: Time) -> Lookup {
    case.with_asked(|asked| {
        let rule = case.rule.as_ref();
        lookup(asked, Some(life), true, rule, &case.settings, now)
    })
}

#[test]
fn d1_lifetimes_have_their_order_and_what_cannot_be_read_is_stale() {
    const EXPIRES: &str = "Tue, 14 Nov 2023 22:14:20 GMT";
    let tag = ("ETag", "\"x\"");
    for (response, expected) in [
        (&[("Cache-Control", "max-age=60"), tag][..], 60),
        (&[("Cache-Control", "max-age=60, s-maxage=5"), tag], 5),
        (
            &[
                ("Cache-Control", "s-maxage=5"),
                ("Cache-Control", "max-age=60"),
                tag,
            ],
            5,
        ),
        (
            &[("Cache-Control", "max-age=5"), ("Expires", EXPIRES), tag],
            5,
        ),
        (&[("Expires", EXPIRES), tag], 60),
        (
            &[
                ("Expires", EXPIRES),
                ("Date", "Tue, 14 Nov 2023 22:14:00 GMT"),
                tag,
            ],
            20,
        ),
        (&[("Expires", "tuesday, 14-nov-23 22:14:20 gmt"), tag], 60),
        (&[("Expires", "TUE, 14 NOV 2023 22:14:20 gmT"), tag], 60),
        (&[("Expires", "Tue Nov 14 22:14:20 2023"), tag], 60),
        // Not by the grammar, or twice: stale.
        (&[("Expires", "0"), tag], 0),
        (&[("Expires", "Tue, 14 Nov 2023 22:14:20 UTC"), tag], 0),
        (&[("Expires", "Tue, 14  Nov 2023 22:14:20 GMT"), tag], 0),
        (&[("Expires", EXPIRES), ("Expires", DATE), tag], 0),
        (&[("Cache-Control", "max-age=60, max-age=1"), tag], 0),
        (
            &[
                ("Cache-Control", "max-age=1"),
                ("Cache-Control", "max-age=60"),
                tag,
            ],
            0,
        ),
        (&[("Cache-Control", "max-age=60, max-age=60"), tag], 60),
        (&[("Cache-Control", "max-age=-60"), tag], 0),
        (&[("Cache-Control", "max-age=60.5"), tag], 0),
        (&[("Cache-Control", "max-age='60'"), tag], 0),
        (&[("Cache-Control", "max-age"), tag], 0),
        (&[("Cache-Control", "max-age =60"), tag], 60),
        (&[("Cache-Control", "max-age=\"60\""), tag], 60),
        (&[("Cache-Control", "max-age=0060"), tag], 60),
        (&[("Cache-Control", "MaX-aGe=60"), tag], 60),
        (&[("Cache-Control", "x=\"max-age=60\", max-age=1"), tag], 1),
        (&[("Cache-Control", "max-age=1, x=\"max-age=60\""), tag], 1),
        // Overflow saturates.
        (&[("Cache-Control", "max-age=99999999999")], 1 << 31),
        (&[("Cache-Control", "max-age=2147483647")], (1 << 31) - 1),
    ] {
        assert_eq!(lifetime(response), Ok(expected), "{response:?}");
    }
}

#[test]
fn d1_age_is_counted_from_every_source() {
    for (response, age) in [
        (&[("Cache-Control", "max-age=3600")][..], 0),
        (&[("Cache-Control", "max-age=3600"), ("Age", "30")], 30),
        (&[("Cache-Control", "max-age=3600"), ("Age", "30, 0")], 30),
        (
            &[
                ("Cache-Control", "max-age=3600"),
                ("Age", "30"),
                ("Age", "0"),
            ],
            30,
        ),
        (&[("Cache-Control", "max-age=3600"), ("Age", "abc")], 0),
        (&[("Cache-Control", "max-age=3600"), ("Age", "-7")], 0),
        (&[("Cache-Control", "max-age=3600"), ("Age", "7.0")], 0),
        (
            &[
                ("Cache-Control", "max-age=3600"),
                ("Date", "Tue, 14 Nov 2023 22:13:00 GMT"),
            ],
            20,
        ),
        // A clock that is ahead makes nothing younger than it is.
        (
            &[
                ("Cache-Control", "max-age=3600"),
                ("Date", "Tue, 14 Nov 2023 22:14:00 GMT"),
                ("Age", "15"),
            ],
            15,
        ),
    ] {
        let life = Case::answering(response).life();
        assert_eq!(life.age(NOW), age, "{response:?}");
        assert_eq!(life.age(later(5)), age + 5);
    }
    let old = [("Cache-Control", "max-age=3600"), ("Age", "2147483648")];
    assert_eq!(Case::answering(&old).refusal(), Some(Reason::AlreadyStale));
    // The clock is set back: nothing breaks, and nothing is older.
    let life = Case::shared().life();
    assert_eq!(life.age(Time::from_seconds(1)), 0);
    assert_eq!(life.age(Time::from_millis(u64::MAX)), 1 << 31);
}

#[test]
fn d2_some_directives_forbid_a_stale_copy() {
    for (control, allowed) in [
        ("max-age=60", true),
        ("max-age=60, must-revalidate", false),
        ("max-age=60, proxy-revalidate", false),
        ("s-maxage=60", false),
        ("max-age=60, s-maxage=60, stale-while-revalidate=600", false),
        ("max-age=60, must-revalidate, stale-if-error=600", false),
        ("max-age=60, no-cache", false),
        ("max-age=60, no-cache=\"x-a\"", true),
    ] {
        for rule in [None, Some(minute())] {
            let case = Case {
                rule,
                response: &[("Cache-Control", control), ("ETag", "\"x\"")],
                ..Case::default()
            };
            let life = case.life();
            assert_eq!(
                on_failure(&life, Lost::NoAnswer, later(70)),
                allowed,
                "{control}"
            );
            assert_eq!(
                on_failure(&life, Lost::Status(503), later(70)),
                allowed,
                "{control}"
            );
            assert!(!on_failure(&life, Lost::Status(404), later(70)));
        }
    }
    // A rule that overrides is the owner's word above these.
    let case = Case {
        rule: Some(overriding()),
        ..Case::answering(&[("Cache-Control", "s-maxage=5")])
    };
    assert!(on_failure(&case.life(), Lost::NoAnswer, later(70)));
}

#[test]
fn d2_a_response_that_must_be_validated_is_kept_with_a_tag_only() {
    let tagged = [("Cache-Control", "no-cache"), ("ETag", "\"x\"")];
    let case = Case::answering(&tagged);
    assert_eq!(
        look(&case, &case.life(), NOW),
        Lookup::Validate(Forward::Stale)
    );
    for response in [
        &[("Cache-Control", "no-cache")][..],
        &[
            ("Cache-Control", "max-age=60, No-CaChE"),
            ("Last-Modified", DATE),
        ],
        &[("Cache-Control", "no-cache"), ("ETag", "no tag")],
    ] {
        assert_eq!(lifetime(response), Err(Reason::NoCache), "{response:?}");
    }
}

fn freshened(
    entry: &Entry,
    case: &Case<'_>,
    response: Pairs<'_>,
    now: Time,
) -> Result<(Entry, Life), Option<Reason>> {
    let list = fields(response);
    let answer = Answer {
        status: 304,
        reason: b"",
        fields: &list,
        asked: now,
        received: now,
    };
    let done = case
        .with_asked(|asked| freshen(entry, asked, &answer, case.rule.as_ref(), &case.settings, 7));
    match done {
        Freshened::Updated(entry, life) => Ok((*entry, life)),
        Freshened::Refused(reason) => Err(Some(reason)),
        Freshened::Mismatch => Err(None),
    }
}

#[test]
fn d3_a_304_updates_the_fields_and_keeps_the_body() {
    let response = [
        ("Cache-Control", "max-age=60"),
        ("ETag", "\"x\""),
        ("A", "1"),
        ("B", "2"),
        ("Content-Encoding", "x"),
        ("Content-Length", "4"),
    ];
    let case = Case::answering(&response);
    let (entry, _) = case.entry("body");
    let update = [
        ("A", "3"),
        ("Content-Length", "0"),
        ("Content-Encoding", "y"),
        ("Content-Range", "bytes 0-1/2"),
        ("Connection", "c"),
        ("c", "9"),
        ("Cache-Control", "max-age=7"),
    ];
    let (updated, life) = freshened(&entry, &case, &update, later(100)).unwrap();
    assert_eq!((life.lifetime, life.age(later(100))), (7, 0));
    assert!(updated.body().is_same(entry.body()));
    for (name, value) in [
        ("a", Some("3")),
        ("b", Some("2")),
        ("content-encoding", Some("x")),
        ("content-range", None),
        ("c", None),
        ("content-length", None),
        ("date", Some("Tue, 14 Nov 2023 22:15:00 GMT")),
    ] {
        assert_eq!(updated.field(name), value.map(str::as_bytes), "{name}");
    }
    assert_eq!(updated.etag(Coding::Identity), b"\"x\"");
    // What it does not repeat is as it was.
    let (updated, life) = freshened(&entry, &case, &[("ETag", "W/\"x\"")], later(100)).unwrap();
    assert_eq!(life.lifetime, 60);
    assert_eq!(updated.field("a"), Some(&b"1"[..]));
}

#[test]
fn d3_a_304_that_forbids_or_speaks_of_something_else_keeps_nothing() {
    let response = [("Cache-Control", "max-age=60"), ("ETag", "\"x\"")];
    let case = Case::answering(&response);
    let (entry, _) = case.entry("body");
    for (update, expected) in [
        (&[("Cache-Control", "no-store")][..], Some(Reason::NoStore)),
        (
            &[("Cache-Control", "PRIVATE, max-age=60")],
            Some(Reason::Private),
        ),
        (&[("Set-Cookie", "a=b")], Some(Reason::SetCookie)),
        (&[("Vary", "*")], Some(Reason::VaryStar)),
        (&[("ETag", "\"y\"")], None),
    ] {
        let refused = freshened(&entry, &case, update, later(100)).unwrap_err();
        assert_eq!(refused, expected, "{update:?}");
    }
}

#[test]
fn d3_what_only_the_cache_was_told_outlives_a_304() {
    let response = [
        ("Cache-Control", "no-store"),
        ("Canter-Cache-Control", "max-age=60"),
        ("ETag", "\"x\""),
        ("Surrogate-Key", "one"),
    ];
    let case = Case {
        rule: Some(Rule {
            browser_ttl: Some(0),
            ..minute()
        }),
        ..Case::answering(&response)
    };
    let (entry, _) = case.entry("body");
    assert_eq!(entry.field("canter-cache-control"), None);
    assert_eq!(entry.field("cache-control"), Some(&b"max-age=0"[..]));
    let (updated, life) = freshened(&entry, &case, &[], later(100)).unwrap();
    assert_eq!(life.lifetime, 60);
    assert_eq!(updated.tags().collect::<Vec<_>>(), [b"tone"]);
    assert_eq!(updated.field("cache-control"), Some(&b"max-age=0"[..]));
    let (again, _) = freshened(&updated, &case, &[], later(200)).unwrap();
    assert_eq!(again.tags().count(), 1);
}

#[test]
fn d5_a_body_without_a_tag_gets_one_for_each_encoding() {
    let (entry, _) = Case::shared().entry("one");
    let (other, _) = Case::shared().entry("two");
    let tags = [
        entry.etag(Coding::Identity),
        entry.etag(Coding::Gzip),
        entry.etag(Coding::Brotli),
        entry.etag(Coding::Zstd),
        other.etag(Coding::Identity),
    ];
    for (at, tag) in tags.iter().enumerate() {
        let parsed = canter_http::etag::EntityTag::parse(tag).unwrap();
        assert!(!parsed.is_weak && !tags[..at].contains(tag));
    }
    // The app does not know it, so it is not asked with it.
    assert!(entry.validators().is_empty());
    let response = [("Cache-Control", "max-age=60"), ("ETag", "W/\"x\"")];
    let (own, _) = Case::answering(&response).entry("one");
    assert_eq!(own.etag(Coding::Identity), b"W/\"x\"");
    assert_eq!(own.etag(Coding::Gzip), b"W/\"x-gzip\"");
    assert_eq!(own.validators().if_none_match, Some(&b"W/\"x\""[..]));
}

#[test]
fn what_follows_the_block_is_that_of_the_form_that_is_sent() {
    let response = [("Cache-Control", "max-age=60"), ("ETag", "\"x\"")];
    let (entry, _) = Case::answering(&response).entry("body");
    let mut out = Vec::new();
    entry.write_rest(&mut out, Coding::Gzip, Some(7), 3);
    let rest = "ETag: \"x-gzip\"\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\nAge: 3\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), rest);
}

#[test]
fn d6_a_stale_copy_is_served_within_its_windows_alone() {
    let response = [(
        "Cache-Control",
        "max-age=60, stale-while-revalidate=30, stale-if-error=90",
    )];
    let case = Case::answering(&response);
    let life = case.life();
    let hit = |ttl, refresh| Lookup::Hit { ttl, refresh };
    assert_eq!(look(&case, &life, later(59)), hit(1, false));
    assert_eq!(look(&case, &life, later(60)), hit(0, true));
    assert_eq!(look(&case, &life, later(90)), hit(-30, true));
    assert_eq!(
        look(&case, &life, later(91)),
        Lookup::Validate(Forward::Stale)
    );
    assert!(on_failure(&life, Lost::Status(500), later(150)));
    assert!(!on_failure(&life, Lost::Status(500), later(151)));
    // Right after a failure nobody waits for the next one.
    let mut failed = life;
    failed.back_off(later(100));
    assert_eq!(look(&case, &failed, later(100)), hit(-40, false));
    assert_eq!(
        look(&case, &failed, later(101)),
        Lookup::Validate(Forward::Stale)
    );
}

#[test]
fn d6_lifetimes_of_a_rule_are_spread() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..1000 {
        let case = Case {
            rule: Some(Rule {
                ttl: Some(1000),
                ..minute()
            }),
            settings: Settings::default(),
            ..Case::default()
        };
        let answer = Answer {
            status: 200,
            reason: b"",
            fields: &[],
            asked: NOW,
            received: NOW,
        };
        let plan = case.with_asked(|asked| {
            let rule = case.rule.as_ref();
            canter_cache::policy::store(asked, &case.key(), &answer, rule, &case.settings, seed)
        });
        seen.insert(plan.unwrap().life.lifetime);
    }
    assert_eq!(seen.first().zip(seen.last()), Some((&950, &1000)));
    assert!(seen.len() > 40);
}

#[test]
fn d8_targeted_fields_are_read_as_structured_fields_or_not_at_all() {
    const OWN: &str = "Canter-Cache-Control";
    const CDN: &str = "CDN-Cache-Control";
    const ALL: &str = "Cache-Control";
    for (response, expected) in [
        (&[(ALL, "max-age=1"), (CDN, "max-age=60")][..], Ok(60)),
        (&[(ALL, "max-age=60"), (CDN, "max-age=1")], Ok(1)),
        (&[(CDN, "max-age=1"), (OWN, "max-age=60")], Ok(60)),
        (&[(ALL, "no-store"), (CDN, "max-age=60")], Ok(60)),
        (
            &[(ALL, "max-age=60"), (CDN, "no-store")],
            Err(Reason::NoStore),
        ),
        (
            &[(ALL, "max-age=60"), (CDN, "no-cache")],
            Err(Reason::NoCache),
        ),
        (&[(CDN, "max-age=99999999999")], Ok(1 << 31)),
        (&[(CDN, "foobar, max-age=60;x=1")], Ok(60)),
        (&[(CDN, "foobar"), (CDN, "max-age=60")], Ok(60)),
        // Expires is void beside a targeted field.
        (&[(CDN, "max-age=60"), ("Expires", "0")], Ok(60)),
        (
            &[
                (CDN, "must-revalidate"),
                ("Expires", "Tue, 14 Nov 2023 22:14:20 GMT"),
            ],
            Err(Reason::NoFreshness),
        ),
        // Invalid ones are not there.
        (
            &[(ALL, "no-store"), (CDN, "max-age=60, &&&&&")],
            Err(Reason::NoStore),
        ),
        (
            &[(ALL, "no-store"), (CDN, "max-age=\"60\"")],
            Err(Reason::NoStore),
        ),
        (&[(ALL, "max-age=7"), (CDN, "max-age=60,")], Ok(7)),
        (&[(ALL, "max-age=7"), (CDN, "max-age =60")], Ok(7)),
        (&[(ALL, "max-age=7"), (CDN, "MaX-aGe=60")], Ok(7)),
        (&[(ALL, "max-age=7"), (CDN, "max-age=1.5")], Ok(7)),
        (&[(ALL, "max-age=7"), (CDN, "max-age=-1")], Ok(7)),
        (&[(ALL, "max-age=7"), (CDN, "")], Ok(7)),
        (&[(CDN, "max-age=7"), (OWN, "max-age=")], Ok(7)),
        (
            &[
                (ALL, "no-store"),
                ("Surrogate-Control", "max-age=60+30, content=\"ESI/1.0\""),
            ],
            Ok(60),
        ),
        (
            &[
                (ALL, "max-age=7"),
                ("Surrogate-Control", "content=\"ESI/1.0\""),
            ],
            Ok(7),
        ),
        (
            &[(ALL, "max-age=7"), ("Surrogate-Control", "no-store")],
            Err(Reason::NoStore),
        ),
    ] {
        assert_eq!(lifetime(response), expected, "{response:?}");
    }
    let aged = [(CDN, "max-age=3600"), ("Age", "7200"), ("ETag", "\"x\"")];
    assert!(!Case::answering(&aged).life().is_fresh(NOW));
}

#[test]
fn a_rule_fills_in_or_overrides() {
    let lifetime = |response, mode| {
        let case = Case {
            rule: Some(Rule { mode, ..minute() }),
            response,
            ..Case::default()
        };
        case.plan()
            .map(|plan| (plan.life.lifetime, plan.life.by_rule))
    };
    let silent: Pairs<'_> = &[];
    let stated: Pairs<'_> = &[("Cache-Control", "max-age=5")];
    assert_eq!(lifetime(silent, Mode::Respect), Ok((60, true)));
    assert_eq!(lifetime(silent, Mode::Override), Ok((60, true)));
    assert_eq!(lifetime(stated, Mode::Respect), Ok((5, false)));
    assert_eq!(lifetime(stated, Mode::Override), Ok((60, true)));
    let zero: Pairs<'_> = &[("Cache-Control", "max-age=0")];
    assert_eq!(lifetime(zero, Mode::Respect), Err(Reason::AlreadyStale));
    assert_eq!(lifetime(zero, Mode::Override), Ok((60, true)));
    let always: Pairs<'_> = &[("Cache-Control", "no-cache")];
    assert_eq!(lifetime(always, Mode::Override), Err(Reason::NoCache));
}

#[test]
fn must_understand_lets_known_statuses_through() {
    let response = [("Cache-Control", "max-age=60, no-store, must-understand")];
    let case = Case::answering(&response);
    assert_eq!(case.refusal(), None);
    let unknown = Case {
        status: 599,
        ..case
    };
    assert_eq!(unknown.refusal(), Some(Reason::MustUnderstand));
}

#[test]
fn heuristics_are_for_their_profile_alone() {
    let response = [("Last-Modified", "Mon, 13 Nov 2023 22:13:20 GMT")];
    let mut case = Case::answering(&response);
    assert_eq!(case.refusal(), Some(Reason::NoFreshness));
    case.settings = Settings::rfc();
    assert_eq!(case.life().lifetime, 8640);
    let error = Case {
        status: 500,
        ..case
    };
    assert_eq!(error.refusal(), Some(Reason::Status));
}

#[test]
fn what_clients_ask_for_is_obeyed_in_that_profile() {
    let case = |control: &'static str| {
        let request: Pairs<'static> = match control {
            "a" => &[("Cache-Control", "max-age=10")],
            "b" => &[("Cache-Control", "min-fresh=3600")],
            "c" => &[("Cache-Control", "max-stale")],
            "d" => &[("Cache-Control", "max-stale=5")],
            "e" => &[("Cache-Control", "only-if-cached")],
            _ => &[],
        };
        Case {
            request,
            settings: Settings::rfc(),
            ..Case::default()
        }
    };
    let life = Case::answering(&[("Cache-Control", "max-age=60")]).life();
    let hit = |ttl| Lookup::Hit {
        ttl,
        refresh: false,
    };
    let validate = Lookup::Validate(Forward::Request);
    assert_eq!(look(&case("a"), &life, later(10)), hit(50));
    assert_eq!(look(&case("a"), &life, later(11)), validate);
    assert_eq!(look(&case("b"), &life, NOW), validate);
    assert_eq!(look(&case("c"), &life, later(600)), hit(-540));
    assert_eq!(look(&case("d"), &life, later(65)), hit(-5));
    assert_eq!(
        look(&case("d"), &life, later(66)),
        Lookup::Validate(Forward::Stale)
    );
    assert_eq!(look(&case("e"), &life, later(66)), Lookup::Unavailable);
    assert_eq!(look(&case("e"), &life, NOW), hit(60));
    let nothing =
        case("e").with_asked(|asked| lookup(asked, None, false, None, &Settings::default(), NOW));
    assert_eq!(nothing, Lookup::Unavailable);
    // What must not be served stale is not, whatever a client tolerates.
    let strict = Case::answering(&[("Cache-Control", "max-age=60, must-revalidate")]).life();
    assert_eq!(
        look(&case("c"), &strict, later(66)),
        Lookup::Validate(Forward::Stale)
    );
}
