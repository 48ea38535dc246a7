//! The table `[cache]` of a file: `[[cache.rules]]` and the options of the page cache by their short
//! names. Owns turning them into settings with the place of each key; what a rule may say is left to
//! `page_rule`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Origin, Setting, line, scalar};
use crate::fault::Fault;
use crate::nearest::nearest;
use crate::options::layer::row_of;
use crate::options::page_rule::{PageRule, key_named};
use crate::options::value::{Value as _, Wrong};

/// Keys of the table, and the option each is.
const KEYS: &[(&str, &str)] = &[
    ("enabled", "cache"),
    ("size", "cache_size"),
    ("token", "cache_token"),
    ("rules", "cache_rule"),
];

/// A file's text and name.
#[derive(Clone, Copy)]
struct Source<'a> {
    text: &'a str,
    path: &'a str,
}

impl Source<'_> {
    fn origin(&self, offset: usize, key: String) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: line(self.text, offset),
            key,
        }
    }
}

/// Settings of the table.
pub fn read(table: &DeTable<'_>, text: &str, path: &str) -> Result<Vec<Setting>, Fault> {
    let source = Source { text, path };
    let mut settings = Vec::new();
    for (key, value) in table {
        let name = key.get_ref().replace('_', "-");
        let origin = source.origin(key.span().start, format!("cache.{}", key.get_ref()));
        let Some((_, field)) = KEYS.iter().find(|(own, _)| *own == name) else {
            let what = format!("the table `cache` has no key `{}`", key.get_ref());
            let fault = Fault::usage(what).from(origin.to_string());
            let near = nearest(&name, KEYS.iter().map(|(own, _)| *own));
            return Err(match near {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint("rules are written as `[[cache.rules]]`"),
            });
        };
        let row = row_of(field)
            .ok_or_else(|| Fault::internal(format!("the options table has no `{field}`")))?;
        let texts = if name == "rules" {
            rules(value, source, &origin)?
        } else {
            let text = scalar(value, source.text).ok_or_else(|| {
                Fault::usage(format!("`{}` takes a text", key.get_ref())).from(origin.to_string())
            })?;
            let on = if text == "true" {
                "on".to_owned()
            } else {
                text
            };
            vec![if on == "false" { "off".to_owned() } else { on }]
        };
        settings.push(Setting::new(row, texts, origin)?);
    }
    Ok(settings)
}

fn rules(
    value: &Spanned<DeValue<'_>>,
    source: Source<'_>,
    origin: &Origin,
) -> Result<Vec<String>, Fault> {
    let wrong = || {
        Fault::usage("`cache.rules` is a list of tables")
            .from(origin.to_string())
            .hint("begin each rule with a line `[[cache.rules]]`")
    };
    let DeValue::Array(items) = value.get_ref() else {
        return Err(wrong());
    };
    let mut found = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let DeValue::Table(table) = item.get_ref() else {
            return Err(wrong());
        };
        let place = source.origin(item.span().start, format!("cache.rules[{at}]"));
        found.push(rule(table, source, at, &place)?);
    }
    Ok(found)
}

/// A rule as the text of its option. Each value is tried alone, so that a fault has its line.
fn rule(
    table: &DeTable<'_>,
    source: Source<'_>,
    at: usize,
    place: &Origin,
) -> Result<String, Fault> {
    let mut path = None;
    let mut words = Vec::new();
    for (key, value) in table {
        let spelled = format!("cache.rules[{at}].{}", key.get_ref());
        let origin = source.origin(key.span().start, spelled);
        let blame = |wrong: Wrong| {
            let what = format!("`{}` of a page rule: {}", key.get_ref(), wrong.expected);
            let fault = Fault::usage(what).from(origin.to_string());
            match wrong.hint {
                Some(hint) => fault.hint(hint),
                None => fault,
            }
        };
        let name = key_named(key.get_ref()).map_err(blame)?;
        let kind = || {
            let kind = value.get_ref().type_str();
            blame(Wrong::expected(format!("it does not take a TOML {kind}")))
        };
        let text = written(value, source.text).ok_or_else(kind)?;
        if text.contains(char::is_whitespace) {
            return Err(blame(Wrong::expected("there is no space in it")));
        }
        let trial = match name {
            "path" => text.clone(),
            "mode" => format!("/ ttl=1s {name}={text}"),
            _ => format!("/ {name}={text}"),
        };
        PageRule::parse(&trial).map_err(blame)?;
        if name == "path" {
            path = Some(text);
        } else {
            words.push(format!("{name}={text}"));
        }
    }
    let path = path.ok_or_else(|| {
        Fault::usage("a page rule has no `path`")
            .from(place.to_string())
            .hint("`path = \"/*\"` is every page")
    })?;
    words.insert(0, path);
    Ok(words.join(" "))
}

/// A text, a list as `a,b`, or a table as `key:value,key:value`.
fn written(value: &Spanned<DeValue<'_>>, source: &str) -> Option<String> {
    let joined = |parts: Option<Vec<String>>| parts.map(|parts| parts.join(","));
    match value.get_ref() {
        DeValue::Array(items) if items.is_empty() => Some("none".to_owned()),
        DeValue::Array(items) => joined(items.iter().map(|item| scalar(item, source)).collect()),
        DeValue::Table(table) => joined(
            table
                .iter()
                .map(|(key, value)| Some(format!("{}:{}", key.get_ref(), scalar(value, source)?)))
                .collect(),
        ),
        _ => scalar(value, source),
    }
}

#[cfg(test)]
mod tests;
