//! Conditional requests (RFC 9110, section 13): owns what a request asks of the validators, and in
//! which order that counts. Making validators is left to whoever owns the content.

use crate::date::parse_date;
use crate::etag::{EntityTag, TagList};
use crate::{Head, KnownName, Method};

/// What a request says about the version it has, and the part it wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`, its lines joined.
    pub if_match: Option<Vec<u8>>,
    /// `If-None-Match`, its lines joined.
    pub if_none_match: Option<Vec<u8>>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<Vec<u8>>,
    /// `If-Unmodified-Since`
    pub if_unmodified_since: Option<Vec<u8>>,
    /// `If-Range`
    pub if_range: Option<Vec<u8>>,
    /// `Range`
    pub range: Option<Vec<u8>>,
}

/// What a representation is known by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Validators<'a> {
    /// Its entity tag.
    pub etag: Option<EntityTag<'a>>,
    /// When it was last changed, in seconds since 1970.
    pub modified: Option<u64>,
}

/// What the conditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Do what the method says.
    Proceed,
    /// 304
    NotModified,
    /// 412
    Failed,
}

impl Conditions {
    /// Those of a request; None when it has none.
    pub fn of(head: &Head, buf: &[u8]) -> Option<Self> {
        const NAMES: [KnownName; 6] = [
            KnownName::IfMatch,
            KnownName::IfNoneMatch,
            KnownName::IfModifiedSince,
            KnownName::IfUnmodifiedSince,
            KnownName::IfRange,
            KnownName::Range,
        ];
        if !NAMES.iter().any(|&name| head.has(name)) {
            return None;
        }
        // Two lines of what is no list join to what breaks its grammar, and are ignored.
        let text = |name| head.has(name).then(|| join(head, buf, name));
        Some(Self {
            if_match: text(KnownName::IfMatch),
            if_none_match: text(KnownName::IfNoneMatch),
            if_modified_since: text(KnownName::IfModifiedSince),
            if_unmodified_since: text(KnownName::IfUnmodifiedSince),
            if_range: text(KnownName::IfRange),
            range: text(KnownName::Range),
        })
    }

