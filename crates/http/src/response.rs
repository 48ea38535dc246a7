//! Response heads: owns checking what the app said, choosing the framing and writing the bytes.
//! Sending them, the body and the clock are left to the front.
//!
//! An app is not an attacker, but what it puts into a field often comes from one. So a name, value
//! or reason phrase that would change the shape of the response is an error before anything is
//! sent (response splitting), never a repaired response.

use crate::escape::Escaped;
use crate::field::parse_content_length;
use crate::name::KnownName;
use crate::reject::Reject;
use crate::request_line::{Method, Version};
use crate::{Head, scan, status};

/// What must be known of the request to answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFacts {
    /// The method is HEAD: the answer has no body.
    pub is_head: bool,
    /// The client's version.
    pub version: Version,
    /// The client lets the connection be used again.
    pub keep_alive: bool,
}

impl From<&Head> for RequestFacts {
    fn from(head: &Head) -> Self {
        Self {
            is_head: head.method == Method::Head,
            version: head.version,
            keep_alive: head.keep_alive,
        }
    }
}

/// What the app answers, before it is checked.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a, F> {
    /// The status code.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: &'a [u8],
    /// Names and values of the fields, in order.
    pub fields: F,
    /// How long the body is, when all of it is there; to HEAD, that of the answer to GET.
    pub length: Option<u64>,
    /// The server wants to close the connection after this response.
    pub close: bool,
}

/// How the body of a response is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// No body is sent, whatever the app yields: HEAD, 204, 205, 304.
    None,
    /// Exactly this many bytes. With fewer the connection must be cut, more must not be sent.
    Length(u64),
    /// In chunks: [`encode_chunk_prefix`], data, [`CHUNK_END`], at last [`LAST_CHUNK`].
    Chunked,
    /// Until the connection closes; for HTTP/1.0 clients.
    UntilClose,
}

/// What was decided about a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponsePlan {
    /// How to send the body.
    pub framing: BodyFraming,
    /// Whether to close the connection after it.
    pub close: bool,
}

/// What makes an app's response one that cannot be sent. The app is at fault: answer 500 and log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadResponse {
    /// The status is not in 200 to 999.
    Status(u16),
    /// The reason phrase holds a control byte.
    Reason,
    /// A field name is not a token; the name, escaped.
    FieldName(String),
    /// A field value holds a control byte; the field's name.
    FieldValue(String),
    /// Content-Length is not one decimal number.
    ContentLength,
    /// Content-Length was given more than once.
    ContentLengthRepeated,
    /// Content-Length says one thing and the body is another.
    LengthDisagrees {
        /// What the field says.
        stated: u64,
        /// What the body has.
        actual: u64,
    },
}

impl std::fmt::Display for BadResponse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => {
                write!(formatter, "the app's status {status} is not in 200 to 999")
            }
            Self::Reason => formatter.write_str("the app's reason phrase holds a control byte"),
            Self::FieldName(name) => {
                write!(formatter, "the app's header name \"{name}\" is not a token")
            }
            Self::FieldValue(name) => {
                write!(
                    formatter,
                    "the value of the app's header {name} holds a control byte"
                )
            }
            Self::ContentLength => {
                formatter.write_str("the app's Content-Length is not a decimal number")
            }
            Self::ContentLengthRepeated => {
                formatter.write_str("the app set Content-Length more than once")
            }
            Self::LengthDisagrees { stated, actual } => {
                write!(
                    formatter,
                    "the app's Content-Length is {stated}, its body has {actual} bytes"
                )
            }
        }
    }
}

impl std::error::Error for BadResponse {}

/// Sent before the body of a request that expects it (RFC 9110, section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Ends the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Ends a body sent in chunks.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The fields of a response that decide about its shape.
#[derive(Default)]
struct Seen {
    content_length: Option<u64>,
    date: bool,
    server: bool,
    close: bool,
}

/// Checks `answer`, appends its head to `out` and says how to send the body. When the answer
/// cannot be sent, `out` is as before. `date` is the text of [`crate::date::format_date`].
///
/// Fields about the connection are left out (RFC 9110, section 7.6.1; PEP 3333 forbids them to
/// apps), though a `Connection: close` of the app is honoured. `Date` and `Server` are added
/// unless the app set them. The version is always 1.1, as RFC 9110, section 6.2, asks.
pub fn encode_head<'a, F>(
    out: &mut Vec<u8>,
    request: RequestFacts,
    answer: Answer<'a, F>,
    date: &[u8],
) -> Result<ResponsePlan, BadResponse>
where
    F: IntoIterator<Item = (&'a [u8], &'a [u8])>,
{
    let start = out.len();
    let plan = write_head(out, request, answer, date);
    if plan.is_err() {
        out.truncate(start);
    }
    plan
}

fn write_head<'a, F>(
    out: &mut Vec<u8>,
    request: RequestFacts,
    answer: Answer<'a, F>,
    date: &[u8],
) -> Result<ResponsePlan, BadResponse>
where
    F: IntoIterator<Item = (&'a [u8], &'a [u8])>,
{
    let Answer {
        status,
        reason,
        fields,
        length,
        close,
    } = answer;
    if !(200..=999).contains(&status) {
        return Err(BadResponse::Status(status));
    }
    if !scan::is_field_value(reason) {
        return Err(BadResponse::Reason);
    }
    write_status_line(out, status, reason);
    let mut seen = Seen::default();
    for (name, value) in fields {
        write_app_field(out, name, value, &mut seen)?;
    }
    let (framing, stated) = choose_framing(request, status, length, seen.content_length)?;
    let close = close || seen.close || !request.keep_alive || framing == BodyFraming::UntilClose;
    if !seen.server {
        out.extend_from_slice(b"Server: canter\r\n");
    }
    if !seen.date {
        write_field(out, b"Date", date);
    }
    if framing == BodyFraming::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    } else if let Some(length) = stated {
        out.extend_from_slice(b"Content-Length: ");
        write_decimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if request.version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(ResponsePlan { framing, close })
}

