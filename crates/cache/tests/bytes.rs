//! The parsers over bytes that nobody chose: owns the invariants run over words of the grammars,
//! cut and changed entries, and long inputs.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod common;

use canter_cache::check::check;
use canter_cache::{Body, Time, wire};
use canter_http::check::Xorshift;
use canter_http::coding::Coding;
use common::{Case, NOW};

const WORDS: &[&[u8]] = &[
    b"max-age",
    b"s-maxage",
    b"private",
    b"no-store",
    b"No-Cache",
    b"public",
    b"=",
    b",",
    b" ",
    b"\t",
    b"\"",
    b"\\",
    b";",
    b"*",
    b"0",
    b"60",
    b"4294967296",
    b"99999999999999999999",
    b"-1",
    b"?1",
    b"?0",
    b"(",
    b")",
    b":aGk=:",
    b"@1",
    b"%\"",
    b"%c3",
    b"a",
    b"A",
    b"b",
    b"en",
    b"de-at",
    b"q=0.5",
    b"&",
    b"utm_x",
    b"/",
    b"..",
    b"//h",
    b"http://",
    b"#",
    b"?",
    b"\xff",
    b"\0",
    b"\r\n",
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sunday, 06-Nov-94 08:49:37 GMT",
    b": ",
    b"HTTP/1.1 200 OK",
    b"stale-if-error=5",
    b"max-age=3600+600",
    b"canter\0\x01",
    b"h\x01\0\0\0a",
];

#[test]
fn the_invariants_hold_for_words_of_the_grammars_in_any_order() {
    let mut random = Xorshift::new(0xcace);
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(20) {
            bytes.extend_from_slice(WORDS[random.below(WORDS.len())]);
        }
        check(&bytes);
    }
}

#[test]
fn the_invariants_hold_for_any_bytes() {
    let mut random = Xorshift::new(0xb17e);
    for _ in 0..5_000 {
        let len = random.below(60);
        let bytes: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
        check(&bytes);
    }
}

#[test]
fn reading_is_linear_in_the_length() {
    let long = 1 << 17;
    check(&b"a=\"x\",".repeat(long));
    check(&b"\"".repeat(long));
    check(&b"max-age=1, ".repeat(long));
    check(&b"a=b; ".repeat(long));
    check(&b"../".repeat(long));
}

fn written() -> Vec<u8> {
    let response = [
        ("Cache-Control", "max-age=60, stale-while-revalidate=30"),
        ("Vary", "Foo, Bar"),
        ("ETag", "\"x\""),
        ("Surrogate-Key", "one two"),
        ("Content-Type", "text/html"),
    ];
    let case = Case {
        request: &[("Foo", "1")],
        response: &response,
        query: Some("a=b"),
        ..Case::default()
    };
    let (entry, life) = case.entry("the body of a page");
    let entry = entry.with_form(Coding::Gzip, Body::new(b"not really gzip".to_vec()));
    wire::write(&entry, &life, 3, true)
}

#[test]
fn an_entry_is_read_back_as_it_was() {
    let bytes = written();
    check(&bytes);
    let stored = wire::read(&bytes, NOW).unwrap();
    assert_eq!((stored.rule, stored.entry.status()), (3, 200));
    assert_eq!(stored.entry.body().to_vec(), b"the body of a page");
    assert_eq!(stored.entry.content(Coding::Gzip).unwrap().len(), 15);
    assert_eq!(stored.entry.field("content-type"), Some(&b"text/html"[..]));
    assert_eq!(stored.entry.etag(Coding::Gzip), b"\"x-gzip\"");
    assert_eq!(stored.life.while_revalidate, 30);
    let tags: Vec<&[u8]> = stored.entry.tags().collect();
    assert_eq!(tags, [b"tone", b"ttwo"]);
    let key = stored.entry.key().unwrap();
    assert!(wire::read_for(&bytes, &key, NOW).is_some());
    let other = canter_cache::Key::new(canter_cache::Scheme::Https, b"other", b"/", None);
    assert!(wire::read_for(&bytes, &other, NOW).is_none());
}

#[test]
fn a_cut_or_changed_entry_is_refused() {
    let bytes = written();
    for cut in 0..bytes.len() {
        assert!(wire::read(&bytes[..cut], NOW).is_none(), "{cut}");
    }
    for at in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= change;
            assert!(wire::read(&bytes, NOW).is_none(), "{at}");
        }
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert!(wire::read(&longer, NOW).is_none());
    // From a clock that is far ahead.
    let before = Time::from_seconds(NOW.seconds() - 3600);
    assert!(wire::read(&bytes, before).is_none());
}

/// What a hostile writer can do who knows the checksum: every field changed and summed anew.
#[test]
fn an_entry_with_a_right_checksum_and_wrong_parts_is_refused_or_sound() {
    let bytes = written();
    let mut random = Xorshift::new(0x4057);
    let mut refused = 0;
    for _ in 0..50_000 {
        let mut changed = bytes.clone();
        for _ in 0..=random.below(3) {
            let at = 16 + random.below(changed.len() - 16);
            changed[at] = match random.below(3) {
                0 => random.below(256) as u8,
                1 => 0,
                _ => b"\r\n,*\"\xff"[random.below(6)],
            };
        }
        wire::seal(&mut changed);
        check(&changed);
        refused += usize::from(wire::read(&changed, NOW).is_none());
    }
    assert!(refused > 10_000);
}
