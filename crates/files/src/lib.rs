//! Files that a site gives away: found below a root and nowhere else, described by validators, type
//! and age, kept at hand while they do not change. Runs on the front's thread.
//!
//! Leaves sockets and sending to the front, what HTTP says about ranges and conditions to
//! `canter_http`, and where the folders are to the options and to Django's settings.
//!
//! ```text
//! path ─▶ name (what may be asked for) ─▶ site (which folder) ─▶ cache ─▶ open, load ─▶ Answer
//! ```
#![forbid(unsafe_code)]

mod answer;
mod cache;
mod entry;
mod folder;
mod load;
mod manifest;
mod name;
mod open;
mod pointed;
mod respelled;
mod site;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use canter_http::coding::Accepted;
use canter_http::conditional::Conditions;
use canter_http::{Head, KnownName, Method, target};

pub use answer::{Answer, Body, FileAnswer, boundary};
pub use entry::{Bytes, Entry, Sealed};
pub use folder::{Folder, Kind};
pub use pointed::{Pointed, Pointers};
pub use site::{Cors, Site};

use cache::Cache;
use manifest::Manifest;
use site::Mount;

/// The files of a site; copies are the same.
#[derive(Clone, Default)]
pub struct Files(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    /// Folders named by options.
    given: Vec<Folder>,
    given_pointers: Pointers,
    pointers: Rc<Pointers>,
    site: Rc<Site>,
    /// All folders, those for longer paths first.
    mounts: Vec<Mount>,
    manifest: Manifest,
    cache: Cache,
    /// The site's own settings are known, or not wanted.
    told: bool,
    path: Vec<u8>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Files")
    }
}

impl Files {
    /// The folders that options name; `waits` says that the site will tell of its own.
    pub fn new(given: Vec<Folder>, pointers: Pointers, waits: bool) -> Self {
        let files = Self::default();
        files.0.borrow_mut().given = given;
        files.0.borrow_mut().given_pointers = pointers;
        files.set_site(Site::default());
        files.0.borrow_mut().told = !waits;
        files
    }

    /// What the site's settings say, at the start and after each reload.
    pub fn set_site(&self, site: Site) {
        let inner = &mut *self.0.borrow_mut();
        let folders = inner.given.iter().chain(&site.folders);
        inner.mounts = Mount::sorted(folders);
        let mut pointers = inner.given_pointers.clone();
        pointers.extend(&site.pointers);
        inner.pointers = Rc::new(pointers);
        inner.manifest = Manifest::new(site.manifest.clone());
        inner.cache = Cache::default();
        inner.site = Rc::new(site);
        inner.told = true;
    }

    /// Whether all that can be known is known. Before that a file may be taken for a page.
    pub fn is_complete(&self) -> bool {
        self.0.borrow().told
    }

    /// Where the app may point.
    pub fn pointers(&self) -> Rc<Pointers> {
        Rc::clone(&self.0.borrow().pointers)
    }

    /// The answer to a request, if it is for a file; None leaves it to the app.
    pub fn find(&self, head: &Head, buf: &[u8], now: Instant) -> Option<Answer> {
        let mut inner = self.0.borrow_mut();
        if inner.mounts.is_empty() {
            return None;
        }
        let mut path = std::mem::take(&mut inner.path);
        path.clear();
        let raw = head.path(buf);
        let decoded = if head.path_is_escaped {
            match target::decode_path(raw, &mut path) {
                Ok(()) => path.as_slice(),
                Err(_) => &[],
            }
        } else {
            raw
        };
        let asked = Asked {
            head,
            buf,
            raw,
            path: decoded,
            now,
        };
        let answer = inner.find(&asked);
        inner.path = path;
        answer
    }
}

/// A request as this crate looks at it.
struct Asked<'a> {
    head: &'a Head,
    buf: &'a [u8],
    /// The path as it was sent.
    raw: &'a [u8],
    /// The path without escapes.
    path: &'a [u8],
    now: Instant,
}

impl Inner {
    fn find(&mut self, asked: &Asked<'_>) -> Option<Answer> {
        let is_ours = |mount: &Mount| asked.path.starts_with(mount.folder.url.as_bytes());
        let at = self.mounts.iter().position(is_ours)?;
        let entry = match self.cache.get(asked.path, asked.now) {
            cache::Hit::Fresh(entry) if entry.is_still() => Some(entry),
            cache::Hit::Fresh(entry) | cache::Hit::Old(entry) => self.renew(asked, entry),
            cache::Hit::None => self.load(asked, at),
        };
        match entry {
            Some(entry) => answer(asked, &entry),
            // Several folders may lie at one address; the first decides what follows.
            None => self.missing(asked, at),
        }
    }

    /// Looks again at what may have changed.
    fn renew(&mut self, asked: &Asked<'_>, entry: Rc<Entry>) -> Option<Rc<Entry>> {
        if load::is_unchanged(&entry) {
            self.cache.touch(asked.path, asked.now);
            return Some(entry);
        }
        self.cache.remove(asked.path);
        let is_ours = |mount: &Mount| asked.path.starts_with(mount.folder.url.as_bytes());
        let at = self.mounts.iter().position(is_ours)?;
        self.load(asked, at)
    }

    fn load(&mut self, asked: &Asked<'_>, from: usize) -> Option<Rc<Entry>> {
        for mount in self.mounts.iter().skip(from) {
            let Some(rest) = asked.path.strip_prefix(mount.folder.url.as_bytes()) else {
                continue;
            };
            let Ok(wanted) = name::wanted(rest) else {
                continue;
            };
            let loaded = load::load(&self.site, &mut self.manifest, mount, asked.path, wanted);
            if let Some(entry) = loaded {
                let entry = Rc::new(entry);
                let lasts = !self.site.is_fresh;
                self.cache
                    .put(asked.path, Rc::clone(&entry), asked.now, lasts);
                return Some(entry);
            }
        }
        None
    }

    fn missing(&self, asked: &Asked<'_>, at: usize) -> Option<Answer> {
        let mount = self.mounts.get(at)?;
        let rest = asked.path.strip_prefix(mount.folder.url.as_bytes())?;
        match mount.folder.kind {
            // The whole site may lie below it.
            Kind::Root => None,
            // The app may have a page there, and it has its own words for what is not there. What
            // no file can be called is none of its pages.
            Kind::Static => name::wanted(rest).is_err().then_some(Answer::NotFound),
            Kind::Folder | Kind::Media => Some(Answer::NotFound),
        }
    }
}

fn answer(asked: &Asked<'_>, entry: &Rc<Entry>) -> Option<Answer> {
    if !matches!(asked.head.method, Method::Get | Method::Head) {
        return (!entry.is_at_root).then_some(Answer::NotAllowed);
    }
    if let Some(redirect) = entry.redirect {
        return Some(Answer::redirect(
            redirect,
            asked.raw,
            asked.head.query(asked.buf),
        ));
    }
    let accepted = if entry.forms.len() > 1 && asked.head.has(KnownName::AcceptEncoding) {
        let fields = asked.head.fields.iter();
        let lines = fields.filter(|field| field.known == KnownName::AcceptEncoding);
        Accepted::parse(lines.map(|field| field.value.of(asked.buf)))
    } else {
        Accepted::NOTHING_SAID
    };
    let form = accepted.choose(entry.forms.iter().map(|form| (form.coding, form.length)));
    let conditions = Conditions::of(asked.head, asked.buf);
    let method = asked.head.method;
    FileAnswer::new(
        Rc::clone(entry),
        form,
        conditions.as_ref(),
        method,
        unix_now,
    )
    .map(Answer::File)
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests;
