//! The way to a server that will do: hosts and their addresses in turn, ways of encryption, the
//! role it must have, and how much of the time each may take. Leaves one login to `handshake`.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

use tokio::time::{Instant, timeout_at};

use super::auth::Credentials;
use super::handshake::{self, Failed, Ready};
use super::secure::{self, Way};
use super::{LoggedIn, LoginError, LoginErrorKind, Place, dial, passfile};
use crate::stream::Stream;
use crate::target::{Host, SessionAttrs, Target, TlsMode};

/// Parameters that a server is opened with unless the target says otherwise: what drivers set
/// first anyway, so that they need not. No `DateStyle`: given here, it would go before the order of
/// day and month that a role or a database has (`ALTER ROLE .. SET datestyle`).
const DEFAULTS: [(&str, &str); 1] = [("client_encoding", "UTF8")];

/// What is wanted, and until when.
pub(super) struct Route<'a> {
    pub(super) target: &'a Target,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
    pub(super) extra: &'a [(String, String)],
    pub(super) deadline: Instant,
}

impl Route<'_> {
    pub(super) async fn run(self) -> Result<LoggedIn, LoginError> {
        let wanted = self.target.target_session_attrs;
        // libpq: first a standby from any of the hosts, then whatever answers.
        let passes: &[SessionAttrs] = match wanted {
            SessionAttrs::PreferStandby => &[SessionAttrs::Standby, SessionAttrs::Any],
            _ => &[wanted],
        };
        let mut failures = Failures::default();
        for (at, attrs) in passes.iter().enumerate() {
            let hosts = shuffled(&self.target.hosts, self.target.shuffle_hosts);
            for (left, host) in (1..=hosts.len()).rev().zip(hosts) {
                let left = left + hosts_of(passes, at) * self.target.hosts.len();
                match self.host(host, *attrs, left).await {
                    Ok(found) => return Ok(found),
                    Err(error) if error.kind.leaves_others() => failures.add(error),
                    Err(error) => return Err(error),
                }
            }
        }
        Err(failures.sum())
    }

    /// Tries the addresses of one host; `left` hosts share the time that is left.
    async fn host(
        &self,
        host: &Host,
        attrs: SessionAttrs,
        left: usize,
    ) -> Result<LoggedIn, LoginError> {
        let share = self.share(left);
        let resolved = match timeout_at(share, dial::resolve(host)).await {
            Ok(Ok(resolved)) => resolved,
            Ok(Err(error)) => {
                let sentence = format!("the name cannot be resolved: {error}");
                return Err(named(host, Failed::new(LoginErrorKind::Dns, sentence)));
            }
            Err(_) => {
                let sentence = "the name was not resolved in time";
                return Err(named(host, Failed::new(LoginErrorKind::Dns, sentence)));
            }
        };
        let mut addrs: Vec<Option<SocketAddr>> = shuffled(&resolved, self.target.shuffle_hosts)
            .into_iter()
            .copied()
            .map(Some)
            .collect();
        if addrs.is_empty() {
            addrs.push(None);
        }
        let mut failures = Failures::default();
        for (others, addr) in (0..addrs.len()).rev().zip(addrs) {
            let until = self.share(left + others);
            match self.address(host, addr, attrs, until).await {
                Ok((ready, tls)) => {
                    return Ok(LoggedIn {
                        stream: ready.messages.stream,
                        params: ready.params,
                        key: ready.key,
                        at: Place {
                            host: host.clone(),
                            addr,
                            resolved,
                            tls,
                        },
                    });
                }
                Err(failed) => {
                    let error = named(host, failed);
                    if !error.kind.leaves_others() {
                        return Err(error);
                    }
                    failures.add(error);
                }
            }
        }
        Err(failures.sum())
    }

    /// When an attempt must end so that `left` attempts get equal parts of the time.
    fn share(&self, left: usize) -> Instant {
        let now = Instant::now();
        let rest = self.deadline.saturating_duration_since(now);
        let part = rest / u32::try_from(left.max(1)).unwrap_or(u32::MAX);
        let own = self
            .target
            .connect_timeout
            .map_or(rest, |own| own.min(rest));
        now + if left > 1 { own.min(part) } else { own }
    }

    /// One address, encrypted or not as `sslmode` and the server agree.
    async fn address(
        &self,
        host: &Host,
        addr: Option<SocketAddr>,
        attrs: SessionAttrs,
        until: Instant,
    ) -> Result<(Ready, bool), Failed> {
        // libpq: sslmode is ignored for unix sockets.
        let ways: &[Way] = match (addr, self.target.tls.mode) {
            (None, _) | (_, TlsMode::Disable) => &[Way::Plain],
            (_, TlsMode::Allow) => &[Way::Plain, Way::Encrypted],
            (_, TlsMode::Prefer) => &[Way::Either, Way::Plain],
            (_, TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull) => &[Way::Encrypted],
        };
        let mut first_failure: Option<Failed> = None;
        for &way in ways {
            let mut encrypted = false;
            let attempt = self.attempt(host, addr, attrs, way, &mut encrypted);
            let outcome = timeout_at(until, attempt).await.unwrap_or_else(|_| {
                let sentence =
                    "no answer in time: is it a PostgreSQL server, and can it be reached?";
                Err(Failed::new(LoginErrorKind::Timeout, sentence))
            });
            match outcome {
                Ok(ready) => return Ok((ready, encrypted)),
                Err(failed) if may_try_another_way(&failed, way, encrypted) => {
                    first_failure.get_or_insert(failed);
                }
                // What the first way met says more than that the second was refused, too.
                Err(failed) => return Err(first_failure.unwrap_or(failed)),
            }
        }
        let none = || Failed::new(LoginErrorKind::Tls, "there is no way to encrypt");
        Err(first_failure.unwrap_or_else(none))
    }

    async fn attempt(
        &self,
        host: &Host,
        addr: Option<SocketAddr>,
        attrs: SessionAttrs,
        way: Way,
        encrypted: &mut bool,
    ) -> Result<Ready, Failed> {
        let dialled = match addr {
            Some(addr) => dial::tcp(addr, &self.target.tcp).await,
            None => dial::unix(&host.socket_path().unwrap_or_default()).await,
        };
        let stream = dialled.map_err(|error| unreachable(&error))?;
        // From here on a failure may be due to TLS.
        *encrypted = way != Way::Plain;
        let stream = secure::open(stream, self.target, host, way).await?;
        *encrypted = stream.is_tls();
        let mut ready = self.login(stream, host).await?;
        if has_role(&mut ready, attrs).await? {
            return Ok(ready);
        }
        let sentence = format!("it is up, but not {}", role_name(attrs));
        Err(Failed::new(LoginErrorKind::WrongRole, sentence))
    }

    async fn login(&self, stream: Stream, host: &Host) -> Result<Ready, Failed> {
        let from_file = match (&self.target.password, &self.target.passfile) {
            (None, Some(file)) => passfile::find(file, host, self.database, self.user),
            _ => None,
        };
        let who = Credentials {
            user: self.user,
            password: self.target.password.as_ref().or(from_file.as_ref()),
            keys: self.target.scram_keys.as_ref(),
            md5: self.target.md5.as_ref(),
            allowed: self.target.auth,
            binding: self.target.tls.channel_binding,
            tls: stream.is_tls(),
            end_point: secure::end_point(&stream),
        };
        handshake::handshake(stream, self.params(), &who).await
    }

    /// Start-up parameters, each name once: ours, the target's, the caller's, the last one wins.
    fn params(&self) -> Vec<(&str, &str)> {
        let mut params: Vec<(&str, &str)> = vec![("user", self.user), ("database", self.database)];
        let given = self.target.params.iter().chain(self.extra);
        let given = given.map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in DEFAULTS.into_iter().chain(given) {
            params.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            params.push((name, value));
        }
        params
    }
}

