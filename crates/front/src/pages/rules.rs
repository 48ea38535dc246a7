//! Which page rule a request falls under. Owns matching of hosts and paths; what a rule says was read
//! by `canter_base::options`, and what it causes is the policy's.

use canter_base::options::{PageRule, RuleMode, RuleQuery};
use canter_cache::inputs::{QueryRule, TRACKING};
use canter_cache::rule::StatusTtl;
use canter_cache::{Mode, Rule};

/// A rule, ready to use.
#[derive(Debug, Clone)]
pub(crate) struct Covering {
    /// What it lets the cache do.
    pub rule: Rule,
    /// Cookies that the page depends on, sorted.
    pub cookies: Vec<Vec<u8>>,
    /// Fields that it depends on, sorted.
    pub headers: Vec<String>,
    /// Query parameters that count.
    pub query: QueryRule,
    /// Words to purge by.
    pub tags: Vec<Vec<u8>>,
    path: String,
    host: Option<String>,
}

/// How many entries one rule may have at most.
const MOST_ENTRIES: usize = 200_000;

impl Covering {
    /// The paths that it covers, as they were written.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// From the option; `id` tells it apart from the others, and is not zero.
    pub fn new(given: &PageRule, id: u32) -> Self {
        let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let status_ttl = given.status_ttl.iter().map(|((from, to), ttl)| StatusTtl {
            from: *from,
            to: *to,
            ttl: seconds(*ttl),
        });
        let mut cookies: Vec<Vec<u8>> = given
            .cookies
            .iter()
            .map(|name| name.clone().into_bytes())
            .collect();
        cookies.sort_unstable();
        let mut headers = given.headers.clone();
        headers.sort_unstable();
        Self {
            rule: Rule {
                id,
                mode: match given.mode {
                    RuleMode::Override => Mode::Override,
                    RuleMode::Respect => Mode::Respect,
                    RuleMode::Bypass => Mode::Bypass,
                },
                ttl: given.ttl.map(seconds),
                grace: given.grace.map(seconds),
                stale_if_error: given.error_grace.map(seconds),
                browser_ttl: match (given.browser_ttl, given.mode) {
                    (Some(time), _) => Some(seconds(time)),
                    // A page whose time the rule sets is asked for anew by each browser.
                    (None, RuleMode::Override) => Some(0),
                    (None, _) => None,
                },
                status_ttl: status_ttl.collect(),
                most_entries: MOST_ENTRIES,
            },
            cookies,
            headers,
            query: match &given.query {
                RuleQuery::Only(names) if names.is_empty() => QueryRule::Nothing,
                RuleQuery::Only(names) => QueryRule::Only(names.clone()),
                RuleQuery::Except(names) => {
                    let tracking = TRACKING.iter().map(|name| (*name).to_owned());
                    QueryRule::Without(names.iter().cloned().chain(tracking).collect())
                }
            },
            tags: given
                .tags
                .iter()
                .map(|tag| tag.clone().into_bytes())
                .collect(),
            path: given.path.clone(),
            host: given.host.clone(),
        }
    }

    /// Whether it is for this host, in lower case, and this path, as the app gets it.
    pub fn covers(&self, host: &[u8], path: &[u8]) -> bool {
        let is_host = self.host.as_ref().is_none_or(|own| own.as_bytes() == host);
        is_host && matches(self.path.as_bytes(), path)
    }
}

/// Whether a path fits a pattern in which `*` stands for anything. Each star is tried from where
/// the one before it ended, so the work is bounded by the product of the two lengths.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = path.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(&own) if own == byte => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    from = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use canter_base::options::Value;

    fn rule(text: &str) -> Covering {
        Covering::new(&PageRule::parse(text).unwrap(), 1)
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, path, fits) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/*", "/", true),
            ("/*", "/a/b", true),
            ("/news/*", "/news/", true),
            ("/news/*", "/news", false),
            ("/news/*", "/newsletter/", false),
            ("/*/feed", "/a/b/feed", true),
            ("/*/feed", "/a/feeds", false),
            ("/*.html", "/a.html.html", true),
            ("/a*b*c", "/aXbYbZc", true),
            ("/a*b*c", "/acb", false),
            ("/**", "/x", true),
        ] {
            assert_eq!(
                rule(&format!("{pattern} ttl=1m")).covers(b"h", path.as_bytes()),
                fits,
                "{pattern} {path}"
            );
        }
        assert!(rule("/ ttl=1m host=A.org").covers(b"a.org", b"/"));
        assert!(!rule("/ ttl=1m host=a.org").covers(b"b.org", b"/"));
    }

    #[test]
    fn c1_a_pattern_is_compared_with_the_whole_path_that_the_app_gets() {
        // Delimiters and dot segments are nothing special.
        for path in ["/x.css;/private", "/x.css/", "/x.css/..", "/a/../x.css "] {
            assert!(
                !rule("/*.css ttl=1m").covers(b"h", path.as_bytes()),
                "{path}"
            );
        }
        assert!(!rule("/static/x ttl=1m").covers(b"h", b"/static/../static/x"));
    }

    #[test]
    fn many_stars_end_in_time() {
        let pattern = format!("/{}b", "*a".repeat(30));
        let path = format!("/{}", "a".repeat(5000));
        assert!(!matches(pattern.as_bytes(), path.as_bytes()));
    }
}
