//! The store in memory: owns its list of what it must find, keep and let go, and random operations
//! against a simple model.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod common;

use std::collections::HashMap;

use canter_cache::store::{Limits, Several, Store};
use canter_cache::{Body, Entry, Field, Found, Handle, Key, Life, Purge, Reason, Scheme, tags};
use canter_http::check::Xorshift;
use canter_http::coding::Coding;
use common::{Case, NOW, Pairs, fields};

fn small() -> Store {
    Store::new(Limits {
        bytes: 256 * 1024,
        variants: 4,
    })
}

fn put(store: &mut Store, case: &Case<'_>, body: &str) -> Handle {
    let (entry, life) = case.entry(body);
    let mark = store.mark();
    store.put(entry, life, 0, 0, mark).unwrap()
}

fn find(store: &mut Store, case: &Case<'_>) -> Option<String> {
    let request = fields(case.request);
    let found = store.find(&case.key(), request.as_slice())?;
    String::from_utf8(found.entry.body().to_vec()).ok()
}

fn at(path: &'static str) -> Case<'static> {
    Case {
        path,
        ..Case::shared()
    }
}

#[test]
fn b8_the_whole_key_is_compared() {
    let mut store = small();
    put(&mut store, &at("/a"), "a");
    assert_eq!(find(&mut store, &at("/a")).as_deref(), Some("a"));
    for other in [at("/A"), at("/a/"), at("/"), at("/a%20")] {
        assert_eq!(find(&mut store, &other), None);
    }
    let query = Case {
        query: Some(""),
        ..at("/a")
    };
    assert_eq!(find(&mut store, &query), None);
    let nothing: [Field<'_>; 0] = [];
    // B3: the scheme counts.
    let plain = Key::new(Scheme::Http, b"example.com", b"/a", None);
    assert!(store.find(&plain, &nothing).is_none());
    // C7: and so does the host.
    let host = Key::new(Scheme::Https, b"example.org", b"/a", None);
    assert!(store.find(&host, &nothing).is_none());
    // B1: and what a rule lets count.
    let language = at("/a").key().with(b"lang", Some(b"de"));
    assert!(store.find(&language, &nothing).is_none());
    assert!(store.knows_url(&language));
}

#[test]
fn a6_variants_are_selected_by_value_and_absence() {
    let vary = |request: Pairs<'static>| Case {
        request,
        response: &[("Cache-Control", "max-age=60"), ("Vary", "Foo")],
        ..Case::default()
    };
    let (absent, empty, one) = (vary(&[]), vary(&[("Foo", "")]), vary(&[("Foo", "1")]));
    let mut store = small();
    put(&mut store, &absent, "absent");
    assert_eq!(find(&mut store, &empty), None);
    put(&mut store, &empty, "empty");
    assert_eq!(find(&mut store, &one), None);
    put(&mut store, &one, "one");
    for (case, body) in [(&absent, "absent"), (&empty, "empty"), (&one, "one")] {
        assert_eq!(find(&mut store, case).as_deref(), Some(body));
    }
    // The same variant again takes the place of the old one.
    put(&mut store, &one, "uno");
    assert_eq!(find(&mut store, &one).as_deref(), Some("uno"));
    assert_eq!(store.stats().entries, 3);
}

#[test]
fn variants_of_a_url_are_bounded() {
    let mut store = small();
    for number in 0..50 {
        let value = number.to_string();
        let case = Case {
            request: &[("Foo", &value)],
            response: &[("Cache-Control", "max-age=60"), ("Vary", "Foo")],
            ..Case::default()
        };
        put(&mut store, &case, &value);
        assert_eq!(find(&mut store, &case), Some(value));
    }
    assert_eq!(store.stats().entries, 4);
}

#[test]
fn c4_a_rule_that_has_its_number_of_entries_lets_its_own_go() {
    let mut store = Store::new(Limits::default());
    put(&mut store, &at("/other"), "other");
    for number in 0..100 {
        let path = format!("/search/{number}");
        let case = Case {
            path: &path,
            ..Case::shared()
        };
        let (entry, life) = case.entry("x");
        let mark = store.mark();
        store.put(entry, life, 1, 10, mark).unwrap();
    }
    assert_eq!(store.stats().entries, 11);
    assert!(find(&mut store, &at("/other")).is_some());
}

#[test]
fn what_is_larger_than_an_eighth_of_the_store_is_not_kept() {
    let mut store = small();
    let (entry, life) = at("/").entry(&"x".repeat(40_000));
    let mark = store.mark();
    let refused = store.put(entry, life, 0, 0, mark);
    assert_eq!(refused, Err(Reason::TooLarge));
    assert_eq!(store.stats().entries, 0);
}

#[test]
fn purges_mean_what_they_name() {
    let tagged = |path: &'static str, tags: &'static str| {
        let response: &'static [(&str, &str)] = match tags {
            "one" => &[("Cache-Control", "max-age=60"), ("Surrogate-Key", "one")],
            "two" => &[("Cache-Control", "max-age=60"), ("Cache-Tag", "two, one")],
            _ => &[("Cache-Control", "max-age=60")],
        };
        Case {
            path,
            response,
            ..Case::default()
        }
    };
    let host = || Some(b"example.com".to_vec());
    for (purge, left) in [
        (Purge::Url(tagged("/a", "").key()), vec!["/a/b", "/b"]),
        (
            Purge::Path {
                host: None,
                path: b"/a".to_vec(),
            },
            vec!["/a/b", "/b"],
        ),
        (
            Purge::Prefix {
                host: host(),
                path: b"/a".to_vec(),
            },
            vec!["/b"],
        ),
        (
            Purge::Prefix {
                host: Some(b"other".to_vec()),
                path: b"/".to_vec(),
            },
            vec!["/a", "/a/b", "/b"],
        ),
        (Purge::Host(b"example.com".to_vec()), vec![]),
        (Purge::Tag(tags::site_tag(b"one")), vec!["/b"]),
        (Purge::Tag(tags::site_tag(b"two")), vec!["/a", "/b"]),
        (
            Purge::Tag(tags::site_tag(b"three")),
            vec!["/a", "/a/b", "/b"],
        ),
        (Purge::Everything, vec![]),
    ] {
        let mut store = small();
        let all = [tagged("/a", "one"), tagged("/a/b", "two"), tagged("/b", "")];
        for case in &all {
            put(&mut store, case, case.path);
        }
        let purged = store.purge(&purge, false);
        let found: Vec<String> = all
            .iter()
            .filter_map(|case| find(&mut store, case))
            .collect();
        assert_eq!(found, left, "{purge:?}");
        assert_eq!(purged, 3 - left.len(), "{purge:?}");
    }
}

