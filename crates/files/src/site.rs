//! What a site says about its files: owns the folders, the rules, and reading them from the text
//! that Python sends. Leaves finding a file to `load`.
//!
//! One line for each thing, its parts separated by tabs; Python leaves out what holds a tab.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::folder::{Folder, Kind};
use crate::pointed::Pointers;

/// Lines that are read; a site with more has them for its first files.
const MOST_LINES: usize = 200_000;

/// To which files `Access-Control-Allow-Origin: *` is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cors {
    /// Fonts, which browsers do not use from elsewhere without it.
    #[default]
    Fonts,
    /// All.
    All,
    /// None.
    Never,
}

/// The rules of a site for its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its folders.
    pub folders: Vec<Folder>,
    /// The file that lists the hashed names.
    pub manifest: Option<PathBuf>,
    /// Seconds that a file may be kept unasked which can change; None leaves it to the client.
    pub max_age: Option<u32>,
    /// Whom scripts of other sites may read from.
    pub cors: Cors,
    /// What stands for a directory.
    pub index: Option<String>,
    /// Types by extension (`.foo`) or whole name.
    pub types: HashMap<String, String>,
    /// Of text.
    pub charset: String,
    /// Whether `X-Content-Type-Options: nosniff` is sent.
    pub nosniff: bool,
    /// Files are looked at anew for every request.
    pub is_fresh: bool,
    /// Paths whose files never change, beside those of the manifest.
    pub immutable: HashSet<String>,
    /// Fields for some paths.
    pub fields: HashMap<String, Vec<(String, String)>>,
    /// Where the app may point.
    pub pointers: Pointers,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            folders: Vec::new(),
            manifest: None,
            max_age: Some(60),
            cors: Cors::default(),
            index: None,
            types: HashMap::new(),
            charset: "utf-8".to_owned(),
            nosniff: false,
            is_fresh: false,
            immutable: HashSet::new(),
            fields: HashMap::new(),
            pointers: Pointers::default(),
        }
    }
}

impl Site {
    /// Reads what Python has sent. Lines that make no sense are passed over: a newer package may
    /// know more.
    pub fn read(text: &str) -> Self {
        let mut site = Self::default();
        for line in text.lines().take(MOST_LINES) {
            let mut parts = line.split('\t');
            let (word, first) = (parts.next().unwrap_or_default(), parts.next());
            let Some(first) = first else { continue };
            let (second, third) = (parts.next(), parts.next());
            site.take(word, first, second, third);
        }
        site
    }

    fn take(&mut self, word: &str, first: &str, second: Option<&str>, third: Option<&str>) {
        match (word, second, third) {
            ("static" | "root" | "media", Some(root), _) if is_address(first) => {
                self.folders.push(Folder {
                    url: first.to_owned(),
                    root: PathBuf::from(root),
                    kind: match word {
                        "static" => Kind::Static,
                        "root" => Kind::Root,
                        _ => Kind::Media,
                    },
                });
            }
            ("internal", Some(root), _) if is_address(first) => {
                self.pointers.internal.push(Folder {
                    url: first.to_owned(),
                    root: PathBuf::from(root),
                    kind: Kind::Folder,
                });
            }
            ("sendfile", ..) => self.pointers.roots.push(PathBuf::from(first)),
            ("manifest", ..) => self.manifest = Some(PathBuf::from(first)),
            ("max-age", ..) => self.max_age = first.parse().ok(),
            ("cors", ..) => {
                self.cors = match first {
                    "all" => Cors::All,
                    "none" => Cors::Never,
                    _ => Cors::Fonts,
                }
            }
            ("index", ..) if !first.is_empty() && !first.contains('/') => {
                self.index = Some(first.to_owned());
            }
            ("type", Some(kind), _) if is_value(kind) => {
                self.types
                    .insert(first.to_ascii_lowercase(), kind.to_owned());
            }
            ("charset", ..) if is_value(first) => first.clone_into(&mut self.charset),
            ("nosniff", ..) => self.nosniff = first == "1",
            ("fresh", ..) => self.is_fresh = first == "1",
            ("immutable", ..) => {
                self.immutable.insert(first.to_owned());
            }
            ("field", Some(name), Some(value)) if is_name(name) && is_value(value) => {
                let fields = self.fields.entry(first.to_owned()).or_default();
                fields.push((name.to_owned(), value.to_owned()));
            }
            _ => {}
        }
    }
}

fn is_address(url: &str) -> bool {
    url.starts_with('/') && url.ends_with('/')
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.bytes().all(fits)
}

fn is_value(value: &str) -> bool {
    !value.bytes().any(|byte| byte < b' ' || byte == 0x7f)
}

/// A folder as requests are compared with it.
pub(crate) struct Mount {
    pub folder: Folder,
}

impl Mount {
    /// Those for longer paths first; of equals, in the order given.
    pub fn sorted<'a>(folders: impl Iterator<Item = &'a Folder>) -> Vec<Self> {
        let mut mounts: Vec<Self> = folders
            .map(|folder| Self {
                folder: folder.clone(),
            })
            .collect();
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.folder.url.len()));
        mounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_python_is_read() {
        let site = Site::read(
            "static\t/static/\t/srv/static\nroot\t/\t/srv/root\nmedia\t/m/\t/srv/m\n\
             manifest\t/srv/static/staticfiles.json\nmax-age\t600\ncors\tall\nindex\tindex.html\n\
             type\t.FOO\tapplication/x-foo\ncharset\tlatin-1\nnosniff\t1\nfresh\t1\n\
             immutable\t/static/a.1.css\nfield\t/static/b.js\tX-Mine\ta b\n",
        );
        let kinds: Vec<Kind> = site.folders.iter().map(|folder| folder.kind).collect();
        assert_eq!(kinds, [Kind::Static, Kind::Root, Kind::Media]);
        assert_eq!(
            site.manifest,
            Some(PathBuf::from("/srv/static/staticfiles.json"))
        );
        assert_eq!((site.max_age, site.cors), (Some(600), Cors::All));
        assert_eq!(site.types[".foo"], "application/x-foo");
        assert!(site.nosniff && site.is_fresh && site.immutable.contains("/static/a.1.css"));
        assert_eq!(
            site.fields["/static/b.js"],
            [("X-Mine".to_owned(), "a b".to_owned())]
        );
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        let site = Site::read(
            "static\nstatic\tno-slash\t/x\nfield\t/a\tX Y\tz\nfield\t/a\tX\nfuture\t1\nindex\t../x\n\
             max-age\tnone\n\n",
        );
        let expected = Site {
            max_age: None,
            ..Site::default()
        };
        assert_eq!(site, expected);
    }

    #[test]
    fn longer_addresses_come_first_and_equal_ones_in_their_order() {
        let folder = |url: &str, root: &str| Folder {
            url: url.to_owned(),
            root: PathBuf::from(root),
            kind: Kind::Static,
        };
        let folders = [
            folder("/", "a"),
            folder("/static/", "b"),
            folder("/static/", "c"),
        ];
        let sorted = Mount::sorted(folders.iter());
        let roots: Vec<_> = sorted
            .iter()
            .map(|mount| mount.folder.root.to_str().unwrap())
            .collect();
        assert_eq!(roots, ["b", "c", "a"]);
    }
}
