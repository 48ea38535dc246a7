//! The first packet of a connection (A1 to A5): what the client wants, with `options` unfolded.
//!
//! Owns its framing and grammar. Answers and authentication are the door's and the access part's.

use super::{BackendKey, SqlError};

/// Longest first packet PostgreSQL accepts.
pub const MAX_LENGTH: usize = 10_000;
/// The newest minor version of protocol 3 that we speak to clients.
pub const MINOR: u16 = 2;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// `CANT`: a program tells us where a database really is.
const REGISTRATION: u32 = 0x4341_4e54;

/// What a first packet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// TLS is asked for; answer one byte.
    Ssl,
    /// GSSAPI encryption is asked for; answer one byte.
    Gss,
    /// A statement is to be cancelled.
    Cancel(BackendKey),
    /// A session begins.
    Startup(Startup),
    /// A database is made known: pairs of libpq connection keywords and values.
    Register(Vec<(String, String)>),
}

/// A session as the client asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Startup {
    /// Major and minor protocol version.
    pub protocol: (u16, u16),
    /// Everything asked for, `options` unfolded into settings; the last of equal names stands.
    pub params: Vec<(String, String)>,
    /// The `_pq_.` options, none of which we know.
    pub unknown_pq: Vec<String>,
}

impl Startup {
    /// The value asked for `name`, whose case does not matter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self
            .params
            .iter()
            .position(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(self.params.remove(at).1)
    }

    /// The user asked for; empty when there is none.
    pub fn user(&self) -> &str {
        self.get("user").unwrap_or_default()
    }

    /// The database asked for: PostgreSQL takes the user's name when there is none.
    pub fn database(&self) -> &str {
        match self.get("database") {
            Some(name) if !name.is_empty() => name,
            _ => self.user(),
        }
    }

    /// Whether a `NegotiateProtocolVersion` is due, and the minor version it must name (A3).
    pub fn negotiation(&self) -> Option<u16> {
        let minor = self.protocol.1.min(MINOR);
        // 3.1 was never released; libpq treats it as 3.0.
        let spoken = if minor == 1 { 0 } else { minor };
        (self.protocol.1 > MINOR || !self.unknown_pq.is_empty()).then_some(spoken)
    }

    fn set(&mut self, name: String, value: String) {
        match self
            .params
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(&name))
        {
            Some((_, known)) => *known = value,
            None => self.params.push((name, value)),
        }
    }
}

/// Whether these first bytes are not those of a client of PostgreSQL, or of one that said goodbye
/// before it said hello, as node-postgres does.
pub fn is_foreign(input: &[u8]) -> bool {
    let length = input.first_chunk().copied().map_or(0, u32::from_be_bytes) as usize;
    !(8..=MAX_LENGTH).contains(&length) && input.get(4..6) != Some(&[0, 3])
}

/// Decodes the first packet at the start of `input`: it and its length in bytes, or `None` when
/// more bytes are needed. An error is FATAL and is to be sent before the connection is closed.
pub fn decode(input: &[u8]) -> Result<Option<(First, usize)>, SqlError> {
    let Some((&length, _)) = input.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(length) as usize;
    if !(8..=MAX_LENGTH).contains(&length) {
        return Err(SqlError::fatal("08P01", "invalid length of startup packet"));
    }
    let Some(packet) = input.get(..length) else {
        return Ok(None);
    };
    let body = packet.get(4..).unwrap_or_default();
    let Some((&code, body)) = body.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let first = match u32::from_be_bytes(code) {
        SSL_REQUEST => First::Ssl,
        GSS_REQUEST => First::Gss,
        CANCEL_REQUEST => First::Cancel(
            BackendKey::decode(body)
                .ok_or_else(|| SqlError::fatal("08P01", "invalid length of cancel request"))?,
        ),
        REGISTRATION => First::Register(pairs(body)?),
        version => First::Startup(startup(version, body)?),
    };
    Ok(Some((first, length)))
}

fn startup(version: u32, body: &[u8]) -> Result<Startup, SqlError> {
    let (major, minor) = ((version >> 16) as u16, (version & 0xffff) as u16);
    if major != 3 {
        return Err(SqlError::fatal(
            "0A000",
            format!(
                "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{MINOR}"
            ),
        ));
    }
    let mut startup = Startup {
        protocol: (major, minor),
        ..Startup::default()
    };
    let mut options = None;
    let mut direct = Vec::new();
    for (name, value) in pairs(body)? {
        if name.starts_with("_pq_.") {
            startup.unknown_pq.push(name);
        } else if name == "options" {
            options = Some(value);
        } else {
            direct.push((name, value));
        }
    }
    // PostgreSQL applies the packet's own settings after those in `options`.
    if let Some(options) = options {
        for (name, value) in unfold(&options)? {
            startup.set(name, value);
        }
    }
    for (name, value) in direct {
        startup.set(name, value);
    }
    if startup.user().is_empty() {
        return Err(SqlError::fatal(
            "28000",
            "no PostgreSQL user name specified in startup packet",
        ));
    }
    Ok(startup)
}

