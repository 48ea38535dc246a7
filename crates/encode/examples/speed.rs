//! What encoding costs: owns the measured cases. Prints for each coding and level the time for a
//! page, what is left of it, and the memory of a stream; run with
//! `cargo run --release -p canter-encode --example speed [FILE]`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use canter_encode::{Coding, Encoder, Level, Pad, encode};

const LEVELS: std::ops::RangeInclusive<u8> = 1..=9;
/// For each figure at least.
const TIME: Duration = Duration::from_millis(200);
const STREAMS: usize = 20;
const SLICE: usize = 32 * 1024;

type New = fn(Coding, Level, Pad) -> std::io::Result<Encoder>;

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, word, coding, level] = arguments.as_slice()
        && let shape @ ("memory" | "trickle") = word.as_str()
        && let Ok(level) = level.parse()
    {
        let coding = Coding::ENCODED
            .into_iter()
            .find(|known| known.name() == coding);
        let new = if shape == "memory" {
            Encoder::new
        } else {
            Encoder::trickle
        };
        println!(
            "{}",
            memory(coding.unwrap_or(Coding::Identity), Level::new(level), new)
        );
        return;
    }
    let content = match arguments.get(1) {
        Some(path) => std::fs::read(path).unwrap_or_default(),
        None => page(60_000),
    };
    println!(
        "a page of {} bytes; a stream of 1 MB in slices of {SLICE}",
        content.len()
    );
    for coding in Coding::ENCODED {
        for number in LEVELS {
            let level = Level::new(number);
            let (took, length) = at_once(&content, coding, level);
            let slice = longest_slice(&content, coding, level);
            println!(
                "{:8} {level:?}: {:>7.1} us, {:>4.1} MB/s, {:>4.1} % left; slice {:>7.1} us; {} KB each, a trickle {}",
                coding.name(),
                took.as_secs_f64() * 1e6,
                content.len() as f64 / took.as_secs_f64() / 1e6,
                length as f64 * 100.0 / content.len().max(1) as f64,
                slice.as_secs_f64() * 1e6,
                alone("memory", coding, number) >> 10,
                alone("trickle", coding, number) >> 10,
            );
        }
    }
}

fn page(length: usize) -> Vec<u8> {
    let mut random = 7_u64;
    let mut out = Vec::with_capacity(length + 200);
    while out.len() < length {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let row = format!(
            "<li class=\"row\"><a href=\"/item/{}/\">Item {}</a> of {} <em>{}</em></li>\n",
            random >> 44,
            random >> 54,
            (random >> 20) % 97,
            ["new", "sold", "on its way", "gone"][(random >> 33) as usize % 4],
        );
        out.extend_from_slice(row.as_bytes());
    }
    out.truncate(length);
    out
}

fn at_once(content: &[u8], coding: Coding, level: Level) -> (Duration, usize) {
    let (begin, mut rounds, mut length) = (Instant::now(), 0, 0);
    while begin.elapsed() < TIME {
        length = encode(black_box(content), coding, level, Pad::NONE).map_or(0, |out| out.len());
        rounds += 1;
    }
    (begin.elapsed() / rounds, length)
}

/// The middle one of the longest slices of some streams: what others wait for.
fn longest_slice(content: &[u8], coding: Coding, level: Level) -> Duration {
    let all = content.repeat(1 + (1 << 20) / content.len().max(1));
    let mut longest: Vec<_> = (0..5)
        .filter_map(|_| {
            let mut encoder = Encoder::new(coding, level, Pad::NONE).ok()?;
            let mut out = Vec::new();
            let times = all.chunks(SLICE).map(|slice| {
                let begin = Instant::now();
                let _ = encoder
                    .write(slice, &mut out)
                    .and_then(|()| encoder.flush(&mut out));
                out.clear();
                begin.elapsed()
            });
            times.max()
        })
        .collect();
    longest.sort();
    longest.get(longest.len() / 2).copied().unwrap_or_default()
}

/// [`memory`] in a process of its own: memory that was freed before would be taken again unseen.
fn alone(shape: &str, coding: Coding, level: u8) -> usize {
    let this = std::env::current_exe().unwrap_or_default();
    let arguments = [shape, coding.name(), &level.to_string()];
    let output = std::process::Command::new(this).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().parse().unwrap_or(0)
}

/// Resident memory of one of many streams under way.
fn memory(coding: Coding, level: Level, new: New) -> usize {
    let content = page(300_000);
    let before = resident();
    let streams: Vec<_> = (0..STREAMS)
        .filter_map(|_| {
            let mut encoder = new(coding, level, Pad::NONE).ok()?;
            for slice in content.chunks(SLICE) {
                let _ = encoder.write(slice, &mut Vec::new());
            }
            Some(encoder)
        })
        .collect();
    let after = resident();
    black_box(&streams);
    after.saturating_sub(before) / STREAMS
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0);
    pages * 4096
}
