//! Owns a request as spans: one of the kind `server` with where its time went, one for each of its
//! parts whose place in time is known, and its statements as events.
//! Leaves which requests are told to the front. Field numbers: `trace.proto`.

use super::wire::Message;
use super::{Resource, wire};
use crate::phases::{Phase, Phases};
use crate::traceparent::Context;

/// Statements of a request that are told, the dearest first.
pub const MOST_STATEMENTS: usize = 16;
/// The longest text of an attribute.
const MOST_TEXT: usize = 1000;

const INTERNAL: u64 = 1;
const SERVER: u64 = 2;
const ERROR: u64 = 2;

/// A request that is told.
#[derive(Clone, Debug)]
pub struct Span<'a> {
    /// Where it stands.
    pub context: Context,
    /// Numbers by chance for the spans of its parts.
    pub chance: u64,
    /// `GET`…
    pub method: &'a str,
    /// The pattern of its address; empty where none is known.
    pub route: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// What it asked for.
    pub host: &'a str,
    /// Whether the client's connection is encrypted.
    pub https: bool,
    /// `1.1`, `2`.
    pub version: &'a str,
    /// Who asked.
    pub client: &'a str,
    /// With what.
    pub agent: &'a str,
    /// Its id in the logs.
    pub id: &'a str,
    /// Of the answer.
    pub status: u16,
    /// Where the time went.
    pub phases: Phases,
    /// Statements in all.
    pub queries: u32,
    /// Why it is told: `failed`, `slow` or `sampled`.
    pub kept: &'static str,
    /// From when to when, in nanoseconds since 1970.
    pub time: (u64, u64),
    /// Parts with their times.
    pub parts: Vec<(&'static str, u64, u64)>,
    /// The dearest statements.
    pub statements: Vec<Statement<'a>>,
}

/// A statement of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statement<'a> {
    /// Without its values.
    pub text: &'a str,
    /// How often.
    pub count: u32,
    /// Microseconds in all.
    pub total_us: u64,
    /// File, line and function that asked for it.
    pub place: (&'a str, u32, &'a str),
}

/// Adds a request to what will be told with [`request`].
pub fn push(spans: &mut Vec<u8>, span: &Span<'_>) {
    let mut out = Message::default();
    out.nested(2, |told| server(told, span));
    for (number, (name, from, to)) in (1_u64..).zip(&span.parts) {
        let own = span.chance.wrapping_add(number).max(1).to_be_bytes();
        out.nested(2, |told| {
            told.bytes(1, &span.context.trace);
            told.bytes(2, &own);
            told.bytes(4, &span.context.span.unwrap_or_default());
            told.text(5, name);
            told.count(6, INTERNAL);
            told.fixed(7, *from);
            told.fixed(8, *to);
        });
    }
    spans.append(&mut out.into_bytes());
}

fn server(told: &mut Message, span: &Span<'_>) {
    told.bytes(1, &span.context.trace);
    told.bytes(2, &span.context.span.unwrap_or_default());
    if let Some(parent) = &span.context.parent {
        told.bytes(4, parent);
    }
    let name = match span.route {
        "" => span.method.to_owned(),
        route => format!("{} {route}", span.method),
    };
    told.text(5, &short(&name));
    told.count(6, SERVER);
    told.fixed(7, span.time.0);
    told.fixed(8, span.time.1);
    let (address, port) = server_of(span.host);
    // https://opentelemetry.io/docs/specs/semconv/http/http-spans/
    for (name, text) in [
        ("http.request.method", span.method),
        ("http.route", span.route),
        ("url.path", span.path),
        ("url.scheme", if span.https { "https" } else { "http" }),
        ("server.address", address),
        ("client.address", span.client),
        ("user_agent.original", span.agent),
        ("network.protocol.name", "http"),
        ("network.protocol.version", span.version),
        ("canter.request.id", span.id),
        ("canter.kept", span.kept),
    ] {
        told.attribute_if(9, name, &short(text));
    }
    if let Some(port) = port {
        told.attribute(9, "server.port", u64::from(port));
    }
    told.attribute(9, "http.response.status_code", u64::from(span.status));
    told.attribute(9, "canter.queries", u64::from(span.queries));
    for phase in Phase::ALL {
        let us = span.phases.get(phase);
        if us > 0 {
            let name = format!("canter.phase.{}_ms", phase.word());
            told.attribute(9, &name, us as f64 / 1000.0);
        }
    }
    if span.status >= 500 {
        told.attribute(9, "error.type", span.status.to_string().as_str());
    }
    for statement in &span.statements {
        told.nested(11, |event| asked(event, statement, span.time.1));
    }
    if span.status >= 500 {
        told.nested(15, |status| status.count(3, ERROR));
    }
}

/// Name or address, and port where the client has named one (RFC 3986, section 3.2).
fn server_of(host: &str) -> (&str, Option<u16>) {
    let (name, port) = match host.rsplit_once(':') {
        // A colon within brackets belongs to the address.
        Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
        _ => (host, None),
    };
    let bare = name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    (bare.unwrap_or(name), port)
}

fn asked(event: &mut Message, statement: &Statement<'_>, at: u64) {
    let (file, line, function) = statement.place;
    // When each of them ran is not known; how long all of them took is.
    event.fixed(1, at);
    event.text(2, "canter.statement");
    event.attribute_if(3, "db.query.text", &short(statement.text));
    event.attribute(3, "canter.count", u64::from(statement.count));
    let ms = statement.total_us as f64 / 1000.0;
    event.attribute(3, "canter.total_ms", wire::Value::Number(ms));
    event.attribute_if(3, "code.file.path", file);
    event.attribute_if(3, "code.function.name", function);
    if line > 0 {
        event.attribute(3, "code.line.number", u64::from(line));
    }
}

/// No control characters, and not without end.
fn short(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control());
    clean.take(MOST_TEXT).collect()
}

/// `ExportTraceServiceRequest` with what was pushed.
pub fn request(resource: &Resource, spans: &[u8]) -> Vec<u8> {
    resource.wrap(|scope| scope.raw(spans))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_the_servers_address_holds_no_port() {
        let rows = [
            ("shop.example", ("shop.example", None)),
            ("shop.example:8000", ("shop.example", Some(8000))),
            ("127.0.0.1:80", ("127.0.0.1", Some(80))),
            ("[::1]:8000", ("::1", Some(8000))),
            ("[::1]", ("::1", None)),
            ("shop.example:", ("shop.example", None)),
            ("", ("", None)),
        ];
        for (host, wanted) in rows {
            assert_eq!(server_of(host), wanted, "{host}");
        }
    }
}
