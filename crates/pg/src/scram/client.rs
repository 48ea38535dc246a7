//! The client's side of SCRAM-SHA-256: proves a password, or the keys made from it, to a server,
//! and checks that the server knew it too.

use canter_base::secret::constant_time_eq;
use std::num::NonZeroU32;

use base64::Engine;

use super::{
    BASE64, Digest, Keys, MAX_ITERATIONS, ScramError, attribute, decode, hmac, nonce, sha256, text,
    xor,
};

/// Whether the exchange is tied to the TLS channel (RFC 5802 section 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// There is no channel, or it must not be used.
    None,
    /// We could, the server says that it cannot: it notices if somebody said so in its place.
    ServerLacks,
    /// Hash of the server's certificate, `tls-server-end-point` (RFC 5929 section 4).
    EndPoint(Vec<u8>),
}

impl Binding {
    fn header(&self) -> &'static str {
        match self {
            Self::None => "n,,",
            Self::ServerLacks => "y,,",
            Self::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }
}

/// An exchange whose first message was made.
pub struct Client {
    binding: Binding,
    nonce: String,
}

/// What the server asks for: enough to derive the keys.
#[derive(Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Mixed into the password.
    pub salt: Vec<u8>,
    /// How often.
    pub iterations: NonZeroU32,
    nonce: String,
    message: String,
}

/// What the server must answer in the end.
pub struct Expected(Digest);

impl Client {
    /// Starts an exchange.
    pub fn new(binding: Binding) -> Result<Self, ScramError> {
        Ok(Self {
            binding,
            nonce: nonce()?,
        })
    }

    #[cfg(test)]
    pub(super) fn with_nonce(binding: Binding, nonce: &str) -> Self {
        Self {
            binding,
            nonce: nonce.to_owned(),
        }
    }

    // PostgreSQL takes the user's name from the start-up packet.
    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// The client-first-message.
    pub fn first(&self) -> String {
        format!("{}{}", self.binding.header(), self.bare())
    }

    /// Reads the server-first-message.
    pub fn challenge(&self, message: &[u8]) -> Result<Challenge, ScramError> {
        let message = text(message)?;
        if message.starts_with("e=") {
            return Err(ScramError::Refused);
        }
        let mut rest = message;
        let nonce = attribute(&mut rest, 'r')?;
        let salt = decode(attribute(&mut rest, 's')?)?;
        let iterations = attribute(&mut rest, 'i')?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(ScramError::Malformed("the nonce is not ours"));
        }
        if salt.is_empty() {
            return Err(ScramError::Malformed("the salt is empty"));
        }
        // As many digits as fit no u32 are too many iterations, too.
        let all_digits = !iterations.is_empty() && iterations.bytes().all(|b| b.is_ascii_digit());
        if !all_digits {
            return Err(ScramError::Malformed("the number of iterations is none"));
        }
        let count = iterations.parse().unwrap_or(u32::MAX);
        let iterations = NonZeroU32::new(count)
            .filter(|iterations| iterations.get() <= MAX_ITERATIONS)
            .ok_or(ScramError::Iterations(count))?;
        Ok(Challenge {
            salt,
            iterations,
            nonce: nonce.to_owned(),
            message: message.to_owned(),
        })
    }

    /// The client-final-message, and what the server has to say to it.
    pub fn last(&self, challenge: &Challenge, keys: &Keys) -> (String, Expected) {
        let mut bound = self.binding.header().as_bytes().to_vec();
        if let Binding::EndPoint(hash) = &self.binding {
            bound.extend_from_slice(hash);
        }
        let without_proof = format!("c={},r={}", BASE64.encode(bound), challenge.nonce);
        let signed = format!("{},{},{without_proof}", self.bare(), challenge.message);
        let signature = hmac(&sha256(&keys.client), signed.as_bytes());
        let proof = BASE64.encode(xor(&keys.client, &signature));
        let expected = Expected(hmac(&keys.server, signed.as_bytes()));
        (format!("{without_proof},p={proof}"), expected)
    }
}

impl Expected {
    /// Checks the server-final-message: an impostor does not know the `ServerKey`.
    pub fn check(&self, message: &[u8]) -> Result<(), ScramError> {
        let mut rest = text(message)?;
        if rest.starts_with("e=") {
            return Err(ScramError::Refused);
        }
        let signature = decode(attribute(&mut rest, 'v')?)?;
        if constant_time_eq(&signature, &self.0) {
            Ok(())
        } else {
            Err(ScramError::WrongProof)
        }
    }
}
