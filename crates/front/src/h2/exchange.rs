//! Owns one HTTP/2 stream: its request goes through a pipe to a `Conn`, its response comes back.
//! Leaves heads to `head` and the response's way out to `respond`.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use canter_shield::score::Misdeed;
use h2::RecvStream;
use h2::server::SendResponse;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};

use super::io::Watch;
use super::streams::Active;
use super::{head, respond, with};
use crate::access::Ended;
use crate::app::App;
use crate::conn::{Arrival, Conn};
use crate::facts::Line;
use crate::pipe::{self, Pipe};
use crate::shared::Shared;
use crate::stream::Stream;

/// Starts an exchange, which runs to its end.
pub(super) fn start<A: App>(
    request: Request<RecvStream>,
    mut send: SendResponse<Bytes>,
    arrival: Arrival,
    shared: Rc<Shared<A>>,
    active: Rc<Active>,
    watch: Rc<Watch>,
) {
    let (parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let head = match head::request(&parts, has_body) {
        Ok(head) => head,
        Err(unfit) => {
            refuse(&shared, &parts, &arrival, &unfit);
            let head::Unfit::Status(status) = unfit else {
                return send.send_reset(h2::Reason::PROTOCOL_ERROR);
            };
            let mut response = Response::new(());
            *response.status_mut() = status;
            let _ = send.send_response(response, true);
            return;
        }
    };
    let chunked = has_body && !parts.headers.contains_key(header::CONTENT_LENGTH);
    let is_head = parts.method == Method::HEAD;
    let (near, far) = pipe::pair_behind(head);
    let conn = Conn::new(Stream::Pipe(far), arrival, shared, &[]);
    let conn = tokio::task::spawn_local(conn.serve());
    tokio::task::spawn_local(async move {
        if has_body {
            // Boxed, so that requests without a body do not make room for it.
            let body = (body, chunked);
            Box::pin(exchange(body, &near, &mut send, is_head, &active, &watch)).await;
        } else {
            drop(body);
            respond::run(&near, &mut send, is_head, &active).await;
        }
        active.leave();
        drop(near);
        // Lets go of the app's call, when the client did not wait for its end.
        let _ = conn.await;
        drop(active);
    });
}

/// Receives the body while the response is sent, to the end of that.
async fn exchange(
    (body, chunked): (RecvStream, bool),
    near: &Pipe,
    send: &mut SendResponse<Bytes>,
    is_head: bool,
    active: &Active,
    watch: &Watch,
) {
    let stream = send.stream_id().as_u32();
    let is_malformed = Cell::new(false);
    let receiving = async {
        let received = receive(body, near, chunked, || watch.take_bad_trailers(stream)).await;
        is_malformed.set(matches!(received, Ok(End::Malformed)));
        if is_malformed.get() || received.is_err() {
            // The client broke off, or nobody wants the rest; either way there is no more.
            near.break_off();
        }
    };
    let answering = async {
        let mut answering = pin!(respond::run(near, send, is_head, active));
        poll_fn(|cx| {
            if is_malformed.get() {
                Poll::Ready(())
            } else {
                answering.as_mut().poll(cx)
            }
        })
        .await;
    };
    with(answering, receiving).await;
    if is_malformed.get() {
        // Section 8.1.1.
        send.send_reset(h2::Reason::PROTOCOL_ERROR);
    }
}

/// How a body that has come has ended.
enum End {
    Whole,
    /// What followed it is none that may.
    Malformed,
}

/// Logs and counts against the client what is no request: nothing else will see it.
pub(super) fn refuse<A: App>(
    shared: &Shared<A>,
    parts: &Parts,
    arrival: &Arrival,
    unfit: &head::Unfit,
) {
    if let (Some(ip), false) = (arrival.peer_ip, arrival.trusted) {
        shared.guard.misdeed(ip, Misdeed::Malformed);
    }
    let Some(log) = &shared.access else { return };
    let (status, target) = match unfit {
        head::Unfit::Status(status) => (*status, parts.uri.path()),
        head::Unfit::Malformed(word) => (StatusCode::BAD_REQUEST, *word),
    };
    let (client, method) = (&arrival.peer.address, parts.method.as_str());
    let texts = [client.as_str(), method, "", "", target].map(str::as_bytes);
    let line = Line::of(texts, "HTTP/2.0");
    log.log(&Ended {
        line: &line,
        id: b"-",
        status: status.as_u16(),
        bytes: 0,
        took: Duration::ZERO,
        cache: None,
        learned: None,
        traced: None,
    });
}

/// Passes the body on, at the pace it is taken at.
async fn receive(
    mut body: RecvStream,
    near: &Pipe,
    chunked: bool,
    has_bad_trailers: impl FnOnce() -> bool,
) -> io::Result<End> {
    while let Some(data) = body.data().await {
        let data = data.map_err(io::Error::other)?;
        if data.is_empty() {
            continue;
        }
        if chunked {
            write_all(near, format!("{:x}\r\n", data.len()).as_bytes()).await?;
        }
        write_all(near, &data).await?;
        if chunked {
            write_all(near, b"\r\n").await?;
        }
        body.flow_control()
            .release_capacity(data.len())
            .map_err(io::Error::other)?;
    }
    if has_bad_trailers() {
        return Ok(End::Malformed);
    }
    if chunked {
        write_all(near, b"0\r\n\r\n").await?;
    }
    Ok(End::Whole)
}

async fn write_all(near: &Pipe, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match near.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| near.poll_write_ready(cx)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
