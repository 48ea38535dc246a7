//! What is never stored and never shared, whatever a page rule says: owns the acceptance list A and
//! the lines of B and C that a decision alone can keep.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod common;

use canter_cache::policy::{Lookup, lookup, says_nothing};
use canter_cache::vary::Settled;
use canter_cache::{Body, Mode, Reason, Rule, Settings};
use canter_http::Method;
use common::{Case, DATE, NOW, Pairs, minute, overriding};

/// Refused as it is, under a rule, and under one that overrides.
fn never(case: &Case<'_>, reason: Reason) {
    for rule in [None, Some(minute()), Some(overriding())] {
        let case = Case {
            rule,
            ..case.clone()
        };
        assert_eq!(case.refusal(), Some(reason), "{:?}", case.response);
    }
}

fn look(case: &Case<'_>) -> Lookup {
    let life = Case::shared().life();
    case.with_asked(|asked| {
        let rule = case.rule.as_ref();
        lookup(asked, Some(&life), true, rule, &case.settings, NOW)
    })
}

#[test]
fn the_control_is_stored() {
    assert_eq!(Case::shared().refusal(), None);
    assert!(matches!(look(&Case::shared()), Lookup::Hit { .. }));
}

/// The short way: it may leave a case to the long one, and must not say anything else than that.
#[test]
fn what_the_names_of_fields_tell_is_what_the_whole_answer_tells() {
    let rows: [(Pairs<'_>, bool); 20] = [
        (&[], true),
        (&[("Content-Type", "text/html"), ("ETag", "\"a\"")], true),
        (
            &[("X-Frame-Options", "DENY"), ("Vary", "Cookie, origin")],
            true,
        ),
        (
            &[("Last-Modified", DATE), ("Date", DATE), ("Age", "9")],
            true,
        ),
        (&[("Vary", "*")], false),
        (&[("Vary", "accept, user-agent")], false),
        (&[("Vary", "a b")], false),
        (&[("cache-CONTROL", "max-age=60")], false),
        (&[("Cache-Control", "private")], false),
        (&[("Expires", "0")], false),
        (&[("Set-Cookie", "a=b")], false),
        (&[("Content-Range", "bytes 0-1/2")], false),
        (&[("X-Sendfile", "/x")], false),
        (&[("X-Accel-Redirect", "/x")], false),
        (&[("CDN-Cache-Control", "max-age=60")], false),
        (&[("Surrogate-Control", "max-age=60")], false),
        (&[("Canter-Cache-Control", "max-age=60")], false),
        (
            &[("Content-Security-Policy", "script-src 'nonce-x'")],
            false,
        ),
        (
            &[("Content-Security-Policy-Report-Only", "a 'nonce-x'")],
            false,
        ),
        (&[("Pragma", "no-cache"), ("Allow", "GET")], true),
    ];
    let requests: [Pairs<'_>; 2] = [&[], &[("authorization", "Basic eA==")]];
    for (response, is_short) in rows {
        for (request, method, status) in requests.into_iter().flat_map(|request| {
            [200, 204, 206, 301, 304, 404, 405, 500, 503, 999]
                .into_iter()
                .flat_map(move |status| {
                    [Method::Get, Method::Head].map(|method| (request, method, status))
                })
        }) {
            let case = Case {
                method,
                request,
                status,
                ..Case::answering(response)
            };
            let lines = common::fields(response).into_iter();
            let told = says_nothing(method, !request.is_empty(), status, lines, &case.settings);
            if told.is_some() {
                assert_eq!(told, case.refusal(), "{status} {method:?} {response:?}");
            }
            let is_usual = ![206, 304].contains(&status);
            assert_eq!(
                told.is_some(),
                method == Method::Head || is_short && is_usual
            );
            let careful = Settings {
                heuristics: true,
                ..case.settings
            };
            let lines = common::fields(response).into_iter();
            let told = says_nothing(method, false, status, lines, &careful);
            assert_eq!(told.is_some(), method == Method::Head);
        }
    }
}

#[test]
fn a1_a_response_that_sets_a_cookie_is_never_stored() {
    for name in ["Set-Cookie", "set-cookie", "SET-COOKIE"] {
        let response = [("Cache-Control", "public, max-age=60"), (name, "a=b")];
        never(&Case::answering(&response), Reason::SetCookie);
        // An empty one as well.
        let response = [("Cache-Control", "public, max-age=60"), (name, "")];
        never(&Case::answering(&response), Reason::SetCookie);
    }
}

#[test]
fn a2_private_and_no_store_hold_in_every_spelling() {
    for (text, reason) in [
        ("private", Reason::Private),
        ("PRIVATE", Reason::Private),
        ("pRiVaTe, max-age=60", Reason::Private),
        ("max-age=60,private", Reason::Private),
        ("max-age=60 ,\tprivate ", Reason::Private),
        ("private=\"x\"", Reason::Private),
        ("private=\"x, y\", max-age=60", Reason::Private),
        ("private=x", Reason::Private),
        ("private=", Reason::Private),
        ("private =\"x\"", Reason::Private),
        ("private field", Reason::Private),
        (",,private", Reason::Private),
        ("public, private", Reason::Private),
        ("no-store", Reason::NoStore),
        ("No-StOrE, max-age=60", Reason::NoStore),
        ("max-age=60, no-store=1", Reason::NoStore),
        ("no-store;x", Reason::NoStore),
        ("public, s-maxage=60, no-store", Reason::NoStore),
    ] {
        never(&Case::answering(&[("Cache-Control", text)]), reason);
        // On a line of its own behind one that permits.
        let lines = [
            ("Cache-Control", "public, s-maxage=60"),
            ("cache-control", text),
        ];
        never(&Case::answering(&lines), reason);
    }
    // A word inside a quoted string, or a longer one, is another word.
    for text in [
        "x=\"private\", max-age=60",
        "not-private, max-age=60",
        "x=no-store, max-age=60",
    ] {
        assert_eq!(Case::answering(&[("Cache-Control", text)]).refusal(), None);
    }
}

#[test]
fn a2_private_in_a_targeted_field_holds() {
    for name in ["Canter-Cache-Control", "CDN-Cache-Control"] {
        for (text, reason) in [
            ("private, max-age=60", Reason::Private),
            ("max-age=60, private=\"x\"", Reason::Private),
            ("no-store", Reason::NoStore),
        ] {
            let lines = [("Cache-Control", "public, max-age=60"), (name, text)];
            never(&Case::answering(&lines), reason);
        }
    }
}

#[test]
fn a3_vary_star_is_never_stored() {
    for vary in ["*", "*, *", ", *", "Foo, *", "  *\t", "*,Foo"] {
        let lines = [("Cache-Control", "public, max-age=60"), ("Vary", vary)];
        never(&Case::answering(&lines), Reason::VaryStar);
        let lines = [
            ("Cache-Control", "public, max-age=60"),
            ("Vary", "Foo"),
            ("vary", vary),
        ];
        never(&Case::answering(&lines), Reason::VaryStar);
    }
}

#[test]
fn a4_authorization_needs_an_explicit_permission() {
    let authorized: Pairs<'_> = &[("Authorization", "Basic eA==")];
    for (control, stored) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
        ("max-age=60, proxy-revalidate", false),
    ] {
        for rule in [None, Some(minute()), Some(overriding())] {
            let case = Case {
                request: authorized,
                response: &[("Cache-Control", control)],
                rule,
                ..Case::default()
            };
            let expected = (!stored).then_some(Reason::Authorization);
            assert_eq!(case.refusal(), expected, "{control}");
            // Nor is what an anonymous request left behind served to it.
            let life = Case {
                request: &[],
                ..case.clone()
            }
            .life();
            let found = case
                .with_asked(|asked| lookup(asked, Some(&life), true, None, &case.settings, NOW));
            let bypassed = found == Lookup::Bypass(Reason::Authorization);
            assert_eq!(bypassed, !stored, "{control}");
        }
    }
}

#[test]
fn a5_a_personal_request_goes_around_the_cache_both_ways() {
    let case = Case {
        is_personal: true,
        ..Case::shared()
    };
    never(&case, Reason::SessionCookie);
    assert_eq!(look(&case), Lookup::Bypass(Reason::SessionCookie));
}

#[test]
fn a7_vary_on_cookie_is_satisfied_only_when_the_app_did_not_see_them() {
    let case = Case {
        request: &[("Cookie", "_ga=1")],
        response: &[("Cache-Control", "max-age=60"), ("Vary", "Cookie")],
        ..Case::default()
    };
    let (entry, _) = case.entry("x");
    assert_eq!(entry.vary(), b"cookie");
    let settled = Case {
        settled: Settled {
            cookies: true,
            ..Settled::default()
        },
        ..case
    };
    let (entry, _) = settled.entry("x");
    assert_eq!(entry.vary(), b"");
}

#[test]
fn a8_only_the_answer_to_get_is_stored() {
    for method in [
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Patch,
        Method::Delete,
        Method::Options,
        Method::Other,
    ] {
        let case = Case {
            method,
            ..Case::shared()
        };
        never(&case, Reason::Method);
        let served = matches!(look(&case), Lookup::Hit { .. });
        // B9: what GET left behind serves HEAD.
        assert_eq!(served, method == Method::Head, "{method:?}");
    }
}

#[test]
fn a9_a_request_with_a_body_goes_around_the_cache() {
    let case = Case {
        has_body: true,
        ..Case::shared()
    };
    never(&case, Reason::RequestBody);
    assert_eq!(look(&case), Lookup::Bypass(Reason::RequestBody));
    let case = Case {
        wants_upgrade: true,
        ..Case::shared()
    };
    never(&case, Reason::Upgrade);
    assert_eq!(look(&case), Lookup::Bypass(Reason::Upgrade));
}

#[test]
fn a10_a_page_with_a_nonce_is_not_stored_unless_the_owner_says_so() {
    for name in [
        "Content-Security-Policy",
        "content-security-policy-report-only",
    ] {
        for policy in [
            "script-src 'nonce-abc'",
            "default-src 'self'; style-src 'NONCE-x'",
        ] {
            let lines = [("Cache-Control", "public, max-age=60"), (name, policy)];
            let case = Case::answering(&lines);
            never(&case, Reason::CspNonce);
            let allowed = Case {
                settings: Settings {
                    store_nonces: true,
                    ..Settings::default()
                },
                ..case
            };
            assert_eq!(allowed.refusal(), None);
        }
        let lines = [("Cache-Control", "max-age=60"), (name, "script-src 'self'")];
        assert_eq!(Case::answering(&lines).refusal(), None);
    }
}

#[test]
fn a11_transient_errors_get_no_lifetime_from_a_rule() {
    let statuses = [
        400, 401, 403, 405, 413, 414, 429, 431, 500, 501, 502, 503, 504, 599,
    ];
    let everything = Rule {
        status_ttl: vec![canter_cache::rule::StatusTtl {
            from: 100,
            to: 999,
            ttl: 60,
        }],
        ..overriding()
    };
    for status in statuses {
        for rule in [
            None,
            Some(minute()),
            Some(overriding()),
            Some(everything.clone()),
        ] {
            let case = Case {
                status,
                rule,
                ..Case::default()
            };
            assert_eq!(case.refusal(), Some(Reason::Status), "{status}");
            let explicit = Case {
                response: &[("Cache-Control", "max-age=5")],
                ..case
            };
            assert_eq!(explicit.life().lifetime, 5, "{status}");
        }
    }
    for (status, ttl) in [(200, 60), (301, 60), (404, 60), (302, 0)] {
        let case = Case {
            status,
            rule: Some(minute()),
            ..Case::default()
        };
        let stored = case.plan().map_or(0, |plan| plan.life.lifetime);
        assert_eq!(stored, ttl, "{status}");
    }
}

#[test]
fn a12_a_body_that_is_not_whole_is_never_stored() {
    let lines = [("Cache-Control", "max-age=60"), ("Content-Length", "5")];
    let case = Case::answering(&lines);
    for (body, stored) in [
        ("12345", true),
        ("1234", false),
        ("123456", false),
        ("", false),
    ] {
        let plan = case.plan().unwrap();
        let made = plan.into_entry(&case.key(), Body::new(body.as_bytes().to_vec()));
        assert_eq!(made.is_ok(), stored, "{body}");
        if let Err(reason) = made {
            assert_eq!(reason, Reason::Incomplete);
        }
    }
}

#[test]
fn a13_parts_and_interim_answers_are_never_stored() {
    for status in [100, 102, 103, 199, 304] {
        let case = Case {
            status,
            ..Case::shared()
        };
        never(&case, Reason::StatusNever);
    }
    let case = Case {
        status: 206,
        ..Case::shared()
    };
    never(&case, Reason::Partial);
    let lines = [
        ("Cache-Control", "max-age=60"),
        ("Content-Range", "bytes 0-1/5"),
    ];
    never(&Case::answering(&lines), Reason::Partial);
    // What names no part means nothing with this status.
    let lines = [
        ("Cache-Control", "max-age=60"),
        ("Content-Range", "nonsense"),
    ];
    assert_eq!(Case::answering(&lines).refusal(), None);
}

#[test]
fn a14_nothing_is_stored_with_debug_on() {
    let case = Case {
        settings: Settings {
            debug: true,
            ..Settings::default()
        },
        ..Case::shared()
    };
    never(&case, Reason::Debug);
}

#[test]
fn what_says_nothing_is_private() {
    for lines in [
        &[][..],
        &[("Last-Modified", "Mon, 13 Nov 2023 22:13:20 GMT")],
        &[("ETag", "\"x\"")],
        &[("Cache-Control", "public")],
        &[("Date", DATE)],
    ] {
        assert_eq!(Case::answering(lines).refusal(), Some(Reason::NoFreshness));
    }
}

#[test]
fn a_rule_that_bypasses_does_so_both_ways() {
    let case = Case {
        rule: Some(Rule {
            mode: Mode::Bypass,
            ..minute()
        }),
        ..Case::shared()
    };
    assert_eq!(look(&case), Lookup::Bypass(Reason::RuleBypass));
    let silent = Case {
        response: &[],
        ..case
    };
    assert_eq!(silent.refusal(), Some(Reason::NoFreshness));
}

#[test]
fn a_pointer_to_a_file_is_never_stored() {
    for name in ["X-Sendfile", "X-Accel-Redirect"] {
        let lines = [("Cache-Control", "public, max-age=60"), (name, "/x")];
        never(&Case::answering(&lines), Reason::Pointer);
    }
}

#[test]
fn c2_a_page_that_looks_like_a_file_is_not_kept() {
    for (path, kind, kept) in [
        ("/account/x.css", "text/html; charset=utf-8", false),
        ("/account/x.JS", "Text/HTML", false),
        ("/account/x.jpg;a", "text/html", true),
        ("/account/x.svg", "application/xhtml+xml", false),
        ("/account/x.html", "text/html", true),
        ("/account/x.css", "text/css", true),
        ("/account/x.js", "application/javascript", true),
        ("/account/", "text/html", true),
        ("/v1.2/account", "text/html", true),
        ("/a.css/account", "text/html", true),
        ("/user/jane.doe", "text/html", true),
    ] {
        let response = [("Content-Type", kind)];
        let case = Case {
            path,
            rule: Some(minute()),
            response: &response,
            ..Case::default()
        };
        let expected = (!kept).then_some(Reason::TypeMismatch);
        assert_eq!(case.refusal(), expected, "{path} {kind}");
        // Nor when the app says so itself: it knows of no file, and means the page.
        let response = [("Content-Type", kind), ("Cache-Control", "max-age=60")];
        let case = Case {
            path,
            rule: None,
            response: &response,
            ..Case::default()
        };
        assert_eq!(case.refusal(), expected, "{path} {kind}");
    }
}

#[test]
fn b10_clients_cannot_force_a_refetch_unless_that_is_allowed() {
    let asking: [Pairs<'_>; 6] = [
        &[("Cache-Control", "no-cache")],
        &[("Cache-Control", "max-age=0")],
        &[("Cache-Control", "no-store")],
        &[("Cache-Control", "min-fresh=99999")],
        &[("Pragma", "no-cache")],
        &[("Cache-Control", "no-cache, only-if-cached")],
    ];
    for request in asking {
        let mut case = Case {
            request,
            ..Case::default()
        };
        assert!(matches!(look(&case), Lookup::Hit { .. }), "{request:?}");
        case.settings.obey_clients = true;
        assert!(!matches!(look(&case), Lookup::Hit { .. }), "{request:?}");
    }
}

#[test]
fn limits_of_one_entry_are_kept() {
    let long = "x".repeat(20_000);
    let lines = [("Cache-Control", "max-age=60"), ("X-Long", long.as_str())];
    assert_eq!(
        Case::answering(&lines).refusal(),
        Some(Reason::HeadTooLarge)
    );
    let lines = [
        ("Cache-Control", "max-age=60"),
        ("Content-Length", "99999999"),
    ];
    assert_eq!(Case::answering(&lines).refusal(), Some(Reason::TooLarge));
    let case = Case {
        path: &long,
        ..Case::shared()
    };
    assert_eq!(case.refusal(), Some(Reason::KeyTooLarge));
    let case = Case::shared();
    let body = Body::new(vec![0; (1 << 20) + 1]);
    let made = case.plan().unwrap().into_entry(&case.key(), body);
    assert_eq!(made.err(), Some(Reason::TooLarge));
    let varied = "v".repeat(2000);
    let case = Case {
        request: &[("Foo", &varied)],
        response: &[("Cache-Control", "max-age=60"), ("Vary", "Foo")],
        ..Case::default()
    };
    assert_eq!(case.refusal(), Some(Reason::VaryTooLong));
}
