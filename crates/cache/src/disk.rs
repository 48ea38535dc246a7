//! The tier on disk: owns a bounded folder of entries that outlives the process. It is the only
//! part of this crate that touches files; every call may block, so that it is to be driven by a
//! thread of its own, with a [`Job`] at a time.
//!
//! Each entry is a file, named by fingerprints of its path, its host, its whole URL and what else selects
//! it, so that a purge of any of these reads nothing. A file is
//! written beside its place and moved there, never changed, and read as bytes that anybody may have
//! written: what is not whole, not for its name, or no longer of use is removed.
//! Nothing is flushed: what a power cut leaves behind is found out by its checksum.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::entry::Entry;
use crate::hash::fingerprint;
use crate::key::{Key, LONGEST_KEY, UrlParts};
use crate::life::Life;
use crate::store::Purge;
use crate::time::Time;
use crate::wire::{self, Stored};

/// What the thread is asked to do.
#[derive(Debug)]
pub enum Job {
    /// Look for everything that is stored for a URL.
    Load(Key),
    /// Keep an entry.
    Keep(Arc<Entry>, Life, u32),
    /// Remove what a purge means. A soft one removes here, too: the copy to serve meanwhile is in
    /// memory.
    Purge(Purge),
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// The entries of the URL, for [`crate::Store::put`] with the mark of when they were asked for.
    Loaded(Vec<Stored>),
    /// The entry is kept, or need not be.
    Kept,
    /// How many files were removed.
    Purged(usize),
}

/// The folder.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    limit: u64,
    bytes: u64,
    /// Ordered by path first, then host, so that all of one path, and of one URL, stand together.
    files: BTreeMap<Name, Kept>,
    /// From the last use to the file, the oldest first.
    uses: BTreeMap<u64, Name>,
    clock: u64,
    /// Files that the system would not remove: they are nothing here, and would be something again after
    /// a restart.
    stuck: BTreeSet<Name>,
}

/// What a file is named by: its URL (32 bits each for path and host, 64 for all of it), and the rest of
/// its key with what it varies on.
type Name = (u128, u64);

#[derive(Debug, Clone)]
struct Kept {
    bytes: u64,
    used: u64,
    /// Fingerprints of its tags; None for what was there before this process, until it is looked at.
    tags: Option<Box<[u64]>>,
}

/// Files that are tried once more with each job.
const FEW: usize = 16;

/// Variants of one URL that are read at once, at most.
const MOST_VARIANTS: usize = 64;

/// Key, what it varies on, and tags take less of a file.
const LONGEST_START: u64 = 8 * LONGEST_KEY as u64;

/// A file of more bytes is none of ours.
const LARGEST_FILE: u64 = 64 << 20;

