//! Owns cutting a coded string into its codes (RFC 7541, section 5.2 and appendix B), as the string comes and
//! without decoding it.
//! Leaves what a code is of, and what becomes of it, to `fragment` and `mend`. Sans-IO.

/// How many codes there are of each length in bits, from 0 on (appendix B).
const CODES: [u64; LENGTHS] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];
const LENGTHS: usize = 31;

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
