//! Owns when a user asks for something beside the scenario: the form of a login, the goal of a redirect.
//! Leaves what that is to `login` and `redirect`, and sending it to `user`.

use std::time::Instant;

use super::user::{Shared, Step, Turn, User};
use crate::record::Kind;
use crate::redirect;
use crate::response::Head;
use crate::scenario::Rendered;

impl User {
    pub(super) fn post_login(
        &mut self,
        shared: &mut Shared<'_>,
        head: &Head,
        now: Instant,
    ) -> Turn {
        shared.tally.steps += 1;
        let Some(login) = &shared.plan.login else {
            return self.fail(shared, Kind::Login, now);
        };
        if head.status != 200 {
            return self.fail(shared, Kind::Login, now);
        }
        let post = login.post(&shared.plan.site, &self.page, self.number);
        self.page = Vec::new();
        self.step = Step::LoginPost;
        self.own = Some(Box::new(Rendered::new(&post, &shared.plan.site, true)));
        self.ask(shared, now)
    }

    /// Goes where a redirect leads, when that is asked for and on the same site.
    pub(super) fn follow(
        &mut self,
        shared: &mut Shared<'_>,
        head: &Head,
        now: Instant,
    ) -> Option<Turn> {
        if self.redirects == 0 {
            return None;
        }
        let location = std::str::from_utf8(head.location.as_deref()?).ok()?;
        let asked = match &self.own {
            Some(own) => own,
            None => shared.rendered.get(self.which)?,
        };
        let next = redirect::next(asked, &shared.plan.site, head.status, location)?;
        self.redirects -= 1;
        shared.tally.steps += 1;
        self.step = Step::Redirected;
        self.own = Some(Box::new(Rendered::new(
            &next,
            &shared.plan.site,
            shared.plan.keep_alive,
        )));
        Some(self.ask(shared, now))
    }
}
