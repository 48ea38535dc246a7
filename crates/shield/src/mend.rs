//! Owns putting what is allowed in the place of what is not, in the names and values of fields that come: the
//! library behind gives up the connection over them, where only a request is malformed (RFC 9113, section
//! 8.1.1). What stands there instead takes as many bits, and where that can be is as long decoded: else the library takes an entry
//! of the table for a few bytes longer than its client does, and forgets the oldest sooner (RFC 7541, section 4).
//! Leaves knowing where a string is to `hpack`, cutting it into codes to `huffman`, and that its request is refused to the callers. A code
//! that comes in two pieces stays, and ends the connection. Sans-IO.

use crate::huffman::{Codes, has_nine_ones, of_length};

/// What a string is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Name,
    Value,
    /// The value of `:method`.
    Method,
    /// That of another pseudo-field: a text without a fragment (section 8.3.1; RFC 9112, section 3.2). What else a target and a host
    /// are is the library's to say, which does so of the stream.
    Target,
}

/// In which of them a byte may be, by their numbers.
const ALLOWED: [u8; 256] = {
    let mut allowed = [0; 256];
    let mut at = 0;
    while at < allowed.len() {
        let byte = at as u8;
        let is_token = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.'
            )
            || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~');
        // RFC 9110, sections 5.6.2 and 5.5, and capitals by section 8.2.1 here.
        let is_of_name = is_token && !byte.is_ascii_uppercase();
        let is_of_value = byte == b'\t' || !byte.is_ascii_control();
        let is_of_target = matches!(byte, b' '..=b'~') && byte != b'#';
        allowed[at] = (is_of_name as u8) << Of::Name as u8
            | (is_of_value as u8) << Of::Value as u8
            | (is_token as u8) << Of::Method as u8
            | (is_of_target as u8) << Of::Target as u8;
        at += 1;
    }
    allowed
};

impl Of {
    fn allows(self, byte: u8) -> bool {
        ALLOWED[usize::from(byte)] >> self as u8 & 1 == 1
    }

    /// Whether the codes of all that it does not allow begin with nine ones.
    fn has_short_codes(self) -> bool {
        matches!(self, Self::Value | Self::Target)
    }

    /// Whether a byte can stand in the place of another: the library takes it.
    fn can_stand(self, byte: u8) -> bool {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'!' | b'$' | b'&');
        self.allows(byte) && (self != Self::Target || is_plain)
    }
}

/// A string that is looked through, from one piece to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mend {
    codes: Codes,
}

impl Mend {
    /// Whether the next bytes of the string, or all of them, had something in them that may not be there.
    pub fn run(&mut self, of: Of, is_coded: bool, is_whole: bool, bytes: &mut [u8]) -> bool {
        if !is_coded {
            return run_plain(of, bytes);
        }
        // Nearly every value.
        if is_whole && of.has_short_codes() && !has_nine_ones(bytes) {
            return false;
        }
        self.run_coded(of, bytes)
    }

    fn run_coded(&mut self, of: Of, bytes: &mut [u8]) -> bool {
        let mut is_malformed = false;
        let mut codes = self.codes;
        while let Some(one) = codes.next(bytes) {
            let Some(byte) = one.byte().filter(|byte| !of.allows(*byte)) else {
                continue;
            };
            is_malformed = true;
            // The library takes a fragment as it is.
            if (of, byte) == (Of::Target, b'#') {
                continue;
            }
            // A code that began in bytes which have been passed on stays as it is.
            if let Some(first) = one.end.checked_sub(one.bits) {
                replace(of, bytes, first, one.bits);
            }
        }
        self.codes = codes;
        is_malformed
    }
}

fn run_plain(of: Of, bytes: &mut [u8]) -> bool {
    // All of them, and not up to the first: that is done at once for many.
    let is_bad = |bad, byte: &u8| bad | !of.allows(*byte);
    let is_malformed = bytes.iter().fold(false, is_bad);
    if is_malformed {
        for byte in bytes.iter_mut().filter(|byte| !of.allows(**byte)) {
            *byte = b'x';
        }
    }
    is_malformed
}

/// "a", "b" and "j" (RFC 7541, appendix B): their codes, and the bits of each.
const LETTERS: [(u32, usize); 3] = [(0x03, 5), (0x23, 6), (0x74, 7)];

