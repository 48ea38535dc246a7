//! Settings of one session, as PostgreSQL keeps them: for the session, for the transaction, undone by
//! a rollback or a savepoint.
//!
//! Owns the few commands about them that clients of the crowd and the pooler itself send.

use std::collections::{BTreeMap, BTreeSet};

use super::super::driver::*;

type Values = BTreeMap<String, String>;

/// A reported one, a plain one, one of an extension's.
pub(crate) const NAMES: [&str; 3] = ["timezone", "jit", "app.who"];

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    /// Those the connection began with.
    start: Values,
    session: Values,
    local: Values,
    /// As they were before the transaction, if one has begun.
    before: Option<Values>,
    savepoints: Vec<(String, Values, Values)>,
    /// Names of extensions that were ever used: empty from then on, and not unknown.
    used: BTreeSet<String>,
    /// The time zone that was told last.
    told: String,
    /// Something was reset: what the pooler puts back is told behind the answer.
    pub(crate) was_reset: bool,
}

impl Settings {
    pub(crate) fn starting_with(start: &[(&str, &str)]) -> Self {
        let start = start
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let mut settings = Self {
            start: start.collect(),
            ..Self::default()
        };
        settings.told = settings.timezone();
        settings
    }

    fn get(&self, name: &str) -> Option<&String> {
        let session = || self.session.get(name).or_else(|| self.start.get(name));
        self.local.get(name).or_else(session)
    }

    pub(crate) fn timezone(&self) -> String {
        self.current("timezone").unwrap_or_default().to_owned()
    }

    /// The values of all, for an answer.
    pub(crate) fn shown(&self) -> String {
        let values = NAMES.map(|name| self.current(name).unwrap_or_default());
        values.join("|")
    }

    /// As `current_setting` tells it.
    fn current(&self, name: &str) -> Option<&str> {
        let unset = match name {
            "timezone" => Some("UTC"),
            "jit" => Some("off"),
            _ => self.used.contains(name).then_some(""),
        };
        self.get(name).map(String::as_str).or(unset)
    }

    /// A statement is carried out.
    pub(super) fn begins(&mut self) {
        if self.before.is_none() {
            self.before = Some(self.session.clone());
        }
    }

    /// Something was carried out that is not committed yet.
    pub(super) fn is_amid(&self) -> bool {
        self.before.is_some()
    }

    /// The transaction is over.
    pub(super) fn ends(&mut self, commits: bool) {
        if let Some(before) = self.before.take()
            && !commits
        {
            self.session = before;
        }
        self.local.clear();
        self.savepoints.clear();
    }

    pub(super) fn saves(&mut self, name: &str) {
        let values = (self.session.clone(), self.local.clone());
        self.savepoints.push((name.to_owned(), values.0, values.1));
    }

    /// Back to a savepoint, or forget it; whether there is one.
    pub(super) fn returns_to(&mut self, name: &str, forget: bool) -> bool {
        let Some(at) = self.savepoints.iter().rposition(|saved| saved.0 == name) else {
            return false;
        };
        if forget {
            self.savepoints.truncate(at);
        } else {
            let (_, session, local) = self.savepoints[at].clone();
            (self.session, self.local) = (session, local);
            self.savepoints.truncate(at + 1);
        }
        true
    }

    pub(super) fn discard(&mut self) {
        self.was_reset = true;
        self.session.clear();
        self.local.clear();
    }

    fn set(&mut self, name: &str, value: Option<&str>, local: bool) {
        let name = name.to_ascii_lowercase().replace('"', "");
        if name.contains('.') {
            self.used.insert(name.clone());
        }
        let Some(value) = value else {
            self.was_reset = true;
            self.local.remove(&name);
            self.session.remove(&name);
            return;
        };
        if local {
            self.local.insert(name, value.to_owned());
        } else {
            self.local.remove(&name);
            self.session.insert(name, value.to_owned());
        }
    }

    /// Carries a command out, if it is one about settings: what it is answered with.
    pub(super) fn run(&mut self, text: &str, kept: &[(&str, bool)]) -> Option<Vec<u8>> {
        let words: Vec<_> = text.split_whitespace().collect();
        match words[..] {
            ["set" | "SET", name, "=" | "TO", value] => {
                self.set(name, Some(value.trim_matches('\'')), false);
                return Some(c("SET"));
            }
            ["set", "local", name, "=", value] => {
                self.set(name, Some(value.trim_matches('\'')), true);
                return Some(c("SET"));
            }
            ["reset" | "RESET", "all" | "ALL"] => {
                self.discard();
                return Some(c("RESET"));
            }
            ["reset" | "RESET", name] => {
                self.set(name, None, false);
                return Some(c("RESET"));
            }
            _ => {}
        }
        if let Some(rows) = self.probe(text, kept) {
            return Some(rows);
        }
        let mut rest = text;
        let mut any = false;
        while let Some((before, after)) = rest.split_once("set_config('") {
            let (name, after) = after.split_once("','").unwrap();
            let (value, after) = after.split_once("',").unwrap();
            let (local, after) = after.split_once(')').unwrap();
            let is_conditional = before.contains("CASE WHEN NOT");
            if !is_conditional || self.get(name).is_none_or(String::is_empty) {
                self.set(name, Some(value), local == "true");
            }
            (rest, any) = (after, true);
        }
        any.then(|| [row(&["set"]), c("SELECT 1")].concat())
    }

    /// The pooler asks which settings are there now, and what keeps the server.
    fn probe(&self, text: &str, kept: &[(&str, bool)]) -> Option<Vec<u8>> {
        let parts = text.strip_prefix("SELECT '")?;
        if !matches!(parts.as_bytes(), [b's' | b'g' | b'p', b'\'', ..]) {
            return None;
        }
        let mut rows = Vec::new();
        for part in text.split(" UNION ALL ") {
            let part = part.strip_prefix("SELECT '")?;
            let (tag, part) = part.split_once("',")?;
            if tag == "p" {
                let (word, _) = part.strip_prefix('\'')?.split_once("',")?;
                let is_there = kept.contains(&(word, true));
                rows.extend(row(&["p", word, if is_there { "true" } else { "false" }]));
                continue;
            }
            if part.starts_with("name,setting") {
                let plain = self.session.iter().filter(|(name, _)| !name.contains('.'));
                plain.for_each(|(name, value)| rows.extend(row_of(&[tag, name], Some(value))));
                continue;
            }
            let (name, how) = part.strip_prefix('\'')?.split_once("',")?;
            let value = match name {
                "role" => Some("none"),
                "session_authorization" => Some("app"),
                _ if how.starts_with('(') => self.session.get(name).map(String::as_str),
                _ => self.current(name),
            };
            rows.extend(row_of(&[tag, name], value));
        }
        rows.extend(c("SELECT 1"));
        Some(rows)
    }

    /// The time zone, if it is another one than was told.
    pub(super) fn tells(&mut self) -> Option<Vec<u8>> {
        let timezone = self.timezone();
        (timezone != self.told).then(|| {
            self.told.clone_from(&timezone);
            message(b'S', format!("TimeZone\0{timezone}\0").as_bytes())
        })
    }
}

fn row_of(columns: &[&str], last: Option<&str>) -> Vec<u8> {
    let Some(last) = last else {
        let mut body = row(&[columns, &[""]].concat())[5..].to_vec();
        let at = body.len() - 4;
        body[at..].copy_from_slice(&(-1_i32).to_be_bytes());
        return message(b'D', &body);
    };
    row(&[columns, &[last]].concat())
}
