//! Byte classes and the searches made of them: owns what a token, a target byte and a control byte
//! are. What to do about a byte out of place is left to the caller.

/// May stand in a token (RFC 9110, section 5.6.2).
const TOKEN: u8 = 1;
/// May stand in a request target: visible ASCII but `#`, since a fragment is never sent
/// (RFC 9112, section 3.2). Browsers send `|`, `{` or `^` in queries, so those stay allowed.
const TARGET: u8 = 2;
/// May stand in a registered host name. Fewer than RFC 3986 allows: sub-delims and escapes name
/// no host that exists, and a comma would let two names pass as one.
const HOST: u8 = 4;
/// A lower-case letter.
const LOWER: u8 = 8;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let mut class = 0;
        if byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
            )
            || matches!(byte, b'`' | b'|' | b'~')
        {
            class |= TOKEN;
        }
        if byte.is_ascii_graphic() && byte != b'#' {
            class |= TARGET;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            class |= HOST;
        }
        if byte.is_ascii_lowercase() {
            class |= LOWER;
        }
        table[byte as usize] = class;
        byte += 1;
    }
    table
}

#[inline]
fn is(byte: u8, class: u8) -> bool {
    CLASS[usize::from(byte)] & class != 0
}

/// Whether `byte` may stand in a token.
#[inline]
pub fn is_token_byte(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// Whether `bytes` is a token: not empty, token bytes only.
#[inline]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is(byte, TOKEN))
}

/// Whether `bytes` is a token without lower-case letters.
#[inline]
pub fn is_upper_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|&byte| CLASS[usize::from(byte)] & (TOKEN | LOWER) == TOKEN)
}

/// Whether every byte may stand in a registered host name.
#[inline]
pub fn is_host_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is(byte, HOST))
}

/// The offset of the first byte that may not stand in a request target.
#[inline]
pub fn find_non_target(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| !is(byte, TARGET))
}

/// A control byte other than HTAB, as must not stand in a field value (RFC 9110, section 5.5).
#[inline]
pub fn is_forbidden_in_value(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The offset at or after `from` of the first control byte: below 0x20, or 0x7f.
///
/// Eight bytes at a time. Each of the two subtractions can mark a byte falsely only above one it
/// marked rightly, so the lowest mark is always true.
#[inline]
pub fn find_control(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let (words, tail) = rest.as_chunks::<8>();
    let mut at = from;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let delete = word ^ (ONES * 0x7f);
        let is_delete = delete.wrapping_sub(ONES) & !delete;
        let marks = (below_space | is_delete) & HIGHS;
        if marks != 0 {
            return Some(at + (marks.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    tail.iter()
        .position(|&byte| byte < b' ' || byte == 0x7f)
        .map(|offset| at + offset)
}

/// Whether `value` holds only bytes a field value may hold.
#[inline]
pub fn is_field_value(value: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = find_control(value, from) {
        if value.get(at) != Some(&b'\t') {
            return false;
        }
        from = at + 1;
    }
    true
}

/// Whether `byte` is optional white space (RFC 9110, section 5.6.3).
#[inline]
pub fn is_ows(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// `bytes` without optional white space at both ends.
#[inline]
pub fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_ows(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_ows(*last)
    {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_scan_agrees_with_a_plain_loop_for_every_byte_at_every_offset() {
        for byte in 0..=255_u8 {
            for offset in 0..20 {
                for background in [b'a', 0x20, 0x80, 0xff, 0x7e] {
                    let mut bytes = [background; 20];
                    bytes[offset] = byte;
                    let plain = bytes.iter().position(|&b| b < 0x20 || b == 0x7f);
                    assert_eq!(find_control(&bytes, 0), plain, "{byte:#x} at {offset}");
                }
            }
        }
    }

    #[test]
    fn tokens_are_exactly_the_bytes_of_rfc_9110() {
        let tokens: Vec<u8> = (0..=255).filter(|&byte| is_token_byte(byte)).collect();
        let expected =
            b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~";
        assert_eq!(tokens, expected);
    }

    #[test]
    fn a_field_value_may_hold_tabs_and_obs_text_and_no_other_control() {
        assert!(is_field_value(b"a\tb \xff"));
        for byte in (0..0x20).chain([0x7f]).filter(|&byte| byte != b'\t') {
            assert!(!is_field_value(&[b'a', byte, b'b']), "{byte:#x}");
            assert!(is_forbidden_in_value(byte));
        }
        assert!(!is_forbidden_in_value(b'\t') && !is_forbidden_in_value(0x80));
    }
}
