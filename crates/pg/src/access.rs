//! Who may come in at a door: peer credentials, passwords and certificates. One `Access` for each
//! door. Leaves listening to `door` and the rest of a client's life to `session`.

mod arrival;
mod exchange;
mod rules;
#[cfg(test)]
mod tests;
mod users;

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::console::{self, Proved};
use crate::stream::tls::DoorTls;
use crate::stream::{Peer, Stream, x509};
use crate::target::{Credential, Target};
use crate::wire::startup::Startup;
use crate::wire::{SqlError, build};
use canter_base::secret::constant_time_eq;
use exchange::Exchange;
use users::Users;

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// The kernel says that it runs as our user (or root); unix sockets only.
    Peer,
    /// Nothing is asked.
    Trust,
    /// SCRAM-SHA-256, over TLS also -PLUS.
    Scram,
    /// MD5, or SCRAM where only its verifier is known.
    Md5,
    /// Cleartext password; over TLS or a unix socket only.
    Plain,
    /// A TLS client certificate whose common name is the user.
    Cert,
}

impl std::str::FromStr for Auth {
    type Err = String;

    /// The names of `pg_hba.conf` and of PgBouncer's `auth_type`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "peer" => Ok(Self::Peer),
            "trust" => Ok(Self::Trust),
            "scram-sha-256" => Ok(Self::Scram),
            "md5" => Ok(Self::Md5),
            "plain" | "password" => Ok(Self::Plain),
            "cert" => Ok(Self::Cert),
            _ => Err(
                "authentication is one of peer, trust, scram-sha-256, md5, plain and cert"
                    .to_owned(),
            ),
        }
    }
}

/// Where a door is, as far as admission depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A unix socket.
    Unix,
    /// TCP that only this machine reaches.
    Loopback,
    /// TCP that others reach.
    Network,
}

impl Reach {
    /// Of a TCP door at this address.
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.to_canonical().is_loopback() {
            Self::Loopback
        } else {
            Self::Network
        }
    }
}

/// What was asked for at a door; everything has a safe default.
#[derive(Clone, Debug, Default)]
pub struct AccessOptions {
    /// `None`: `Peer` at a unix socket, else `Scram` with the password of the database's URL.
    pub auth: Option<Auth>,
    /// A file of users in PgBouncer's `userlist.txt` format.
    pub users: Option<PathBuf>,
    /// PEM certificate chain and key: the door offers TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// PEM authorities that sign client certificates.
    pub client_ca: Option<PathBuf>,
    /// Clients without TLS are refused (TCP doors).
    pub require_tls: bool,
}

/// The bouncer of one door.
pub struct Access {
    rule: Rule,
    users: RefCell<Users>,
    tls: Option<RefCell<DoorTls>>,
    /// TCP clients must come encrypted.
    require_tls: bool,
}

/// What is asked at a door.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Ask(Auth),
    /// The database itself asks this user for no password. It does so for us, not for everybody
    /// on this machine: only our own programs come in, as its own user.
    Ours(String),
}

/// A client that may come in.
#[derive(Debug)]
pub struct Admitted {
    /// The role it is.
    pub user: String,
    /// The database it wants; as PostgreSQL, its user's name when it did not say.
    pub database: String,
    /// The process at the other end, at a unix socket.
    pub peer: Option<Peer>,
    /// What it let us know to log in in its name, when it is not the target's own user.
    pub credential: Option<Credential>,
    /// Bytes to be sent before anything else: ends with `AuthenticationOk`. Append and send at once.
    pub greeting: Vec<u8>,
    /// What is known of who it is, for the console.
    pub(crate) proved: Proved,
}

impl Access {
    /// Reads the files and settles what is asked at this door; refuses what would let strangers
    /// in, in a sentence that says what to do.
    pub fn new(
        reach: Reach,
        options: &AccessOptions,
        default_target: Option<&Target>,
    ) -> Result<Self, String> {
        rules::settle(reach, options, default_target)
    }

    /// The private door: our own user (or root) by the kernel's word, no password, no TLS.
    pub fn private() -> Self {
        Self {
            rule: Rule::Ask(Auth::Peer),
            users: RefCell::new(Users::default()),
            tls: None,
            require_tls: false,
        }
    }

    /// The default target has changed: its new password counts from now on.
    pub fn set_target(&self, target: &Target) {
        self.users.borrow_mut().set_own(target);
    }

    /// Answers `SSLRequest`, `GSSENCRequest` and direct TLS, and returns the first packet that is none
    /// of them, whole (length, code, body), with the stream it came through. `Ok(None)` when the
    /// client left. A start-up, cancel or registration packet: the caller tells by its code. A
    /// packet of an impossible length is returned as far as it was read, for its error.
    pub async fn first_packet(&self, stream: Stream) -> io::Result<Option<(Stream, Vec<u8>)>> {
        let tls = self.tls.as_ref().filter(|_| !stream.is_unix()).map(|tls| {
            tls.borrow_mut().refresh();
            tls.borrow().clone()
        });
        arrival::first_packet(stream, tls.as_ref()).await
    }

