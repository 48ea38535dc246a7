//! Owns noticing, while the app works, that the client has gone.
//! Leaves what follows to `answer`.
//!
//! A client that shuts its sending side may still want the answer (RFC 9112, section 9.6), and a
//! closed connection looks the same from here. An interim `100 Continue`, which every client must
//! skip (RFC 9110, section 15.2), makes the system of a client that has closed answer with a reset.
//! A request in the queue then never runs, and the queries of one that runs are cancelled.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use canter_channel::call::Answer;
use canter_http::{Version, response};
use tokio::time::{Sleep, sleep};

use super::{Conn, Stop};
use crate::app::{App, Call};

/// Bytes of pipelined requests taken in advance while one is answered.
const AHEAD: usize = 4 * 1024;
/// How long a request of a half-closed connection waits before the client is asked for a sign of
/// life, and between two looks.
const PATIENCE: Duration = Duration::from_millis(50);
/// The same for a request that runs. Most are over by then, and the rare client that has only shut
/// its sending side is not bothered with an interim answer.
const RUNNING_PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the client while its request is with the app.
#[derive(Default)]
pub(super) struct Watch {
    timer: Option<Pin<Box<Sleep>>>,
    asked: bool,
}

impl<A: App> Conn<A> {
    /// The next step of the answer, or the end of the client.
    pub(super) async fn next_answer<C: Call>(
        &mut self,
        call: &mut C,
        watch: &mut Watch,
        version: Version,
    ) -> Result<Answer, Stop> {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = call.poll_answer(cx) {
                return Poll::Ready(Ok(answer));
            }
            if self.poll_gone(cx, call, watch, version).is_ready() {
                return Poll::Ready(Err(Stop::Gone));
            }
            Poll::Pending
        })
        .await
    }

    fn poll_gone(
        &mut self,
        cx: &mut Context<'_>,
        call: &impl Call,
        watch: &mut Watch,
        version: Version,
    ) -> Poll<()> {
        let held = if self.holds_head { self.head.length } else { 0 };
        while !self.read_closed && self.buffer.filled().len() - held < AHEAD {
            match self.stream.poll_read_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            match self.stream.try_read(self.buffer.room()) {
                Ok(0) => self.read_closed = true,
                Ok(count) => self.buffer.received(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        // HTTP/1.0 knows neither interim answers nor half-closed connections: one that has begun
        // is left alone.
        if !self.read_closed || (version == Version::Http10 && !call.is_queued()) {
            return Poll::Pending;
        }
        let timer = watch.timer.get_or_insert_with(|| {
            Box::pin(sleep(if call.is_queued() {
                PATIENCE
            } else {
                RUNNING_PATIENCE
            }))
        });
        while timer.as_mut().poll(cx).is_ready() {
            if self.stream.has_hung_up() || (version == Version::Http10 && call.is_queued()) {
                return Poll::Ready(());
            }
            if !watch.asked {
                watch.asked = true;
                self.stream.nudge(response::CONTINUE);
            }
            timer.set(sleep(PATIENCE));
        }
        Poll::Pending
    }
}
