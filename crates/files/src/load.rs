//! Making an entry from what is on disk: owns index files, encoded siblings, and every field that
//! is said of a file. Leaves links and roots to `open`, keeping entries to `cache`.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;

use canter_http::coding::Coding;
use canter_http::date::format_date;
use canter_http::media_type;
use canter_http::template::Template;

use crate::entry::{Bytes, Entry, Field, Form, LookedAt, Redirect, Scope, Sealed};
use crate::folder::Kind;
use crate::manifest::Manifest;
use crate::name::Wanted;
use crate::open::{Identity, Opened, is_constant, open_below};
use crate::site::{Cors, Mount, Site};
use crate::unix_now;

/// A file up to this length is kept in memory: nothing on disk is asked about it while it is sent.
pub(crate) const IN_MEMORY: u64 = 64 * 1024;

/// Up to this length copying it to a socket costs less than the call that sends it uncopied.
const COPIED: u64 = 16 * 1024;

/// A year, the longest that means anything (RFC 9111, section 1.2.2), and not to be asked about
/// (RFC 8246).
const FOR_EVER: &str = "max-age=31536000, public, immutable";

/// What a browser must not show as a page of the site when a user has sent it.
const NO_PAGE: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The file that `wanted` names below the mount, as it is sent; None when there is none.
pub(crate) fn load(
    site: &Site,
    manifest: &mut Manifest,
    mount: &Mount,
    path: &[u8],
    wanted: Wanted<'_>,
) -> Option<Entry> {
    let folder = &mount.folder;
    let index = site.index.as_deref().filter(|_| folder.kind != Kind::Media);
    let mut name = wanted.name.to_vec();
    if wanted.is_directory {
        join(&mut name, index?);
    }
    let mut entry = Entry::for_kind(folder.kind);
    let (file, identity) = match open_below(&folder.root, &name) {
        Ok(Opened::File(file, identity)) => (file, identity),
        Ok(Opened::Directory) if !wanted.is_directory => {
            join(&mut name, index?);
            let Ok(Opened::File(_, identity)) = open_below(&folder.root, &name) else {
                return None;
            };
            entry.redirect = Some(Redirect::AddSlash);
            entry.saw(folder, &name, Some(identity));
            return Some(entry);
        }
        _ => return None,
    };
    entry.saw(folder, &name, Some(identity));
    let last = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if !wanted.is_directory && index.is_some_and(|index| index.as_bytes() == last) {
        entry.redirect = Some(Redirect::ToDirectory);
        return Some(entry);
    }
    let mut siblings = Vec::new();
    if folder.kind != Kind::Media && !is_encoded(last) {
        for coding in Coding::ENCODED {
            let mut name = name.clone();
            name.extend_from_slice(coding.extension().as_bytes());
            let found = match open_below(&folder.root, &name) {
                Ok(Opened::File(file, identity)) => Some((file, identity)),
                _ => None,
            };
            entry.saw(folder, &name, found.as_ref().map(|(_, identity)| *identity));
            siblings.extend(found.map(|(file, sibling)| (coding, file, sibling)));
        }
    }
    // One that is older than its source may be of another version.
    siblings.retain(|(_, _, sibling)| {
        sibling.modified() >= identity.modified() && sibling.length < identity.length
    });
    let text = String::from_utf8_lossy(&name);
    let about = About {
        site,
        kind: folder.kind,
        path: String::from_utf8_lossy(path),
        file: &text,
        hash: hash(site, manifest, folder.kind, &name, path),
        modified: identity.modified().min(unix_now()),
        varies: !siblings.is_empty(),
    };
    entry.modified = about.modified;
    entry
        .forms
        .push(about.form(Coding::Identity, file, identity)?);
    for (coding, file, sibling) in siblings {
        entry.forms.extend(about.form(coding, file, sibling));
    }
    Some(entry)
}

/// Whether everything is as it was when the entry was made.
pub(crate) fn is_unchanged(entry: &Entry) -> bool {
    entry.looked_at.iter().all(|seen| {
        let now = match open_below(&seen.root, &seen.name) {
            Ok(Opened::File(_, identity)) => Some(identity),
            _ => None,
        };
        now == seen.found
    })
}

fn join(name: &mut Vec<u8>, index: &str) {
    if !name.is_empty() {
        name.push(b'/');
    }
    name.extend_from_slice(index.as_bytes());
}

