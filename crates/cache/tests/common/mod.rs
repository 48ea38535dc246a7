//! Requests and answers for the tests: owns short ways to write them.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses some of it, and may stop at what it did not expect"
)]

use canter_cache::policy::{Answer, Asked, Plan, store};
use canter_cache::vary::Settled;
use canter_cache::{Body, Entry, Field, Key, Life, Reason, Rule, Scheme, Settings, Time};
use canter_http::Method;

/// Some moment.
pub const NOW: Time = Time::from_seconds(1_700_000_000);

/// The date of that moment.
pub const DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

pub type Pairs<'a> = &'a [(&'a str, &'a str)];

pub fn fields<'a>(pairs: Pairs<'a>) -> Vec<Field<'a>> {
    let bytes = |(name, value): &(&'a str, &'a str)| (name.as_bytes(), value.as_bytes());
    pairs.iter().map(bytes).collect()
}

/// A case: a request, an answer and the rules they meet.
#[derive(Clone)]
pub struct Case<'a> {
    pub method: Method,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub request: Pairs<'a>,
    pub has_body: bool,
    pub is_personal: bool,
    pub wants_upgrade: bool,
    pub settled: Settled,
    pub status: u16,
    pub response: Pairs<'a>,
    pub rule: Option<Rule>,
    pub settings: Settings,
    pub now: Time,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            method: Method::Get,
            path: "/",
            query: None,
            request: &[],
            has_body: false,
            is_personal: false,
            wants_upgrade: false,
            settled: Settled {
                encodings: true,
                ..Settled::default()
            },
            status: 200,
            response: &[],
            rule: None,
            settings: Settings {
                jitter_percent: 0,
                ..Settings::default()
            },
            now: NOW,
        }
    }
}

impl<'a> Case<'a> {
    /// A page that everyone may have for an hour, unless more is said.
    pub fn shared() -> Self {
        Self {
            response: &[("Cache-Control", "public, max-age=3600")],
            ..Self::default()
        }
    }

    pub fn answering(response: Pairs<'a>) -> Self {
        Self {
            response,
            ..Self::default()
        }
    }

    pub fn key(&self) -> Key {
        let query = self.query.map(str::as_bytes);
        Key::new(Scheme::Https, b"example.com", self.path.as_bytes(), query)
    }

    pub fn with_asked<T>(&self, run: impl FnOnce(&Asked<'_, [Field<'_>]>) -> T) -> T {
        let lines = fields(self.request);
        run(&Asked {
            method: self.method,
            lines: lines.as_slice(),
            path: self.path.as_bytes(),
            has_body: self.has_body,
            is_personal: self.is_personal,
            wants_upgrade: self.wants_upgrade,
            settled: self.settled,
        })
    }

    pub fn plan(&self) -> Result<Plan, Reason> {
        let response = fields(self.response);
        let answer = Answer {
            status: self.status,
            reason: b"",
            fields: &response,
            asked: self.now,
            received: self.now,
        };
        self.with_asked(|asked| {
            let rule = self.rule.as_ref();
            store(asked, &self.key(), &answer, rule, &self.settings, 7)
        })
    }

    pub fn life(&self) -> Life {
        self.plan().unwrap().life
    }

    pub fn refusal(&self) -> Option<Reason> {
        self.plan().err()
    }

    pub fn entry(&self, body: &str) -> (Entry, Life) {
        let plan = self.plan().unwrap();
        let life = plan.life;
        let body = Body::new(body.as_bytes().to_vec());
        (plan.into_entry(&self.key(), body).unwrap(), life)
    }
}

/// A rule that keeps pages for a minute.
pub fn minute() -> Rule {
    Rule {
        id: 1,
        ttl: Some(60),
        ..Rule::default()
    }
}

/// A rule as strong as rules get.
pub fn overriding() -> Rule {
    Rule {
        mode: canter_cache::Mode::Override,
        grace: Some(600),
        stale_if_error: Some(600),
        ..minute()
    }
}
