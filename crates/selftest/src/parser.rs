//! Owns requests that two servers could read in two ways: each must be refused (RFC 9112), or be
//! read in the one way that is right.
//! Leaves judging to `attack`.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::Plan;
use crate::attack::Seen;

/// Each with its place in RFC 9112 or RFC 9110. `@` stands for the host.
const BROKEN: &[(&str, &str)] = &[
    (
        "both Content-Length and Transfer-Encoding, 6.1",
        "POST / HTTP/1.1\r\nHost: @\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "Transfer-Encoding on HTTP/1.0, 6.1",
        "POST / HTTP/1.0\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice, 6.1",
        "POST / HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "unknown transfer coding, 6.1",
        "POST / HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths, 6.3",
        "POST / HTTP/1.1\r\nHost: @\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    ),
    (
        "length with a sign, 6.2",
        "POST / HTTP/1.1\r\nHost: @\r\nContent-Length: +3\r\n\r\nabc",
    ),
    (
        "length in hexadecimal, 6.2",
        "POST / HTTP/1.1\r\nHost: @\r\nContent-Length: 0x3\r\n\r\nabc",
    ),
    (
        "length with an underscore, 6.2",
        "POST / HTTP/1.1\r\nHost: @\r\nContent-Length: 1_0\r\n\r\n0123456789",
    ),
    (
        "length that overflows, 6.2",
        "POST / HTTP/1.1\r\nHost: @\r\nContent-Length: 18446744073709551617\r\n\r\na",
    ),
    (
        "space before the colon, 5.1",
        "GET / HTTP/1.1\r\nHost : @\r\n\r\n",
    ),
    (
        "folded field, 5.2",
        "GET / HTTP/1.1\r\nHost: @\r\nX-A: b\r\n c\r\n\r\n",
    ),
    (
        "bare CR in a field, 2.2",
        "GET / HTTP/1.1\r\nHost: @\r\nX-A: b\rc\r\n\r\n",
    ),
    (
        "NUL in a field, RFC 9110 5.5",
        "GET / HTTP/1.1\r\nHost: @\r\nX-A: b\0c\r\n\r\n",
    ),
    (
        "field without a name, 5",
        "GET / HTTP/1.1\r\nHost: @\r\n: b\r\n\r\n",
    ),
    (
        "space before the first field, 2.2",
        "GET / HTTP/1.1\r\n Host: @\r\n\r\n",
    ),
    ("no Host, 3.2", "GET / HTTP/1.1\r\n\r\n"),
    (
        "two Hosts, 3.2",
        "GET / HTTP/1.1\r\nHost: @\r\nHost: @\r\n\r\n",
    ),
    (
        "Host with a path, 3.2",
        "GET / HTTP/1.1\r\nHost: @/x\r\n\r\n",
    ),
    (
        "version that does not exist, 2.3",
        "GET / HTTP/1.9x\r\nHost: @\r\n\r\n",
    ),
    ("lower-case http, 2.3", "GET / http/1.1\r\nHost: @\r\n\r\n"),
    (
        "chunk size with a sign, 7.1",
        "POST / HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    ),
    (
        "chunk size in 0x, 7.1",
        "POST / HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    ),
    (
        "chunk size that overflows, 7.1",
        "POST / HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
    ),
    (
        "chunk ended by a bare LF, 7.1",
        "POST / HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    ),
    (
        "chunk extension with a bare LF, 7.1.1",
        "POST / HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
    ),
    (
        "chunk longer than it says, 7.1",
        "POST / HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
    ),
    (
        "control byte in the target, 3.2",
        "GET /\u{1} HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
    (
        "two spaces in the request line, 3",
        "GET  / HTTP/1.1\r\nHost: @\r\n\r\n",
    ),
];

/// Long enough for any server that answers at all.
const LIMIT: Duration = Duration::from_secs(2);

pub(crate) async fn broken_requests(plan: &Plan) -> Seen {
    let mut seen = Seen {
        spoken: true,
        ..Seen::default()
    };
    for (what, request) in BROKEN {
        seen.used += 1;
        let request = request.replace('@', plan.target.host());
        match answer(plan, request.as_bytes()).await {
            Some(status) if status < 400 => {
                seen.fell = true;
                seen.notes.push(format!("took: {what}"));
            }
            // Refused, closed, or left waiting until it is: none of them is a second meaning.
            _ => seen.ended += 1,
        }
    }
    seen
}

/// The status of the first answer, if one came.
async fn answer(plan: &Plan, request: &[u8]) -> Option<u16> {
    let exchange = async {
        let mut stream = plan.target.connect().await.ok()?;
        stream.write_all(request).await.ok()?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.ok()?;
        std::str::from_utf8(start.get(9..12)?).ok()?.parse().ok()
    };
    timeout(LIMIT, exchange).await.ok().flatten()
}

/// Announces an upload that no server takes and sends 20 MB of it: the refusal must be readable.
pub(crate) async fn early_error(plan: &Plan) -> Seen {
    const TRIES: usize = 20;
    let mut seen = Seen {
        used: TRIES,
        spoken: true,
        ..Seen::default()
    };
    for _ in 0..TRIES {
        match timeout(LIMIT, refused_upload(plan)).await {
            Ok(Some(400..)) => seen.ended += 1,
            // Taken in full, for a server without a limit has nothing to refuse; or left waiting.
            Ok(Some(_)) | Err(_) => {}
            Ok(None) => {
                seen.fell = true;
                if seen.notes.is_empty() {
                    seen.notes.push(
                        "the connection was reset before the answer could be read".to_owned(),
                    );
                }
            }
        }
    }
    seen
}

async fn refused_upload(plan: &Plan) -> Option<u16> {
    let mut stream = plan.target.connect().await.ok()?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000000000\r\n\r\n",
        plan.target.path(),
        plan.target.host()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    let (mut from, mut to) = stream.split();
    let sending = async {
        let piece = vec![b'a'; 64 * 1024];
        for _ in 0..320 {
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
        // The answer is what is waited for.
        std::future::pending::<()>().await;
    };
    let mut start = [0; 12];
    let reading = async { from.read_exact(&mut start).await.map(|_| ()).ok() };
    tokio::select! {
        () = sending => None,
        read = reading => {
            read?;
            std::str::from_utf8(start.get(9..12)?).ok()?.parse().ok()
        }
    }
}
