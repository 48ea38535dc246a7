//! Replays the corpus and mutations of it through the codec: owns what is compared. The rows are
//! in `corpus/h1`, the invariants in `canter_http::check`.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod corpus;

use std::fmt::Write;

use canter_http::check::{Xorshift, check};
use canter_http::converse::{Conversation, Step, converse};
use corpus::{Row, rows};

/// Writes a conversation the way the corpus does.
fn described(conversation: &Conversation, keep_continue: bool) -> String {
    let mut text = String::new();
    for step in &conversation.steps {
        let _ = match step {
            Step::Continue if !keep_continue => Ok(()),
            Step::Continue => write!(text, "100 "),
            Step::Request(0) => write!(text, "200 "),
            Step::Request(length) => write!(text, "200/{length} "),
            Step::Refused(reject) => write!(text, "{}/{} ", reject.status(), reject.word()),
        };
    }
    text + match conversation {
        Conversation { closed: true, .. } => "close",
        Conversation {
            incomplete: true, ..
        } => "incomplete",
        Conversation { .. } => "keep",
    }
}

fn expected(row: &Row) -> String {
    let required = row.answers.iter().filter(|answer| *answer != "100?");
    required
        .chain([&row.end])
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Compares each row played with the cuts that `cuts` chooses; collects all rows that differ.
fn replay(cuts: impl Fn(&Row) -> Vec<usize>) {
    let mut wrong = String::new();
    for row in rows() {
        let required = row.answers.iter().any(|answer| answer == "100");
        let played = converse(&row.bytes, cuts(&row), &mut |_| ());
        let (played, expected) = (described(&played, required), expected(&row));
        if played != expected {
            let _ = writeln!(
                wrong,
                "{}\n  expected {expected}\n  played   {played}",
                row.name
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn each_row_is_answered_as_written_when_it_arrives_whole() {
    replay(|_| Vec::new());
}

#[test]
fn each_row_is_answered_as_written_when_it_arrives_byte_by_byte() {
    replay(|row| (0..row.bytes.len()).collect());
}

#[test]
fn each_row_is_answered_as_written_when_it_is_cut_at_random() {
    for seed in 1..=8 {
        replay(|row| {
            let mut random = Xorshift::new(seed * 7919 + row.bytes.len() as u64);
            let mut cuts: Vec<_> = (0..5).map(|_| random.below(row.bytes.len() + 1)).collect();
            cuts.sort_unstable();
            cuts
        });
    }
}

#[test]
fn there_are_rows_for_every_reason_to_refuse() {
    let answers: Vec<String> = rows().into_iter().flat_map(|row| row.answers).collect();
    for reject in canter_http::Reject::ALL {
        let answer = format!("{}/{}", reject.status(), reject.word());
        assert!(answers.contains(&answer), "no row answers {answer}");
    }
}

#[test]
fn the_invariants_hold_for_every_row() {
    for row in rows().iter().filter(|row| row.bytes.len() < 20_000) {
        check(&row.bytes);
    }
}

/// Changes, removes, doubles and mixes bytes, mostly with those that mean something in HTTP.
fn mutate(random: &mut Xorshift, seeds: &[Row]) -> Vec<u8> {
    const MEANINGFUL: &[&[u8]] = &[
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\x0b",
        b"\x7f",
        b"\x80",
        b"\xff",
        b";",
        b"\"",
        b"\\",
        b",",
        b"=",
        b"0",
        b"5",
        b"f",
        b"-",
        b"+",
        b"%",
        b"%00",
        b"/",
        b"?",
        b"#",
        b"http://",
        b"HTTP/1.0",
        b"HTTP/1.1",
        b"chunked",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Host: b\r\n",
        b"_",
        b"|",
        b"0\r\n\r\n",
    ];
    let mut bytes = seeds[random.below(seeds.len())].bytes.clone();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(8)).min(bytes.len());
        let token = MEANINGFUL[random.below(MEANINGFUL.len())];
        match random.below(6) {
            0 => drop(bytes.splice(at..at, token.iter().copied())),
            1 => drop(bytes.splice(at..end, token.iter().copied())),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            4 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => {
                let other = &seeds[random.below(seeds.len())].bytes;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
        }
    }
    bytes
}

#[test]
fn the_invariants_hold_for_mutations_of_the_rows() {
    let seeds: Vec<Row> = rows()
        .into_iter()
        .filter(|row| row.bytes.len() < 600)
        .collect();
    // `MUTATIONS=1000000 cargo test --release ...` looks longer, `SEED` elsewhere.
    let number = |name: &str, usual| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let mut random = Xorshift::new(number("SEED", 20_261_121));
    for _ in 0..number("MUTATIONS", 30_000) {
        check(&mutate(&mut random, &seeds));
    }
}
