//! Vary (RFC 9111, section 4.1): owns which request fields select a stored response, and comparing
//! them in a normal form. Keeping variants is left to the store.

use crate::key::{push_optional, take_optional};
use crate::lines::{Field, Lines};
use crate::reason::Reason;
use crate::text::{elements, is_token, trim};

/// More names than this are no variant any more.
const MOST_NAMES: usize = 12;

/// The longest value of a field that selects, in its normal form.
const LONGEST_VALUE: usize = 1024;

/// Which inputs the app did not see, or saw only as far as they are in the key: it cannot have
/// varied on anything else of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// Cookies were reduced to those in the key.
    pub cookies: bool,
    /// Accept-Encoding was removed, and the front negotiates.
    pub encodings: bool,
    /// Accept-Language was reduced to one language that is in the key.
    pub language: bool,
}

/// The names that a response varies on: lower case, sorted, each once, joined with commas.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names(Vec<u8>);

impl Names {
    /// Reads the lines of Vary. A star in any spelling, and what is no list of names, is an error:
    /// no later request can be shown to match.
    pub fn of(fields: &[Field<'_>], settled: Settled) -> Result<Self, Reason> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for element in fields.values("vary").flat_map(elements) {
            if !is_token(element) || element.contains(&b'*') {
                return Err(Reason::VaryStar);
            }
            names.push(element.to_ascii_lowercase());
        }
        names.sort_unstable();
        names.dedup();
        names.retain(|name| match name.as_slice() {
            b"cookie" => !settled.cookies,
            b"accept-encoding" => !settled.encodings,
            b"accept-language" => !settled.language,
            _ => true,
        });
        if names.iter().any(|name| name == b"user-agent") {
            return Err(Reason::VaryUserAgent);
        }
        if names.len() > MOST_NAMES || names.iter().any(|name| name.len() > 64) {
            return Err(Reason::VaryTooLong);
        }
        Ok(Self(names.join(&b","[..])))
    }

    /// In the form that is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The values of a request for these names, each with whether it is there at all.
    pub fn values(&self, request: &(impl Lines + ?Sized)) -> Result<Vec<u8>, Reason> {
        values(&self.0, request).ok_or(Reason::VaryTooLong)
    }
}

/// What a request has for the names of a stored response; None when a value is too long to be
/// among those that are stored.
pub(crate) fn values(names: &[u8], request: &(impl Lines + ?Sized)) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for name in names.split(|&byte| byte == b',').filter(|n| !n.is_empty()) {
        let value = value(std::str::from_utf8(name).ok()?, request);
        if value
            .as_ref()
            .is_some_and(|value| value.len() > LONGEST_VALUE)
        {
            return None;
        }
        push_optional(&mut out, value.as_deref());
    }
    Some(out)
}

/// Whether these are names as [`Names`] writes them, at least one.
pub(crate) fn are_names(names: &[u8]) -> bool {
    let count = names.split(|&byte| byte == b',').count();
    !names.is_empty() && is_selection(names, &vec![0; count])
}

