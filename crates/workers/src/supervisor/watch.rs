//! Owns noticing that a source file has changed (`--reload`): by inotify, or by looking at the
//! times of files where inotify is refused.
//! Leaves what to do about it to the supervisor.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// How often files are looked at where inotify is refused.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// A change is acted on when nothing else has changed for this long: editors and `git` write
/// several files in a row.
pub const QUIET: Duration = Duration::from_millis(150);

/// Code, templates and translations. What an app may write by itself is left out, or it would
/// restart itself for ever.
const SUFFIXES: &[&str] = &["py", "html", "jinja", "jinja2", "mo", "toml", "env"];

/// Directories that hold no source of the project.
const SKIPPED: &[&str] = &["__pycache__", "node_modules", "site-packages"];

/// More directories than this are not a project.
const MOST_DIRECTORIES: usize = 4096;

/// What is watched.
pub struct Watch {
    inotify: Option<OwnedFd>,
    directories: HashMap<i32, PathBuf>,
    /// Named by the user: every change counts.
    files: Vec<PathBuf>,
    roots: Vec<PathBuf>,
    times: BTreeMap<PathBuf, SystemTime>,
}

/// The same path as the system's events name it. The last part of a file's stays, as it may be a link that is led
/// elsewhere (a mounted `ConfigMap`).
fn canonical(path: &Path) -> PathBuf {
    let whole = || std::fs::canonicalize(path);
    let by_folder = || {
        Some(
            std::fs::canonicalize(path.parent()?)
                .ok()?
                .join(path.file_name()?),
        )
    };
    let found = if path.is_dir() {
        whole().ok()
    } else {
        by_folder()
    };
    found.unwrap_or_else(|| path.to_owned())
}

/// Hidden, as editors' swap files are; `..data`, by which Kubernetes renews a folder, is not meant.
fn is_scratch(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b".") && !name.starts_with(b"..")
}

impl Watch {
    /// Watches source in the directories `roots` and below them, and `files`, where a directory stands for
    /// every file in it and below.
    pub fn new(roots: Vec<PathBuf>, files: &[PathBuf]) -> Self {
        let flags = CreateFlags::NONBLOCK | CreateFlags::CLOEXEC;
        let files = files.iter().map(|file| canonical(file)).collect();
        let mut watch = Self {
            inotify: inotify::init(flags).ok(),
            directories: HashMap::new(),
            files,
            roots: Vec::new(),
            times: BTreeMap::new(),
        };
        for file in watch.files.clone() {
            if file.is_dir() {
                for directory in directories(&file) {
                    watch.add_one(&directory);
                }
            } else if let Some(directory) = file.parent() {
                watch.add_one(directory);
            }
        }
        watch.add(roots);
        watch
    }

    /// Watches more directories.
    pub fn add(&mut self, roots: Vec<PathBuf>) {
        for root in roots {
            if !self.roots.iter().any(|known| root.starts_with(known)) {
                for directory in directories(&root) {
                    self.add_one(&directory);
                }
                self.roots.push(root);
            }
        }
        if self.inotify.is_none() {
            self.times = self.look();
        }
    }

    fn add_one(&mut self, directory: &Path) {
        let Some(inotify) = &self.inotify else {
            return;
        };
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(inotify, directory, what) {
            Ok(number) => {
                self.directories.insert(number, directory.to_path_buf());
            }
            // Out of watches (fs.inotify.max_user_watches): look at times instead.
            Err(rustix::io::Errno::NOSPC) => self.inotify = None,
            // It has gone meanwhile.
            Err(_) => {}
        }
    }

    /// What to wait on; None when [`Watch::changed`] must be called every [`INTERVAL`].
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// A file that has changed since the last call, if one has.
    pub fn changed(&mut self) -> Option<PathBuf> {
        if self.inotify.is_some() {
            self.changed_by_event()
        } else {
            let times = self.look();
            let changed = times
                .iter()
                .find(|(path, time)| self.times.get(*path) != Some(time))
                .map(|(path, _)| path.clone())
                .or_else(|| {
                    let gone = |path: &&PathBuf| !times.contains_key(*path);
                    self.times.keys().find(gone).cloned()
                });
            self.times = times;
            changed
        }
    }

    fn changed_by_event(&mut self) -> Option<PathBuf> {
        let mut changed = None;
        let mut appeared = Vec::new();
        let inotify = self.inotify.as_ref()?;
        let mut buf = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(inotify, &mut buf);
        while let Ok(event) = reader.next() {
            let Some(directory) = self.directories.get(&event.wd()) else {
                continue;
            };
            let Some(name) = event.file_name() else {
                continue;
            };
            let name = OsStr::from_bytes(name.to_bytes());
            let path = directory.join(name);
            if event.events().contains(ReadFlags::ISDIR) {
                if !event.events().contains(ReadFlags::DELETE) && is_searched(name) {
                    appeared.push(path);
                }
            } else if event.events() != ReadFlags::CREATE && self.counts(&path) {
                changed.get_or_insert(path);
            }
        }
        for root in appeared {
            for directory in directories(&root) {
                self.add_one(&directory);
                // What came with the directory, or before it was watched, has no event of its own.
                changed = changed.or_else(|| self.source_in(&directory));
            }
        }
        changed
    }

    fn source_in(&self, directory: &Path) -> Option<PathBuf> {
        let entries = std::fs::read_dir(directory).ok()?.flatten();
        let mut files = entries.map(|entry| entry.path());
        files.find(|path| path.is_file() && self.counts(path))
    }

