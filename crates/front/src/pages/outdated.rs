//! Owns what makes stored pages old before their time: purges, unsafe requests, and answers that are not
//! what is stored. Leaves finding them to the store, and the tiers below memory to `tiers`.

use canter_cache::inputs::{cookies, normal_query};
use canter_cache::key::UrlParts;
use canter_cache::status::CacheStatus;
use canter_cache::{Field, Key, Purge, Reason, Time, policy};

use super::{FAILED_SECONDS, Pages, REFUSED_SECONDS, Visit, now};

impl Pages {
    /// Purges; how many pages were meant. After a soft purge they are shown while others are
    /// fetched.
    pub fn purge(&self, purge: &Purge, soft: bool) -> usize {
        self.purge_tiers(purge, soft);
        self.0.store.borrow_mut().purge(purge, soft)
    }

    /// A purge as somebody gave it, and as pages of a rule are kept: of their query only what counts, in
    /// order.
    pub(crate) fn as_kept(&self, purge: Purge) -> Vec<Purge> {
        let normal = |key: &Key| {
            let url = UrlParts::read(key.url())?;
            let mut rules = self.0.rules.iter();
            let rule = rules.find(|rule| rule.covers(url.host, url.path))?;
            let query = normal_query(url.query?, &rule.query);
            let query = (!query.is_empty()).then_some(&*query);
            let kept = Key::new(url.scheme, url.host, url.path, query);
            (kept != *key).then_some(Purge::Url(kept))
        };
        let kept = match &purge {
            Purge::Url(key) => normal(key),
            _ => None,
        };
        std::iter::once(purge).chain(kept).collect()
    }

    /// What an unsafe request made wrong (RFC 9111, section 4.4). Memory may hold nothing of what the
    /// tiers and other machines hold, so that each of them hears of it.
    pub(super) fn invalidate(&self, visit: &Visit, status: u16, fields: &[Field<'_>]) {
        let Some(url) = UrlParts::read(visit.look.key.url()) else {
            return;
        };
        let invalid = policy::invalidates(visit.method, &visit.method_text, status, fields, &url);
        let named = |path: Vec<u8>, query: Option<&[u8]>| {
            // A rule may count less of the query than there is.
            if self.0.rules.iter().any(|rule| rule.covers(url.host, &path)) {
                let host = Some(url.host.to_vec());
                Purge::Path { host, path }
            } else {
                Purge::Url(Key::new(url.scheme, url.host, &path, query))
            }
        };
        let invalidate = |purge: &Purge| {
            self.purge_tiers(purge, false);
            self.0.store.borrow_mut().invalidate(purge);
        };
        for (path, query) in invalid.urls {
            invalidate(&named(path, query.as_deref()));
        }
        for tag in invalid.tags {
            invalidate(&Purge::Tag(tag));
        }
        if let Some((path, query)) = invalid.redirect {
            let purge = named(path, query.as_deref());
            if self.changes_the_visitor(visit, fields) {
                self.0.store.borrow_mut().age(&purge, now());
            } else {
                invalidate(&purge);
            }
        }
    }

    /// Whether an answer changes the cookie of a session or of a language, as that of a login, a logout and
    /// a choice of language does: who has a session gets no stored page, and the choice has pages of its
    /// own. One that says again what the client has sent, as with `SESSION_SAVE_EVERY_REQUEST`, does not.
    fn changes_the_visitor(&self, visit: &Visit, fields: &[Field<'_>]) -> bool {
        let site = self.0.site.borrow();
        let Some(site) = site.as_ref() else {
            return false;
        };
        let set = fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"set-cookie"));
        let mut set = set.filter_map(|(_, value)| SetCookie::read(value));
        set.any(|set| {
            site.is_of_the_visitor(set.name)
                && set.changes(cookies(&visit.sent).filter(|(name, _)| *name == set.name))
        })
    }

    /// The same of one that is larger than an entry may be; what is told of it.
    pub(crate) fn note_too_large(&self, visit: &Visit, status: u16) -> CacheStatus<'static> {
        self.note_refusal(visit, Reason::TooLarge, status, now());
        CacheStatus {
            forward: Some(visit.forward),
            detail: Some(Reason::TooLarge),
            ..CacheStatus::default()
        }
    }

    /// Remembers that an answer is not for others, so that nobody waits for the next one, and what it
    /// says of a stored page that it was to renew.
    pub(super) fn note_refusal(&self, visit: &Visit, reason: Reason, status: u16, now: Time) {
        let look = &visit.look;
        let is_covered = look.shape.is_some();
        // One that is too busy has failed as well.
        let has_failed = status >= 500 || status == 429;
        let mut store = self.0.store.borrow_mut();
        if let Some(found) = &visit.found {
            match (is_covered, has_failed) {
                (_, true) => store.refresh_failed(found.handle, now),
                // The app says the same to everybody, and no longer this.
                (true, false) => store.drop_entry(found.handle),
                // What one client sent may have made it so.
                (false, false) => store.release_refresh(found.handle),
            }
        }
        if reason.is_of_the_request() || !(is_covered || self.has_tiers()) {
            return;
        }
        let seconds = if has_failed {
            FAILED_SECONDS
        } else {
            REFUSED_SECONDS
        };
        store.refuse(&look.key, reason, now.plus_seconds(seconds));
    }
}

/// What a `Set-Cookie` field says (RFC 6265, section 5.2), as far as it counts here.
struct SetCookie<'a> {
    name: &'a [u8],
    value: &'a [u8],
    /// The client is to forget it.
    is_deleted: bool,
}

impl<'a> SetCookie<'a> {
    fn read(field: &'a [u8]) -> Option<Self> {
        let mut parts = field.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let (name, value) = pair(parts.next()?)?;
        let ends = |word: &[u8]| {
            // Frameworks that delete say so, all but the oldest.
            pair(word).is_some_and(|(name, age)| {
                name.eq_ignore_ascii_case(b"max-age") && (age == b"0" || age.starts_with(b"-"))
            })
        };
        let is_deleted = value.is_empty() || value == b"\"\"" || parts.any(ends);
        Some(Self {
            name,
            value,
            is_deleted,
        })
    }

    /// Whether the client has another cookie from now on than these of this name, which it sent.
    fn changes<'s>(&self, mut sent: impl Iterator<Item = (&'s [u8], &'s [u8])>) -> bool {
        if self.is_deleted {
            sent.next().is_some()
        } else {
            !sent.any(|(_, value)| value == self.value)
        }
    }
}

/// A name and its value, on both sides of the first `=`.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == b'=')?;
    let (name, value) = text.split_at_checked(at)?;
    Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
}