    /// Finds out who the client is. On `Err` the caller sends the error and closes.
    pub async fn admit(
        &self,
        stream: &mut Stream,
        startup: &Startup,
    ) -> Result<Admitted, SqlError> {
        let user = startup.user();
        let peer = stream.peer();
        if self.require_tls && !stream.is_tls() && !stream.is_unix() {
            return Err(SqlError::fatal("28000", "this door asks for TLS")
                .hint("Connect with sslmode=require or stricter."));
        }
        let mut greeting = Vec::with_capacity(512);
        // The target may have got a password since the door was opened.
        let asks_by_now = Rule::Ask(Auth::Scram);
        let rule = match &self.rule {
            Rule::Ours(_) if self.users.borrow().has_any() => &asks_by_now,
            rule => rule,
        };
        let credential = match rule {
            Rule::Ours(own) if user == own && runs_as_us(stream, peer) => None,
            Rule::Ours(own) => return Err(not_ours(user, own)),
            Rule::Ask(Auth::Trust) => self.listed(user),
            Rule::Ask(Auth::Peer) => match peer {
                Some(peer) if is_us(peer.uid) => self.listed(user),
                _ => return Err(failed("Peer authentication", user)),
            },
            Rule::Ask(Auth::Cert) => {
                is_certified(stream, user)?;
                self.listed(user)
            }
            Rule::Ask(auth @ (Auth::Scram | Auth::Md5 | Auth::Plain)) => {
                let entry = self.users.borrow_mut().find(user);
                let tls = self.tls.as_ref();
                let end_point = tls.and_then(|tls| tls.borrow().end_point.clone());
                let end_point = end_point.as_deref();
                let exchange = Exchange {
                    stream,
                    user,
                    entry,
                    end_point,
                };
                exchange.run(*auth, &mut greeting).await?
            }
        };
        let proved = match rule {
            Rule::Ours(_) | Rule::Ask(Auth::Peer) => Proved::Process,
            // Only the admin database makes a difference of it, and looking it up costs time.
            Rule::Ask(Auth::Trust) if console::is_console(startup.database()) => {
                if runs_as_us(stream, peer) {
                    Proved::Process
                } else {
                    Proved::Nothing
                }
            }
            Rule::Ask(Auth::Trust) => Proved::Nothing,
            Rule::Ask(Auth::Scram | Auth::Md5 | Auth::Plain | Auth::Cert) => Proved::User,
        };
        greeting.extend_from_slice(build::AUTHENTICATION_OK);
        Ok(Admitted {
            user: user.to_owned(),
            database: startup.database().to_owned(),
            peer,
            credential,
            greeting,
            proved,
        })
    }

    /// What the file of users has to log in at the server with, for a user who was asked for no
    /// password at this door.
    fn listed(&self, user: &str) -> Option<Credential> {
        self.users.borrow_mut().find(user).credential()
    }
}

/// Whether the program at the other end runs as the user that we run as, or as root: by the word
/// of the kernel, at unix sockets and over loopback.
fn runs_as_us(stream: &Stream, peer: Option<Peer>) -> bool {
    let uid = match (peer, stream.peer_addr(), stream.local_addr()) {
        (Some(peer), _, _) => Some(peer.uid),
        (None, Some(theirs), Some(ours)) => canter_sys::peer::owner(theirs, ours),
        _ => None,
    };
    uid.is_some_and(is_us)
}

fn is_us(uid: u32) -> bool {
    uid == 0 || Some(uid) == own_uid()
}

/// It runs as somebody else, or is not the database's own user.
fn not_ours(user: &str, own: &str) -> SqlError {
    let error = failed("authentication", user);
    if user == own {
        error.hint(
            "The database's URL has no password, so this door is for programs of the same user of \
             this machine only. Put a password into the URL, name a file of users \
             (--db-auth-file), or open the door to all of this machine (--db-auth trust).",
        )
    } else {
        error
    }
}

/// The words PostgreSQL uses; they tell nobody whether the user exists.
fn failed(what: &str, user: &str) -> SqlError {
    let code = if what.starts_with("password") {
        "28P01"
    } else {
        "28000"
    };
    let shown: String = user.chars().take(63).collect();
    SqlError::fatal(code, format!("{what} failed for user \"{shown}\""))
}

/// The chain was checked by TLS; the common name must be the user.
fn is_certified(stream: &Stream, user: &str) -> Result<(), SqlError> {
    let Some(certificate) = stream.peer_certificates().first() else {
        return Err(SqlError::fatal(
            "28000",
            "connection requires a valid client certificate",
        ));
    };
    match x509::common_name(certificate) {
        Some(name) if constant_time_eq(name.as_bytes(), user.as_bytes()) => Ok(()),
        _ => Err(failed("certificate authentication", user)),
    }
}

/// The user we run as, as the kernel would tell the other end of a socket.
fn own_uid() -> Option<u32> {
    static UID: OnceLock<u32> = OnceLock::new();
    if let Some(uid) = UID.get() {
        return Some(*uid);
    }
    let (one, _other) = tokio::net::UnixStream::pair().ok()?;
    let uid = one.peer_cred().ok()?.uid();
    Some(*UID.get_or_init(|| uid))
}
