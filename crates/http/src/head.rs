//! The head of a request: owns finding its lines in a growing buffer and the parsed form. The
//! grammar of the lines is in [`crate::request_line`] and [`crate::field`].

use crate::field::{self, Facts};
use crate::limits::Limits;
use crate::name::KnownName;
use crate::reject::Reject;
use crate::request_line::{self, Method, TargetForm, Version};
use crate::scan;

/// A range of the buffer a head was decoded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Where it starts.
    pub start: u32,
    /// Where it ends, exclusive.
    pub end: u32,
}

impl Span {
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // Heads are shorter than 2 * Limits::CEILING, so offsets fit.
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of this span; empty when `buf` is not the buffer it was made from.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// Whether it spans nothing.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Whether a field may be shown to the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldClass {
    /// Pass it on.
    Normal,
    /// The name has an underscore, so that in a CGI-style environment it would be
    /// indistinguishable from the name with a dash. Drop and count.
    Underscore,
    /// `Proxy`, which CGI-style environments turn into `HTTP_PROXY`, a setting of many HTTP
    /// clients (CVE-2016-5385). Drop and count.
    Proxy,
}

/// One field line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name, as sent.
    pub name: Span,
    /// Its value, without white space around it.
    pub value: Span,
    /// Its name, when well known.
    pub known: KnownName,
    /// Whether the app may see it.
    pub class: FieldClass,
}

/// How the end of the request body is found (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body comes in chunks.
    Chunked,
}

/// A decoded request head. Made once and reused, so that a connection allocates for its first
/// request only. Spans refer to the buffer given to [`HeadDecoder::decode`].
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
pub struct Head {
    /// The method, as far as it matters here.
    pub method: Method,
    /// The method's text.
    pub method_span: Span,
    /// The target, as sent.
    pub target_span: Span,
    /// How the target was written.
    pub form: TargetForm,
    /// The authority of an absolute target; empty in the other forms.
    pub authority_span: Span,
    /// The raw path; see [`Head::path`].
    pub path_span: Span,
    /// The raw query without its question mark.
    pub query_span: Span,
    /// Whether the path has percent escapes. They are already checked, so
    /// [`crate::target::decode_path`] does not fail on this path.
    pub path_is_escaped: bool,
    /// The protocol version.
    pub version: Version,
    /// The field lines in the order they came.
    pub fields: Vec<Field>,
    /// How the end of the body is found.
    pub framing: Framing,
    /// Whether the client lets the connection be used again (RFC 9112, section 9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends its body.
    pub expects_continue: bool,
    /// Whether the client asks to switch to another protocol. Nothing is switched here: bytes
    /// behind the head stay HTTP until the app has answered 101.
    pub wants_upgrade: bool,
    /// The Host field, or the authority of an absolute target; empty in HTTP/1.0 without either.
    pub host_span: Span,
    /// How many bytes of the buffer the head takes, empty lines before it included.
    pub length: usize,
    pub(crate) seen: u128,
    pub(crate) facts: Facts,
}

impl Head {
    /// A head to decode into.
    pub fn new() -> Self {
        Self::default()
    }

    /// The raw path: `/` when an absolute target has none, `*` in the asterisk form.
    pub fn path<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        if self.path_span.is_empty() {
            b"/"
        } else {
            self.path_span.of(buf)
        }
    }

    /// The raw query, empty when there is none.
    pub fn query<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        self.query_span.of(buf)
    }

    /// Whether a field with this name came. Always false for [`KnownName::Other`].
    #[inline]
    pub fn has(&self, name: KnownName) -> bool {
        self.seen & name.bit() != 0
    }

    /// The value of the first field with this name.
    pub fn value<'a>(&self, buf: &'a [u8], name: KnownName) -> Option<&'a [u8]> {
        if !self.has(name) {
            return None;
        }
        self.fields
            .iter()
            .find(|field| field.known == name)
            .map(|field| field.value.of(buf))
    }

    fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }
}

/// Whether a head is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Partial,
    /// The head is complete.
    Complete,
}

/// Decodes one request head after another from a growing buffer, looking at each byte once however
/// small the pieces it arrives in.
///
/// What is wrong is refused as soon as it has arrived: a bad byte, a bare LF or a line over its
/// limit at once, anything else when its line ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadDecoder {
    /// Where the current line starts.
    line_at: usize,
    /// Up to where the current line was searched for its end.
    searched: usize,
    /// Where the field lines start; zero before that.
    fields_at: usize,
    empty_lines: usize,
}

