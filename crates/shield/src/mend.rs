//! Owns putting what is allowed in the place of what is not, in the names and values of fields that come: the
//! library behind gives up the connection over them, where only a request is malformed (RFC 9113, section
//! 8.1.1). Nothing changes its length, coded or not, so that the table of both sides stays the same
//! (RFC 7541, section 4.1).
//! Leaves knowing where a string is to `hpack`, cutting it into codes to `huffman`, and that its request is refused to the callers. What cannot be
//! replaced by anything as long stays, and ends the connection. Sans-IO.

use crate::huffman::Codes;

/// What a string is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Name,
    Value,
    /// A value that is a text to the library, and not whatever bytes.
    PseudoValue,
}

/// Bits of the code of a zero, which another of ASCII has as well.
const ZERO_BITS: usize = 13;

/// A string that is looked through, from one piece to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mend {
    codes: Codes,
}

impl Mend {
    /// Whether the next bytes of the string had something in them that may not be there.
    pub fn run(&mut self, of: Of, is_coded: bool, bytes: &mut [u8]) -> bool {
        if is_coded {
            return self.run_coded(of, bytes);
        }
        let mut is_malformed = false;
        for byte in bytes {
            let is_allowed = match of {
                Of::Name => is_of_name(*byte),
                Of::Value | Of::PseudoValue => is_of_value(*byte),
            };
            if !is_allowed {
                (*byte, is_malformed) = (b'x', true);
            }
        }
        is_malformed
    }

    fn run_coded(&mut self, of: Of, bytes: &mut [u8]) -> bool {
        let mut is_malformed = false;
        let mut codes = self.codes;
        while let Some(one) = codes.next(bytes) {
            let Some(instead) = instead(of, one.number, one.bits) else {
                is_malformed |= is_beyond_help(of, one.bits);
                continue;
            };
            is_malformed = true;
            // What is beyond ASCII is no text; the library refuses the control character by itself.
            let is_text = of != Of::PseudoValue || one.bits == ZERO_BITS;
            // A code that began in bytes which have been passed on stays as it is.
            if let (true, Some(first)) = (is_text, one.end.checked_sub(one.bits)) {
                write(bytes, first, instead, one.bits);
            }
        }
        self.codes = codes;
        is_malformed
    }
}

/// Writes a code of so many bits.
fn write(bytes: &mut [u8], at: usize, code: u32, bits: usize) {
    for (place, shift) in (at..).zip((0..bits).rev()) {
        let mask = 0x80 >> (place % 8);
        if let Some(byte) = bytes.get_mut(place / 8) {
            *byte = if code >> shift & 1 == 1 {
                *byte | mask
            } else {
                *byte & !mask
            };
        }
    }
}