/// `name NUL value NUL ... NUL`.
fn pairs(body: &[u8]) -> Result<Vec<(String, String)>, SqlError> {
    let bad = || {
        SqlError::fatal(
            "08P01",
            "invalid startup packet layout: expected terminator as last byte",
        )
    };
    let mut pairs = Vec::new();
    let mut rest = body;
    loop {
        let name = take_text(&mut rest).ok_or_else(bad)?;
        if name.is_empty() {
            return if rest.is_empty() {
                Ok(pairs)
            } else {
                Err(bad())
            };
        }
        let value = take_text(&mut rest).ok_or_else(bad)?;
        pairs.push((name, value));
    }
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let end = memchr::memchr(0, rest)?;
    let text = rest.get(..end)?;
    *rest = rest.get(end + 1..)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The settings in a string of command-line options: `-c name=value`, `-cname=value` and
/// `--name=value`; white space separates and a backslash takes the next character as it is.
pub fn unfold(options: &str) -> Result<Vec<(String, String)>, SqlError> {
    let mut settings = Vec::new();
    let mut words = split_words(options).into_iter();
    while let Some(word) = words.next() {
        let setting = if let Some(long) = word.strip_prefix("--") {
            long.to_owned()
        } else if word == "-c" {
            words.next().ok_or_else(|| bad_option(&word))?
        } else if let Some(short) = word.strip_prefix("-c") {
            short.to_owned()
        } else if let Some(setting) = short_option(&word, &mut words) {
            setting
        } else {
            return Err(bad_option(&word));
        };
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| bad_option(&setting))?;
        if name.is_empty() {
            return Err(bad_option(&setting));
        }
        // PostgreSQL reads dashes of a name given on its command line as underscores.
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

/// The short options of `postgres` that stand for a setting and that clients really send.
fn short_option(word: &str, words: &mut impl Iterator<Item = String>) -> Option<String> {
    if word == "-e" {
        return Some("datestyle=euro".to_owned());
    }
    let name = match word.get(..2)? {
        "-d" => "log_min_messages",
        "-S" => "work_mem",
        _ => return None,
    };
    let value = match word.get(2..) {
        Some("") | None => words.next()?,
        Some(value) => value.to_owned(),
    };
    Some(format!("{name}={value}"))
}

fn bad_option(word: &str) -> SqlError {
    SqlError::fatal(
        "42601",
        format!("invalid command-line argument for server process: {word}"),
    )
    .hint("options may hold settings only: -c name=value or --name=value")
}

fn split_words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 8).unwrap();
        [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
    }

    fn asked(version: u32, body: &[u8]) -> Result<Startup, SqlError> {
        match decode(&packet(version, body))?.unwrap().0 {
            First::Startup(startup) => Ok(startup),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a1_a4_first_packets_are_told_apart_by_their_code() {
        let key = BackendKey::new(7, &[1; 256]).unwrap();
        let body = [&7_i32.to_be_bytes()[..], &[1; 256]].concat();
        let rows = [
            (packet(SSL_REQUEST, b""), First::Ssl),
            (packet(GSS_REQUEST, b""), First::Gss),
            (packet(CANCEL_REQUEST, &body), First::Cancel(key)),
            (
                packet(REGISTRATION, b"host\0x\0\0"),
                First::Register(vec![("host".into(), "x".into())]),
            ),
        ];
        for (bytes, first) in rows {
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
            assert_eq!(decode(&bytes), Ok(Some((first, bytes.len()))));
        }
        for length in [3, 257] {
            let body = vec![1; 4 + length];
            assert!(decode(&packet(CANCEL_REQUEST, &body)).is_err());
        }
    }

    #[test]
    fn a3_what_is_newer_than_we_are_is_negotiated() {
        let rows: [(u32, &[u8], Option<u16>); 5] = [
            (0x3_0000, b"user\0u\0\0", None),
            (0x3_0002, b"user\0u\0\0", None),
            (0x3_270f, b"user\0u\0\0", Some(2)),
            (0x3_0000, b"user\0u\0_pq_.a\x001\0_pq_.b\x002\0\0", Some(0)),
            (0x3_0002, b"user\0u\0_pq_.a\x001\0\0", Some(2)),
        ];
        for (version, body, negotiation) in rows {
            let startup = asked(version, body).unwrap();
            assert_eq!(startup.negotiation(), negotiation);
        }
        let both = asked(0x3_0000, rows[3].1).unwrap();
        assert_eq!(both.unknown_pq, ["_pq_.a", "_pq_.b"]);
        assert_eq!(asked(0x2_0000, b"user\0u\0\0").unwrap_err().code, *b"0A000");
    }

    #[test]
    fn a5_options_are_settings_like_any_other() {
        let startup = asked(
            0x3_0000,
            b"user\0u\0options\0-c a=1 --b-c=2 -cd=x\\ y\\\\z  -c timezone=A\0TimeZone\0B\0\0",
        )
        .unwrap();
        for (name, value) in [("a", "1"), ("b_c", "2"), ("d", "x y\\z"), ("timezone", "B")] {
            assert_eq!(startup.get(name), Some(value), "{name}");
        }
        assert_eq!(startup.database(), "u");
        for wrong in ["-x", "-c", "-c a", "--=1", "a=1"] {
            assert!(unfold(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a5_a_packet_that_is_too_long_or_malformed_is_refused() {
        let long = [&b"user\0"[..], &[b'u'; MAX_LENGTH], b"\0\0"].concat();
        assert!(decode(&packet(0x3_0000, &long)).is_err());
        for body in [
            &b""[..],
            b"\0",
            b"user\0u\0",
            b"user\0u\0\0x",
            b"user\0",
            b"database\0d\0\0",
        ] {
            assert!(asked(0x3_0000, body).is_err(), "{body:?}");
        }
        assert!(decode(&[0, 0, 0, 7]).is_err());
    }
}