    fn counts(&self, path: &Path) -> bool {
        is_source(path)
            || self
                .files
                .iter()
                .any(|file| path == file || path.starts_with(file) && !is_scratch(path))
    }

    /// The time of each file that counts.
    fn look(&self) -> BTreeMap<PathBuf, SystemTime> {
        let mut times = BTreeMap::new();
        let mut note = |path: PathBuf| {
            if let Ok(time) = std::fs::metadata(&path).and_then(|meta| meta.modified()) {
                times.insert(path, time);
            }
        };
        let (folders, files): (Vec<_>, Vec<_>) = self.files.iter().partition(|file| file.is_dir());
        for directory in self
            .roots
            .iter()
            .chain(folders)
            .flat_map(|root| directories(root))
        {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.path().is_file() && self.counts(&entry.path()) {
                    note(entry.path());
                }
            }
        }
        files.into_iter().cloned().for_each(&mut note);
        times
    }
}

fn is_source(path: &Path) -> bool {
    let suffix = path.extension().and_then(OsStr::to_str);
    suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix))
        || path.file_name().is_some_and(|name| name == ".env")
}

fn is_searched(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| !name.starts_with('.') && !SKIPPED.contains(&name))
}

/// `root` and the directories below it that may hold source. Links are not followed, so that
/// there is an end.
fn directories(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_path_buf()];
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        next += 1;
        let children = || -> io::Result<Vec<PathBuf>> {
            let entries = std::fs::read_dir(&directory)?.flatten();
            Ok(entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .filter(|entry| is_searched(&entry.file_name()))
                .map(|entry| entry.path())
                // A virtual environment inside the project.
                .filter(|path| !path.join("pyvenv.cfg").exists())
                .collect())
        };
        found.extend(children().unwrap_or_default());
        if found.len() > MOST_DIRECTORIES {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("canter-watch-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(path.join("app/templates")).unwrap();
            fs::create_dir_all(path.join(".git")).unwrap();
            fs::create_dir_all(path.join("given/deep")).unwrap();
            fs::write(path.join("given/deep/rates.csv"), "1").unwrap();
            fs::write(path.join("app/views.py"), "1").unwrap();
            Self(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn extra(place: &Place) -> Vec<PathBuf> {
        vec![place.0.join("extra.cfg"), place.0.join("given")]
    }

    /// A file counts as written when the last who has it open closes it, and a program that another
    /// test is starting has it open for a moment.
    fn next(watch: &mut Watch) -> Option<PathBuf> {
        let limit = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let changed = watch.changed();
            if changed.is_some() || std::time::Instant::now() > limit {
                return changed;
            }
            std::thread::yield_now();
        }
    }

    fn changes_are_seen(mut watch: Watch, place: &Path) {
        assert_eq!(watch.changed(), None);
        fs::write(place.join("app/data.json"), "{}").unwrap();
        fs::write(place.join(".git/x.py"), "{}").unwrap();
        assert_eq!(watch.changed(), None);
        for file in [
            "app/new.py",
            "app/templates/page.html",
            "extra.cfg",
            "given/other.csv",
            "given/deep/new.csv",
        ] {
            fs::write(place.join(file), "2").unwrap();
            assert_eq!(next(&mut watch), Some(place.join(file)));
            assert_eq!(watch.changed(), None);
        }
        for file in ["app/views.py", "given/deep/rates.csv"] {
            fs::remove_file(place.join(file)).unwrap();
            assert_eq!(next(&mut watch), Some(place.join(file)));
        }
    }

    #[test]
    fn changes_of_source_files_are_seen_by_events() {
        let place = Place::new("events");
        let watch = Watch::new(vec![place.0.clone()], &extra(&place));
        assert!(watch.as_fd().is_some());
        changes_are_seen(watch, &place.0);
    }

    #[test]
    fn changes_of_source_files_are_seen_by_looking() {
        let place = Place::new("looking");
        let mut watch = Watch::new(vec![], &extra(&place));
        watch.inotify = None;
        watch.add(vec![place.0.clone()]);
        assert!(watch.as_fd().is_none());
        changes_are_seen(watch, &place.0);
    }

    #[test]
    fn a_folder_that_is_named_through_a_link_is_watched_but_for_hidden_files() {
        let place = Place::new("linked");
        fs::create_dir(place.0.join("data")).unwrap();
        std::os::unix::fs::symlink(place.0.join("data"), place.0.join("link")).unwrap();
        let mut watch = Watch::new(vec![place.0.clone()], &[place.0.join("link")]);
        fs::write(place.0.join("data/.rates.csv.swp"), "1").unwrap();
        assert_eq!(watch.changed(), None);
        fs::write(place.0.join("data/rates.csv"), "1").unwrap();
        assert_eq!(next(&mut watch), Some(place.0.join("data/rates.csv")));
    }

    #[test]
    fn files_in_a_new_directory_are_seen() {
        let place = Place::new("new");
        let mut watch = Watch::new(vec![place.0.clone()], &[]);
        fs::create_dir(place.0.join("more")).unwrap();
        assert_eq!(watch.changed(), None);
        fs::write(place.0.join("more/models.py"), "2").unwrap();
        assert_eq!(next(&mut watch), Some(place.0.join("more/models.py")));
    }

    #[test]
    fn files_that_come_with_their_directory_are_seen() {
        let (place, other) = (Place::new("here"), Place::new("elsewhere"));
        let mut watch = Watch::new(vec![place.0.clone()], &[]);
        fs::rename(other.0.join("app"), place.0.join("moved")).unwrap();
        assert_eq!(watch.changed(), Some(place.0.join("moved/views.py")));
        assert_eq!(watch.changed(), None);
    }
}
