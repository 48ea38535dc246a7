//! Owns cutting a coded string into its codes (RFC 7541, section 5.2 and appendix B), as the string comes and
//! without decoding it.
//! Leaves what may not be in it, and what becomes of that, to `mend`. Sans-IO.

/// How many codes there are of each length in bits, from 0 on (appendix B).
const CODES: [u64; LENGTHS] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];
const LENGTHS: usize = 31;

/// What the codes are of, the shortest first. The last code, which is not among them, is no byte: it ends the
/// connection wherever it stands (section 5.2).
const BYTES: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57,
    61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71,
    72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119,
    120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91,
    93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161,
    167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156,
    160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1,
    135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174,
    175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206, 215, 225,
    236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242,
    243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252,
    253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28,
    29, 30, 31, 127, 220, 249, 10, 13, 22,
];

/// The first number of each length that is no whole code, filled up with zeros to 32 bits. Codes are handed out
/// in order, the shortest first, so that this is enough to tell where one ends.
const ENDS: [u64; LENGTHS] = {
    let mut ends = [0; LENGTHS];
    let (mut end, mut bits) = (0, 0);
    while bits < LENGTHS {
        end = end * 2 + CODES[bits];
        ends[bits] = end << (32 - bits);
        bits += 1;
    }
    ends
};

/// How long the code is that each byte begins with; 0 if it is longer than that.
const SHORT: [u8; 256] = {
    let mut short = [0; 256];
    let mut first = 0;
    while first < short.len() {
        let mut bits = 1;
        while bits <= 8 && short[first] == 0 {
            if (first as u64) << 24 < ENDS[bits] {
                short[first] = bits as u8;
            }
            bits += 1;
        }
        first += 1;
    }
    short
};
/// The shortest of the others.
const LONGER: usize = 10;

/// How many codes are shorter than each length.
const SHORTER: [usize; LENGTHS] = {
    let mut shorter = [0; LENGTHS];
    let mut bits = 1;
    while bits < LENGTHS {
        shorter[bits] = shorter[bits - 1] + CODES[bits - 1] as usize;
        bits += 1;
    }
    shorter
};

/// The first number of the codes of a length, and what they are of in order. Lengths beyond the longest have none.
pub(crate) fn of_length(bits: usize) -> (u32, &'static [u8]) {
    let (Some(end), Some(count)) = (ENDS.get(bits), CODES.get(bits)) else {
        return (0, &[]);
    };
    let first = (end >> (32 - bits)) - count;
    let from = SHORTER.get(bits).copied().unwrap_or_default();
    let to = BYTES.len().min(from + *count as usize);
    (first as u32, BYTES.get(from..to).unwrap_or_default())
}

/// A whole code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    /// Its bits, as a number.
    pub number: u32,
    /// How many it has.
    pub bits: usize,
    /// The bit behind it, of the piece that it ends in.
    pub end: usize,
}

impl Code {
    /// What it is of; none where it is the code that ends the connection.
    pub fn byte(self) -> Option<u8> {
        let (first, bytes) = of_length(self.bits);
        let at = self.number.checked_sub(first)?;
        bytes.get(at as usize).copied()
    }
}

/// Whether nine bits in a row are ones somewhere in these bytes.
pub(crate) fn has_nine_ones(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        let mut eight = [0; 8];
        for (place, byte) in eight.iter_mut().zip(rest) {
            *place = *byte;
        }
        let word = u64::from_be_bytes(eight);
        // The bits with which two, four, eight of them begin.
        let two = word & word << 1;
        let four = two & two << 2;
        let eight = four & four << 4;
        if eight & word << 8 != 0 {
            return true;
        }
        if rest.len() <= 8 {
            return false;
        }
        // Those that reach from one word into the next are whole in it.
        rest = rest.get(6..).unwrap_or_default();
    }
}

/// A string that is cut into its codes, from one piece to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Codes {
    /// What has come and is not cut yet are the lowest `bits` of these.
    came: u64,
    bits: usize,
    /// How many bytes of the piece have come.
    at: usize,
}

impl Codes {
    /// The next code that ends in this piece, which must be the same until there is none; what is before the
    /// code's end may be written meanwhile.
    #[inline]
    pub fn next(&mut self, piece: &[u8]) -> Option<Code> {
        loop {
            if let Some(length) = first_of(self.came, self.bits) {
                self.bits -= length;
                return Some(Code {
                    number: (self.came >> self.bits) as u32 & (u32::MAX >> (32 - length)),
                    bits: length,
                    end: self.at * 8 - self.bits,
                });
            }
            // No code has more than 30 bits, and so there is room for 32 more.
            let rest = piece.get(self.at..).unwrap_or_default();
            if let Some(four) = rest.first_chunk::<4>() {
                self.came = self.came << 32 | u64::from(u32::from_be_bytes(*four));
                self.bits += 32;
                self.at += 4;
            } else if let Some(byte) = rest.first() {
                self.came = self.came << 8 | u64::from(*byte);
                self.bits += 8;
                self.at += 1;
            } else {
                self.at = 0;
                return None;
            }
        }
    }
}