fn is_encoded(name: &[u8]) -> bool {
    let encoded = |coding: &Coding| name.ends_with(coding.extension().as_bytes());
    Coding::ENCODED.iter().any(encoded)
}

impl Entry {
    fn saw(&mut self, folder: &crate::Folder, name: &[u8], found: Option<Identity>) {
        self.looked_at.push(LookedAt {
            root: folder.root.clone(),
            name: name.to_vec(),
            found,
        });
    }
}

/// Whether the content never changes, and by which hash it is known then.
enum Hash {
    None,
    /// The name stands for the content and has no hash that is recognised.
    Unknown,
    Known(String),
}

fn hash(site: &Site, manifest: &mut Manifest, kind: Kind, name: &[u8], path: &[u8]) -> Hash {
    let listed = || std::str::from_utf8(path).is_ok_and(|path| site.immutable.contains(path));
    match kind {
        Kind::Static if manifest.has(name) || listed() => {}
        Kind::Root if listed() => {}
        _ => return Hash::None,
    }
    let last = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let is_hash = |part: &&[u8]| part.len() >= 8 && part.iter().all(u8::is_ascii_hexdigit);
    let found = last.split(|&byte| byte == b'.').rev().find(is_hash);
    found.map_or(Hash::Unknown, |hash| {
        Hash::Known(String::from_utf8_lossy(hash).into_owned())
    })
}

/// What is the same for all forms of a file.
struct About<'a> {
    site: &'a Site,
    kind: Kind,
    path: Cow<'a, str>,
    /// Its name below the root.
    file: &'a str,
    hash: Hash,
    modified: u64,
    varies: bool,
}

impl About<'_> {
    fn form(&self, coding: Coding, file: File, identity: Identity) -> Option<Form> {
        let content_type = self.content_type();
        let bytes = read(file, identity)?;
        let etag = self.etag(coding, identity, &bytes);
        let mut fields = Vec::with_capacity(10);
        let mut add = |name: &'static str, value: String, scope: Scope| {
            fields.push(Field {
                name: Cow::Borrowed(name),
                value,
                scope,
            });
        };
        add("Content-Type", content_type.clone(), Scope::Content);
        if coding != Coding::Identity {
            add("Content-Encoding", coding.name().to_owned(), Scope::Content);
        }
        add("Accept-Ranges", "bytes".to_owned(), Scope::Content);
        if !etag.is_empty() {
            add("ETag", etag.clone(), Scope::Version);
        }
        if !is_constant(self.modified) {
            let modified = String::from_utf8_lossy(&format_date(self.modified)).into_owned();
            add("Last-Modified", modified, Scope::Version);
        }
        if let Some(value) = self.cache_control() {
            add("Cache-Control", value, Scope::Version);
        }
        if self.varies {
            add("Vary", "Accept-Encoding".to_owned(), Scope::Always);
        }
        if self.is_open_to_others(&content_type) {
            add("Access-Control-Allow-Origin", "*".to_owned(), Scope::Always);
        }
        if self.site.nosniff || self.kind == Kind::Media {
            add(
                "X-Content-Type-Options",
                "nosniff".to_owned(),
                Scope::Always,
            );
        }
        if self.kind == Kind::Media && is_active(&content_type) {
            add(
                "Content-Disposition",
                "attachment".to_owned(),
                Scope::Content,
            );
            add(
                "Content-Security-Policy",
                NO_PAGE.to_owned(),
                Scope::Content,
            );
        }
        for (name, value) in self.site.fields.get(&*self.path).into_iter().flatten() {
            replace(&mut fields, name, value);
        }
        let pairs = fields
            .iter()
            .map(|field| (field.name.as_bytes(), field.value.as_bytes()));
        Some(Form {
            head: Template::new(200, pairs, identity.length),
            coding,
            length: identity.length,
            bytes,
            identity,
            etag,
            content_type,
            fields,
        })
    }

    fn content_type(&self) -> String {
        let file = self.file.rsplit('/').next().unwrap_or(self.file);
        let dotted = format!(".{}", media_type::extension(file));
        let types = &self.site.types;
        let own = types
            .get(&file.to_ascii_lowercase())
            .or_else(|| types.get(&dotted));
        let kind = own.map_or_else(|| media_type::media_type(file), String::as_str);
        if media_type::wants_charset(kind) {
            format!("{kind}; charset={}", self.site.charset)
        } else {
            kind.to_owned()
        }
    }

    /// Strong, and another one for each form (RFC 9110, section 8.8.3). By the hash where the name
    /// has one, so that machines with other clocks agree.
    ///
    /// A time that says nothing is none: then the content counts, where it is at hand, and else there is
    /// no tag.
    fn etag(&self, coding: Coding, identity: Identity, bytes: &Bytes) -> String {
        let form = match coding {
            Coding::Identity => String::new(),
            coding => format!("-{}", coding.name()),
        };
        match &self.hash {
            Hash::Known(hash) => format!("\"{hash}-{:x}{form}\"", identity.length),
            _ if !is_constant(identity.modified()) => {
                format!("\"{:x}-{:x}{form}\"", identity.modified_ns, identity.length)
            }
            _ if identity.modified_ns == 0 => String::new(),
            _ => match hash_of(bytes) {
                Some(hash) => format!("\"{hash:x}-{:x}{form}\"", identity.length),
                None => String::new(),
            },
        }
    }

    fn cache_control(&self) -> Option<String> {
        if !matches!(self.hash, Hash::None) {
            return Some(FOR_EVER.to_owned());
        }
        let max_age = self.site.max_age?;
        Some(match self.kind {
            // Who may see it is not known here.
            Kind::Media => format!("max-age={max_age}"),
            _ => format!("max-age={max_age}, public"),
        })
    }

    fn is_open_to_others(&self, content_type: &str) -> bool {
        let is_font =
            content_type.starts_with("font/") || content_type == "application/vnd.ms-fontobject";
        match (self.kind, self.site.cors) {
            (Kind::Media, _) | (_, Cors::Never) => false,
            (Kind::Static | Kind::Root, Cors::All) => true,
            _ => is_font,
        }
    }
}

