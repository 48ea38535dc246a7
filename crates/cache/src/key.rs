//! What a stored response is found by: owns building keys whose parts cannot run together. Hashing
//! them is left to the store, which compares the whole key on every hit.
//!
//! A key has two sides. The first is the URL as the app sees it: scheme, host, path, query; that is
//! what a purge names. The second are the cookies and other inputs that a page rule lets count.
//! What a response varies on comes on top ([`crate::vary`]).

use std::borrow::Cow;

/// The scheme a client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    const fn byte(self) -> u8 {
        match self {
            Self::Http => b'h',
            Self::Https => b's',
        }
    }

    /// How it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant when none is named.
    const fn default_port(self) -> &'static [u8] {
        match self {
            Self::Http => b"80",
            Self::Https => b"443",
        }
    }
}

/// The longest key, in bytes.
pub const LONGEST_KEY: usize = 16 * 1024;

/// The longest URL in one, in bytes: what a purge names is kept and told in full, by the thousand.
pub const LONGEST_URL: usize = 2048;

/// A key, whole and comparable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Every part with its length before it.
    bytes: Vec<u8>,
    /// Where the URL's parts end.
    url: usize,
}

impl Key {
    /// The key of a URL. `path` is what the app gets, decoded; `query` what it gets, as it is, or
    /// None without a question mark. The host is compared in lower case and without the port that
    /// the scheme means anyway.
    pub fn new(scheme: Scheme, host: &[u8], path: &[u8], query: Option<&[u8]>) -> Self {
        let mut bytes = Vec::with_capacity(host.len() + path.len() + 32);
        bytes.push(scheme.byte());
        push(&mut bytes, &plain_host(scheme, host));
        push(&mut bytes, path);
        push_optional(&mut bytes, query);
        Self {
            url: bytes.len(),
            bytes,
        }
    }

    /// The same with one more input: the name of a cookie that counts, and its value, if it came.
    /// Inputs must be added in the same order for all requests of a rule.
    #[must_use]
    pub fn with(mut self, name: &[u8], value: Option<&[u8]>) -> Self {
        push(&mut self.bytes, name);
        push_optional(&mut self.bytes, value);
        self
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The part that names the URL.
    pub fn url(&self) -> &[u8] {
        self.bytes.get(..self.url).unwrap_or_default()
    }

    /// The other inputs.
    pub fn inputs(&self) -> &[u8] {
        self.bytes.get(self.url..).unwrap_or_default()
    }

    /// Whether it is longer than a key may be.
    pub fn is_too_long(&self) -> bool {
        self.bytes.len() > LONGEST_KEY || self.url > LONGEST_URL
    }

    /// Reads what [`Key::bytes`] gave, when the URL ends at `url`.
    pub(crate) fn from_parts(url: &[u8], inputs: &[u8]) -> Option<Self> {
        UrlParts::read(url)?;
        Some(Self {
            bytes: [url, inputs].concat(),
            url: url.len(),
        })
    }
}

/// The parts of a URL in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// `http` or `https`
    pub scheme: Scheme,
    /// In lower case, without a default port.
    pub host: &'a [u8],
    /// Decoded.
    pub path: &'a [u8],
    /// As it is; None without a question mark.
    pub query: Option<&'a [u8]>,
}

impl<'a> UrlParts<'a> {
    /// Reads the URL side of a key; None when it is no such thing.
    pub fn read(url: &'a [u8]) -> Option<Self> {
        let (&scheme, rest) = url.split_first()?;
        let scheme = match scheme {
            b'h' => Scheme::Http,
            b's' => Scheme::Https,
            _ => return None,
        };
        let (host, rest) = take(rest)?;
        let (path, rest) = take(rest)?;
        let (query, rest) = take_optional(rest)?;
        rest.is_empty().then_some(Self {
            scheme,
            host,
            path,
            query,
        })
    }
}

/// Lower case, without the scheme's own port.
pub fn plain_host(scheme: Scheme, host: &[u8]) -> Cow<'_, [u8]> {
    let colon = host.iter().rposition(|&byte| byte == b':');
    let port = colon.map(|colon| host.get(colon + 1..).unwrap_or_default());
    let is_usual = |port: &[u8]| port == scheme.default_port() || port.is_empty();
    let end = colon.filter(|_| port.is_some_and(is_usual));
    let plain = host.get(..end.unwrap_or(host.len())).unwrap_or_default();
    if plain.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(plain.to_ascii_lowercase())
    } else {
        Cow::Borrowed(plain)
    }
}

/// Writes a part with its length before it.
pub(crate) fn push(out: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(part);
}

/// Absent and empty differ.
pub(crate) fn push_optional(out: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        None => out.push(0),
        Some(part) => {
            out.push(1);
            push(out, part);
        }
    }
}

/// Reads what [`push`] wrote; what follows comes second.
pub(crate) fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

/// Reads what [`push_optional`] wrote.
pub(crate) fn take_optional(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    match bytes.split_first()? {
        (0, rest) => Some((None, rest)),
        (1, rest) => take(rest).map(|(part, rest)| (Some(part), rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str, path: &str, query: Option<&str>) -> Key {
        let query = query.map(str::as_bytes);
        Key::new(Scheme::Https, host.as_bytes(), path.as_bytes(), query)
    }

    #[test]
    fn a6_b7_parts_cannot_run_together() {
        let all = [
            key("a", "/b", None),
            key("a", "/b", Some("")),
            key("a", "/", Some("b")),
            key("a/", "b", None),
            key("", "a/b", None),
            key("a", "/b", None).with(b"c", None),
            key("a", "/b", None).with(b"c", Some(b"")),
            key("a", "/b", None).with(b"c", Some(b"1")),
            key("a", "/b", None).with(b"c1", Some(b"")),
            key("a", "/b", None).with(b"c", Some(b"")).with(b"d", None),
            Key::new(Scheme::Http, b"a", b"/b", None),
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[..at] {
                assert_ne!(one, other);
            }
        }
    }

    #[test]
    fn b2_the_host_is_lower_case_and_has_no_default_port() {
        for (host, same) in [
            ("EXAMPLE.com", true),
            ("example.com:443", true),
            ("example.com:", true),
            ("example.com:80", false),
            ("example.com:8443", false),
            ("example.org", false),
        ] {
            let equal = key(host, "/", None) == key("example.com", "/", None);
            assert_eq!(equal, same, "{host}");
        }
        assert_eq!(*plain_host(Scheme::Http, b"[::1]:80"), *b"[::1]");
        assert_eq!(*plain_host(Scheme::Http, b"[::1]"), *b"[::1]");
    }

    #[test]
    fn the_parts_of_a_url_are_read_back() {
        let key = key("a:81", "/caf\u{e9}", Some("x=1")).with(b"lang", Some(b"de"));
        let parts = UrlParts::read(key.url()).unwrap();
        assert_eq!((parts.scheme, parts.host), (Scheme::Https, &b"a:81"[..]));
        assert_eq!(parts.path, "/caf\u{e9}".as_bytes());
        assert_eq!(parts.query, Some(&b"x=1"[..]));
        assert_eq!(Key::from_parts(key.url(), key.inputs()), Some(key.clone()));
        for cut in 0..key.url().len() {
            assert_eq!(UrlParts::read(&key.url()[..cut]), None);
        }
    }
}
