//! How large a request may be before it is refused: owns the numbers and their defaults. Where a
//! user sets them is left to the options table.

/// Sizes beyond which a request is refused, all in bytes unless said otherwise.
///
/// Every value is capped at [`Limits::CEILING`] when it is used, so that offsets fit 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The request line without its CRLF; longer is 414 (RFC 9112, section 3).
    pub request_line: usize,
    /// All field lines together, with their CRLFs; longer is 431 (RFC 6585, section 5).
    pub header_bytes: usize,
    /// How many field lines; more is 431.
    pub fields: usize,
    /// One field line without its CRLF; longer is 431.
    pub field_size: usize,
    /// How many empty lines may precede the request line (RFC 9112, section 2.2); more is 400.
    pub leading_empty_lines: usize,
    /// One chunk extension, name and value; longer is 400.
    pub chunk_extension: usize,
    /// All chunk extensions of one body together; longer is 400.
    pub chunk_extensions: usize,
    /// The whole trailer section of one body; longer is 431.
    pub trailer_bytes: usize,
}

impl Limits {
    /// The largest useful value of any limit.
    pub const CEILING: usize = 1 << 28;

    /// The default limits, usable in constants.
    pub const DEFAULT: Self = Self {
        request_line: 8190,
        header_bytes: 32 * 1024,
        fields: 100,
        field_size: 8190,
        leading_empty_lines: 2,
        chunk_extension: 256,
        chunk_extensions: 8 * 1024,
        trailer_bytes: 8 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
