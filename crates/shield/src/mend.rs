//! Owns putting what is allowed in the place of what is not, in the names and values of fields that come: the
//! library behind gives up the connection over them, where only a request is malformed (RFC 9113, section
//! 8.1.1). Nothing changes its length, coded or not, so that the table of both sides stays the same
//! (RFC 7541, section 4.1).
//! Leaves knowing where a string is to `hpack`, and that its request is refused to the callers. What cannot be
//! replaced by anything as long stays, and ends the connection. Sans-IO.

use crate::fragment::ends_code;
use crate::hpack::Part;

/// A string that is looked through, from one piece to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mend {
    /// The code that has begun, and how many bits of it have come.
    code: u32,
    bits: usize,
}

impl Mend {
    /// Whether the next bytes of the string had something in them that may not be there.
    pub fn run(&mut self, part: Part, is_coded: bool, bytes: &mut [u8]) -> bool {
        if is_coded {
            return self.run_coded(part, bytes);
        }
        let mut is_malformed = false;
        for byte in bytes {
            let is_allowed = match part {
                Part::Name => is_of_name(*byte),
                Part::Value => is_of_value(*byte),
            };
            if !is_allowed {
                (*byte, is_malformed) = (b'x', true);
            }
        }
        is_malformed
    }

    fn run_coded(&mut self, part: Part, bytes: &mut [u8]) -> bool {
        let mut is_malformed = false;
        for at in 0..bytes.len() * 8 {
            let bit = bytes
                .get(at / 8)
                .is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
            self.code = self.code << 1 | u32::from(bit);
            self.bits += 1;
            if !ends_code(self.code, self.bits) {
                continue;
            }
            let Self { code, bits } = std::mem::take(self);
            let Some(instead) = instead(part, code, bits) else {
                is_malformed |= is_beyond_help(part, bits);
                continue;
            };
            is_malformed = true;
            // A code that began in bytes which have been passed on stays as it is.
            if let Some(first) = (at + 1).checked_sub(bits) {
                write(bytes, first, instead, bits);
            }
        }
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
fn instead(part: Part, code: u32, bits: usize) -> Option<u32> {
    let instead = match (part, bits) {
        // " /=A" and then "-"; ":", capitals and "j"; ",;XZ" and "&".
        (Part::Name, 6) => matches!(code, 0x14 | 0x18 | 0x20 | 0x21).then_some(0x16),
        (Part::Name, 7) => (0x5c..=0x73).contains(&code).then_some(0x74),
        (Part::Name, 8) => (0xfa..=0xfd).contains(&code).then_some(0xf8),
        // The rest of what is in ASCII and prints: behind the first that a name may have.
        (Part::Name, 10) => (code > 0x3f8).then_some(0x3f8),
        (Part::Name, 12) => (code == 0xffb).then_some(0xffa),
        (Part::Name, 13) => (code == 0x1ff8 || (0x1ffa..=0x1ffc).contains(&code)).then_some(0x1ff9),
        (Part::Name, 14) => (code == 0x3ffd).then_some(0x3ffc),
        (Part::Name, 15) => (code != 0x7ffd).then_some(0x7ffd),
        // A zero and "$"; a control character and one of those beyond ASCII.
        (Part::Value, 13) => (code == 0x1ff8).then_some(0x1ff9),
        (Part::Value, 23) => (code == 0x7f_ffd8).then_some(0x7f_ffd9),
        (Part::Value, 28) => (code < 0xfff_fffd).then_some(0xfff_fffe),
        _ => None,
    };
    instead.filter(|instead| *instead != code)
}

/// Whether a code is of something that may not be there, and all of its length are: of names those beyond
/// ASCII, and of values line breaks.
fn is_beyond_help(part: Part, bits: usize) -> bool {
    match part {
        Part::Name => bits > 15,
        Part::Value => bits == 30,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a string, in pieces of every size.
    fn mended(part: Part, is_coded: bool, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut bytes = bytes.to_vec();
        let is_malformed = Mend::default().run(part, is_coded, &mut bytes);
        (bytes, is_malformed)
    }

    #[test]
    fn h8_what_may_not_be_in_a_string_is_replaced_by_as_much() {
        for (part, bytes, expected) in [
            (Part::Name, &b"x-test"[..], &b"x-test"[..]),
            (Part::Name, b"X-Test", b"x-xest"),
            (Part::Name, b"a b:c", b"axbxc"),
            (Part::Value, b"A, b=\"c\"\t\xff", b"A, b=\"c\"\t\xff"),
            (Part::Value, b"a\r\nb: c\0", b"axxb: cx"),
            (Part::Value, b"\x7f", b"x"),
        ] {
            let is_malformed = bytes != expected;
            assert_eq!(
                mended(part, false, bytes),
                (expected.to_vec(), is_malformed)
            );
        }
    }

    #[test]
    fn h8_what_may_not_be_in_a_coded_string_is_replaced_by_a_code_of_its_length() {
        for (part, bytes, expected) in [
            // "custom-key" (RFC 7541, appendix C.4.3).
            (
                Part::Name,
                &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f][..],
                None,
            ),
            // "A" and "-"; "aB" and "aj"; "aX" and "a&"; "a@" and "a$".
            (Part::Name, &[0x87], Some(&[0x5b][..])),
            (Part::Name, &[0x1d, 0xdf], Some(&[0x1f, 0x4f])),
            (Part::Name, &[0x1f, 0xe7], Some(&[0x1f, 0xc7])),
            (Part::Name, &[0x1f, 0xfe, 0xbf], Some(&[0x1f, 0xfe, 0x7f])),
            // A zero and "$"; 2 and 249.
            (Part::Value, &[0xff, 0xc7], Some(&[0xff, 0xcf])),
            (
                Part::Value,
                &[0xff, 0xff, 0xfe, 0x2f],
                Some(&[0xff, 0xff, 0xff, 0xef]),
            ),
            // "ABC" is a value like any other.
            (Part::Value, &[0x86, 0xed, 0xef], None),
        ] {
            let (found, is_malformed) = mended(part, true, bytes);
            assert_eq!(found, expected.unwrap_or(bytes), "{bytes:x?}");
            assert_eq!(is_malformed, expected.is_some(), "{bytes:x?}");
        }
    }

    #[test]
    fn h8_what_cannot_be_replaced_stays_and_is_found_all_the_same() {
        // A line feed has 30 bits, as only control characters have.
        let line_feed = [0xff, 0xff, 0xff, 0xf3];
        assert_eq!(
            mended(Part::Value, true, &line_feed),
            (line_feed.to_vec(), true)
        );
        // The first byte of a code has been passed on.
        let (mut first, mut second) = ([0x1d], [0xdf]);
        let mut mend = Mend::default();
        assert!(!mend.run(Part::Name, true, &mut first) && mend.run(Part::Name, true, &mut second));
        assert_eq!((first, second), ([0x1d], [0xdf]));
    }
}
