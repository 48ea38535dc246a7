//! Owns answers that are made here: to what breaks the rules of HTTP or comes too slowly, what a step
//! of the pipeline says, and what is said in place of an app that failed.
//! Leaves deciding that there is one to who calls, and bytes to `send`.

use std::borrow::Cow;
use std::time::Instant;

use canter_base::error;
use canter_channel::call::Failure;
use canter_http::escape::Escaped;
use canter_http::{Answer as HttpAnswer, BodyFraming, Reject, response};
use canter_shield::score::Misdeed;

use super::receive::Refusal;
use super::{After, Conn, Stop};
use crate::app::App;
use crate::facts::Facts;
use crate::settings::Settings;
use crate::steps::{Local, LocalField};
use crate::table::Phase;

/// Why there is a 500, for the log; the client is told nothing of the app's inside.
pub(super) const APP_FAULT: &str = "the app did not answer in a way that can be sent";

/// A head that each limit let through, of which no message can be made.
pub(super) const HEAD_TOO_LONG: &str = "line and fields are too long together";

/// Where the time went, for browsers' tools; a field of the app's own stays beside it.
pub(super) const SERVER_TIMING: &str = "Server-Timing";

pub(super) const HSTS: &str = "Strict-Transport-Security";

/// A request can be tried again in a moment.
pub(super) const RETRY: &[LocalField] = &[("Retry-After", Cow::Borrowed("1"))];

impl<A: App> Conn<A> {
    /// Answers a request that breaks the rules of HTTP. What follows it is never looked at.
    pub(super) async fn reject(&mut self, reject: Reject) -> Result<After, Stop> {
        self.blame_peer(Misdeed::Malformed);
        let now = Instant::now();
        let date = self.shared.clock.date(now);
        // What a proxy may have said of the way here stands in a head that was not understood.
        let hsts = hsts(&self.shared.settings, self.arrival.peer.https);
        // The head was not understood, but what a method of this name is answered is known: no body
        // follows, which the client would take for the next response (RFC 9110, section 9.3.2).
        let is_head = self
            .buffer
            .filled()
            .trim_ascii_start()
            .starts_with(b"HEAD ");
        let response = response::reject_response(reject, hsts, is_head, &date);
        let begins = self.body_begins(head_len(&response));
        let sent = self.send_all(&response, &[]).await;
        self.log_reject(reject, self.sent_since(begins));
        sent.map(|()| After::Linger)
    }

    /// The app broke a rule: the client gets a 500, the log says which.
    pub(super) async fn app_fault(&mut self, facts: &Facts, what: &str) -> Result<After, Stop> {
        let request = Escaped(&facts.id).to_string();
        error!(
            "the response of the app cannot be sent",
            why = what,
            request = request.as_str()
        );
        self.answer_locally(facts, 500, &[], "", false).await
    }

    pub(super) async fn fail(&mut self, facts: &Facts, failure: Failure) -> Result<After, Stop> {
        let (status, fields, text): (u16, &[LocalField], &str) = match failure {
            Failure::TooLong => (431, &[], HEAD_TOO_LONG),
            Failure::QueueFull => (503, RETRY, "too many requests are waiting"),
            Failure::QueuedTooLong => (503, RETRY, "no worker was free in time"),
            Failure::Loading => (503, RETRY, "the app is still being loaded"),
            Failure::NotImported => (503, RETRY, "the app cannot be imported: see the log"),
            Failure::NoWorker => (503, RETRY, "no worker is running at the moment"),
            Failure::Unwanted => {
                // What is written now might be taken for the answer to another request.
                self.log(facts, 499, 0);
                return Err(Stop::Gone);
            }
            Failure::RanTooLong => (504, &[], "the app did not answer in time"),
            Failure::WorkerDied => (502, &[], "the worker that ran this request has died"),
            Failure::Refused => (500, &[], "this request has stopped several workers"),
            Failure::Aborted => (500, &[], ""),
            Failure::Failing => (503, RETRY, "this part of the site fails at the moment"),
            Failure::Stopping => (503, RETRY, "the server is stopping"),
        };
        self.answer_locally(facts, status, fields, text, false)
            .await
    }

    pub(super) async fn refuse_rejected(
        &mut self,
        facts: &Facts,
        reject: Reject,
    ) -> Result<After, Stop> {
        self.blame(facts.client, Misdeed::Malformed);
        let date = self.shared.clock.date(Instant::now());
        let hsts = hsts(&self.shared.settings, facts.https);
        let bytes = response::reject_response(reject, hsts, facts.request.is_head, &date);
        self.send_local(facts, reject.status(), &bytes).await?;
        Ok(After::Linger)
    }

