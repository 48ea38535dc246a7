//! What trusted proxies say in the key: owns which of their words an app may build its page from, and
//! their values as the app gets them.
//! Leaves which fields pass to `request`, and what each of our proxies wrote to `forwarded`.

use std::borrow::Cow;

use canter_base::options::ForwardedHeader;
use canter_http::{Field, KnownName};

use super::shape::Request;
use crate::forwarded;
use crate::request::speaks_for_the_client;

/// A name in lower case, and the value that the app gets.
type Line<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Whether a word came more than once that is no list: each program takes another one for it.
pub(super) fn is_ambiguous(request: &Request<'_>) -> bool {
    let Request { head, buf, .. } = *request;
    let mut said = said(request);
    said.any(|field| {
        let is_same = |other: &&Field| {
            other.known == field.known
                && other.name.of(buf).eq_ignore_ascii_case(field.name.of(buf))
        };
        !forwarded::is_list(field.known) && head.fields.iter().filter(is_same).count() > 1
    })
}

/// The host that the proxy was asked for, as the app gets it.
pub(super) fn host<'a>(request: &Request<'a>) -> Option<Cow<'a, [u8]>> {
    let Request { head, buf, .. } = *request;
    let words = request.words?;
    let passes = words.header == ForwardedHeader::XForwarded && head.has(KnownName::XForwardedHost);
    passes.then(|| forwarded::ours(head, buf, KnownName::XForwardedHost, words))?
}

/// All that reaches the app and is not about the client's address, in the order of their names.
pub(super) fn lines<'a>(request: &Request<'a>) -> Vec<Line<'a>> {
    let Request { head, buf, .. } = *request;
    let Some(words) = request.words else {
        return Vec::new();
    };
    if words.header == ForwardedHeader::Forwarded {
        if !head.has(KnownName::Forwarded) {
            return Vec::new();
        }
        let about_the_page = forwarded::without_nodes(head, buf, words);
        return vec![(b"forwarded"[..].into(), about_the_page.into())];
    }
    let mut lines: Vec<Line<'a>> = said(request)
        .map(|field| {
            let name = field.name.of(buf).to_ascii_lowercase();
            let ours = forwarded::ours(head, buf, field.known, words);
            let value = ours.unwrap_or_else(|| Cow::Borrowed(field.value.of(buf)));
            (name.into(), value)
        })
        .collect();
    lines.sort();
    // Each line of a list was given the whole list.
    lines.dedup();
    lines
}

/// Whether a page for everybody may be built from it: where a proxy has put the site, not whom it
/// speaks for.
pub(super) fn is_about_the_site(name: &[u8]) -> bool {
    matches!(
        KnownName::classify(name),
        KnownName::ScriptName
            | KnownName::XForwardedHost
            | KnownName::XForwardedPort
            | KnownName::XForwardedPrefix
            | KnownName::XForwardedProto
            | KnownName::XForwardedProtocol
            | KnownName::XForwardedScheme
            | KnownName::XForwardedServer
            | KnownName::XForwardedSsl
            | KnownName::XScheme
    ) || matches!(name, b"x-url-scheme" | b"front-end-https" | b"x-ssl")
}

/// The fields of a proxy that speaks in `X-Forwarded-*` but for those with an address or a time, which
/// differ from client to client and on which no page for several depends.
fn said<'a>(request: &Request<'a>) -> impl Iterator<Item = &'a Field> {
    let Request { head, buf, .. } = *request;
    let passes = request
        .words
        .is_some_and(|words| words.header == ForwardedHeader::XForwarded);
    let fields: &'a [Field] = if passes { &head.fields } else { &[] };
    fields.iter().filter(move |field| {
        !matches!(
            field.known,
            KnownName::Forwarded
                | KnownName::XForwardedFor
                | KnownName::XRealIp
                | KnownName::XRequestStart
        ) && speaks_for_the_client(field.known, field.name.of(buf))
    })
}
