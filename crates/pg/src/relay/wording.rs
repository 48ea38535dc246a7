//! Names of ours in the words of a server.
//!
//! Owns turning them into those that the client gave, so that an error reads as from a server of its
//! own.

use std::rc::Rc;

use super::owed::Owed;
use super::{Relay, Statement};
use crate::wire::{Diagnostic, build};

/// How every name of ours begins. A client's own name never reaches one of them.
pub(super) const OURS: &[u8] = b"canter_";

/// A name that no statement has stands for the unnamed statement where there is none; with another
/// name behind it, for that one, which is not the client's to use.
pub(super) const NOBODYS: &[u8] = b"canter_?";

/// What is asked for instead of `name`, which is one of ours.
pub(super) fn nobodys(name: &[u8]) -> Vec<u8> {
    [NOBODYS, name].concat()
}

impl Relay {
    /// The `ErrorResponse` for the client, if there are names of ours in this one, which answers the
    /// oldest request.
    pub(super) fn in_own_words(&self, body: &[u8]) -> Option<Vec<u8>> {
        memchr::memmem::find(body, OURS)?;
        let (server, client) = match self.owed.front() {
            Some(Owed::Deallocate(gone)) => (gone.1.statement.name(), &*gone.0),
            Some(Owed::BindShared(statement)) => (statement.name(), &b""[..]),
            owed => match owed.and_then(Owed::statement) {
                Some(statement) => (statement.name(), self.name_of(statement)?),
                None => (NOBODYS, &b""[..]),
            },
        };
        let mut out = Vec::new();
        build::message(&mut out, b'E', |out| {
            for (tag, value) in Diagnostic(body).fields() {
                out.push(tag);
                match tag {
                    b'M' if is_unnamed(value) => {
                        build::cstr(out, b"unnamed prepared statement does not exist");
                    }
                    b'M' | b'D' | b'H' => build::cstr(out, &replaced(value, server, client)),
                    _ => build::cstr(out, value),
                }
            }
            out.push(0);
        });
        Some(out)
    }

    /// What the client calls it, or one with the same text.
    fn name_of(&self, statement: &Rc<Statement>) -> Option<&[u8]> {
        let same = |known: &Rc<Statement>| {
            Rc::ptr_eq(known, statement)
                || known.text() == statement.text() && known.types() == statement.types()
        };
        let mut names = self.names.iter();
        names
            .find(|(_, known)| same(&known.statement))
            .map(|(name, _)| &**name)
    }
}

/// The end of a name in a message: whatever marks the server's language puts around it.
fn ends(text: &[u8], from: usize) -> bool {
    text.get(from)
        .is_none_or(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')))
}

fn is_unnamed(text: &[u8]) -> bool {
    memchr::memmem::find(text, NOBODYS).is_some_and(|at| {
        let end = at + NOBODYS.len();
        ends(text, end) && text.get(end).is_some_and(|byte| *byte != b'?')
    })
}

/// The text with the client's name in place of the server's.
fn replaced(text: &[u8], server: &[u8], client: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut from = 0;
    for at in memchr::memmem::find_iter(text, server) {
        let end = at + server.len();
        if server == NOBODYS || ends(text, end) {
            out.extend_from_slice(text.get(from..at).unwrap_or_default());
            out.extend_from_slice(client);
            from = end;
        }
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_become_the_clients() {
        let rows: [(&str, &[u8], &str, &str); 4] = [
            (
                "\"canter_1\" not \"canter_12\"",
                b"canter_1",
                "s",
                "\"s\" not \"canter_12\"",
            ),
            (
                "statement \"canter_?canter_7\"",
                NOBODYS,
                "",
                "statement \"canter_7\"",
            ),
            ("»canter_3«", b"canter_3", "größe", "»größe«"),
            ("nothing", NOBODYS, "", "nothing"),
        ];
        for (text, server, client, expected) in rows {
            let out = replaced(text.as_bytes(), server, client.as_bytes());
            assert_eq!(out, expected.as_bytes());
        }
        assert!(is_unnamed(
            b"prepared statement \"canter_?\" does not exist"
        ));
        assert!(!is_unnamed(
            b"prepared statement \"canter_?canter_1\" does not exist"
        ));
    }
}