    pub(super) async fn refuse_body(
        &mut self,
        facts: &Facts,
        refusal: Refusal,
    ) -> Result<After, Stop> {
        match refusal {
            Refusal::Reject(reject) => self.refuse_rejected(facts, reject).await,
            Refusal::Late => {
                self.blame(facts.client, Misdeed::Slow);
                self.refuse(Some(facts), 408, "the body was not sent in time")
                    .await
            }
            Refusal::Cut => {
                self.log(facts, 400, 0);
                Err(Stop::Gone)
            }
            Refusal::NoRoom(error) => {
                error!(
                    "a request body could not be stored",
                    error = error.to_string().as_str()
                );
                self.refuse(Some(facts), 503, "there is no room for the body")
                    .await
            }
        }
    }

    /// Answers and closes, giving the client time to see why.
    pub(super) async fn refuse(
        &mut self,
        facts: Option<&Facts>,
        status: u16,
        text: &str,
    ) -> Result<After, Stop> {
        let date = self.shared.clock.date(Instant::now());
        let is_head = facts.is_some_and(|facts| facts.request.is_head);
        let is_https = facts.map_or(self.arrival.peer.https, |facts| facts.https);
        let hsts = hsts(&self.shared.settings, is_https);
        let fields = hsts.as_slice();
        let bytes = response::simple_response(status, fields, text, true, is_head, &date);
        self.place.row.enter(Phase::Send, None);
        match facts {
            Some(facts) => self.send_local(facts, status, &bytes).await?,
            // No request has come that could be noted.
            None => self.send_all(&bytes, &[]).await?,
        }
        Ok(After::Linger)
    }

    /// Sends a whole response, and notes what the request came to whether or not its client stayed for
    /// it: one that leaves at once would otherwise be held to account for nothing.
    async fn send_local(&self, facts: &Facts, status: u16, response: &[u8]) -> Result<(), Stop> {
        let begins = self.body_begins(head_len(response));
        let sent = self.send_all(response, &[]).await;
        self.log(facts, status, self.sent_since(begins));
        sent
    }

    /// What a step of the pipeline answers.
    pub(super) async fn answer_from_here(
        &mut self,
        facts: &Facts,
        local: &Local,
        unread: bool,
    ) -> Result<After, Stop> {
        if !local.is_bare {
            return self
                .answer_locally(facts, local.status, &local.fields, &local.text, unread)
                .await;
        }
        let fields = local.fields.iter();
        let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let date = self.shared.clock.date(facts.started);
        let answer = HttpAnswer {
            status: local.status,
            reason: b"",
            fields,
            length: Some(local.text.len() as u64),
            close: true,
        };
        self.out.clear();
        if let Ok(plan) = response::encode_head(&mut self.out, facts.request, answer, &date)
            && plan.framing != BodyFraming::None
        {
            self.out.extend_from_slice(local.text.as_bytes());
        }
        self.send_local(facts, local.status, &self.out).await?;
        Ok(if unread {
            After::Linger
        } else {
            self.after(true)
        })
    }

    /// Answers from here; `unread` says that part of the request was not read.
    pub(super) async fn answer_locally(
        &mut self,
        facts: &Facts,
        status: u16,
        fields: &[LocalField],
        text: &str,
        unread: bool,
    ) -> Result<After, Stop> {
        let close = unread || !facts.request.keep_alive || !self.may_keep();
        let date = self.shared.clock.date(facts.started);
        let is_head = facts.request.is_head;
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, &**value))
            .chain(hsts(&self.shared.settings, facts.https))
            .collect();
        let bytes = response::simple_response(status, &fields, text, close, is_head, &date);
        self.send_local(facts, status, &bytes).await?;
        if unread {
            Ok(After::Linger)
        } else {
            Ok(self.after(close))
        }
    }
}

/// What browsers are told over HTTPS, and only there (RFC 6797, section 7.2).
pub(super) fn hsts(settings: &Settings, is_https: bool) -> Option<(&'static str, &str)> {
    let value = settings.hsts.as_deref().filter(|_| is_https);
    value.map(|value| (HSTS, value))
}

/// Bytes of the head of a whole response.
fn head_len(response: &[u8]) -> usize {
    const END: &[u8] = b"\r\n\r\n";
    memchr::memmem::find(response, END).map_or(response.len(), |at| at + END.len())
}

/// Writes a field line.
pub(super) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}
