//! Owns finding a fragment's number sign in a string of a header block (RFC 7541, section 5.2), as the
//! string comes and without keeping it: a request's target has no fragment (RFC 9113, section 8.3.1;
//! RFC 9112, section 3.2), and the library behind drops what it finds of one.
//! Leaves which strings are looked at to `hpack`. Sans-IO.

/// How many codes there are of each length in bits, from 0 on (appendix B).
const CODES: [u32; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];

/// The first number of each length that is no whole code. Codes are handed out in order, the shortest
/// first, so that this is enough to tell where one ends.
const ENDS: [u32; 31] = {
    let mut ends = [0; 31];
    let (mut end, mut bits) = (0, 0);
    while bits < ends.len() {
        end = end * 2 + CODES[bits];
        ends[bits] = end;
        bits += 1;
    }
    ends
};

/// Whether these bits are a whole code, or more than any has.
pub(crate) fn ends_code(code: u32, bits: usize) -> bool {
    ENDS.get(bits).is_none_or(|end| code < *end)
}

/// The coded number sign, and its bits.
const NUMBER_SIGN: u32 = 0xffa;
const ITS_BITS: usize = 12;

/// A search that goes from one piece of a string to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    /// The code that has begun, and how many bits of it have come.
    code: u32,
    bits: usize,
}

impl Search {
    /// Whether the next bytes of the string, which may be coded, show a number sign.
    pub fn finds(&mut self, bytes: &[u8], is_coded: bool) -> bool {
        if !is_coded {
            return bytes.contains(&b'#');
        }
        for byte in bytes {
            for bit in (0..8).rev() {
                self.code = self.code << 1 | u32::from(byte >> bit & 1);
                self.bits += 1;
                if self.bits == ITS_BITS && self.code == NUMBER_SIGN {
                    return true;
                }
                if ends_code(self.code, self.bits) {
                    *self = Self::default();
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_of_the_codes_leave_none_unused() {
        assert_eq!(CODES.iter().sum::<u32>(), 257);
        assert_eq!(ENDS[30], 1 << 30);
        // The first of some lengths in appendix B: "0", " ", ":", "&", "!", "#".
        for (bits, first) in [
            (5, 0),
            (6, 0x14),
            (7, 0x5c),
            (8, 0xf8),
            (10, 0x3f8),
            (12, 0xffa),
        ] {
            assert_eq!(ENDS[bits] - CODES[bits], first, "{bits}");
        }
    }

    #[test]
    fn a_number_sign_is_found_where_it_is_one_and_nowhere_else() {
        for (bytes, found) in [
            // "/#", "/a#b", "/>" and "/$": the neighbours have the same length, or one bit more.
            (&[0x63, 0xfe, 0xbf][..], true),
            (&[0x60, 0x7f, 0xf5, 0x1f], true),
            (&[0x63, 0xfe, 0xff], false),
            (&[0x63, 0xff, 0x3f], false),
            // "www.example.com" and "custom-value" (appendices C.4.1 and C.4.3).
            (
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ],
                false,
            ),
            (
                &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
                false,
            ),
        ] {
            for size in 1..=bytes.len() {
                let mut search = Search::default();
                let found_cut = bytes.chunks(size).any(|piece| search.finds(piece, true));
                assert_eq!(found_cut, found, "{bytes:x?} in pieces of {size}");
            }
        }
        assert!(Search::default().finds(b"/a#b", false));
        assert!(!Search::default().finds(b"/a%23b", false));
    }
}
