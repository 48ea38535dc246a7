//! Untrusted bytes in logs: owns turning them into text that cannot forge a line or steer a
//! terminal. Where the text goes is left to the logger.

use std::fmt;

/// Shows bytes so that a log line stays one line and a terminal is not steered by it: visible
/// ASCII and spaces as they are, `"` and `\` with a backslash, all else as `\xNN`.
///
/// ```
/// let shown = canter_http::escape::Escaped(b"/a\n\x1b[31m\"").to_string();
/// assert_eq!(shown, r#"/a\x0a\x1b[31m\""#);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while !rest.is_empty() {
            let plain = rest
                .iter()
                .position(|&byte| !is_plain(byte))
                .unwrap_or(rest.len());
            let (run, tail) = rest.split_at(plain);
            // Plain bytes are ASCII, so this never fails.
            formatter.write_str(std::str::from_utf8(run).unwrap_or_default())?;
            rest = match tail {
                [byte @ (b'"' | b'\\'), after @ ..] => {
                    write!(formatter, "\\{}", char::from(*byte))?;
                    after
                }
                [byte, after @ ..] => {
                    write!(formatter, "\\x{byte:02x}")?;
                    after
                }
                [] => break,
            };
        }
        Ok(())
    }
}

fn is_plain(byte: u8) -> bool {
    (byte.is_ascii_graphic() || byte == b' ') && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_out_as_visible_ascii_and_no_two_alike() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255_u8 {
            let shown = Escaped(&[byte]).to_string();
            assert!(
                shown.bytes().all(|b| b.is_ascii_graphic() || b == b' '),
                "{byte:#x}"
            );
            assert!(seen.insert(shown), "{byte:#x}");
        }
    }

    #[test]
    fn runs_between_escapes_are_kept() {
        assert_eq!(Escaped(b"a b\r\nc").to_string(), r"a b\x0d\x0ac");
        assert_eq!(Escaped(b"").to_string(), "");
    }
}
