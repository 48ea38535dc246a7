//! Paths: owns percent-decoding, done exactly once. Routing and files are left to others.
//!
//! A malformed escape is refused rather than passed on unchanged. Passing it on looks harmless,
//! but then `%zz` and `%25zz` become the same path, so a rule of a proxy in front (which compares
//! the raw form) and the app (which sees the decoded form) can disagree about which page it is.
//! No browser sends one: the URL standard makes them encode `%` themselves.
//! An escaped NUL ends a string early in C libraries below the app, and an overlong UTF-8 form
//! (`%c0%af` for `/`) is a second spelling of a byte that a filter has already looked for.

use crate::reject::Reject;

/// Checks the escapes of `path` without decoding it.
pub fn check_path(path: &[u8]) -> Result<(), Reject> {
    walk(path, |_| ())
}

/// Appends `path` to `out` with each `%XX` turned into its byte.
///
/// ```
/// let mut out = Vec::new();
/// canter_http::target::decode_path(b"/caf%C3%A9/%2525", &mut out).unwrap();
/// assert_eq!(out, "/café/%25".as_bytes());
/// ```
pub fn decode_path(path: &[u8], out: &mut Vec<u8>) -> Result<(), Reject> {
    if memchr::memchr(b'%', path).is_none() {
        out.extend_from_slice(path);
        return Ok(());
    }
    let start = out.len();
    let decoded = walk(path, |byte| out.push(byte));
    if decoded.is_err() {
        out.truncate(start);
    }
    decoded
}

/// The same for what no path is chosen by, such as a value in a query: where it cannot be decoded it
/// stays as it is.
///
/// ```
/// assert_eq!(canter_http::target::decode_lossy(b"/a%20b"), b"/a b");
/// assert_eq!(canter_http::target::decode_lossy(b"100%"), b"100%");
/// ```
pub fn decode_lossy(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    match decode_path(text, &mut out) {
        Ok(()) => out,
        Err(_) => text.to_vec(),
    }
}

/// Decodes byte by byte into `emit`. A character is overlong when its lead byte says more bytes
/// than it needs: C0 and C1 always, E0 before 80..9F, F0 before 80..8F (RFC 3629, section 3).
/// Bytes that are not UTF-8 at all may be old Latin-1 links and are left to the app.
fn walk(path: &[u8], mut emit: impl FnMut(u8)) -> Result<(), Reject> {
    let mut previous = 0;
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let byte = if *first == b'%' {
            let [high, low, tail @ ..] = after else {
                return Err(Reject::BadEscape);
            };
            rest = tail;
            hex_digit(*high)
                .zip(hex_digit(*low))
                .map(|(h, l)| h << 4 | l)
                .ok_or(Reject::BadEscape)?
        } else {
            rest = after;
            *first
        };
        match (previous, byte) {
            (_, 0) => return Err(Reject::NulInPath),
            (0xc0 | 0xc1, 0x80..=0xbf) | (0xe0, 0x80..=0x9f) | (0xf0, 0x80..=0x8f) => {
                return Err(Reject::OverlongInPath);
            }
            _ => emit(byte),
        }
        previous = byte;
    }
    Ok(())
}

/// The value of one hexadecimal digit.
#[inline]
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(path: &str) -> Result<Vec<u8>, Reject> {
        let mut out = Vec::new();
        let result = decode_path(path.as_bytes(), &mut out).map(|()| out);
        assert_eq!(
            check_path(path.as_bytes()).err(),
            result.as_ref().err().copied()
        );
        result
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decoded("/a%20b%2Fc").unwrap(), b"/a b/c");
        assert_eq!(decoded("/%252e").unwrap(), b"/%2e");
        assert_eq!(decoded("/%e2%82%ac").unwrap(), "/€".as_bytes());
        assert_eq!(decoded("/%E9").unwrap(), b"/\xe9");
        assert_eq!(decoded("/%f0%9f%90%8e").unwrap(), "/🐎".as_bytes());
    }

    #[test]
    fn malformed_escapes_are_refused() {
        for path in ["/%", "/%2", "/%zz", "/%2g", "/%%20", "/%u0041", "/%+1"] {
            assert_eq!(decoded(path), Err(Reject::BadEscape), "{path}");
        }
    }

    #[test]
    fn nul_and_overlong_forms_are_refused() {
        assert_eq!(decoded("/a%00.png"), Err(Reject::NulInPath));
        for path in [
            "/%c0%af",
            "/%C1%81",
            "/%e0%80%af",
            "/%e0%9f%bf",
            "/%f0%80%80%af",
        ] {
            assert_eq!(decoded(path), Err(Reject::OverlongInPath), "{path}");
        }
    }
}
