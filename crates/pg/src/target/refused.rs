//! Keywords of libpq that ask for something we cannot do. Dropping them in silence might weaken a
//! connection, so each is refused in a sentence that says what to do instead.

use super::TargetError;

/// A keyword, which of its values are refused, and the rest of the sentence.
type Row = (&'static str, Values, &'static str);

#[derive(Clone, Copy)]
enum Values {
    /// Whatever it is.
    All,
    /// What means yes.
    On,
    /// This one.
    Word(&'static str),
    /// All but this one.
    AllBut(&'static str),
}
use Values::{All, AllBut, On, Word};

const ROWS: [Row; 19] = [
    (
        "service",
        All,
        " is not read here: write out what pg_service.conf says for it",
    ),
    (
        "servicefile",
        All,
        " is not read here: write out what the service in it says",
    ),
    (
        "sslpassword",
        All,
        " is not supported: keep the key unencrypted in a file that only you can read (openssl \
         pkey -in client.key -out plain.key)",
    ),
    (
        "sslcrldir",
        All,
        " is not supported: put the lists into one file and name it in sslcrl",
    ),
    (
        "sslkeylogfile",
        All,
        " would write the keys of the connection to a file: take it out",
    ),
    (
        "sslcertmode",
        Word("require"),
        "=require is not supported: leave the choice to the server (hostssl ... cert)",
    ),
    (
        "requirepeer",
        All,
        " is not supported: use a socket folder that only the server's user can write to",
    ),
    (
        "gssencmode",
        Word("require"),
        "=require is not supported: use sslmode=verify-full for encryption",
    ),
    (
        "gssdelegation",
        On,
        " is not supported: GSSAPI cannot be used through the pooler",
    ),
    (
        "replication",
        On,
        " cannot be used through the pooler: connect to the database directly",
    ),
    (
        "replication",
        Word("database"),
        " cannot be used through the pooler: connect to the database directly",
    ),
    (
        "min_protocol_version",
        AllBut("3.0"),
        " above 3.0 is not supported: the pooler speaks 3.0 to servers",
    ),
    (
        "oauth_issuer",
        All,
        " is not supported: use a password or a client certificate",
    ),
    (
        "oauth_client_id",
        All,
        " is not supported: use a password or a client certificate",
    ),
    (
        "oauth_client_secret",
        All,
        " is not supported: use a password or a client certificate",
    ),
    (
        "oauth_scope",
        All,
        " is not supported: use a password or a client certificate",
    ),
    ("requiressl", All, " is out of date: write sslmode=require"),
    ("authtype", All, " is out of date: take it out"),
    (
        "sslcompression",
        On,
        " is not supported: no TLS library compresses any more",
    ),
];

/// Fails if this keyword may not have this value.
pub(super) fn check(keyword: &str, value: &str) -> Result<(), TargetError> {
    let found = ROWS
        .iter()
        .find(|(name, values, _)| *name == keyword && values.hold(value));
    match found {
        Some((name, _, rest)) => Err(TargetError::new(format!("{name}{rest}"))),
        None => Ok(()),
    }
}

impl Values {
    fn hold(self, value: &str) -> bool {
        match self {
            All => true,
            On => matches!(value, "1" | "true" | "on" | "yes"),
            Word(word) => value == word,
            AllBut(word) => value != word,
        }
    }
}
