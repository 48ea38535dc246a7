//! Owns a connection that speaks HTTP/2: its limits, its idle time, its end. The protocol is the `h2`
//! crate's; each request then passes through the same `Conn` as one of HTTP/1.1, so that rules,
//! limits and logs are the same (`exchange`).
//! Leaves how a connection came to HTTP/2 to `conn`.

mod exchange;
mod head;
mod io;
mod respond;
pub(crate) mod streams;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use canter_http::Limits;
use canter_shield::frames::Glitch;
use canter_shield::score::Misdeed;
use h2::server::{Builder, Connection, SendResponse};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::App;
use crate::conn::Arrival;
use crate::quantum;
use crate::settings::LINGER_TIME;
use crate::shared::Shared;
use crate::stream::Stream;
use crate::table::{Phase, Place};
use io::Wire;
use streams::{Active, HeadRoom, Streams};

/// What a connection begins with (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams of one connection at once.
const STREAMS: u32 = 100;
/// What a field of a header list counts beside its bytes (section 6.5.2), and how many fields have a name
/// that begins with a colon (section 8.3.1).
const FIELD: usize = 32;
const PSEUDO_FIELDS: usize = 4;
/// Bytes of bodies that may be under way to us, on all streams and so on a single one: a window is
/// what an upload may send in the time of one way there and back.
const WINDOW: u32 = 256 * 1024;
/// Bytes of a response that the crate holds for one stream: a client may open the windows of all of
/// them and take nothing.
const SEND_BUFFER: usize = 16 * 1024;
/// Streams the client reset before they were looked at, and those that broke rules.
const RESET_STREAMS: usize = 20;
const BROKEN_STREAMS: usize = 64;

/// How often a connection is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// One connection.
pub(crate) struct Multiplexed<A: App> {
    arrival: Arrival,
    shared: Rc<Shared<A>>,
    place: Place,
    streams: Rc<Streams>,
    /// Requests that may not begin yet.
    waiting: VecDeque<Waiting>,
    idle_since: Instant,
    /// A request has come on it.
    is_used: bool,
    /// When the client was asked to go.
    closing_since: Option<Instant>,
    /// When the client was seen to have said that it goes.
    leaving_since: Option<Instant>,
}

impl<A: App> Multiplexed<A> {
    /// A connection that was accepted then: its first request is due as soon as one of HTTP/1.1 is,
    /// whatever of that time the handshakes took.
    pub fn new(arrival: Arrival, shared: Rc<Shared<A>>, place: Place, accepted: Instant) -> Self {
        Self {
            arrival,
            shared,
            place,
            streams: Rc::default(),
            waiting: VecDeque::new(),
            idle_since: accepted,
            is_used: false,
            closing_since: None,
            leaving_since: None,
        }
    }

    /// Serves the connection to its end; `ahead` was read of it already.
    pub async fn serve(mut self, stream: Stream, ahead: Vec<u8>) {
        let limit = self.shared.settings.header_timeout;
        let (wire, watch) = Wire::new(stream, ahead, limit, self.shared.settings.pace);
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(header_list(&self.shared.settings.limits))
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(RESET_STREAMS)
            .max_concurrent_reset_streams(RESET_STREAMS)
            .max_local_error_reset_streams(Some(BROKEN_STREAMS));
        let left = limit.saturating_sub(self.idle_since.elapsed());
        let Ok(Ok(mut connection)) =
            tokio::time::timeout(left, builder.handshake::<_, Bytes>(wire)).await
        else {
            return;
        };
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_cut = loop {
            let event = poll_fn(|cx| {
                if let Poll::Ready(accepted) = connection.poll_accept(cx) {
                    watch.spend(quantum::REQUEST);
                    return Poll::Ready(Event::Accepted(accepted.map(|one| one.map(Box::new))));
                }
                if watch.gave_way() {
                    self.shared.app.between_turns();
                }
                if self.streams.may_begin(cx)
                    && let Some(waiting) = self.waiting.pop_front()
                {
                    return Poll::Ready(Event::Begin(waiting));
                }
                if self.place.row.poll_expired(cx) {
                    return Poll::Ready(Event::Look);
                }
                ticks.poll_tick(cx).map(|_| Event::Look)
            })
            .await;
            match event {
                Event::Accepted(Some(Ok(accepted))) => {
                    if watch.take_malformed(accepted.1.stream_id().as_u32()) {
                        self.refuse(accepted);
                    } else {
                        self.admit(accepted, &watch);
                    }
                }
                Event::Begin((accepted, head)) => {
                    let active = self.streams.begin(head);
                    self.begin(*accepted, active, &watch);
                }
                Event::Accepted(_) => break false,
                Event::Look => {
                    if !self.look(&mut connection, &watch) {
                        break true;
                    }
                }
            }
        };
        drop(connection);
        self.end(&watch, is_cut).await;
    }

    /// Says why the connection ends, where its frames were the reason, and gives the client a moment to
    /// read that, unless it `is_cut`.
    async fn end(&self, watch: &io::Watch, is_cut: bool) {
        if let Some(glitch) = watch.glitch() {
            self.blame(match glitch {
                Glitch::Breach(_) => Misdeed::Malformed,
                _ => Misdeed::Glitch,
            });
            self.place.row.enter(Phase::Linger, None);
            watch.say_goodbye().await;
            canter_base::warn!(
                "an HTTP/2 connection was closed",
                client = self.arrival.peer.address.as_str(),
                reason = format!("{glitch:?}").as_str()
            );
        } else if !is_cut {
            // The crate has said its last word, and why, if a rule was broken.
            self.place.row.enter(Phase::Linger, None);
            watch.linger().await;
        }
    }

