//! Owns requests that pass by the page cache: no rule covers them and nothing is stored for them, or
//! the cache has no part in them. Most requests of most sites are such, so nothing is copied or made
//! for them: the head stays in the connection's buffer until the answer's head has come, and nearly
//! always that says that there is nothing to keep.
//! Leaves the others to `pages`.

use std::cell::RefCell;
use std::time::Instant;

use canter_cache::policy::{Forward, says_nothing};
use canter_cache::status::CacheStatus;
use canter_cache::store::Mark;
use canter_cache::{Reason, Time};
use canter_channel::response::Response;
use canter_http::KnownName;

use super::note::CacheNote;
use super::shape::Seen;
use super::{Pages, Request, Visit, now, shape};

/// A request that passes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passing {
    forward: Forward,
    /// Why the cache has no part, where it has none.
    reason: Option<Reason>,
    /// When the app was asked; None where its answer is not to be kept.
    mark: Option<Mark>,
}

impl Passing {
    /// The cache has no part, for a reason.
    pub fn around(reason: Reason) -> Self {
        Self {
            forward: Forward::Bypass,
            reason: Some(reason),
            mark: None,
        }
    }

    /// The request's head is needed when the answer's has come.
    pub fn needs_head(&self) -> bool {
        self.mark.is_some()
    }
}

/// What the answer to such a request comes to.
pub(crate) enum Passed {
    /// It is for who asked; `Cache-Status` says why.
    Private(CacheNote),
    /// It may be one to keep: what would have been noted of its request.
    Visit(Box<Visit>),
}

/// The texts of `Cache-Status` that were needed so far: few, for reasons are.
#[derive(Default)]
pub(super) struct Words(RefCell<Vec<Word>>);

/// The text for a reason why the app was asked, and why its answer is not kept.
type Word = ((Forward, Option<Reason>), CacheNote);

impl Words {
    fn text(&self, forward: Forward, reason: Option<Reason>) -> CacheNote {
        let mut known = self.0.borrow_mut();
        let found = known
            .iter()
            .find(|row| row.0 == (forward, reason))
            .map(|row| row.1.clone());
        found.unwrap_or_else(|| {
            let status = CacheStatus {
                forward: Some(forward),
                detail: reason,
                ..CacheStatus::default()
            };
            let told = CacheNote {
                text: status.to_string().into(),
                brief: (&status).into(),
            };
            known.push(((forward, reason), told.clone()));
            told
        })
    }
}

impl Pages {
    pub(super) fn passing(&self, forward: Forward) -> Passing {
        Passing {
            forward,
            reason: None,
            mark: Some(self.0.store.borrow().mark()),
        }
    }

    /// Whether nothing can be found for a request that no rule covers, without looking. A client may
    /// want nothing but what is stored.
    pub(super) fn has_nothing_for(&self, request: &Request<'_>) -> bool {
        !request.head.has(KnownName::CacheControl) && self.0.store.borrow_mut().misses_all()
    }

    /// What the head of the answer to such a request comes to. The app was asked at `asked`, or
    /// a moment later.
    pub(crate) fn judge_passing(
        &self,
        passing: Passing,
        request: &Request<'_>,
        response: &Response<'_>,
        asked: Instant,
    ) -> Passed {
        let Passing {
            forward, reason, ..
        } = passing;
        let Some(mark) = passing.mark else {
            return Passed::Private(self.0.words.text(forward, reason));
        };
        let reason = says_nothing(
            request.head.method,
            request.head.has(KnownName::Authorization),
            response.facts.status,
            response.fields(),
            &self.0.settings.borrow(),
        );
        let reason = reason.or(request.is_named.then_some(Reason::ClientId));
        let visit = match reason {
            Some(_) => None,
            None => self.late(request, forward, mark, asked),
        };
        match visit {
            Some(visit) => Passed::Visit(visit),
            None => Passed::Private(self.0.words.text(forward, reason)),
        }
    }

    /// What would have been noted of the request; None when the app has changed since.
    fn late(
        &self,
        request: &Request<'_>,
        forward: Forward,
        mark: Mark,
        asked: Instant,
    ) -> Option<Box<Visit>> {
        let site = self.0.site.borrow().clone()?;
        let look = match shape::see(&self.0.rules, &site, request) {
            Ok(Seen::Plain(plain)) => shape::plain(&site, request, &plain),
            Ok(Seen::Covered(_)) | Err(_) => return None,
        };
        let mut visit = self.visit(request, look, forward, None);
        let ago = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        visit.asked = Time::from_millis(now().millis().saturating_sub(ago));
        visit.mark = mark;
        // What was purged since at other machines is not known of that moment.
        visit.position = None;
        Some(visit)
    }
}
