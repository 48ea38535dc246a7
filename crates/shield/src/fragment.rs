//! Owns finding a fragment's number sign in a string of a header block, as it comes and without keeping it: a request's target has no fragment (RFC 9113, section 8.3.1;
//! RFC 9112, section 3.2), and the library behind drops what it finds of one.
//! Leaves which strings are looked at to `hpack`, and codes to `huffman`. Sans-IO.

use crate::huffman::Codes;

/// The coded number sign, and its bits.
const NUMBER_SIGN: (u32, usize) = (0xffa, 12);

/// A search that goes from one piece of a string to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Search {
    codes: Codes,
}

impl Search {
    /// Whether the next bytes of the string, which may be coded, show a number sign.
    pub fn finds(&mut self, bytes: &[u8], is_coded: bool) -> bool {
        if !is_coded {
            return bytes.contains(&b'#');
        }
        let mut is_found = false;
        while let Some(one) = self.codes.next(bytes) {
            is_found |= (one.number, one.bits) == NUMBER_SIGN;
        }
        is_found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