/// Whether these are names as [`Names`] writes them, and values for each of them.
pub(crate) fn is_selection(names: &[u8], values: &[u8]) -> bool {
    let parts: Vec<&[u8]> = names.split(|&byte| byte == b',').collect();
    let proper = |name: &&[u8]| {
        is_token(name) && !name.contains(&b'*') && !name.iter().any(u8::is_ascii_uppercase)
    };
    let sorted = parts.is_sorted_by(|one, other| one < other);
    let list = sorted && parts.len() <= MOST_NAMES && parts.iter().all(proper);
    if !list && !names.is_empty() {
        return false;
    }
    let mut rest = values;
    for _ in names.split(|&byte| byte == b',').filter(|n| !n.is_empty()) {
        let Some((_, after)) = take_optional(rest) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}

/// The normal form of a field's lines, together; None when it did not come.
fn value(name: &str, request: &(impl Lines + ?Sized)) -> Option<Vec<u8>> {
    let mut lines = request.values(name).peekable();
    lines.peek()?;
    Some(match name {
        "accept-language" => languages(lines),
        // Pairs with a semicolon between them; nothing in them is known to mean the same.
        "cookie" => lines.collect::<Vec<_>>().join(&b"; "[..]),
        _ => lines
            .flat_map(elements)
            .map(trim)
            .collect::<Vec<_>>()
            .join(&b","[..]),
    })
}

/// Longer than this some read only a part of the languages.
const LONGEST_LANGUAGES: usize = 500;

/// Languages in lower case, by weight, and in their order where that is the same: it decides which of
/// them an app takes. A list with anything in it but languages and weights stays as it came, for each
/// app makes of that what it will.
fn languages<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let lines: Vec<&[u8]> = lines.map(trim).collect();
    let length: usize = lines.iter().map(|line| line.len()).sum();
    let parts = lines
        .iter()
        .flat_map(|line| line.split(|&byte| byte == b','));
    let ranges: Option<Vec<(u16, Vec<u8>)>> = parts.map(range).collect();
    let Some(mut ranges) = ranges.filter(|_| length <= LONGEST_LANGUAGES) else {
        // No line of a request has a line feed in it.
        return lines.join(&b"\n"[..]);
    };
    ranges.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let mut out = Vec::with_capacity(length);
    for (weight, tag) in ranges {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(&tag);
        if weight != 1000 {
            // Well-formed again, so that no list that is not can look the same.
            out.extend_from_slice(format!(";q=0.{weight:03}").as_bytes());
        }
    }
    out
}

/// A language range and its weight (RFC 9110, section 12.5.4); None for anything else.
fn range(element: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut parts = element.splitn(2, |&byte| byte == b';');
    let tag = trim(parts.next()?);
    let is_subtag =
        |part: &[u8]| (1..=8).contains(&part.len()) && part.iter().all(u8::is_ascii_alphanumeric);
    let mut subtags = tag.split(|&byte| byte == b'-');
    let is_language = subtags
        .next()
        .is_some_and(|first| is_subtag(first) && first.iter().all(u8::is_ascii_alphabetic))
        && subtags.all(is_subtag);
    if !is_language && tag != b"*" {
        return None;
    }
    let weight = parts.next().map_or(Some(1000), weight)?;
    Some((weight, tag.to_ascii_lowercase()))
}

