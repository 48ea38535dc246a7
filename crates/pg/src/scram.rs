//! SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides: keys, verifiers and the text of the messages.
//! Sans-IO. Leaves the choice of the mechanism, and where passwords come from, to `login` and
//! `access`.

pub mod client;
pub mod server;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use canter_base::secret::constant_time_eq;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

/// The mechanism without channel binding.
pub const PLAIN: &str = "SCRAM-SHA-256";
/// The mechanism bound to the TLS channel.
pub const PLUS: &str = "SCRAM-SHA-256-PLUS";
/// What PostgreSQL uses unless told otherwise.
pub const DEFAULT_ITERATIONS: u32 = 4096;
/// Each iteration costs two blocks of SHA-256; more than this only keeps a processor busy, which
/// a hostile server could ask for (CVE-2026-42198 of pgjdbc, whose bound this is).
pub const MAX_ITERATIONS: u32 = 100_000;
/// No message of an honest exchange comes near.
const MAX_MESSAGE: usize = 4096;

/// 32 bytes of SHA-256.
pub type Digest = [u8; 32];

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// A message that is not as RFC 5802 says; what is wrong with it.
    Malformed(&'static str),
    /// The proof does not fit: wrong password, or another channel.
    WrongProof,
    /// The channel binding is not what it should be: somebody may sit in the middle.
    Binding(&'static str),
    /// The server asks for so many iterations, or for none.
    Iterations(u32),
    /// The other side says that it failed, in RFC 5802's word where it is a known one.
    Refused,
    /// The system gives no randomness.
    Random,
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed SCRAM message: {what}"),
            Self::WrongProof => f.write_str("the proof does not fit"),
            Self::Binding(what) => write!(f, "SCRAM channel binding: {what}"),
            Self::Iterations(count) => write!(
                f,
                "{count} iterations of SCRAM are asked for; 1 to {MAX_ITERATIONS} are accepted"
            ),
            Self::Refused => f.write_str("the other side ended the SCRAM exchange"),
            Self::Random => f.write_str("the system gives no random numbers"),
        }
    }
}

impl std::error::Error for ScramError {}

/// What proves both sides to each other, made from the password once.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// RFC 5802's `ClientKey`.
    pub client: Digest,
    /// RFC 5802's `ServerKey`.
    pub server: Digest,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl Keys {
    /// Derives them. Slow on purpose: keep it off the thread that serves others.
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = [0; 32];
        let password = prepare(password);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            salt,
            &password,
            &mut salted,
        );
        let keys = Self {
            client: hmac(&salted, b"Client Key"),
            server: hmac(&salted, b"Server Key"),
        };
        salted.fill(0);
        keys
    }
}

/// What a server keeps instead of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// How often the hash was applied.
    pub iterations: u32,
    /// What was mixed in.
    pub salt: Vec<u8>,
    /// The hash of the `ClientKey`.
    pub stored: Digest,
    /// The `ServerKey`.
    pub server: Digest,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} iterations, ***)", self.iterations)
    }
}

impl Verifier {
    /// A fresh one for a password.
    pub fn from_password(password: &[u8]) -> Result<Self, ScramError> {
        let mut salt = vec![0; 16];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| ScramError::Random)?;
        let iterations = NonZeroU32::MIN.saturating_add(DEFAULT_ITERATIONS - 1);
        let keys = Keys::derive(password, &salt, iterations);
        Ok(Self {
            iterations: iterations.get(),
            salt,
            stored: sha256(&keys.client),
            server: keys.server,
        })
    }

    /// Whether it is of this password. Slow on purpose, like `Keys::derive`.
    pub fn fits(&self, password: &[u8]) -> bool {
        NonZeroU32::new(self.iterations).is_some_and(|iterations| {
            let keys = Keys::derive(password, &self.salt, iterations);
            constant_time_eq(&keys.server, &self.server)
        })
    }

    /// PostgreSQL's own notation: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    pub fn parse(text: &str) -> Option<Self> {
        let (counts, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = counts.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations = iterations.parse().ok()?;
        let key = |text: &str| Digest::try_from(BASE64.decode(text).ok()?).ok();
        (1..=MAX_ITERATIONS).contains(&iterations).then_some(())?;
        Some(Self {
            iterations,
            salt: BASE64.decode(salt).ok().filter(|salt| !salt.is_empty())?,
            stored: key(stored)?,
            server: key(server)?,
        })
    }

    /// One that nobody's password fits and that looks like any other: the same salt each time for
    /// the same user, so that asking twice tells nothing (RFC 5802 section 7, PostgreSQL's
    /// "mock" exchange).
    pub fn mock(secret: &[u8], user: &str) -> Self {
        let seeded = |what: &[u8]| {
            let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
            context.update(what);
            context.update(user.as_bytes());
            digest_of(context.sign().as_ref())
        };
        Self {
            iterations: DEFAULT_ITERATIONS,
            salt: seeded(b"salt").get(..16).unwrap_or_default().to_vec(),
            stored: seeded(b"stored"),
            server: seeded(b"server"),
        }
    }
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> Digest {
    digest_of(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    digest_of(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn digest_of(bytes: &[u8]) -> Digest {
    bytes.first_chunk().copied().unwrap_or_default()
}

fn xor(a: &Digest, b: &Digest) -> Digest {
    std::array::from_fn(|at| a[at] ^ b[at])
}

/// `SASLprep` (RFC 4013); what it refuses is taken as it is, as PostgreSQL does.
fn prepare(password: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(password).map(stringprep::saslprep) {
        Ok(Ok(Cow::Owned(text))) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(password),
    }
}

/// 18 random bytes as printable text.
fn nonce() -> Result<String, ScramError> {
    let mut bytes = [0; 18];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| ScramError::Random)?;
    Ok(BASE64.encode(bytes))
}

/// A message as text, bounded.
fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MAX_MESSAGE {
        return Err(ScramError::Malformed("it is too long"));
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("it is no UTF-8"))
}

/// Takes `name=value` from the front, and the comma behind it if there is one.
fn attribute<'a>(rest: &mut &'a str, name: char) -> Result<&'a str, ScramError> {
    let after = rest
        .strip_prefix(name)
        .and_then(|after| after.strip_prefix('='))
        .ok_or(ScramError::Malformed(
            "an attribute is missing or in the wrong place",
        ))?;
    let (value, after) = after.split_once(',').unwrap_or((after, ""));
    *rest = after;
    Ok(value)
}

fn decode(text: &str) -> Result<Vec<u8>, ScramError> {
    BASE64
        .decode(text)
        .map_err(|_| ScramError::Malformed("base64 is expected"))
}

/// A key given in base64.
pub fn key_from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok().filter(|key| key.len() == 32)
}

#[cfg(test)]
mod tests;
