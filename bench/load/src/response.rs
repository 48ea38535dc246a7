//! Reads one HTTP/1.1 response from bytes as they come and compares its body with the expected one.
//! No I/O. RFC 9112 section 6.3 decides where a body ends; a client that never pipelines treats a byte
//! after that end as a fault.

/// A head or a chunk-size line longer than this is not from a server worth measuring.
const MAX_HEAD: usize = 64 * 1024;

/// What is wrong with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not HTTP/1.x, or framing that contradicts itself.
    Malformed,
    /// Another status than the expected one.
    Status,
    /// Another body than the expected one.
    Body,
    /// Bytes after the end of the response.
    Extra,
    /// The connection ended first.
    Cut,
}

/// Where reading stands after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The response goes on.
    More,
    /// It is complete.
    Done {
        /// Whether the server keeps the connection open.
        keep_alive: bool,
        /// A whole response, but not the expected one.
        wrong: Option<Fault>,
    },
}

/// What a response must be.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// The status code.
    pub status: u16,
    /// The exact body.
    pub body: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Counted {
        left: u64,
    },
    UntilClose,
    ChunkSize {
        size: u64,
        digits: u8,
        extension: bool,
    },
    ChunkData {
        left: u64,
    },
    ChunkEnd,
    Trailer {
        empty: bool,
    },
    Done,
}

/// A response being read.
pub struct Response {
    phase: Phase,
    /// The part of a head that came without its end; empty when heads come whole.
    head: Vec<u8>,
    status: u16,
    keep_alive: bool,
    /// How much of the expected body has been seen.
    matched: usize,
    body_equal: bool,
}

impl Response {
    /// Ready for a head.
    pub fn new() -> Self {
        Self {
            phase: Phase::Head,
            head: Vec::new(),
            status: 0,
            keep_alive: true,
            matched: 0,
            body_equal: true,
        }
    }

    /// Ready for the next response on the same connection.
    pub fn reset(&mut self) {
        self.phase = Phase::Head;
        self.head.clear();
        self.matched = 0;
        self.body_equal = true;
    }

    /// Whether not one byte of the response has come.
    pub fn is_untouched(&self) -> bool {
        self.phase == Phase::Head && self.head.is_empty()
    }

    /// Takes the bytes of one read.
    pub fn feed(&mut self, mut bytes: &[u8], expected: Expected<'_>) -> Result<Progress, Fault> {
        while !bytes.is_empty() {
            bytes = match self.phase {
                Phase::Head => self.head(bytes)?,
                Phase::Counted { left } => {
                    let (part, rest) = take(bytes, left);
                    self.compare(part, expected.body);
                    let left = left - part.len() as u64;
                    self.phase = if left == 0 {
                        Phase::Done
                    } else {
                        Phase::Counted { left }
                    };
                    rest
                }
                Phase::UntilClose => {
                    self.compare(bytes, expected.body);
                    &[]
                }
                Phase::Done => return Err(Fault::Extra),
                _ => self.chunked(bytes, expected.body)?,
            };
        }
        Ok(if self.phase == Phase::Done {
            self.verdict(expected)
        } else {
            Progress::More
        })
    }

    /// The server has closed its side.
    pub fn end(&mut self, expected: Expected<'_>) -> Result<Progress, Fault> {
        if self.phase != Phase::UntilClose {
            return Err(Fault::Cut);
        }
        self.keep_alive = false;
        self.phase = Phase::Done;
        Ok(self.verdict(expected))
    }

    fn verdict(&self, expected: Expected<'_>) -> Progress {
        let wrong = if self.status != expected.status {
            Some(Fault::Status)
        } else if !self.body_equal || self.matched != expected.body.len() {
            Some(Fault::Body)
        } else {
            None
        };
        Progress::Done {
            keep_alive: self.keep_alive,
            wrong,
        }
    }

    fn compare(&mut self, part: &[u8], expected: &[u8]) {
        let end = self.matched.saturating_add(part.len());
        self.body_equal &= expected.get(self.matched..end) == Some(part);
        self.matched = end;
    }

