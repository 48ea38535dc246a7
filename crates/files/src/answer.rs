//! What a request for a file gets: owns joining an entry with the conditions and ranges of the
//! request. Leaves the head's form and sending to the front.

use std::borrow::Cow;
use std::rc::Rc;

use canter_http::Method;
use canter_http::conditional::{Conditions, Validators};
use canter_http::etag::EntityTag;
use canter_http::range::{Piece, Span};
use canter_http::select::{Content, Selected, select};
use canter_http::template::Template;

use crate::entry::{Bytes, Entry, Form, Redirect, Scope};
use crate::open::is_constant;

/// An answer of this crate.
#[derive(Debug)]
pub enum Answer {
    /// A file, or word of it.
    File(FileAnswer),
    /// 302 to this place.
    Redirect(String),
    /// 404
    NotFound,
    /// 405; GET and HEAD are allowed.
    NotAllowed,
}

/// A file, parts of it, or word that it has not changed.
#[derive(Debug)]
pub struct FileAnswer {
    entry: Rc<Entry>,
    form: usize,
    selected: Selected,
    content_range: Option<String>,
}

/// What is to be sent behind the head.
#[derive(Debug)]
pub enum Body<'a> {
    /// Nothing.
    None,
    /// One part of the content.
    Part(Span),
    /// Several pieces.
    Pieces(&'a [Piece]),
}

impl Answer {
    pub(crate) fn redirect(redirect: Redirect, raw: &[u8], query: &[u8]) -> Self {
        let end = match redirect {
            Redirect::AddSlash => raw.len(),
            Redirect::ToDirectory => raw
                .iter()
                .rposition(|&byte| byte == b'/')
                .map_or(raw.len(), |slash| slash + 1),
        };
        let path = raw.get(..end).unwrap_or_default();
        let mut place = String::from_utf8_lossy(path).into_owned();
        if redirect == Redirect::AddSlash {
            place.push('/');
        }
        if !query.is_empty() {
            place.push('?');
            place.push_str(&String::from_utf8_lossy(query));
        }
        Self::Redirect(place)
    }
}

/// Marks the border of parts: no content has it by accident.
pub fn boundary() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let random = || RandomState::new().hash_one(0);
    format!("canter-{:016x}{:016x}", random(), random())
}

impl FileAnswer {
    pub(crate) fn new(
        entry: Rc<Entry>,
        form: usize,
        conditions: Option<&Conditions>,
        method: Method,
        now: impl FnOnce() -> u64,
    ) -> Option<Self> {
        let chosen = entry.forms.get(form)?;
        let selected = match conditions {
            None => Selected::Whole,
            Some(conditions) => {
                let content = Content {
                    length: chosen.length,
                    content_type: &chosen.content_type,
                    validators: Validators {
                        etag: EntityTag::parse(chosen.etag.as_bytes()),
                        modified: Some(entry.modified).filter(|&time| !is_constant(time)),
                    },
                };
                select(conditions, method, &content, now(), boundary)
            }
        };
        let content_range = selected.content_range(chosen.length);
        Some(Self {
            entry,
            form,
            selected,
            content_range,
        })
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.selected.status()
    }

    /// Where the content is.
    pub fn bytes(&self) -> Option<&Bytes> {
        self.chosen().map(|form| &form.bytes)
    }

    /// What is sent of it to a GET.
    pub fn body(&self) -> Body<'_> {
        match &self.selected {
            Selected::Whole => Body::Part(Span {
                start: 0,
                len: self.chosen().map_or(0, |form| form.length),
            }),
            Selected::Part(span) => Body::Part(*span),
            Selected::Parts { pieces, .. } => Body::Pieces(pieces),
            Selected::NotModified | Selected::Failed | Selected::Unsatisfiable => Body::None,
        }
    }

    /// How long that is.
    pub fn length(&self) -> u64 {
        match (&self.selected, self.body()) {
            (Selected::Parts { length, .. }, _) => *length,
            (_, Body::Part(span)) => span.len,
            _ => 0,
        }
    }

    /// The head, ready but for the date, and the content: where the whole is sent from memory.
    pub fn ready(&self) -> Option<(&Template, &Bytes)> {
        let form = self.chosen().filter(|_| self.selected == Selected::Whole)?;
        match &form.bytes {
            Bytes::Memory(_) | Bytes::Sealed(_) => Some((form.head.as_ref()?, &form.bytes)),
            Bytes::File(_) => None,
        }
    }

    /// The fields of the answer, beside those about its framing.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (widest, several) = match &self.selected {
            Selected::Whole | Selected::Part(_) => (Scope::Content, None),
            Selected::Parts { content_type, .. } => (Scope::Content, Some(content_type)),
            Selected::NotModified => (Scope::Version, None),
            Selected::Failed | Selected::Unsatisfiable => (Scope::Always, None),
        };
        let fields = self.chosen().map_or(&[][..], |form| &form.fields);
        let fields = fields
            .iter()
            .filter(move |field| field.scope <= widest)
            .map(move |field| match (several, &field.name) {
                (Some(kind), Cow::Borrowed("Content-Type")) => (&*field.name, kind.as_str()),
                _ => (&*field.name, field.value.as_str()),
            });
        let range = self.content_range.as_deref();
        fields
            .chain(range.map(|range| ("Content-Range", range)))
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }

    fn chosen(&self) -> Option<&Form> {
        self.entry.forms.get(self.form)
    }
}
