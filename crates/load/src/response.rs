//! Owns reading HTTP/1.1 responses (RFC 9112) without sockets: bytes in, where the response ends out.
//! Leaves counting and connections to the engine.
//!
//! Strict about everything that decides where a response ends, since a generator that guesses there
//! would count the rest of one response as the next; takes a bare LF, a missing reason and fields it
//! does not know, because servers send them and a load test is no judge of style.

use std::fmt;

use memchr::{memchr, memchr_iter, memrchr};

/// Longest head taken, the lines of all interim responses and of trailers included.
pub const HEAD_LIMIT: usize = 64 << 10;

/// Why bytes are no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Begins with something else than `HTTP/1.x` and a status (section 4).
    StatusLine,
    /// A line of the head that is no field (section 5).
    Field,
    /// `Content-Length` that is no number, or two that differ (section 6.3).
    Length,
    /// `Transfer-Encoding` whose last word is not `chunked` (section 6.3).
    Coding,
    /// A chunk's size or end is not what section 7.1 says.
    Chunk,
    /// A head longer than `HEAD_LIMIT`.
    HeadTooLong,
    /// A body longer than asked for.
    BodyTooLong,
    /// The connection ended inside the response.
    Truncated,
    /// Bytes after the end of the response that nobody asked for.
    Surplus,
}

impl Bad {
    /// A few words.
    pub fn words(self) -> &'static str {
        match self {
            Self::StatusLine => "no status line",
            Self::Field => "a line that is no field",
            Self::Length => "no usable Content-Length",
            Self::Coding => "unknown Transfer-Encoding",
            Self::Chunk => "broken chunk",
            Self::HeadTooLong => "head too long",
            Self::BodyTooLong => "body too long",
            Self::Truncated => "ended in the middle",
            Self::Surplus => "bytes after the end",
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// What a head said, as far as anybody asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status; 0 before a head was read.
    pub status: u16,
    /// Whether another request may follow on this connection.
    pub keep_alive: bool,
    /// `Location`, when fields are kept.
    pub location: Option<Box<[u8]>>,
    /// Each `Set-Cookie`, when fields are kept.
    pub cookies: Vec<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize { digits: u8, size: u64 },
    ChunkExtension { size: u64 },
    ChunkData(u64),
    ChunkEnd,
    Trailer { line: usize },
    UntilClose,
    Done,
}

/// Reads one response after the other.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// The part of a head that has come, when it did not come at once.
    partial: Vec<u8>,
    head: Head,
    head_bytes: usize,
    body_bytes: u64,
    body_limit: u64,
    of_head_request: bool,
    keep_fields: bool,
}

impl Decoder {
    /// For responses with bodies up to a length.
    pub fn new(body_limit: u64) -> Self {
        Self {
            state: State::Head,
            partial: Vec::new(),
            head: Head::default(),
            head_bytes: 0,
            body_bytes: 0,
            body_limit,
            of_head_request: false,
            keep_fields: false,
        }
    }

    /// Gets ready for the response to the next request.
    #[inline]
    pub fn expect(&mut self, of_head_request: bool, keep_fields: bool) {
        self.state = State::Head;
        self.partial.clear();
        self.head.status = 0;
        if self.keep_fields {
            self.head = Head::default();
        }
        self.head_bytes = 0;
        self.body_bytes = 0;
        self.of_head_request = of_head_request;
        self.keep_fields = keep_fields;
    }

    /// What the last head said.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Takes the head's facts out, for one who keeps them.
    pub fn take_head(&mut self) -> Head {
        std::mem::take(&mut self.head)
    }

    /// Bytes of the body so far.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Whether anything of this response has come.
    pub fn has_begun(&self) -> bool {
        self.head_bytes > 0 || !self.partial.is_empty() || self.state != State::Head
    }