    /// Judges the conditions in the order of RFC 9110, section 13.2.2. `now` is for the years of
    /// two digits.
    pub fn judge(&self, method: Method, own: &Validators<'_>, now: u64) -> Verdict {
        let is_read = matches!(method, Method::Get | Method::Head);
        if let Some(list) = &self.if_match {
            let same = |tag: &EntityTag<'_>| own.etag.is_some_and(|own| own.is_same(tag));
            if !TagList::new(list).has(same) {
                return Verdict::Failed;
            }
        } else if let Some(since) = &self.if_unmodified_since
            && let Some(date) = parse_date(since, now)
            && own.modified.is_some_and(|modified| modified > date)
        {
            return Verdict::Failed;
        }
        if let Some(list) = &self.if_none_match {
            let like = |tag: &EntityTag<'_>| own.etag.is_some_and(|own| own.is_like(tag));
            if TagList::new(list).has(like) {
                return if is_read {
                    Verdict::NotModified
                } else {
                    Verdict::Failed
                };
            }
        } else if let Some(since) = &self.if_modified_since
            && is_read
            && let Some(date) = parse_date(since, now)
            && own.modified.is_some_and(|modified| modified <= date)
        {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// The Range field, if it is to be honoured (RFC 9110, section 13.1.5): for an If-Range the
    /// comparison is strong, and a date must be the very one, and old enough to be exact.
    pub fn wanted_range(&self, own: &Validators<'_>, now: u64) -> Option<&[u8]> {
        let range = self.range.as_deref()?;
        let Some(condition) = &self.if_range else {
            return Some(range);
        };
        let holds = match EntityTag::parse(condition) {
            Some(tag) => own.etag.is_some_and(|own| own.is_same(&tag)),
            None => parse_date(condition, now)
                .is_some_and(|date| own.modified == Some(date) && date < now),
        };
        holds.then_some(range)
    }
}

fn join(head: &Head, buf: &[u8], name: KnownName) -> Vec<u8> {
    let mut lines = head.fields.iter().filter(|field| field.known == name);
    let mut joined = lines
        .next()
        .map(|field| field.value.of(buf).to_vec())
        .unwrap_or_default();
    for line in lines {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.value.of(buf));
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = "Sat, 29 Oct 1994 19:43:30 GMT";
    const EXACT: &str = "Sat, 29 Oct 1994 19:43:31 GMT";
    const LATER: &str = "Sat, 29 Oct 1994 19:43:32 GMT";
    const MODIFIED: u64 = 783_459_811;
    const NOW: u64 = 1_700_000_000;

    fn conditions(lines: &[(&str, &str)]) -> Conditions {
        let mut found = Conditions::default();
        for (name, value) in lines {
            let value = Some(value.as_bytes().to_vec());
            match *name {
                "if-match" => found.if_match = value,
                "if-none-match" => found.if_none_match = value,
                "if-modified-since" => found.if_modified_since = value,
                "if-unmodified-since" => found.if_unmodified_since = value,
                "if-range" => found.if_range = value,
                "range" => found.range = value,
                other => panic!("{other}"),
            }
        }
        found
    }

    fn own() -> Validators<'static> {
        Validators {
            etag: EntityTag::parse(b"\"now\""),
            modified: Some(MODIFIED),
        }
    }

    #[test]
    fn each_condition_alone_is_judged_as_its_section_says() {
        use Method::{Get, Head, Post};
        use Verdict::{Failed, NotModified, Proceed};
        for (section, name, value, method, expected) in [
            ("13.1.1", "if-match", "\"now\"", Get, Proceed),
            ("13.1.1", "if-match", "\"then\", \"now\"", Get, Proceed),
            ("13.1.1", "if-match", "*", Get, Proceed),
            ("13.1.1", "if-match", "\"then\"", Get, Failed),
            // Strong comparison.
            ("13.1.1", "if-match", "W/\"now\"", Get, Failed),
            ("13.1.2", "if-none-match", "\"now\"", Get, NotModified),
            ("13.1.2", "if-none-match", "\"now\"", Head, NotModified),
            ("13.1.2", "if-none-match", "\"now\"", Post, Failed),
            // Weak comparison.
            ("13.1.2", "if-none-match", "W/\"now\"", Get, NotModified),
            (
                "13.1.2",
                "if-none-match",
                "\"a\", W/\"now\"",
                Get,
                NotModified,
            ),
            ("13.1.2", "if-none-match", "*", Get, NotModified),
            ("13.1.2", "if-none-match", "\"then\"", Get, Proceed),
            ("13.1.2", "if-none-match", "now", Get, Proceed),
            ("13.1.3", "if-modified-since", EARLIER, Get, Proceed),
            ("13.1.3", "if-modified-since", EXACT, Get, NotModified),
            ("13.1.3", "if-modified-since", LATER, Head, NotModified),
            ("13.1.3", "if-modified-since", LATER, Post, Proceed),
            ("13.1.3", "if-modified-since", "yesterday", Get, Proceed),
            ("13.1.4", "if-unmodified-since", EARLIER, Get, Failed),
            ("13.1.4", "if-unmodified-since", EXACT, Get, Proceed),
            ("13.1.4", "if-unmodified-since", "yesterday", Get, Proceed),
        ] {
            let verdict = conditions(&[(name, value)]).judge(method, &own(), NOW);
            assert_eq!(verdict, expected, "{section}: {name}: {value}");
        }
    }

    #[test]
    fn the_order_is_that_of_section_13_2_2() {
        use Verdict::{Failed, NotModified, Proceed};
        for (lines, expected) in [
            // If-Match makes If-Unmodified-Since void.
            (
                &[("if-match", "\"now\""), ("if-unmodified-since", EARLIER)][..],
                Proceed,
            ),
            (
                &[("if-match", "\"x\""), ("if-none-match", "\"now\"")],
                Failed,
            ),
            (
                &[("if-match", "\"now\""), ("if-none-match", "\"now\"")],
                NotModified,
            ),
            (
                &[
                    ("if-unmodified-since", EARLIER),
                    ("if-none-match", "\"now\""),
                ],
                Failed,
            ),
            // If-None-Match makes If-Modified-Since void.
            (
                &[("if-none-match", "\"then\""), ("if-modified-since", LATER)],
                Proceed,
            ),
        ] {
            let verdict = conditions(lines).judge(Method::Get, &own(), NOW);
            assert_eq!(verdict, expected, "{lines:?}");
        }
    }

    #[test]
    fn nothing_is_compared_with_a_validator_that_is_not_there() {
        let none = Validators::default();
        for (name, value, expected) in [
            ("if-match", "\"now\"", Verdict::Failed),
            ("if-match", "*", Verdict::Proceed),
            ("if-none-match", "\"now\"", Verdict::Proceed),
            ("if-modified-since", LATER, Verdict::Proceed),
            ("if-unmodified-since", EARLIER, Verdict::Proceed),
        ] {
            let verdict = conditions(&[(name, value)]).judge(Method::Get, &none, NOW);
            assert_eq!(verdict, expected, "{name}");
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        for (condition, honoured) in [
            (None, true),
            (Some("\"now\""), true),
            (Some("W/\"now\""), false),
            (Some("\"then\""), false),
            (Some(EXACT), true),
            (Some(EARLIER), false),
            // Not «modified since»: the very version.
            (Some(LATER), false),
            (Some("nonsense"), false),
        ] {
            let mut lines = vec![("range", "bytes=0-1")];
            lines.extend(condition.map(|condition| ("if-range", condition)));
            let conditions = conditions(&lines);
            assert_eq!(
                conditions.wanted_range(&own(), NOW).is_some(),
                honoured,
                "{condition:?}"
            );
        }
        // Changed in this very second: it may change once more (section 8.8.2.2).
        let fresh = conditions(&[("range", "bytes=0-1"), ("if-range", EXACT)]);
        assert_eq!(fresh.wanted_range(&own(), MODIFIED), None);
        let weak = Validators {
            etag: EntityTag::parse(b"W/\"now\""),
            modified: None,
        };
        let tagged = conditions(&[("range", "bytes=0-1"), ("if-range", "W/\"now\"")]);
        assert_eq!(tagged.wanted_range(&weak, NOW), None);
    }
}
