//! Owns where a redirect leads and what is asked for there (RFC 9110, sections 10.2.2 and 15.4; RFC 3986,
//! section 5.2). Leaves how many are followed, and sending, to the engine.

use crate::scenario::{Rendered, Request};
use crate::target::{Site, is_path};

/// What the answer to a request wants to be asked next; None where that is no redirect, or one to another site.
pub(crate) fn next(asked: &Rendered, site: &Site, status: u16, location: &str) -> Option<Request> {
    let method = method(asked.method.as_str(), status)?;
    let (host, path) = place(asked, site, location)?;
    // RFC 9110, section 15.4: what describes a body goes with it.
    let keeps_body = method == asked.method.as_str();
    let fields = asked.fields.iter().filter(|(name, _)| {
        name != "content-length" && (keeps_body || !name.starts_with("content-"))
    });
    let mut request = Request {
        method: method.to_owned(),
        fields: fields.cloned().collect(),
        ..Request::get(path)
    };
    request.fields.push(("Host".to_owned(), host));
    if keeps_body {
        request.body = asked.body().to_vec();
    }
    Some(request)
}

/// 307 and 308 repeat the request; 303 asks for a page; 301 and 302 make a GET of a POST, as browsers do.
fn method(asked: &str, status: u16) -> Option<&str> {
    match (status, asked) {
        (301 | 302, "POST") => Some("GET"),
        (301 | 302 | 307 | 308, _) | (303, "HEAD") => Some(asked),
        (303, _) => Some("GET"),
        _ => None,
    }
}

/// The `Host` and the path of a `Location` on the same site: the one that was asked by its name, or by the
/// address it is loaded at.
fn place(asked: &Rendered, site: &Site, location: &str) -> Option<(String, String)> {
    let location = location.split('#').next().unwrap_or_default();
    let forwarded = asked
        .fields
        .iter()
        .find(|(name, _)| name == "x-forwarded-proto");
    let tls = forwarded.map_or(site.tls, |(_, scheme)| scheme == "https");
    let scheme = if tls { "https" } else { "http" };
    let url = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if has_scheme(location) {
        let (scheme, rest) = location.split_once(':')?;
        format!("{}:{rest}", scheme.to_ascii_lowercase())
    } else {
        let path = resolve(&asked.path, location);
        return is_path(&path).then(|| (asked.host.clone(), path));
    };
    let (there, path) = Site::parse(&url).ok()?;
    let is_there = |host: &str| {
        Site::parse(&format!("{scheme}://{host}")).is_ok_and(|(ours, _)| {
            (ours.tls, ours.port) == (there.tls, there.port)
                && ours.name.eq_ignore_ascii_case(&there.name)
        })
    };
    let host = [asked.host.clone(), site.authority()];
    let host = host.into_iter().find(|host| is_there(host))?;
    Some((host, resolve("/", &path)))
}

fn has_scheme(reference: &str) -> bool {
    let before = reference.split(['/', '?']).next().unwrap_or_default();
    before.contains(':')
}

/// A reference without scheme and host against the path and query that were asked.
fn resolve(base: &str, reference: &str) -> String {
    let (base_path, _) = base.split_once('?').unwrap_or((base, ""));
    if reference.is_empty() {
        return base.to_owned();
    }
    if reference.starts_with('?') {
        return format!("{base_path}{reference}");
    }
    let (path, query) = match reference.find('?') {
        Some(at) => reference.split_at(at),
        None => (reference, ""),
    };
    let merged = if path.starts_with('/') {
        path.to_owned()
    } else {
        let folder = base_path.rfind('/').and_then(|at| base_path.get(..=at));
        format!("{}{path}", folder.unwrap_or("/"))
    };
    format!("{}{query}", without_dots(&merged))
}

