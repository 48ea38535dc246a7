//! Owns what a client is told while the app is still at work: links by rule (RFC 8297).
//! Leaves sending them to `conn`, and their form to `canter_http::interim`.

use canter_http::{Head, interim};

use crate::settings::Settings;

/// A 103 with the links that are for this path; empty without any. Only for pages: what a page
/// fetches needs no hints.
pub(crate) fn hints(settings: &Settings, head: &Head, buf: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if settings.early_hints.is_empty() || !interim::may_be_sent(head) || !is_page(head, buf) {
        return out;
    }
    let path = head.path(buf);
    let hints = settings.early_hints.iter().filter(|hint| hint.is_for(path));
    interim::encode_early_hints(&mut out, hints.map(|hint| hint.link.as_bytes()));
    out
}

/// Where a browser says what it fetches, it fetches a page.
fn is_page(head: &Head, buf: &[u8]) -> bool {
    let mode = head.value(buf, canter_http::KnownName::SecFetchMode);
    mode.is_none_or(|mode| mode == b"navigate")
}
