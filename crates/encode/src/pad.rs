//! Bytes without meaning that make the length of an answer uncertain ("Heal the BREACH", Palacios
//! et al., 2022; Django's `GZipMiddleware` has the same): owns their form in each coding. Leaves the
//! random number to the caller.

use crate::Coding;

/// So many bytes, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pad(u8);

/// The most bytes a pad has.
const MOST: u64 = 100;

impl Pad {
    /// For an answer without secrets, a page that everybody gets.
    pub const NONE: Self = Self(0);

    /// From a number that nobody can foretell: 1 to 100 bytes, each length as likely as another.
    pub fn random(number: u64) -> Self {
        Self((number % MOST) as u8 + 1)
    }

    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    fn filling(self) -> impl Iterator<Item = u8> {
        std::iter::repeat_n(b'a', usize::from(self.0))
    }

    /// The file's name in the header (RFC 1952, section 2.3.1), with the zero that ends it.
    pub(crate) fn write_gzip_name(self, out: &mut Vec<u8>) {
        out.extend(self.filling());
        out.push(0);
    }

    /// A skippable frame (RFC 8878, section 3.1.2). It stands behind the content: some decoders take
    /// the end of any frame before it for the end of all.
    pub(crate) fn write_zstd_frame(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&0x184D_2A50_u32.to_le_bytes());
        out.extend_from_slice(&u32::from(self.0).to_le_bytes());
        out.extend(self.filling());
    }

    /// A meta-block that holds metadata alone (RFC 7932, section 9.2), for a stream that ends at a
    /// whole byte: not the last (0), no nibbles (11), reserved (0), one byte of length (01), the
    /// length less one, and the rest of the byte; from the lowest bit up.
    pub(crate) fn write_brotli_block(self, out: &mut Vec<u8>) {
        let length = u16::from(self.0.saturating_sub(1));
        out.extend_from_slice(&(0b01_0110 | (length << 6)).to_le_bytes());
        out.extend(self.filling());
    }

    /// Bytes that it adds to an answer, at most.
    pub(crate) fn overhead(self, coding: Coding) -> usize {
        let around = match coding {
            Coding::Identity => return 0,
            Coding::Gzip => 1,
            Coding::Brotli | Coding::Zstd => 8,
        };
        usize::from(self.0) + around
    }
}
