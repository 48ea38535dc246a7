//! Owns the answer to "why is this page not cached?": asks the app for the page as an anonymous
//! visitor would, and says what the page cache makes of it. Nothing is stored.
//! Leaves the judgement to `pages`, what Python knows to `canter.asked`, and advice to the command.
//!
//! The answer is lines of a word, a tab and a text, one fact each.

use std::fmt::Write as _;
use std::time::Instant;

use canter_channel::call::{Answer, Submission};
use canter_channel::response::Response;
use canter_http::escape::Escaped;
use canter_http::{Head, HeadDecoder, Progress, target};

use super::Conn;
use crate::app::{App, Call};
use crate::facts::Facts;
use crate::forwarded::Client;
use crate::pages::{Asking, Examined, Request};
use crate::request::{self, Codings};

/// Asks Python to tell what makes the page personal. No client can send a field of this name: a
/// colon stands in none (RFC 9110, section 5.1).
const ASK: &[u8] = b":doctor";
/// Marks a body that is Python's report instead of the page.
const REPORT: &[u8] = b"canter-report";
/// More of a body than this is not looked at.
const MOST: usize = 1 << 20;
/// Fields that decide whether a page may be kept.
const TELLING: [&str; 8] = [
    "cache-control",
    "canter-cache-control",
    "cdn-cache-control",
    "content-security-policy",
    "expires",
    "pragma",
    "set-cookie",
    "vary",
];

impl<A: App> Conn<A> {
    /// What the cache makes of a page, for `canter doctor --cache`.
    pub(super) async fn examine(&mut self, facts: &Facts, url: &[u8]) -> String {
        let mut out = String::new();
        if let Err(problem) = self.examine_into(facts, url, &mut out).await {
            say(&mut out, "problem", problem);
        }
        out
    }

    async fn examine_into(
        &mut self,
        facts: &Facts,
        url: &[u8],
        out: &mut String,
    ) -> Result<(), &'static str> {
        let pages = self.shared.settings.pages.clone();
        let site_host = pages.host().ok_or(
            "the app has not said yet what it is, or pages are not cached at all: \
             see whether it runs, and without `--no-cache`",
        )?;
        let (https, host, target) = parts(url).ok_or("give a path such as `/news/`, or a URL")?;
        let host = if host.is_empty() {
            site_host.into_bytes()
        } else {
            host
        };
        let text = [b"GET ", target, b" HTTP/1.1\r\nHost: ", &host, b"\r\n\r\n"].concat();
        let mut head = Head::new();
        let decoded = HeadDecoder::new().decode(&self.shared.settings.limits, &text, &mut head);
        if !matches!(decoded, Ok(Progress::Complete)) {
            return Err("no request can be made of this URL");
        }
        let mut path = Vec::new();
        target::decode_path(head.path(&text), &mut path)
            .map_err(|_| "no request can be made of this URL")?;
        let asked = Request {
            head: &head,
            buf: &text,
            path: &path,
            https,
            hides_codings: self.hides_codings(),
            is_named: false,
            words: None,
        };
        let examined = pages.examine(&asked);
        let scheme = if https { "https" } else { "http" };
        say(
            out,
            "url",
            &format!("{scheme}://{}{}", shown(&host), shown(target)),
        );
        say(out, "rule", examined.rule().unwrap_or("none"));
        let conditions = [(ASK, b"1".to_vec())];
        let message = match examined.shape() {
            Some(shape) => shape.message(&Asking {
                server: &self.arrival.local.0,
                server_port: self.arrival.local.1,
                id: &facts.id,
                id_header: &self.shared.settings.request_id_header,
                conditions: &conditions,
            }),
            None => self
                .plain_message(facts, (&head, &text), https, &conditions)
                .ok_or("no request can be made of this URL")?,
        };
        let limit = self.shared.settings.timeout;
        let at = Instant::now();
        let mut call = self.shared.app.submit(Submission {
            message,
            file: None,
            at,
            wanted_until: None,
            urgent: false,
            trace: None,
            deadline: limit.map(|limit| at + limit),
        });
        let (head, body) = collected(&mut call).await.ok_or("the app did not answer")?;
        let response = Response::read(&head).map_err(|_| "the app did not answer")?;
        tell(out, &examined, &response);
        if response.fields().any(|(name, _)| name == REPORT) {
            out.push_str(&String::from_utf8_lossy(&body));
        }
        Ok(())
    }

    /// The request as it would come where no rule covers the page.
    fn plain_message(
        &self,
        facts: &Facts,
        (head, text): (&Head, &[u8]),
        https: bool,
        conditions: &[(&'static [u8], Vec<u8>)],
    ) -> Option<Vec<u8>> {
        let client = Client {
            https,
            ..self.arrival.peer.clone()
        };
        let origin = request::Origin {
            client: &client,
            server: &self.arrival.local.0,
            server_port: self.arrival.local.1,
            id: &facts.id,
            id_header: &self.shared.settings.request_id_header,
            trusted: None,
            http2: false,
            conditions,
            is_for_the_store: false,
            codings: Codings::Pass,
            traced: None,
        };
        let mut message = Vec::new();
        let writer = request::begin(&mut message, text, head, &origin, &mut Vec::new()).ok()?;
        writer.inline_body(&[]);
        Some(message)
    }
}

/// What the answer's head comes to.
fn tell(out: &mut String, examined: &Examined, response: &Response<'_>) {
    say(out, "status", &response.facts.status.to_string());
    for (name, value) in response.fields() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if !TELLING.contains(&name.as_str()) {
            continue;
        }
        // A cookie's value opens a session.
        let value = match name.as_str() {
            "set-cookie" => value.split(|&byte| byte == b'=').next().unwrap_or_default(),
            _ => value,
        };
        say(out, "field", &format!("{name}: {}", shown(value)));
    }
    match examined.verdict(response) {
        Ok(life) => say(out, "kept", &life),
        Err(reason) => {
            say(out, "reason", reason.word());
            say(out, "means", reason.text());
            say(out, "advice", reason.advice());
        }
    }
}