/// Attempts of later passes, in passes.
fn hosts_of(passes: &[SessionAttrs], at: usize) -> usize {
    passes.len().saturating_sub(at + 1)
}

/// libpq tries the other way when TLS itself failed, or when the server refused before it asked
/// who we are (`hostssl` and `hostnossl` lines). Full or starting servers are so either way.
fn may_try_another_way(failed: &Failed, way: Way, encrypted: bool) -> bool {
    let other_is_different = match way {
        Way::Plain => true,
        Way::Either => encrypted,
        Way::Encrypted => false,
    };
    let is_passing = matches!(
        failed.kind,
        LoginErrorKind::TooMany | LoginErrorKind::StartingUp
    );
    failed.other_way && other_is_different && !is_passing
}

fn unreachable(error: &std::io::Error) -> Failed {
    let kind = match error.kind() {
        std::io::ErrorKind::TimedOut => LoginErrorKind::Timeout,
        _ => LoginErrorKind::Refused,
    };
    Failed::new(kind, format!("cannot connect: {error}"))
}

/// Whether the server is what `target_session_attrs` asks for. Servers from version 14 on report
/// it; older ones are asked, in libpq's words.
async fn has_role(ready: &mut Ready, attrs: SessionAttrs) -> Result<bool, Failed> {
    let reported = |ready: &Ready, name: &str| {
        ready
            .params
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value == "on")
    };
    let read_only = reported(ready, "default_transaction_read_only");
    let standby = reported(ready, "in_hot_standby");
    match attrs {
        SessionAttrs::Any | SessionAttrs::PreferStandby => Ok(true),
        SessionAttrs::ReadWrite | SessionAttrs::ReadOnly => {
            let is_read_only = if let (Some(read_only), Some(standby)) = (read_only, standby) {
                read_only || standby
            } else {
                let answer = handshake::ask(ready, "SHOW transaction_read_only").await?;
                answer.as_deref() == Some("on")
            };
            Ok(is_read_only == (attrs == SessionAttrs::ReadOnly))
        }
        SessionAttrs::Primary | SessionAttrs::Standby => {
            let is_standby = if let Some(standby) = standby {
                standby
            } else {
                let sql = "SELECT pg_catalog.pg_is_in_recovery()";
                handshake::ask(ready, sql).await?.as_deref() == Some("t")
            };
            Ok(is_standby == (attrs == SessionAttrs::Standby))
        }
    }
}

