//! Owns HTTP/2 on one connection, one stream at a time: `h2` driven by hand, with buffers in place
//! of a socket. Leaves sockets and counting to `user`.
//!
//! `h2` wants a runtime to wake it; here everything is asked again whenever bytes have come, which
//! are the only reason for anything to change, so the waker has nothing to do.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::record::Kind;
use crate::response::Head;
use crate::scenario::Rendered;

#[derive(Default)]
struct Buffers {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    ended: bool,
}

/// What `h2` takes for a socket.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<Buffers>>);

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffers = self.0.borrow_mut();
        if buffers.incoming.is_empty() && !buffers.ended {
            return Poll::Pending;
        }
        let (front, _) = buffers.incoming.as_slices();
        let count = front.len().min(to.remaining());
        to.put_slice(front.get(..count).unwrap_or_default());
        buffers.incoming.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().outgoing.extend_from_slice(from);
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

enum Stage {
    Idle,
    Head(ResponseFuture),
    Body(RecvStream),
}

/// A connection that speaks HTTP/2.
pub(crate) struct Http2 {
    pipe: Pipe,
    sender: SendRequest<Bytes>,
    connection: Connection<Pipe, Bytes>,
    stage: Stage,
    head: Head,
    body: u64,
    /// Whether something of the answer has come.
    begun: bool,
    over: bool,
}

impl Http2 {
    /// Begins; the preface is ready to be sent after it.
    pub(crate) fn new() -> Result<Self, Kind> {
        let pipe = Pipe::default();
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).max_header_list_size(64 << 10);
        // Wide windows, so that the server and not the generator sets the pace.
        builder
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 20);
        let mut context = Context::from_waker(Waker::noop());
        let begun = pin!(builder.handshake(pipe.clone())).poll(&mut context);
        let Poll::Ready(Ok((sender, connection))) = begun else {
            return Err(Kind::Invalid);
        };
        Ok(Self {
            pipe,
            sender,
            connection,
            stage: Stage::Idle,
            head: Head::default(),
            body: 0,
            begun: false,
            over: false,
        })
    }

    /// Asks.
    pub(crate) fn request(
        &mut self,
        rendered: &Rendered,
        cookies: Option<&str>,
        scheme: &str,
    ) -> Result<(), Kind> {
        let mut context = Context::from_waker(Waker::noop());
        let mut request = http::Request::builder()
            .method(rendered.method.clone())
            .uri(format!("{scheme}://{}{}", rendered.host, rendered.path));
        for (name, value) in &rendered.fields {
            request = request.header(name.as_str(), value.as_str());
        }
        if let Some(cookies) = cookies {
            request = request.header("cookie", cookies);
        }
        let request = request.body(()).map_err(|_| Kind::Invalid)?;
        let Poll::Ready(Ok(())) = self.sender.poll_ready(&mut context) else {
            return Err(Kind::Truncated);
        };
        let bodiless = rendered.body().is_empty();
        let sent = self.sender.send_request(request, bodiless);
        let (response, mut stream) = sent.map_err(|error| kind(&error))?;
        if !bodiless {
            let body = Bytes::copy_from_slice(rendered.body());
            stream.send_data(body, true).map_err(|error| kind(&error))?;
        }
        self.stage = Stage::Head(response);
        self.head = Head::default();
        self.body = 0;
        self.begun = false;
        Ok(())
    }

    /// Takes bytes of the server.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.pipe.0.borrow_mut().incoming.extend(bytes);
    }

    /// The server has closed the connection.
    pub(crate) fn end(&mut self) {
        self.pipe.0.borrow_mut().ended = true;
    }

    /// Goes on as far as the bytes lead; true when the response is whole.
    pub(crate) fn advance(
        &mut self,
        limit: u64,
        mut body: impl FnMut(&[u8]),
    ) -> Result<bool, Kind> {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if !self.over
                && let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(&mut context)
            {
                self.over = true;
                if let (Err(error), Stage::Head(_) | Stage::Body(_)) = (&ended, &self.stage) {
                    return Err(kind(error));
                }
            }
            match &mut self.stage {
                Stage::Idle => return Ok(false),
                Stage::Head(response) => match Pin::new(response).poll(&mut context) {
                    Poll::Ready(Ok(response)) => {
                        self.head = head(&response);
                        self.begun = true;
                        self.stage = Stage::Body(response.into_body());
                    }
                    Poll::Ready(Err(error)) => return Err(kind(&error)),
                    Poll::Pending if self.over => return Err(Kind::Truncated),
                    Poll::Pending => return Ok(false),
                },
                Stage::Body(stream) => match stream.poll_data(&mut context) {
                    Poll::Ready(Some(Ok(data))) => {
                        let _ = stream.flow_control().release_capacity(data.len());
                        self.body += data.len() as u64;
                        if self.body > limit {
                            return Err(Kind::BodyTooLong);
                        }
                        body(&data);
                    }
                    Poll::Ready(Some(Err(error))) => return Err(kind(&error)),
                    Poll::Ready(None) => {
                        self.stage = Stage::Idle;
                        self.head.keep_alive = !self.over;
                        return Ok(true);
                    }
                    Poll::Pending if self.over => return Err(Kind::Truncated),
                    Poll::Pending => return Ok(false),
                },
            }
        }
    }

    /// What the last response said.
    pub(crate) fn take_head(&mut self) -> Head {
        std::mem::take(&mut self.head)
    }

    /// Whether the answer that is waited for has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether nothing more can be asked here.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Writes what there is for the server until `send` takes nothing more; how much that was.
    pub(crate) fn write(
        &mut self,
        mut send: impl FnMut(&[u8]) -> Result<usize, Kind>,
    ) -> Result<usize, Kind> {
        let mut buffers = self.pipe.0.borrow_mut();
        let outgoing = &mut buffers.outgoing;
        let mut written = 0;
        while let Some(rest) = outgoing.get(written..).filter(|rest| !rest.is_empty()) {
            match send(rest)? {
                0 => break,
                count => written += count,
            }
        }
        outgoing.drain(..written.min(outgoing.len()));
        Ok(written)
    }
}

fn head(response: &http::Response<RecvStream>) -> Head {
    let fields = response.headers();
    Head {
        status: response.status().as_u16(),
        keep_alive: true,
        location: fields.get("location").map(|value| value.as_bytes().into()),
        cookies: fields
            .get_all("set-cookie")
            .iter()
            .map(|value| value.as_bytes().into())
            .collect(),
    }
}

fn kind(error: &h2::Error) -> Kind {
    if error.is_io() {
        return Kind::Truncated;
    }
    match error.reason() {
        Some(Reason::PROTOCOL_ERROR | Reason::FRAME_SIZE_ERROR | Reason::COMPRESSION_ERROR) => {
            Kind::Invalid
        }
        Some(Reason::ENHANCE_YOUR_CALM) if !error.is_remote() => Kind::HeadTooLong,
        _ => Kind::Reset,
    }
}
