//! Builders for every message we send, to either side.
//!
//! Owns the bytes; each appends to a buffer of the caller. Errors are in [`super::error`].

use super::{BackendKey, TxStatus};

/// `ParseComplete`.
pub const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";
/// `BindComplete`.
pub const BIND_COMPLETE: &[u8] = b"2\0\0\0\x04";
/// `CloseComplete`.
pub const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";
/// `NoData`.
pub const NO_DATA: &[u8] = b"n\0\0\0\x04";
/// `ParameterDescription` of a statement without parameters.
pub const NO_PARAMETERS: &[u8] = b"t\0\0\0\x06\0\0";
/// `EmptyQueryResponse`.
pub const EMPTY_QUERY: &[u8] = b"I\0\0\0\x04";
/// `AuthenticationOk`.
pub const AUTHENTICATION_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
/// `Sync`.
pub const SYNC: &[u8] = b"S\0\0\0\x04";
/// `Flush`.
pub const FLUSH: &[u8] = b"H\0\0\0\x04";
/// `Terminate`.
pub const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// Appends a message of type `tag` whose body `write` appends. A body over 1 GiB cannot be sent
/// and becomes an empty one; nothing we build comes near.
pub fn message(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    untyped(out, write);
}

/// The same without a type: start-up packets.
pub fn untyped(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start).unwrap_or(0);
    if let Some(slot) = out.get_mut(start..start + 4) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a NUL-terminated string. A NUL inside becomes a space: it would end the string early
/// and shift everything after it.
pub fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    if memchr::memchr(0, text).is_none() {
        out.extend_from_slice(text);
    } else {
        out.extend(text.iter().map(|&b| if b == 0 { b' ' } else { b }));
    }
    out.push(0);
}

/// `ReadyForQuery`.
pub fn ready(out: &mut Vec<u8>, status: TxStatus) {
    out.extend_from_slice(&[b'Z', 0, 0, 0, 5, status.byte()]);
}

/// `CommandComplete`.
pub fn command_complete(out: &mut Vec<u8>, tag: &[u8]) {
    message(out, b'C', |out| cstr(out, tag));
}

/// `ParameterStatus`.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', |out| {
        cstr(out, name.as_bytes());
        cstr(out, value.as_bytes());
    });
}

/// `BackendKeyData`.
pub fn backend_key_data(out: &mut Vec<u8>, key: &BackendKey) {
    message(out, b'K', |out| {
        out.extend_from_slice(&key.pid.to_be_bytes());
        out.extend_from_slice(&key.secret);
    });
}

/// `NegotiateProtocolVersion`: the newest minor version we speak, and each `_pq_.` option we do
/// not know (A3).
pub fn negotiate_protocol_version(out: &mut Vec<u8>, minor: u16, unknown: &[String]) {
    message(out, b'v', |out| {
        out.extend_from_slice(&(3_u32 << 16 | u32::from(minor)).to_be_bytes());
        out.extend_from_slice(&u32::try_from(unknown.len()).unwrap_or(0).to_be_bytes());
        for name in unknown {
            cstr(out, name.as_bytes());
        }
    });
}

/// An authentication request: its code, then what goes with it.
pub fn authentication(out: &mut Vec<u8>, code: u32, data: &[u8]) {
    message(out, b'R', |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// `Query`.
pub fn query(out: &mut Vec<u8>, text: &[u8]) {
    message(out, b'Q', |out| cstr(out, text));
}

/// A `Close` of a prepared statement.
pub fn close_statement(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'C', |out| {
        out.push(b'S');
        cstr(out, name);
    });
}

/// `CopyFail`.
pub fn copy_fail(out: &mut Vec<u8>, reason: &str) {
    message(out, b'f', |out| cstr(out, reason.as_bytes()));
}

/// A password, or any other answer to an authentication request.
pub fn password(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'p', |out| out.extend_from_slice(data));
}

/// A start-up packet of protocol 3.0.
pub fn startup<'a>(out: &mut Vec<u8>, params: impl IntoIterator<Item = (&'a str, &'a str)>) {
    untyped(out, |out| {
        out.extend_from_slice(&(3_u32 << 16).to_be_bytes());
        for (name, value) in params {
            cstr(out, name.as_bytes());
            cstr(out, value.as_bytes());
        }
        out.push(0);
    });
}

/// `SSLRequest`.
pub fn ssl_request(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
}

/// `CancelRequest`.
pub fn cancel_request(out: &mut Vec<u8>, key: &BackendKey) {
    untyped(out, |out| {
        out.extend_from_slice(&80_877_102_u32.to_be_bytes());
        out.extend_from_slice(&key.pid.to_be_bytes());
        out.extend_from_slice(&key.secret);
    });
}

/// Appends `text` as an SQL string literal that reads the same whatever
/// `standard_conforming_strings` is.
pub fn literal(out: &mut Vec<u8>, text: &[u8]) {
    let escapes = text.contains(&b'\\');
    out.extend_from_slice(if escapes { b" E'" } else { b"'" });
    for &byte in text {
        match byte {
            b'\'' => out.extend_from_slice(b"''"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0 => {}
            other => out.push(other),
        }
    }
    out.push(b'\'');
}

/// Appends `name` as a quoted SQL identifier.
pub fn identifier(out: &mut Vec<u8>, name: &[u8]) {
    out.push(b'"');
    for &byte in name {
        match byte {
            b'"' => out.extend_from_slice(b"\"\""),
            0 => {}
            other => out.push(other),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_cannot_be_left() {
        let rows: [(&[u8], &[u8]); 4] = [
            (b"a", b"'a'"),
            (b"a'b", b"'a''b'"),
            (b"a\\'b", b" E'a\\\\''b'"),
            (b"a\0b", b"'ab'"),
        ];
        for (text, expected) in rows {
            let mut out = Vec::new();
            literal(&mut out, text);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_nul_cannot_shift_the_fields_behind_it() {
        let mut out = Vec::new();
        parameter_status(&mut out, "a\0b", "c");
        assert_eq!(out, b"S\0\0\0\x0aa b\0c\0");
    }
}