impl HeadDecoder {
    /// A decoder at the start of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether part of a request has been seen, empty lines not counted.
    pub fn is_inside_request(&self, buf: &[u8]) -> bool {
        self.fields_at != 0 || buf.get(self.line_at).is_some_and(|&byte| byte != b'\r')
    }

    /// Decodes as much of `buf` as there is. `buf` starts at the first byte not consumed by the
    /// request before and has only grown since the last call for this request; `head` is the same
    /// one at each call until it is complete. After [`Progress::Complete`] the decoder is ready
    /// for the next request, whose buffer starts `head.length` bytes (and a body) later.
    pub fn decode(
        &mut self,
        limits: &Limits,
        buf: &[u8],
        head: &mut Head,
    ) -> Result<Progress, Reject> {
        if self.fields_at == 0 {
            if self.searched == 0 {
                head.clear();
            }
            if self.request_line(limits, buf, head)? == Progress::Partial {
                return Ok(Progress::Partial);
            }
        }
        self.field_lines(limits, buf, head)
    }

    fn request_line(
        &mut self,
        limits: &Limits,
        buf: &[u8],
        head: &mut Head,
    ) -> Result<Progress, Reject> {
        let limit = limits.request_line.min(Limits::CEILING);
        loop {
            let found = self.line_end(buf, limit, Reject::RequestLineTooLong, false);
            let Some(end) = found.map_err(|reject| match reject {
                Reject::RequestLineTooLong => {
                    request_line::too_long(buf.get(self.line_at..).unwrap_or_default())
                }
                other => other,
            })?
            else {
                return Ok(Progress::Partial);
            };
            let start = self.line_at;
            self.next_line(end);
            if start == end {
                self.empty_lines += 1;
                if self.empty_lines > limits.leading_empty_lines {
                    return Err(Reject::TooManyEmptyLines);
                }
                continue;
            }
            request_line::parse(buf.get(start..end).unwrap_or_default(), start, head)?;
            self.fields_at = self.line_at;
            return Ok(Progress::Complete);
        }
    }

    fn field_lines(
        &mut self,
        limits: &Limits,
        buf: &[u8],
        head: &mut Head,
    ) -> Result<Progress, Reject> {
        let line_limit = limits.field_size.min(Limits::CEILING);
        // The empty line at the end does not count.
        let all_end = self
            .fields_at
            .saturating_add(limits.header_bytes.min(Limits::CEILING));
        loop {
            let room = all_end.saturating_sub(self.line_at + 2);
            let (limit, reject) = if room < line_limit {
                (room, Reject::HeaderTooLarge)
            } else {
                (line_limit, Reject::FieldTooLong)
            };
            let Some(end) = self.line_end(buf, limit, reject, true)? else {
                return Ok(Progress::Partial);
            };
            let start = self.line_at;
            self.next_line(end);
            if start == end {
                head.length = self.line_at;
                *self = Self::default();
                return field::conclude(buf, head).map(|()| Progress::Complete);
            }
            field::parse(buf.get(start..end).unwrap_or_default(), start, limits, head)?;
        }
    }

    #[inline]
    fn next_line(&mut self, end: usize) {
        self.line_at = end + 2;
        self.searched = self.line_at;
    }

    /// The offset of the CRLF that ends the current line, or `None` when it has not come yet.
    /// A line of more than `limit` bytes is `too_long`, whatever else may be wrong behind that.
    #[inline]
    fn line_end(
        &mut self,
        buf: &[u8],
        limit: usize,
        too_long: Reject,
        tab_allowed: bool,
    ) -> Result<Option<usize>, Reject> {
        let last_end = self.line_at + limit;
        loop {
            let Some(at) = scan::find_control(buf, self.searched) else {
                if buf.len() > last_end {
                    return Err(too_long);
                }
                self.searched = self.searched.max(buf.len());
                return Ok(None);
            };
            if at > last_end {
                return Err(too_long);
            }
            match (buf.get(at), buf.get(at + 1)) {
                (Some(b'\r'), Some(b'\n')) => return Ok(Some(at)),
                (Some(b'\r'), None) => {
                    self.searched = at;
                    return Ok(None);
                }
                (Some(b'\r'), Some(_)) => return Err(Reject::BareCr),
                (Some(b'\n'), _) => return Err(Reject::BareLf),
                (Some(b'\t'), _) if tab_allowed => self.searched = at + 1,
                _ => return Err(Reject::ControlByte),
            }
        }
    }
}
