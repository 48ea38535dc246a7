//! What is written for an app's answer: owns the rows. Hostile answers at random are in
//! `canter_http::check`.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

use canter_http::response::{
    CHUNK_END, LAST_CHUNK, encode_chunk_prefix, encode_head, reject_response, simple_response,
};
use canter_http::{Answer, BadResponse, Reject, RequestFacts, ResponsePlan, Version};

const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
const GET: RequestFacts = RequestFacts {
    is_head: false,
    version: Version::Http11,
    keep_alive: true,
};
const HEAD: RequestFacts = RequestFacts {
    is_head: true,
    ..GET
};
const GET_10: RequestFacts = RequestFacts {
    version: Version::Http10,
    keep_alive: false,
    ..GET
};
const GET_10_KEEP: RequestFacts = RequestFacts {
    keep_alive: true,
    ..GET_10
};

type Fields<'a> = &'a [(&'a str, &'a str)];

fn encode(
    request: RequestFacts,
    status: u16,
    fields: Fields<'_>,
    length: Option<u64>,
) -> Result<(ResponsePlan, String), BadResponse> {
    let mut out = Vec::new();
    let fields = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let answer = Answer {
        status,
        reason: b"R",
        fields,
        length,
        close: false,
    };
    let plan = encode_head(&mut out, request, answer, DATE)?;
    let text = String::from_utf8(out).unwrap();
    // The server's own first lines are the same in each row.
    let start = format!("HTTP/1.1 {status} R\r\n");
    let rest = text
        .strip_prefix(&start)
        .unwrap()
        .strip_suffix("\r\n")
        .unwrap();
    let own = "Server: canter\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    Ok((plan, rest.replace(own, "").replace("\r\n", "|")))
}

type Framed = (
    &'static str,
    RequestFacts,
    u16,
    Option<&'static str>,
    Option<u64>,
    &'static str,
);

/// Name, request, status, the app's Content-Length, the known length; then the framing, whether
/// the connection closes, and the fields written.
#[rustfmt::skip]
const FRAMED: &[Framed] = &[
    ("known", GET, 200, None, Some(5), "Length(5) false Content-Length: 5|"),
    ("known, zero", GET, 200, None, Some(0), "Length(0) false Content-Length: 0|"),
    ("stated", GET, 200, Some("5"), None, "Length(5) false Content-Length: 5|"),
    ("both", GET, 200, Some("5"), Some(5), "Length(5) false Content-Length: 5|"),
    ("unknown", GET, 200, None, None, "Chunked false Transfer-Encoding: chunked|"),
    ("1.0, known", GET_10, 200, None, Some(5), "Length(5) true Content-Length: 5|Connection: close|"),
    ("1.0, unknown", GET_10, 200, None, None, "UntilClose true Connection: close|"),
    ("1.0 keep, unknown", GET_10_KEEP, 200, None, None, "UntilClose true Connection: close|"),
    ("1.0 keep, known", GET_10_KEEP, 200, None, Some(5), "Length(5) false Content-Length: 5|Connection: keep-alive|"),
    ("HEAD, known", HEAD, 200, None, Some(5), "None false Content-Length: 5|"),
    ("HEAD, unknown", HEAD, 200, None, None, "None false "),
    ("HEAD, known to be empty", HEAD, 200, None, Some(0), "None false Content-Length: 0|"),
    ("HEAD, stated", HEAD, 200, Some("5"), Some(0), "None false Content-Length: 5|"),
    ("204", GET, 204, Some("5"), Some(5), "None false "),
    ("205", GET, 205, None, Some(5), "None false Content-Length: 0|"),
    ("304", GET, 304, None, Some(0), "None false "),
    ("304, stated", GET, 304, Some("5"), Some(0), "None false Content-Length: 5|"),
    ("404", GET, 404, None, Some(5), "Length(5) false Content-Length: 5|"),
    ("999", GET, 999, None, Some(5), "Length(5) false Content-Length: 5|"),
];