impl Disk {
    /// Opens the folder, which is made when it is not there, and looks at what is in it. What is
    /// named like an entry counts as one until it is read; the leftovers of writing are removed,
    /// and everything else is left alone and not counted.
    pub fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut disk = Self {
            folder: folder.to_owned(),
            limit,
            bytes: 0,
            files: BTreeMap::new(),
            uses: BTreeMap::new(),
            clock: 0,
            stuck: BTreeSet::new(),
        };
        let mut found = Vec::new();
        for shelf in fs::read_dir(folder)?.flatten() {
            let is_shelf = shelf.file_name().len() == 2 && shelf.path().is_dir();
            let Some(files) = is_shelf.then(|| fs::read_dir(shelf.path())) else {
                continue;
            };
            for file in files.into_iter().flatten().flatten() {
                let name = file.file_name();
                let name = name.to_string_lossy();
                if name.ends_with(BEING_WRITTEN) {
                    let _ = fs::remove_file(file.path());
                    continue;
                }
                let Some(name) = parse_name(&name) else {
                    continue;
                };
                // Not through a link: metadata of the entry itself.
                if let Ok(metadata) = file.metadata()
                    && metadata.is_file()
                {
                    let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    found.push((changed, name, metadata.len()));
                }
            }
        }
        found.sort_unstable();
        for (_, name, len) in found {
            disk.note(name, len, None);
        }
        disk.shrink();
        Ok(disk)
    }

    /// Does one job. A disk that fails costs hits and nothing else, so there is no error.
    pub fn run(&mut self, job: Job, now: Time) -> Done {
        self.remove_stuck(FEW);
        match job {
            Job::Load(key) => Done::Loaded(self.load(&key, now)),
            Job::Keep(entry, life, rule) => {
                self.keep(&entry, &life, rule);
                Done::Kept
            }
            Job::Purge(purge) => Done::Purged(self.purge(&purge)),
        }
    }

    /// How many files could not be removed that mean nothing any more.
    pub fn stuck(&self) -> usize {
        self.stuck.len()
    }

    /// Tries once more to remove these, so many at most.
    pub fn remove_stuck(&mut self, most: usize) {
        let some: Vec<Name> = self.stuck.iter().copied().take(most).collect();
        for name in some {
            self.unlink(name);
        }
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What they take of the disk, in whole blocks.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn load(&mut self, key: &Key, now: Time) -> Vec<Stored> {
        let url = url_name(key.url());
        let names: Vec<Name> = self.of_url(url).take(MOST_VARIANTS).collect();
        let mut found = Vec::new();
        for name in names {
            let stored = self.read(name, now);
            match stored.filter(|stored| stored.entry.url() == key.url()) {
                Some(stored) => {
                    self.touch(name);
                    found.push(stored);
                }
                None => self.remove(name),
            }
        }
        found
    }

    fn of_url(&self, url: u128) -> impl Iterator<Item = Name> {
        self.between(url, url)
    }

    fn between(&self, first: u128, last: u128) -> impl Iterator<Item = Name> {
        let files = self.files.range((first, 0)..=(last, u64::MAX));
        files.map(|(name, _)| *name)
    }

    /// What is in a file, if that is an entry of this name that something can still be done with.
    fn read(&self, name: Name, now: Time) -> Option<Stored> {
        let mut file = File::open(self.path(name)).ok()?;
        let len = file.metadata().ok().filter(fs::Metadata::is_file)?.len();
        if len > LARGEST_FILE {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).ok()?);
        Read::by_ref(&mut file)
            .take(LARGEST_FILE)
            .read_to_end(&mut bytes)
            .ok()?;
        let stored = wire::read(&bytes, now)?;
        let useful = now < stored.life.useless_from() || !stored.entry.validators().is_empty();
        (name_of(&stored.entry) == name && useful).then_some(stored)
    }

    fn keep(&mut self, entry: &Entry, life: &Life, rule: u32) {
        let name = name_of(entry);
        let bytes = wire::write(entry, life, rule, true);
        let len = bytes.len() as u64;
        if len > LARGEST_FILE || blocks(len) > self.limit / 8 {
            self.remove(name);
            return;
        }
        // One more than there may be of a URL lets the one go that was not used for longest.
        let of_url: Vec<Name> = self.of_url(name.0).filter(|own| *own != name).collect();
        if of_url.len() >= MOST_VARIANTS {
            let used = |name: &&Name| self.files.get(*name).map_or(0, |kept| kept.used);
            if let Some(oldest) = of_url.iter().min_by_key(used) {
                self.remove(*oldest);
            }
        }
        match self.write(name, &bytes) {
            Ok(()) => {
                self.stuck.remove(&name);
                self.forget(name);
                self.note(name, len, Some(entry.tags().map(tag_print).collect()));
                self.shrink();
            }
            // The old copy may be wrong now.
            Err(_) => self.remove(name),
        }
    }

    fn write(&self, name: Name, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        let shelf = path.parent().unwrap_or(&self.folder);
        if !shelf.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(shelf)?;
        }
        let written = path.with_extension(BEING_WRITTEN.trim_start_matches('.'));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let done = options
            .open(&written)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&written, &path));
        if done.is_err() {
            let _ = fs::remove_file(&written);
        }
        done
    }

    fn purge(&mut self, purge: &Purge) -> usize {
        let meant: Vec<Name> = match purge {
            Purge::Url(key) => self.of_url(url_name(key.url())).collect(),
            // Two that share a fingerprint go together, which costs one of them a miss.
            Purge::Path { host, path } => {
                let first = u128::from(print(path)) << 96;
                let (first, rest) = match host {
                    Some(host) => (first | u128::from(print(host)) << 64, u128::MAX >> 64),
                    None => (first, u128::MAX >> 32),
                };
                self.between(first, first | rest).collect()
            }
            Purge::Host(host) => {
                let host = print(host);
                let names = self.files.keys().copied();
                names.filter(|name| host_of(*name) == host).collect()
            }
            Purge::Tag(tag) => {
                self.learn_tags();
                let tag = tag_print(tag);
                let has = |kept: &Kept| kept.tags.as_ref().is_some_and(|tags| tags.contains(&tag));
                let files = self.files.iter().filter(|(_, kept)| has(kept));
                files.map(|(name, _)| *name).collect()
            }
            Purge::Everything => self.files.keys().copied().collect(),
            Purge::Prefix { .. } | Purge::Several(_) => {
                let names = self.files.keys().copied();
                let means = |name: &Name| {
                    let start = self.start(*name);
                    let found = start.as_deref().and_then(wire::peek);
                    // What cannot be read is of no use either.
                    found.is_none_or(|(url, tags)| purge.means_stored(url, tags))
                };
                names.filter(means).collect()
            }
        };
        for &name in &meant {
            self.remove(name);
        }
        meant.len()
    }

    /// Looks once at what was there before this process; what cannot be read goes.
    fn learn_tags(&mut self) {
        let unknown = self.files.iter().filter(|(_, kept)| kept.tags.is_none());
        let unknown: Vec<Name> = unknown.map(|(name, _)| *name).collect();
        for name in unknown {
            let start = self.start(name);
            let found = start.as_deref().and_then(wire::peek);
            match found.map(|(_, tags)| tags.map(tag_print).collect()) {
                Some(tags) => {
                    if let Some(kept) = self.files.get_mut(&name) {
                        kept.tags = Some(tags);
                    }
                }
                None => self.remove(name),
            }
        }
    }

    /// The first bytes of a file: as many as key and tags may take.
    fn start(&self, name: Name) -> Option<Vec<u8>> {
        let file = File::open(self.path(name)).ok()?;
        let mut bytes = Vec::new();
        file.take(LONGEST_START).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn shrink(&mut self) {
        while self.bytes > self.limit
            && let Some((_, &name)) = self.uses.first_key_value()
        {
            self.remove(name);
        }
    }

    fn remove(&mut self, name: Name) {
        self.unlink(name);
        self.forget(name);
    }

    fn unlink(&mut self, name: Name) {
        use io::ErrorKind::{NotADirectory, NotFound};
        match fs::remove_file(self.path(name)) {
            Err(error) if !matches!(error.kind(), NotFound | NotADirectory) => {
                self.stuck.insert(name);
            }
            _ => {
                self.stuck.remove(&name);
            }
        }
    }

    fn forget(&mut self, name: Name) {
        if let Some(kept) = self.files.remove(&name) {
            self.uses.remove(&kept.used);
            self.bytes -= kept.bytes;
        }
    }

    fn note(&mut self, name: Name, len: u64, tags: Option<Box<[u64]>>) {
        self.count(name, blocks(len), tags);
    }

    fn count(&mut self, name: Name, bytes: u64, tags: Option<Box<[u64]>>) {
        self.clock += 1;
        let used = self.clock;
        self.files.insert(name, Kept { bytes, used, tags });
        self.uses.insert(used, name);
        self.bytes += bytes;
    }

    fn touch(&mut self, name: Name) {
        if let Some(kept) = self.files.get(&name).cloned() {
            self.forget(name);
            self.count(name, kept.bytes, kept.tags);
        }
    }

    fn path(&self, (url, rest): Name) -> PathBuf {
        let text = format!("{url:032x}-{rest:016x}");
        let shelf = text.get(..2).unwrap_or_default().to_owned();
        self.folder.join(shelf).join(text)
    }
}