    /// Finds the end of the head; what follows it is given back.
    fn head<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Fault> {
        if self.head.is_empty() {
            if let Some(length) = head_length(bytes) {
                let (head, rest) = bytes.split_at_checked(length).ok_or(Fault::Malformed)?;
                self.interpret(head)?;
                return Ok(rest);
            }
            self.head.extend_from_slice(bytes);
            return Ok(&[]);
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        match head_length(&self.head) {
            Some(length) => {
                let mut head = std::mem::take(&mut self.head);
                head.truncate(length);
                self.interpret(&head)?;
                bytes
                    .get(length.saturating_sub(before)..)
                    .ok_or(Fault::Malformed)
            }
            None if self.head.len() > MAX_HEAD => Err(Fault::Malformed),
            None => Ok(&[]),
        }
    }

    fn interpret(&mut self, head: &[u8]) -> Result<(), Fault> {
        let mut lines = head
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii_end);
        let (minor, status) = lines.next().and_then(status_line).ok_or(Fault::Malformed)?;
        self.status = status;
        self.keep_alive = minor >= 1;
        let mut length = None;
        let mut chunked = false;
        for line in lines {
            // Four of the names a server sends begin with one of these letters; the rest is not our concern.
            if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
                continue;
            }
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let (name, value) = line.split_at_checked(colon).ok_or(Fault::Malformed)?;
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            if name.eq_ignore_ascii_case(b"content-length") {
                length = Some(decimal(value).ok_or(Fault::Malformed)?);
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if name.eq_ignore_ascii_case(b"connection") {
                if value.eq_ignore_ascii_case(b"close") {
                    self.keep_alive = false;
                } else if value.eq_ignore_ascii_case(b"keep-alive") {
                    self.keep_alive = true;
                }
            }
        }
        let bodiless = matches!(status, 204 | 304);
        self.phase = match (chunked, length) {
            _ if (100..200).contains(&status) => Phase::Head,
            _ if bodiless || (!chunked && length == Some(0)) => Phase::Done,
            (true, Some(_)) => return Err(Fault::Malformed),
            (true, None) => Phase::ChunkSize {
                size: 0,
                digits: 0,
                extension: false,
            },
            (false, Some(left)) => Phase::Counted { left },
            (false, None) => Phase::UntilClose,
        };
        Ok(())
    }

    /// One step through the chunked coding, RFC 9112 section 7.1.
    fn chunked<'b>(&mut self, bytes: &'b [u8], expected: &[u8]) -> Result<&'b [u8], Fault> {
        if let Phase::ChunkData { left } = self.phase {
            let (part, rest) = take(bytes, left);
            self.compare(part, expected);
            let left = left - part.len() as u64;
            self.phase = if left == 0 {
                Phase::ChunkEnd
            } else {
                Phase::ChunkData { left }
            };
            return Ok(rest);
        }
        let (&byte, rest) = bytes.split_first().ok_or(Fault::Malformed)?;
        self.phase = match (self.phase, byte) {
            (Phase::ChunkSize { digits: 0, .. }, b'\n') => return Err(Fault::Malformed),
            (Phase::ChunkSize { size: 0, .. }, b'\n') => Phase::Trailer { empty: true },
            (Phase::ChunkSize { size, .. }, b'\n') => Phase::ChunkData { left: size },
            (Phase::ChunkSize { size, digits, .. }, b';' | b' ' | b'\r') => Phase::ChunkSize {
                size,
                digits,
                extension: true,
            },
            (
                phase @ Phase::ChunkSize {
                    extension: true, ..
                },
                _,
            ) => phase,
            (Phase::ChunkSize { size, digits, .. }, digit) => {
                let value = char::from(digit).to_digit(16).ok_or(Fault::Malformed)?;
                if digits >= 15 {
                    return Err(Fault::Malformed);
                }
                Phase::ChunkSize {
                    size: size * 16 + u64::from(value),
                    digits: digits + 1,
                    extension: false,
                }
            }
            (Phase::ChunkEnd, b'\r') => Phase::ChunkEnd,
            (Phase::ChunkEnd, b'\n') => Phase::ChunkSize {
                size: 0,
                digits: 0,
                extension: false,
            },
            (Phase::Trailer { empty: true }, b'\n') => Phase::Done,
            (Phase::Trailer { .. }, b'\n') => Phase::Trailer { empty: true },
            (Phase::Trailer { empty }, b'\r') => Phase::Trailer { empty },
            (Phase::Trailer { .. }, _) => Phase::Trailer { empty: false },
            _ => return Err(Fault::Malformed),
        };
        Ok(rest)
    }
}

