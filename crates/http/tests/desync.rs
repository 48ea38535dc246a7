//! What the public tools for request smuggling try, tried with every byte: a field that frames the
//! body is disguised, doubled or split, and the answer compared with a reader that knows nothing but
//! the grammar of RFC 9112. Owns the disguises and that reader; whole conversations are in `corpus/h1`.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

use canter_http::converse::{Conversation, Step, converse};

/// A chunked body that ends at once, and what a server that is led astray runs next.
const BODY: &[u8] = b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n";

/// Where a byte (`@`) is put into a field.
const TRANSFER_ENCODING: &[&str] = &[
    "@Transfer-Encoding: chunked",
    "Transfer-Encoding@: chunked",
    "Transfer-Encoding:@chunked",
    "Transfer-Encoding: chunked@",
    "Transfer-Encoding: @chunked",
    "Transfer@Encoding: chunked",
    "Transfer-@Encoding: chunked",
    "Transfer-Encoding: chun@ked",
    "Transfer-Encoding: @chunked@",
    "Transfer-Encoding: chunked@chunked",
    "Transfer-Encoding: identity@chunked",
    "Transfer-Encoding: chunked@identity",
    "Transfer-Encoding: cow\r\nTransfer-Encoding:@chunked",
    "@Transfer-Encoding@: chunked",
    "@Transfer-Encoding:@chunked",
    "@Transfer-Encoding: chunked@",
    "Transfer-Encoding@:@chunked",
    "Transfer-Encoding@: chunked@",
    "Transfer-Encoding:@chunked@",
    "X: x@Transfer-Encoding: chunked",
    "X: x\r@Transfer-Encoding: chunked",
    "X: x@\nTransfer-Encoding: chunked",
    "X: x\r\n@Transfer-Encoding: chunked",
    "X: x@\r\nTransfer-Encoding: chunked",
    "X:@\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked@X: x",
    "Transfer-Encoding: chunked\r@X: x",
    "Transfer-Encoding: chunked@\nX: x",
    "Transfer-Encoding:\r\n@chunked",
    "Transfer-Encoding: chunked\r\n@X: x",
    "Transfer-Encoding: chunked;@",
    "Transfer-Encoding: =@chunked",
];

const CONTENT_LENGTH: &[&str] = &[
    "@Content-Length: 5",
    "Content-Length@: 5",
    "Content@Length: 5",
    "Content-Length:@5",
    "Content-Length: 5@",
    "Content-Length: @5",
    "Content-Length: 5@5",
    "Content-Length: 5@ 5",
    "Content-Length: 0@5",
    "Content-Length: 5@0",
    "Content-Length: 5\r\nContent-Length:@5",
    "Content-Length: 5\r\n@Content-Length: 0",
    "Content-Length: 5\r@Content-Length: 0",
    "Content-Length: 5@\nContent-Length: 0",
    "X: x@Content-Length: 5",
    "X: x\r@Content-Length: 5",
    "X: x@\nContent-Length: 5",
    "X: x\r\n@Content-Length: 5",
    "Content-Length:\r\n@5",
];

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a head means to a reader without mercy.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Refused,
    Length(u64),
    Chunked,
    NoBody,
}

/// The grammar of field lines (RFC 9112, section 5) and of the framing (section 6), strictly.
fn read(lines: &[u8]) -> Meaning {
    let (mut length, mut chunked) = (None, false);
    let mut rest = lines;
    while !rest.is_empty() {
        let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
            return Meaning::Refused;
        };
        let line = &rest[..end];
        rest = &rest[end + 2..];
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return Meaning::Refused;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        if name.is_empty()
            || !name.iter().copied().all(is_token)
            || !line[colon + 1..].iter().all(is_text)
        {
            return Meaning::Refused;
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Meaning::Refused;
            }
            chunked = true;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.iter().all(u8::is_ascii_digit) && !value.is_empty();
            if length.is_some() || !digits {
                return Meaning::Refused;
            }
            length = std::str::from_utf8(value).unwrap().parse().ok();
        }
    }
    match (length, chunked) {
        (Some(_), true) => Meaning::Refused,
        (Some(length), false) => Meaning::Length(length),
        (None, true) => Meaning::Chunked,
        (None, false) => Meaning::NoBody,
    }
}

/// What became of a request with [`BODY`]; the second half says whether the request hidden in it ran.
fn played(conversation: &Conversation) -> (Meaning, bool) {
    let mut steps = conversation.steps.iter();
    let ran_evil = |step: Option<&Step>| matches!(step, Some(Step::Request(0)));
    match steps.next() {
        Some(Step::Refused(_)) => {
            assert!(conversation.closed && steps.next().is_none());
            (Meaning::Refused, false)
        }
        Some(Step::Request(0)) if ran_evil(conversation.steps.get(1)) => (Meaning::Chunked, true),
        Some(Step::Request(0)) => (Meaning::NoBody, false),
        Some(Step::Request(length)) => (Meaning::Length(*length), false),
        _ => (Meaning::Length(u64::MAX), false),
    }
}

