//! A rule of the page cache as one value: `/news/* ttl=60s grace=5m`. Owns its grammar and the words
//! that people bring from elsewhere; what a rule causes is the front's.

use std::time::Duration;

use super::value::{Value, Wrong};
use crate::nearest::nearest;

/// What holds for the pages of some paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRule {
    /// Which path; `*` stands for anything.
    pub path: String,
    /// Which host, in lower case; None for any.
    pub host: Option<String>,
    /// Whose word counts.
    pub mode: RuleMode,
    /// How long a page is fresh.
    pub ttl: Option<Duration>,
    /// How long after that it may be served while it is fetched anew.
    pub grace: Option<Duration>,
    /// How long after that it may be served when the app fails.
    pub error_grace: Option<Duration>,
    /// How long browsers may keep it; None for what the app says, or not at all.
    pub browser_ttl: Option<Duration>,
    /// Cookies that the page depends on.
    pub cookies: Vec<String>,
    /// Header fields that the page depends on, in lower case.
    pub headers: Vec<String>,
    /// Query parameters that the page depends on.
    pub query: RuleQuery,
    /// Statuses, both ends included, with times of their own.
    pub status_ttl: Vec<StatusTime>,
    /// Words to purge by.
    pub tags: Vec<String>,
}

/// Statuses from one to another, and their time.
pub type StatusTime = ((u16, u16), Duration);

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleMode {
    /// The rule's time, unless the page is private.
    Override,
    /// The app's time; the rule only says what the page depends on.
    Respect,
    /// Nothing is cached.
    Bypass,
}

/// Which query parameters count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleQuery {
    /// All but these, and those that only track.
    Except(Vec<String>),
    /// These alone; the app sees no other.
    Only(Vec<String>),
}

const EXPECTED: &str = "expected a path and what holds there, such as `/news/* ttl=60s`";

/// The keys with their other names. The first is ours.
const KEYS: &[(&str, &[&str])] = &[
    ("path", &[]),
    ("host", &["hostname"]),
    ("mode", &["edge-ttl-mode"]),
    ("ttl", &["edge-ttl"]),
    ("grace", &["stale-while-revalidate"]),
    ("error-grace", &["stale-if-error"]),
    ("browser-ttl", &[]),
    ("cookies", &["cookie"]),
    ("headers", &["header", "vary"]),
    ("query", &["query-string"]),
    ("ignore-query", &["exclude-query"]),
    ("status-ttl", &["status-code-ttl"]),
    ("tags", &["cache-tags", "tag"]),
];

/// The longest list and the longest word in one.
const MOST_WORDS: usize = 64;
const LONGEST_WORD: usize = 128;

/// Our name for a key, in any of its spellings.
pub(super) fn key_named(key: &str) -> Result<&'static str, Wrong> {
    let key = key.replace('_', "-");
    let known = KEYS
        .iter()
        .find(|(name, others)| *name == key || others.contains(&key.as_str()));
    known.map(|(name, _)| *name).ok_or_else(|| {
        let names = KEYS.iter().map(|(name, _)| *name);
        let wrong = Wrong::expected("no key of a rule is called so");
        match nearest(&key, names) {
            Some(near) => wrong.hint(format!("did you mean `{near}`?")),
            None => wrong.hint(
                "a rule has `path`, `host`, `mode`, `ttl`, `grace`, `error-grace`, \
                 `browser-ttl`, `cookies`, `headers`, `query`, `ignore-query`, `status-ttl`, `tags`",
            ),
        }
    })
}

