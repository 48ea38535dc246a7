//! Files that the app points to instead of sending them (`X-Sendfile`, `X-Accel-Redirect`): owns
//! which may be pointed to. Leaves the answer to the front.

use std::fs::File;
use std::path::{Path, PathBuf};

use canter_http::{media_type, target};

use crate::folder::Folder;
use crate::open::{Opened, is_constant, open_below};
use crate::respelled::respelled;

/// Where the app may point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pointers {
    /// Folders below which `X-Sendfile` may name a file.
    pub roots: Vec<PathBuf>,
    /// Addresses that `X-Accel-Redirect` may name, and their folders.
    pub internal: Vec<Folder>,
}

/// A file that the app has pointed to.
#[derive(Debug)]
pub struct Pointed {
    /// Open.
    pub file: File,
    /// Its bytes.
    pub length: u64,
    /// Seconds since 1970.
    pub modified: Option<u64>,
    /// With its quotation marks.
    pub etag: String,
    /// By its name.
    pub content_type: String,
}

impl Pointers {
    /// Whether the app may point nowhere: then its words are for a proxy in front.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.internal.is_empty()
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.roots.extend_from_slice(&other.roots);
        self.internal.extend_from_slice(&other.internal);
    }

    /// The file of `X-Sendfile`, an absolute path.
    ///
    /// # Errors
    /// Why not, for the log.
    pub fn sendfile(&self, value: &[u8]) -> Result<Pointed, &'static str> {
        either(value, |value| self.sendfile_as_it_is(value))
    }

    fn sendfile_as_it_is(&self, value: &[u8]) -> Result<Pointed, &'static str> {
        let path = to_path(value);
        let mut why = "it lies in none of the folders of --sendfile-root";
        for root in &self.roots {
            let Ok(name) = path.strip_prefix(root) else {
                continue;
            };
            match open(root, name) {
                Ok(pointed) => return Ok(pointed),
                Err(reason) => why = reason,
            }
        }
        Err(why)
    }

    /// The file of `X-Accel-Redirect`, a path of a URL.
    ///
    /// # Errors
    /// Why not, for the log.
    pub fn accel(&self, value: &[u8]) -> Result<Pointed, &'static str> {
        either(value, |value| self.accel_as_it_is(value))
    }

    fn accel_as_it_is(&self, value: &[u8]) -> Result<Pointed, &'static str> {
        let path = value.split(|&byte| byte == b'?').next().unwrap_or_default();
        let mut decoded = Vec::new();
        if target::decode_path(path, &mut decoded).is_err() {
            return Err("it is no path of a URL");
        }
        let mut why = "it begins with none of the addresses of --internal";
        for folder in &self.internal {
            if let Some(name) = decoded.strip_prefix(folder.url.as_bytes()) {
                match open(&folder.root, to_path(name)) {
                    Ok(pointed) => return Ok(pointed),
                    Err(reason) => why = reason,
                }
            }
        }
        Err(why)
    }
}

/// With the name as it came, and else with what it was before a framework made a field of it.
fn either(
    value: &[u8],
    find: impl Fn(&[u8]) -> Result<Pointed, &'static str>,
) -> Result<Pointed, &'static str> {
    let found = find(value);
    if found.is_ok() {
        return found;
    }
    let mut names = respelled(value).into_iter();
    names.find_map(|name| find(&name).ok()).map_or(found, Ok)
}

fn to_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn open(root: &Path, name: &Path) -> Result<Pointed, &'static str> {
    use std::os::unix::ffi::OsStrExt;
    if name.is_absolute() {
        return Err("it is an absolute path");
    }
    match open_below(root, name.as_os_str().as_bytes()) {
        Ok(Opened::File(file, identity)) => {
            let kind = media_type::media_type(&name.to_string_lossy());
            let charset = if media_type::wants_charset(kind) {
                "; charset=utf-8"
            } else {
                ""
            };
            // The same time stands on each version of a file that came out of an archive.
            let says = !is_constant(identity.modified());
            Ok(Pointed {
                file,
                length: identity.length,
                modified: says.then(|| identity.modified().min(crate::unix_now())),
                etag: if says {
                    format!("\"{:x}-{:x}\"", identity.modified_ns, identity.length)
                } else {
                    String::new()
                },
                content_type: format!("{kind}{charset}"),
            })
        }
        Ok(Opened::Directory) => Err("it is a directory"),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err("it may not be read by the user that Canter runs as")
        }
        Err(_) => Err("there is no such file in the folder, or a link leads out of it"),
    }
}
