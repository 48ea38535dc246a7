//! What is answered to a server's requests for authentication. Sans-IO but for the derivation of
//! keys, which goes to a thread of its own. Leaves the messages' way to `handshake`.

use std::cell::RefCell;

use postgres_protocol::authentication::md5_hash;

use super::LoginErrorKind;
use crate::scram::client::{Binding, Challenge, Client, Expected};
use crate::scram::{self, Keys, ScramError};
use crate::target::{AllowedAuth, ChannelBinding, ScramKeys, Secret, salted_md5};
use crate::wire::build;

/// Why the login cannot go on: kind and sentence.
pub(super) type Stop = (LoginErrorKind, String);

/// Who we say to be, with what.
pub(super) struct Credentials<'a> {
    pub(super) user: &'a str,
    pub(super) password: Option<&'a Secret>,
    pub(super) keys: Option<&'a ScramKeys>,
    /// The hash of the password and the user, where only that is known.
    pub(super) md5: Option<&'a Secret>,
    pub(super) allowed: AllowedAuth,
    pub(super) binding: ChannelBinding,
    /// The stream is encrypted.
    pub(super) tls: bool,
    /// `tls-server-end-point` of the server's certificate, if it has one.
    pub(super) end_point: Option<Vec<u8>>,
}

/// Where the exchange stands.
pub(super) enum Auth {
    /// The server has asked for nothing so far.
    Fresh,
    /// It has a password of us.
    Sent,
    /// The first SCRAM message is out.
    ScramFirst(Client, bool),
    /// The proof is out.
    ScramLast(Expected, bool),
    /// The server proved itself; `true` with channel binding.
    ScramDone(bool),
    /// `AuthenticationOk`
    Ok,
}

fn stop<T>(sentence: impl Into<String>) -> Result<T, Stop> {
    Err((LoginErrorKind::Auth, sentence.into()))
}

fn garbled<T>() -> Result<T, Stop> {
    Err((
        LoginErrorKind::Protocol,
        "the server sent an authentication request that makes no sense".to_owned(),
    ))
}

impl Auth {
    /// Takes the body of an authentication request; bytes to be sent are appended to `out`.
    pub(super) async fn step(
        self,
        body: &[u8],
        who: &Credentials<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Self, Stop> {
        let Some((&code, data)) = body.split_first_chunk::<4>() else {
            return garbled();
        };
        match (u32::from_be_bytes(code), self) {
            (0, state) => state.finished(who),
            (3, Self::Fresh) => {
                who.may(AllowedAuth::PASSWORD, "its cleartext password")?;
                build::password(out, &with_nul(who.password()?.expose()));
                Ok(Self::Sent)
            }
            (5, Self::Fresh) => {
                who.may(AllowedAuth::MD5, "an MD5 password")?;
                let Ok(salt) = <[u8; 4]>::try_from(data) else {
                    return garbled();
                };
                let hash = match who.md5 {
                    Some(hash) => salted_md5(hash.expose(), salt),
                    None => md5_hash(who.user.as_bytes(), who.password()?.expose(), salt),
                };
                build::password(out, &with_nul(hash.as_bytes()));
                Ok(Self::Sent)
            }
            (10, Self::Fresh) => who.scram_first(data, out),
            (11, Self::ScramFirst(client, bound)) => {
                let challenge = client.challenge(data).map_err(scram_error)?;
                let keys = who.keys(&challenge).await?;
                let (last, expected) = client.last(&challenge, &keys);
                build::password(out, last.as_bytes());
                Ok(Self::ScramLast(expected, bound))
            }
            (12, Self::ScramLast(expected, bound)) => match expected.check(data) {
                Ok(()) => Ok(Self::ScramDone(bound)),
                Err(_) => stop(
                    "the server accepted the password but could not prove that it knows it: it \
                     may not be the server it claims to be",
                ),
            },
            (2 | 7 | 8 | 9, _) => stop(
                "the server asks for GSSAPI, Kerberos or SSPI, which cannot be used through the \
                 pooler: let pg_hba.conf ask this host for scram-sha-256",
            ),
            (code @ (1 | 4 | 6), _) => stop(format!(
                "the server asks for an authentication method that is no longer in use ({code})"
            )),
            (code, Self::Fresh) if code > 12 => stop(format!(
                "the server asks for an authentication method that is not known here ({code})"
            )),
            _ => garbled(),
        }
    }

    /// `AuthenticationOk` came: whether that is enough.
    fn finished(self, who: &Credentials<'_>) -> Result<Self, Stop> {
        match self {
            Self::Fresh if !who.allowed.allows(AllowedAuth::NONE) => {
                stop("the server let us in without a password, and require_auth forbids that")
            }
            Self::ScramFirst(..) | Self::ScramLast(..) => stop(
                "the server ended the SCRAM exchange before it proved itself: it may not be the \
                 server it claims to be",
            ),
            Self::ScramDone(true) | Self::Ok => Ok(Self::Ok),
            _ if who.binding == ChannelBinding::Require => {
                stop("channel_binding=require, but the server let us in without channel binding")
            }
            _ => Ok(Self::Ok),
        }
    }
}

impl Credentials<'_> {
    /// Whether this method may be used.
    fn may(&self, method: u8, what: &str) -> Result<(), Stop> {
        if !self.allowed.allows(method) {
            return stop(format!(
                "the server asks for {what}, and require_auth forbids that"
            ));
        }
        if self.binding == ChannelBinding::Require {
            return stop(format!(
                "the server asks for {what}, and channel_binding=require allows SCRAM only"
            ));
        }
        Ok(())
    }

