//! The address of a Valkey or Redis server, which may hold a password. Owns its grammar and what of it
//! may be shown; connecting is left to whoever does.

use std::path::PathBuf;
use std::time::Duration;

use super::value::{Value, Wrong};

/// Where several machines keep pages for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheUrl {
    /// The variable of the environment that holds the address.
    Variable(String),
    /// The server.
    Server(Box<CacheServer>),
}

/// A server.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheServer {
    /// Where it listens.
    pub place: CachePlace,
    /// Empty for the server's own default.
    pub user: String,
    /// None where it wants none.
    pub password: Option<String>,
    /// The number of the database.
    pub database: u32,
    /// How all names there begin.
    pub prefix: String,
    /// How long a look-up may take.
    pub timeout: Duration,
    /// An authority in place of the system's.
    pub ca: Option<PathBuf>,
    /// Its certificate is not looked at.
    pub any_certificate: bool,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// Host and port, and whether TLS is spoken.
    Tcp(String, u16, bool),
    /// A socket file.
    Unix(PathBuf),
}

const EXPECTED: &str = "expected an address such as `redis://:password@host:6379/0`, `rediss://…`, \
                        `unix:///run/valkey.sock`, or the name of a variable, `REDIS_URL`";
const PORT: u16 = 6379;
const TIMEOUT: Duration = Duration::from_millis(10);

impl CacheServer {
    /// Reads an address.
    pub fn read(text: &str) -> Result<Self, Wrong> {
        let (scheme, rest) = text
            .trim()
            .split_once("://")
            .ok_or(Wrong::expected(EXPECTED))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let tls = match scheme {
            "redis" | "valkey" | "unix" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(wrong(&format!("`{scheme}` is neither Valkey nor Redis"))),
        };
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let text = |part: &str| decoded(part).ok_or_else(|| wrong("a `%` is written `%25`"));
        let mut server = Self {
            place: CachePlace::Unix(PathBuf::new()),
            user: text(user)?,
            password: password
                .map(text)
                .transpose()?
                .filter(|own| !own.is_empty()),
            database: 0,
            prefix: "canter".to_owned(),
            timeout: TIMEOUT,
            ca: None,
            any_certificate: false,
        };
        if scheme == "unix" {
            if !place.starts_with('/') {
                return Err(wrong("a socket's path begins with `/`, after `unix://`"));
            }
            server.place = CachePlace::Unix(text(place)?.into());
        } else {
            let (place, number) = place.split_once('/').unwrap_or((place, ""));
            if !number.is_empty() {
                server.database = database(number)?;
            }
            let (host, port) = match place.rsplit_once(':') {
                Some((host, port)) if !port.contains(']') => {
                    let port = port.parse().ok().filter(|port| *port != 0);
                    (
                        host,
                        port.ok_or_else(|| wrong("the port is a number up to 65535"))?,
                    )
                }
                _ => (place, PORT),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            if host.is_empty() || host.contains(['/', '[', ' ']) {
                return Err(wrong("there is no host in it"));
            }
            server.place = CachePlace::Tcp(host.to_owned(), port, tls);
        }
        server.take_query(query)?;
        Ok(server)
    }

    /// What stands behind the question mark.
    fn take_query(&mut self, query: &str) -> Result<(), Wrong> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).ok_or_else(|| wrong("a `%` is written `%25`"))?;
            match name {
                "db" => self.database = database(&value)?,
                "prefix" if (1..=64).contains(&value.len()) => self.prefix = value,
                "timeout" => {
                    self.timeout = Duration::parse(&value)
                        .ok()
                        .filter(|time| !time.is_zero() && *time <= Duration::from_secs(60))
                        .ok_or_else(|| wrong("`timeout` is a time such as `10ms`"))?;
                }
                "ssl_ca_certs" => self.ca = Some(value.into()),
                "ssl_cert_reqs" => {
                    self.any_certificate = match value.to_ascii_lowercase().as_str() {
                        "none" | "cert_none" => true,
                        "required" | "cert_required" => false,
                        _ => return Err(wrong("`ssl_cert_reqs` is `required` or `none`")),
                    };
                }
                _ => {
                    return Err(wrong(
                        "behind the `?` stand `db`, `prefix`, `timeout`, `ssl_ca_certs` or \
                         `ssl_cert_reqs`",
                    ));
                }
            }
        }
        Ok(())
    }

    /// The address without what is secret.
    pub fn shown(&self) -> String {
        match &self.place {
            CachePlace::Tcp(host, port, tls) => {
                let scheme = if *tls { "rediss" } else { "redis" };
                let host = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                format!("{scheme}://{host}:{port}/{}", self.database)
            }
            CachePlace::Unix(path) => format!("unix://{}?db={}", path.display(), self.database),
        }
    }
}

fn wrong(hint: &str) -> Wrong {
    Wrong::expected(EXPECTED).hint(hint)
}

fn database(text: &str) -> Result<u32, Wrong> {
    let number = text.parse().ok().filter(|number| *number < 65_536);
    number.ok_or_else(|| wrong("behind the host stands the number of a database"))
}

impl std::fmt::Debug for CacheServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.shown())
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

impl Value for CacheUrl {
    const KIND: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let is_name = text.starts_with(|first: char| first.is_ascii_uppercase())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        if is_name {
            return Ok(Self::Variable(text.to_owned()));
        }
        CacheServer::read(text).map(|server| Self::Server(Box::new(server)))
    }

    fn show(&self) -> String {
        match self {
            Self::Variable(name) => name.clone(),
            Self::Server(server) => server.shown(),
        }
    }

    fn blame(text: &str) -> String {
        super::database_url::DatabaseUrl::masked(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_the_password() {
        let rows = [
            ("redis://cache", "redis://cache:6379/0"),
            ("redis://:s3cret@cache:7000/2", "redis://cache:7000/2"),
            ("rediss://me:p%40ss@[::1]:1/", "rediss://[::1]:1/0"),
            (
                "valkey://h?db=3&prefix=shop&timeout=5ms",
                "redis://h:6379/3",
            ),
            ("unix:///run/v.sock?db=1", "unix:///run/v.sock?db=1"),
        ];
        for (text, shown) in rows {
            assert_eq!(CacheServer::read(text).unwrap().shown(), shown, "{text}");
        }
        let server = CacheServer::read("rediss://me:p%40ss@h?ssl_cert_reqs=none").unwrap();
        assert_eq!(
            (server.user.as_str(), server.password.as_deref()),
            ("me", Some("p@ss"))
        );
        assert!(server.any_certificate && !format!("{server:?}").contains("p@ss"));
        assert_eq!(
            CacheUrl::parse("REDIS_URL"),
            Ok(CacheUrl::Variable("REDIS_URL".to_owned()))
        );
    }

    #[test]
    fn a_wrong_address_is_refused_and_its_password_not_repeated() {
        for wrong in [
            "cache:6379",
            "http://h",
            "redis://",
            "redis://h:x",
            "redis://h:0",
            "redis://h/x",
            "redis://h?timeout=soon",
            "redis://h?colour=red",
            "redis://h?ssl_cert_reqs=maybe",
            "unix://run/x",
            "redis://:%zz@h",
            "redis://:%+f@h",
            "redis_url",
        ] {
            assert!(CacheUrl::parse(wrong).is_err(), "{wrong}");
        }
        assert!(!CacheUrl::blame("redis://:s3cret@h:x").contains("s3cret"));
    }
}