/// Plays each disguise with each byte, in front of and behind `beside`.
fn try_all(disguises: &[&str], beside: &[u8]) -> usize {
    let mut tried = 0;
    for disguise in disguises {
        for byte in 0..=u8::MAX {
            let put = |at: &u8| if *at == b'@' { byte } else { *at };
            let mutant: Vec<u8> = disguise.as_bytes().iter().map(put).collect();
            for lines in [
                [b"Host: a\r\n", beside, &mutant, b"\r\n"].concat(),
                [&mutant, &b"\r\nHost: a\r\n"[..], beside].concat(),
            ] {
                let input = [b"POST / HTTP/1.1\r\n", &lines[..], b"\r\n", BODY].concat();
                let meant = match read(&lines) {
                    // The bytes that follow are not enough.
                    Meaning::Length(length) if length > BODY.len() as u64 => {
                        Meaning::Length(u64::MAX)
                    }
                    // The same as none.
                    Meaning::Length(0) => Meaning::NoBody,
                    meant => meant,
                };
                for cuts in [Vec::new(), (0..input.len()).collect()] {
                    let (did, _) = played(&converse(&input, cuts, &mut |_| ()));
                    let shown = input.escape_ascii();
                    assert_eq!(did, meant, "{shown}");
                }
                tried += 1;
            }
        }
    }
    tried
}

#[test]
fn p1_p2_no_disguise_of_transfer_encoding_beside_a_length_is_taken() {
    let length = format!("Content-Length: {}\r\n", BODY.len());
    let tried = try_all(TRANSFER_ENCODING, length.as_bytes());
    assert_eq!(tried, TRANSFER_ENCODING.len() * 256 * 2);
}

#[test]
fn p2_transfer_encoding_alone_is_understood_in_one_way() {
    try_all(TRANSFER_ENCODING, b"");
}

#[test]
fn p3_no_disguise_of_a_length_is_taken() {
    try_all(CONTENT_LENGTH, b"");
    try_all(CONTENT_LENGTH, b"Content-Length: 7\r\n");
    try_all(CONTENT_LENGTH, b"Transfer-Encoding: chunked\r\n");
}

/// Where a byte is put into a chunked body that is followed by a request.
const CHUNKS: &[&str] = &[
    "@5\r\nhello\r\n0\r\n\r\n",
    "5@\r\nhello\r\n0\r\n\r\n",
    "5@\nhello\r\n0\r\n\r\n",
    "5\r@hello\r\n0\r\n\r\n",
    "5\r\nhello@\r\n0\r\n\r\n",
    "5\r\nhello\r@0\r\n\r\n",
    "5\r\nhello@\n0\r\n\r\n",
    "5\r\nhello@@0\r\n\r\n",
    "5\r\nhello\r\n@0\r\n\r\n",
    "5\r\nhello\r\n0@\r\n\r\n",
    "5\r\nhello\r\n0@\n\r\n",
    "5\r\nhello\r\n0\r@\r\n",
    "5\r\nhello\r\n0\r\n\r@",
    "5\r\nhello\r\n0\r\n@\n",
    "5;@\r\nhello\r\n0\r\n\r\n",
    "5 ;@\r\nhello\r\n0\r\n\r\n",
    "5@;a\r\nhello\r\n0\r\n\r\n",
    "5; @a\r\nhello\r\n0\r\n\r\n",
    "5;a @\r\nhello\r\n0\r\n\r\n",
    "5;a @;b\r\nhello\r\n0\r\n\r\n",
    "5;a@\nhello\r\n0\r\n\r\n",
    "5;a\r@hello\r\n0\r\n\r\n",
    "0x@\r\nhello\r\n0\r\n\r\n",
    "0_@\r\nhello\r\n0\r\n\r\n",
];

/// Whether chunks up to the last one are at the beginning, in the strict grammar of RFC 9112,
/// section 7.1, with extensions that are a name alone, and white space before and behind `;`.
fn is_well_formed(mut bytes: &[u8]) -> bool {
    loop {
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
            return false;
        };
        let (line, rest) = (&bytes[..end], &bytes[end + 2..]);
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let mut parts: Vec<Vec<u8>> = line
            .split(|&byte| byte == b';')
            .map(<[u8]>::to_vec)
            .collect();
        let count = parts.len();
        for (at, part) in parts.iter_mut().enumerate() {
            let is_last = at + 1 == count;
            while !is_last && part.last().is_some_and(is_space) {
                part.pop();
            }
            while at > 0 && part.first().is_some_and(is_space) {
                part.remove(0);
            }
        }
        let mut parts = parts.iter().map(Vec::as_slice);
        let size = parts.next().and_then(|size| std::str::from_utf8(size).ok());
        let is_hex = |size: &&str| size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = size.filter(is_hex);
        let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
            return false;
        };
        if !parts.all(|name| !name.is_empty() && name.iter().copied().all(is_token)) {
            return false;
        }
        let Some(after) = rest.get(size..).and_then(|rest| rest.strip_prefix(b"\r\n")) else {
            return false;
        };
        if size == 0 {
            return true;
        }
        bytes = after;
    }
}

#[test]
fn p8_no_disguise_of_a_chunk_is_taken() {
    for template in CHUNKS {
        for byte in 0..=u8::MAX {
            let put = |at: &u8| if *at == b'@' { byte } else { *at };
            let body: Vec<u8> = template.as_bytes().iter().map(put).collect();
            let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let next = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
            let input = [&head[..], &body, next].concat();
            for cuts in [Vec::new(), (0..input.len()).collect()] {
                let conversation = converse(&input, cuts, &mut |_| ());
                let first = conversation.steps.first();
                let taken = matches!(first, Some(Step::Request(_)));
                let shown = input.escape_ascii();
                assert_eq!(
                    taken,
                    is_well_formed(&[&body[..], next].concat()),
                    "{shown}"
                );
                // A chunk that is longer now waits for the rest; everything else is refused.
                let waits = conversation.incomplete && conversation.steps.is_empty();
                let ends = taken || conversation.closed || (waits && byte.is_ascii_hexdigit());
                assert!(ends, "{shown}");
            }
        }
    }
}
