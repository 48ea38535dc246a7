//! Owns answering one request whose head has come: the pipeline, the body, the app, the response.
//! Leaves bytes to `receive` and `send`.

use std::cell::Cell;
use std::fs::File;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canter_channel::call::{Answer, Submission};
use canter_channel::request::Writer;
use canter_channel::response::Response;
use canter_http::{
    Answer as HttpAnswer, BadResponse, BodyDecoder, BodyFraming, Framing, RequestFacts,
    ResponsePlan, response,
};
use canter_shield::budget::Share;

use super::encode::Form;
use super::local::{APP_FAULT, HEAD_TOO_LONG, HSTS, RETRY, SERVER_TIMING, hsts, line};
use super::receive::{Body, Refusal};
use super::send::{Ending, SHORT_BODY, Streamed};
use super::watch::Watch;
use super::{After, Conn, Stop, cached};
use crate::app::{App, Call};
use crate::closing;
use crate::coder::Coder;
use crate::facts::{Facts, Line};
use crate::forwarded::{Client, ForwardedClient};
use crate::insight::server_timing;
use crate::request::RequestId;
use crate::steps::{Asked, hints};
use crate::table::Phase;
use crate::urgent::Urgency;
use crate::{pipeline, request, urgent};

/// To whoever may still listen behind a router that does not.
const GIVEN_UP: &str = "the request came too late: the router in front has given up on it";

impl<A: App> Conn<A> {
    /// Answers the request whose head is at the beginning of the buffer.
    pub(super) async fn handle(&mut self) -> Result<After, Stop> {
        let settings = &self.shared.settings;
        let told = self.told_by_proxy(self.buffer.filled());
        let mut facts = self.facts(self.client(told.as_ref()));
        let decoder = match BodyDecoder::new(self.head.framing, settings.max_body, &settings.limits)
        {
            Ok(decoder) => decoder,
            Err(reject) => return self.refuse_rejected(&facts, reject).await,
        };
        let unread = !decoder.is_done();
        if let Some(answered) = self.before_app(&mut facts, told.as_ref(), unread).await {
            return answered;
        }
        let (settings, buf) = (&self.shared.settings, self.buffer.filled());
        let hints = hints::hints(settings, &self.shared.learned, &self.head, buf);
        facts.hinted = hints.learn_as;
        let mut message = Vec::with_capacity(self.head.length + 256);
        let mut path = std::mem::take(&mut self.path);
        let origin = self.origin(&facts, told.as_ref(), &[]);
        let begun = request::begin(&mut message, buf, &self.head, &origin, &mut path);
        self.path = path;
        let writer = match begun {
            Ok(writer) => writer,
            Err(reject) => return self.refuse_rejected(&facts, reject).await,
        };
        if writer.is_too_long() {
            // Nor is its body worth waiting for.
            self.buffer.consume(self.head.length);
            return self
                .answer_locally(&facts, 431, &[], HEAD_TOO_LONG, unread)
                .await;
        }
        self.hold_head(&facts);
        if !hints.ahead.is_empty() {
            let sent = self.send_all(&hints.ahead, &[]).await;
            self.stays(&facts, sent)?;
        }
        let expects = self.head.expects_continue;
        let (file, memory) = match self.take_body(decoder, expects, writer).await {
            Ok(taken) => taken,
            Err(refusal) => return self.refuse_body(&facts, refusal).await,
        };
        self.place.row.enter(Phase::App, None);
        self.await_turn(&facts).await?;
        let (deadline, wanted_until) = self.deadlines(&facts);
        let at = Instant::now();
        if wanted_until.is_some_and(|end| end <= at) {
            return self.give_up(&facts).await;
        }
        let submission = Submission {
            message,
            file,
            at,
            deadline,
            wanted_until,
            urgent: facts.urgency == Urgency::Urgent,
            trace: facts.trace.clone(),
        };
        let call = self.shared.app.submit(submission);
        self.respond(&mut facts, call, memory, &[]).await
    }

