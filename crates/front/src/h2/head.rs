//! Owns writing the head of an HTTP/2 request as one of HTTP/1.1 (RFC 9113, section 8.3.1), which the
//! strict codec then reads like any other, and reading the head of our own response.
//! Leaves what is allowed in a request to that codec.

use canter_http::authority::is_same_origin;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};

/// Why a request cannot be written so.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is malformed (section 8.1.1): its stream is reset.
    Malformed(&'static str),
    /// It is answered with this.
    Status(StatusCode),
}

/// Bytes of memory that the crate's map takes for each field beside its name and value: it grows by
/// doubling.
const ENTRY: usize = 2 * (size_of::<HeaderName>() + size_of::<HeaderValue>());

/// Bytes of memory that a head takes until it is written.
pub(super) fn bytes<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query();
    let target = target.map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + ENTRY);
    target + fields.sum::<usize>()
}

/// The head. A body of unknown length is announced as chunked.
pub(super) fn request(parts: &Parts, has_body: bool) -> Result<Vec<u8>, Unfit> {
    let method = parts.method.as_str();
    if method == "CONNECT" {
        // With nothing but an authority (section 8.5).
        return Err(match parts.uri.authority() {
            Some(_) => Unfit::Status(StatusCode::METHOD_NOT_ALLOWED),
            None => Unfit::Malformed("CONNECT without an authority"),
        });
    }
    let has_space = |value: &HeaderValue| {
        let ends = [value.as_bytes().first(), value.as_bytes().last()];
        ends.contains(&Some(&b' ')) || ends.contains(&Some(&b'\t'))
    };
    if parts.headers.values().any(has_space) {
        // Section 8.2.1.
        return Err(Unfit::Malformed("space around a value"));
    }
    let host = parts.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let authority = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let scheme = parts.uri.scheme_str().unwrap_or("http");
    let is_https = scheme.eq_ignore_ascii_case("https");
    if !is_https && !scheme.eq_ignore_ascii_case("http") {
        // As in a target with a scheme (RFC 9112, section 3.2.2).
        return Err(Unfit::Status(StatusCode::BAD_REQUEST));
    }
    let host = match (authority, host) {
        // They must be the same (section 8.3.1).
        (Some(authority), Some(host)) if !is_same_origin(authority, host, is_https) => {
            return Err(Unfit::Malformed("authority and host differ"));
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(Unfit::Status(StatusCode::BAD_REQUEST)),
    };
    if parts.headers.get_all(header::HOST).iter().count() > 1 {
        return Err(Unfit::Malformed("more than one host"));
    }
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let mut out = Vec::with_capacity(512);
    for part in [method, " ", target, " HTTP/1.1\r\nHost: "] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\nConnection: close\r\n");
    let mut cookies = 0;
    for (name, value) in &parts.headers {
        if *name == header::COOKIE {
            cookies += 1;
        } else if *name != header::HOST {
            write(&mut out, name, value.as_bytes());
        }
    }
    if cookies > 0 {
        // Sent in crumbs, meant as one (section 8.2.3).
        let crumbs = parts.headers.get_all(header::COOKIE).iter();
        let crumbs: Vec<&[u8]> = crumbs.map(HeaderValue::as_bytes).collect();
        write(&mut out, &header::COOKIE, &crumbs.join(&b"; "[..]));
    }
    if has_body && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

fn write(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// How the body of our response is written in HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framed {
    None,
    Length(u64),
    Chunked,
}

/// A response head as our own encoder writes it; None when it is not that.
pub(super) fn response(head: &[u8], is_head: bool) -> Option<(Response<()>, Framed)> {
    let mut lines = head
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let status = lines.next()?.get(9..12)?;
    let status = StatusCode::from_bytes(status).ok()?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    let mut framed = Framed::None;
    for line in lines.take_while(|line| !line.is_empty()) {
        let colon = memchr::memchr(b':', line)?;
        let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
        let value = line.get(colon + 1..)?.trim_ascii();
        if name == header::TRANSFER_ENCODING {
            framed = Framed::Chunked;
            continue;
        }
        // About the connection, which HTTP/2 has its own words for (section 8.2.2).
        if name == header::CONNECTION {
            continue;
        }
        if name == header::CONTENT_LENGTH {
            framed = Framed::Length(std::str::from_utf8(value).ok()?.parse().ok()?);
        }
        let value = HeaderValue::from_bytes(value).ok()?;
        response.headers_mut().append(name, value);
    }
    let bare = is_head || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    Some((response, if bare { Framed::None } else { framed }))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn written(request_: http::request::Builder, has_body: bool) -> Result<String, Unfit> {
        let (parts, ()) = request_.body(()).unwrap().into_parts();
        request(&parts, has_body).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_request_is_written_as_the_codec_reads_it() {
        let get = Request::get("https://example.org/a?b=1")
            .header("cookie", "a=1")
            .header("x-other", "y")
            .header("cookie", "b=2");
        assert_eq!(
            written(get, false).unwrap(),
            "GET /a?b=1 HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\nx-other: y\r\n\
             cookie: a=1; b=2\r\n\r\n"
        );
        let post = Request::post("https://example.org/").header("content-length", "3");
        assert!(!written(post, true).unwrap().contains("Transfer-Encoding"));
        let post = Request::post("https://example.org/").header("host", "EXAMPLE.org");
        assert!(
            written(post, true)
                .unwrap()
                .contains("Transfer-Encoding: chunked\r\n")
        );
    }

    #[test]
    fn h8_what_has_no_host_or_two_or_space_around_values_is_refused() {
        let status = |status| Unfit::Status(status);
        for (builder, unfit) in [
            (Request::get("/"), status(StatusCode::BAD_REQUEST)),
            (Request::get("ftp://a/"), status(StatusCode::BAD_REQUEST)),
            (
                Request::get("https://a/").header("host", "b"),
                Unfit::Malformed("authority and host differ"),
            ),
            (
                Request::get("/").header("host", "a").header("host", "a"),
                Unfit::Malformed("more than one host"),
            ),
            (
                Request::get("https://a/").header("x", " b"),
                Unfit::Malformed("space around a value"),
            ),
            (
                Request::get("https://a/").header("x", "b\t"),
                Unfit::Malformed("space around a value"),
            ),
            (
                Request::connect("a:443"),
                status(StatusCode::METHOD_NOT_ALLOWED),
            ),
            (
                Request::builder().method("CONNECT").uri("/"),
                Unfit::Malformed("CONNECT without an authority"),
            ),
        ] {
            assert_eq!(written(builder, false), Err(unfit));
        }
        assert!(written(Request::get("/").header("host", "a"), false).is_ok());
        // The same origin in other words (RFC 9110, section 4.2.3).
        let same = Request::get("https://a/").header("host", "a:443");
        assert!(written(same, false).is_ok());
        let same = Request::get("HTTPS://a/").header("host", "a:443");
        assert!(written(same, false).is_ok());
        let other = Request::get("http://a/").header("host", "a:443");
        assert!(written(other, false).is_err());
    }

    #[test]
    fn our_own_responses_are_read() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nSet-Cookie: x\r\nSet-Cookie: y\r\n\
                     Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        let (got, framed) = response(head, false).unwrap();
        assert_eq!((got.status().as_u16(), framed), (200, Framed::Chunked));
        assert_eq!(got.headers().len(), 3);
        let head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(response(head, false).unwrap().1, Framed::Length(12));
        assert_eq!(response(head, true).unwrap().1, Framed::None);
        assert!(response(b"nonsense", false).is_none());
    }
}
