//! Owns the message that carries a response head, with the beginning or all of the body.
//! Leaves the rules of HTTP to the front, which checks every name and value again.
//!
//! Layout, little-endian: status, number of fields, length of the reason, then the reason, the
//! fields, and the body to the end of the message.

use crate::wire::{Malformed, Reader};

/// The fixed facts of a response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// As the app gave it; the front checks the range.
    pub status: u16,
    /// The reason phrase.
    pub reason: &'a [u8],
}

/// Writes the message; fields first, the body last.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    fields: u16,
}

impl<'a> Writer<'a> {
    /// Replaces what `out` held by the beginning of a message. A reason phrase is cut after
    /// 65535 bytes.
    pub fn new(out: &'a mut Vec<u8>, facts: &Facts<'_>) -> Self {
        let reason = &facts.reason[..facts.reason.len().min(usize::from(u16::MAX))];
        out.clear();
        out.extend_from_slice(&facts.status.to_le_bytes());
        out.extend_from_slice(&[0; 2]); // the number of fields, filled in as they come
        out.extend_from_slice(&(reason.len() as u16).to_le_bytes());
        out.extend_from_slice(reason);
        Self { out, fields: 0 }
    }

    /// Adds a field.
    ///
    /// # Errors
    /// [`Malformed`] when there are more than 65535 fields or one is longer than that.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let name_len = u16::try_from(name.len()).map_err(|_| Malformed)?;
        let value_len = u16::try_from(value.len()).map_err(|_| Malformed)?;
        self.fields = self.fields.checked_add(1).ok_or(Malformed)?;
        self.out.extend_from_slice(&name_len.to_le_bytes());
        self.out.extend_from_slice(&value_len.to_le_bytes());
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(value);
        self.out[2..4].copy_from_slice(&self.fields.to_le_bytes());
        Ok(())
    }
}

/// What follows the head of a response whose record is of kind `File`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePart {
    /// Where in the file the body begins.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

impl FilePart {
    /// The bytes that stand in place of the body.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// Reads what [`FilePart::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] on any other length.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(bytes);
        let part = Self {
            offset: rest.u64()?,
            len: rest.u64()?,
        };
        if rest.0.is_empty() {
            Ok(part)
        } else {
            Err(Malformed)
        }
    }
}

/// The status of a message, without looking at anything else of it.
#[must_use]
pub fn status(message: &[u8]) -> Option<u16> {
    Reader(message).u16().ok()
}

/// A message received and found whole.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    /// Status and reason.
    pub facts: Facts<'a>,
    /// Where in the message the body begins.
    pub body_at: usize,
    count: u16,
    fields: Reader<'a>,
}

impl<'a> Response<'a> {
    /// Reads a message and checks that every length lies within it.
    ///
    /// # Errors
    /// [`Malformed`] otherwise.
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = Reader(message);
        let status = rest.u16()?;
        let count = rest.u16()?;
        let reason_len = usize::from(rest.u16()?);
        let facts = Facts {
            status,
            reason: rest.bytes(reason_len)?,
        };
        let fields = rest;
        for _ in 0..count {
            next(&mut rest)?;
        }
        Ok(Self {
            facts,
            body_at: message.len() - rest.0.len(),
            count,
            fields,
        })
    }

    /// The fields as (name, value), in the app's order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let mut rest = self.fields;
        (0..self.count).map_while(move |_| next(&mut rest).ok())
    }
}

fn next<'a>(rest: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    let name_len = usize::from(rest.u16()?);
    let value_len = usize::from(rest.u16()?);
    Ok((rest.bytes(name_len)?, rest.bytes(value_len)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_arrives_as_it_was_sent() {
        let mut message = Vec::new();
        let facts = Facts {
            status: 404,
            reason: b"Not Found",
        };
        let mut writer = Writer::new(&mut message, &facts);
        writer.field(b"Content-Type", b"text/plain").unwrap();
        writer.field(b"X-Empty", b"").unwrap();
        message.extend_from_slice(b"gone");
        let response = Response::read(&message).unwrap();
        assert_eq!(response.facts, facts);
        let expected: [(&[u8], &[u8]); 2] = [(b"Content-Type", b"text/plain"), (b"X-Empty", b"")];
        assert_eq!(response.fields().collect::<Vec<_>>(), expected);
        assert_eq!(&message[response.body_at..], b"gone");
        assert_eq!(status(&message), Some(facts.status));
    }

    #[test]
    fn a_cut_message_is_malformed_and_never_a_panic() {
        let mut message = Vec::new();
        let mut writer = Writer::new(
            &mut message,
            &Facts {
                status: 200,
                reason: b"OK",
            },
        );
        writer.field(b"A", b"b").unwrap();
        for cut in 0..message.len() {
            assert!(Response::read(&message[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_file_part_survives_the_way() {
        let part = FilePart {
            offset: 5,
            len: u64::MAX,
        };
        assert_eq!(FilePart::read(&part.to_bytes()), Ok(part));
        assert!(FilePart::read(&[0; 17]).is_err());
    }
}