    /// Answers without the app, where a step of the pipeline, a file or the page cache has an answer;
    /// `unread` says that a body follows the head.
    async fn before_app(
        &mut self,
        facts: &mut Facts,
        told: Option<&ForwardedClient>,
        unread: bool,
    ) -> Option<Result<After, Stop>> {
        let (settings, buf) = (&self.shared.settings, self.buffer.filled());
        let client = self.client(told);
        let asked = Asked {
            head: &self.head,
            buf,
            client,
            to_blame: facts.client,
            redirects: self.arrival.redirects,
            told,
            hindrance: &|| self.shared.hindrance(),
        };
        if let Some(local) = pipeline::before(settings, &self.shared.guard, &asked) {
            self.buffer.consume(self.head.length);
            return Some(self.answer_from_here(facts, &local, unread).await);
        }
        if let Some(answer) = settings.files.find(&self.head, buf, facts.started) {
            self.buffer.consume(self.head.length);
            return Some(self.answer_file(facts, &answer, unread).await);
        }
        let is_https = client.https;
        self.remember(facts);
        let action = self.decide(facts, is_https).await?;
        Some(self.perform(facts, action).await)
    }

    /// One of many streams with a body waits here until its connection may ask for more.
    async fn await_turn(&self, facts: &Facts) -> Result<(), Stop> {
        if let Some(stream) = &self.arrival.stream
            && !poll_fn(|cx| stream.poll_turn(cx)).await
        {
            self.log(facts, 499, 0);
            return Err(Stop::Gone);
        }
        Ok(())
    }

    /// Whoever would run it now works for nobody.
    async fn give_up(&mut self, facts: &Facts) -> Result<After, Stop> {
        self.let_head_go();
        self.answer_locally(facts, 503, RETRY, GIVEN_UP, false)
            .await
    }

    /// What must be known of the request until it is answered.
    pub(super) fn facts(&self, client: &Client) -> Facts {
        let id = RequestId::of(self.given_id());
        let buf = self.buffer.filled();
        let routed = self.routed(buf);
        let started = Instant::now();
        Facts {
            request: RequestFacts::from(&self.head),
            method: self.head.method,
            conditions: None,
            wish: self.wish(),
            forms: None,
            early: None,
            visit: None,
            passing: None,
            cache_status: None,
            tier: None,
            started,
            has_body: self.head.framing != Framing::None,
            client: if self.arrival.trusted {
                // A proxy that names nobody is not to blame for whom it speaks for.
                let named = client.address.parse().ok();
                named.filter(|named| Some(*named) != self.arrival.peer_ip)
            } else {
                self.arrival.peer_ip
            },
            id,
            https: client.https,
            hinted: None,
            urgency: urgent::urgency(&self.shared.settings.priorities, &self.head, buf),
            router: routed.and_then(|age| self.router_deadline(age)),
            routed: routed.unwrap_or_default(),
            is_timed: self.is_timed(),
            cached: Duration::ZERO,
            address: self.compared_address(started),
            same: Cell::new(None),
            trace: self.shared.settings.insight.as_ref().map(|_| Rc::default()),
            traced: self.traced(client),
            line: self.shared.access.as_ref().map(|_| self.line(client)),
        }
    }

    /// What the access log says of the request. The token may stand in the query of what is asked of the
    /// dashboard, also where insight is off: the log does not get it.
    fn line(&self, client: &Client) -> Line {
        let (buf, http2) = (self.buffer.filled(), self.arrival.http2);
        let mut line = Line::new(&self.head, buf, client, http2);
        if self.arrival.admin || self.names_admin() {
            line.leave_query_out();
        }
        line
    }