/// The framing, and the Content-Length to write (RFC 9110, section 8.6; RFC 9112, section 6).
fn choose_framing(
    request: RequestFacts,
    status: u16,
    actual: Option<u64>,
    stated: Option<u64>,
) -> Result<(BodyFraming, Option<u64>), BadResponse> {
    match status {
        204 => return Ok((BodyFraming::None, None)),
        205 => return Ok((BodyFraming::None, Some(0))),
        // What a GET would have sent; only the app knows.
        304 => return Ok((BodyFraming::None, stated)),
        _ => {}
    }
    if request.is_head {
        return Ok((BodyFraming::None, stated.or(actual)));
    }
    match (stated, actual) {
        (Some(stated), Some(actual)) if stated != actual => {
            Err(BadResponse::LengthDisagrees { stated, actual })
        }
        (Some(length), _) | (None, Some(length)) => Ok((BodyFraming::Length(length), Some(length))),
        (None, None) if request.version == Version::Http11 => Ok((BodyFraming::Chunked, None)),
        (None, None) => Ok((BodyFraming::UntilClose, None)),
    }
}

#[inline]
fn write_app_field(
    out: &mut Vec<u8>,
    name: &[u8],
    value: &[u8],
    seen: &mut Seen,
) -> Result<(), BadResponse> {
    let known = KnownName::classify(name);
    if known == KnownName::Other && !scan::is_token(name) {
        return Err(BadResponse::FieldName(Escaped(name).to_string()));
    }
    if !scan::is_field_value(value) {
        return Err(BadResponse::FieldValue(Escaped(name).to_string()));
    }
    match known {
        KnownName::ContentLength => {
            let length =
                parse_content_length(scan::trim_ows(value)).ok_or(BadResponse::ContentLength)?;
            if seen.content_length.replace(length).is_some() {
                return Err(BadResponse::ContentLengthRepeated);
            }
            return Ok(());
        }
        KnownName::Connection => {
            let mut options = value.split(|&byte| byte == b',').map(scan::trim_ows);
            seen.close |= options.any(|option| option.eq_ignore_ascii_case(b"close"));
            return Ok(());
        }
        KnownName::Date => seen.date = true,
        KnownName::Server => seen.server = true,
        known if known.is_hop_by_hop() => return Ok(()),
        _ => {}
    }
    write_field(out, name, value);
    Ok(())
}

fn write_status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    if (status, reason) == (200, b"OK") {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_decimal(out: &mut Vec<u8>, number: u64) {
    write_digits(out, number, 10);
}

/// Writes the size line of a chunk. A chunk of zero bytes would end the body, so an app's empty
/// piece must not be sent at all; for `length` zero nothing is written.
pub fn encode_chunk_prefix(out: &mut Vec<u8>, length: u64) {
    if length > 0 {
        write_digits(out, length, 16);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_digits(out: &mut Vec<u8>, mut number: u64, base: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    for slot in digits.iter_mut().rev() {
        *slot = b"0123456789abcdef"[(number % base) as usize];
        start -= 1;
        number /= base;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// A whole response of the server's own: plain text with the reason phrase and, when it is not
/// empty, `body` as a second line. `extra` are fields known to be well-formed. `is_head` leaves
/// the text out and keeps its length.
pub fn simple_response(
    status: u16,
    extra: &[(&str, &str)],
    body: &str,
    close: bool,
    is_head: bool,
    date: &[u8],
) -> Vec<u8> {
    let reason = status::reason_phrase(status);
    let text = if body.is_empty() {
        format!("{status} {reason}\n")
    } else {
        format!("{status} {reason}\n{body}\n")
    };
    let fields = extra
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .chain([(
            b"Content-Type".as_slice(),
            b"text/plain; charset=utf-8".as_slice(),
        )]);
    let request = RequestFacts {
        is_head,
        version: Version::Http11,
        keep_alive: !close,
    };
    let answer = Answer {
        status,
        reason: reason.as_bytes(),
        fields,
        length: Some(text.len() as u64),
        close,
    };
    let mut out = Vec::with_capacity(256 + text.len());
    match encode_head(&mut out, request, answer, date) {
        Ok(ResponsePlan {
            framing: BodyFraming::Length(_),
            ..
        }) => {
            out.extend_from_slice(text.as_bytes());
        }
        Ok(_) => {}
        // Only a mistake of ours in `extra` or `status` leads here; stay a valid response.
        Err(_) => out.extend_from_slice(
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
    }
    out
}

/// The whole response to a refused request, saying which rule it broke. Always closes. `is_head` as
/// in [`simple_response`].
pub fn reject_response(
    reject: Reject,
    also: Option<(&'static str, &str)>,
    is_head: bool,
    date: &[u8],
) -> Vec<u8> {
    let extra: Vec<_> = reject.extra_field().into_iter().chain(also).collect();
    simple_response(
        reject.status(),
        &extra,
        &reject.to_string(),
        true,
        is_head,
        date,
    )
}
