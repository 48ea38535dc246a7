//! Unsafe requests: owns which stored responses one makes wrong (RFC 9111, section 4.4; RFC 9875,
//! section 3). Removing them is left to the store.

use canter_http::Method;
use canter_http::target::decode_path;

use crate::key::{UrlParts, plain_host};
use crate::lines::{Field, Lines};
use crate::tags;

/// What an unsafe request made wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invalid {
    /// Its own URL, and those of the same origin that the answer names: path, decoded, and query.
    /// Empty when nothing is to be done.
    pub urls: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Where a redirect of the same origin leads. Nobody says that it has changed: after a comment it has,
    /// after a login it has not (section 4.4: a cache MAY).
    pub redirect: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// Tags, as [`crate::tags`] writes them.
    pub tags: Vec<Vec<u8>>,
}

/// What the answer to a request makes wrong. `method_text` counts where the method is none of the
/// usual ones, and `url` is that of the request as the app got it.
pub fn invalidates(
    method: Method,
    method_text: &[u8],
    status: u16,
    fields: &[Field<'_>],
    url: &UrlParts<'_>,
) -> Invalid {
    // An error changed nothing.
    if is_safe(method, method_text) || !(200..400).contains(&status) {
        return Invalid::default();
    }
    let mut urls = vec![(url.path.to_vec(), url.query.map(<[u8]>::to_vec))];
    let mut redirect = None;
    for name in ["content-location", "location"] {
        let named = fields.value_of(name).and_then(|text| resolve(text, url));
        let named = named.filter(|named| !urls.contains(named));
        if name == "location" && status >= 300 {
            redirect = named;
        } else {
            urls.extend(named);
        }
    }
    let groups = tags::groups(fields, "cache-group-invalidation");
    let tags = groups.iter().map(|name| tags::group_tag(url, name));
    Invalid {
        urls,
        redirect,
        tags: tags.collect(),
    }
}

/// An unknown method may do anything.
fn is_safe(method: Method, text: &[u8]) -> bool {
    const SAFE: [&[u8]; 5] = [b"TRACE", b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY"];
    match method {
        Method::Get | Method::Head | Method::Options => true,
        Method::Post | Method::Put | Method::Patch | Method::Delete => false,
        Method::Other => SAFE.contains(&text),
    }
}

type Target = (Vec<u8>, Option<Vec<u8>>);

/// A reference against the URL of the request (RFC 3986, section 5.2); None when it leads to
/// another origin, which may not be invalidated from here.
fn resolve(reference: &[u8], base: &UrlParts<'_>) -> Option<Target> {
    let without_fragment = reference.split(|&byte| byte == b'#').next()?;
    let rest = match without_fragment {
        [b'/', b'/', authority @ ..] => after_own_authority(authority, base)?,
        text => match split_scheme(text) {
            None => text,
            Some((scheme, rest)) => {
                let same = scheme.eq_ignore_ascii_case(base.scheme.as_str().as_bytes());
                let authority = rest.strip_prefix(b"//").filter(|_| same)?;
                after_own_authority(authority, base)?
            }
        },
    };
    let question = rest.iter().position(|&byte| byte == b'?');
    let (path, query) = match question.and_then(|at| rest.split_at_checked(at)) {
        Some((path, query)) => (path, Some(query.get(1..)?.to_vec())),
        None => (rest, None),
    };
    let mut decoded = Vec::new();
    decode_path(path, &mut decoded).ok()?;
    let path = match decoded.first() {
        // An absolute reference may have no path, a relative one keeps that of the base.
        None if rest.len() < without_fragment.len() => b"/".to_vec(),
        None => base.path.to_vec(),
        Some(b'/') => without_dots(&decoded),
        Some(_) => {
            let folder = base.path.iter().rposition(|&byte| byte == b'/');
            let folder = base.path.get(..=folder?)?;
            without_dots(&[folder, &decoded].concat())
        }
    };
    Some((path, query))
}

/// What stands before a colon that stands before any slash.
fn split_scheme(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| b":/?".contains(byte))?;
    let (scheme, rest) = text.split_at_checked(at)?;
    Some((scheme, rest.strip_prefix(b":")?))
}

fn after_own_authority<'a>(text: &'a [u8], base: &UrlParts<'_>) -> Option<&'a [u8]> {
    let end = text.iter().position(|byte| b"/?".contains(byte));
    let (authority, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
    (plain_host(base.scheme, authority) == base.host).then_some(rest)
}

/// RFC 3986, section 5.2.4, for a path that begins with a slash.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if is_last {
                    kept.push(b"");
                }
            }
            other => kept.push(other),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, Scheme};

    fn base() -> Key {
        Key::new(Scheme::Https, b"a.example", b"/blog/new", Some(b"x=1"))
    }

    fn resolved(reference: &str) -> Option<String> {
        let key = base();
        let url = UrlParts::read(key.url()).unwrap();
        let (path, query) = resolve(reference.as_bytes(), &url)?;
        let query = query.map(|query| format!("?{}", String::from_utf8(query).unwrap()));
        Some(String::from_utf8(path).unwrap() + &query.unwrap_or_default())
    }

    #[test]
    fn a8_references_are_resolved_against_the_request() {
        for (reference, expected) in [
            ("/blog/7/", Some("/blog/7/")),
            ("7/?a=b#c", Some("/blog/7/?a=b")),
            ("../x", Some("/x")),
            ("./", Some("/blog/")),
            ("..", Some("/")),
            ("?y=2", Some("/blog/new?y=2")),
            ("", Some("/blog/new")),
            ("/caf%C3%A9", Some("/caf\u{e9}")),
            ("https://a.example/z", Some("/z")),
            ("HTTPS://A.example:443?q", Some("/?q")),
            ("https://a.example", Some("/")),
            ("//a.example/z", Some("/z")),
            ("http://a.example/z", None),
            ("https://b.example/z", None),
            ("https://a.example:444/z", None),
            ("//b.example/z", None),
            ("mailto:a@b", None),
            ("/%zz", None),
        ] {
            assert_eq!(resolved(reference).as_deref(), expected, "{reference}");
        }
    }

    #[test]
    fn a8_an_unsafe_request_that_succeeds_makes_its_url_wrong() {
        let key = base();
        let url = UrlParts::read(key.url()).unwrap();
        let fields: [Field<'_>; 3] = [
            (b"Location", b"/blog/7/"),
            (b"Content-Location", b"https://b.example/evil"),
            (b"Cache-Group-Invalidation", b"\"posts\""),
        ];
        let of = |method, text: &str, status| {
            invalidates(method, text.as_bytes(), status, &fields, &url)
        };
        for (method, text) in [
            (Method::Post, ""),
            (Method::Put, ""),
            (Method::Patch, ""),
            (Method::Delete, ""),
            (Method::Other, "M-SEARCH"),
        ] {
            let invalid = of(method, text, 303);
            assert_eq!(invalid.urls.len(), 1, "{method:?}");
            assert_eq!(invalid.urls[0].1.as_deref(), Some(&b"x=1"[..]));
            assert_eq!(invalid.redirect, Some((b"/blog/7/".to_vec(), None)));
            let made = of(method, text, 201);
            assert_eq!((made.urls.len(), made.redirect), (2, None));
            assert_eq!(made.urls[1].0, b"/blog/7/");
            assert_eq!(invalid.tags, [b"ghttps://a.example/posts".to_vec()]);
            assert_eq!(of(method, text, 500), Invalid::default());
            assert_eq!(of(method, text, 404), Invalid::default());
        }
        for (method, text) in [
            (Method::Get, ""),
            (Method::Head, ""),
            (Method::Options, ""),
            (Method::Other, "PROPFIND"),
        ] {
            assert_eq!(of(method, text, 200), Invalid::default(), "{method:?}");
        }
    }
}