impl Value for PageRule {
    const KIND: &'static str = "RULE";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut words = text.split_whitespace();
        let first = words.next().ok_or_else(|| Wrong::expected(EXPECTED))?;
        let mut rule = Self {
            path: path(first)?,
            host: None,
            mode: RuleMode::Respect,
            ttl: None,
            grace: None,
            error_grace: None,
            browser_ttl: None,
            cookies: Vec::new(),
            headers: Vec::new(),
            query: RuleQuery::Except(Vec::new()),
            status_ttl: Vec::new(),
            tags: Vec::new(),
        };
        let mut said = None;
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                Wrong::expected(EXPECTED).hint(format!("`{word}` is not `key=value`"))
            })?;
            let key = key_named(key)?;
            if key == "mode" {
                said = Some(mode(value)?);
            } else {
                rule.take(key, value)?;
            }
        }
        // Who gives a time means it.
        rule.mode = said.unwrap_or(if rule.ttl.is_some() {
            RuleMode::Override
        } else {
            RuleMode::Respect
        });
        if rule.mode == RuleMode::Override && rule.ttl.is_none() && rule.status_ttl.is_empty() {
            return Err(
                Wrong::expected(EXPECTED).hint("`mode=override` needs `ttl`, which overrides")
            );
        }
        Ok(rule)
    }

    fn show(&self) -> String {
        let mode = match self.mode {
            RuleMode::Override => "override",
            RuleMode::Respect => "respect",
            RuleMode::Bypass => "bypass",
        };
        let mut text = format!("{} mode={mode}", self.path);
        let mut add = |key: &str, value: String| {
            if !value.is_empty() {
                text = format!("{text} {key}={value}");
            }
        };
        let time = |time: Option<Duration>| time.map_or(String::new(), |time| Value::show(&time));
        add("host", self.host.clone().unwrap_or_default());
        add("ttl", time(self.ttl));
        add("grace", time(self.grace));
        add("error-grace", time(self.error_grace));
        add("browser-ttl", time(self.browser_ttl));
        add("cookies", self.cookies.join(","));
        add("headers", self.headers.join(","));
        match &self.query {
            RuleQuery::Only(names) if names.is_empty() => add("query", "none".to_owned()),
            RuleQuery::Only(names) => add("query", names.join(",")),
            RuleQuery::Except(names) => add("ignore-query", names.join(",")),
        }
        let statuses = self.status_ttl.iter().map(|((from, to), time)| {
            let time = Value::show(time);
            if from == to {
                format!("{from}:{time}")
            } else {
                format!("{from}-{to}:{time}")
            }
        });
        add("status-ttl", statuses.collect::<Vec<_>>().join(","));
        add("tags", self.tags.join(","));
        text
    }
}

impl PageRule {
    fn take(&mut self, key: &str, value: &str) -> Result<(), Wrong> {
        match key {
            "path" => self.path = path(value)?,
            "host" => self.host = Some(host(value)?),
            "ttl" => self.ttl = Some(time(value)?),
            "grace" => self.grace = Some(time(value)?),
            "error-grace" => self.error_grace = Some(time(value)?),
            "browser-ttl" if value == "respect" => self.browser_ttl = None,
            "browser-ttl" => self.browser_ttl = Some(time(value)?),
            "cookies" => self.cookies = list(value)?,
            "headers" => {
                let names = list(value)?;
                self.headers = names.iter().map(|name| name.to_ascii_lowercase()).collect();
            }
            "query" if value == "all" => self.query = RuleQuery::Except(Vec::new()),
            "query" if value == "none" => self.query = RuleQuery::Only(Vec::new()),
            "query" => self.query = RuleQuery::Only(list(value)?),
            "ignore-query" => self.query = RuleQuery::Except(list(value)?),
            "status-ttl" => self.status_ttl = statuses(value)?,
            _ => self.tags = list(value)?,
        }
        Ok(())
    }
}

fn path(text: &str) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\".contains(&byte);
    if text.starts_with('/') && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(
        Wrong::expected("expected a path such as `/news/*`, where `*` stands for anything")
            .hint("the path begins with `/` and has no query; write `query` for that"),
    )
}

fn host(text: &str) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Wrong::expected("expected a host such as `www.example.org`"))
}

fn mode(text: &str) -> Result<RuleMode, Wrong> {
    match text.replace('_', "-").as_str() {
        "override" | "override-origin" => Ok(RuleMode::Override),
        "respect" | "respect-origin" | "bypass-by-default" => Ok(RuleMode::Respect),
        "bypass" | "off" | "false" => Ok(RuleMode::Bypass),
        other => {
            let wrong = Wrong::expected("expected `override`, `respect` or `bypass`");
            Err(match nearest(other, ["override", "respect", "bypass"]) {
                Some(near) => wrong.hint(format!("did you mean `{near}`?")),
                None => wrong,
            })
        }
    }
}

