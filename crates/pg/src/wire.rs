//! Messages of the PostgreSQL protocol: framing, the few heads we look into, what we send.
//!
//! Owns the bytes of protocol 3.0 and 3.2. What a message means for a session is the relay's;
//! sockets are the session's. Nothing here does I/O.

pub mod build;
pub mod error;
pub mod frame;
pub mod message;
pub mod startup;

use canter_base::secret::constant_time_eq;

pub use error::{Diagnostic, SqlError};

/// What a client presents to cancel a statement: ours towards clients, the server's towards us.
/// Protocol 3.0 has four secret bytes, 3.2 up to 256.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BackendKey {
    /// The process id that goes with it.
    pub pid: i32,
    /// The secret, 4 to 256 bytes.
    pub secret: Box<[u8]>,
}

impl BackendKey {
    /// How short and long a secret may be.
    pub const SECRET_LENGTHS: std::ops::RangeInclusive<usize> = 4..=256;

    /// A key, unless the secret has a length the protocol does not know.
    pub fn new(pid: i32, secret: &[u8]) -> Option<Self> {
        Self::SECRET_LENGTHS.contains(&secret.len()).then(|| Self {
            pid,
            secret: secret.into(),
        })
    }

    /// Decodes the body of a `BackendKeyData` message.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (pid, secret) = body.split_first_chunk()?;
        Self::new(i32::from_be_bytes(*pid), secret)
    }

    /// Whether both are the same, in a time that depends on the lengths only.
    pub fn matches(&self, other: &Self) -> bool {
        self.pid == other.pid && constant_time_eq(&self.secret, &other.secret)
    }
}

impl std::fmt::Debug for BackendKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BackendKey({}, ***)", self.pid)
    }
}

/// What a `ReadyForQuery` says of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TxStatus {
    /// No transaction is open.
    #[default]
    Idle,
    /// One is open.
    Open,
    /// One is open and has failed.
    Failed,
}

impl TxStatus {
    /// From the status byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::Open),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    /// The status byte.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Open => b'T',
            Self::Failed => b'E',
        }
    }
}
