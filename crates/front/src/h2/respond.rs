//! Owns the response of one HTTP/2 stream: read from the pipe as HTTP/1.1, sent as frames when the
//! client's windows allow.
//! Leaves what it says to the `Conn` at the other end of the pipe.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use bytes::{Buf as _, Bytes};
use canter_http::{BodyDecoder, Framing, Limits};
use h2::server::SendResponse;
use h2::{Reason, SendStream};

use super::head::{self, Framed};
use super::streams::Active;
use crate::pipe::Pipe;

/// Bytes asked for at a time.
const PIECE: usize = 16 * 1024;
/// More than any head that our own encoder writes for an app that is sane.
const LONGEST_HEAD: usize = 256 * 1024;

/// Sends the response; a stream that cannot be completed is reset.
pub(super) async fn run(
    near: &Pipe,
    send: &mut SendResponse<Bytes>,
    is_head: bool,
    active: &Active,
) {
    let mut reader = Reader {
        near,
        bytes: Bytes::new(),
    };
    loop {
        let Some(head) = reader.head(send).await else {
            return send.send_reset(Reason::INTERNAL_ERROR);
        };
        let Some((response, framed)) = head::response(&head, is_head) else {
            return send.send_reset(Reason::INTERNAL_ERROR);
        };
        if response.status().is_informational() {
            // 100 and 103 go ahead; a client that has gone shows with what follows.
            let _ = send.send_informational(response);
            continue;
        }
        let framing = match framed {
            Framed::None | Framed::Length(0) => {
                let _ = send.send_response(response, true);
                return active.take();
            }
            Framed::Length(length) => Framing::Length(length),
            Framed::Chunked => Framing::Chunked,
        };
        if let Ok(mut stream) = send.send_response(response, false)
            && let Err(reason) = body(&mut reader, &mut stream, framing, active).await
        {
            stream.send_reset(reason);
        }
        return;
    }
}

async fn body(
    reader: &mut Reader<'_>,
    stream: &mut SendStream<Bytes>,
    framing: Framing,
    active: &Active,
) -> Result<(), Reason> {
    let mut decoder = BodyDecoder::new(framing, u64::MAX, &Limits::DEFAULT)
        .map_err(|_| Reason::INTERNAL_ERROR)?;
    while !decoder.is_done() {
        if reader.bytes.is_empty() {
            // Nothing is taken from the pipe that the client has no room for: a client that takes
            // nothing holds next to nothing.
            stream.reserve_capacity(PIECE);
            capacity(reader.near, stream).await?;
            reader.near.widen();
            if reader.more(stream).await? == 0 {
                return Err(Reason::INTERNAL_ERROR);
            }
        }
        let piece = decoder
            .next(&reader.bytes)
            .map_err(|_| Reason::INTERNAL_ERROR)?;
        let data = reader.bytes.slice_ref(piece.data);
        reader.bytes.advance(piece.consumed);
        if !data.is_empty() {
            send_data(reader.near, stream, data, decoder.is_done()).await?;
            active.take();
            if decoder.is_done() {
                return Ok(());
            }
        }
    }
    stream
        .send_data(Bytes::new(), true)
        .map_err(|_| Reason::CANCEL)
}

/// Sends as the client's window allows; `ends` says that nothing follows.
async fn send_data(
    near: &Pipe,
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    ends: bool,
) -> Result<(), Reason> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let count = capacity(near, stream).await?.min(data.len());
        let part = data.split_to(count);
        let ends = ends && data.is_empty();
        stream.send_data(part, ends).map_err(|_| Reason::CANCEL)?;
    }
    Ok(())
}

/// Waits until the client's window has room, unless the other end of the pipe has had enough.
async fn capacity(near: &Pipe, stream: &mut SendStream<Bytes>) -> Result<usize, Reason> {
    poll_fn(|cx| {
        if near.poll_broken(cx).is_ready() {
            return Poll::Ready(Err(Reason::CANCEL));
        }
        if stream.capacity() > 0 {
            return Poll::Ready(Ok(stream.capacity()));
        }
        loop {
            match std::task::ready!(stream.poll_capacity(cx)) {
                // It has changed, and there is none.
                Some(Ok(0)) => {}
                Some(Ok(capacity)) => return Poll::Ready(Ok(capacity)),
                Some(Err(_)) | None => return Poll::Ready(Err(Reason::CANCEL)),
            }
        }
    })
    .await
}

struct Reader<'a> {
    near: &'a Pipe,
    /// What was taken and not used up.
    bytes: Bytes,
}

impl Reader<'_> {
    /// The next head, its last line included; None when there is none or the client has gone.
    async fn head(&mut self, send: &mut SendResponse<Bytes>) -> Option<Bytes> {
        loop {
            let end = memchr::memmem::find(&self.bytes, b"\r\n\r\n");
            if let Some(at) = end {
                return Some(self.bytes.split_to(at + 4));
            }
            if self.bytes.len() > LONGEST_HEAD {
                return None;
            }
            let readable = poll_fn(|cx| {
                if let Poll::Ready(result) = self.near.poll_read_ready(cx) {
                    return Poll::Ready(result.is_ok());
                }
                send.poll_reset(cx).map(|_| false)
            })
            .await;
            if !readable || self.read().ok()? == 0 {
                return None;
            }
        }
    }

    /// More of the body; 0 at the end.
    async fn more(&mut self, stream: &mut SendStream<Bytes>) -> Result<usize, Reason> {
        let readable = poll_fn(|cx| {
            if let Poll::Ready(result) = self.near.poll_read_ready(cx) {
                return Poll::Ready(result.is_ok());
            }
            stream.poll_reset(cx).map(|_| false)
        })
        .await;
        if !readable {
            return Err(Reason::CANCEL);
        }
        self.read().map_err(|_| Reason::INTERNAL_ERROR)
    }

    fn read(&mut self) -> io::Result<usize> {
        let more = self.near.take()?;
        let count = more.len();
        self.bytes = if self.bytes.is_empty() {
            more.into()
        } else {
            // Only a head that came in pieces.
            [&self.bytes[..], &more].concat().into()
        };
        Ok(count)
    }
}
