//! Asking a client for its password: SCRAM-SHA-256 (also -PLUS), MD5, cleartext. Every way to be
//! refused looks the same from outside. Leaves who the users are to `users`.

use canter_base::secret::constant_time_eq;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::password;
use ring::rand::{SecureRandom, SystemRandom};

use super::users::{Entry, Stored};
use super::{Auth, failed};
use crate::scram::server::{Channel, Server};
use crate::scram::{self, Keys, ScramError, Verifier};
use crate::stream::Stream;
use crate::target::{Credential, ScramKeys, Secret, salted_md5};
use crate::wire::{SqlError, build};

/// Longest answer of a client; PostgreSQL's own bound for passwords is 1000 bytes or so.
const MAX_ANSWER: usize = 8192;

/// One client being asked.
pub(super) struct Exchange<'a> {
    pub(super) stream: &'a mut Stream,
    pub(super) user: &'a str,
    pub(super) entry: Entry,
    /// Of our certificate.
    pub(super) end_point: Option<&'a [u8]>,
}

fn protocol(what: &str) -> SqlError {
    SqlError::fatal("08P01", what)
}

impl Exchange<'_> {
    /// Asks; what the client must be told beside `AuthenticationOk` is appended to `greeting`.
    pub(super) async fn run(
        mut self,
        auth: Auth,
        greeting: &mut Vec<u8>,
    ) -> Result<Option<Credential>, SqlError> {
        let stored = self.entry.stored.clone();
        let credential = match (auth, stored.as_deref()) {
            // PostgreSQL does the same under `md5` when it keeps a SCRAM verifier.
            (Auth::Scram, _) | (Auth::Md5, Some(Stored::Scram(_))) => {
                self.scram(stored.as_deref(), greeting).await?
            }
            (Auth::Md5, _) => self.md5(stored.as_deref()).await?,
            _ => self.plain(stored.as_deref()).await?,
        };
        Ok((!self.entry.is_own).then_some(credential))
    }

    fn failed(&self) -> SqlError {
        failed("password authentication", self.user)
    }

    async fn scram(
        &mut self,
        stored: Option<&Stored>,
        greeting: &mut Vec<u8>,
    ) -> Result<Credential, SqlError> {
        let end_point = self.end_point.filter(|_| self.stream.is_tls());
        let mut offer = Vec::with_capacity(64);
        if end_point.is_some() {
            offer.extend_from_slice(scram::PLUS.as_bytes());
            offer.push(0);
        }
        offer.extend_from_slice(scram::PLAIN.as_bytes());
        offer.extend_from_slice(b"\0\0");
        self.ask(10, &offer).await?;
        let first = self.answer().await?;
        let (mechanism, message) = sasl_initial(&first)
            .ok_or_else(|| protocol("malformed SASLInitialResponse message"))?;
        let plus = mechanism == scram::PLUS.as_bytes() && end_point.is_some();
        if !plus && mechanism != scram::PLAIN.as_bytes() {
            return Err(protocol(
                "client selected an invalid SASL authentication mechanism",
            ));
        }
        let verifier = match stored.and_then(Stored::verifier) {
            Some(Ok(verifier)) => verifier,
            Some(Err(error)) => return Err(self.scram_failed(error)),
            None => Verifier::mock(self.entry.mock.expose(), self.user),
        };
        let channel = Channel { plus, end_point };
        let (server, challenge) =
            Server::start(message, verifier, channel).map_err(|error| self.scram_failed(error))?;
        self.ask(11, challenge.as_bytes()).await?;
        let last = self.answer().await?;
        let (signature, Keys { client, server }) = server
            .finish(&last)
            .map_err(|error| self.scram_failed(error))?;
        build::authentication(greeting, 12, signature.as_bytes());
        Ok(match stored {
            Some(Stored::Password(password, _)) => Credential::Password(password.clone()),
            _ => Credential::Keys(ScramKeys {
                client: Secret::new(client),
                server: Secret::new(server),
            }),
        })
    }

    fn scram_failed(&self, error: ScramError) -> SqlError {
        match error {
            ScramError::WrongProof | ScramError::Refused => self.failed(),
            ScramError::Malformed(_) | ScramError::Binding(_) | ScramError::Iterations(_) => {
                protocol(&error.to_string())
            }
            ScramError::Random => SqlError::fatal("58000", error.to_string()),
        }
    }

    async fn md5(&mut self, stored: Option<&Stored>) -> Result<Credential, SqlError> {
        let mut salt = [0; 4];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| SqlError::fatal("58000", ScramError::Random.to_string()))?;
        self.ask(5, &salt).await?;
        let answer = self.answer().await?;
        let user = self.user.as_bytes();
        let expected = match stored {
            Some(Stored::Password(password, _)) => md5_hash(user, password.expose(), salt),
            Some(Stored::Md5(hash)) => salted_md5(hash.expose(), salt),
            // Nobody's: as much work as for a user that exists.
            Some(Stored::Scram(_)) | None => md5_hash(user, self.entry.mock.expose(), salt),
        };
        let fits = constant_time_eq(without_nul(&answer), expected.as_bytes());
        match stored {
            Some(Stored::Password(password, _)) if fits => {
                Ok(Credential::Password(password.clone()))
            }
            Some(Stored::Md5(hash)) if fits => Ok(Credential::Md5(hash.clone())),
            _ => Err(self.failed()),
        }
    }

    async fn plain(&mut self, stored: Option<&Stored>) -> Result<Credential, SqlError> {
        if !self.stream.is_tls() && !self.stream.is_unix() {
            return Err(
                SqlError::fatal("28000", "passwords in clear are taken over TLS only")
                    .hint("Connect with sslmode=require or stricter."),
            );
        }
        self.ask(3, &[]).await?;
        let answer = self.answer().await?;
        let given = Secret::new(without_nul(&answer));
        drop(Secret::new(answer));
        // Hashed first: the time to compare says nothing of how much of it was right.
        let equal = |a: &[u8], b: &[u8]| constant_time_eq(&scram::sha256(a), &scram::sha256(b));
        let fits = match stored {
            Some(Stored::Password(password, _)) => equal(password.expose(), given.expose()),
            Some(Stored::Md5(hash)) => equal(
                password::md5(given.expose(), self.user).as_bytes(),
                hash.expose(),
            ),
            Some(Stored::Scram(verifier)) => is_of(verifier.clone(), given.clone()).await,
            None => false,
        };
        if fits {
            Ok(Credential::Password(given))
        } else {
            Err(self.failed())
        }
    }

    async fn ask(&mut self, code: u32, data: &[u8]) -> Result<(), SqlError> {
        let mut request = Vec::with_capacity(9 + data.len());
        build::authentication(&mut request, code, data);
        self.stream.write_all(&request).await.map_err(|_| left())
    }

    /// The body of the client's next message, which must be of type `p`.
    async fn answer(&mut self) -> Result<Vec<u8>, SqlError> {
        let mut header = [0; 5];
        self.stream
            .read_exact(&mut header)
            .await
            .map_err(|_| left())?;
        let [tag, length @ ..] = header;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if tag == b'X' {
            return Err(left());
        }
        if tag != b'p' || !(4..=4 + MAX_ANSWER).contains(&length) {
            return Err(protocol("expected a password response"));
        }
        let mut body = vec![0; length - 4];
        self.stream
            .read_exact(&mut body)
            .await
            .map_err(|_| left())?;
        Ok(body)
    }
}

/// psql leaves to ask its user; nobody hears this.
fn left() -> SqlError {
    SqlError::fatal("08006", "the client left during authentication")
}

/// `SASLInitialResponse`: the mechanism and its first message.
fn sasl_initial(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, body)?;
    let (mechanism, rest) = body.split_at_checked(end)?;
    let (length, message) = rest.get(1..)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (length == message.len()).then_some((mechanism, message))
}

fn without_nul(answer: &[u8]) -> &[u8] {
    answer.strip_suffix(b"\0").unwrap_or(answer)
}

/// Whether a password is that of a verifier; slow on purpose, so on a thread of its own.
async fn is_of(verifier: Verifier, password: Secret) -> bool {
    let derived = tokio::task::spawn_blocking(move || verifier.fits(password.expose()));
    derived.await.unwrap_or(false)
}
