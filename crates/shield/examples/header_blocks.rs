//! Measures what the look at coded header blocks costs for each of their bytes: a cookie over HTTP/2, as browsers
//! send it. Leaves what the look is for to the library.
//!
//! `cargo run --release -p canter-shield --example header_blocks`

use std::hint::black_box;
use std::time::Instant;

use canter_shield::frames::{Budget, Frames};

/// "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1" (RFC 7541, appendix C.6.3).
const COOKIE: &[u8] = b"\x94\xe7\x82\x1d\xd7\xf2\xe6\xc7\xb3\x35\xdf\xdf\xcd\x5b\x39\x60\xd5\xaf\x27\x08\
\x7f\x36\x72\xc1\xab\x27\x0f\xb5\x29\x1f\x95\x87\x31\x60\x65\xc0\x03\xed\x4e\xe5\xb1\x06\x3d\x50\x07";
const COOKIES: usize = 10;
const ROUNDS: u32 = 200_000;

fn main() {
    // ":method: GET", ":scheme: https", ":path: /", and crumbs of a cookie that are put into no table.
    let mut block = vec![0x82, 0x87, 0x84];
    for _ in 0..COOKIES {
        block.extend([0x0f, 0x11, 0x80 | COOKIE.len() as u8]);
        block.extend(COOKIE);
    }
    let mut frames = Frames::new(Budget::default(), 0);
    let _ = frames.feed(&mut [0; 24], 0, 0);
    let length = (block.len() as u32).to_be_bytes();
    let start = Instant::now();
    for round in 0..ROUNDS {
        let stream = (2 * round + 1).to_be_bytes();
        let mut bytes = [&length[1..], &[1, 5], &stream, &block].concat();
        if let Err(glitch) = frames.feed(black_box(&mut bytes), 0, 0) {
            println!("stopped by {glitch:?}");
            return;
        }
    }
    let bytes = f64::from(ROUNDS) * (COOKIES * COOKIE.len()) as f64;
    let each = start.elapsed().as_secs_f64() * 1e9 / bytes;
    println!("{each:.2} ns for each coded byte, heads of frames and fields included");
}
