//! Where a database is and how to reach it: the one type that a URL, a connection string and a
//! registration all become. Every keyword of libpq is understood or refused by name.
//! Pure: reads no file and no environment; the sender resolves service and password files.

mod hosts;
mod keywords;
mod refused;
mod secret;
mod text;
mod url;
mod values;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use secret::Secret;

/// A database and how to reach it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Tried in this order (or shuffled), as libpq does; never empty.
    pub hosts: Vec<Host>,
    /// The database to open; as libpq, the user's name when it was not given.
    pub dbname: String,
    /// The role to log in as.
    pub user: String,
    /// `None` when none was given.
    pub password: Option<Secret>,
    /// Keys that stand in for the password (`scram_client_key` and `scram_server_key`).
    pub scram_keys: Option<ScramKeys>,
    /// What stands in for the password where the server asks for MD5: `md5` and 32 hexadecimal digits
    /// over password and user.
    pub md5: Option<Secret>,
    /// `passfile`, asked for a password at each login when none was given.
    pub passfile: Option<PathBuf>,
    /// Whether and how the connection is encrypted and who is believed.
    pub tls: Tls,
    /// Which authentication methods the server may ask for (`require_auth`).
    pub auth: AllowedAuth,
    /// `None` leaves the bound to the caller. libpq's `connect_timeout`, for each address.
    pub connect_timeout: Option<Duration>,
    /// Start-up parameters: `application_name`, and each setting of `options`.
    pub params: Vec<(String, String)>,
    /// Which of the hosts will do.
    pub target_session_attrs: SessionAttrs,
    /// `load_balance_hosts=random`.
    pub shuffle_hosts: bool,
    /// TCP keep-alive and `tcp_user_timeout`.
    pub tcp: TcpOptions,
}

/// One place where a server may listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// Where to connect to.
    pub addr: Addr,
    /// The port; for a unix socket the last part of its name.
    pub port: u16,
}

/// The kinds of address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Addr {
    /// A host name, looked up at each connect.
    Name(String),
    /// A number, with the name that its certificate is checked against (`host` beside `hostaddr`).
    Ip(IpAddr, Option<String>),
    /// The folder of a unix socket, or `@name` for one in the abstract namespace.
    Unix(PathBuf),
}

/// What a SCRAM login needs instead of a password: RFC 5802's `ClientKey` and `ServerKey`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScramKeys {
    /// Proves who we are.
    pub client: Secret,
    /// Proves who the server is.
    pub server: Secret,
}

/// What a client's login at a door left us to log in with in its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Its password.
    Password(Secret),
    /// The keys of its SCRAM exchange, which do for servers that keep the same verifier.
    Keys(ScramKeys),
    /// The MD5 hash of its password and name, which does for servers that ask for MD5.
    Md5(Secret),
}

/// The outer round of MD5 authentication, over the stored hash (with or without its `md5`) and the salt.
pub(crate) fn salted_md5(stored: &[u8], salt: [u8; 4]) -> String {
    let inner = stored.strip_prefix(b"md5").unwrap_or(stored);
    postgres_protocol::password::md5(&[inner, &salt].concat(), "")
}

/// Encryption and whom to believe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// `sslmode`
    pub mode: TlsMode,
    /// `sslnegotiation`
    pub negotiation: Negotiation,
    /// `sslrootcert`
    pub roots: Roots,
    /// `sslcrl`
    pub crl: Option<PathBuf>,
    /// `sslcert`: PEM file with the chain shown to the server.
    pub cert: Option<PathBuf>,
    /// `sslkey`: PEM file with its unencrypted key.
    pub key: Option<PathBuf>,
    /// `sslsni`: whether the host's name is sent in clear.
    pub no_sni: bool,
    /// `ssl_min_protocol_version=TLSv1.3`
    pub only_tls13: bool,
    /// `ssl_max_protocol_version=TLSv1.2`
    pub only_tls12: bool,
    /// `channel_binding`
    pub channel_binding: ChannelBinding,
}

/// `sslmode`, in order of strictness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsMode {
    /// Never TLS.
    Disable,
    /// Plain first; TLS if the server insists.
    Allow,
    /// TLS first; plain if the server has none.
    #[default]
    Prefer,
    /// TLS or nothing; the certificate is checked only if a root file is there.
    Require,
    /// TLS, and the certificate's chain is checked.
    VerifyCa,
    /// TLS, and the certificate's chain and name are checked.
    VerifyFull,
}

/// `sslnegotiation`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Negotiation {
    /// Ask in PostgreSQL's own words, then TLS.
    #[default]
    Postgres,
    /// TLS from the first byte (PostgreSQL 17), told apart by ALPN.
    Direct,
}

/// `sslrootcert`
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Roots {
    /// Not given. The sender names libpq's `~/.postgresql/root.crt` where that exists.
    #[default]
    Unset,
    /// The authorities this system trusts.
    System,
    /// A PEM file.
    File(PathBuf),
}

/// `channel_binding`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChannelBinding {
    /// Never used.
    Disable,
    /// Used where it can be.
    #[default]
    Prefer,
    /// The login fails without it.
    Require,
}

/// `target_session_attrs`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SessionAttrs {
    /// Whatever answers.
    #[default]
    Any,
    /// Accepts writes by default.
    ReadWrite,
    /// Refuses writes by default.
    ReadOnly,
    /// Not in recovery.
    Primary,
    /// In recovery.
    Standby,
    /// In recovery if one of them is, else any.
    PreferStandby,
}

