//! Connecting to a PostgreSQL server and logging in: hosts in turn, TLS as asked for, the method
//! of authentication that the server names, until it is ready for a query. Leaves when to connect
//! and what to do after a failure to the pool.

mod auth;
mod dial;
mod handshake;
mod messages;
mod passfile;
mod route;
mod secure;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::time::{Instant, timeout_at};

use self::route::Route;
use crate::stream::Stream;
use crate::target::{Host, Target};
use crate::wire::{BackendKey, SqlError, build};

/// A connection that said `ReadyForQuery` with no transaction open.
#[derive(Debug)]
pub struct LoggedIn {
    /// Nothing waits in it.
    pub stream: Stream,
    /// What the server reported, in its order.
    pub params: Vec<(String, String)>,
    /// How to cancel what runs on it; a server may have none.
    pub key: Option<BackendKey>,
    /// Where it ended up.
    pub at: Place,
}

/// Where a connection leads: for cancels, and to notice that a name means another address now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The entry of the target.
    pub host: Host,
    /// The address it was at; `None` for a unix socket.
    pub addr: Option<SocketAddr>,
    /// All addresses the name had when it was looked up.
    pub resolved: Vec<SocketAddr>,
    /// Whether the connection is encrypted; a cancel then is too.
    pub tls: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub struct LoginError {
    /// What to do about it.
    pub kind: LoginErrorKind,
    /// The server's own words, if it had any.
    pub sql: Option<SqlError>,
    /// One sentence, with the host and without secrets.
    pub message: String,
}

/// What a failed login means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginErrorKind {
    /// The name has no address.
    Dns,
    /// Nothing listens there, or the network does not lead there.
    Refused,
    /// No answer before the deadline.
    Timeout,
    /// The connection ended in the middle.
    Gone,
    /// TLS failed, or one side insists and the other does not have it.
    Tls,
    /// A wrong password or role, or a method we may not or cannot use.
    Auth,
    /// 53300 and its kin: no connection is free at the server.
    TooMany,
    /// 57P03: it starts up, shuts down or recovers; soon to be tried again.
    StartingUp,
    /// 3D000: the database does not exist.
    NoDatabase,
    /// It is up, but not what `target_session_attrs` asks for.
    WrongRole,
    /// It does not speak the protocol.
    Protocol,
    /// Any other error of the server.
    Other,
}

impl LoginErrorKind {
    /// Whether the next host of the target may do better, as libpq sees it.
    fn leaves_others(self) -> bool {
        match self {
            Self::Dns
            | Self::Refused
            | Self::Timeout
            | Self::Gone
            | Self::StartingUp
            | Self::WrongRole
            | Self::Protocol => true,
            Self::Tls | Self::Auth | Self::TooMany | Self::NoDatabase | Self::Other => false,
        }
    }
}

/// What an SQLSTATE means for the next login.
fn kind_of(code: [u8; 5]) -> LoginErrorKind {
    match &code {
        b"53300" => LoginErrorKind::TooMany,
        b"57P01" | b"57P02" | b"57P03" => LoginErrorKind::StartingUp,
        b"28P01" | b"28000" => LoginErrorKind::Auth,
        b"3D000" => LoginErrorKind::NoDatabase,
        _ => LoginErrorKind::Other,
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LoginError {}

/// Connects and logs in before `deadline`, to the first host that will do. `extra` are start-up
/// parameters; they win over those of the target.
pub async fn connect(
    target: &Target,
    database: &str,
    user: &str,
    extra: &[(String, String)],
    deadline: Instant,
) -> Result<LoggedIn, LoginError> {
    Route {
        target,
        database,
        user,
        extra,
        deadline,
    }
    .run()
    .await
}

/// Asks the server at `place` to cancel what runs under `key`; returns when it has taken notice.
pub async fn send_cancel(
    target: &Target,
    place: &Place,
    key: &BackendKey,
    deadline: Instant,
) -> io::Result<()> {
    let cancel = async {
        let stream = match place.addr {
            Some(addr) => dial::tcp(addr, &target.tcp).await?,
            None => dial::unix(&place.host.socket_path().unwrap_or_default()).await?,
        };
        let mut stream = if place.tls {
            let way = secure::Way::Encrypted;
            let opened = secure::open(stream, target, &place.host, way).await;
            opened.map_err(|failed| io::Error::other(failed.sentence))?
        } else {
            stream
        };
        let mut request = Vec::with_capacity(16 + key.secret.len());
        build::cancel_request(&mut request, key);
        stream.write_all(&request).await?;
        // The server closes when the signal is sent; before that, the next statement might be
        // the one it hits.
        let mut rest = [0; 64];
        while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        Ok(())
    };
    timeout_at(deadline, cancel)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
