//! Owns what a client is told while the app is still at work: links by rule, and those that the last
//! answer to the same address had (RFC 8297).
//! Leaves sending them to `conn`, and their form to `canter_http::interim`.

use std::cell::RefCell;
use std::collections::HashMap;

use canter_http::{Head, interim};

use crate::settings::Settings;

/// Addresses whose links are remembered, and bytes of links of one.
const MOST_ADDRESSES: usize = 512;
const MOST_LINKS: usize = 2048;

/// The values of `Link` fields.
type Links = Vec<Vec<u8>>;

/// What is known for one request.
#[derive(Default)]
pub(crate) struct Hints {
    /// A 103 to send ahead; empty without any link.
    pub ahead: Vec<u8>,
    /// Where the links of its answer are remembered, if a rule asks for that.
    pub learn_as: Option<Box<[u8]>>,
}

/// A 103 with the links that are for this path. Only for pages: what a page fetches needs no hints.
pub(crate) fn hints(settings: &Settings, learned: &Learned, head: &Head, buf: &[u8]) -> Hints {
    let mut hints = Hints::default();
    if settings.early_hints.is_empty() || !interim::may_be_sent(head) || !is_page(head, buf) {
        return hints;
    }
    let path = head.path(buf);
    let rules = settings.early_hints.iter().filter(|rule| rule.is_for(path));
    let mut links = Links::new();
    for rule in rules {
        if let Some(link) = rule.link() {
            links.push(link.as_bytes().to_vec());
        } else if hints.learn_as.is_none() {
            let address = [head.host_span.of(buf), path].concat();
            links.extend(learned.of(&address));
            hints.learn_as = Some(address.into());
        }
    }
    interim::encode_early_hints(&mut hints.ahead, links.iter().map(Vec::as_slice));
    hints
}

/// Where a browser says what it fetches, it fetches a page.
fn is_page(head: &Head, buf: &[u8]) -> bool {
    let mode = head.value(buf, canter_http::KnownName::SecFetchMode);
    mode.is_none_or(|mode| mode == b"navigate")
}

/// The links of the last answers, by host and path.
#[derive(Default)]
pub(crate) struct Learned(RefCell<HashMap<Box<[u8]>, Links>>);

impl Learned {
    fn of(&self, address: &[u8]) -> Links {
        self.0.borrow().get(address).cloned().unwrap_or_default()
    }

    /// Remembers those of a page that were to be fetched at once; an answer without any forgets.
    pub fn learn<'a>(&self, address: &[u8], fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let mut left = MOST_LINKS;
        let links: Links = fields
            .filter(|(name, value)| name.eq_ignore_ascii_case(b"link") && is_urgent(value))
            .map_while(|(_, value)| {
                left = left.checked_sub(value.len())?;
                Some(value.to_vec())
            })
            .collect();
        let mut learned = self.0.borrow_mut();
        if links.is_empty() {
            learned.remove(address);
            return;
        }
        if learned.len() >= MOST_ADDRESSES && !learned.contains_key(address) {
            // What is asked for often is soon learned again.
            learned.clear();
        }
        learned.insert(address.into(), links);
    }
}

/// Whether a link is of the kinds that browsers heed in a 103.
fn is_urgent(value: &[u8]) -> bool {
    [&b"preload"[..], b"preconnect"]
        .iter()
        .any(|kind| memchr::memmem::find(value, kind).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        [(&b"Link"[..], value.as_bytes())].into_iter()
    }

    #[test]
    fn what_is_to_be_fetched_at_once_is_remembered_and_forgotten_with_it() {
        let learned = Learned::default();
        learned.learn(b"a/", fields("</a.css>; rel=preload"));
        learned.learn(b"b/", fields("</?page=2>; rel=next"));
        assert_eq!(learned.of(b"a/"), [b"</a.css>; rel=preload".to_vec()]);
        assert!(learned.of(b"b/").is_empty());
        learned.learn(b"a/", std::iter::empty());
        assert!(learned.of(b"a/").is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let learned = Learned::default();
        let long = format!("<{}>; rel=preload", "a".repeat(MOST_LINKS));
        learned.learn(b"long", fields(&long));
        assert!(learned.of(b"long").is_empty());
        for number in 0..MOST_ADDRESSES * 3 {
            learned.learn(number.to_string().as_bytes(), fields("</a>; rel=preload"));
            assert!(learned.0.borrow().len() <= MOST_ADDRESSES);
        }
    }
}
