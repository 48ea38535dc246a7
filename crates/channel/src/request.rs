//! Owns the message that carries one complete HTTP request to a worker.
//! Leaves where it came from to the front, and what it becomes (environ, scope) to the worker.
//!
//! Layout, little-endian: `Fixed` lengths and facts, then the byte strings one after the other,
//! then the fields, then the body.

use crate::layout::MOST_RECORD;
use crate::wire::{Malformed, Reader};

/// The path of what the front itself asks a worker. No client's path can be this: theirs begin with a
/// slash, and no target holds a blank (RFC 9112, section 3).
pub const OF_THE_FRONT: &[u8] = b" canter";

/// Where the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// At the end of the message.
    Inline,
    /// In a file of this many bytes whose descriptor comes over the files socket.
    File(u64),
}

/// The facts of a request except its fields and body; the byte strings are as the app gets them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// `GET`, `POST`...
    pub method: &'a [u8],
    /// The request target as it was sent.
    pub target: &'a [u8],
    /// The path, percent-decoded once.
    pub path: &'a [u8],
    /// The query without its `?`.
    pub query: &'a [u8],
    /// 0 for HTTP/1.0, 1 for HTTP/1.1, 2 for HTTP/2.
    pub version: u8,
    /// Whether the client's side was reached by TLS, here or at a trusted proxy.
    pub https: bool,
    /// The client's address as text, from the socket or from a trusted proxy.
    pub client: &'a [u8],
    /// The client's port; 0 where there is none.
    pub client_port: u16,
    /// The name the server was asked for, without port.
    pub server: &'a [u8],
    /// The port the server was asked for; 0 on a unix socket.
    pub server_port: u16,
    /// The request id, for the worker's log lines.
    pub id: &'a [u8],
}

/// One field of the request; `name` is in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// In lower case.
    pub name: &'a [u8],
    /// Without surrounding white space.
    pub value: &'a [u8],
}

/// Writes the message; fields first, the body last.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    fields: u16,
    repeated: bool,
    /// Where the body begins, once there is room for it.
    body_at: Option<usize>,
}

/// The end of a message, where a body that comes in pieces is gathered without being copied again.
pub struct BodyRoom<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
}

impl BodyRoom<'_> {
    /// The body so far.
    pub fn bytes(&self) -> &[u8] {
        self.out.get(self.at..).unwrap_or_default()
    }

    /// The longest body that fits into one record behind what is there.
    pub fn most(&self) -> usize {
        MOST_RECORD.saturating_sub(self.at)
    }

    /// Adds to the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The message, with room for `most` bytes more, for one who adds to its end what is received.
    pub fn room(&mut self, most: usize) -> &mut Vec<u8> {
        self.out.reserve_exact(most);
        self.out
    }

    /// Takes off what lies beyond a body of this length, because something else follows it.
    pub fn behind(&mut self, length: usize) -> Vec<u8> {
        let end = self.at.saturating_add(length).min(self.out.len());
        self.out.split_off(end)
    }

    /// Forgets the body, and the room it took.
    pub fn clear(&mut self) {
        self.out.truncate(self.at);
        self.out.shrink_to_fit();
    }
}

const PREFIX: usize = 12;
/// Where the lengths of the byte strings begin, and how many there are.
const TEXTS_AT: usize = PREFIX + 6;
const TEXTS: usize = 7;
/// Bytes of a length.
const LENGTH: usize = size_of::<u32>();

/// A length as it is written. No buffer of a request's head is longer than the number can say.
fn length(bytes: &[u8]) -> [u8; LENGTH] {
    (bytes.len() as u32).to_le_bytes()
}

impl<'a> Writer<'a> {
    /// Replaces what `out` held by the beginning of a message.
    pub fn new(out: &'a mut Vec<u8>, facts: &Facts<'_>) -> Self {
        let texts: [&[u8]; TEXTS] = [
            facts.method,
            facts.target,
            facts.path,
            facts.query,
            facts.client,
            facts.server,
            facts.id,
        ];
        // All that has a fixed length at once; the prefix is filled in by `finish`.
        let mut fixed = [0; TEXTS_AT + LENGTH * TEXTS];
        fixed[PREFIX] = facts.version;
        fixed[PREFIX + 1] = u8::from(facts.https);
        fixed[PREFIX + 2..][..2].copy_from_slice(&facts.client_port.to_le_bytes());
        fixed[PREFIX + 4..][..2].copy_from_slice(&facts.server_port.to_le_bytes());
        for (text, len) in texts.iter().zip(fixed[TEXTS_AT..].as_chunks_mut().0) {
            *len = length(text);
        }
        out.clear();
        out.extend_from_slice(&fixed);
        for text in texts {
            out.extend_from_slice(text);
        }
        Self {
            out,
            fields: 0,
            repeated: false,
            body_at: None,
        }
    }

