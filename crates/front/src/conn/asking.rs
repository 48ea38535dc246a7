//! Owns what the app is asked with, beside the request's head: who asks, under which id, and for how
//! long anybody waits, and as a part of which trace; and whether what comes is what came a moment before.
//! Leaves writing the message to `request`, and trust in peers to `forwarded`.

use std::time::{Duration, Instant, SystemTime};

use canter_http::{Framing, KnownName, Method, Version};

use super::Conn;
use crate::app::App;
use crate::facts::Facts;
use crate::forwarded::{self, Client, ForwardedClient, Words};
use crate::request;
use crate::traced::Traced;

impl<A: App> Conn<A> {
    /// How the peer speaks of the client, where it is a trusted proxy.
    pub(super) fn words(&self) -> Option<Words> {
        self.arrival.trusted.then(|| self.shared.settings.words())
    }

    /// What a trusted proxy says of the request whose head is in `buf`.
    pub(super) fn told_by_proxy(&self, buf: &[u8]) -> Option<ForwardedClient> {
        let told = |words| forwarded::told(&self.head, buf, &self.arrival.peer, words);
        self.words().map(told)
    }

    /// Who asks: the peer, or whom a trusted proxy names.
    pub(super) fn client<'c>(&'c self, told: Option<&'c ForwardedClient>) -> &'c Client {
        told.map_or(&self.arrival.peer, |told| &told.client)
    }

    /// What the message of the request is made from, beside its head. `told` is what a trusted proxy
    /// says of the client.
    pub(super) fn origin<'o>(
        &'o self,
        facts: &'o Facts,
        told: Option<&'o ForwardedClient>,
        conditions: &'o [(&'static [u8], Vec<u8>)],
    ) -> request::Origin<'o> {
        let settings = &self.shared.settings;
        let port = told.and_then(|told| told.port);
        request::Origin {
            client: self.client(told),
            server: &self.arrival.local.0,
            server_port: port.unwrap_or(self.arrival.local.1),
            id: &facts.id,
            id_header: &settings.request_id_header,
            trusted: self.words(),
            http2: self.arrival.http2,
            codings: self.codings(facts),
            traced: facts
                .traced
                .as_ref()
                .filter(|it| it.is_ours())
                .map(|it| it.context),
            conditions,
            is_for_the_store: !conditions.is_empty(),
        }
    }

    /// When to give up waiting for the app, and when the router in front does; a request's time
    /// begins when all of it is here.
    pub(super) fn deadlines(&self, facts: &Facts) -> (Option<Instant>, Option<Instant>) {
        let settings = &self.shared.settings;
        let complete = if facts.has_body {
            Instant::now()
        } else {
            facts.started
        };
        let ours = settings.timeout.map(|limit| complete + limit);
        let routers = facts
            .router
            .or_else(|| settings.router_timeout.map(|limit| complete + limit));
        (ours, routers)
    }

    /// When the router in front gives up, where it says when it took the request. One with a body
    /// has its time from the last byte on.
    pub(super) fn router_deadline(&self, age: Duration) -> Option<Instant> {
        let limit = self.shared.settings.router_timeout?;
        if self.head.framing != Framing::None {
            return None;
        }
        let now = Instant::now();
        Some(now.checked_sub(age).map_or(now, |start| start + limit))
    }

    /// How long the router has had it, where it is trusted to say so.
    pub(super) fn routed(&self, buf: &[u8]) -> Option<Duration> {
        if !self.arrival.trusted || !self.head.has(KnownName::XRequestStart) {
            return None;
        }
        forwarded::age(&self.head, buf, SystemTime::now())
    }

    /// The id that the request came with.
    pub(super) fn given_id(&self) -> Option<&[u8]> {
        let buf = self.buffer.filled();
        let name = self.shared.settings.request_id_header.as_bytes();
        let mut fields = self.head.fields.iter();
        let field = fields.find(|field| field.name.of(buf).eq_ignore_ascii_case(name))?;
        Some(field.value.of(buf))
    }

    /// Where the request stands in a trace.
    pub(super) fn traced(&self, client: &Client) -> Option<Box<Traced>> {
        let buf = self.buffer.filled();
        let came = Traced::came(&self.head, buf);
        let insight = self.shared.settings.insight.as_ref();
        let Some(traces) = insight.and_then(|insight| insight.traces()) else {
            return came.map(Traced::passing);
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let value = |name| text(self.head.value(buf, name).unwrap_or_default());
        Some(Box::new(Traced {
            context: traces.begin(came, self.arrival.trusted),
            path: text(self.head.path(buf)),
            host: value(KnownName::Host),
            agent: value(KnownName::UserAgent),
            client: client.address.clone(),
            version: match self.head.version {
                _ if self.arrival.http2 => "2",
                Version::Http10 => "1.0",
                Version::Http11 => "1.1",
            },
        }))
    }

    /// Whose answer is compared with the one before: a page that is asked for without a cookie.
    pub(super) fn compared_address(&self, now: Instant) -> Option<u64> {
        let insight = self.shared.settings.insight.as_ref()?;
        let is_anonymous = self.head.method == Method::Get
            && !self.head.has(KnownName::Cookie)
            && !self.head.has(KnownName::Authorization)
            && insight.may_compare(now);
        let buf = self.buffer.filled();
        let host = self.head.value(buf, KnownName::Host).unwrap_or_default();
        is_anonymous.then(|| insight.address(host, self.head.target_span.of(buf)))
    }

    /// Compares a whole answer with the one before at the same address.
    pub(super) fn compare(&self, facts: &Facts, body: &[u8]) {
        if let (Some(address), Some(insight)) = (facts.address, &self.shared.settings.insight) {
            let came = facts.trace.as_ref().and_then(|it| it.answered.get());
            let now = came.unwrap_or_else(Instant::now);
            facts.same.set(insight.compare(address, body, now));
        }
    }
}