/// Of content that is at hand.
fn hash_of(bytes: &Bytes) -> Option<u128> {
    let whole = match bytes {
        Bytes::Memory(bytes) => return Some(fingerprint(bytes)),
        Bytes::Sealed(sealed) => sealed.file(),
        Bytes::File(_) => return None,
    };
    let mut content = vec![0; usize::try_from(whole.metadata().ok()?.len()).ok()?];
    whole.read_exact_at(&mut content, 0).ok()?;
    Some(fingerprint(&content))
}

/// FNV-1a, 128 bits: it finds accidents, not forgeries.
fn fingerprint(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let step = |hash: u128, byte: &u8| (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
    bytes.iter().fold(OFFSET, step)
}

/// Content that can act for the site when it is opened.
fn is_active(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind == "text/html"
        || kind == "text/javascript"
        || kind.ends_with("xml")
        || kind == "text/cache-manifest"
}

fn replace(fields: &mut Vec<Field>, name: &str, value: &str) {
    // What frames the answer is not for a file's own rules.
    if [
        "content-length",
        "transfer-encoding",
        "connection",
        "etag",
        "content-encoding",
    ]
    .iter()
    .any(|fixed| name.eq_ignore_ascii_case(fixed))
    {
        return;
    }
    if let Some(field) = fields
        .iter_mut()
        .find(|field| field.name.eq_ignore_ascii_case(name))
    {
        value.clone_into(&mut field.value);
        return;
    }
    fields.push(Field {
        name: Cow::Owned(name.to_owned()),
        value: value.to_owned(),
        scope: Scope::Always,
    });
}

/// A short file in one piece, as long as it holds still for it; a long one stays on disk.
fn read(file: File, identity: Identity) -> Option<Bytes> {
    if identity.length > IN_MEMORY {
        return Some(Bytes::File(file));
    }
    let mut bytes = vec![0; usize::try_from(identity.length).ok()?];
    let read = file.read_exact_at(&mut bytes, 0);
    // Somebody writes it now: what is there is neither the old file nor the new one.
    let is_still = read.is_ok() && Identity::of(&file).is_ok_and(|now| now == identity);
    if !is_still {
        return Some(Bytes::File(file));
    }
    let sealed = (identity.length > COPIED)
        .then(|| Sealed::new(&bytes))
        .flatten();
    Some(sealed.map_or_else(|| Bytes::Memory(bytes.into_boxed_slice()), Bytes::Sealed))
}
