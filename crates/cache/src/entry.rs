//! A stored response: owns its bytes and how they are sent. When it is fresh is in
//! [`crate::life`], and where it is kept in [`crate::store`].

use canter_http::coding::Coding;

use crate::block::{line, read_block};
use crate::body::{Body, Forms, heap};
use crate::key::Key;
use crate::lines::{Field, Lines};

/// A response as it is stored. It never changes: what changes about it is made anew, with the same
/// body.
#[derive(Debug, Clone)]
pub struct Entry {
    /// All its parts but the body, one after the other.
    blob: Box<[u8]>,
    ends: [u32; PARTS],
    status: u16,
    /// The entity tag is the cache's, and the app does not know it.
    made_tag: bool,
    body: Body,
    forms: Forms,
}

const PARTS: usize = 8;

/// The parts of an entry that are bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Blob<'a> {
    /// The URL side of the key.
    pub url: &'a [u8],
    /// The other side of the key.
    pub inputs: &'a [u8],
    /// What it varies on.
    pub names: &'a [u8],
    /// The values of these in the request it answered.
    pub values: &'a [u8],
    /// Its tags, each with its length.
    pub tags: &'a [u8],
    /// Its entity tag.
    pub etag: &'a [u8],
    /// What the app said to the cache alone, as lines.
    pub origin: &'a [u8],
    /// Status line and fields.
    pub block: &'a [u8],
}

impl<'a> Blob<'a> {
    /// All of them, in the order in which they are kept and written.
    pub(crate) fn parts(&self) -> [&'a [u8]; 8] {
        [
            self.url,
            self.inputs,
            self.names,
            self.values,
            self.tags,
            self.etag,
            self.origin,
            self.block,
        ]
    }
}

impl Entry {
    pub(crate) fn new(status: u16, blob: &Blob<'_>, made_tag: bool, body: Body) -> Self {
        let parts = blob.parts();
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        let ends = parts.map(|part| {
            bytes.extend_from_slice(part);
            u32::try_from(bytes.len()).unwrap_or(u32::MAX)
        });
        Self {
            blob: bytes.into_boxed_slice(),
            ends,
            status,
            made_tag,
            body,
            forms: Forms::default(),
        }
    }

    fn part(&self, at: usize) -> &[u8] {
        let end = |at: usize| self.ends.get(at).copied().unwrap_or(0) as usize;
        let start = at.checked_sub(1).map_or(0, end);
        self.blob.get(start..end(at)).unwrap_or_default()
    }

    /// The URL side of its key.
    pub fn url(&self) -> &[u8] {
        self.part(0)
    }

    /// The other side of its key.
    pub fn inputs(&self) -> &[u8] {
        self.part(1)
    }

    /// Its key.
    pub fn key(&self) -> Option<Key> {
        Key::from_parts(self.url(), self.inputs())
    }

    /// The names of the request fields that select it, as in [`crate::vary::Names`].
    pub fn vary(&self) -> &[u8] {
        self.part(2)
    }

    pub(crate) fn vary_values(&self) -> &[u8] {
        self.part(3)
    }

    /// Its tags, as [`crate::tags`] writes them.
    pub fn tags(&self) -> impl Iterator<Item = &[u8]> {
        crate::tags::each(self.part(4))
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The status line and all fields that do not depend on the encoding or the moment, each with
    /// its CRLF. To be sent first; [`Entry::write_rest`] follows.
    pub fn block(&self) -> &[u8] {
        self.part(7)
    }

    pub(crate) fn origin(&self) -> &[u8] {
        self.part(6)
    }

    pub(crate) fn blob(&self) -> Blob<'_> {
        Blob {
            url: self.part(0),
            inputs: self.part(1),
            names: self.part(2),
            values: self.part(3),
            tags: self.part(4),
            etag: self.part(5),
            origin: self.part(6),
            block: self.part(7),
        }
    }

    /// The fields of the block.
    pub fn fields(&self) -> Vec<Field<'_>> {
        read_block(self.block()).map_or_else(Vec::new, |(_, _, fields)| fields)
    }

    /// The value of the first field of the block with this name, in lower case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let mut rest = self.block();
        while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let (line, after) = rest.split_at_checked(end)?;
            rest = after.get(2..).unwrap_or_default();
            let found = line
                .split_at_checked(name.len())
                .filter(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes()))
                .and_then(|(_, value)| value.strip_prefix(b": "));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The content as the app gave it.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The encoded forms that were made.
    pub fn forms(&self) -> &Forms {
        &self.forms
    }

    /// The content in this form, if it is there.
    pub fn content(&self, coding: Coding) -> Option<&Body> {
        if coding == Coding::Identity {
            Some(&self.body)
        } else {
            self.forms.get(coding)
        }
    }

    /// The same with another encoded form.
    #[must_use]
    pub fn with_form(&self, coding: Coding, body: Body) -> Self {
        let mut entry = self.clone();
        entry.forms.set(coding, body);
        entry
    }

    /// Whether the app encoded the content itself; then there is nothing to negotiate.
    pub fn is_encoded(&self) -> bool {
        self.field("content-encoding").is_some()
    }

    /// The entity tag of a form: each has its own (RFC 9110, section 8.8.3.3). Empty when there is
    /// none.
    pub fn etag(&self, coding: Coding) -> Vec<u8> {
        let own = self.part(5);
        let inner = own.strip_suffix(b"\"").filter(|own| own.len() > 1);
        match (coding, inner) {
            (Coding::Identity, _) | (_, None) => own.to_vec(),
            (_, Some(inner)) => [inner, b"-", coding.name().as_bytes(), b"\""].concat(),
        }
    }

    /// The app's own entity tag and date, for asking it whether the response still holds.
    pub fn validators(&self) -> AppValidators<'_> {
        let etag = Some(self.part(5)).filter(|tag| !tag.is_empty() && !self.made_tag);
        AppValidators {
            if_none_match: etag,
            if_modified_since: self.field("last-modified"),
        }
    }

    pub(crate) fn has_made_tag(&self) -> bool {
        self.made_tag
    }

    /// What follows the block: entity tag, encoding, length and age, without the empty line.
    /// `length` is that of what is sent as a body, or of what would be for HEAD.
    pub fn write_rest(&self, out: &mut Vec<u8>, coding: Coding, length: Option<u64>, age: u32) {
        let etag = self.etag(coding);
        if !etag.is_empty() {
            line(out, b"ETag", &etag);
        }
        if coding != Coding::Identity {
            line(out, b"Content-Encoding", coding.name().as_bytes());
        }
        if let Some(length) = length {
            line(out, b"Content-Length", length.to_string().as_bytes());
        }
        line(out, b"Age", age.to_string().as_bytes());
    }

    /// What it takes of memory, with the allocator's share.
    pub fn cost(&self) -> usize {
        heap(size_of::<Self>() + 16) + heap(self.blob.len()) + self.body.cost() + self.forms.cost()
    }

    /// Whether the app's fields say something about it.
    pub fn says(&self, name: &str) -> bool {
        self.fields().has(name)
    }
}

/// What to send to the app to validate a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppValidators<'a> {
    /// The value of `If-None-Match`.
    pub if_none_match: Option<&'a [u8]>,
    /// The value of `If-Modified-Since`.
    pub if_modified_since: Option<&'a [u8]>,
}

impl AppValidators<'_> {
    /// Whether there is nothing to ask with.
    pub fn is_empty(&self) -> bool {
        self.if_none_match.is_none() && self.if_modified_since.is_none()
    }
}