/// Writes into so many bits what may be there: the code of one byte, or of several letters where none is as long.
fn replace(of: Of, bytes: &mut [u8], mut at: usize, mut bits: usize) {
    let (first, those) = of_length(bits);
    if let Some(code) = (first..).zip(those).find(|(_, byte)| of.can_stand(**byte)) {
        return write(bytes, at, code.0, bits);
    }
    // Every number of bits from ten on is a sum of theirs.
    while let Some((code, length)) = LETTERS
        .into_iter()
        .find(|(_, length)| matches!(bits.checked_sub(*length), Some(0 | 5..=7 | 10..)))
    {
        write(bytes, at, code, length);
        (at, bits) = (at + length, bits - length);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a string that comes at once.
    fn mended(of: Of, is_coded: bool, bytes: &[u8]) -> (Vec<u8>, bool) {
        let [one, other] = [true, false].map(|is_whole| {
            let mut bytes = bytes.to_vec();
            let is_malformed = Mend::default().run(of, is_coded, is_whole, &mut bytes);
            (bytes, is_malformed)
        });
        // Known to be whole or not, it is the same.
        assert_eq!(one, other);
        one
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
            (Of::Method, b"G(T /\xff", b"GxTxxx"),
            (Of::Target, b"/a#b\t\xc3\xa4 <", b"/axbxxx <"),
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
            // "A" and "%"; "aB" and "aj"; "aX" and "a&"; "a@" and "a$".
            (Of::Name, &[0x87], Some(&[0x57][..])),
            (Of::Name, &[0x1d, 0xdf], Some(&[0x1f, 0x4f])),
            (Of::Name, &[0x1f, 0xe7], Some(&[0x1f, 0xc7])),
            (Of::Name, &[0x1f, 0xfe, 0xbf], Some(&[0x1f, 0xfe, 0x7f])),
            // A zero and "$"; 2 and 220.
            (Of::Value, &[0xff, 0xc7], Some(&[0xff, 0xcf])),
            (
                Of::Value,
                &[0xff, 0xff, 0xfe, 0x2f],
                Some(&[0xff, 0xff, 0xff, 0xdf]),
            ),
            // 2 and 255 where nothing but a text may be: "aaabj" and "aaaab".
            (
                Of::Target,
                &[0xff, 0xff, 0xfe, 0x2f],
                Some(&[0x18, 0xc7, 0x1f, 0x4f]),
            ),
            (
                Of::Target,
                &[0xff, 0xff, 0xfb, 0xbf],
                Some(&[0x18, 0xc6, 0x38, 0xff]),
            ),
            // A line feed: "aaaaaa".
            (
                Of::Value,
                &[0xff, 0xff, 0xff, 0xf3],
                Some(&[0x18, 0xc6, 0x31, 0x8f]),
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
    fn h8_every_byte_that_may_not_be_there_is_replaced_by_what_may_in_as_many_bits() {
        for of in [Of::Name, Of::Value, Of::Method, Of::Target] {
            for bits in 1..=30 {
                let (first, those) = of_length(bits);
                for (number, byte) in (first..).zip(those) {
                    // Behind a letter, and filled up with ones.
                    for before in [&[][..], &[LETTERS[0]], &[LETTERS[1]], &[LETTERS[2]]] {
                        let mut string = vec![0xff; 6];
                        let mut at = 0;
                        for (code, bits) in before.iter().copied().chain([(number, bits)]) {
                            write(&mut string, at, code, bits);
                            at += bits;
                        }
                        string.truncate(at.div_ceil(8));
                        let (found, is_malformed) = mended(of, true, &string);
                        assert_eq!(is_malformed, !of.allows(*byte), "{of:?} {byte}");
                        let mut codes = Codes::default();
                        let mut end = 0;
                        while let Some(code) = codes.next(&found) {
                            let is_kept = of == Of::Target && code.byte() == Some(b'#');
                            assert!(is_kept || code.byte().is_some_and(|byte| of.allows(byte)));
                            end = code.end;
                        }
                        assert_eq!(end, at, "{of:?} {byte}: {found:x?}");
                        assert_eq!(found == string, of.allows(*byte) || *byte == b'#');
                    }
                }
            }
        }
    }

    #[test]
    fn h8_what_began_in_another_piece_stays_and_is_found_all_the_same() {
        let (mut first, mut second) = ([0x1d], [0xdf]);
        let mut mend = Mend::default();
        assert!(!mend.run(Of::Name, true, false, &mut first));
        assert!(mend.run(Of::Name, true, false, &mut second));
        assert_eq!((first, second), ([0x1d], [0xdf]));
    }

    #[test]
    fn the_code_that_is_of_no_byte_is_left_to_the_library() {
        let end = [0xff; 4];
        assert_eq!(mended(Of::Value, true, &end), (end.to_vec(), false));
    }
}
