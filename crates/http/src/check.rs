//! Invariants of the codec over arbitrary bytes: owns the checks that fuzzing and the tests run.
//! Choosing the bytes is left to them. Each check panics when an invariant is broken; that is its
//! only answer.
#![allow(clippy::missing_panics_doc)]

use crate::body::BodyDecoder;
use crate::converse::{Accepted, Conversation, MAX_BODY, Step, converse};
use crate::head::{Framing, Head, Span};
use crate::limits::Limits;
use crate::name::KnownName;
use crate::reject::Reject;
use crate::request_line::Version;
use crate::response::{self, Answer, BodyFraming, RequestFacts};
use crate::{escape, target};

/// A small generator of pseudo-random numbers (xorshift64*), so that a run can be repeated from
/// its seed.
#[derive(Debug, Clone)]
pub struct Xorshift(u64);

impl Xorshift {
    /// A generator whose numbers follow from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number below `bound`; zero when `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number)
            .unwrap_or(0)
            .checked_rem(bound)
            .unwrap_or(0)
    }
}

/// Checks that `bytes`, read as one connection's input, give the same conversation however they
/// are cut, and every invariant of the decoders on the way.
pub fn check(bytes: &[u8]) {
    let whole = without_continue(converse(bytes, [], &mut check_accepted));
    let each_byte = without_continue(converse(bytes, 0..bytes.len(), &mut check_accepted));
    assert_eq!(whole, each_byte, "whole and byte by byte differ");
    let seed = bytes.iter().fold(0x9e37_79b9, |sum: u64, &byte| {
        sum.rotate_left(5).wrapping_mul(31) ^ u64::from(byte)
    });
    let mut random = Xorshift::new(seed);
    for _ in 0..4 {
        let mut cuts: Vec<usize> = (0..3).map(|_| random.below(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let cut = without_continue(converse(bytes, cuts.clone(), &mut check_accepted));
        assert_eq!(whole, cut, "whole and cut at {cuts:?} differ");
    }
    check_body(bytes);
    check_response(bytes);
}

/// Whether a client waits for 100 depends on when its bytes come, and nothing else does.
fn without_continue(mut conversation: Conversation) -> Conversation {
    conversation.steps.retain(|step| *step != Step::Continue);
    conversation
}

fn check_accepted(accepted: Accepted<'_>) {
    if let Accepted::Head(buf, head) = accepted {
        check_head(buf, head);
    }
}

fn check_head(buf: &[u8], head: &Head) {
    assert!(
        head.length <= buf.len(),
        "the head is longer than the buffer"
    );
    let bytes = buf.get(..head.length).unwrap_or_default();
    assert!(
        bytes.ends_with(b"\r\n\r\n"),
        "an accepted head ends in an empty line"
    );
    assert_eq!(
        memchr::memchr_iter(b'\n', bytes).count(),
        memchr::memmem::find_iter(bytes, b"\r\n").count(),
        "a bare LF was accepted"
    );
    assert_eq!(
        memchr::memchr_iter(b'\r', bytes).count(),
        memchr::memchr_iter(b'\n', bytes).count(),
        "a bare CR was accepted"
    );
    let inside = |span: Span| {
        assert!(
            span.start <= span.end && span.end as usize <= head.length,
            "span out of range"
        );
    };
    for span in [
        head.method_span,
        head.target_span,
        head.path_span,
        head.query_span,
    ] {
        inside(span);
    }
    let count = |name| {
        head.fields
            .iter()
            .filter(|field| field.known == name)
            .count()
    };
    for field in &head.fields {
        inside(field.name);
        inside(field.value);
        let value = field.value.of(buf);
        assert!(
            !value.contains(&b'\r') && !value.contains(&0),
            "a control byte in a value"
        );
        assert_eq!(KnownName::classify(field.name.of(buf)), field.known);
    }
    let lengths = count(KnownName::ContentLength);
    let encodings = count(KnownName::TransferEncoding);
    assert!(lengths + encodings <= 1, "two framings were accepted");
    match head.framing {
        Framing::None => assert_eq!(lengths + encodings, 0),
        Framing::Length(_) => assert_eq!(lengths, 1),
        Framing::Chunked => assert_eq!((encodings, head.version), (1, Version::Http11)),
    }
    assert!(count(KnownName::Host) <= 1, "two hosts were accepted");
    assert!(
        head.version == Version::Http10 || !head.host_span.is_empty(),
        "no host"
    );
    let mut path = Vec::new();
    assert!(
        target::decode_path(head.path(buf), &mut path).is_ok(),
        "the path does not decode"
    );
    assert!(!path.contains(&0), "NUL in a decoded path");
}

/// Checks that `bytes`, read as a chunked body, decode the same whole and byte by byte.
pub fn check_body(bytes: &[u8]) {
    let decode = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut out = Vec::new();
        let mut consumed = 0;
        let mut decoder = BodyDecoder::new(Framing::Chunked, MAX_BODY, &Limits::DEFAULT)?;
        for piece in pieces {
            consumed += decoder.decode(piece, &mut out)?.consumed;
        }
        assert!(
            out.len() as u64 <= decoder.announced(),
            "more body than announced"
        );
        Ok::<_, Reject>((out, consumed, decoder.is_done()))
    };
    let whole = decode(&mut std::iter::once(bytes));
    let each_byte = decode(&mut bytes.chunks(1));
    assert_eq!(
        whole, each_byte,
        "a body decodes differently whole and byte by byte"
    );
    if let Ok((out, consumed, _)) = whole {
        assert!(consumed <= bytes.len() && out.len() <= consumed);
    }
}

/// Checks that an app answering with fields made of `bytes` cannot add a line to the response.
pub fn check_response(bytes: &[u8]) {
    let mut parts = bytes.split(|&byte| byte == b'|' || byte == b':');
    let reason = parts.next().unwrap_or_default();
    let parts: Vec<&[u8]> = parts.take(40).collect();
    let fields = || parts.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    let mixed = bytes
        .iter()
        .fold(bytes.len(), |sum, &byte| sum * 3 % 4096 + usize::from(byte));
    let status = u16::try_from(mixed % 1100).unwrap_or(0);
    let request = RequestFacts {
        is_head: mixed & 1 != 0,
        version: if mixed & 2 != 0 {
            Version::Http10
        } else {
            Version::Http11
        },
        keep_alive: mixed & 4 != 0,
    };
    let length = (mixed & 8 != 0).then_some(mixed as u64);
    let answer = Answer {
        status,
        reason,
        fields: fields(),
        length,
        close: mixed & 16 != 0,
    };
    let mut out = b"before".to_vec();
    match response::encode_head(&mut out, request, answer, &crate::date::format_date(0)) {
        Err(bad) => {
            assert_eq!(out, b"before", "a refused response left bytes behind");
            let sentence = bad.to_string();
            assert!(
                sentence
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() || byte == b' ')
            );
        }
        Ok(plan) => {
            let head = out.strip_prefix(b"before".as_slice()).unwrap_or_default();
            check_response_head(head, fields().count());
            let needs_close = plan.framing == BodyFraming::UntilClose || !request.keep_alive;
            assert!(plan.close || !needs_close, "must close and does not");
        }
    }
    let shown = escape::Escaped(bytes).to_string();
    assert!(
        shown
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    );
}

fn check_response_head(head: &[u8], app_fields: usize) {
    let lines: Vec<&[u8]> = head.split(|&byte| byte == b'\n').collect();
    let [lines @ .., empty, last] = lines.as_slice() else {
        panic!("less than two lines")
    };
    assert!(last.is_empty(), "does not end in LF");
    assert_eq!(*empty, b"\r", "does not end in an empty line");
    let own = 4;
    assert!(lines.len() <= 1 + app_fields + own, "a line was injected");
    let mut framings = 0;
    for (row, line) in lines.iter().enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(b"\r");
        assert!(
            !line.is_empty() && !line.contains(&b'\r'),
            "a bare CR or an early end"
        );
        if row == 0 {
            assert!(line.starts_with(b"HTTP/1.1 "));
            continue;
        }
        let colon = memchr::memchr(b':', line).unwrap_or(0);
        assert!(colon > 0, "a field line without a name");
        let name = KnownName::classify(line.get(..colon).unwrap_or_default());
        framings += usize::from(matches!(
            name,
            KnownName::ContentLength | KnownName::TransferEncoding
        ));
    }
    assert!(framings <= 1, "two framings were sent");
}
