//! Tests of encoding: what comes out is undone by decoders that know nothing of the encoder.

use std::io::Read;

use super::*;

const LEVELS: [u8; 4] = [1, 3, 6, 9];

fn page(length: usize) -> Vec<u8> {
    let mut random = 7_u64;
    let mut out = Vec::with_capacity(length + 40);
    while out.len() < length {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        out.extend_from_slice(b"<li class=\"row\"><a href=\"/item/");
        out.extend_from_slice((random >> 40).to_string().as_bytes());
        out.extend_from_slice(b"\">an item</a>\n");
    }
    out.truncate(length);
    out
}

/// What a client has read when these bytes have come, and whether that is all.
fn decode(coding: Coding, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut reader: Box<dyn Read> = match coding {
        Coding::Identity => Box::new(bytes),
        Coding::Gzip => Box::new(flate2::bufread::GzDecoder::new(bytes)),
        Coding::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
        Coding::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(bytes).unwrap()),
    };
    let (mut out, mut piece) = (Vec::new(), [0; 1000]);
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return (out, true),
            Ok(count) => out.extend_from_slice(&piece[..count]),
            Err(_) => return (out, false),
        }
    }
}

#[test]
fn content_of_any_length_is_undone_in_every_coding_at_every_level() {
    for coding in Coding::ENCODED {
        for level in LEVELS.map(Level::new) {
            for length in [0, 1, 100, 5000, 70_000, 300_000] {
                for pad in [Pad::NONE, Pad::random(0), Pad::random(99)] {
                    let content = page(length);
                    let encoded = encode(&content, coding, level, pad).unwrap();
                    let (decoded, whole) = decode(coding, &encoded);
                    assert!(
                        whole && decoded == content,
                        "{coding:?} {level:?} {length} {pad:?}"
                    );
                    assert!(length < 1000 || encoded.len() < length / 2);
                }
            }
        }
    }
}

#[test]
fn what_was_flushed_can_be_read_before_the_rest_comes() {
    for coding in Coding::ENCODED {
        for (pad, new) in [
            (Pad::NONE, Encoder::new as fn(_, _, _) -> _),
            (Pad::random(41), Encoder::trickle),
        ] {
            let (mut out, mut content) = (Vec::new(), Vec::new());
            let mut encoder = new(coding, Level::DEFAULT, pad).unwrap();
            for length in [1, 0, 3000, 20, 40_000, 7] {
                let piece = page(length);
                encoder.write(&piece, &mut out).unwrap();
                encoder.flush(&mut out).unwrap();
                content.extend_from_slice(&piece);
                assert!(decode(coding, &out).0 == content, "{coding:?} {length}");
            }
            encoder.finish(&mut out).unwrap();
            assert!(
                decode(coding, &out) == (content, true),
                "{coding:?} {pad:?}"
            );
        }
    }
}

#[test]
fn a_stream_without_its_end_is_not_taken_for_whole() {
    for coding in Coding::ENCODED {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(coding, Level::DEFAULT, Pad::NONE).unwrap();
        encoder.write(&page(9000), &mut out).unwrap();
        encoder.flush(&mut out).unwrap();
        assert!(!decode(coding, &out).1, "{coding:?}");
    }
}

#[test]
fn a_pad_makes_the_length_differ_and_nothing_else() {
    let content = page(9000);
    for coding in Coding::ENCODED {
        let length = |pad| encode(&content, coding, Level::DEFAULT, pad).unwrap().len();
        let without = length(Pad::NONE);
        let mut seen: Vec<usize> = (0..100).map(|number| length(Pad::random(number))).collect();
        assert!(
            seen.iter()
                .all(|&with| with > without && with <= without + 120)
        );
        seen.dedup();
        assert_eq!(seen.len(), 100, "{coding:?}");
        // A hundred lengths and no more, each as likely as another.
        assert_eq!(length(Pad::random(250)), length(Pad::random(50)));
    }
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let content = page(60_000);
    for coding in Coding::ENCODED {
        let encoded = || encode(&content, coding, Level::KEPT, Pad::NONE).unwrap();
        assert!(encoded() == encoded());
    }
}

#[test]
fn identity_is_left_as_it_is() {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(Coding::Identity, Level::DEFAULT, Pad::random(9)).unwrap();
    encoder.write(b"abc", &mut out).unwrap();
    encoder.flush(&mut out).unwrap();
    encoder.finish(&mut out).unwrap();
    assert_eq!(out, b"abc");
}