/// Thousandths; None for what is no weight (RFC 9110, section 12.4.2).
fn weight(parameter: &[u8]) -> Option<u16> {
    let parameter = trim(parameter).to_ascii_lowercase();
    let (whole, fraction) = parameter.strip_prefix(b"q=")?.split_first()?;
    let digits = match fraction {
        [] => fraction,
        [b'.', digits @ ..] => digits,
        _ => return None,
    };
    if digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = digits.iter().chain(b"000").take(3);
    let thousandths = padded.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(lines: &[&str]) -> Result<String, Reason> {
        let fields: Vec<Field<'_>> = lines
            .iter()
            .map(|line| (&b"Vary"[..], line.as_bytes()))
            .collect();
        let names = Names::of(&fields, Settled::default())?;
        Ok(String::from_utf8(names.0).unwrap())
    }

    #[test]
    fn a3_a_star_in_every_spelling_never_matches() {
        for lines in [
            &["*"][..],
            &["*, *"],
            &["*", "*"],
            &[", *"],
            &["", "*"],
            &["*, Foo"],
            &["Foo, *"],
            &["Foo", "*"],
            &["  *  "],
            &["\t*,"],
            &["Foo,*"],
            &["Foo *"],
            &["\"*\""],
            &["f*o"],
        ] {
            assert_eq!(names(lines), Err(Reason::VaryStar), "{lines:?}");
        }
    }

    #[test]
    fn names_are_lower_case_sorted_and_each_once() {
        assert_eq!(names(&["Foo, bar", "BAR,, Baz"]).unwrap(), "bar,baz,foo");
        assert_eq!(names(&[]).unwrap(), "");
        assert_eq!(names(&[" , "]).unwrap(), "");
        assert_eq!(names(&["User-Agent"]), Err(Reason::VaryUserAgent));
        let many = (0..=MOST_NAMES)
            .map(|n| format!("x{n}"))
            .collect::<Vec<_>>();
        assert_eq!(names(&[&many.join(",")]), Err(Reason::VaryTooLong));
    }

    #[test]
    fn a7_what_the_app_did_not_see_selects_nothing() {
        let fields: [Field<'_>; 1] = [(b"Vary", b"Cookie, Accept-Encoding, Accept-Language, X")];
        let settled = Settled {
            cookies: true,
            encodings: true,
            language: true,
        };
        assert_eq!(Names::of(&fields, settled).unwrap().as_bytes(), b"x");
        let nothing = Names::of(&fields, Settled::default()).unwrap();
        assert_eq!(
            nothing.as_bytes(),
            b"accept-encoding,accept-language,cookie,x"
        );
    }

    fn same(name: &str, one: &[&str], other: &[&str]) -> bool {
        let of = |lines: &[&str]| {
            let fields: Vec<Field<'_>> = lines
                .iter()
                .map(|line| (name.as_bytes(), line.as_bytes()))
                .collect();
            values(name.as_bytes(), fields.as_slice()).unwrap()
        };
        of(one) == of(other)
    }

    #[test]
    fn a6_absent_and_empty_are_different_values() {
        for name in ["foo", "cookie", "accept-language"] {
            assert!(!same(name, &[], &[""]));
            assert!(same(name, &[""], &["  "]) || name == "cookie");
            assert!(same(name, &[], &[]));
        }
        // Two fields cannot run together.
        let request: [Field<'_>; 1] = [(b"a", b"1")];
        let other: [Field<'_>; 1] = [(b"b", b"1")];
        assert_ne!(values(b"a,b", &request), values(b"a,b", &other));
    }

    #[test]
    fn values_that_mean_the_same_are_the_same() {
        assert!(same("foo", &["1, 2"], &["1", "2"]));
        assert!(same("foo", &["1,2"], &[" 1 ,  2 "]));
        assert!(!same("foo", &["1,2"], &["2,1"]));
        assert!(!same("foo", &["a"], &["A"]));
        assert!(same("accept-language", &["en, de"], &["EN ,  dE"]));
        assert!(same("accept-language", &["en, de"], &["en", "de"]));
        assert!(same(
            "accept-language",
            &["de;q=1.0, en;q=0.50"],
            &["en;q=0.5, de"]
        ));
        assert!(!same(
            "accept-language",
            &["de;q=0.4, en;q=0.5"],
            &["de, en"]
        ));
        assert!(!same("accept-language", &["de"], &["de;q=0"]));
        assert!(same("accept-language", &["*;Q=0.1, de"], &["de,*;q=0.100"]));
    }

    #[test]
    fn b5_languages_that_an_app_may_read_in_two_ways_differ() {
        let lists = [
            "zh-hant,en",
            "en,zh-hant",
            "zh-hant",
            "zh-hant;q=1x",
            "zh-hant;x=1",
            "zh-hant;q=0.9",
            "zh-hant;q=0.9;x",
            "zh-hant;q=0.9000",
            "zh-hant;0.9",
            "zh-hant;900",
            "zh-hant;q=.9",
            "zh-hant;q=0.9,",
            "zh-hant;",
            "zh-hant;q=2",
            "zh-hant;q=1.5",
            "zh-hant;q =0.9",
            "zh_hant",
            "zh-hant-toolongasatag",
            "\"zh-hant\"",
            "zh-hant\u{a0}",
            "zh-hant,,en",
            "*",
            "",
        ];
        for (at, one) in lists.iter().enumerate() {
            for other in &lists[..at] {
                assert!(!same("accept-language", &[one], &[other]), "{one} {other}");
            }
        }
        // Some read no more than the first 500 bytes.
        let long = format!("de,{}en", "fr,".repeat(170));
        assert!(!same(
            "accept-language",
            &[&long],
            &[&long.replace(',', ", ")]
        ));
        assert!(!same(
            "accept-language",
            &["zh-hant;x,en"],
            &["zh-hant;x", "en"]
        ));
    }
}
