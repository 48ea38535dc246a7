//! Owns the stream of events below `/-/canter`, which keeps the page up to date.
//! Leaves who may see it to `authorize`, and what an event tells to `canter_insight::show`.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use canter_channel::call::Answer;
use canter_http::{Answer as HttpAnswer, response};
use canter_insight::show::snapshot;
use tokio::time::{Interval, interval};

use super::Made;
use crate::app::{App, Call};
use crate::conn::send::Streamed;
use crate::conn::{After, Conn, Stop};
use crate::facts::Facts;
use crate::insight::Insight;

/// Between two events.
const EVENT: Duration = Duration::from_secs(2);
/// Streams of events at once.
const MOST_STREAMS: u32 = 16;

impl<A: App> Conn<A> {
    /// Server-sent events until the client leaves or the server stops.
    pub(super) async fn stream_events(
        &mut self,
        facts: &Facts,
        insight: Rc<Insight>,
    ) -> Result<After, Stop> {
        if insight.streams.get() >= MOST_STREAMS {
            let busy = Made {
                status: 503,
                ..Made::new("text/plain; charset=utf-8", "too many pages are open\n")
            };
            return self.send_made(facts, &busy, false).await;
        }
        let date = self.shared.clock.date(facts.started);
        let fields = [
            ("Content-Type", "text/event-stream"),
            ("Cache-Control", "no-store"),
            ("X-Accel-Buffering", "no"),
        ];
        let answer = HttpAnswer {
            status: 200,
            reason: b"",
            fields: fields
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
            length: None,
            close: true,
        };
        let mut head = Vec::new();
        let plan = response::encode_head(&mut head, facts.request, answer, &date);
        let Ok(plan) = plan else {
            return Err(Stop::Gone);
        };
        let shared = Rc::clone(&self.shared);
        let mut events = Events::new(insight, move || shared.is_draining());
        let begins = self.body_begins(head.len());
        let body = Streamed::new(
            plan.framing,
            head,
            &self.shared.settings,
            &self.shared.memory,
        );
        let sent = self.send_stream(body, &mut events).await;
        let came_to = (200, self.sent_since(begins));
        self.note(facts, came_to, None, Instant::now());
        sent?;
        Ok(self.after(true))
    }
}

/// Server-sent events (WHATWG HTML, section 9.2) in the place of an app's answer.
struct Events<F> {
    insight: Rc<Insight>,
    is_over: F,
    interval: Interval,
}

impl<F: Fn() -> bool> Events<F> {
    fn new(insight: Rc<Insight>, is_over: F) -> Self {
        insight.streams.set(insight.streams.get() + 1);
        Self {
            insight,
            is_over,
            interval: interval(EVENT),
        }
    }
}

impl<F> Drop for Events<F> {
    fn drop(&mut self) {
        self.insight
            .streams
            .set(self.insight.streams.get().saturating_sub(1));
    }
}

impl<F: Fn() -> bool> Call for Events<F> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        if self.interval.poll_tick(cx).is_pending() {
            return Poll::Pending;
        }
        let moment = self.insight.look(|_, live| snapshot::moment(live));
        Poll::Ready(Answer::Chunk {
            bytes: format!("data: {moment}\n\n").into_bytes(),
            last: (self.is_over)(),
        })
    }

    fn set_hold(&self, _: bool) {}

    fn is_queued(&self) -> bool {
        false
    }
}
