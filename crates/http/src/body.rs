//! The body of a request: owns unframing it, by length or by chunks (RFC 9112, sections 6 and 7.1).
//! Storing the bytes and waiting for more are left to the front.
//!
//! Chunk lines are held to the letter of the grammar: no bare LF, extensions only as `;name` or
//! `;name=value`, white space only around `;` and `=`. Every leniency here has been a smuggling hole
//! somewhere.
//! Trailers are checked, counted and dropped; they never become fields of the request. Those that
//! would change the request if somebody did merge them are refused.

use crate::head::Framing;
use crate::limits::Limits;
use crate::name::KnownName;
use crate::reject::Reject;
use crate::scan;
use crate::target::hex_digit;

/// No name forbidden in a trailer section is longer; longer names need not be remembered.
const LONGEST_FORBIDDEN: usize = 32;

/// Unframes one request body.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    state: State,
    /// Bytes left of the body, or of the current chunk.
    remaining: u64,
    /// Body bytes announced so far.
    announced: u64,
    max_body: u64,
    size_digits: u8,
    extension: usize,
    extensions: usize,
    trailer: usize,
    trailer_name: [u8; LONGEST_FORBIDDEN],
    trailer_name_length: usize,
    limits: Limits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length,
    Size,
    /// White space, which only an extension may follow.
    SizeSpace,
    SizeLf,
    ExtensionName {
        empty: bool,
    },
    /// White space behind the name or the value.
    ExtensionSpace {
        named: bool,
    },
    ExtensionValue {
        empty: bool,
    },
    ExtensionQuoted,
    ExtensionQuotedPair,
    ExtensionEnd,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// What one call to [`BodyDecoder::next`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// How many bytes of the input are used up.
    pub consumed: usize,
    /// The body bytes among them; may be empty.
    pub data: &'a [u8],
}

/// What one call to [`BodyDecoder::decode`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes of the input are used up.
    pub consumed: usize,
    /// Whether the body is complete. What follows belongs to the next request.
    pub done: bool,
}

impl BodyDecoder {
    /// A decoder for a body framed as `framing`. Refuses a length over `max_body` at once, before
    /// any of the body is read.
    pub fn new(framing: Framing, max_body: u64, limits: &Limits) -> Result<Self, Reject> {
        let (state, remaining) = match framing {
            Framing::None | Framing::Length(0) => (State::Done, 0),
            Framing::Length(length) if length > max_body => return Err(Reject::BodyTooLarge),
            Framing::Length(length) => (State::Length, length),
            Framing::Chunked => (State::Size, 0),
        };
        Ok(Self {
            state,
            remaining,
            announced: remaining,
            max_body,
            size_digits: 0,
            extension: 0,
            extensions: 0,
            trailer: 0,
            trailer_name: [0; LONGEST_FORBIDDEN],
            trailer_name_length: 0,
            limits: *limits,
        })
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Body bytes announced so far: the whole length when it is known, else the chunks begun.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// Takes input up to the end of the first run of body bytes, without copying. Call again with
    /// the rest of the input until it is used up or [`BodyDecoder::is_done`].
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Piece<'a>, Reject> {
        let mut consumed = 0;
        while let Some(rest) = input.get(consumed..)
            && let Some(&byte) = rest.first()
        {
            match self.state {
                State::Done => break,
                State::Length | State::Data => {
                    let data = self.take(rest);
                    return Ok(Piece {
                        consumed: consumed + data.len(),
                        data,
                    });
                }
                _ => self.state = self.step(byte)?,
            }
            consumed += 1;
        }
        Ok(Piece {
            consumed,
            data: &[],
        })
    }

