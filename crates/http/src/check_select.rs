//! Invariants of conditions, ranges and codings over arbitrary bytes: owns the checks that fuzzing
//! and the tests run, beside those of [`crate::check`]. Each panics when an invariant is broken.
#![allow(clippy::missing_panics_doc)]

use crate::coding::{Accepted, Coding};
use crate::conditional::{Conditions, Validators};
use crate::etag::{EntityTag, TagList};
use crate::range::{MOST_RANGES, Piece, Ranges, parse_ranges};
use crate::select::{Content, Selected, select};
use crate::{Method, media_type};

/// All of them.
pub fn check(bytes: &[u8]) {
    let total = bytes.iter().fold(0_u64, |sum, &byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    for total in [0, 1, 10, 1000, total, u64::MAX] {
        check_ranges(bytes, total);
    }
    check_tags(bytes);
    check_codings(bytes);
    let name = String::from_utf8_lossy(bytes);
    assert!(!media_type::media_type(&name).is_empty());
}

/// Parts lie inside, have a byte each, and neither overlap nor touch.
pub fn check_ranges(value: &[u8], total: u64) {
    if let Ranges::Parts(spans) = parse_ranges(value, total) {
        assert!(!spans.is_empty() && spans.len() <= MOST_RANGES);
        let mut sorted = spans;
        sorted.sort_unstable_by_key(|span| span.start);
        let mut before = None;
        for span in sorted {
            let end = span.start.checked_add(span.len);
            assert!(
                span.len > 0 && end.is_some_and(|end| end <= total),
                "a part outside"
            );
            assert!(before < Some(span.start), "two parts that are one");
            before = end;
        }
    }
    let conditions = Conditions {
        range: Some(value.to_vec()),
        if_range: Some(value.to_vec()),
        if_match: value.first().map(|_| b"*".to_vec()),
        ..Conditions::default()
    };
    let content = Content {
        length: total,
        content_type: "text/plain",
        validators: Validators {
            etag: EntityTag::parse(value),
            modified: Some(0),
        },
    };
    for if_range in [None, conditions.if_range.clone()] {
        let conditions = Conditions {
            if_range,
            ..conditions.clone()
        };
        let chosen = select(&conditions, Method::Get, &content, 0, || "edge".to_owned());
        if let Selected::Parts { pieces, length, .. } = &chosen {
            let sum = pieces.iter().fold(0_u64, |sum, piece| {
                sum.saturating_add(match piece {
                    Piece::Bytes(bytes) => bytes.len() as u64,
                    Piece::Content(span) => span.len,
                })
            });
            assert_eq!(sum, *length, "the length is not that of the pieces");
        }
    }
}

/// A list has no tag that is not written in it.
pub fn check_tags(value: &[u8]) {
    if let Some(tag) = EntityTag::parse(value) {
        assert!(tag.is_like(&tag) && tag.is_same(&tag) != tag.is_weak);
        assert!(TagList::new(value).has(|listed| *listed == tag));
    }
    let found = std::cell::Cell::new(0);
    let any = TagList::new(value).has(|tag| {
        found.set(found.get() + tag.opaque.len() + 2);
        false
    });
    assert_eq!(any, matches!(TagList::new(value), TagList::Any));
    assert!(found.get() <= value.len());
}

/// The choice is one of those offered, and what is refused is never chosen where something else
/// would do.
pub fn check_codings(value: &[u8]) {
    let forms = [
        (Coding::Identity, 40),
        (Coding::Zstd, 30),
        (Coding::Brotli, 20),
        (Coding::Gzip, 10),
    ];
    let accepted = Accepted::parse([value]);
    let chosen = accepted.choose(forms);
    assert!(chosen < forms.len());
    // A name that does not occur at all, nor a star, cannot have been chosen.
    let lower = value.to_ascii_lowercase();
    let has = |name: &[u8]| memchr::memmem::find(&lower, name).is_some();
    if let Some((coding, _)) = forms.get(chosen).filter(|_| chosen > 0) {
        assert!(has(coding.name().as_bytes()) || has(b"*"), "not asked for");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Xorshift;

    #[test]
    fn the_invariants_hold_for_words_of_the_grammar_in_any_order() {
        const WORDS: &[&[u8]] = &[
            b"bytes=",
            b"0",
            b"1",
            b"9",
            b"18446744073709551615",
            b"-",
            b",",
            b" ",
            b"\t",
            b"*",
            b"\"",
            b"W/",
            b"a",
            b"gzip",
            b"br",
            b"zstd",
            b"identity",
            b";q=",
            b"0.5",
            b"1.0",
            b"=",
            b"\xff",
            b"\0",
            b"Sat, 29 Oct 1994 19:43:31 GMT",
            b".css",
        ];
        let mut random = Xorshift::new(0x5eed);
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..random.below(24) {
                bytes.extend_from_slice(WORDS[random.below(WORDS.len())]);
            }
            check(&bytes);
        }
    }

    #[test]
    fn reading_is_linear_in_the_length() {
        // A quadratic reader would take minutes over these.
        let long = 1 << 20;
        check_ranges(&[b"bytes=", "1-1,".repeat(long).as_bytes()].concat(), 100);
        check_ranges(&[b"bytes=0-", vec![b'9'; long].as_slice()].concat(), 100);
        check_tags("\"a\",".repeat(long).as_bytes());
        check_codings("gzip;q=0,".repeat(long).as_bytes());
    }
}