    /// Ends the message with the body, or with its length when it went to the file that comes back.
    async fn take_body(
        &mut self,
        decoder: BodyDecoder,
        expects_continue: bool,
        mut writer: Writer<'_>,
    ) -> Result<(Option<OwnedFd>, Option<Share>), Refusal> {
        if decoder.is_done() {
            writer.inline_body(&[]);
            return Ok((None, None));
        }
        let room = writer.body_room();
        match self.receive_body(decoder, expects_continue, room).await? {
            Body::InMessage(share) => {
                writer.body_is_written();
                Ok((None, Some(share)))
            }
            Body::File(file, len, share) => {
                writer.file_body(len);
                Ok((Some(file.into()), share))
            }
        }
    }

    /// Brings the app's answer to the client. The message, and `memory` with it, is needed until the
    /// answer begins; `kept` is the head, where it may have to be sent to the app again.
    pub(super) async fn respond(
        &mut self,
        facts: &mut Facts,
        mut call: A::Call,
        memory: Option<Share>,
        kept: &[u8],
    ) -> Result<After, Stop> {
        let mut watch = Watch::default();
        let first = loop {
            let answer = self
                .next_answer(&mut call, &mut watch, facts.request.version)
                .await;
            match answer {
                Ok(Answer::Hints(message)) => {
                    if let Err(stop) = self.send_hints(facts, &message).await {
                        break Err(stop);
                    }
                }
                answer => break answer,
            }
        };
        drop(memory);
        let first = self.stays(facts, first)?;
        self.settle(facts, first, call, kept).await
    }

    /// Notes it where the client has gone before its answer.
    pub(super) fn stays<T>(&self, facts: &Facts, came: Result<T, Stop>) -> Result<T, Stop> {
        if came.is_err() {
            self.log(facts, 499, 0);
        }
        came
    }

    /// Sends an answer of the app that has begun.
    pub(super) async fn deliver(
        &mut self,
        facts: &Facts,
        first: Answer,
        call: &mut A::Call,
    ) -> Result<After, Stop> {
        match first {
            Answer::Failed(failure) => self.fail(facts, failure).await,
            Answer::Head { message, last } => match self.in_its_place(facts, &message) {
                None => self.send_answer(facts, message, last, call).await,
                Some(instead) => self.answer_instead(facts, &message, instead).await,
            },
            Answer::File { message, file } => {
                let file = File::from(file);
                let sent = self.send_file_answer(facts, &message, &file).await;
                closing::close(file);
                sent
            }
            Answer::Chunk { .. } | Answer::Hints(_) => self.app_fault(facts, APP_FAULT).await,
        }
    }

    /// Writes the head of the app's response to `self.out`.
    pub(super) fn encode(
        &mut self,
        facts: &Facts,
        answer: &Response<'_>,
        form: &Form,
        length: Option<u64>,
    ) -> Result<ResponsePlan, BadResponse> {
        let date = self.shared.clock.date(facts.started);
        let close = !self.may_keep();
        self.out.clear();
        let hsts = hsts(&self.shared.settings, facts.https).filter(|_| {
            let mut fields = answer.fields();
            !fields.any(|(name, _)| name.eq_ignore_ascii_case(HSTS.as_bytes()))
        });
        let hsts = hsts.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        // An app that leaves out the body of an answer to HEAD has told nothing about its length.
        let length = length.filter(|length| !facts.request.is_head || *length > 0);
        let answer = HttpAnswer {
            status: answer.facts.status,
            reason: answer.facts.reason,
            fields: form
                .fields(answer.fields())
                .filter(|(name, _)| cached::is_for_clients(name))
                .chain(hsts),
            length,
            close,
        };
        let plan = response::encode_head(&mut self.out, facts.request, answer, &date)?;
        self.add_own_fields(facts);
        Ok(plan)
    }