#[test]
fn a_soft_purge_leaves_what_can_be_served_when_the_app_fails() {
    let mut store = small();
    put(&mut store, &at("/a"), "a");
    assert_eq!(store.purge(&Purge::Everything, true), 1);
    let nothing: [Field<'_>; 0] = [];
    let found = store.find(&at("/a").key(), &nothing).unwrap();
    assert!(!found.life.is_fresh(NOW) && found.life.may_serve_on_error(NOW));
}

#[test]
fn what_the_app_confirmed_before_a_soft_purge_stays_stale_after_it() {
    let mut store = small();
    let case = Case {
        response: &[("Cache-Control", "max-age=60"), ("Surrogate-Key", "one")],
        ..Case::default()
    };
    let asked_with = put(&mut store, &case, "a");
    let tag = Purge::Tag(tags::site_tag(b"one"));
    assert_eq!(store.purge(&tag, true), 1);
    let (entry, life) = case.entry("a");
    assert!(store.replace(asked_with, entry, life).is_none());
    let nothing: [Field<'_>; 0] = [];
    let found = store.find(&case.key(), &nothing).unwrap();
    assert!(found.life.expired);
    // The tag still leads to it, and what is asked for now makes it fresh.
    assert_eq!(store.purge(&tag, true), 1);
    let found = store.find(&case.key(), &nothing).unwrap();
    let (entry, life) = case.entry("a");
    assert!(store.replace(found.handle, entry, life).is_some());
    let found = store.find(&case.key(), &nothing).unwrap();
    assert!(!found.life.expired);
    assert_eq!(store.purge(&tag, false), 1);
}

#[test]
fn what_was_purged_while_it_was_made_is_not_stored() {
    // Of the usual size: a small one takes one name for another more often.
    let mut store = Store::new(Limits::default());
    let begun = store.mark();
    let (entry, life) = at("/a").entry("old");
    store.purge(&Purge::Url(at("/b").key()), false);
    assert!(store.put(entry.clone(), life, 0, 0, begun).is_ok());
    store.purge(&Purge::Url(at("/a").key()), true);
    let late = store.put(entry.clone(), life, 0, 0, begun);
    assert_eq!(late, Err(Reason::Superseded));
    let now = store.mark();
    assert!(store.put(entry.clone(), life, 0, 0, now).is_ok());
    // However many others were purged since: it is remembered by name.
    let other = |number: u32| {
        let path = format!("/{number}");
        Key::new(Scheme::Https, b"example.com", path.as_bytes(), None)
    };
    for number in 0..100 {
        store.purge(&Purge::Url(other(number)), false);
    }
    assert!(store.put(entry.clone(), life, 0, 0, now).is_ok());
    store.purge(&Purge::Url(at("/a").key()), false);
    for number in 0..10_000 {
        store.purge(&Purge::Url(other(number)), false);
    }
    let late = store.put(entry, life, 0, 0, now);
    assert_eq!(late, Err(Reason::Superseded));
}

#[test]
fn what_every_kind_of_purge_meant_while_it_was_made_is_not_stored() {
    let mut several = Several::default();
    assert!(Purge::Host(b"example.com".to_vec()).add_to(&mut several));
    let path = |host: Option<&[u8]>, path: &[u8]| Purge::Path {
        host: host.map(<[u8]>::to_vec),
        path: path.to_vec(),
    };
    let prefix = |path: &[u8]| Purge::Prefix {
        host: None,
        path: path.to_vec(),
    };
    for (purge, is_meant) in [
        (path(Some(b"example.com"), b"/a"), true),
        (path(None, b"/a"), true),
        (path(Some(b"other"), b"/a"), false),
        (prefix(b"/"), true),
        (prefix(b"/b"), false),
        (Purge::Host(b"example.com".to_vec()), true),
        (Purge::Tag(tags::site_tag(b"one")), true),
        (Purge::Tag(tags::site_tag(b"two")), false),
        (Purge::Several(several), true),
        (Purge::Several(Several::default()), false),
        (Purge::Everything, true),
    ] {
        let mut store = small();
        let case = Case {
            path: "/a",
            response: &[("Cache-Control", "max-age=60"), ("Surrogate-Key", "one")],
            ..Case::default()
        };
        let begun = store.mark();
        let (entry, life) = case.entry("old");
        assert!(store.put(entry.clone(), life, 0, 0, begun).is_ok());
        assert_eq!(
            store.purge(&purge, false),
            usize::from(is_meant),
            "{purge:?}"
        );
        let late = store.put(entry, life, 0, 0, begun);
        assert_eq!(late.is_err(), is_meant, "{purge:?}");
    }
}

#[test]
fn what_may_have_changed_is_shown_once_more_and_what_is_being_made_is_stored() {
    let mut store = small();
    let begun = store.mark();
    let handle = put(&mut store, &at("/a"), "a");
    let purge = Purge::Url(at("/a").key());
    store.age(&purge, NOW);
    let found = store.get(handle).unwrap();
    assert!(!found.life.is_fresh(NOW) && !found.life.invalidated);
    // Another copy is being got: that one is not made old by each login meanwhile.
    let until = NOW.plus_seconds(30);
    assert!(store.claim_refresh(handle, NOW, until));
    store.age(&purge, NOW);
    assert!(!store.claim_refresh(handle, NOW, until));
    let (entry, life) = at("/a").entry("new");
    let handle = store.put(entry, life, 0, 0, begun).unwrap();
    assert!(store.get(handle).unwrap().life.is_fresh(NOW));
}

#[test]
fn e2_keys_whose_answers_cannot_be_stored_are_remembered_for_a_while() {
    let mut store = small();
    let (key, other) = (at("/a").key(), at("/b").key());
    let until = NOW.plus_seconds(10);
    store.refuse(&key, Reason::SetCookie, until);
    assert_eq!(store.refused(&key, NOW), Some(Reason::SetCookie));
    assert_eq!(store.refused(&other, NOW), None);
    assert_eq!(store.refused(&key, until), None);
    store.forget_refusal(&key);
    assert_eq!(store.refused(&key, NOW), None);
    // Bounded, whatever comes.
    let before = store.stats().bytes;
    for number in 0..100_000 {
        let path = format!("/{number}");
        let key = Key::new(Scheme::Https, b"example.com", path.as_bytes(), None);
        store.refuse(&key, Reason::Private, until);
    }
    assert_eq!(store.stats().bytes, before);
}

#[test]
fn d6_one_refresh_at_a_time_and_none_right_after_a_failure() {
    let mut store = small();
    let handle = put(&mut store, &at("/a"), "a");
    let until = NOW.plus_seconds(30);
    assert!(store.claim_refresh(handle, NOW, until));
    assert!(!store.claim_refresh(handle, NOW, until));
    assert!(
        store.claim_refresh(handle, until, until.plus_seconds(30)),
        "the claim has a deadline"
    );
    let mut now = until;
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        store.refresh_failed(handle, now);
        assert!(!store.claim_refresh(handle, now, now.plus_seconds(30)));
        assert!(store.get(handle).unwrap().life.is_backing_off(now));
        now = now.plus_seconds(wait);
        assert!(
            store.claim_refresh(handle, now, now.plus_seconds(30)),
            "{wait}"
        );
    }
    assert_eq!(find(&mut store, &at("/a")).as_deref(), Some("a"));
}

#[test]
fn a_handle_ends_with_its_entry() {
    let mut store = small();
    let first = put(&mut store, &at("/a"), "1");
    let second = put(&mut store, &at("/a"), "2");
    assert!(store.get(first).is_none());
    store.drop_entry(first);
    store.add_form(first, Coding::Gzip, Body::new(b"x".to_vec()));
    assert!(!store.claim_refresh(first, NOW, NOW.plus_seconds(1)));
    assert_eq!(store.get(second).unwrap().entry.body().to_vec(), b"2");
    store.drop_entry(second);
    assert!(store.get(second).is_none() && store.stats().entries == 0);
}

#[test]
fn encoded_forms_are_counted_and_kept_beside_the_body() {
    let mut store = small();
    let handle = put(&mut store, &at("/a"), "identity");
    let before = store.stats().bytes;
    store.add_form(handle, Coding::Gzip, Body::new(vec![1; 5000]));
    assert!(store.stats().bytes >= before + 5000);
    let found = store.get(handle).unwrap();
    assert_eq!(found.entry.content(Coding::Gzip).unwrap().len(), 5000);
    assert_eq!(
        found.entry.content(Coding::Identity).unwrap().to_vec(),
        b"identity"
    );
    let fresh = found.entry.as_ref().clone();
    let handle = store.replace(handle, fresh, found.life).unwrap();
    assert_eq!(store.get(handle).unwrap().entry.forms().iter().count(), 1);
    store.drop_entry(handle);
}

/// What the store must agree with: it may forget, but what it has is what was put last.
#[derive(Default)]
struct Model {
    bodies: HashMap<(usize, Option<usize>), Vec<u8>>,
}

const TAGS: [&str; 3] = ["red", "green", "blue"];

struct Player {
    store: Store,
    model: Model,
    handles: Vec<Handle>,
    random: Xorshift,
}

impl Player {
    fn entry(&mut self, page: usize, variant: Option<usize>) -> (Entry, Life, Vec<u8>) {
        let path = format!("/{page}");
        let value = variant.map(|v| v.to_string());
        let request: Vec<(&str, &str)> = value.iter().map(|v| ("Foo", v.as_str())).collect();
        let tag = TAGS[page % 3];
        let response = [
            ("Cache-Control", "max-age=60"),
            ("Vary", "Foo"),
            ("Surrogate-Key", tag),
        ];
        let case = Case {
            path: &path,
            request: &request,
            response: &response,
            ..Case::default()
        };
        let size = self.random.below(3000);
        let serial = self.random.below(1 << 30);
        let mut body = format!("{page} {variant:?} {serial} ").into_bytes();
        body.resize(body.len() + size, b'.');
        let plan = case.plan().unwrap();
        let life = plan.life;
        let entry = plan
            .into_entry(&case.key(), Body::new(body.clone()))
            .unwrap();
        (entry, life, body)
    }

    fn find(&mut self, page: usize, variant: Option<usize>) -> Option<Found> {
        let path = format!("/{page}");
        let value = variant.map(|v| v.to_string());
        let key = Key::new(Scheme::Https, b"example.com", path.as_bytes(), None);
        let request: Vec<Field<'_>> = value.iter().map(|v| (&b"foo"[..], v.as_bytes())).collect();
        self.store.find(&key, request.as_slice())
    }

    fn step(&mut self) {
        let page = self.random.below(400);
        let variant = Some(self.random.below(7)).filter(|&v| v < 6);
        match self.random.below(100) {
            0..40 => {
                let (entry, life, body) = self.entry(page, variant);
                let mark = self.store.mark();
                let rule = (page % 5) as u32;
                let most = if rule == 4 { 10 } else { 0 };
                let put = self.store.put(entry, life, rule, most, mark);
                self.model.bodies.insert((page, variant), body);
                self.handles.extend(put);
            }
            40..85 => {
                if let Some(found) = self.find(page, variant) {
                    let expected = self.model.bodies.get(&(page, variant));
                    assert_eq!(Some(&found.entry.body().to_vec()), expected, "a wrong body");
                    self.handles.push(found.handle);
                }
            }
            85..88 => {
                let purge = Purge::Url(Key::new(
                    Scheme::Https,
                    b"example.com",
                    format!("/{page}").as_bytes(),
                    None,
                ));
                let soft = self.random.below(2) == 0;
                self.store.purge(&purge, soft);
                if !soft {
                    self.model.bodies.retain(|(own, _), _| *own != page);
                }
            }
            88 => {
                let tag = TAGS[page % 3];
                self.store
                    .purge(&Purge::Tag(tags::site_tag(tag.as_bytes())), false);
                self.model.bodies.retain(|(own, _), _| own % 3 != page % 3);
            }
            89 if self.random.below(20) == 0 => {
                self.store.purge(&Purge::Everything, false);
                self.model.bodies.clear();
                assert_eq!(self.store.stats().entries, 0);
            }
            90..96 if !self.handles.is_empty() => {
                let at = self.random.below(self.handles.len());
                let handle = self.handles.swap_remove(at);
                let form = Body::new(vec![1; self.random.below(2000)]);
                self.store.add_form(handle, Coding::Zstd, form);
            }
            _ if !self.handles.is_empty() => {
                let at = self.random.below(self.handles.len());
                let handle = self.handles.swap_remove(at);
                if let Some(found) = self.store.get(handle) {
                    let entry = found.entry.as_ref().clone();
                    self.handles
                        .extend(self.store.replace(handle, entry, found.life));
                }
            }
            _ => {}
        }
        if self.handles.len() > 500 {
            self.handles.clear();
        }
    }
}

#[test]
fn random_operations_agree_with_a_model_and_stay_within_the_bound() {
    for seed in 1..=6 {
        let limits = Limits {
            bytes: 300 * 1024,
            variants: 5,
        };
        let mut player = Player {
            store: Store::new(limits),
            model: Model::default(),
            handles: Vec::new(),
            random: Xorshift::new(seed),
        };
        for _ in 0..15_000 {
            player.step();
            assert!(player.store.stats().bytes <= limits.bytes);
        }
        let entries: Vec<_> = player.store.entries().collect();
        let stats = player.store.stats();
        assert_eq!(entries.len(), stats.entries);
        assert!(stats.evicted > 0 && stats.hits > 0 && stats.purged > 0);
        player.store.purge(&Purge::Everything, false);
        // Nothing is left behind but the tables.
        assert!(player.store.stats().bytes < limits.bytes / 4);
    }
}