    fn password(&self) -> Result<&Secret, Stop> {
        self.password.ok_or_else(|| {
            let sentence = match self.md5 {
                None => "the server asks for a password, and none is given",
                Some(_) => {
                    "the server asks for a password by another way than MD5, and only the MD5 hash of \
                     it is known: put the password into the file of users"
                }
            };
            (LoginErrorKind::Auth, sentence.to_owned())
        })
    }

    /// Chooses a mechanism as libpq does: -PLUS where both sides can.
    fn scram_first(&self, mechanisms: &[u8], out: &mut Vec<u8>) -> Result<Auth, Stop> {
        if !self.allowed.allows(AllowedAuth::SCRAM) {
            return stop("the server asks for SCRAM, and require_auth forbids that");
        }
        let offered: Vec<&[u8]> = mechanisms.split(|&byte| byte == 0).collect();
        let offers = |name: &str| offered.contains(&name.as_bytes());
        let binds = self.binding != ChannelBinding::Disable;
        let (mechanism, binding) = match &self.end_point {
            Some(hash) if binds && offers(scram::PLUS) => {
                (scram::PLUS, Binding::EndPoint(hash.clone()))
            }
            _ if self.binding == ChannelBinding::Require => {
                let why = match (self.tls, offers(scram::PLUS)) {
                    (false, _) => "the connection is not encrypted",
                    (true, false) => "the server does not offer it",
                    (true, true) => "the server's certificate is of a kind that defines none",
                };
                return stop(format!("channel_binding=require, but {why}"));
            }
            _ if !offers(scram::PLAIN) => {
                return stop(
                    "the server offers no SASL mechanism that is known here (SCRAM-SHA-256): \
                     OAuth and others cannot be used through the pooler",
                );
            }
            Some(_) if binds => (scram::PLAIN, Binding::ServerLacks),
            _ => (scram::PLAIN, Binding::None),
        };
        if self.keys.is_none() {
            self.password()?;
        }
        let bound = mechanism == scram::PLUS;
        let client = Client::new(binding).map_err(scram_error)?;
        let first = client.first();
        let length = i32::try_from(first.len()).unwrap_or(0);
        let mut data = with_nul(mechanism.as_bytes());
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(first.as_bytes());
        build::password(out, &data);
        Ok(Auth::ScramFirst(client, bound))
    }

    /// The keys for a challenge: given, known from the last login, or derived beside the thread
    /// that serves everybody else.
    async fn keys(&self, challenge: &Challenge) -> Result<Keys, Stop> {
        if let Some(given) = self.keys {
            return match (
                given.client.expose().try_into(),
                given.server.expose().try_into(),
            ) {
                (Ok(client), Ok(server)) => Ok(Keys { client, server }),
                _ => stop("the SCRAM keys that were given have a wrong length"),
            };
        }
        let password = self.password()?.clone();
        let (salt, iterations) = (challenge.salt.clone(), challenge.iterations);
        let name = name_of(password.expose(), &salt, iterations.get());
        let known = KNOWN.with_borrow(|known| {
            known
                .iter()
                .find(|(other, _)| *other == name)
                .map(|(_, keys)| keys.clone())
        });
        if let Some(keys) = known {
            return Ok(keys);
        }
        let derived =
            tokio::task::spawn_blocking(move || Keys::derive(password.expose(), &salt, iterations));
        let Ok(keys) = derived.await else {
            return stop("the keys for SCRAM could not be derived");
        };
        KNOWN.with_borrow_mut(|known| {
            known.truncate(MOST_KNOWN - 1);
            known.insert(0, (name, keys.clone()));
        });
        Ok(keys)
    }
}

/// A pool logs in again and again with the same password and salt: 4096 rounds once are enough.
const MOST_KNOWN: usize = 16;

thread_local! {
    static KNOWN: RefCell<Vec<(scram::Digest, Keys)>> = const { RefCell::new(Vec::new()) };
}

fn name_of(password: &[u8], salt: &[u8], iterations: u32) -> scram::Digest {
    let mut text = Vec::with_capacity(password.len() + salt.len() + 16);
    for part in [password, salt] {
        text.extend_from_slice(&part.len().to_be_bytes());
        text.extend_from_slice(part);
    }
    text.extend_from_slice(&iterations.to_be_bytes());
    let name = scram::sha256(&text);
    text.fill(0);
    name
}

fn with_nul(text: &[u8]) -> Vec<u8> {
    [text, b"\0"].concat()
}

fn scram_error(error: ScramError) -> Stop {
    let kind = match error {
        ScramError::Malformed(_) | ScramError::Iterations(_) => LoginErrorKind::Protocol,
        ScramError::WrongProof
        | ScramError::Binding(_)
        | ScramError::Refused
        | ScramError::Random => LoginErrorKind::Auth,
    };
    (kind, format!("the login by SCRAM failed: {error}"))
}