/// How long the first code is of the lowest `bits` of these, if it is whole.
#[inline]
fn first_of(came: u64, bits: usize) -> Option<usize> {
    // The first 32 of them, filled up with zeros: a code that is whole does not change with what is behind it.
    let first = if bits < 32 {
        came << (32 - bits)
    } else {
        came >> (bits - 32)
    } & 0xffff_ffff;
    let short = SHORT.get((first >> 24) as usize).copied().unwrap_or(0);
    let length = match short {
        0 => (LONGER..LENGTHS).find(|length| ENDS.get(*length).is_some_and(|end| first < *end))?,
        short => usize::from(short),
    };
    (length <= bits).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_of_the_codes_leave_none_unused() {
        assert_eq!(CODES.iter().sum::<u64>(), 257);
        assert_eq!(ENDS[30], 1 << 32);
        // The first of some lengths in appendix B: "0", " ", ":", "&", "!", "#".
        for (bits, first) in [
            (5, 0),
            (6, 0x14),
            (7, 0x5c),
            (8, 0xf8),
            (10, 0x3f8),
            (12, 0xffa),
        ] {
            assert_eq!((ENDS[bits] >> (32 - bits)) - CODES[bits], first, "{bits}");
        }
    }

    #[test]
    fn a_code_is_of_the_byte_that_the_specification_names() {
        for (number, bits, byte) in [
            (0, 5, Some(b'0')),
            (0x14, 6, Some(b' ')),
            (0x5c, 7, Some(b':')),
            (0xfd, 8, Some(b'Z')),
            (0x3f8, 10, Some(b'!')),
            (0xffa, 12, Some(b'#')),
            (0x1ff8, 13, Some(0)),
            (0x7ff0, 15, None),
            (0x7fff0, 19, Some(b'\\')),
            (0xff_ffea, 24, Some(b'\t')),
            (0x3ff_ffee, 26, Some(255)),
            (0xfff_fffe, 28, Some(249)),
            (0x3fff_fffc, 30, Some(b'\n')),
            (0x3fff_fffd, 30, Some(b'\r')),
            (0x3fff_fffe, 30, Some(22)),
            (0x3fff_ffff, 30, None),
        ] {
            let end = bits;
            assert_eq!(Code { number, bits, end }.byte(), byte, "{number:x}");
        }
        let mut bytes = BYTES;
        bytes.sort_unstable();
        assert!((0..=255).eq(bytes));
        assert_eq!(of_length(31), (0, &[][..]));
    }

    #[test]
    fn nine_ones_in_a_row_are_found_wherever_they_stand() {
        for length in 0..20_usize {
            for count in [8, 9, 10] {
                for first in 0..(length * 8 + 1).saturating_sub(count) {
                    let mut bytes = vec![0_u8; length];
                    for bit in first..first + count {
                        bytes[bit / 8] |= 0x80 >> (bit % 8);
                    }
                    assert_eq!(has_nine_ones(&bytes), count > 8, "{bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn a_string_is_cut_into_the_same_codes_in_pieces_of_every_size() {
        // Every code, the shortest first, and then in the other order.
        let mut expected = Vec::new();
        for bits in 1..LENGTHS {
            let end = ENDS[bits] >> (32 - bits);
            expected.extend((end - CODES[bits]..end).map(|code| (code as u32, bits)));
        }
        let back: Vec<_> = expected.iter().rev().copied().collect();
        expected.extend(back);
        let mut written: Vec<bool> = Vec::new();
        for (code, bits) in &expected {
            written.extend((0..*bits).rev().map(|bit| code >> bit & 1 == 1));
        }
        let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        // What is left of the last byte is no code: seven ones at most.
        written.resize(written.len().next_multiple_of(8), true);
        let bytes: Vec<u8> = written.chunks(8).map(byte).collect();
        for size in [1, 2, 3, 4, 5, 7, 64, bytes.len()] {
            let (mut found, mut codes, mut before) = (Vec::new(), Codes::default(), 0);
            for piece in bytes.chunks(size) {
                let mut ends = Vec::new();
                while let Some(one) = codes.next(piece) {
                    found.push((one.number, one.bits));
                    ends.push(before + one.end);
                }
                assert!(
                    ends.is_sorted() && ends.iter().all(|end| *end <= before + piece.len() * 8)
                );
                before += piece.len() * 8;
            }
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }
}
