//! The server's side of SCRAM-SHA-256: finds out whether a client knows the password behind a
//! verifier, and keeps the `ClientKey` that its proof reveals (RFC 5802 section 9), with which we
//! can log in to the database in its name.

use base64::Engine;
use canter_base::secret::constant_time_eq;

use super::{
    BASE64, Digest, Keys, ScramError, Verifier, attribute, decode, hmac, nonce, sha256, text, xor,
};

/// An exchange whose challenge was sent.
pub struct Server {
    verifier: Verifier,
    /// What `c=` must decode to.
    bound: Vec<u8>,
    nonce: String,
    /// client-first-message-bare, a comma, server-first-message.
    signed: String,
}

/// What is said about channel binding at this door.
#[derive(Clone, Copy, Debug)]
pub struct Channel<'a> {
    /// The client chose the -PLUS mechanism.
    pub plus: bool,
    /// `tls-server-end-point` of our certificate; -PLUS was offered when there is one.
    pub end_point: Option<&'a [u8]>,
}

impl Server {
    /// Reads the client-first-message; gives the exchange and the server-first-message.
    pub fn start(
        message: &[u8],
        verifier: Verifier,
        channel: Channel<'_>,
    ) -> Result<(Self, String), ScramError> {
        Self::start_with(message, verifier, channel, &nonce()?)
    }

    pub(super) fn start_with(
        message: &[u8],
        verifier: Verifier,
        channel: Channel<'_>,
        nonce: &str,
    ) -> Result<(Self, String), ScramError> {
        let message = text(message)?;
        let (flag, rest) = message
            .split_once(',')
            .ok_or(ScramError::Malformed("the header is not whole"))?;
        let (identity, bare) = rest
            .split_once(',')
            .ok_or(ScramError::Malformed("the header is not whole"))?;
        if !identity.is_empty() {
            return Err(ScramError::Malformed(
                "acting for another user is not supported",
            ));
        }
        let mut bound = format!("{flag},,").into_bytes();
        match (flag, channel.plus) {
            ("n", false) => {}
            ("y", false) if channel.end_point.is_none() => {}
            ("y", false) => {
                return Err(ScramError::Binding(
                    "the client believes that it is not offered here, but it is",
                ));
            }
            ("p=tls-server-end-point", true) => bound.extend_from_slice(
                channel
                    .end_point
                    .ok_or(ScramError::Binding("no TLS here"))?,
            ),
            _ => {
                return Err(ScramError::Binding(
                    "the mechanism and the message disagree",
                ));
            }
        }
        let mut rest = bare;
        if rest.starts_with("m=") {
            return Err(ScramError::Malformed(
                "a mandatory extension is not supported",
            ));
        }
        // The user's name is that of the start-up packet, as in PostgreSQL.
        attribute(&mut rest, 'n')?;
        let theirs = attribute(&mut rest, 'r')?;
        let printable = theirs.bytes().all(|byte| byte.is_ascii_graphic());
        if theirs.is_empty() || !printable {
            return Err(ScramError::Malformed("the nonce is not printable"));
        }
        let nonce = format!("{theirs}{nonce}");
        let salt = BASE64.encode(&verifier.salt);
        let first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let signed = format!("{bare},{first}");
        Ok((
            Self {
                verifier,
                bound,
                nonce,
                signed,
            },
            first,
        ))
    }

    /// Reads the client-final-message; gives the server-final-message and the client's keys.
    pub fn finish(self, message: &[u8]) -> Result<(String, Keys), ScramError> {
        let message = text(message)?;
        let (without_proof, proof) = message
            .rsplit_once(",p=")
            .ok_or(ScramError::Malformed("the proof is missing"))?;
        let mut rest = without_proof;
        let bound = decode(attribute(&mut rest, 'c')?)?;
        let nonce = attribute(&mut rest, 'r')?;
        if !constant_time_eq(&bound, &self.bound) {
            return Err(ScramError::Binding("it is bound to another channel"));
        }
        if nonce != self.nonce {
            return Err(ScramError::Malformed("the nonce is another one"));
        }
        let proof = Digest::try_from(decode(proof)?)
            .map_err(|_| ScramError::Malformed("the proof has a wrong length"))?;
        let signed = format!("{},{without_proof}", self.signed);
        let client = xor(&proof, &hmac(&self.verifier.stored, signed.as_bytes()));
        if !constant_time_eq(&sha256(&client), &self.verifier.stored) {
            return Err(ScramError::WrongProof);
        }
        let signature = BASE64.encode(hmac(&self.verifier.server, signed.as_bytes()));
        Ok((
            format!("v={signature}"),
            Keys {
                client,
                server: self.verifier.server,
            },
        ))
    }
}
