//! A file as it is kept at hand: its forms, what is said of each, and by what it is known to have
//! changed. Leaves making one to `load`.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use canter_http::coding::Coding;
use canter_http::template::Template;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::folder::Kind;
use crate::open::Identity;

/// When a field is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// With every answer.
    Always,
    /// With those that are about the version: also with 304 (RFC 9110, section 15.4.5).
    Version,
    /// With those that have content.
    Content,
}

/// A field of the answer.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub name: Cow<'static, str>,
    pub value: String,
    pub scope: Scope,
}

/// Where the bytes of a form are.
#[derive(Debug)]
pub enum Bytes {
    /// Here.
    Memory(Box<[u8]>),
    /// Here as well, in a file that exists in memory alone and never changes: the system sends it
    /// without copying.
    Sealed(Sealed),
    /// In this file, which is open.
    File(File),
}

/// Files of a process that exist in memory alone; beyond them such content is in its heap.
const MOST_SEALED: usize = 256;

static SEALED: AtomicUsize = AtomicUsize::new(0);

/// A file that exists in memory alone and never changes. There is a bound on their number, for each
/// takes a descriptor.
#[derive(Debug)]
pub struct Sealed(File);

impl Sealed {
    /// One with this content; None where there are enough, or the system has none to give.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        if SEALED.fetch_add(1, Ordering::Relaxed) >= MOST_SEALED {
            SEALED.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let made = memfd_create("canter-file", flags).ok().and_then(|file| {
            let mut file = File::from(file);
            file.write_all(bytes).ok()?;
            let fixed = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW;
            fcntl_add_seals(&file, fixed).ok().map(|()| file)
        });
        if made.is_none() {
            SEALED.fetch_sub(1, Ordering::Relaxed);
        }
        made.map(Self)
    }

    /// To be read or sent from.
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        SEALED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The file in one coding.
#[derive(Debug)]
pub(crate) struct Form {
    pub coding: Coding,
    pub length: u64,
    pub bytes: Bytes,
    pub identity: Identity,
    /// With its quotation marks.
    pub etag: String,
    pub content_type: String,
    pub fields: Vec<Field>,
    /// The head of the whole of it, ready but for the date.
    pub head: Option<Template>,
}

/// How a directory is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// To the same with a slash behind it.
    AddSlash,
    /// To the directory, from the file that stands for it.
    ToDirectory,
}

/// A file, or what is answered in its place.
#[derive(Debug)]
pub struct Entry {
    /// The file as it is, then its encoded forms.
    pub(crate) forms: Vec<Form>,
    /// Seconds since 1970.
    pub(crate) modified: u64,
    pub(crate) redirect: Option<Redirect>,
    /// It lies among the pages of the site.
    pub(crate) is_at_root: bool,
    pub(crate) looked_at: Vec<LookedAt>,
}

/// A file that was looked at, and what was there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LookedAt {
    pub root: std::path::PathBuf,
    pub name: Vec<u8>,
    pub found: Option<Identity>,
}

impl Entry {
    /// Whether the files that are open are as long and as old as when they were opened: one that is
    /// cut or written to would be sent as something it never was.
    pub(crate) fn is_still(&self) -> bool {
        self.forms.iter().all(|form| match &form.bytes {
            Bytes::Memory(_) | Bytes::Sealed(_) => true,
            Bytes::File(file) => Identity::of(file).is_ok_and(|now| now == form.identity),
        })
    }

    /// About what it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let form = |form: &Form| {
            let bytes = match &form.bytes {
                Bytes::Memory(_) | Bytes::Sealed(_) => usize::try_from(form.length).unwrap_or(0),
                Bytes::File(_) => 0,
            };
            let head = form.head.as_ref().map_or(0, Template::len);
            bytes + head + form.fields.len() * 96 + 256
        };
        self.forms.iter().map(form).sum::<usize>() + self.looked_at.len() * 128 + 256
    }

    /// Descriptors it holds open.
    pub(crate) fn descriptors(&self) -> usize {
        let open = |form: &&Form| matches!(form.bytes, Bytes::File(_));
        self.forms.iter().filter(open).count()
    }

    pub(crate) fn for_kind(kind: Kind) -> Self {
        Self {
            forms: Vec::new(),
            modified: 0,
            redirect: None,
            is_at_root: kind == Kind::Root,
            looked_at: Vec::new(),
        }
    }
}
