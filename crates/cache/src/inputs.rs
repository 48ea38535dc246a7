//! The inputs of a page that clients send and a page rule counts or does not: owns reading and
//! reducing Cookie and the query, so that the app sees nothing that is not in the
//! key. Which of them count is the rule's.

use std::borrow::Cow;

use crate::lines::Lines;
use crate::text::trim;

/// The cookies of a request, in order (RFC 6265, section 5.4): name and value.
pub fn cookies(lines: &(impl Lines + ?Sized)) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines
        .values("cookie")
        .flat_map(|line| line.split(|&byte| byte == b';'))
        .filter_map(|pair| {
            let pair = trim(pair);
            if pair.is_empty() {
                return None;
            }
            // Without `=` it is a value without a name; Django reads it so, too.
            let Some(at) = pair.iter().position(|&byte| byte == b'=') else {
                return Some((&b""[..], pair));
            };
            let (name, value) = pair.split_at_checked(at)?;
            Some((trim(name), trim(value.get(1..)?)))
        })
}

/// Whether a name begins or ends with a byte that some readers take for white space and others for a
/// part of the name: Django, for one, strips what Unicode calls white space, which is more than HTTP
/// does. Nobody can say which cookie that is.
pub fn is_doubtful_name(name: &[u8]) -> bool {
    let is_doubtful = |byte: Option<&u8>| byte.is_some_and(|byte| !byte.is_ascii_graphic());
    is_doubtful(name.first()) || is_doubtful(name.last())
}

/// The value of a cookie. Of several with this name the last counts, as it does in Python's
/// reader.
pub fn cookie<'a>(lines: &'a (impl Lines + ?Sized), name: &str) -> Option<&'a [u8]> {
    cookies(lines)
        .filter(|(own, _)| *own == name.as_bytes())
        .last()
        .map(|(_, value)| value)
}

/// The Cookie field with these cookies alone, each once, for the app; None when none of them came.
pub fn kept_cookies<S: AsRef<str>>(lines: &(impl Lines + ?Sized), names: &[S]) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let Some(value) = cookie(lines, name) else {
            continue;
        };
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(name.as_bytes());
        kept.push(b'=');
        kept.extend_from_slice(value);
    }
    (!kept.is_empty()).then_some(kept)
}

/// What counts of the query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QueryRule {
    /// All of it, as it is.
    #[default]
    AsIs,
    /// Everything but these, in the order of their names.
    Without(Vec<String>),
    /// Only these, in the order of their names.
    Only(Vec<String>),
    /// Nothing.
    Nothing,
}

/// Parameters by which advertisers follow people; no page depends on them. A star stands for any
/// rest of the name.
pub const TRACKING: [&str; 16] = [
    "utm_*", "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "fbclid", "msclkid", "twclid",
    "yclid", "igshid", "mc_cid", "mc_eid", "_ga", "_gl", "ttclid",
];

/// The query in its normal form, which is also what the app is to get: parameters that do not
/// count are left out, the others sorted by name and in their order among the same name. Only `&`
/// separates, and nothing is decoded: two spellings stay two keys, rather than that app and cache
/// read one query in two ways.
pub fn normal_query<'a>(query: &'a [u8], rule: &QueryRule) -> Cow<'a, [u8]> {
    let counts = |parameter: &&[u8]| {
        let name = parameter_name(parameter);
        match rule {
            QueryRule::AsIs => true,
            QueryRule::Nothing => false,
            QueryRule::Without(names) => !names.iter().any(|own| is_named(name, own)),
            QueryRule::Only(names) => names.iter().any(|own| is_named(name, own)),
        }
    };
    if *rule == QueryRule::AsIs {
        return Cow::Borrowed(query);
    }
    let parameters = query.split(|&byte| byte == b'&').filter(|p| !p.is_empty());
    let mut kept: Vec<&[u8]> = parameters.filter(counts).collect();
    kept.sort_by_key(|parameter| parameter_name(parameter));
    Cow::Owned(kept.join(&b"&"[..]))
}

