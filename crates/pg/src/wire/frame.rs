//! Framing: where a message starts and ends, checked before anything is sized by it (B8).
//!
//! Owns the header of a typed message. A body is looked into in [`super::message`], and only when
//! somebody needs to.

/// The header of a typed message: one byte of type, four of length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The type of the message.
    pub tag: u8,
    /// Bytes of its body, without the header.
    pub body: u32,
}

/// A length no message of this type can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLength {
    /// The type it came with.
    pub tag: u8,
    /// The length as sent.
    pub length: u32,
}

impl Frame {
    /// Bytes of a header.
    pub const HEADER: usize = 5;
    /// PostgreSQL accepts no message that does not fit into 1 GiB less one byte.
    pub const MAX_LENGTH: u32 = 0x3fff_ffff;

    /// Decodes the header at the start of `input`; `None` when more bytes are needed.
    #[inline]
    pub fn decode(input: &[u8]) -> Result<Option<Self>, BadLength> {
        let Some((&[tag, a, b, c, d], _)) = input.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        if !(4..=Self::MAX_LENGTH).contains(&length) {
            return Err(BadLength { tag, length });
        }
        Ok(Some(Self {
            tag,
            body: length - 4,
        }))
    }

    /// Bytes of header and body.
    #[inline]
    pub const fn total(self) -> usize {
        Self::HEADER + self.body as usize
    }

    /// The body, when all of the message is at the start of `input`.
    #[inline]
    pub fn body_of(self, input: &[u8]) -> Option<&[u8]> {
        input.get(Self::HEADER..self.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b8_a_length_is_checked_before_it_is_widened() {
        type Row = (&'static [u8], Result<Option<Frame>, BadLength>);
        let rows: [Row; 6] = [
            (b"", Ok(None)),
            (b"Q\0\0\0", Ok(None)),
            (b"Z\0\0\0\x05I", Ok(Some(Frame { tag: b'Z', body: 1 }))),
            (
                b"Z\0\0\0\x03",
                Err(BadLength {
                    tag: b'Z',
                    length: 3,
                }),
            ),
            (
                b"D\xff\xff\xff\xff",
                Err(BadLength {
                    tag: b'D',
                    length: u32::MAX,
                }),
            ),
            (
                b"D\x40\0\0\0",
                Err(BadLength {
                    tag: b'D',
                    length: 0x4000_0000,
                }),
            ),
        ];
        for (input, expected) in rows {
            assert_eq!(Frame::decode(input), expected, "{input:?}");
        }
        let most = Frame::decode(b"D\x3f\xff\xff\xff").unwrap().unwrap();
        assert_eq!(most.total(), 0x3fff_ffff + 1);
    }
}