/// A year is longer than anything is fresh.
fn time(text: &str) -> Result<Duration, Wrong> {
    let time = match text.strip_suffix('d').map(str::parse::<u64>) {
        Some(Ok(days)) => Duration::from_secs(days.saturating_mul(86_400)),
        _ => <Duration as Value>::parse(text)?,
    };
    if time.subsec_millis() != 0 || time.as_secs() > 366 * 86_400 {
        return Err(Wrong::expected(
            "expected a time in whole seconds, such as `60s`, `5m`, `1h` or `1d`",
        ));
    }
    Ok(time)
}

fn list(text: &str) -> Result<Vec<String>, Wrong> {
    let words: Vec<String> = text
        .split(',')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let fits = |word: &String| {
        word.len() <= LONGEST_WORD
            && word
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'=')
    };
    if words.is_empty() || words.len() > MOST_WORDS || !words.iter().all(fits) {
        return Err(Wrong::expected("expected names, separated by commas"));
    }
    Ok(words)
}

fn statuses(text: &str) -> Result<Vec<StatusTime>, Wrong> {
    let wrong =
        || Wrong::expected("expected statuses with their times, such as `404:10s,500-599:0`");
    text.split(',')
        .map(|entry| {
            let (range, ttl) = entry.split_once(':').ok_or_else(wrong)?;
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let code = |text: &str| {
                let code = text.parse::<u16>().ok();
                code.filter(|code| (200..=599).contains(code))
            };
            let range = code(from).zip(code(to)).filter(|(from, to)| from <= to);
            Ok((range.ok_or_else(wrong)?, time(ttl)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_and_shown_alike() {
        for (text, shown) in [
            ("/news/* ttl=60s", "/news/* mode=override ttl=1m"),
            ("/ mode=bypass", "/ mode=bypass"),
            ("/api/*", "/api/* mode=respect"),
            (
                "/a edge_ttl=1d browser_ttl=0 stale_while_revalidate=5m",
                "/a mode=override ttl=24h grace=5m browser-ttl=0s",
            ),
            (
                "/b mode=respect_origin query=page,q cookies=theme headers=Accept",
                "/b mode=respect cookies=theme headers=accept query=page,q",
            ),
            (
                "/c ttl=90 query=none status-ttl=404:10s,500-599:0 tags=a,b host=X.org",
                "/c mode=override host=x.org ttl=90s query=none status-ttl=404:10s,500-599:0s tags=a,b",
            ),
            (
                "/d ttl=1m ignore_query=ref,src",
                "/d mode=override ttl=1m ignore-query=ref,src",
            ),
        ] {
            let rule = PageRule::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
            assert_eq!(rule.show(), shown);
            assert_eq!(PageRule::parse(shown), Ok(rule));
        }
    }

    #[test]
    fn what_is_wrong_in_a_rule_is_named_with_the_nearest_right_name() {
        for (text, hint) in [
            ("", None),
            ("news ttl=1m", Some("begins with `/`")),
            ("/news?page=1 ttl=1m", Some("`query`")),
            ("/ tlt=60s", Some("did you mean `ttl`?")),
            ("/ mode=overide ttl=1m", Some("did you mean `override`?")),
            ("/ mode=override", Some("needs `ttl`")),
            ("/ ttl", Some("`key=value`")),
            ("/ ttl=soon", None),
            ("/ ttl=1.5s", None),
            ("/ ttl=9999d", None),
            ("/ status-ttl=99:1s", None),
            ("/ status-ttl=500-404:1s", None),
            ("/ cookies=", None),
            ("/ cookies=a=b", None),
        ] {
            let wrong = PageRule::parse(text).unwrap_err();
            if let Some(hint) = hint {
                assert!(
                    wrong.hint.as_deref().is_some_and(|own| own.contains(hint)),
                    "{text}: {wrong:?}"
                );
            }
        }
    }
}
