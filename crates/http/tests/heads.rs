//! What a decoded head says: owns the meaning of its parts. What is refused is in the corpus.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

use canter_http::{FieldClass, Framing, Head, HeadDecoder, KnownName, Limits, Method, Progress};
use canter_http::{TargetForm, Version};

fn decode(input: &str) -> Head {
    let mut head = Head::new();
    let progress = HeadDecoder::new().decode(&Limits::DEFAULT, input.as_bytes(), &mut head);
    assert_eq!(progress, Ok(Progress::Complete), "{input}");
    head
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn every_part_of_a_head_is_found() {
    let input = "\r\nPOST /a%20b/?x=1&y HTTP/1.1\r\nHost: example.com:8000\r\nX-One:  \t1 \t\r\n\
                 Content-Length: 5\r\nexpect: 100-CONTINUE\r\nEmpty:\r\n\r\nhello";
    let (head, buf) = (decode(input), input.as_bytes());
    assert_eq!((head.method, head.version), (Method::Post, Version::Http11));
    assert_eq!(text(head.method_span.of(buf)), "POST");
    assert_eq!(text(head.target_span.of(buf)), "/a%20b/?x=1&y");
    assert_eq!(
        (text(head.path(buf)), text(head.query(buf))),
        ("/a%20b/", "x=1&y")
    );
    assert!(head.path_is_escaped && head.form == TargetForm::Origin);
    assert_eq!(text(head.host_span.of(buf)), "example.com:8000");
    assert_eq!(head.framing, Framing::Length(5));
    assert!(head.keep_alive && head.expects_continue && !head.wants_upgrade);
    assert_eq!(head.length, input.len() - "hello".len());
    let fields: Vec<_> = head
        .fields
        .iter()
        .map(|field| {
            (
                text(field.name.of(buf)),
                text(field.value.of(buf)),
                field.known,
            )
        })
        .collect();
    assert_eq!(
        fields,
        [
            ("Host", "example.com:8000", KnownName::Host),
            ("X-One", "1", KnownName::Other),
            ("Content-Length", "5", KnownName::ContentLength),
            ("expect", "100-CONTINUE", KnownName::Expect),
            ("Empty", "", KnownName::Other),
        ]
    );
    assert_eq!(
        head.value(buf, KnownName::ContentLength),
        Some(b"5".as_slice())
    );
    assert_eq!(head.value(buf, KnownName::Cookie), None);
    assert!(head.has(KnownName::Host) && !head.has(KnownName::Other));
}

#[test]
fn an_absolute_target_gives_path_query_and_host() {
    for (target, path, query) in [
        ("http://a:1/b?c", "/b", "c"),
        ("HTTPS://a:1?c=/d", "/", "c=/d"),
        ("http://a:1", "/", ""),
        ("http://a:1/b%41?", "/b%41", ""),
    ] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: A:1\r\n\r\n");
        let (head, buf) = (decode(&input), input.as_bytes());
        assert_eq!(
            (text(head.path(buf)), text(head.query(buf))),
            (path, query),
            "{target}"
        );
        assert_eq!(head.form, TargetForm::Absolute);
        assert_eq!(text(head.authority_span.of(buf)), "a:1");
    }
    let input = "GET http://a/ HTTP/1.0\r\n\r\n";
    assert_eq!(text(decode(input).host_span.of(input.as_bytes())), "a");
    let input = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(text(decode(input).path(input.as_bytes())), "*");
    assert_eq!(decode(input).form, TargetForm::Asterisk);
}

#[test]
fn fields_that_an_app_must_not_see_are_marked() {
    let input = "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\nProxy: b\r\nx-y: c\r\n\
                 Content_Length: 5\r\n\r\n";
    let head = decode(input);
    let classes: Vec<_> = head.fields.iter().map(|field| field.class).collect();
    let normal = FieldClass::Normal;
    let underscore = FieldClass::Underscore;
    assert_eq!(
        classes,
        [normal, underscore, FieldClass::Proxy, normal, underscore]
    );
    assert_eq!(head.framing, Framing::None);
}

#[test]
fn an_upgrade_needs_both_fields_and_http11() {
    let head = |version: &str, fields: &str| {
        decode(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).wants_upgrade
    };
    assert!(head(
        "1.1",
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    ));
    assert!(!head("1.1", "Upgrade: websocket\r\n"));
    assert!(!head("1.1", "Connection: Upgrade\r\n"));
    assert!(!head(
        "1.0",
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    ));
}

#[test]
fn a_head_used_again_keeps_nothing_of_the_last_request() {
    let first = b"POST http://a/b?c HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nCookie: d\r\n\
                  Connection: keep-alive\r\n\r\n";
    let second = b"GET /%41 HTTP/1.0\r\n\r\n";
    let (mut decoder, mut head) = (HeadDecoder::new(), Head::new());
    assert_eq!(
        decoder.decode(&Limits::DEFAULT, first, &mut head),
        Ok(Progress::Complete)
    );
    assert_eq!(
        decoder.decode(&Limits::DEFAULT, second, &mut head),
        Ok(Progress::Complete)
    );
    let fresh = decode("GET /%41 HTTP/1.0\r\n\r\n");
    assert_eq!(format!("{head:?}"), format!("{fresh:?}"));
}

#[test]
fn a_decoder_knows_whether_a_request_has_begun() {
    let (mut decoder, mut head) = (HeadDecoder::new(), Head::new());
    for (input, begun) in [
        (b"".as_slice(), false),
        (b"\r", false),
        (b"\r\n", false),
        (b"\r\nG", true),
        (b"\r\nGET / HTTP/1.1\r\nHost", true),
    ] {
        assert_eq!(
            decoder.decode(&Limits::DEFAULT, input, &mut head),
            Ok(Progress::Partial)
        );
        assert_eq!(decoder.is_inside_request(input), begun, "{input:?}");
    }
}
