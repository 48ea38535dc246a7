//! Owns the rows for the response reader: what servers send and what nobody should; each whole, byte
//! by byte and cut at random, with the same result. Leaves sockets to the black-box tests.

use super::*;
use crate::random::Random;

/// How a response ended: status, body, whether the connection may be used again.
type Told = Result<(u16, Vec<u8>, bool), Bad>;

/// Reads in pieces; the end of the connection follows the last.
fn told(pieces: &[&[u8]], of_head_request: bool) -> Told {
    let mut decoder = Decoder::new(1000);
    decoder.expect(of_head_request, true);
    let mut body = Vec::new();
    for piece in pieces {
        decoder.feed(piece, |part| body.extend_from_slice(part))?;
    }
    decoder.end()?;
    assert_eq!(decoder.body_bytes(), body.len() as u64);
    Ok((decoder.head().status, body, decoder.head().keep_alive))
}

/// The same bytes in any pieces mean the same.
fn check(bytes: &[u8], of_head_request: bool) -> Told {
    let whole = told(&[bytes], of_head_request);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(
        told(&single, of_head_request),
        whole,
        "{}",
        bytes.escape_ascii()
    );
    let mut random = Random::new(bytes.len() as u64);
    for _ in 0..20 {
        let mut cuts: Vec<usize> = (0..3).map(|_| random.below(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let pieces = [
            &bytes[..cuts[0]],
            &bytes[cuts[0]..cuts[1]],
            &bytes[cuts[1]..cuts[2]],
            &bytes[cuts[2]..],
        ];
        assert_eq!(
            told(&pieces, of_head_request),
            whole,
            "{} at {cuts:?}",
            bytes.escape_ascii()
        );
    }
    whole
}

fn fine(bytes: &str, status: u16, body: &str, keep_alive: bool) {
    let expected = Ok((status, body.as_bytes().to_vec(), keep_alive));
    assert_eq!(
        check(bytes.as_bytes(), false),
        expected,
        "{}",
        bytes.escape_debug()
    );
}

#[test]
fn what_servers_send_is_read() {
    for (bytes, status, body, keep_alive) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            "ok",
            true,
        ),
        (
            "HTTP/1.1 200\r\ncontent-length:2\r\n\r\nok",
            200,
            "ok",
            true,
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            404,
            "",
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
            200,
            "x",
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx",
            200,
            "x",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\nto the end",
            200,
            "to the end",
            false,
        ),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "ok", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
            304,
            "",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nok",
            200,
            "ok",
            true,
        ),
    ] {
        fine(bytes, status, body, keep_alive);
    }
}

#[test]
fn folded_lines_chunks_and_interim_responses_are_read() {
    for (bytes, status, body, keep_alive) in [
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 1\r\n\r\nx",
            200,
            "x",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
            "ok",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n2;a=b\r\nok\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
            200,
            "ok0123456789",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            200,
            "x",
            false,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            200,
            "x",
            true,
        ),
    ] {
        fine(bytes, status, body, keep_alive);
    }
}

#[test]
fn what_is_no_response_is_refused_by_its_kind() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(HEAD_LIMIT));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "a".repeat(1001));
    let trailer = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}",
        "a: b\r\n".repeat(20_000)
    );
    for (bytes, bad) in [
        ("hello", Bad::StatusLine),
        ("SSH-2.0-OpenSSH_9.6\r\n", Bad::StatusLine),
        ("\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Bad::StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", Bad::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", Bad::StatusLine),
        ("HTTP/1.1 999 OK\r\n\r\n", Bad::StatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", Bad::StatusLine),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Bad::StatusLine),
        ("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", Bad::Field),
        ("HTTP/1.1 200 OK\r\nna me: x\r\n\r\n", Bad::Field),
        ("HTTP/1.1 200 OK\r\n: x\r\n\r\n", Bad::Field),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Bad::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Bad::Length),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            Bad::Length,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            Bad::Length,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            Bad::Coding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz",
            Bad::Chunk,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            Bad::Chunk,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy",
            Bad::Chunk,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            Bad::Chunk,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
            Bad::Truncated,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            Bad::Truncated,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Le", Bad::Truncated),
        ("", Bad::Truncated),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy",
            Bad::Surplus,
        ),
        (&long, Bad::HeadTooLong),
        (&endless, Bad::BodyTooLong),
        (&trailer, Bad::HeadTooLong),
    ] {
        let shown = bytes.get(..bytes.len().min(60)).unwrap_or_default();
        assert_eq!(
            check(bytes.as_bytes(), false),
            Err(bad),
            "{}",
            shown.escape_debug()
        );
    }
}

#[test]
fn the_response_to_head_has_no_body() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(check(bytes, true), Ok((200, Vec::new(), true)));
}

#[test]
fn fields_are_kept_only_when_asked_for() {
    let bytes = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n";
    let mut decoder = Decoder::new(1000);
    decoder.expect(false, true);
    assert_eq!(decoder.feed(bytes, |_| ()), Ok(true));
    assert_eq!(decoder.head().location.as_deref(), Some(&b"/x"[..]));
    assert_eq!(decoder.head().cookies.len(), 2);
    decoder.expect(false, false);
    assert_eq!(decoder.feed(bytes, |_| ()), Ok(true));
    assert_eq!(
        (
            decoder.head().location.as_ref(),
            decoder.head().cookies.len()
        ),
        (None, 0)
    );
}

#[test]
fn mutated_responses_never_panic_and_mean_the_same_in_any_pieces() {
    let seeds: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\r\nok\r\n0\r\nT: x\r\n\r\n",
        b"HTTP/1.0 404 x\r\nConnection: keep-alive, close\r\n\r\nbody",
        b"HTTP/1.1 103 x\r\n\r\nHTTP/1.1 304 x\r\nSet-Cookie: a\r\n\r\n",
    ];
    let alphabet = b"\r\n:;, 0123456789abcdefHTP/.\x00\xff-";
    let mut random = Random::new(11);
    for round in 0..2000 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..=random.below(4) {
            let (at, with) = (
                random.below(bytes.len()),
                alphabet[random.below(alphabet.len())],
            );
            match random.below(3) {
                0 => bytes[at] = with,
                1 => bytes.insert(at, with),
                _ => {
                    bytes.remove(at);
                }
            }
        }
        let _ = check(&bytes, round % 7 == 0);
    }
}
