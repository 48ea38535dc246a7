//! Byte ranges (RFC 9110, section 14): owns reading a Range field against a length, and the form of
//! an answer with several parts. Whether the field counts is left to [`crate::conditional`].

use crate::scan::trim_ows;

/// More ranges than this are not a download that goes on but an attempt to be expensive
/// (RFC 9110, section 14.2): the whole is sent.
pub const MOST_RANGES: usize = 16;

/// A part of the content: where it begins and how many bytes it has, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// How many.
    pub len: u64,
}

impl Span {
    fn end(self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// The value of `Content-Range`.
    pub fn content_range(self, total: u64) -> String {
        let last = self.end().saturating_sub(1);
        format!("bytes {}-{last}/{total}", self.start)
    }
}

/// What a Range field asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// Everything: the field is to be ignored.
    Whole,
    /// These parts; none overlaps or touches another.
    Parts(Vec<Span>),
    /// Nothing that is there: 416.
    Unsatisfiable,
}

/// Reads the value of Range for content of `total` bytes. Another unit, or a value that breaks the
/// grammar, is ignored (RFC 9110, section 14.2); so is any where there is nothing to cut.
pub fn parse_ranges(value: &[u8], total: u64) -> Ranges {
    if total == 0 {
        return Ranges::Whole;
    }
    let Some(set) = bytes_unit(value) else {
        return Ranges::Whole;
    };
    let (mut spans, mut count) = (Vec::new(), 0);
    for spec in set.split(|&byte| byte == b',').map(trim_ows) {
        if spec.is_empty() {
            continue;
        }
        count += 1;
        if count > MOST_RANGES {
            return Ranges::Whole;
        }
        match parse_spec(spec, total) {
            Spec::Part(span) => spans.push(span),
            Spec::Beyond => {}
            Spec::Malformed => return Ranges::Whole,
        }
    }
    match (count, spans.is_empty()) {
        (0, _) => Ranges::Whole,
        (_, true) => Ranges::Unsatisfiable,
        (_, false) => Ranges::Parts(merged(spans)),
    }
}

/// Units are compared without regard to case (RFC 9110, section 14.1).
fn bytes_unit(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at_checked(b"bytes=".len())?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// One range of the list.
enum Spec {
    Part(Span),
    /// Nothing of it is there.
    Beyond,
    Malformed,
}

fn parse_spec(spec: &[u8], total: u64) -> Spec {
    let Some((start, end)) = bounds(spec, total) else {
        return Spec::Malformed;
    };
    if start >= end {
        return Spec::Beyond;
    }
    Spec::Part(Span {
        start,
        len: end - start,
    })
}

/// Where it begins and ends, cut to the content; an empty one where nothing is there.
fn bounds(spec: &[u8], total: u64) -> Option<(u64, u64)> {
    let dash = memchr::memchr(b'-', spec)?;
    let (first, last) = (spec.get(..dash)?, spec.get(dash + 1..)?);
    if first.is_empty() {
        let len = number(last)?.min(total);
        return Some((total - len, total));
    }
    let start = number(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        number(last)?
    };
    (start <= last).then(|| (start, last.saturating_add(1).min(total)))
}

/// Digits alone; a number that is too large is as good as the largest.
fn number(digits: &[u8]) -> Option<u64> {
    let right = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let add = |sum: u64, digit: &u8| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    };
    right.then(|| digits.iter().fold(0, add))
}

/// In the order they were asked for, as section 15.3.7.2 wants, unless some overlap or touch: then
/// those become one and all are sorted. There are at most [`MOST_RANGES`].
fn merged(spans: Vec<Span>) -> Vec<Span> {
    let mut sorted = spans.clone();
    sorted.sort_unstable_by_key(|span| span.start);
    let mut joined: Vec<Span> = Vec::with_capacity(sorted.len());
    for span in sorted {
        match joined.last_mut() {
            Some(before) if span.start <= before.end() => {
                before.len = before.end().max(span.end()) - before.start;
            }
            _ => joined.push(span),
        }
    }
    if joined.len() == spans.len() {
        spans
    } else {
        joined
    }
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// This part of the content.
    Content(Span),
}