/// Which authentication requests of the server are answered (`require_auth`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AllowedAuth(u8);

impl AllowedAuth {
    /// The server asks for nothing.
    pub const NONE: u8 = 1;
    /// Cleartext password.
    pub const PASSWORD: u8 = 2;
    /// MD5 password.
    pub const MD5: u8 = 4;
    /// SCRAM-SHA-256, with or without channel binding.
    pub const SCRAM: u8 = 8;
    const ALL: u8 = 15;

    /// Whether the method (one of the constants) may be used.
    pub fn allows(self, method: u8) -> bool {
        self.0 & method != 0
    }
}

impl Default for AllowedAuth {
    fn default() -> Self {
        Self(Self::ALL)
    }
}

impl fmt::Debug for AllowedAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04b}", self.0)
    }
}

/// What is set on a TCP socket; `None` leaves the system's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpOptions {
    /// `keepalives`
    pub keepalive: bool,
    /// `keepalives_idle`
    pub idle: Option<Duration>,
    /// `keepalives_interval`
    pub interval: Option<Duration>,
    /// `keepalives_count`
    pub count: Option<u32>,
    /// `tcp_user_timeout`
    pub user_timeout: Option<Duration>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            keepalive: true,
            idle: None,
            interval: None,
            count: None,
            user_timeout: None,
        }
    }
}

/// A stable name for equal targets that says nothing about their contents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId([u8; 16]);

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for TargetId {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError::new("a target id is 32 hexadecimal digits");
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u128::from_str_radix(text, 16)
            .map(|n| Self(n.to_be_bytes()))
            .map_err(|_| wrong())
    }
}

/// Why a connection string was refused: one sentence that says what to do. Never quotes a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetError(String);

impl TargetError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TargetError {}

impl Target {
    /// Reads a `postgresql://` URL or a `host=... dbname=...` string.
    pub fn from_text(text: &str) -> Result<Self, TargetError> {
        Self::from_text_with(&[], text)
    }

    /// Reads a URL: `postgresql://user:password@host:port/dbname?keyword=value`.
    pub fn from_url(url: &str) -> Result<Self, TargetError> {
        Self::from_pairs(url::split(url)?)
    }

    /// Reads keywords and values; a later value of a keyword replaces an earlier one.
    pub fn from_pairs<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, TargetError>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        keywords::build(pairs)
    }

    /// Reads a URL or a string on top of `defaults` (the user, the database, files in the home
    /// folder): what the text says wins.
    pub fn from_text_with(defaults: &[(&str, &str)], text: &str) -> Result<Self, TargetError> {
        let pairs = if text.contains("://") {
            url::split(text)?
        } else {
            text::split(text)?
        };
        let defaults = defaults.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
        Self::from_pairs(defaults.chain(pairs))
    }

    /// The same for equal targets as long as this process lives, and useless to anybody who
    /// wants to learn what is in it.
    pub fn id(&self) -> TargetId {
        secret::id(self)
    }

    /// The same place for another role, with what its login at a door revealed. A hash, which proves the least,
    /// comes beside the keys that the target has for its own user.
    #[must_use]
    pub fn for_user(&self, user: &str, login: Option<&Credential>) -> Self {
        let (mut password, mut scram_keys, mut md5) = (None, None, None);
        match login {
            Some(Credential::Password(given)) => password = Some(given.clone()),
            Some(Credential::Keys(given)) => scram_keys = Some(given.clone()),
            Some(Credential::Md5(given)) => {
                md5 = Some(given.clone());
                scram_keys = self.scram_keys.clone().filter(|_| user == self.user);
            }
            None => {}
        }
        Self {
            user: user.to_owned(),
            password,
            scram_keys,
            md5,
            ..self.clone()
        }
    }

    /// Where it is, without secrets: `db.example.com:5432/shop`.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        format!("{}/{}", hosts.join(","), self.dbname)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Target({} as {}, {:?})",
            self.describe(),
            self.user,
            self.tls.mode
        )
    }
}

impl Host {
    /// The name a certificate must bear, if one is known.
    pub fn name(&self) -> Option<&str> {
        match &self.addr {
            Addr::Name(name) | Addr::Ip(_, Some(name)) => Some(name),
            Addr::Ip(_, None) | Addr::Unix(_) => None,
        }
    }

    /// The path of the unix socket, if it is one.
    pub fn socket_path(&self) -> Option<PathBuf> {
        match &self.addr {
            Addr::Unix(folder) => Some(socket_path(folder, self.port)),
            _ => None,
        }
    }
}

fn socket_path(folder: &Path, port: u16) -> PathBuf {
    let name = format!(".s.PGSQL.{port}");
    folder.join(name)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.addr {
            Addr::Name(name) | Addr::Ip(_, Some(name)) => write!(f, "{name}:{}", self.port),
            Addr::Ip(IpAddr::V6(ip), None) => write!(f, "[{ip}]:{}", self.port),
            Addr::Ip(ip, None) => write!(f, "{ip}:{}", self.port),
            Addr::Unix(folder) => write!(f, "{}:{}", folder.display(), self.port),
        }
    }
}

#[cfg(test)]
mod tests;
