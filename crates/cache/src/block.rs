//! The fields of a stored response as one block of bytes: owns which of them are stored
//! (RFC 9111, section 3.1), and in which form. What depends on the encoding that is sent, or on the
//! moment, is left to [`crate::entry`].

use canter_http::KnownName;
use canter_http::date::format_date;
use canter_http::status::reason_phrase;

use crate::lines::{Field, Lines};
use crate::text::elements;
use crate::time::Time;

/// Fields that are about the connection, whatever `Connection` says, and for which the server
/// knows no name.
const HOP_BY_HOP: [&str; 5] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authentication-info",
    "proxy-authorization",
    "trailer",
];

/// Fields that say something to this cache and to nobody behind it. Answers that do not come from
/// the cache are to go out without them as well.
pub fn is_for_the_cache(name: &[u8]) -> bool {
    [
        "canter-cache-control",
        "surrogate-control",
        "surrogate-key",
        "cache-tag",
    ]
    .iter()
    .any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
}

/// Fields that are written when the response is sent.
fn is_made_when_sent(name: &[u8]) -> bool {
    ["age", "content-length", "etag", "cache-status", "x-cache"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
}

fn is_hop_by_hop(name: &[u8]) -> bool {
    KnownName::classify(name).is_hop_by_hop()
        || HOP_BY_HOP
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
}

/// The names that Connection lists.
fn listed<'a>(fields: &'a [Field<'a>]) -> Vec<&'a [u8]> {
    fields.values("connection").flat_map(elements).collect()
}

/// What changes on the way into the store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edits<'a> {
    /// Fields to leave out, in lower case: those that `no-cache="…"` names.
    pub without: &'a [Vec<u8>],
    /// What `Cache-Control` says to browsers, in place of what the app said; `Expires` goes too.
    pub browser: Option<&'a str>,
}

/// The status line and the fields that are stored, each with its CRLF. `received` is the date of
/// a response that has none.
pub fn write_block(
    status: u16,
    reason: &[u8],
    fields: &[Field<'_>],
    edits: Edits<'_>,
    received: Time,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + fields.len() * 40);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.to_string().as_bytes());
    out.push(b' ');
    let reason = if reason.is_empty() {
        reason_phrase(status).as_bytes()
    } else {
        reason
    };
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
    for (name, value) in stored(fields, edits) {
        line(&mut out, name, value);
    }
    if let Some(browser) = edits.browser {
        line(&mut out, b"Cache-Control", browser.as_bytes());
    }
    if !fields.has("date") {
        line(&mut out, b"Date", &format_date(received.seconds()));
    }
    out
}

/// The fields of a response that are stored.
pub(crate) fn stored<'a>(
    fields: &'a [Field<'a>],
    edits: Edits<'a>,
) -> impl Iterator<Item = Field<'a>> {
    let listed = listed(fields);
    fields.iter().copied().filter(move |(name, _)| {
        !(is_hop_by_hop(name)
            || is_made_when_sent(name)
            || is_for_the_cache(name)
            || name.eq_ignore_ascii_case(b"set-cookie")
            // What the page cost whoever asked for it first is nobody else's time.
            || name.eq_ignore_ascii_case(b"server-timing")
            || listed.iter().any(|own| own.eq_ignore_ascii_case(name))
            || edits
                .without
                .iter()
                .any(|own| own.eq_ignore_ascii_case(name))
            || edits.browser.is_some()
                && [&b"cache-control"[..], b"expires", b"pragma"]
                    .iter()
                    .any(|own| name.eq_ignore_ascii_case(own)))
    })
}

pub(crate) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The status, the reason phrase and the fields of a block; None when it is no such thing, or
/// something in it would change the shape of a response.
pub(crate) fn read_block(block: &[u8]) -> Option<(u16, &[u8], Vec<Field<'_>>)> {
    let mut lines = Lined { rest: block };
    let status_line = lines.next()??;
    let rest = status_line.strip_prefix(b"HTTP/1.1 ")?;
    let (digits, reason) = rest.split_at_checked(3)?;
    let reason = reason.strip_prefix(b" ")?;
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let fields = read_lines(lines.rest)?;
    (200..=999)
        .contains(&status)
        .then_some((status, reason, fields))
}

