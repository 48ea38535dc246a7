//! Owns looking below memory before the app is asked: a moment at most, and only where something may
//! be there. Leaves the tiers to `pages`.

use std::rc::Rc;

use canter_channel::call::Submission;

use super::Conn;
use crate::app::App;
use crate::facts::Facts;
use crate::pages::flight::start;
use crate::pages::{CacheAction, Visit};

impl<A: App> Conn<A> {
    /// What the page cache does with the request whose head is in the buffer, tiers included.
    pub(super) async fn decide(&self, facts: &mut Facts, https: bool) -> Option<CacheAction> {
        let action = self.cache_action(facts, https);
        if self.shared.settings.pages.has_tiers() {
            // Boxed, so that requests without tiers do not make room for it.
            return Box::pin(self.look_in_tiers(facts, action, https)).await;
        }
        action
    }

    /// What to do with a request now that the tiers were asked.
    async fn look_in_tiers(
        &self,
        facts: &mut Facts,
        action: Option<CacheAction>,
        https: bool,
    ) -> Option<CacheAction> {
        let pages = &self.shared.settings.pages;
        let visit = match &action {
            Some(CacheAction::Fetch(visit)) => visit,
            Some(_) => return action,
            None => match &facts.visit {
                Some(visit) => visit,
                None => return None,
            },
        };
        let is_fetched = self.shared.flights.is_flying(visit.look.key.bytes());
        if is_fetched || !pages.may_be_in_tier(visit) {
            return action;
        }
        let Some(tier) = pages.load(visit).await else {
            return action;
        };
        (facts.visit, facts.passing) = (None, None);
        facts.tier = Some(tier);
        self.cache_action(facts, https)
    }

    /// Gets another copy for the store, in the background: from below, where one is fresh, or from the
    /// app.
    pub(super) fn start_refresh(&self, visit: Visit, submission: Submission) {
        let shared = Rc::clone(&self.shared);
        let pages = shared.settings.pages.clone();
        if !pages.may_be_in_tier(&visit) {
            let call = shared.app.submit(submission);
            drop(start(&shared.flights, pages, visit, call, true));
            return;
        }
        tokio::task::spawn_local(async move {
            if pages.load(&visit).await.is_some() && pages.is_fresh(&visit) {
                return;
            }
            let call = shared.app.submit(submission);
            drop(start(&shared.flights, pages, visit, call, true));
        });
    }
}