/// The body of an answer with several parts (RFC 9110, section 14.6), its length and its type.
pub fn multipart(
    spans: &[Span],
    total: u64,
    content_type: &str,
    boundary: &str,
) -> (Vec<Piece>, u64, String) {
    let (mut pieces, mut length) = (Vec::with_capacity(spans.len() * 2 + 1), 0_u64);
    let mut open = "--";
    for span in spans {
        let range = span.content_range(total);
        let head = format!(
            "{open}{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {range}\r\n\r\n"
        );
        length = length.saturating_add(head.len() as u64 + span.len);
        pieces.push(Piece::Bytes(head.into_bytes()));
        pieces.push(Piece::Content(*span));
        open = "\r\n--";
    }
    let end = format!("\r\n--{boundary}--\r\n");
    length = length.saturating_add(end.len() as u64);
    pieces.push(Piece::Bytes(end.into_bytes()));
    let kind = format!("multipart/byteranges; boundary={boundary}");
    (pieces, length, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(spans: &[(u64, u64)]) -> Ranges {
        Ranges::Parts(
            spans
                .iter()
                .map(|&(start, len)| Span { start, len })
                .collect(),
        )
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_section_14_1_2_has_them() {
        let whole = || Ranges::Whole;
        for (value, total, expected) in [
            ("bytes=0-499", 10_000, parts(&[(0, 500)])),
            ("bytes=500-999", 10_000, parts(&[(500, 500)])),
            ("bytes=-500", 10_000, parts(&[(9500, 500)])),
            ("bytes=9500-", 10_000, parts(&[(9500, 500)])),
            ("bytes=0-0,-1", 10_000, parts(&[(0, 1), (9999, 1)])),
            (
                "bytes= 0-999, 4500-5499, -1000",
                10_000,
                parts(&[(0, 1000), (4500, 1000), (9000, 1000)]),
            ),
            // In the order asked for.
            ("bytes=5-6,0-1", 10, parts(&[(5, 2), (0, 2)])),
            ("bytes=0-0", 10, parts(&[(0, 1)])),
            ("bytes=9-9", 10, parts(&[(9, 1)])),
            ("BYTES=0-", 10, parts(&[(0, 10)])),
            ("bytes=5-100", 10, parts(&[(5, 5)])),
            ("bytes=-100", 10, parts(&[(0, 10)])),
            ("bytes=,0-1,,", 10, parts(&[(0, 2)])),
            // Overlapping and touching ones become one (section 14.2).
            ("bytes=0-4,2-7", 10, parts(&[(0, 8)])),
            ("bytes=5-9,0-4", 10, parts(&[(0, 10)])),
            ("bytes=8-,0-1,1-2", 10, parts(&[(0, 3), (8, 2)])),
            ("bytes=0-1,20-30", 10, parts(&[(0, 2)])),
            ("bytes=99999999999999999999999-", 10, Ranges::Unsatisfiable),
            ("bytes=0-99999999999999999999999", 10, parts(&[(0, 10)])),
            ("bytes=10-", 10, Ranges::Unsatisfiable),
            ("bytes=10-20,30-", 10, Ranges::Unsatisfiable),
            ("bytes=-0", 10, Ranges::Unsatisfiable),
            // There is nothing to cut: as other servers do.
            ("bytes=0-", 0, whole()),
            ("bytes=-5", 0, whole()),
            // Not by the grammar.
            ("bytes=5-4", 10, whole()),
            ("bytes=a-b", 10, whole()),
            ("bytes=0-1-2", 10, whole()),
            ("bytes=+1-2", 10, whole()),
            ("bytes=1", 10, whole()),
            ("bytes=-", 10, whole()),
            ("bytes=", 10, whole()),
            ("bytes", 10, whole()),
            ("", 10, whole()),
            ("items=0-1", 10, whole()),
        ] {
            assert_eq!(
                parse_ranges(value.as_bytes(), total),
                expected,
                "{value} of {total}"
            );
        }
    }

    #[test]
    fn too_many_ranges_are_none() {
        let list = |count: usize| {
            let specs: Vec<String> = (0..count)
                .map(|at| format!("{}-{}", at * 2, at * 2))
                .collect();
            format!("bytes={}", specs.join(","))
        };
        let most = parse_ranges(list(MOST_RANGES).as_bytes(), 1000);
        assert!(matches!(most, Ranges::Parts(spans) if spans.len() == MOST_RANGES));
        assert_eq!(
            parse_ranges(list(MOST_RANGES + 1).as_bytes(), 1000),
            Ranges::Whole
        );
        // What cannot be satisfied counts, too.
        let far = format!("bytes={}", "5000-,".repeat(MOST_RANGES + 1));
        assert_eq!(parse_ranges(far.as_bytes(), 1000), Ranges::Whole);
    }

    #[test]
    fn parts_are_framed_as_section_14_6_shows() {
        let spans = [
            Span {
                start: 500,
                len: 500,
            },
            Span {
                start: 7000,
                len: 1000,
            },
        ];
        let (pieces, length, kind) = multipart(&spans, 8000, "application/pdf", "THIS");
        assert_eq!(kind, "multipart/byteranges; boundary=THIS");
        let mut text = String::new();
        let mut sum = 0;
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => {
                    sum += bytes.len() as u64;
                    text.push_str(&String::from_utf8(bytes).unwrap());
                }
                Piece::Content(span) => {
                    sum += span.len;
                    text.push_str("(part)");
                }
            }
        }
        assert_eq!(sum, length);
        assert_eq!(
            text,
            "--THIS\r\nContent-Type: application/pdf\r\nContent-Range: bytes 500-999/8000\r\n\r\n\
             (part)\r\n--THIS\r\nContent-Type: application/pdf\r\n\
             Content-Range: bytes 7000-7999/8000\r\n\r\n(part)\r\n--THIS--\r\n"
        );
    }
}
