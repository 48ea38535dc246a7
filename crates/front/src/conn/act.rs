//! Owns what the dashboard can be told to do: ask the database for a plan or how long a connection takes,
//! acknowledge a finding, ask the app for its settings, purge pages, change the workers.
//! Leaves who may to `admin::authorize`, and the app's part to `inquire`.
//!
//! What does something is a POST that no other site can send: a page of another origin cannot set
//! the field `X-Canter` without asking first (<https://fetch.spec.whatwg.org/#cors-preflight-request>),
//! and nobody answers that question.

use std::cell::Cell;
use std::time::{Duration, Instant};

use canter_base::log::push_json_string;
use canter_http::{Framing, Method};

use super::Conn;
use super::inquire::PATIENCE;
use crate::app::App;
use crate::insight::{Insight, Scale};
use crate::steps::purge;

/// Between two questions to the database.
const BETWEEN: Duration = Duration::from_millis(200);

thread_local! {
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Until when a thread of the app may still be at the last question; None once that was answered.
    static ASKED_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Status, and JSON.
pub(super) type JsonReply = (u16, String);

pub(super) fn error(status: u16, what: &str) -> JsonReply {
    let mut text = "{\"error\":".to_owned();
    push_json_string(&mut text, what);
    text.push('}');
    (status, text)
}

/// The value of a word in a query; names of findings need no decoding.
fn word<'a>(query: &'a [u8], name: &str) -> Option<&'a str> {
    let pairs = query.split(|byte| *byte == b'&');
    let mut values =
        pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    let value = std::str::from_utf8(values.next()?).ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    (!value.is_empty() && value.len() <= 64 && value.chars().all(is_plain)).then_some(value)
}

/// Why the database is not asked now; None where it may be, and from then on somebody does.
fn too_soon(now: Instant) -> Option<JsonReply> {
    if ASKED_UNTIL.get().is_some_and(|until| now < until) {
        let what =
            "the database is asked something else now: once more when that is answered, please";
        return Some(error(429, what));
    }
    let last = LAST.get();
    if last.is_some_and(|last| now.duration_since(last) < BETWEEN) {
        let what = "the database was asked a moment ago: once more, please";
        return Some(error(429, what));
    }
    LAST.set(Some(now));
    // Whoever has asked may go without the answer, and then nobody is left to say that it has come.
    ASKED_UNTIL.set(Some(now + PATIENCE));
    None
}

impl<A: App> Conn<A> {
    /// Whether the request does something rather than look.
    pub(super) fn is_act(&self) -> bool {
        let buf = self.buffer.filled();
        let mut fields = self.head.fields.iter();
        let has_mark = fields.any(|field| field.name.of(buf).eq_ignore_ascii_case(b"x-canter"));
        let is_bare = matches!(self.head.framing, Framing::None | Framing::Length(0));
        self.head.method == Method::Post && is_bare && has_mark
    }

    /// Does it; None where there is no such thing.
    pub(super) async fn act(
        &self,
        insight: &Insight,
        path: &[u8],
        query: &[u8],
    ) -> Option<JsonReply> {
        Some(match path {
            b"/acknowledge" | b"/unacknowledge" => {
                let Some(id) = word(query, "id") else {
                    return Some(error(400, "which finding? its name goes into `?id=`"));
                };
                match insight.acknowledge(id, path == b"/acknowledge") {
                    Ok(text) => (200, text),
                    Err(what) => error(409, &what),
                }
            }
            b"/explain" => self.explain(insight, query).await,
            b"/connect" if !self.may_change(insight) => error(
                403,
                "connections are tried only for who asks over the private socket, or with `--admin-token`",
            ),
            b"/connect" => match too_soon(Instant::now()) {
                Some(reply) => reply,
                None => self.told_alone("{\"ask\":\"connect\"}").await,
            },
            b"/scale" if self.may_change(insight) => match Scale::read(query) {
                Some(asked) => {
                    if asked.fresh {
                        let _ = purge::run(&self.shared.settings.pages, b"all=1&hard=1");
                    }
                    insight.scale(asked);
                    (202, "{}".to_owned())
                }
                None => error(
                    400,
                    "say it as `workers=2&threads=16&fresh=1`: 1 to 1024 workers, 1 to 1000 threads; any of them may be left out",
                ),
            },
            _ => return None,
        })
    }

    /// Purges pages.
    pub(super) fn purge(&self, query: &[u8]) -> JsonReply {
        match purge::run(&self.shared.settings.pages, query) {
            Ok(count) => (200, format!("{{\"purged\":{count}}}")),
            Err(what) => error(400, what),
        }
    }

    async fn explain(&self, insight: &Insight, query: &[u8]) -> JsonReply {
        let Some(id) = word(query, "id") else {
            return error(400, "which finding or statement? its name goes into `?id=`");
        };
        let Some((name, sql)) = insight.statement(id) else {
            return error(404, "no finding and no statement has this name now");
        };
        if let Some(reply) = too_soon(Instant::now()) {
            return reply;
        }
        let mut question = format!("{{\"ask\":\"explain\",\"name\":\"{name:016x}\",\"sql\":");
        push_json_string(&mut question, &sql);
        let analyze = word(query, "analyze") == Some("1");
        question += if analyze { ",\"analyze\":true}" } else { "}" };
        self.told_alone(&question).await
    }

    /// The answer to a question to the database, after which the next may be asked.
    async fn told_alone(&self, question: &str) -> JsonReply {
        let told = self.told(question).await;
        ASKED_UNTIL.set(None);
        told
    }

    /// The settings of the app, as far as speed depends on them.
    pub(super) async fn app_settings(&self) -> JsonReply {
        self.told("{\"ask\":\"settings\"}").await
    }

    async fn told(&self, question: &str) -> JsonReply {
        match self.ask(question).await {
            Some(text) => (200, text),
            None => error(
                503,
                "no worker of the app answers: look at the server's log",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_asked_one_thing_at_a_time_and_not_at_once_again() {
        let begun = Instant::now();
        assert_eq!(too_soon(begun), None);
        let (status, text) = too_soon(begun + BETWEEN * 2).unwrap();
        assert!(
            status == 429 && text.contains("asked something else now"),
            "{text}"
        );
        // Answered.
        ASKED_UNTIL.set(None);
        let (status, text) = too_soon(begun + BETWEEN / 2).unwrap();
        assert!(status == 429 && text.contains("a moment ago"), "{text}");
        assert_eq!(too_soon(begun + BETWEEN), None);
        // Whoever asked has gone: the question itself ends.
        assert!(too_soon(begun + PATIENCE).is_some());
        assert_eq!(too_soon(begun + BETWEEN + PATIENCE), None);
    }

    #[test]
    fn only_plain_words_are_names() {
        for (query, found) in [
            (&b"id=00ff"[..], Some("00ff")),
            (b"x=1&id=ab&analyze=1", Some("ab")),
            (b"id=", None),
            (b"id=a%20b", None),
            (b"id=../x", None),
            (b"idx=1", None),
        ] {
            assert_eq!(word(query, "id"), found, "{}", query.escape_ascii());
        }
    }
}
