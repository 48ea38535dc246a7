//! Measures the page cache alone: owns nanoseconds of CPU time for a look-up with its decision, for
//! a hit's head and for keeping a page, and the bytes that an entry takes beside its content.
//!
//! ```text
//! cargo run --release -p canter-cache --example measure
//! ```
#![allow(
    clippy::unwrap_used,
    reason = "a measurement may stop at what it did not expect"
)]

use std::hint::black_box;

use canter_cache::policy::{Answer, Asked, Lookup, lookup, store};
use canter_cache::store::{Limits, Store};
use canter_cache::vary::Settled;
use canter_cache::{Body, Field, Key, RequestLines, Scheme, Settings, Time};
use canter_http::coding::Coding;
use canter_http::{Head, HeadDecoder, Limits as HeadLimits, Method};

const PAGES: usize = 5_000;
const ROUNDS: usize = 200;
const NOW: Time = Time::from_seconds(1_700_000_000);
const BODY: usize = 5_000;

/// Nanoseconds this process has run, which other processes do not change.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn measured(what: &str, times: usize, mut run: impl FnMut()) {
    let before = cpu();
    run();
    let nanos = (cpu() - before) as f64 / times as f64;
    println!("{what:<40} {nanos:>9.0} ns");
}

fn key(number: usize) -> Key {
    let path = format!("/articles/{number}/some-title-of-a-page/");
    Key::new(Scheme::Https, b"www.example.com", path.as_bytes(), None)
}

const REQUEST: &[u8] =
    b"GET /articles/1/some-title-of-a-page/ HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0\r\nAccept: text/html\r\nAccept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, br\r\nCookie: _ga=1; csrftoken=x\r\nConnection: keep-alive\r\n\r\n";

const FIELDS: [Field<'_>; 7] = [
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Cache-Control", b"public, max-age=60"),
    (b"Vary", b"Accept-Language, Cookie"),
    (b"X-Frame-Options", b"DENY"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"same-origin"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
];

fn main() {
    let mut head = Head::new();
    HeadDecoder::new()
        .decode(&HeadLimits::default(), REQUEST, &mut head)
        .unwrap();
    let asked = Asked {
        method: Method::Get,
        lines: &RequestLines {
            head: &head,
            buf: REQUEST,
        },
        path: b"/articles/1/some-title-of-a-page/",
        has_body: false,
        is_personal: false,
        wants_upgrade: false,
        settled: Settled {
            cookies: true,
            encodings: true,
            language: false,
        },
    };
    let mut cache = Store::new(Limits {
        bytes: 256 << 20,
        ..Limits::default()
    });
    let keys: Vec<Key> = (0..PAGES).map(key).collect();
    fill(&mut cache, &keys, &asked);
    ask(&mut cache, &keys, &asked);
}

fn fill(cache: &mut Store, keys: &[Key], asked: &Asked<'_, RequestLines<'_>>) {
    let answer = Answer {
        status: 200,
        reason: b"OK",
        fields: &FIELDS,
        asked: NOW,
        received: NOW,
    };
    let settings = Settings::default();
    let empty = cache.stats().bytes;
    measured("judge and keep a page of 5 KB", PAGES, || {
        for key in keys {
            let plan = store(asked, key, &answer, None, &settings, 7).unwrap();
            let life = plan.life;
            let entry = plan.into_entry(key, Body::new(vec![b'x'; BODY])).unwrap();
            let mark = cache.mark();
            cache.put(entry, life, 0, 0, mark).unwrap();
        }
    });
    let each = (cache.stats().bytes - empty) / PAGES;
    println!(
        "{:<40} {:>9} bytes",
        "an entry beside its body",
        each - BODY
    );
}

fn ask(cache: &mut Store, keys: &[Key], asked: &Asked<'_, RequestLines<'_>>) {
    let settings = Settings::default();
    measured("make a key", PAGES * ROUNDS, || {
        for _ in 0..PAGES * ROUNDS {
            let host = b"www.example.com";
            black_box(Key::new(Scheme::Https, host, black_box(asked.path), None));
        }
    });
    measured("find and decide: a hit with Vary", PAGES * ROUNDS, || {
        for _ in 0..ROUNDS {
            for key in keys {
                let found = cache.find(key, asked.lines).unwrap();
                let decision = lookup(asked, Some(&found.life), true, None, &settings, NOW);
                assert!(matches!(decision, Lookup::Hit { .. }));
                black_box(&found);
            }
        }
    });
    let entry = cache.find(&keys[0], asked.lines).unwrap().entry;
    let mut out = Vec::with_capacity(1024);
    measured("write the head of a hit", PAGES * ROUNDS, || {
        for _ in 0..PAGES * ROUNDS {
            out.clear();
            out.extend_from_slice(entry.block());
            entry.write_rest(&mut out, Coding::Identity, Some(BODY as u64), 3);
            black_box(&out);
        }
    });
    let other = key(PAGES + 1);
    measured("find nothing", PAGES * ROUNDS, || {
        for _ in 0..PAGES * ROUNDS {
            assert!(black_box(cache.find(&other, asked.lines)).is_none());
        }
    });
}
