//! `ErrorResponse` and `NoticeResponse`: what we send, and what servers sent.
//!
//! Owns their fields and bytes. Which error is due when is decided by whoever meets it.

use super::build;

/// An error in PostgreSQL's terms, for a client or from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// Whether the connection ends with it.
    pub fatal: bool,
    /// The SQLSTATE.
    pub code: [u8; 5],
    /// What went wrong.
    pub message: String,
    /// Facts beside it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl SqlError {
    /// An error after which the session goes on.
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self {
            fatal: false,
            code: sqlstate(code.as_bytes()),
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// An error after which the connection is closed.
    pub fn fatal(code: &str, message: impl Into<String>) -> Self {
        Self {
            fatal: true,
            ..Self::error(code, message)
        }
    }

    /// With facts beside the message.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With an advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The SQLSTATE as text.
    pub fn code_str(&self) -> &str {
        std::str::from_utf8(&self.code).unwrap_or("XX000")
    }

    /// Appends it as an `ErrorResponse`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let severity: &[u8] = if self.fatal { b"FATAL" } else { b"ERROR" };
        self.encode_as(b'E', severity, out);
    }

    /// Appends it as a `NoticeResponse`: nothing went wrong.
    pub fn encode_notice(&self, out: &mut Vec<u8>) {
        self.encode_as(b'N', b"NOTICE", out);
    }

    fn encode_as(&self, tag: u8, severity: &[u8], out: &mut Vec<u8>) {
        build::message(out, tag, |out| {
            field(out, b'S', severity);
            field(out, b'V', severity);
            field(out, b'C', &self.code);
            field(out, b'M', self.message.as_bytes());
            if let Some(detail) = &self.detail {
                field(out, b'D', detail.as_bytes());
            }
            if let Some(hint) = &self.hint {
                field(out, b'H', hint.as_bytes());
            }
            out.push(0);
        });
    }

    /// Decodes the body of an `ErrorResponse`. Never fails: what a server left out stays generic.
    pub fn decode(body: &[u8]) -> Self {
        let fields = Diagnostic(body);
        let text = |tag| {
            fields
                .get(tag)
                .map(|v| String::from_utf8_lossy(v).into_owned())
        };
        Self {
            fatal: fields.is_fatal(),
            code: fields.code(),
            message: text(b'M').unwrap_or_else(|| "the server reported an error".to_owned()),
            detail: text(b'D'),
            hint: text(b'H'),
        }
    }
}

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code_str())
    }
}

impl std::error::Error for SqlError {}

/// The body of an `ErrorResponse` or `NoticeResponse`, looked into without a copy.
#[derive(Debug, Clone, Copy)]
pub struct Diagnostic<'a>(pub &'a [u8]);

impl<'a> Diagnostic<'a> {
    /// Its fields as (type, value); ends at the first one that is not whole.
    pub fn fields(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (&tag, after) = rest.split_first()?;
            if tag == 0 {
                return None;
            }
            let end = memchr::memchr(0, after)?;
            let value = after.get(..end)?;
            rest = after.get(end + 1..)?;
            Some((tag, value))
        })
    }

    /// The value of one field.
    pub fn get(self, wanted: u8) -> Option<&'a [u8]> {
        self.fields()
            .find(|(tag, _)| *tag == wanted)
            .map(|(_, value)| value)
    }

    /// The SQLSTATE; `XX000` when the server named none.
    pub fn code(self) -> [u8; 5] {
        self.get(b'C').map_or(*b"XX000", sqlstate)
    }

    /// Whether the server ends the connection with it.
    pub fn is_fatal(self) -> bool {
        // `V` is never translated; servers before 9.6 send only `S`.
        let severity = self.get(b'V').or_else(|| self.get(b'S'));
        matches!(severity, Some(b"FATAL" | b"PANIC"))
    }
}

fn field(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    build::cstr(out, value);
}

/// Five characters a SQLSTATE may have, else the one for internal errors.
fn sqlstate(code: &[u8]) -> [u8; 5] {
    match <[u8; 5]>::try_from(code) {
        Ok(code) if code.iter().all(u8::is_ascii_alphanumeric) => code,
        _ => *b"XX000",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_back_as_it_was_sent() {
        let sent = SqlError::fatal("57P01", "going away")
            .detail("because")
            .hint("come back");
        let mut out = Vec::new();
        sent.encode(&mut out);
        assert_eq!(SqlError::decode(&out[5..]), sent);
    }

    #[test]
    fn i4_an_error_without_sqlstate_or_end_is_still_an_error() {
        for body in [
            &b""[..],
            b"\0",
            b"C\0",
            b"SFATAL",
            b"C12\0Mx\0",
            b"MM",
            b"V\0\0\0\0",
        ] {
            assert_eq!(SqlError::decode(body).code, *b"XX000", "{body:?}");
        }
    }

    #[test]
    fn a_nul_in_a_message_does_not_end_it_early() {
        let mut out = Vec::new();
        SqlError::error("22021", "a\0b").encode(&mut out);
        assert_eq!(SqlError::decode(&out[5..]).message, "a b");
    }
}
