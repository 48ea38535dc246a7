//! Owns what makes stored pages old before their time: purges, unsafe requests, and answers that are not
//! what is stored. Leaves finding them to the store, and the tiers below memory to `below`.

use canter_cache::key::UrlParts;
use canter_cache::{Field, Key, Purge, Reason, Time, policy};

use super::{FAILED_SECONDS, Pages, REFUSED_SECONDS, Visit};

impl Pages {
    /// Purges; how many pages were meant. After a soft purge they are shown while others are
    /// fetched.
    pub fn purge(&self, purge: &Purge, soft: bool) -> usize {
        self.purge_below(purge, soft);
        self.0.store.borrow_mut().purge(purge, soft)
    }

    /// What an unsafe request made wrong (RFC 9111, section 4.4). Memory may hold nothing of what the
    /// tiers and other machines hold, so that each of them hears of it.
    pub(super) fn invalidate(&self, visit: &Visit, status: u16, fields: &[Field<'_>]) {
        let Some(url) = UrlParts::read(visit.look.key.url()) else {
            return;
        };
        let invalid = policy::invalidates(visit.method, &visit.method_text, status, fields, &url);
        let invalidate = |purge: &Purge| {
            self.purge_below(purge, false);
            self.0.store.borrow_mut().invalidate(purge);
        };
        for (path, query) in invalid.urls {
            let key = Key::new(url.scheme, url.host, &path, query.as_deref());
            invalidate(&Purge::Url(key));
            // A rule may count less of the query than there is.
            if self.0.rules.iter().any(|rule| rule.covers(url.host, &path)) {
                let host = Some(url.host.to_vec());
                invalidate(&Purge::Path { host, path });
            }
        }
        for tag in invalid.tags {
            invalidate(&Purge::Tag(tag));
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
        if reason.is_of_the_request() || !(is_covered || self.has_below()) {
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