    /// Takes bytes; `body` gets those of the body. True when the response is whole.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<bool, Bad> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.state {
                State::Head => self.feed_head(rest)?,
                State::Done => return Err(Bad::Surplus),
                State::Length(left) => {
                    let piece = take(rest, left);
                    let left = left - piece.len() as u64;
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Length(left)
                    };
                    self.count_body(piece)?;
                    body(piece);
                    piece.len()
                }
                State::UntilClose => {
                    self.count_body(rest)?;
                    body(rest);
                    rest.len()
                }
                State::ChunkData(left) => {
                    let piece = take(rest, left);
                    let left = left - piece.len() as u64;
                    self.state = if left == 0 {
                        State::ChunkEnd
                    } else {
                        State::ChunkData(left)
                    };
                    self.count_body(piece)?;
                    body(piece);
                    piece.len()
                }
                _ => self.feed_framing(rest)?,
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(self.state == State::Done)
    }

    /// The connection has ended: fine where the end of the connection is that of the body.
    pub fn end(&mut self) -> Result<(), Bad> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Bad::Truncated),
        }
    }

    fn count_body(&mut self, piece: &[u8]) -> Result<(), Bad> {
        self.body_bytes = self.body_bytes.saturating_add(piece.len() as u64);
        if self.body_bytes > self.body_limit {
            return Err(Bad::BodyTooLong);
        }
        Ok(())
    }

    fn count_head(&mut self, bytes: usize) -> Result<(), Bad> {
        self.head_bytes += bytes;
        if self.head_bytes > HEAD_LIMIT {
            return Err(Bad::HeadTooLong);
        }
        Ok(())
    }

    fn feed_head(&mut self, bytes: &[u8]) -> Result<usize, Bad> {
        if self.partial.is_empty() {
            if let Some(end) = end_of_head(bytes, 0) {
                self.count_head(end)?;
                self.read_head(bytes.get(..end).unwrap_or_default())?;
                return Ok(end);
            }
            look_early(bytes)?;
        }
        let before = self.partial.len();
        let room = HEAD_LIMIT.saturating_sub(self.head_bytes + before);
        self.partial
            .extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
        // The end may have begun in what was there.
        let Some(end) = end_of_head(&self.partial, before.saturating_sub(3)) else {
            look_early(&self.partial)?;
            if bytes.len() > room {
                return Err(Bad::HeadTooLong);
            }
            return Ok(bytes.len());
        };
        self.count_head(end)?;
        let mut partial = std::mem::take(&mut self.partial);
        let read = self.read_head(partial.get(..end).unwrap_or_default());
        partial.clear();
        self.partial = partial;
        read?;
        Ok(end.saturating_sub(before))
    }

    fn read_head(&mut self, head: &[u8]) -> Result<(), Bad> {
        let mut lines = Lines(head);
        let (minor, status) = status_line(lines.next().ok_or(Bad::StatusLine)?)?;
        if (100..200).contains(&status) {
            // Interim (RFC 9110, section 15.2); a switch of protocols was not asked for.
            return if status == 101 {
                Err(Bad::StatusLine)
            } else {
                Ok(())
            };
        }
        self.head.status = status;
        self.head.keep_alive = minor == 1;
        let (mut length, mut chunked): (Option<u64>, Option<bool>) = (None, None);
        for line in lines {
            if line.is_empty() || matches!(line.first(), Some(b' ' | b'\t')) {
                continue;
            }
            let colon = memchr(b':', line).ok_or(Bad::Field)?;
            let (name, value) = line.split_at(colon);
            if name.is_empty() || !name.iter().all(|byte| is_name_byte(*byte)) {
                return Err(Bad::Field);
            }
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            match name.len() {
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    for item in value.split(|byte| *byte == b',') {
                        let item = number(item.trim_ascii()).ok_or(Bad::Length)?;
                        if length.is_some_and(|length| length != item) {
                            return Err(Bad::Length);
                        }
                        length = Some(item);
                    }
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    let last = memrchr(b',', value).map_or(0, |at| at + 1);
                    let last = value.get(last..).unwrap_or_default().trim_ascii();
                    chunked = Some(last.eq_ignore_ascii_case(b"chunked"));
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    for word in value.split(|byte| *byte == b',') {
                        let word = word.trim_ascii();
                        if word.eq_ignore_ascii_case(b"close") {
                            self.head.keep_alive = false;
                        } else if minor == 0 && word.eq_ignore_ascii_case(b"keep-alive") {
                            self.head.keep_alive = true;
                        }
                    }
                }
                8 if self.keep_fields && name.eq_ignore_ascii_case(b"location") => {
                    self.head.location = Some(value.into());
                }
                10 if self.keep_fields && name.eq_ignore_ascii_case(b"set-cookie") => {
                    self.head.cookies.push(value.into());
                }
                _ => {}
            }
        }
        self.frame(length, chunked)
    }

    /// Where the body ends (section 6.3).
    fn frame(&mut self, length: Option<u64>, chunked: Option<bool>) -> Result<(), Bad> {
        let bodiless = self.of_head_request || matches!(self.head.status, 204 | 304);
        self.state = match (chunked, length) {
            _ if bodiless => State::Done,
            (Some(false), _) => return Err(Bad::Coding),
            (Some(true), length) => {
                // Both at once may be an attack: the connection is not used again.
                self.head.keep_alive &= length.is_none();
                State::ChunkSize { digits: 0, size: 0 }
            }
            (None, Some(0)) => State::Done,
            (None, Some(length)) => State::Length(length),
            (None, None) => {
                self.head.keep_alive = false;
                State::UntilClose
            }
        };
        Ok(())
    }

    /// One byte of the lines between chunks; they are short.
    fn feed_framing(&mut self, bytes: &[u8]) -> Result<usize, Bad> {
        let Some(byte) = bytes.first().copied() else {
            return Ok(0);
        };
        let after_size = |size| match size {
            0 => State::Trailer { line: 0 },
            size => State::ChunkData(size),
        };
        self.state = match (self.state, byte) {
            (State::ChunkSize { digits, size }, byte) if byte.is_ascii_hexdigit() => {
                if digits >= 15 {
                    return Err(Bad::Chunk);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                State::ChunkSize {
                    digits: digits + 1,
                    size: size << 4 | u64::from(digit),
                }
            }
            (State::ChunkSize { digits: 0, .. }, _) => return Err(Bad::Chunk),
            (State::ChunkSize { size, .. } | State::ChunkExtension { size }, b'\n') => {
                after_size(size)
            }
            (State::ChunkSize { size, .. }, b'\r' | b';' | b' ' | b'\t') => {
                State::ChunkExtension { size }
            }
            (State::ChunkExtension { size }, _) => {
                self.count_head(1)?;
                State::ChunkExtension { size }
            }
            (State::ChunkEnd, b'\r') => State::ChunkEnd,
            (State::ChunkEnd, b'\n') => State::ChunkSize { digits: 0, size: 0 },
            (State::Trailer { line: 0 }, b'\n') => State::Done,
            (State::Trailer { line: 0 }, b'\r') | (State::Trailer { .. }, b'\n') => {
                State::Trailer { line: 0 }
            }
            (State::Trailer { line }, _) => {
                self.count_head(1)?;
                State::Trailer { line: line + 1 }
            }
            (State::ChunkSize { .. } | State::ChunkEnd, _) => return Err(Bad::Chunk),
            (state, _) => state,
        };
        Ok(1)
    }
}