fn take(bytes: &[u8], left: u64) -> (&[u8], &[u8]) {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    bytes.split_at_checked(length).unwrap_or((bytes, &[]))
}

/// The length of a head, its empty line included.
fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|start| start + 4)
}

fn status_line(line: &[u8]) -> Option<(u8, u16)> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (&minor, rest) = rest.split_first()?;
    let status = decimal(rest.strip_prefix(b" ")?.get(..3)?)?;
    minor
        .is_ascii_digit()
        .then_some((minor - b'0', u16::try_from(status).ok()?))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Response on the wire, what it must be, whether the server then closes, the verdict.
    type Row = (&'static str, u16, &'static str, bool, Result<bool, Fault>);

    const ROWS: &[Row] = &[
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            200,
            "hello",
            false,
            Ok(true),
        ),
        (
            "HTTP/1.1 200\r\ncontent-length:5\r\n\r\nhello",
            200,
            "hello",
            false,
            Ok(true),
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
            200,
            "hello",
            false,
            Ok(false),
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
            200,
            "hi",
            false,
            Ok(true),
        ),
        ("HTTP/1.0 200 OK\r\n\r\nhi", 200, "hi", true, Ok(false)),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", false, Ok(true)),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            200,
            "",
            false,
            Ok(true),
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            200,
            "hi",
            false,
            Ok(true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n",
            200,
            "hello",
            false,
            Ok(true),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo",
            200,
            "hello",
            false,
            Err(Fault::Body),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell",
            200,
            "hello",
            false,
            Err(Fault::Body),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            200,
            "hello",
            true,
            Err(Fault::Cut),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!",
            200,
            "hi",
            false,
            Err(Fault::Extra),
        ),
        (
            "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nhi",
            200,
            "hi",
            false,
            Err(Fault::Status),
        ),
        (
            "HTTP/2 200 OK\r\n\r\n",
            200,
            "",
            true,
            Err(Fault::Malformed),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            200,
            "",
            true,
            Err(Fault::Malformed),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            200,
            "",
            true,
            Err(Fault::Malformed),
        ),
    ];

    fn read(pieces: &[&[u8]], expected: Expected<'_>, closes: bool) -> Result<bool, Fault> {
        let mut response = Response::new();
        let mut last = Progress::More;
        for piece in pieces {
            last = response.feed(piece, expected)?;
        }
        if closes && last == Progress::More {
            last = response.end(expected)?;
        }
        match last {
            Progress::Done { keep_alive, wrong } => wrong.map_or(Ok(keep_alive), Err),
            Progress::More => Err(Fault::Cut),
        }
    }

    #[test]
    fn every_row_is_read_whole_and_cut_at_every_byte() {
        for &(wire, status, body, closes, verdict) in ROWS {
            let expected = Expected {
                status,
                body: body.as_bytes(),
            };
            let wire = wire.as_bytes();
            assert_eq!(
                read(&[wire], expected, closes),
                verdict,
                "{}",
                wire.escape_ascii()
            );
            for cut in 1..wire.len() {
                let (first, second) = wire.split_at(cut);
                let seen = read(&[first, second], expected, closes);
                assert_eq!(seen, verdict, "{} cut at {cut}", wire.escape_ascii());
            }
        }
    }

    #[test]
    fn a_second_response_on_the_connection_starts_afresh() {
        let expected = Expected {
            status: 200,
            body: b"hi",
        };
        let wire = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        let mut response = Response::new();
        for _ in 0..2 {
            assert_eq!(
                response.feed(wire, expected),
                Ok(Progress::Done {
                    keep_alive: true,
                    wrong: None
                })
            );
            response.reset();
            assert!(response.is_untouched());
        }
    }
}
