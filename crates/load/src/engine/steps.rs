//! Owns what a user asks for beside the scenario: the form of a login, the goal of a redirect.
//! Leaves sending it to `user`.

use std::time::Instant;

use super::user::{Shared, Step, Turn, User};
use crate::record::Kind;
use crate::response::Head;
use crate::scenario::{Rendered, Request};

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
        let field = |name: &str, value: String| (name.to_owned(), value);
        let origin = shared.plan.site.origin();
        let post = Request {
            method: "POST".to_owned(),
            path: login.path.clone(),
            fields: vec![
                field(
                    "Content-Type",
                    "application/x-www-form-urlencoded".to_owned(),
                ),
                field("Referer", format!("{origin}{}", login.path)),
                field("Origin", origin),
            ],
            body: login.body(&self.page, self.number).into_bytes(),
            weight: 1.0,
        };
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
        if self.redirects == 0 || !matches!(head.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = std::str::from_utf8(head.location.as_deref()?).ok()?;
        let path = match location.strip_prefix(shared.origin) {
            Some("") => "/",
            Some(rest) => rest,
            None => location,
        };
        if !crate::target::is_path(path) || path.starts_with("//") {
            return None;
        }
        self.redirects -= 1;
        shared.tally.steps += 1;
        self.step = Step::Redirected;
        let mut next = Request::get(path);
        let asked = shared.rendered.get(self.which)?;
        next.fields.clone_from(&asked.fields);
        next.fields
            .retain(|(name, _)| name != "content-length" && name != "content-type");
        self.own = Some(Box::new(Rendered::new(
            &next,
            &shared.plan.site,
            shared.plan.keep_alive,
        )));
        Some(self.ask(shared, now))
    }
}
