//! Field lines of a request (RFC 9112, section 5) and what they say about framing, host and
//! connection. Finding the lines is left to [`crate::head`].

use crate::authority;
use crate::head::{Field, FieldClass, Framing, Head, Span};
use crate::limits::Limits;
use crate::name::KnownName;
use crate::reject::Reject;
use crate::request_line::Version;
use crate::scan;

/// What the field lines said so far; judged when the head is complete.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts {
    content_length: u64,
    coding: Coding,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Coding {
    #[default]
    Chunked,
    Malformed,
    Unknown,
}

/// Reads `line`, which starts at `at` in the buffer and has no CRLF and no control byte but HTAB.
#[inline]
pub(crate) fn parse(
    line: &[u8],
    at: usize,
    limits: &Limits,
    head: &mut Head,
) -> Result<(), Reject> {
    if head.fields.len() >= limits.fields {
        return Err(Reject::TooManyFields);
    }
    let Some(colon) = memchr::memchr(b':', line) else {
        return Err(if starts_with_ows(line) {
            Reject::FoldedLine
        } else {
            Reject::NoColon
        });
    };
    let (name, rest) = line.split_at(colon);
    let known = KnownName::classify(name);
    let class = if known == KnownName::Other {
        check_name(name)?;
        if memchr::memchr(b'_', name).is_some() {
            FieldClass::Underscore
        } else {
            FieldClass::Normal
        }
    } else if known == KnownName::Proxy {
        FieldClass::Proxy
    } else {
        FieldClass::Normal
    };
    let value_at = at + colon + 1;
    let untrimmed = rest.get(1..).unwrap_or_default();
    let value = scan::trim_ows(untrimmed);
    // Only leading white space moves the start.
    let lead = untrimmed
        .iter()
        .take_while(|&&byte| scan::is_ows(byte))
        .count();
    let start = if value.is_empty() {
        value_at
    } else {
        value_at + lead
    };
    let value_span = Span::new(start, start + value.len());

    if known != KnownName::Other {
        note(known, value, value_span, head)?;
    }
    head.fields.push(Field {
        name: Span::new(at, at + colon),
        value: value_span,
        known,
        class,
    });
    Ok(())
}

fn starts_with_ows(line: &[u8]) -> bool {
    line.first().is_some_and(|&byte| scan::is_ows(byte))
}

fn check_name(name: &[u8]) -> Result<(), Reject> {
    if scan::is_token(name) {
        return Ok(());
    }
    Err(if name.is_empty() {
        Reject::EmptyFieldName
    } else if starts_with_ows(name) {
        Reject::FoldedLine
    } else if name.last().is_some_and(|&byte| scan::is_ows(byte)) {
        Reject::SpaceBeforeColon
    } else {
        Reject::BadFieldName
    })
}

/// Takes note of a field that the server itself acts on, and refuses a second one where two
/// programs could each believe another one.
#[inline]
fn note(known: KnownName, value: &[u8], span: Span, head: &mut Head) -> Result<(), Reject> {
    let again = head.seen & known.bit() != 0;
    head.seen |= known.bit();
    match known {
        KnownName::Host => {
            if again {
                return Err(Reject::HostRepeated);
            }
            authority::check_authority(value)?;
            head.host_span = span;
        }
        KnownName::ContentLength => {
            if again {
                return Err(Reject::ContentLengthRepeated);
            }
            head.facts.content_length =
                parse_content_length(value).ok_or(Reject::BadContentLength)?;
        }
        KnownName::TransferEncoding => {
            if again {
                return Err(Reject::TransferEncodingRepeated);
            }
            head.facts.coding = coding(value);
        }
        KnownName::Connection => note_connection(value, &mut head.facts),
        // A server of HTTP/1.0 knows no expectation (RFC 9110, section 10.1.1).
        KnownName::Expect
            if head.version == Version::Http11 && !value.eq_ignore_ascii_case(b"100-continue") =>
        {
            return Err(Reject::ExpectationUnknown);
        }
        // Joined with a comma these would be a third thing that nobody sent.
        KnownName::ContentType | KnownName::Authorization if again => {
            return Err(Reject::DuplicateField);
        }
        _ => {}
    }
    Ok(())
}

/// One decimal number of at most 19 digits, which always fits 64 bits.
pub(crate) fn parse_content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        value
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
    )
}

/// Only the single word `chunked` frames a request. A list of proper coding names is understood
/// and not supported; anything else is malformed.
fn coding(value: &[u8]) -> Coding {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Coding::Chunked;
    }
    let mut chunked_seen = false;
    for element in value.split(|&byte| byte == b',') {
        let element = scan::trim_ows(element);
        // `chunked` twice, or another coding after it, can end the body in two places.
        if chunked_seen || !scan::is_token(element) {
            return Coding::Malformed;
        }
        chunked_seen = element.eq_ignore_ascii_case(b"chunked");
    }
    Coding::Unknown
}

fn note_connection(value: &[u8], facts: &mut Facts) {
    for option in value.split(|&byte| byte == b',') {
        let option = scan::trim_ows(option);
        if option.eq_ignore_ascii_case(b"close") {
            facts.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            facts.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            facts.upgrade_option = true;
        }
    }
}

/// Judges the head as a whole, once its empty line has come. `buf` is the head's buffer.
pub(crate) fn conclude(buf: &[u8], head: &mut Head) -> Result<(), Reject> {
    let is_http11 = head.version == Version::Http11;
    if !head.has(KnownName::Host) {
        if is_http11 {
            return Err(Reject::HostMissing);
        }
    } else if !head.authority_span.is_empty() {
        let is_https = matches!(head.target_span.of(buf).get(4), Some(b's' | b'S'));
        let (target, host) = (head.authority_span.of(buf), head.host_span.of(buf));
        if !authority::is_same_origin(target, host, is_https) {
            return Err(Reject::HostDisagrees);
        }
    }
    if head.host_span.is_empty() {
        head.host_span = head.authority_span;
    }

    let has_length = head.has(KnownName::ContentLength);
    head.framing = if head.has(KnownName::TransferEncoding) {
        if has_length {
            return Err(Reject::LengthAndEncoding);
        }
        if !is_http11 {
            return Err(Reject::TransferEncodingIn10);
        }
        match head.facts.coding {
            Coding::Chunked => Framing::Chunked,
            Coding::Malformed => return Err(Reject::BadTransferEncoding),
            Coding::Unknown => return Err(Reject::TransferEncodingUnknown),
        }
    } else if has_length {
        Framing::Length(head.facts.content_length)
    } else {
        Framing::None
    };

    let has_body = !matches!(head.framing, Framing::None | Framing::Length(0));
    head.expects_continue = is_http11 && has_body && head.has(KnownName::Expect);
    head.keep_alive = !head.facts.close && (is_http11 || head.facts.keep_alive);
    head.wants_upgrade = is_http11 && head.facts.upgrade_option && head.has(KnownName::Upgrade);
    Ok(())
}
