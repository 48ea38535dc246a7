//! Owns what is answered below `/-/canter`: who may see it, the page, the data, the metrics, the
//! stream of events. No thread of the app takes part.
//! Leaves what is shown to `canter_insight::show`.
//!
//! On a public address the page does not exist for anybody without the token. Being on this machine
//! is enough without one, but a proxy on this machine must not lend that to its clients: a request
//! counts as local only when nothing in it speaks of a proxy and it asks for a name of this machine,
//! as long as no proxy was ever seen to speak from here, and only from a socket of the user that runs
//! this server. Proxies need not say what they are: by default nginx and `HAProxy` add no field.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use canter_channel::call::Answer;
use canter_http::target::decode_lossy;
use canter_http::{Answer as HttpAnswer, Framing, Head, KnownName, Method, Version, response};
use canter_insight::show::{PAGE, findings, prometheus, snapshot, top};
use canter_shield::score::Misdeed;
use tokio::time::{Interval, interval};

use super::send::Streamed;
use super::{After, Conn, Stop};
use crate::app::{App, Call};
use crate::facts::Facts;
use crate::forwarded::Client;
use crate::guard::cookie;
use crate::insight::Insight;
use crate::insight::profiler::{Asked, Refused};
use crate::owner;
use crate::secret::random_hex_128;

/// Where all of it lies.
const BELOW: &[u8] = b"/-/canter";
/// What is said to who is on this machine and is not the user that runs the server.
const STRANGER: &str = "\
This is for the user that runs the server, who asks from this machine without a proxy. Otherwise:
- start the server with CANTER_ADMIN_TOKEN set, and open /-/canter?token=TOKEN, or send
  `Authorization: Bearer TOKEN`;
- or run `canter top` and `canter queries` as the user that runs the server;
- or start the server with `--admin-bind 127.0.0.1:PORT`, which all users of the machine may ask.
";

/// What is said where insight is off.
const NOTHING_GATHERED: &str = "this server was started with `--insight=false`: it gathers nothing";

/// What a browser keeps that has shown the token.
const COOKIE: &str = "canter_admin";
/// Between two events.
const EVENT: Duration = Duration::from_secs(2);
/// Streams of events at once.
const MOST_STREAMS: u32 = 16;

/// Fields that only a proxy writes.
const OF_PROXIES: [KnownName; 16] = [
    KnownName::CdnLoop,
    KnownName::Forwarded,
    KnownName::MaxForwards,
    KnownName::ProxyConnection,
    KnownName::Via,
    KnownName::XForwardedClientCert,
    KnownName::XForwardedFor,
    KnownName::XForwardedHost,
    KnownName::XForwardedPort,
    KnownName::XForwardedPrefix,
    KnownName::XForwardedProto,
    KnownName::XForwardedProtocol,
    KnownName::XForwardedServer,
    KnownName::XRealIp,
    KnownName::XRequestStart,
    KnownName::XScheme,
];

/// How such fields begin that are not known by name.
const BEGINNINGS: [&[u8]; 10] = [
    b"x-forwarded",
    b"x-original",
    b"x-client",
    b"x-cluster",
    b"x-envoy",
    b"x-amzn",
    b"cf-",
    b"fly-",
    b"fastly-",
    b"true-client",
];

/// Whether somebody speaks for another.
fn is_proxied(head: &Head) -> bool {
    OF_PROXIES.iter().any(|name| head.has(*name))
}

fn names_a_proxy(head: &Head, buf: &[u8]) -> bool {
    head.fields.iter().any(|field| {
        let name = field.name.of(buf);
        BEGINNINGS.iter().any(|beginning| {
            let start = name.get(..beginning.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(beginning))
        })
    })
}

/// Whether the host asked for is a name of this machine: another name that leads here is somebody's
/// trick to read with a browser what is here (DNS rebinding).
fn is_local_name(host: &[u8]) -> bool {
    let name = match host.iter().position(|byte| *byte == b']') {
        Some(end) => host.get(..=end).unwrap_or_default(),
        None => host.split(|byte| *byte == b':').next().unwrap_or_default(),
    };
    let is_v4 = std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.parse::<std::net::Ipv4Addr>().ok());
    name.eq_ignore_ascii_case(b"localhost")
        || name.to_ascii_lowercase().ends_with(b".localhost")
        || name == b"[::1]"
        || is_v4.is_some_and(|ip| ip.is_loopback())
}

