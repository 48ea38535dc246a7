//! Owns the folder of the workers' socket: closed to other users, removed at the end, and removed
//! by a later start when this program was killed.

use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::command::sockets::is_left_over;

/// How the folder's name begins.
const PREFIX: &str = "canter-pool-";
/// What libpq looks for with `host=FOLDER` and its default port.
const SOCKET: &str = ".s.PGSQL.5432";
/// The most bytes of a socket's path (unix(7)), without the zero behind it.
const MOST_PATH: usize = 107;

/// A folder that only this user can enter.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one in the folder for temporary files, or where else there is room for it.
    pub fn create(asked: Option<&Path>) -> io::Result<Self> {
        let mut places: Vec<PathBuf> = asked.map(Path::to_path_buf).into_iter().collect();
        places.push(std::env::temp_dir());
        places.extend(["/tmp", "/dev/shm"].map(PathBuf::from));
        let mut first = None;
        for place in places {
            let place = std::path::absolute(&place).unwrap_or(place);
            match Self::create_in(&place) {
                Ok(folder) => {
                    sweep(&place, &folder.0);
                    return Ok(folder);
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn create_in(place: &Path) -> io::Result<Self> {
        // Not to be guessed: others could make a folder of that name first and keep us from it.
        let number = RandomState::new().hash_one(std::process::id());
        let path = place.join(format!("{PREFIX}{number:016x}"));
        if path.join(SOCKET).as_os_str().len() > MOST_PATH {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path is too long for a socket",
            ));
        }
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where the socket goes.
    pub fn socket(&self) -> PathBuf {
        self.0.join(SOCKET)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_dir(&self.0);
    }
}

/// Removes folders of this user whose socket nobody listens at: left by a program that was killed.
fn sweep(place: &Path, own: &Path) {
    let Ok(user) = fs::symlink_metadata(own).map(|meta| meta.uid()) else {
        return;
    };
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path == own || !name.to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let is_ours = fs::symlink_metadata(&path)
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == user && meta.mode() & 0o777 == 0o700);
        // One without a socket may be about to get it.
        if is_ours && is_left_over(&path.join(SOCKET)) {
            drop(Folder(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

    #[test]
    fn the_folder_is_closed_to_others_and_goes_at_the_end() {
        let folder = Folder::create(None).unwrap();
        let path = folder.0.clone();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let _listener = UnixListener::bind(folder.socket()).unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_program_left_is_removed_and_what_is_in_use_is_not() {
        let place = Folder::create(None).unwrap();
        let left = Folder::create_in(&place.0).unwrap();
        // Never listened at: a listener that is closed lives on in what another test is starting.
        let kind = rustix::net::SocketType::STREAM;
        let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, kind, None).unwrap();
        let address = rustix::net::SocketAddrUnix::new(left.socket()).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        drop(socket);
        let long_ago = Timestamps {
            last_access: Timespec::default(),
            last_modification: Timespec::default(),
        };
        utimensat(CWD, left.socket(), &long_ago, AtFlags::empty()).unwrap();
        let used = Folder::create_in(&place.0).unwrap();
        let _listener = UnixListener::bind(used.socket()).unwrap();
        let starting = Folder::create_in(&place.0).unwrap();
        // Bound, and about to listen.
        let new = Folder::create_in(&place.0).unwrap();
        drop(UnixListener::bind(new.socket()).unwrap());
        let own = Folder::create(Some(&place.0)).unwrap();
        assert!(own.0.starts_with(&place.0));
        assert!(!left.0.exists());
        assert!([new, used, starting, own].iter().all(|one| one.0.exists()));
    }

    #[test]
    fn a_place_that_is_too_deep_is_passed_over() {
        let deep = std::env::temp_dir().join("d".repeat(100));
        let folder = Folder::create(Some(&deep)).unwrap();
        assert!(!folder.0.starts_with(&deep));
    }
}
