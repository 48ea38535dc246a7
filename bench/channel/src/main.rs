//! Measures three ways between a front and a worker, two processes with the same work for each
//! request: Canter's rings, a unix stream socket with frames written together, and a unix
//! seqpacket socket with a system call for each message.
//!
//! Owns the rounds and the table. Leaves each way to `ways`.
//!
//! ```text
//!   cargo run --release --manifest-path bench/channel/Cargo.toml \
//!       --target-dir bench/.work/target -- [ROUNDS]
//! ```

mod ways;

use std::io;
use std::time::Instant;

use canter_sys::cpu::process_time;
use canter_sys::fds;
use canter_sys::process::{Forked, exit_now, fork};

use ways::{Front, Worker};

/// A request as the front writes it for a plain GET of a browser.
const REQUEST: usize = 600;

/// Requests in one round.
const REQUESTS: u64 = 200_000;

/// Steps of arithmetic that stand for parsing a request, and for answering it; about 2 µs.
const WORK: u32 = 1_500;

/// Requests under way at once, and the length of an answer.
const CASES: [(u64, usize); 4] = [(1, 200), (64, 200), (1, 10_000), (64, 10_000)];

/// What one round has shown.
#[derive(Clone, Copy)]
struct Seen {
    per_second: f64,
    front_us: f64,
    worker_us: f64,
}

fn main() -> io::Result<()> {
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let rounds: usize = rounds.unwrap_or(5);
    println!("{rounds} rounds in turn, medians (lowest to highest); requests of {REQUEST} bytes");
    println!("the work alone: {:.2} µs on each side\n", work_alone());
    println!("| way | under way | answer | requests/s | front, µs of CPU | worker, µs of CPU |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (depth, answer) in CASES {
        // One request under way is slow and needs fewer.
        let count = if depth == 1 { REQUESTS / 4 } else { REQUESTS };
        let mut rows = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..rounds {
            let [rings, stream, seqpacket] = &mut rows;
            rings.push(round(ways::rings()?, count, depth, answer)?);
            stream.push(round(ways::stream()?, count, depth, answer)?);
            seqpacket.push(round(ways::seqpacket()?, count, depth, answer)?);
        }
        for (name, seen) in ["rings", "stream", "seqpacket"].iter().zip(&rows) {
            println!(
                "| {name} | {depth} | {answer} B | {} | {} | {} |",
                median(seen, 0, |seen| seen.per_second),
                median(seen, 2, |seen| seen.front_us),
                median(seen, 2, |seen| seen.worker_us),
            );
        }
    }
    Ok(())
}

/// The median, and in brackets the lowest and the highest.
fn median(seen: &[Seen], digits: usize, of: impl Fn(&Seen) -> f64) -> String {
    let mut values: Vec<f64> = seen.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let [lowest, highest] = [values.first(), values.last()].map(|v| v.copied().unwrap_or(f64::NAN));
    format!("{middle:.digits$} ({lowest:.digits$} to {highest:.digits$})")
}

/// Runs the worker's side in a child and the front's here.
fn round<F: Front, W: Worker>(
    (mut front, worker): (F, W),
    count: u64,
    depth: u64,
    answer: usize,
) -> io::Result<Seen> {
    let (ours, theirs) = fds::pair()?;
    if matches!(fork()?, Forked::Child) {
        drop(front);
        let done = serve(worker, count, answer);
        let nanos = process_time().as_nanos() as u64;
        let sent = done.and_then(|()| fds::send(&theirs, &nanos.to_ne_bytes(), &[]));
        exit_now(i32::from(sent.is_err()));
    }
    drop((worker, theirs));
    let (started, before) = (Instant::now(), process_time());
    ask(&mut front, count, depth)?;
    let (took, used) = (started.elapsed(), process_time().saturating_sub(before));
    let mut nanos = [0; 8];
    fds::receive(&ours, &mut nanos)?;
    Ok(Seen {
        per_second: count as f64 / took.as_secs_f64(),
        front_us: used.as_nanos() as f64 / 1000.0 / count as f64,
        worker_us: u64::from_ne_bytes(nanos) as f64 / 1000.0 / count as f64,
    })
}

/// The front: as many requests under way as may be, what has come taken in one go.
fn ask(front: &mut impl Front, count: u64, depth: u64) -> io::Result<()> {
    let request = [b'r'; REQUEST];
    let (mut sent, mut answered) = (0, 0);
    while answered < count {
        while sent < count && sent - answered < depth {
            if !front.push(sent, &request)? {
                break;
            }
            work();
            sent += 1;
        }
        front.flush()?;
        answered += front.wait()?;
    }
    Ok(())
}

/// The worker: one request after the other.
fn serve(mut worker: impl Worker, count: u64, answer: usize) -> io::Result<()> {
    let answer = vec![b'a'; answer];
    for _ in 0..count {
        worker.take()?;
        work();
        worker.answer(&answer)?;
    }
    worker.finish()
}

/// Microseconds that [`work`] takes.
fn work_alone() -> f64 {
    let before = process_time();
    (0..REQUESTS).for_each(|_| work());
    process_time().saturating_sub(before).as_nanos() as f64 / 1000.0 / REQUESTS as f64
}

/// The same in both processes and for every way.
fn work() {
    let mut value = std::hint::black_box(7_u64);
    for _ in 0..WORK {
        value = value
            .wrapping_mul(6_364_136_223_846_793_005)
            .rotate_left(17);
    }
    std::hint::black_box(value);
}