/// Who asks, as far as the connection and the request's head tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Somebody beyond this machine, or not certainly nobody.
    Away,
    /// Somebody on this machine, a proxy perhaps.
    Stranger,
    /// The user that runs the server, or who reaches an address that is for the dashboard.
    Own,
}

/// Everything that goes out.
struct Made {
    status: u16,
    kind: &'static str,
    text: Cow<'static, str>,
    more: Vec<(&'static str, String)>,
}

impl Made {
    fn new(kind: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: 200,
            kind,
            text: text.into(),
            more: Vec::new(),
        }
    }

    fn told((status, text): super::act::JsonReply) -> Self {
        Self {
            status,
            ..Self::new("application/json", text)
        }
    }

    fn missing() -> Self {
        Self {
            status: 404,
            ..Self::new("text/plain; charset=utf-8", "not found\n")
        }
    }
}

impl<A: App> Conn<A> {
    /// Whether the request is for here.
    pub(super) fn is_for_admin(&self) -> bool {
        self.arrival.admin || self.shared.settings.insight.is_some() && self.names_admin()
    }

    /// Whether the path is the dashboard's, or below it.
    pub(super) fn names_admin(&self) -> bool {
        let rest = self.head.path(self.buffer.filled()).strip_prefix(BELOW);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// Whose request it is. The dashboard's own addresses are nobody's by accident; at the site's, the
    /// system is asked whose the connection is.
    fn standing(&self, insight: &Insight) -> Standing {
        let buf = self.buffer.filled();
        let host = self.head.value(buf, KnownName::Host).unwrap_or_default();
        let arrival = &self.arrival;
        let is_here = match arrival.peer_ip {
            Some(ip) => {
                ip.is_loopback()
                    && (arrival.admin || !insight.is_proxied())
                    && self.head.version != Version::Http10
                    && !is_proxied(&self.head)
                    && !names_a_proxy(&self.head, buf)
                    && is_local_name(host)
            }
            // A unix socket of the site is a proxy's; one for the dashboard may be.
            None => arrival.commands || arrival.admin && !is_proxied(&self.head),
        };
        match is_here {
            true if arrival.admin || self.is_own() => Standing::Own,
            true => Standing::Stranger,
            false => Standing::Away,
        }
    }

    /// Whether this server's user has made the connection, which stays as it is.
    fn is_own(&self) -> bool {
        let arrival = &self.arrival;
        let ask = || arrival.ends.map_or(Some(false), owner::is_own);
        let own = arrival.own.get().or_else(ask);
        arrival.own.set(own);
        own == Some(true)
    }

    /// Whether the client may see what is here.
    fn may_look(&self, insight: &Insight) -> bool {
        self.shows_key(insight) || self.standing(insight) == Standing::Own
    }

    /// What is answered to who may not look.
    fn turn_away(&self, insight: &Insight, client: Option<IpAddr>) -> Option<Made> {
        if self.standing(insight) == Standing::Stranger {
            return Some(Made {
                status: 403,
                ..Made::new("text/plain; charset=utf-8", STRANGER)
            });
        }
        // Guessing is held against the client.
        self.blame(client, Misdeed::Failed);
        None
    }

    /// Whether the client has proved that it may see what is here.
    pub(super) fn shows_key(&self, insight: &Insight) -> bool {
        let buf = self.buffer.filled();
        let bearer = self.head.value(buf, KnownName::Authorization);
        let bearer = bearer.and_then(|value| value.strip_prefix(b"Bearer "));
        bearer.is_some_and(|token| insight.is_token(token))
            || cookie(&self.head, buf, COOKIE.as_bytes()).is_some_and(|key| insight.is_key(key))
    }

    /// Whether to tell the client where the time went: a browser on this machine, or one that has
    /// shown the token.
    pub(super) fn is_timed(&self) -> bool {
        let Some(insight) = &self.shared.settings.insight else {
            return false;
        };
        let is_here = self.arrival.peer_ip.is_some_and(|ip| ip.is_loopback());
        if is_here && is_proxied(&self.head) {
            insight.note_proxy();
        }
        if !self.head.has(KnownName::SecFetchMode) {
            return false;
        }
        if self.shows_key(insight) {
            return true;
        }
        // Once somebody else was seen to ask from here, as a proxy does for each of its clients, the
        // system is not asked for each of them.
        let standing = || self.standing(insight);
        let is_own = !insight.serves_strangers() && standing() == Standing::Own;
        if !is_own && self.arrival.own.get() == Some(false) {
            insight.note_stranger();
        }
        is_own
    }

    /// What must be known of such a request. The log does not get what this user's own commands ask again
    /// and again.
    fn facts_of_admin(&self, client: &Client) -> Facts {
        let mut facts = self.facts(client);
        facts.line = facts.line.filter(|_| !self.arrival.commands);
        facts
    }

    /// Answers a request for the dashboard.
    pub(super) async fn administer(&mut self) -> Result<After, Stop> {
        let insight = self.shared.settings.insight.clone();
        let buf = self.buffer.filled();
        let told = self.told_by_proxy(buf);
        let facts = &self.facts_of_admin(self.client(told.as_ref()));
        let path = self.head.path(buf).strip_prefix(BELOW).map(<[u8]>::to_vec);
        let token = self.head.query(buf).strip_prefix(b"token=");
        let method = self.head.method;
        let is_read = matches!(method, Method::Get | Method::Head) && !facts.has_body;
        let is_empty = matches!(self.head.framing, Framing::None | Framing::Length(0));
        let is_order = method == Method::Post && is_empty;
        let is_act = self.is_act();
        let query = self.head.query(buf).to_vec();
        let made = match (insight, path) {
            (Some(insight), Some(path)) if is_order => {
                if !self.may_look(&insight) {
                    self.turn_away(&insight, facts.client)
                } else if path == b"/profile" && self.is_own_page() {
                    Some(begin_profile(&insight, &query))
                } else if path == b"/purge" && is_act && self.may_change(&insight) {
                    Some(Made::told(self.purge(&query)))
                } else if is_act {
                    self.act(&insight, &path, &query).await.map(Made::told)
                } else {
                    None
                }
            }
            (Some(insight), Some(path)) if is_read => {
                if token.is_some_and(|token| insight.is_token(token)) {
                    Some(enter(&insight, facts))
                } else if self.may_look(&insight) {
                    if path == b"/events" && method == Method::Get {
                        self.buffer.consume(self.head.length);
                        return self.stream_events(facts, insight).await;
                    }
                    if path == b"/cache" {
                        let url = self.head.query(buf).strip_prefix(b"url=");
                        let url = url.unwrap_or_default().to_vec();
                        let text = self.examine(facts, &decode_lossy(&url)).await;
                        Some(Made::new("text/plain; charset=utf-8", text))
                    } else if path == b"/settings.json" {
                        Some(Made::told(self.app_settings().await))
                    } else {
                        show(&insight, &path)
                    }
                } else {
                    self.turn_away(&insight, facts.client)
                }
            }
            // Only the private socket is left, and what needs nothing gathered.
            (None, Some(path)) if path == b"/purge" && is_act => {
                Some(Made::told(self.purge(&query)))
            }
            (None, Some(path)) if path == b"/cache" && is_read => {
                let url = query.strip_prefix(b"url=").unwrap_or_default();
                let text = self.examine(facts, &decode_lossy(url)).await;
                Some(Made::new("text/plain; charset=utf-8", text))
            }
            (None, Some(_)) => Some(Made::told(super::act::error(409, NOTHING_GATHERED))),
            _ => None,
        };
        let made = made.unwrap_or_else(Made::missing);
        self.buffer.consume(self.head.length);
        self.send_made(facts, &made, facts.has_body && !is_act)
            .await
    }

    /// Whether no page of another site has asked: a browser says whose page sends a POST (WHATWG Fetch,
    /// section 3.2), a program says nothing.
    fn is_own_page(&self) -> bool {
        let buf = self.buffer.filled();
        let host = self.head.value(buf, KnownName::Host).unwrap_or_default();
        let origin = self.head.value(buf, KnownName::Origin);
        origin.is_none_or(|origin| {
            let at = origin.windows(3).position(|three| three == b"://");
            at.and_then(|at| origin.get(at + 3..)) == Some(host)
        })
    }

    async fn send_made(
        &mut self,
        facts: &Facts,
        made: &Made,
        has_body: bool,
    ) -> Result<After, Stop> {
        let nonce = random_hex_128();
        let is_page = made.kind.starts_with("text/html") || made.kind == "image/svg+xml";
        let text = if is_page {
            // In names a quote is escaped, so that nobody else can write this.
            let with = format!("nonce=\"{nonce}\"");
            Cow::Owned(made.text.replace("nonce=\"NONCE\"", &with))
        } else {
            Cow::Borrowed(made.text.as_ref())
        };
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let fields = [
            ("Content-Type", made.kind),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", &policy),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ];
        let more = made
            .more
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        let close = has_body || !self.may_keep();
        let answer = HttpAnswer {
            status: made.status,
            reason: b"",
            fields: fields
                .into_iter()
                .chain(more)
                .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
            length: Some(text.len() as u64),
            close,
        };
        let date = self.shared.clock.date(facts.started);
        self.out.clear();
        let plan = response::encode_head(&mut self.out, facts.request, answer, &date);
        let Ok(plan) = plan else {
            return Err(Stop::Gone);
        };
        let body = if facts.request.is_head { "" } else { &text };
        let begins = self.body_begins(self.out.len());
        let sent = self.send_all(&self.out, body.as_bytes()).await;
        // It does not count among the site's requests.
        let came_to = (made.status, self.sent_since(begins));
        self.note(facts, came_to, None, Instant::now());
        sent?;
        Ok(if has_body {
            After::Linger
        } else {
            self.after(plan.close)
        })
    }

    /// Server-sent events until the client leaves or the server stops.
    async fn stream_events(&mut self, facts: &Facts, insight: Rc<Insight>) -> Result<After, Stop> {
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

/// A browser that has shown the token keeps a key instead, and the token leaves its address bar.
fn enter(insight: &Insight, facts: &Facts) -> Made {
    let secure = if facts.https { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict{secure}",
        insight.key()
    );
    Made {
        status: 303,
        more: vec![("Set-Cookie", cookie), ("Location", "/-/canter".to_owned())],
        ..Made::new("text/plain; charset=utf-8", "")
    }
}

fn begin_profile(insight: &Insight, query: &[u8]) -> Made {
    let (status, text) = match Asked::read(query).map(|asked| insight.profiler().begin(asked)) {
        Some(Ok(())) => (202, "begun\n"),
        Some(Err(Refused::Busy)) => (409, "another profile is being made: wait for its end\n"),
        Some(Err(Refused::NoWorker)) => (503, "no worker runs yet: ask again in a moment\n"),
        None => (
            400,
            "seconds is from 0.01 to 600, mode is wall or gil, rate from 1 to 1000\n",
        ),
    };
    Made {
        status,
        ..Made::new("text/plain; charset=utf-8", text)
    }
}

fn show(insight: &Insight, path: &[u8]) -> Option<Made> {
    const JSON: &str = "application/json";
    const TEXT: &str = "text/plain; charset=utf-8";
    if let Some(form) = path.strip_prefix(b"/profile.") {
        return Some(match insight.profiler().told(form) {
            _ if form == b"json" => Made::new(JSON, insight.profiler().progress()),
            Some((kind, text)) => Made::new(kind, text),
            None => return None,
        });
    }
    Some(match path {
        b"" | b"/" => Made::new("text/html; charset=utf-8", PAGE),
        b"/data.json" => Made::new(JSON, insight.look(snapshot::snapshot)),
        b"/metrics" => Made::new(
            "text/plain; version=0.0.4; charset=utf-8",
            insight.look(prometheus::text) + &insight.more_metrics(),
        ),
        b"/top.txt" => Made::new(TEXT, insight.look(top::text)),
        b"/findings.txt" => Made::new(
            TEXT,
            insight.look(|site, live| findings::text(site, live.now_s)),
        ),
        b"/findings.json" => Made::new(
            JSON,
            insight.look(|site, live| findings::json(site, live.now_s)),
        ),
        b"/findings.sarif" => Made::new(
            "application/sarif+json",
            insight.look(|site, live| findings::sarif(site, live.now_s, live.version)),
        ),
        _ => return None,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_known_and_others_not() {
        let rows: [(&[u8], bool); 10] = [
            (b"localhost", true),
            (b"LOCALHOST:8000", true),
            (b"shop.localhost:80", true),
            (b"127.0.0.1:8000", true),
            (b"127.9.9.9", true),
            (b"[::1]:8000", true),
            (b"127.0.0.1.evil.example", false),
            (b"evil.example", false),
            (b"192.0.2.1:8000", false),
            (b"", false),
        ];
        for (host, local) in rows {
            assert_eq!(is_local_name(host), local, "{}", host.escape_ascii());
        }
    }
}