fn parameter_name(parameter: &[u8]) -> &[u8] {
    let end = parameter.iter().position(|&byte| byte == b'=');
    parameter
        .get(..end.unwrap_or(parameter.len()))
        .unwrap_or_default()
}

fn is_named(name: &[u8], own: &str) -> bool {
    match own.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == own.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Field;

    fn with<'a>(name: &'a str, lines: &[&'a str]) -> Vec<Field<'a>> {
        let field = |line: &&'a str| (name.as_bytes(), line.as_bytes());
        lines.iter().map(field).collect()
    }

    #[test]
    fn b1_only_the_cookies_that_count_reach_the_app() {
        let lines = with(
            "Cookie",
            &[
                "_ga=1; django_language=de;csrftoken = x ",
                "a=1; a=2; lone; =y; b=c=d",
            ],
        );
        assert_eq!(
            kept_cookies(&lines, &["a", "django_language", "absent"]),
            Some(b"a=2; django_language=de".to_vec())
        );
        assert_eq!(kept_cookies(&lines, &["absent"]), None);
        assert_eq!(cookie(&lines, "csrftoken"), Some(&b"x"[..]));
        assert_eq!(cookie(&lines, "b"), Some(&b"c=d"[..]));
        assert_eq!(cookie(&lines, "lone"), None);
        assert_eq!(cookies(&lines).count(), 8);
    }

    #[test]
    fn a5_a_personal_cookie_is_found_wherever_it_stands() {
        for (line, found) in [
            ("sessionid=x", true),
            ("a=b;sessionid=x", true),
            ("a=b; sessionid", false),
            ("a=b; sessionid=", true),
            ("xsessionid=1; sessionidx=2", false),
            ("a=\"sessionid=1\"", false),
            ("a=\"x; sessionid=1\"", true),
            (";;; sessionid =1", true),
        ] {
            let lines = with("cookie", &[line]);
            assert_eq!(cookie(&lines, "sessionid").is_some(), found, "{line}");
        }
    }

    #[test]
    fn b1_a_name_between_bytes_that_some_strip_is_doubtful() {
        let space = [
            "\u{a0}", "\u{85}", "\u{3000}", "\u{2003}", "\u{1c}", "\u{1f}", "\u{0b}", "\u{0c}",
        ];
        for space in space {
            let lone = space.chars().map(|char| char as u32 as u8).collect();
            for bytes in [space.as_bytes().to_vec(), lone] {
                assert!(
                    is_doubtful_name(&[&bytes, &b"sid"[..]].concat()),
                    "{bytes:x?}"
                );
                assert!(
                    is_doubtful_name(&[b"sid", &bytes[..]].concat()),
                    "{bytes:x?}"
                );
            }
        }
        for name in ["", "s", "sid", "a b", "a\u{a0}b", "__Host-x", "\"x\""] {
            assert!(!is_doubtful_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn b6_the_query_has_one_normal_form() {
        let tracking = QueryRule::Without(TRACKING.iter().map(|&name| name.to_owned()).collect());
        for (query, rule, expected) in [
            ("b=1&a=2", QueryRule::AsIs, "b=1&a=2"),
            ("b=1&a=2&utm_source=x&fbclid=y", tracking.clone(), "a=2&b=1"),
            ("a=2&a=1&&", tracking.clone(), "a=2&a=1"),
            // No other separator, no decoding, no joining of what comes twice.
            ("a=1;utm_source=x", tracking.clone(), "a=1;utm_source=x"),
            ("%61=1&a=2", tracking.clone(), "%61=1&a=2"),
            ("a", tracking, "a"),
            (
                "b=1&page=2&x",
                QueryRule::Only(vec!["page".into()]),
                "page=2",
            ),
            ("b=1", QueryRule::Nothing, ""),
        ] {
            let normal = normal_query(query.as_bytes(), &rule);
            assert_eq!(normal, expected.as_bytes(), "{query}");
            assert_eq!(normal_query(&normal, &rule), normal);
        }
    }
}