    /// A field of the request may not be: its stream ends, and no other (section 8.1.1).
    fn refuse(&self, accepted: Box<Accepted>) {
        let (request, mut respond) = *accepted;
        let unfit = head::Unfit::Malformed("a name, a value or a path that is none");
        let (parts, _) = request.into_parts();
        exchange::refuse(&self.shared, &parts, &self.arrival, &unfit);
        respond.send_reset(h2::Reason::PROTOCOL_ERROR);
    }

    /// A request has come: it waits for its turn, or its body is received before that.
    fn admit(&mut self, mut accepted: Box<Accepted>, watch: &Rc<io::Watch>) {
        let Some(head) = self.streams.admit(head::bytes(&accepted.0)) else {
            // Nothing was done for it, so its client may send it again (section 8.7).
            return accepted.1.send_reset(h2::Reason::REFUSED_STREAM);
        };
        if accepted.0.body().is_end_stream() {
            // In the order in which they came.
            self.waiting.push_back((accepted, head));
        } else {
            let active = self.streams.receive(head);
            self.begin(*accepted, active, watch);
        }
    }

    fn begin(
        &mut self,
        (request, mut respond): Accepted,
        active: Rc<Active>,
        watch: &Rc<io::Watch>,
    ) {
        self.is_used = true;
        let mut now = Context::from_waker(Waker::noop());
        if respond.poll_reset(&mut now).is_ready() {
            // The client has changed its mind while it waited.
            return;
        }
        self.place.row.enter(Phase::App, None);
        let arrival = self.arrival.of_stream(&active);
        let shared = Rc::clone(&self.shared);
        exchange::start(request, respond, arrival, shared, active, Rc::clone(watch));
    }

    /// What must be seen to now and then; false when the connection must end at once.
    fn look(&mut self, connection: &mut Connection<Wire, Bytes>, watch: &io::Watch) -> bool {
        if watch.is_too_slow() || self.place.row.is_evicted() {
            return false;
        }
        if watch.is_stalled() {
            self.blame(Misdeed::Slow);
            return false;
        }
        let now = Instant::now();
        let expired = self.place.row.is_expired();
        if self.streams.active() > 0 || !self.waiting.is_empty() {
            self.idle_since = now;
            self.place.row.enter(self.phase(watch), None);
            self.place
                .row
                .progress(watch.sending().unwrap_or_else(|| watch.came()));
        } else {
            let limit = self.shared.idle_limit(self.is_used);
            if expired || now.duration_since(self.idle_since) >= limit {
                self.close(connection);
            }
            self.place.row.idle(self.idle_since, limit);
        }
        // A client that says it goes closes the connection itself. It is asked nothing unless it stays:
        // a PING now would come between it and the answers it waits for.
        let has_left = watch.is_leaving() && {
            let since = *self.leaving_since.get_or_insert(now);
            now.duration_since(since) >= LINGER_TIME
        };
        if self.shared.is_draining() || has_left {
            self.close(connection);
        }
        if self.closing_since.is_some() {
            // Nobody need ask it to make room once more.
            self.place.row.enter(Phase::Linger, None);
        }
        // A client that does not answer the question is not waited for.
        let stays = |since: Instant| now.duration_since(since) >= LINGER_TIME;
        let is_busy = self.streams.active() > 0 || !self.waiting.is_empty();
        is_busy || !self.closing_since.is_some_and(stays)
    }

    /// What the connection as a whole waits for.
    fn phase(&self, watch: &io::Watch) -> Phase {
        if watch.sending().is_some() {
            Phase::Send
        } else if self.streams.received() > 0 {
            Phase::Body
        } else {
            Phase::App
        }
    }

    /// Asks the client to send nothing new (GOAWAY twice, section 6.8) and goes on with the rest.
    fn close(&mut self, connection: &mut Connection<Wire, Bytes>) {
        if self.closing_since.is_none() {
            self.closing_since = Some(Instant::now());
            connection.graceful_shutdown();
        }
    }

    fn blame(&self, misdeed: Misdeed) {
        if let (Some(ip), false) = (self.arrival.peer_ip, self.arrival.trusted) {
            self.shared.guard.misdeed(ip, misdeed);
        }
    }
}

/// A request as the crate hands it over.
type Accepted = (http::Request<h2::RecvStream>, SendResponse<Bytes>);

/// One that waits, and the room for its head.
type Waiting = (Box<Accepted>, HeadRoom);

enum Event {
    Accepted(Option<Result<Box<Accepted>, h2::Error>>),
    Begin(Waiting),
    Look,
}

/// Bytes of a header list into which all fits that these limits let through over HTTP/1.1, and which then
/// says what is too much of it.
fn header_list(limits: &Limits) -> u32 {
    let fields = limits.fields.saturating_add(PSEUDO_FIELDS);
    let list = limits.request_line + limits.header_bytes + fields.saturating_mul(FIELD);
    u32::try_from(list).unwrap_or(u32::MAX)
}

/// Polls both until the first is done; the second may end before.
async fn with<T>(main: impl Future<Output = T>, beside: impl Future<Output = ()>) -> T {
    let (mut main, mut beside) = (pin!(main), pin!(beside));
    let mut is_beside_done = false;
    poll_fn(|cx| {
        if !is_beside_done && beside.as_mut().poll(cx).is_ready() {
            is_beside_done = true;
        }
        main.as_mut().poll(cx)
    })
    .await
}