/// RFC 3986, section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, fields: &[(&str, &str)]) -> (Rendered, Site) {
        let (site, path) = Site::parse("http://127.0.0.1:8000/b/c/d?q").unwrap();
        let mut request = Request::get(path);
        request.method = method.to_owned();
        request.body = if method == "GET" {
            b"".into()
        } else {
            b"hi".into()
        };
        request.fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        (Rendered::new(&request, &site, true), site)
    }

    #[test]
    fn a8_a_location_is_resolved_against_what_was_asked() {
        // RFC 3986, section 5.4, for a base of `http://a/b/c/d?q`, and what a site may send beside.
        for (location, expected) in [
            ("g", Some("/b/c/g")),
            ("./g", Some("/b/c/g")),
            ("g/", Some("/b/c/g/")),
            ("/g", Some("/g")),
            ("?y", Some("/b/c/d?y")),
            ("g?y", Some("/b/c/g?y")),
            ("g?y/../x", Some("/b/c/g?y/../x")),
            ("g#s", Some("/b/c/g")),
            ("#s", Some("/b/c/d?q")),
            ("", Some("/b/c/d?q")),
            (".", Some("/b/c/")),
            ("..", Some("/b/")),
            ("../g", Some("/b/g")),
            ("../../g", Some("/g")),
            ("../../../g", Some("/g")),
            ("/./g/../h", Some("/h")),
            ("//127.0.0.1:8000/g", Some("/g")),
            ("http://127.0.0.1:8000", Some("/")),
            ("http://127.0.0.1:8000?y", Some("/?y")),
            ("HTTP://127.0.0.1:8000/g", Some("/g")),
            ("https://127.0.0.1:8000/g", None),
            ("http://127.0.0.1:8001/g", None),
            ("http://127.0.0.1/g", None),
            ("http://127.0.0.1:8000.example.org/", None),
            ("//example.org/g", None),
            ("mailto:someone", None),
            ("a b", None),
        ] {
            let (asked, site) = asked("GET", &[]);
            let found = next(&asked, &site, 302, location).map(|request| request.path);
            assert_eq!(found.as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn a8_the_method_follows_the_status() {
        for (status, method, expected) in [
            (301, "POST", Some("GET")),
            (302, "POST", Some("GET")),
            (302, "PUT", Some("PUT")),
            (302, "HEAD", Some("HEAD")),
            (303, "POST", Some("GET")),
            (303, "PUT", Some("GET")),
            (303, "HEAD", Some("HEAD")),
            (307, "POST", Some("POST")),
            (308, "PATCH", Some("PATCH")),
            (308, "GET", Some("GET")),
            (300, "GET", None),
            (304, "GET", None),
            (200, "GET", None),
        ] {
            let fields = [
                ("Content-Type", "text/plain"),
                ("Content-Language", "en"),
                ("A", "b"),
            ];
            let (asked, site) = asked(method, &fields);
            let request = next(&asked, &site, status, "/x");
            let found = request.as_ref().map(|request| request.method.as_str());
            assert_eq!(found, expected, "{status} {method}");
            let Some(request) = request else { continue };
            let kept = method == request.method && method != "GET";
            assert_eq!(request.body == b"hi", kept, "{status} {method}");
            let names: Vec<&str> = request
                .fields
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            assert!(
                names.contains(&"a") && !names.contains(&"content-length"),
                "{names:?}"
            );
            assert_eq!(
                names.contains(&"content-type"),
                method == request.method,
                "{names:?}"
            );
        }
    }

    #[test]
    fn a8_a_host_that_was_given_is_the_same_site() {
        let fields = [("Host", "www.example.org"), ("X-Forwarded-Proto", "https")];
        let (asked, site) = asked("GET", &fields);
        for (location, expected) in [
            ("/x", Some("www.example.org")),
            ("https://WWW.example.org/x", Some("www.example.org")),
            ("//www.example.org:443/x", Some("www.example.org")),
            ("http://www.example.org/x", None),
            ("https://example.org/x", None),
        ] {
            let request = next(&asked, &site, 302, location);
            let host = request.map(|request| Rendered::new(&request, &site, true).host);
            assert_eq!(host.as_deref(), expected, "{location}");
        }
    }
}