const BEING_WRITTEN: &str = ".part";

/// A file takes whole blocks, and its place in the folder.
const fn blocks(len: u64) -> u64 {
    len.div_ceil(4096) * 4096 + 256
}

fn url_name(url: &[u8]) -> u128 {
    let parts = UrlParts::read(url).map(|parts| (print(parts.path), print(parts.host)));
    let (path, host) = parts.unwrap_or_default();
    let whole = fingerprint(std::iter::once(url)) as u64;
    u128::from(path) << 96 | u128::from(host) << 64 | u128::from(whole)
}

fn host_of((url, _): Name) -> u32 {
    (url >> 64) as u32
}

fn print(text: &[u8]) -> u32 {
    (fingerprint(std::iter::once(text)) >> 96) as u32
}

fn tag_print(tag: &[u8]) -> u64 {
    fingerprint(std::iter::once(tag)) as u64
}

fn name_of(entry: &Entry) -> Name {
    let rest = [entry.inputs(), entry.vary(), entry.vary_values()];
    let lengths: Vec<u8> = rest
        .iter()
        .flat_map(|part| part.len().to_le_bytes())
        .collect();
    let parts = std::iter::once(lengths.as_slice()).chain(rest);
    (url_name(entry.url()), fingerprint(parts) as u64)
}

fn parse_name(text: &str) -> Option<Name> {
    let (url, rest) = text.split_once('-')?;
    let proper = |part: &str, len| {
        part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    (proper(url, 32) && proper(rest, 16)).then_some(())?;
    Some((
        u128::from_str_radix(url, 16).ok()?,
        u64::from_str_radix(rest, 16).ok()?,
    ))
}
