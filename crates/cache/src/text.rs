//! Owns the pieces of field grammar that several parts read (RFC 9110, section 5.6): lists, quoted strings,
//! seconds. Leaves tokens and white space to `canter_http`, and what a field means to those parts.

pub(crate) use canter_http::{is_ows, is_token, is_token_byte, trim_ows as trim};

/// The elements of a list, without the empty ones; a comma inside a quoted string is none.
/// A string that nothing ends goes to the end of the line.
pub(crate) fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let end = comma(rest);
            let element = trim(rest.get(..end).unwrap_or_default());
            rest = rest.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
    })
}

/// Where the first comma outside of quotes is, or the end.
fn comma(line: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    line.len()
}

/// The content of a token or a quoted string, its escapes undone; None for anything else.
pub(crate) fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let Some(inner) = value.strip_prefix(b"\"") else {
        return is_token(value).then(|| value.to_vec());
    };
    let inner = inner.strip_suffix(b"\"")?;
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' => out.push(*bytes.next()?),
            _ => out.push(byte),
        }
    }
    Some(out)
}

/// The largest number of seconds that is told apart (RFC 9111, section 1.2.2).
pub const MOST_SECONDS: u32 = 1 << 31;

/// A count of seconds: digits alone; what is too large is as good as the largest.
pub(crate) fn seconds(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let sum = digits.iter().fold(0_u32, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u32::from(digit - b'0'))
    });
    Some(sum.min(MOST_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_split_at_commas_outside_of_quotes() {
        for (line, expected) in [
            (&b"a, b"[..], &[&b"a"[..], b"b"][..]),
            (b",, a ,\t,", &[b"a"]),
            (b"x=\"a, b\", c", &[b"x=\"a, b\"", b"c"]),
            (b"x=\"a\\\", b\", c", &[b"x=\"a\\\", b\"", b"c"]),
            (b"x=\"a, b", &[b"x=\"a, b"]),
            (b"", &[]),
            (b"  ", &[]),
        ] {
            let found: Vec<&[u8]> = elements(line).collect();
            assert_eq!(found, expected, "{line:?}");
        }
    }

    #[test]
    fn seconds_saturate_as_rfc_9111_section_1_2_2_has_it() {
        for (digits, expected) in [
            (&b"0"[..], Some(0)),
            (b"003600", Some(3600)),
            (b"2147483647", Some(2_147_483_647)),
            (b"2147483648", Some(MOST_SECONDS)),
            (b"99999999999999999999999", Some(MOST_SECONDS)),
            (b"", None),
            (b"-1", None),
            (b"1.0", None),
            (b" 1", None),
        ] {
            assert_eq!(seconds(digits), expected, "{digits:?}");
        }
    }

    #[test]
    fn a_quoted_value_is_unquoted() {
        for (value, expected) in [
            (&b"abc"[..], Some(&b"abc"[..])),
            (b"\"a b\"", Some(b"a b")),
            (b"\"a\\\"b\"", Some(b"a\"b")),
            (b"\"\"", Some(b"")),
            (b"\"a", None),
            (b"\"", None),
            (b"\"a\\\"", None),
            (b"\"a\"b\"", None),
            (b"a b", None),
            (b"", None),
        ] {
            assert_eq!(unquoted(value).as_deref(), expected, "{value:?}");
        }
    }
}