/// Lower-case letters, digits, and what else is a token (RFC 9113, section 8.2.1; RFC 9110, section 5.6.2).
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// No control characters but the tab (RFC 9110, section 5.5).
fn is_of_value(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// A code of the same length, where this one is of something that may not be there and there is one (RFC 7541,
/// appendix B). Codes of one length stand in the order of what they are of.
fn instead(of: Of, code: u32, bits: usize) -> Option<u32> {
    let instead = match (of, bits) {
        // " /=A" and then "-"; ":", capitals and "j"; ",;XZ" and "&".
        (Of::Name, 6) => matches!(code, 0x14 | 0x18 | 0x20 | 0x21).then_some(0x16),
        (Of::Name, 7) => (0x5c..=0x73).contains(&code).then_some(0x74),
        (Of::Name, 8) => (0xfa..=0xfd).contains(&code).then_some(0xf8),
        // The rest of what is in ASCII and prints: behind the first that a name may have.
        (Of::Name, 10) => (code > 0x3f8).then_some(0x3f8),
        (Of::Name, 12) => (code == 0xffb).then_some(0xffa),
        (Of::Name, 13) => (code == 0x1ff8 || (0x1ffa..=0x1ffc).contains(&code)).then_some(0x1ff9),
        (Of::Name, 14) => (code == 0x3ffd).then_some(0x3ffc),
        (Of::Name, 15) => (code != 0x7ffd).then_some(0x7ffd),
        // A zero and "$"; a control character and one of those beyond ASCII.
        (Of::Value | Of::PseudoValue, ZERO_BITS) => (code == 0x1ff8).then_some(0x1ff9),
        (Of::Value | Of::PseudoValue, 23) => (code == 0x7f_ffd8).then_some(0x7f_ffd9),
        (Of::Value | Of::PseudoValue, 28) => (code < 0xfff_fffd).then_some(0xfff_fffe),
        _ => None,
    };
    instead.filter(|instead| *instead != code)
}

/// Whether a code is of something that may not be there, and all of its length are: of names those beyond
/// ASCII, and of values line breaks.
fn is_beyond_help(of: Of, bits: usize) -> bool {
    match of {
        Of::Name => bits > 15,
        Of::Value | Of::PseudoValue => bits == 30,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a string that comes at once.
    fn mended(of: Of, is_coded: bool, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut bytes = bytes.to_vec();
        let is_malformed = Mend::default().run(of, is_coded, &mut bytes);
        (bytes, is_malformed)
    }

    #[test]
    fn h8_what_may_not_be_in_a_string_is_replaced_by_as_much() {
        for (of, bytes, expected) in [
            (Of::Name, &b"x-test"[..], &b"x-test"[..]),
            (Of::Name, b"X-Test", b"x-xest"),
            (Of::Name, b"a b:c", b"axbxc"),
            (Of::Value, b"A, b=\"c\"\t\xff", b"A, b=\"c\"\t\xff"),
            (Of::Value, b"a\r\nb: c\0", b"axxb: cx"),
            (Of::Value, b"\x7f", b"x"),
        ] {
            let is_malformed = bytes != expected;
            assert_eq!(mended(of, false, bytes), (expected.to_vec(), is_malformed));
        }
    }

    #[test]
    fn h8_what_may_not_be_in_a_coded_string_is_replaced_by_a_code_of_its_length() {
        for (of, bytes, expected) in [
            // "custom-key" (RFC 7541, appendix C.4.3).
            (
                Of::Name,
                &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f][..],
                None,
            ),
            // "A" and "-"; "aB" and "aj"; "aX" and "a&"; "a@" and "a$".
            (Of::Name, &[0x87], Some(&[0x5b][..])),
            (Of::Name, &[0x1d, 0xdf], Some(&[0x1f, 0x4f])),
            (Of::Name, &[0x1f, 0xe7], Some(&[0x1f, 0xc7])),
            (Of::Name, &[0x1f, 0xfe, 0xbf], Some(&[0x1f, 0xfe, 0x7f])),
            // A zero and "$"; 2 and 249.
            (Of::Value, &[0xff, 0xc7], Some(&[0xff, 0xcf])),
            (
                Of::Value,
                &[0xff, 0xff, 0xfe, 0x2f],
                Some(&[0xff, 0xff, 0xff, 0xef]),
            ),
            // 2 where nothing but a text may be: the same, and found.
            (
                Of::PseudoValue,
                &[0xff, 0xff, 0xfe, 0x2f],
                Some(&[0xff, 0xff, 0xfe, 0x2f]),
            ),
            // "ABC" is a value like any other.
            (Of::Value, &[0x86, 0xed, 0xef], None),
        ] {
            let (found, is_malformed) = mended(of, true, bytes);
            assert_eq!(found, expected.unwrap_or(bytes), "{bytes:x?}");
            assert_eq!(is_malformed, expected.is_some(), "{bytes:x?}");
        }
    }

    #[test]
    fn h8_what_cannot_be_replaced_stays_and_is_found_all_the_same() {
        // A line feed has 30 bits, as only control characters have.
        let line_feed = [0xff, 0xff, 0xff, 0xf3];
        assert_eq!(
            mended(Of::Value, true, &line_feed),
            (line_feed.to_vec(), true)
        );
        // The first byte of a code has been passed on.
        let (mut first, mut second) = ([0x1d], [0xdf]);
        let mut mend = Mend::default();
        assert!(!mend.run(Of::Name, true, &mut first) && mend.run(Of::Name, true, &mut second));
        assert_eq!((first, second), ([0x1d], [0xdf]));
    }
}