fn role_name(attrs: SessionAttrs) -> &'static str {
    match attrs {
        SessionAttrs::ReadWrite => "writable (target_session_attrs=read-write)",
        SessionAttrs::ReadOnly => "read-only (target_session_attrs=read-only)",
        SessionAttrs::Primary => "the primary (target_session_attrs=primary)",
        SessionAttrs::Standby => "a standby (target_session_attrs)",
        SessionAttrs::Any | SessionAttrs::PreferStandby => "what was asked for",
    }
}

fn named(host: &Host, failed: Failed) -> LoginError {
    LoginError {
        kind: failed.kind,
        sql: failed.sql,
        message: format!("{host}: {}", failed.sentence),
    }
}

/// `load_balance_hosts=random`
fn shuffled<T>(items: &[T], shuffle: bool) -> Vec<&T> {
    let mut order: Vec<&T> = items.iter().collect();
    if shuffle {
        let seed = RandomState::new();
        for at in (1..order.len()).rev() {
            let other = seed.hash_one(at) % (at as u64 + 1);
            order.swap(at, usize::try_from(other).unwrap_or(0));
        }
    }
    order
}

/// What the hosts said, one after the other.
#[derive(Default)]
struct Failures(Vec<LoginError>);

impl Failures {
    /// More than these help nobody to see what is wrong.
    const SHOWN: usize = 4;

    fn add(&mut self, error: LoginError) {
        self.0.push(error);
    }

    /// One error for all: the kind that promises most, everybody's sentences.
    fn sum(mut self) -> LoginError {
        let mut sentences: Vec<&str> = self.0.iter().map(|error| error.message.as_str()).collect();
        sentences.dedup();
        let hidden = sentences.len().saturating_sub(Self::SHOWN);
        sentences.truncate(Self::SHOWN);
        let mut message = sentences.join("; ");
        if hidden > 0 {
            message = format!("{message}; and {hidden} more");
        }
        let promise = |kind| match kind {
            LoginErrorKind::StartingUp => 3,
            LoginErrorKind::WrongRole => 2,
            LoginErrorKind::Timeout | LoginErrorKind::Gone | LoginErrorKind::Protocol => 1,
            _ => 0,
        };
        self.0.sort_by_key(|error| promise(error.kind));
        match self.0.pop() {
            Some(best) => LoginError { message, ..best },
            None => LoginError {
                kind: LoginErrorKind::Refused,
                sql: None,
                message: "no host is given".to_owned(),
            },
        }
    }
}