fn say(out: &mut String, word: &str, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{word}\t{text}");
}

fn shown(bytes: &[u8]) -> String {
    Escaped(bytes).to_string()
}

/// Whether it is encrypted, the host, and the target; the host is empty for a path alone.
fn parts(url: &[u8]) -> Option<(bool, Vec<u8>, &[u8])> {
    if url.starts_with(b"/") {
        return Some((false, Vec::new(), url));
    }
    let (https, rest) = match url.strip_prefix(b"https://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix(b"http://")?),
    };
    let slash = rest.iter().position(|&byte| byte == b'/');
    let (host, target) = match slash {
        Some(slash) => rest.split_at(slash),
        None => (rest, &b"/"[..]),
    };
    (!host.is_empty()).then(|| (https, host.to_vec(), target))
}

/// The message with the head, and the body behind it.
async fn collected(call: &mut impl Call) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut head, mut body): (Option<Vec<u8>>, Vec<u8>) = (None, Vec::new());
    loop {
        let answer = std::future::poll_fn(|cx| call.poll_answer(cx)).await;
        let last = match answer {
            Answer::Head { mut message, last } => {
                let at = Response::read(&message).ok()?.body_at;
                body.extend(message.split_off(at));
                head = Some(message);
                last
            }
            Answer::File { message, .. } => {
                head = Some(message);
                true
            }
            Answer::Chunk { bytes, last } => {
                body.extend(bytes);
                last
            }
            Answer::Hints(_) => false,
            Answer::Failed(_) => return None,
        };
        if last || body.len() > MOST {
            return Some((head?, body));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_path_or_has_a_host() {
        assert_eq!(parts(b"/a?b"), Some((false, Vec::new(), &b"/a?b"[..])));
        let whole = parts(b"https://a.org/b");
        assert_eq!(whole, Some((true, b"a.org".to_vec(), &b"/b"[..])));
        assert_eq!(
            parts(b"http://a.org"),
            Some((false, b"a.org".to_vec(), &b"/"[..]))
        );
        for wrong in [&b"a.org/b"[..], b"", b"http:///b", b"ftp://a/"] {
            assert_eq!(parts(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}