    /// Takes all of the input that belongs to the body and appends its body bytes to `out`.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, Reject> {
        let mut consumed = 0;
        while let Some(rest) = input.get(consumed..)
            && !rest.is_empty()
            && !self.is_done()
        {
            let piece = self.next(rest)?;
            out.extend_from_slice(piece.data);
            consumed += piece.consumed;
        }
        Ok(Decoded {
            consumed,
            done: self.is_done(),
        })
    }

    fn take<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let wanted = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(input.len());
        let data = input.get(..wanted).unwrap_or_default();
        self.remaining -= data.len() as u64;
        if self.remaining == 0 {
            self.state = if self.state == State::Length {
                State::Done
            } else {
                State::DataCr
            };
        }
        data
    }

    fn step(&mut self, byte: u8) -> Result<State, Reject> {
        match self.state {
            State::Length | State::Data | State::Done => Ok(self.state),
            State::Size => self.size(byte),
            State::SizeLf if byte == b'\n' => self.size_complete(),
            State::ExtensionName { .. }
            | State::ExtensionSpace { .. }
            | State::ExtensionValue { .. }
            | State::ExtensionQuoted
            | State::ExtensionQuotedPair
            | State::ExtensionEnd
            | State::SizeSpace => self.extension(byte),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => {
                self.size_digits = 0;
                Ok(State::Size)
            }
            State::DataCr | State::DataLf => Err(Reject::ChunkSpill),
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::EndLf => self.trailer(byte),
            State::SizeLf => Err(Reject::BareCr),
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, Reject> {
        if let Some(digit) = hex_digit(byte) {
            // Sixteen digits fill 64 bits, so nothing is shifted out.
            if self.size_digits == 16 {
                return Err(Reject::BadChunkSize);
            }
            self.size_digits += 1;
            self.remaining = self.remaining << 4 | u64::from(digit);
            return Ok(State::Size);
        }
        match byte {
            _ if self.size_digits == 0 => Err(Reject::BadChunkSize),
            b'\r' => Ok(State::SizeLf),
            b';' => Ok(self.next_extension()),
            b' ' | b'\t' => {
                self.extension = 0;
                Ok(State::SizeSpace)
            }
            b'\n' => Err(Reject::BareLf),
            _ => Err(Reject::BadChunkSize),
        }
    }

    fn size_complete(&mut self) -> Result<State, Reject> {
        if self.remaining == 0 {
            return Ok(State::TrailerStart);
        }
        self.announced = self
            .announced
            .checked_add(self.remaining)
            .filter(|&announced| announced <= self.max_body)
            .ok_or(Reject::BodyTooLarge)?;
        Ok(State::Data)
    }

    fn next_extension(&mut self) -> State {
        self.extension = 0;
        State::ExtensionName { empty: true }
    }

    fn extension(&mut self, byte: u8) -> Result<State, Reject> {
        let next = match (self.state, byte) {
            // Around `;` and `=` white space is bad and has to be read (RFC 9112, section 7.1.1); at
            // the end of the line there is none.
            (
                State::SizeSpace
                | State::ExtensionName { empty: true }
                | State::ExtensionValue { empty: true }
                | State::ExtensionSpace { .. },
                b' ' | b'\t',
            ) => self.state,
            (State::SizeSpace | State::ExtensionSpace { .. }, b';') => self.next_extension(),
            (State::ExtensionName { empty: false }, b' ' | b'\t') => {
                State::ExtensionSpace { named: true }
            }
            (State::ExtensionValue { empty: false } | State::ExtensionEnd, b' ' | b'\t') => {
                State::ExtensionSpace { named: false }
            }
            (State::ExtensionQuotedPair, _) if !scan::is_forbidden_in_value(byte) => {
                State::ExtensionQuoted
            }
            (State::ExtensionQuoted, b'"') => State::ExtensionEnd,
            (State::ExtensionQuoted, b'\\') => State::ExtensionQuotedPair,
            (State::ExtensionQuoted, _) if !scan::is_forbidden_in_value(byte) => self.state,
            (State::ExtensionName { .. }, _) if scan::is_token_byte(byte) => {
                State::ExtensionName { empty: false }
            }
            (
                State::ExtensionName { empty: false } | State::ExtensionSpace { named: true },
                b'=',
            ) => State::ExtensionValue { empty: true },
            (State::ExtensionValue { empty: true }, b'"') => State::ExtensionQuoted,
            (State::ExtensionValue { .. }, _) if scan::is_token_byte(byte) => {
                State::ExtensionValue { empty: false }
            }
            (
                State::ExtensionName { empty: false }
                | State::ExtensionValue { empty: false }
                | State::ExtensionEnd,
                b'\r' | b';',
            ) => {
                if byte == b'\r' {
                    return Ok(State::SizeLf);
                }
                self.next_extension()
            }
            (_, b'\n') => return Err(Reject::BareLf),
            (State::SizeSpace, _) => return Err(Reject::BadChunkSize),
            _ => return Err(Reject::BadChunkExtension),
        };
        self.extension += 1;
        self.extensions += 1;
        if self.extension > self.limits.chunk_extension
            || self.extensions > self.limits.chunk_extensions
        {
            return Err(Reject::ChunkExtensionTooLong);
        }
        Ok(next)
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Reject> {
        self.trailer += 1;
        if self.trailer > self.limits.trailer_bytes {
            return Err(Reject::TrailerTooLarge);
        }
        match (self.state, byte) {
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::EndLf | State::TrailerLf, _) => Err(Reject::BareCr),
            (_, b'\n') => Err(Reject::BareLf),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart, b' ' | b'\t') => Err(Reject::FoldedLine),
            (State::TrailerStart, b':') => Err(Reject::EmptyFieldName),
            (State::TrailerName, b':') => self.trailer_name_complete(),
            (State::TrailerName, b' ' | b'\t') => Err(Reject::SpaceBeforeColon),
            (State::TrailerName, b'\r') => Err(Reject::NoColon),
            (State::TrailerStart | State::TrailerName, _) if scan::is_token_byte(byte) => {
                if let Some(slot) = self.trailer_name.get_mut(self.trailer_name_length) {
                    *slot = byte;
                }
                self.trailer_name_length += 1;
                Ok(State::TrailerName)
            }
            (State::TrailerStart | State::TrailerName, _) => Err(Reject::BadFieldName),
            (_, b'\r') => Ok(State::TrailerLf),
            _ if scan::is_forbidden_in_value(byte) => Err(Reject::ControlByte),
            _ => Ok(State::TrailerValue),
        }
    }

    fn trailer_name_complete(&mut self) -> Result<State, Reject> {
        // A name longer than the array is not looked up, and none of those is forbidden.
        let name = self
            .trailer_name
            .get(..self.trailer_name_length)
            .unwrap_or_default();
        self.trailer_name_length = 0;
        if KnownName::classify(name).is_forbidden_in_trailer() {
            return Err(Reject::ForbiddenTrailer);
        }
        Ok(State::TrailerValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(input: &[u8]) -> Result<(Vec<u8>, Decoded), Reject> {
        let mut out = Vec::new();
        let mut decoder = BodyDecoder::new(Framing::Chunked, 1000, &Limits::DEFAULT)?;
        decoder
            .decode(input, &mut out)
            .map(|decoded| (out, decoded))
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
        let input = b"3\r\nabc\r\n00A;x=\"q\\\"\";y\r\n0123456789\r\n0\r\nT: v\r\n\r\nGET";
        let (body, decoded) = chunked(input).unwrap();
        assert_eq!(body, b"abc0123456789");
        assert_eq!(
            decoded,
            Decoded {
                consumed: input.len() - 3,
                done: true
            }
        );
    }

    #[test]
    fn the_next_chunk_starts_from_nothing() {
        let (body, _) = chunked(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n").unwrap();
        assert_eq!(body, b"ab");
    }

    #[test]
    fn a_body_over_the_limit_is_refused_when_announced() {
        assert_eq!(chunked(b"3E8\r\n").unwrap().0, b"");
        assert_eq!(chunked(b"3E9\r\n"), Err(Reject::BodyTooLarge));
        assert_eq!(chunked(b"ffffffffffffffff\r\n"), Err(Reject::BodyTooLarge));
        let two = [b"3E7\r\n".as_slice(), &[b'x'; 999], b"\r\n2\r\n"].concat();
        assert_eq!(chunked(&two), Err(Reject::BodyTooLarge));
        let length = BodyDecoder::new(Framing::Length(1001), 1000, &Limits::DEFAULT);
        assert_eq!(length.err(), Some(Reject::BodyTooLarge));
    }

    #[test]
    fn limits_hold_for_extensions_and_trailers() {
        let extension = |n: usize| format!("1;{}\r\n", "x".repeat(n)).into_bytes();
        assert!(chunked(&extension(256)).is_ok());
        assert_eq!(chunked(&extension(257)), Err(Reject::ChunkExtensionTooLong));
        let many = format!("1{}\r\n", ";abcdefg".repeat(1200));
        assert_eq!(chunked(many.as_bytes()), Err(Reject::ChunkExtensionTooLong));
        let trailer = |n: usize| format!("0\r\nA:{}\r\n\r\n", "x".repeat(n)).into_bytes();
        assert!(chunked(&trailer(8192 - 6)).unwrap().1.done);
        assert_eq!(chunked(&trailer(8192 - 5)), Err(Reject::TrailerTooLarge));
    }

    #[test]
    fn a_length_is_taken_exactly() {
        let mut decoder = BodyDecoder::new(Framing::Length(4), 1000, &Limits::DEFAULT).unwrap();
        let mut out = Vec::new();
        let first = decoder.decode(b"ab", &mut out).unwrap();
        assert_eq!(
            first,
            Decoded {
                consumed: 2,
                done: false
            }
        );
        let second = decoder.decode(b"cdGET", &mut out).unwrap();
        assert_eq!(
            second,
            Decoded {
                consumed: 2,
                done: true
            }
        );
        assert_eq!(out, b"abcd");
    }

    #[test]
    fn trailers_that_would_change_the_request_are_refused_in_any_case_and_place() {
        for &name in KnownName::ALL {
            let input = format!("0\r\nX-A: b\r\n{}: 1\r\n\r\n", name.as_str().to_uppercase());
            let refused = chunked(input.as_bytes()) == Err(Reject::ForbiddenTrailer);
            assert_eq!(refused, name.is_forbidden_in_trailer(), "{name:?}");
        }
    }
}
