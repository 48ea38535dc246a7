//! How long decoding and encoding take: owns the measured cases. Prints nanoseconds per message;
//! run with `cargo run --release -p canter-http --example speed`.

use std::hint::black_box;
use std::time::Instant;

use canter_http::date::format_date;
use canter_http::response::encode_head;
use canter_http::{Answer, BodyDecoder, Framing, Head, HeadDecoder, Limits, RequestFacts, Version};

const LOADER: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";

const CURL: &[u8] = b"GET /articles/42?page=2 HTTP/1.1\r\nHost: example.com\r\n\
    User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

const BROWSER: &[u8] = b"GET /articles/2026/11/a-page?utm_source=mail&page=2 HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/articles/\r\n\
    Connection: keep-alive\r\n\
    Cookie: sessionid=4s0m3l0ngr4nd0mstr1ng; csrftoken=An0therL0ngRand0mStringOf32Chars\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\r\n";

const ROUNDS: u32 = 7;
const REPEATS: u32 = 50_000;

fn main() {
    for (name, input) in [("loader", LOADER), ("curl", CURL), ("browser", BROWSER)] {
        let (mut decoder, mut head) = (HeadDecoder::new(), Head::new());
        measure(
            &format!("decode head, {name} ({} bytes)", input.len()),
            || {
                let progress = decoder.decode(&Limits::DEFAULT, black_box(input), &mut head);
                assert!(progress.is_ok());
                black_box(&head);
            },
        );
    }
    measure_chunked();
    measure_response();
}

fn measure_chunked() {
    let mut input = Vec::new();
    for _ in 0..16 {
        input.extend_from_slice(b"1000\r\n");
        input.extend_from_slice(&[b'x'; 4096]);
        input.extend_from_slice(b"\r\n");
    }
    input.extend_from_slice(b"0\r\n\r\n");
    let mut out = Vec::new();
    measure("decode body, 16 chunks of 4 KiB", || {
        out.clear();
        let decoder = BodyDecoder::new(Framing::Chunked, 1 << 20, &Limits::DEFAULT);
        let decoded = decoder.and_then(|mut body| body.decode(black_box(&input), &mut out));
        assert!(decoded.is_ok_and(|decoded| decoded.done));
    });
}

fn measure_response() {
    let date = format_date(1_790_000_000);
    let request = RequestFacts {
        is_head: false,
        version: Version::Http11,
        keep_alive: true,
    };
    let hello: &[(&[u8], &[u8])] = &[(b"Content-Type", b"text/plain"), (b"Content-Length", b"13")];
    let django: &[(&[u8], &[u8])] = &[
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"X-Frame-Options", b"DENY"),
        (b"Content-Length", b"13"),
        (b"Vary", b"Cookie"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Referrer-Policy", b"same-origin"),
        (b"Cross-Origin-Opener-Policy", b"same-origin"),
    ];
    let mut out = Vec::new();
    for (name, fields) in [("hello", hello), ("Django", django)] {
        measure(&format!("encode head, {name}"), || {
            out.clear();
            let fields = black_box(fields).iter().copied();
            let answer = Answer {
                status: 200,
                reason: b"OK",
                fields,
                length: Some(13),
                close: false,
            };
            assert!(encode_head(&mut out, request, answer, &date).is_ok());
            black_box(&out);
        });
    }
}

/// The best of several rounds, which is the one least disturbed.
fn measure(name: &str, mut run: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..REPEATS {
            run();
        }
        best = best.min(start.elapsed().as_secs_f64() / f64::from(REPEATS));
    }
    println!("{name:<40} {:>8.0} ns", best * 1e9);
}