/// The fields of lines, each with its CRLF.
pub(crate) fn read_lines(lines: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    for line in (Lined { rest: lines }) {
        let line = line?;
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b": ")?;
        if !crate::text::is_token(name) {
            return None;
        }
        fields.push((name, value));
    }
    Some(fields)
}

/// Lines that end with CRLF and hold no control byte but HTAB; an item of None is no such line.
struct Lined<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lined<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let is_end = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
        let end = self.rest.iter().position(is_end);
        let split = end.and_then(|end| self.rest.split_at_checked(end));
        let Some((line, after)) = split else {
            self.rest = &[];
            return Some(None);
        };
        let Some(after) = after.strip_prefix(b"\r\n") else {
            self.rest = &[];
            return Some(None);
        };
        self.rest = after;
        Some(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &[Field<'_>], edits: Edits<'_>) -> String {
        let received = Time::from_seconds(784_111_777);
        String::from_utf8(write_block(200, b"", fields, edits, received)).unwrap()
    }

    #[test]
    fn a13_fields_about_the_connection_are_not_stored() {
        let fields: Vec<Field<'_>> = vec![
            (b"Connection", b"a, B"),
            (b"connection", b"c"),
            (b"A", b"1"),
            (b"b", b"2"),
            (b"C", b"3"),
            (b"d", b"4"),
            (b"Keep-Alive", b"x"),
            (b"Proxy-Authenticate", b"x"),
            (b"Proxy-Authentication-Info", b"x"),
            (b"Proxy-Authorization", b"x"),
            (b"Proxy-Connection", b"x"),
            (b"TE", b"x"),
            (b"Trailer", b"x"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Upgrade", b"x"),
            (b"Set-Cookie", b"a=b"),
            (b"Age", b"3"),
            (b"Content-Length", b"3"),
            (b"ETag", b"\"x\""),
            (b"Surrogate-Key", b"x"),
            (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
        ];
        assert_eq!(
            block(&fields, Edits::default()),
            "HTTP/1.1 200 OK\r\nd: 4\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        );
    }

    #[test]
    fn a_block_can_be_edited_and_read_back() {
        let fields: Vec<Field<'_>> = vec![
            (b"Cache-Control", b"no-cache=\"A\""),
            (b"Expires", b"0"),
            (b"A", b"1"),
            (b"B", b""),
        ];
        let without = [b"a".to_vec()];
        let edits = Edits {
            without: &without,
            browser: Some("max-age=0"),
        };
        let text = block(&fields, edits);
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nB: \r\nCache-Control: max-age=0\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        );
        let (status, reason, fields) = read_block(text.as_bytes()).unwrap();
        assert_eq!((status, reason, fields.len()), (200, &b"OK"[..], 3));
        assert_eq!(fields[0], (&b"B"[..], &b""[..]));
    }

    #[test]
    fn what_would_change_the_shape_of_a_response_is_no_block() {
        for wrong in [
            &b""[..],
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 100 Continue\r\n",
            b"HTTP/1.1 2 OK\r\n",
            b"HTTP/1.1 200\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: 1",
            b"HTTP/1.1 200 OK\r\nA: 1\n",
            b"HTTP/1.1 200 OK\r\nA: 1\nB: 2\r\n",
            b"HTTP/1.1 200 OK\r\nA: 1\rB: 2\r\n",
            b"HTTP/1.1 200 OK\r\nA B: 1\r\n",
            b"HTTP/1.1 200 OK\r\n: 1\r\n",
            b"HTTP/1.1 200 OK\r\nA:1\r\n",
            b"HTTP/1.1 200 OK\r\nA: \0\r\n",
        ] {
            assert!(read_block(wrong).is_none(), "{wrong:?}");
        }
    }
}