    /// Adds a field, its name put into lower case. `repeated` says that a field of the same name
    /// went before.
    pub fn field(&mut self, name: &[u8], value: &[u8], repeated: bool) {
        let lengths = [length(name), length(value)];
        self.out.extend_from_slice(lengths.as_flattened());
        let at = self.out.len();
        self.out.extend_from_slice(name);
        self.out[at..].make_ascii_lowercase();
        self.out.extend_from_slice(value);
        self.fields += 1;
        self.repeated |= repeated;
    }

    /// Whether what is written is more than one record holds: no worker can be given it, whatever body
    /// follows.
    pub fn is_too_long(&self) -> bool {
        self.out.len() > MOST_RECORD
    }

    /// Room for a body that is part of the message, after the last field;
    /// [`Writer::body_is_written`] ends the message.
    pub fn body_room(&mut self) -> BodyRoom<'_> {
        let at = *self.body_at.get_or_insert(self.out.len());
        BodyRoom { out: self.out, at }
    }

    /// Ends the message with what is in [`Writer::body_room`].
    pub fn body_is_written(mut self) {
        let len = self.body_at.map_or(0, |at| self.out.len() - at);
        self.finish(INLINE, len as u64);
    }

    /// Ends the message with a body that is part of it.
    pub fn inline_body(mut self, body: &[u8]) {
        self.finish(INLINE, body.len() as u64);
        self.out.extend_from_slice(body);
    }

    /// Ends the message with a body that lies in a file.
    pub fn file_body(mut self, len: u64) {
        self.finish(FILE, len);
    }

    fn finish(&mut self, body: u8, body_len: u64) {
        let mut prefix = [0; PREFIX];
        prefix[..2].copy_from_slice(&self.fields.to_le_bytes());
        prefix[2] = u8::from(self.repeated);
        prefix[3] = body;
        prefix[4..].copy_from_slice(&body_len.to_le_bytes());
        self.out[..PREFIX].copy_from_slice(&prefix);
    }
}

const INLINE: u8 = 0;
const FILE: u8 = 1;

/// The path of a message, without looking at anything else of it; None when a length points outside.
#[must_use]
pub fn path(message: &[u8]) -> Option<&[u8]> {
    path_and_client(message).map(|(path, _)| path)
}

/// The path of a message and its client's address; None when a length points outside.
#[must_use]
pub fn path_and_client(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = Reader(message.get(TEXTS_AT..)?);
    let mut length = || rest.u32().ok().map(|length| length as usize);
    let before = length()? + length()?;
    let (path, query, client) = (length()?, length()?, length()?);
    let texts = message.get(TEXTS_AT + LENGTH * TEXTS + before..)?;
    Some((
        texts.get(..path)?,
        texts.get(path + query..)?.get(..client)?,
    ))
}

/// A message received.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Everything but the fields and the body.
    pub facts: Facts<'a>,
    /// Whether any field name occurs more than once.
    pub repeated: bool,
    /// Where the body is.
    pub body_at: Body,
    count: u16,
    rest: Reader<'a>,
}

