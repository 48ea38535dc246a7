//! Invariants over arbitrary bytes: owns the checks that fuzzing and the tests run. Each panics
//! when an invariant is broken.
#![allow(clippy::missing_panics_doc)]

use crate::block::{read_block, read_lines};
use crate::directives::{RequestControl, ResponseControl};
use crate::inputs::{QueryRule, cookies, kept_cookies, normal_query};
use crate::key::{Key, Scheme, UrlParts};
use crate::life;
use crate::lines::{Field, Lines};
use crate::structured::{dictionary, strings};
use crate::tags;
use crate::text::{MOST_SECONDS, elements};
use crate::time::Time;
use crate::vary::{self, Names, Settled};
use crate::wire;

/// All of them.
pub fn check(bytes: &[u8]) {
    check_lists(bytes);
    check_directives(bytes);
    check_selection(bytes);
    check_inputs(bytes);
    check_key(bytes);
    check_wire(bytes);
}

/// Elements lie in the line and neither overlap nor are empty.
pub fn check_lists(bytes: &[u8]) {
    let sum: usize = elements(bytes).map(|element| element.len() + 1).sum();
    assert!(sum <= bytes.len() + 1);
    assert!(elements(bytes).all(|element| !element.is_empty()));
    let members = dictionary(bytes).unwrap_or_default();
    assert!(members.iter().all(|(key, _)| !key.is_empty()));
    for text in strings(bytes).unwrap_or_default() {
        assert!(text.len() + 2 <= bytes.len());
    }
}

/// A restriction that stands alone between commas is seen, and no lifetime is out of range.
pub fn check_directives(bytes: &[u8]) {
    for name in [
        "cache-control",
        "canter-cache-control",
        "cdn-cache-control",
        "surrogate-control",
    ] {
        let fields: [Field<'_>; 2] = [(name.as_bytes(), bytes), (b"Age", bytes)];
        let control = ResponseControl::of(&fields);
        let within = |count: Option<u32>| count.is_none_or(|count| count <= MOST_SECONDS);
        assert!(within(control.max_age) && within(control.s_maxage));
        assert!(within(control.stale_if_error) && within(control.stale_while_revalidate));
        if name == "cache-control" {
            let has = |word: &[u8]| elements(bytes).any(|one| one.eq_ignore_ascii_case(word));
            assert!(control.no_store || !has(b"no-store"));
            assert!(control.private || !has(b"private"));
            assert!(control.no_cache || !has(b"no-cache"));
        }
        let now = Time::from_seconds(1_700_000_000);
        assert!(life::initial_age(&fields, now, now) <= MOST_SECONDS);
    }
    let fields: [Field<'_>; 3] = [
        (b"Expires", bytes),
        (b"Date", bytes),
        (b"Last-Modified", bytes),
    ];
    for now in [0, 1_700_000_000_000, u64::MAX] {
        let now = Time::from_millis(now);
        assert!(life::expires(&fields, now).is_none_or(|lifetime| lifetime <= MOST_SECONDS));
        life::heuristic(&fields, now);
    }
    let lines: [Field<'_>; 2] = [(b"Cache-Control", bytes), (b"Pragma", bytes)];
    let control = RequestControl::of(&lines);
    assert!(control.max_age.is_none_or(|count| count <= MOST_SECONDS));
}

/// A star anywhere is never a selection, and what is written is read back.
pub fn check_selection(bytes: &[u8]) {
    let fields: [Field<'_>; 1] = [(b"Vary", bytes)];
    let names = Names::of(&fields, Settled::default());
    assert!(names.is_err() || !bytes.contains(&b'*') || bytes.contains(&b'"'));
    let request: [Field<'_>; 3] = [
        (b"Accept-Language", bytes),
        (b"Cookie", bytes),
        (b"a", bytes),
    ];
    for names in [&b"accept-language"[..], b"cookie", b"a", b"a,b,cookie"] {
        if let Some(values) = vary::values(names, &request) {
            assert!(vary::is_selection(names, &values));
        }
    }
    if let Ok(names) = names
        && let Ok(values) = names.values(&request)
    {
        assert!(vary::is_selection(names.as_bytes(), &values));
    }
}

/// Reducing once is reducing for good, and nothing is made up.
pub fn check_inputs(bytes: &[u8]) {
    let lines: [Field<'_>; 1] = [(b"Cookie", bytes)];
    for (name, value) in cookies(&lines) {
        assert!(name.len() + value.len() <= bytes.len());
    }
    if let Some(kept) = kept_cookies(&lines, &["a", "b"]) {
        let again: [Field<'_>; 1] = [(b"Cookie", &kept)];
        assert_eq!(kept_cookies(&again, &["a", "b"]).as_ref(), Some(&kept));
    }
    for rule in [
        QueryRule::AsIs,
        QueryRule::Nothing,
        QueryRule::Only(vec!["a".into(), "b*".into()]),
        QueryRule::Without(vec!["a".into(), "b*".into()]),
    ] {
        let once = normal_query(bytes, &rule);
        assert!(once.len() <= bytes.len());
        assert_eq!(normal_query(&once, &rule), once);
    }
    let key = Key::new(Scheme::Http, b"h", b"/", None);
    if let Some(url) = UrlParts::read(key.url()) {
        let fields: [Field<'_>; 3] = [
            (b"Surrogate-Key", bytes),
            (b"Cache-Tag", bytes),
            (b"Cache-Groups", bytes),
        ];
        let tags = tags::of(&fields, &url).unwrap_or_default();
        assert!(tags.len() <= tags::MOST_TAG_BYTES / 4);
        let named: [Field<'_>; 1] = [(b"Location", bytes)];
        let found = crate::policy::invalidates(canter_http::Method::Post, b"", 200, &named, &url);
        assert!(!found.urls.is_empty() && found.urls.len() <= 2);
        assert!(
            found
                .urls
                .iter()
                .all(|(path, _)| path.first() == Some(&b'/'))
        );
    }
}

/// Parts of a key can be read back, and what is read is what would be written.
pub fn check_key(bytes: &[u8]) {
    let half = bytes.len() / 2;
    let (one, other) = bytes.split_at_checked(half).unwrap_or_default();
    let key = Key::new(Scheme::Https, one, other, Some(bytes)).with(one, Some(other));
    let parts = UrlParts::read(key.url());
    assert!(parts.is_some_and(|parts| parts.path == other && parts.query == Some(bytes)));
    if let Some(parts) = UrlParts::read(bytes) {
        let again = Key::new(parts.scheme, parts.host, parts.path, parts.query);
        // A host that is not in its plain form is written in it.
        assert!(
            again.url() == bytes || crate::key::plain_host(parts.scheme, parts.host) != parts.host
        );
    }
}

/// What is read as an entry is written as the same bytes; blocks of fields hold no stray line end.
pub fn check_wire(bytes: &[u8]) {
    let now = Time::from_seconds(1_700_000_000);
    if let Some(stored) = wire::read(bytes, now) {
        let again = wire::write(&stored.entry, &stored.life, stored.rule, true);
        assert_eq!(again, bytes, "another form of the same entry");
        let block = read_block(stored.entry.block());
        assert!(block.is_some_and(|(_, _, fields)| !fields.has("set-cookie")));
    }
    for (name, value) in read_lines(bytes).unwrap_or_default() {
        let stray = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
        assert!(!name.iter().chain(value).any(stray));
    }
}