    /// Adds what was made here to a head that is written: it need not be checked as an app's fields are.
    pub(super) fn add_own_fields(&mut self, facts: &Facts) {
        let timing = server_timing(facts);
        if timing.is_none() && facts.cache_status.is_none() {
            return;
        }
        let end = self.out.len().saturating_sub(b"\r\n".len());
        self.out.truncate(end);
        if let Some(timing) = timing {
            line(&mut self.out, SERVER_TIMING.as_bytes(), timing.as_bytes());
        }
        if let Some(status) = &facts.cache_status {
            line(&mut self.out, b"Cache-Status", status.text.as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
    }

    async fn send_answer(
        &mut self,
        facts: &Facts,
        message: Vec<u8>,
        last: bool,
        call: &mut A::Call,
    ) -> Result<After, Stop> {
        let Ok(answer) = Response::read(&message) else {
            return self.app_fault(facts, APP_FAULT).await;
        };
        self.learn_hints(facts, &answer);
        let status = answer.facts.status;
        let body = message.get(answer.body_at..).unwrap_or_default();
        if last && status == 200 {
            self.compare(facts, body);
        }
        let length = last.then_some(body.len() as u64);
        let mut form = self.form(facts, &answer, length);
        let encoded = if last && form.is_encoded() && !facts.request.is_head {
            let Some(encoded) = self.encode_whole(&form, body).await else {
                return self.app_fault(facts, APP_FAULT).await;
            };
            Some(encoded)
        } else {
            None
        };
        let body = encoded.as_deref().unwrap_or(body);
        let coder = if last { None } else { self.coder(&mut form) };
        let length = length.filter(|_| encoded.is_some() || !form.is_encoded());
        let length = length.map(|_| body.len() as u64);
        let plan = match self.encode(facts, &answer, &form, length) {
            Ok(plan) => plan,
            Err(bad) => return self.app_fault(facts, &bad.to_string()).await,
        };
        if last {
            let body = if plan.framing == BodyFraming::None {
                &[]
            } else {
                body
            };
            let begins = self.body_begins(self.out.len());
            // One short string costs the system less than two.
            let sent = if body.len() <= SHORT_BODY {
                self.out.extend_from_slice(body);
                self.send_all(&self.out, &[]).await
            } else {
                let body_at = answer.body_at;
                // The one that is not sent is not kept while the client takes its time.
                let (bytes, at) = match encoded {
                    Some(encoded) => {
                        drop(message);
                        (encoded, 0)
                    }
                    None => (message, body_at),
                };
                self.send_held(bytes, at).await
            };
            self.rests_since = Some(self.log(facts, status, self.sent_since(begins)));
            sent?;
            return Ok(self.after(plan.close));
        }
        let begun = body.to_vec();
        drop(message);
        let coder = coder.filter(|_| plan.framing != BodyFraming::None);
        self.stream_answer(facts, (status, &plan), begun, coder, call)
            .await
    }

    /// Sends an answer of which this has come, and the rest as it comes.
    pub(super) async fn stream_answer<C: Call>(
        &mut self,
        facts: &Facts,
        (status, plan): (u16, &ResponsePlan),
        begun: Vec<u8>,
        coder: Option<Coder>,
        call: &mut C,
    ) -> Result<After, Stop> {
        let head = std::mem::take(&mut self.out);
        let begins = self.body_begins(head.len());
        let (settings, memory) = (&self.shared.settings, &self.shared.memory);
        let mut streamed = Streamed::new(plan.framing, head, settings, memory);
        streamed.coder = coder;
        if !begun.is_empty() {
            streamed.add(begun, settings);
        }
        let result = self.send_stream(streamed, call).await;
        self.log(facts, status, self.sent_since(begins));
        match result? {
            Ending::Whole => Ok(self.after(plan.close)),
            Ending::Broken => {
                if plan.framing == BodyFraming::UntilClose {
                    // Only a reset tells this client that something is missing.
                    self.stream.reset_on_close();
                }
                Err(Stop::Gone)
            }
        }
    }

    pub(super) fn after(&self, close: bool) -> After {
        match (close, self.buffer.is_empty()) {
            (false, _) => After::Next,
            (true, true) => After::Close,
            // Bytes behind the last request: a plain close would reset.
            (true, false) => After::Linger,
        }
    }
}
