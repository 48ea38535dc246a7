//! What the page cache makes of a page that somebody asks about: owns the judgement without its
//! consequences. Nothing is looked up, stored or remembered.

use canter_cache::policy::{self, Answer};
use canter_cache::{Field, Key, Lines, Reason};
use canter_channel::response::Response;
use canter_http::Method;

use super::shape::{self, Look, Request, Shape};
use super::{Pages, asked, now};

/// A request that was looked at, but not handled.
pub(crate) struct Examined {
    look: Result<Look, Reason>,
    path: Vec<u8>,
    pages: Pages,
}

impl Pages {
    /// A host of the site, where the cache is in use and the app has said what it is.
    pub(crate) fn host(&self) -> Option<String> {
        if !self.0.is_on {
            return None;
        }
        let site = self.0.site.borrow();
        let hosts = &site.as_ref()?.hosts;
        let plain = hosts.iter().find(|host| *host != "*");
        Some(plain.map_or_else(
            || "localhost".to_owned(),
            |host| host.trim_start_matches('.').to_owned(),
        ))
    }

    /// Looks at a request.
    pub(crate) fn examine(&self, request: &Request<'_>) -> Examined {
        let site = self.0.site.borrow().clone().unwrap_or_default();
        let look = shape::look(&self.0.rules, &site, request);
        Examined {
            // Without a reason the host is not the site's, or the target none for pages.
            look: look.map_err(|reason| reason.unwrap_or(Reason::Method)),
            path: request.path.to_vec(),
            pages: self.clone(),
        }
    }
}

impl Examined {
    /// The path of the rule that covers it.
    pub fn rule(&self) -> Option<&str> {
        let covering = self.look.as_ref().ok()?.covering.as_ref()?;
        Some(covering.path())
    }

    /// What the app gets, where a rule covers it.
    pub fn shape(&self) -> Option<&Shape> {
        self.look.as_ref().ok()?.shape.as_ref()
    }

    /// For how long an answer is kept, in words, or why not.
    pub fn verdict(&self, response: &Response<'_>) -> Result<String, Reason> {
        let look = self.look.as_ref().map_err(|reason| *reason)?;
        let fields: Vec<Field<'_>> = response.fields().collect();
        let now = now();
        let answer = Answer {
            status: response.facts.status,
            reason: response.facts.reason,
            fields: &fields,
            asked: now,
            received: now,
        };
        let life = match &look.shape {
            Some(shape) => self.judge(look, shape, &answer, &look.key),
            // Nobody in particular asks: no field to vary on.
            None => self.judge(look, &Vec::<Field<'_>>::new(), &answer, &look.key),
        }?;
        let stale = life.while_revalidate.max(life.if_error);
        Ok(match (life.is_fresh(now), stale) {
            (true, 0) => format!("for {} seconds", life.ttl(now)),
            (true, stale) => format!(
                "for {} seconds, and {stale} more while another is fetched or when the app fails",
                life.ttl(now)
            ),
            (false, _) => "to be confirmed by the app each time".to_owned(),
        })
    }

    fn judge<L: Lines>(
        &self,
        look: &Look,
        lines: &L,
        answer: &Answer<'_>,
        key: &Key,
    ) -> Result<canter_cache::Life, Reason> {
        let asked = asked(Method::Get, lines, &self.path, look.settled());
        let rule = look.covering.as_ref().map(|covering| &covering.rule);
        let settings = self.pages.0.settings.borrow();
        policy::store(&asked, key, answer, rule, &settings, 0).map(|plan| plan.life)
    }
}