impl<'a> Request<'a> {
    /// Reads a message; its fields and its body stay where they are.
    ///
    /// # Errors
    /// [`Malformed`] when a length points outside the message.
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(message);
        let count = rest.u16()?;
        let repeated = rest.u8()? != 0;
        let body = rest.u8()?;
        let body_len = rest.u64()?;
        let version = rest.u8()?;
        let https = rest.u8()? != 0;
        let client_port = rest.u16()?;
        let server_port = rest.u16()?;
        let mut lens = [0; TEXTS];
        for len in &mut lens {
            *len = rest.u32()? as usize;
        }
        let [method, target, path, query, client, server, id] = lens;
        let facts = Facts {
            version,
            https,
            client_port,
            server_port,
            method: rest.bytes(method)?,
            target: rest.bytes(target)?,
            path: rest.bytes(path)?,
            query: rest.bytes(query)?,
            client: rest.bytes(client)?,
            server: rest.bytes(server)?,
            id: rest.bytes(id)?,
        };
        let body_at = match body {
            INLINE => Body::Inline,
            FILE => Body::File(body_len),
            _ => return Err(Malformed),
        };
        Ok(Self {
            facts,
            repeated,
            body_at,
            count,
            rest,
        })
    }

    /// Calls `each` with every field in order, and answers the body (empty when it is a file).
    ///
    /// # Errors
    /// [`Malformed`] as for [`Request::read`]; what `each` answers otherwise.
    pub fn fields<E: From<Malformed>>(
        &self,
        mut each: impl FnMut(Field<'a>) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        let mut rest = self.rest;
        for _ in 0..self.count {
            let name_len = rest.u32()? as usize;
            let value_len = rest.u32()? as usize;
            let name = rest.bytes(name_len)?;
            each(Field {
                name,
                value: rest.bytes(value_len)?,
            })?;
        }
        Ok(rest.0)
    }

    /// The value of the first field of this name, given in lower case.
    pub fn field(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut found = None;
        let _ = self.fields(|field| {
            if found.is_none() && field.name == name {
                found = Some(field.value);
            }
            Ok::<_, Malformed>(())
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts<'static> {
        Facts {
            method: b"POST",
            target: b"/a%20b?c=d",
            path: b"/a b",
            query: b"c=d",
            version: 1,
            https: true,
            client: b"192.0.2.7",
            client_port: 4711,
            server: b"example.org",
            server_port: 443,
            id: b"0123456789abcdef",
        }
    }

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let mut message = Vec::new();
        let mut writer = Writer::new(&mut message, &facts());
        writer.field(b"Host", b"example.org", false);
        writer.field(b"X-A", b"1", false);
        writer.field(b"x-a", b"2", true);
        writer.inline_body(b"body");
        let request = Request::read(&message).unwrap();
        assert_eq!(request.facts, facts());
        assert_eq!((request.repeated, request.body_at), (true, Body::Inline));
        let mut fields = Vec::new();
        let body = request.fields(|field| {
            fields.push((field.name, field.value));
            Ok::<_, Malformed>(())
        });
        assert_eq!(body, Ok(&b"body"[..]));
        let expected: [(&[u8], &[u8]); 3] =
            [(b"host", b"example.org"), (b"x-a", b"1"), (b"x-a", b"2")];
        assert_eq!(fields, expected);
        assert_eq!(request.field(b"x-a"), Some(&b"1"[..]));
        assert_eq!(path(&message), Some(&b"/a b"[..]));
        for cut in 0..message.len() {
            let found = path(&message[..cut]);
            assert!(found.is_none_or(|found| found == b"/a b"), "cut at {cut}");
        }
    }

    #[test]
    fn nothing_of_a_long_head_is_cut_or_left_out() {
        let target = vec![b'/'; 65_536];
        let long = vec![b'v'; 100_000];
        let mut message = Vec::new();
        let facts = Facts {
            target: &target,
            path: &target,
            query: &long,
            ..facts()
        };
        let mut writer = Writer::new(&mut message, &facts);
        for length in [255, 256, 65_536] {
            writer.field(&vec![b'N'; length], &long, false);
        }
        let room = writer.body_room();
        // Behind two texts of its length and three fields there is none.
        assert_eq!(room.most(), 0);
        writer.body_is_written();
        let request = Request::read(&message).unwrap();
        assert_eq!(request.facts, facts);
        assert_eq!(path(&message), Some(&target[..]));
        for length in [255, 256, 65_536] {
            assert_eq!(request.field(&vec![b'n'; length]), Some(&long[..]));
        }
    }

    #[test]
    fn a_body_of_the_most_that_fits_fills_a_record() {
        let mut message = Vec::new();
        let mut writer = Writer::new(&mut message, &facts());
        let mut room = writer.body_room();
        let most = room.most();
        room.push(&vec![0; most]);
        writer.body_is_written();
        assert_eq!(message.len(), MOST_RECORD);
    }

    #[test]
    fn a_body_gathers_in_the_message() {
        let mut message = Vec::new();
        let mut writer = Writer::new(&mut message, &facts());
        writer.field(b"Host", b"example.org", false);
        let mut room = writer.body_room();
        room.push(b"one ");
        room.room(100).extend_from_slice(b"two GET /");
        assert_eq!(room.behind(8), b"GET /");
        room.room(50).extend_from_slice(b"three");
        assert!(room.behind(13).is_empty() && room.bytes() == b"one two three");
        writer.body_is_written();
        let request = Request::read(&message).unwrap();
        let body = request.fields(|_| Ok::<_, Malformed>(()));
        assert_eq!(
            (body, request.body_at),
            (Ok(&b"one two three"[..]), Body::Inline)
        );

        let mut writer = Writer::new(&mut message, &facts());
        let mut room = writer.body_room();
        room.push(b"too long");
        room.clear();
        writer.file_body(8);
        let request = Request::read(&message).unwrap();
        assert_eq!(request.fields(|_| Ok::<_, Malformed>(())), Ok(&b""[..]));
    }

    #[test]
    fn a_cut_message_is_malformed_and_never_a_panic() {
        let mut message = Vec::new();
        let mut writer = Writer::new(&mut message, &facts());
        writer.field(b"Host", b"example.org", false);
        writer.file_body(1 << 40);
        for cut in 0..message.len() {
            let whole = Request::read(&message[..cut])
                .and_then(|request| request.fields(|_| Ok::<_, Malformed>(())).map(|_| ()));
            assert_eq!(whole, Err(Malformed), "cut at {cut}");
        }
        assert_eq!(
            Request::read(&message).unwrap().body_at,
            Body::File(1 << 40)
        );
    }
}