#[test]
fn the_framing_follows_request_status_and_lengths() {
    for &(name, request, status, stated, length, expected) in FRAMED {
        let fields: Vec<_> = stated
            .iter()
            .map(|&stated| ("Content-Length", stated))
            .collect();
        let (plan, written) = encode(request, status, &fields, length).unwrap();
        let got = format!("{:?} {} {written}", plan.framing, plan.close);
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn fields_about_the_connection_are_left_out_and_a_close_is_kept() {
    let fields: Fields<'_> = &[
        ("Transfer-Encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("X-Kept", "1"),
        ("Upgrade", "h2c"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Proxy-Authenticate", "Basic"),
        ("Connection", "x"),
    ];
    let (plan, text) = encode(GET, 200, fields, Some(1)).unwrap();
    assert_eq!(text, "X-Kept: 1|Content-Length: 1|");
    assert!(!plan.close);

    let (plan, text) = encode(GET, 200, &[("Connection", "x, Close")], Some(1)).unwrap();
    assert_eq!(text, "Content-Length: 1|Connection: close|");
    assert!(plan.close);
}

#[test]
fn the_app_may_set_date_and_server_itself() {
    let fields: Fields<'_> = &[("date", "then"), ("SERVER", "mine")];
    let (_, text) = encode(GET, 200, fields, Some(0)).unwrap();
    assert_eq!(text, "date: then|SERVER: mine|Content-Length: 0|");
}

#[test]
fn values_are_sent_as_they_are() {
    let fields: Fields<'_> = &[
        ("Set-Cookie", "a=b"),
        ("Set-Cookie", "c=\td \u{e9}"),
        ("X", ""),
    ];
    let (_, text) = encode(GET, 200, fields, Some(0)).unwrap();
    assert_eq!(
        text,
        "Set-Cookie: a=b|Set-Cookie: c=\td \u{e9}|X: |Content-Length: 0|"
    );
}

#[test]
fn what_would_break_the_wire_is_an_error_that_names_the_field() {
    let name = |name: &str| BadResponse::FieldName(name.into());
    let value = |name: &str| BadResponse::FieldValue(name.into());
    for (fields, expected) in [
        (&[("X", "a\r\nY: b")] as Fields<'_>, value("X")),
        (&[("X", "a\nb")], value("X")),
        (&[("X", "a\rb")], value("X")),
        (&[("X", "a\0b")], value("X")),
        (&[("X", "a\u{1b}[0m")], value("X")),
        (&[("Location", "/\r\n\r\n<html>")], value("Location")),
        (&[("", "a")], name("")),
        (&[("X Y", "a")], name("X Y")),
        (&[("X:", "a")], name("X:")),
        (&[("X\r\nY", "a")], name(r"X\x0d\x0aY")),
        (&[("\u{e9}", "a")], name(r"\xc3\xa9")),
        (&[("Content-Length", "x")], BadResponse::ContentLength),
        (&[("Content-Length", "-1")], BadResponse::ContentLength),
        (&[("Content-Length", "")], BadResponse::ContentLength),
        (&[("Content-Length", "5, 5")], BadResponse::ContentLength),
        (
            &[("Content-Length", "5"), ("content-length", "5")],
            BadResponse::ContentLengthRepeated,
        ),
        (
            &[("Content-Length", "6")],
            BadResponse::LengthDisagrees {
                stated: 6,
                actual: 5,
            },
        ),
    ] {
        assert_eq!(
            encode(GET, 200, fields, Some(5)).unwrap_err(),
            expected,
            "{fields:?}"
        );
    }
    for status in [0, 99, 100, 101, 199, 1000, u16::MAX] {
        assert_eq!(
            encode(GET, status, &[], None).unwrap_err(),
            BadResponse::Status(status)
        );
    }
}

#[test]
fn a_bad_reason_phrase_leaves_what_was_there_before() {
    for reason in [b"OK\r\nX: y".as_slice(), b"a\nb", b"a\0", b"\x7f"] {
        let mut out = b"before".to_vec();
        let fields: [(&[u8], &[u8]); 0] = [];
        let answer = Answer {
            status: 200,
            reason,
            fields,
            length: None,
            close: false,
        };
        assert_eq!(
            encode_head(&mut out, GET, answer, DATE),
            Err(BadResponse::Reason)
        );
        assert_eq!(out, b"before");
    }
}

#[test]
fn chunks_are_written_as_the_rfc_has_them() {
    let mut out = Vec::new();
    for data in [b"hello".as_slice(), b"", &[b'x'; 255]] {
        encode_chunk_prefix(&mut out, data.len() as u64);
        if !data.is_empty() {
            out.extend_from_slice(data);
            out.extend_from_slice(CHUNK_END);
        }
    }
    out.extend_from_slice(LAST_CHUNK);
    let expected = [
        b"5\r\nhello\r\nff\r\n".as_slice(),
        &[b'x'; 255],
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    assert_eq!(out, expected);
    out.clear();
    encode_chunk_prefix(&mut out, u64::MAX);
    assert_eq!(out, b"ffffffffffffffff\r\n");
}

#[test]
fn the_servers_own_answers_are_whole_responses() {
    let response = simple_response(
        503,
        &[("Retry-After", "1")],
        "Try again.",
        false,
        false,
        DATE,
    );
    assert_eq!(
        String::from_utf8(response).unwrap(),
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
         Content-Type: text/plain; charset=utf-8\r\nServer: canter\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 35\r\n\r\n\
         503 Service Unavailable\nTry again.\n"
    );
    let response = String::from_utf8(simple_response(404, &[], "", true, true, DATE)).unwrap();
    assert!(
        response.ends_with("Content-Length: 14\r\nConnection: close\r\n\r\n"),
        "{response}"
    );
}

#[test]
fn every_refusal_has_its_status_closes_and_says_why() {
    for &reject in Reject::ALL {
        let response = String::from_utf8(reject_response(reject, None, false, DATE)).unwrap();
        assert!(
            response.starts_with(&format!("HTTP/1.1 {} ", reject.status())),
            "{response}"
        );
        assert!(
            response.contains("\r\nConnection: close\r\n\r\n"),
            "{response}"
        );
        assert!(response.ends_with(&format!("{reject}\n")), "{response}");
        let bare = String::from_utf8(reject_response(reject, None, true, DATE)).unwrap();
        assert!(response.starts_with(&bare) && bare.ends_with("\r\n\r\n"));
        assert_eq!(
            response.contains("\r\nAllow: GET, "),
            reject.status() == 405,
            "{response}"
        );
    }
}
