//! Owns what is answered below `/-/canter`: the page, the data, the metrics, and what is asked to be
//! done. No thread of the app takes part.
//! Leaves who may see it to `authorize`, the stream of events to `events`, and what is shown to
//! `canter_insight::show`.

mod authorize;
mod events;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use canter_http::target::decode_lossy;
use canter_http::{Answer as HttpAnswer, Framing, Method, response};
use canter_insight::show::{PAGE, findings, prometheus, snapshot, top};
use canter_shield::score::Misdeed;

use super::{After, Conn, Stop};
use crate::app::App;
use crate::facts::Facts;
use crate::forwarded::Client;
use crate::insight::Insight;
use crate::insight::profiler::{Asked, Refused};
use crate::secret::random_hex_128;
use authorize::{COOKIE, Standing};

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