fn take(bytes: &[u8], most: u64) -> &[u8] {
    let len = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(..len).unwrap_or_default()
}

/// Where the empty line ends that ends a head.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let part = bytes.get(from..)?;
    memchr_iter(b'\n', part).find_map(|at| match part.get(at + 1..) {
        Some([b'\n', ..]) => Some(from + at + 2),
        Some([b'\r', b'\n', ..]) => Some(from + at + 3),
        _ => None,
    })
}

/// What cannot become a response is refused before its head is whole, which may be never.
fn look_early(bytes: &[u8]) -> Result<(), Bad> {
    let begin = b"HTTP/1.";
    let len = bytes.len().min(begin.len());
    if bytes.get(..len) == begin.get(..len) {
        Ok(())
    } else {
        Err(Bad::StatusLine)
    }
}

/// The minor version and the status (section 4).
fn status_line(line: &[u8]) -> Result<(u8, u16), Bad> {
    let rest = line.strip_prefix(b"HTTP/1.").ok_or(Bad::StatusLine)?;
    let [minor @ (b'0' | b'1'), b' ', a, b, c, rest @ ..] = rest else {
        return Err(Bad::StatusLine);
    };
    let digits = [*a, *b, *c];
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(rest.first(), None | Some(b' ')) {
        return Err(Bad::StatusLine);
    }
    let status = digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if (100..600).contains(&status) {
        Ok((minor - b'0', status))
    } else {
        Err(Bad::StatusLine)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
    )
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The lines of a head without their ends.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests;
