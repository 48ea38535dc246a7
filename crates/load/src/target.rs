//! Owns where requests go: the URL of a site, and the address behind it.
//! Leaves whether it may be loaded at all to `consent`, and connections to the engine.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

/// A site and the door to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The name or address without the port; without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
    /// A unix socket to go through instead of name and port.
    pub socket: Option<PathBuf>,
}

/// Where connections lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// An address.
    Address(SocketAddr),
    /// A unix socket.
    Socket(PathBuf),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

impl Site {
    /// Reads `http://127.0.0.1:8000/path?query` into the site and the path; the scheme and the path
    /// may be left out.
    pub fn parse(url: &str) -> Result<(Self, String), String> {
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => {
                return Err(format!("`{scheme}` is neither `http` nor `https`"));
            }
            None => (false, url),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if host.contains('@') {
            return Err("a URL with a password in it is not taken; use `--header`".to_owned());
        }
        let (name, port) = split_host(host).ok_or_else(|| format!("`{host}` is no host"))?;
        let path = if path.starts_with('?') {
            format!("/{path}")
        } else {
            path.to_owned()
        };
        if !is_path(&path) {
            return Err(format!(
                "`{path}` is no path of a URL; spaces are written `%20`"
            ));
        }
        let site = Self {
            tls,
            name,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            socket: None,
        };
        Ok((site, path))
    }

    /// For `Host`: with the port unless it is the usual one.
    pub fn authority(&self) -> String {
        let name = if self.name.contains(':') {
            format!("[{}]", self.name)
        } else {
            self.name.clone()
        };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual {
            name
        } else {
            format!("{name}:{}", self.port)
        }
    }

    /// The beginning of every URL of the site.
    pub fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Looks the name up.
    pub fn resolve(&self) -> Result<Door, String> {
        if let Some(path) = &self.socket {
            return Ok(Door::Socket(path.clone()));
        }
        let found = (self.name.as_str(), self.port).to_socket_addrs();
        let mut found =
            found.map_err(|error| format!("cannot look up `{}`: {error}", self.name))?;
        found
            .next()
            .map(Door::Address)
            .ok_or_else(|| format!("`{}` has no address", self.name))
    }
}

impl Door {
    /// Whether it leads nowhere but to this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Address(address) => address.ip().to_canonical().is_loopback(),
            Self::Socket(_) => true,
        }
    }
}

/// Whether a text can stand in a request line as it is.
pub fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

fn split_host(host: &str) -> Option<(String, Option<u16>)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    if let Some(rest) = host.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        address.parse::<IpAddr>().ok()?;
        return match rest.strip_prefix(':') {
            Some(text) => Some((address.to_owned(), Some(port(text)?))),
            None => rest.is_empty().then(|| (address.to_owned(), None)),
        };
    }
    let (name, port) = match host.split_once(':') {
        Some((name, text)) => (name, Some(port(text)?)),
        None => (host, None),
    };
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!name.is_empty() && name.bytes().all(sound)).then(|| (name.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for (url, origin, path) in [
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000", "/"),
            ("127.0.0.1:8000", "http://127.0.0.1:8000", "/"),
            ("localhost/x?y=1", "http://localhost", "/x?y=1"),
            ("http://a?x", "http://a", "/?x"),
            ("https://example.org/a#b", "https://example.org", "/a"),
            ("https://example.org:8443/", "https://example.org:8443", "/"),
            ("http://[::1]:8000/", "http://[::1]:8000", "/"),
        ] {
            let (site, found) = Site::parse(url).unwrap();
            assert_eq!(
                (site.origin().as_str(), found.as_str()),
                (origin, path),
                "{url}"
            );
        }
        for url in [
            "",
            "/",
            "ftp://a/",
            "http:///x",
            "http://a:0/",
            "http://a:99999/",
            "http://a:b/",
            "http://[::1/",
            "http://[x]/",
            "http://a b/",
            "http://a/b c",
            "http://u:p@a/",
            "http://a/\u{e9}",
        ] {
            assert!(Site::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (url, local) in [
            ("http://127.0.0.1:1/", true),
            ("http://[::1]:1/", true),
            ("http://[::ffff:127.0.0.1]:1/", true),
            ("http://10.0.0.1/", false),
            ("http://93.184.216.34/", false),
        ] {
            let door = Site::parse(url).unwrap().0.resolve().unwrap();
            assert_eq!(door.is_local(), local, "{url}");
        }
    }
}
