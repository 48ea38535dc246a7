//! Owns temporary files: made unlinked, readable by nobody else, gone with their descriptor; where
//! they are made, and how much room must be left there.
//! Leaves what is written to the callers.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, statfs, statvfs};

/// A file without a name in `dir`.
///
/// # Errors
/// The system's own, with the directory named.
pub fn unlinked(dir: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(dir, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
        Ok(fd) => Ok(File::from(fd)),
        // A file system without O_TMPFILE.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            named_then_unlinked(dir, mode)
        }
        Err(error) => Err(explain(dir, &error.into())),
    }
}

/// Of a file system, this much is left to others: a twentieth, and no more than a gigabyte.
const RESERVE_PART: u64 = 20;
const RESERVE_MOST: u64 = 1 << 30;

/// Whether this many bytes more may be written in `dir` without filling its file system. Where the
/// system does not say, yes: writing will tell.
pub fn has_room(dir: &Path, bytes: u64) -> bool {
    let Ok(found) = statvfs(dir) else {
        return true;
    };
    let unit = found.f_frsize.max(1);
    let reserve = (found.f_blocks.saturating_mul(unit) / RESERVE_PART).min(RESERVE_MOST);
    found.f_bavail.saturating_mul(unit) >= bytes.saturating_add(reserve)
}

/// Whether files in `dir` are memory under another name.
pub fn is_memory(dir: &Path) -> bool {
    /// `TMPFS_MAGIC` and `RAMFS_MAGIC` (statfs(2)).
    const KINDS: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    statfs(dir)
        .is_ok_and(|found| u32::try_from(found.f_type).is_ok_and(|kind| KINDS.contains(&kind)))
}

/// A folder for temporary files: the system's choice, or another where that cannot be used, or is
/// memory and another is not.
pub fn folder() -> PathBuf {
    let usual = std::env::temp_dir();
    let others = ["/var/tmp", "/tmp", "/dev/shm"].map(PathBuf::from);
    let mut usable: Vec<PathBuf> = std::iter::once(usual.clone())
        .chain(others)
        .filter(|place| unlinked(place).is_ok())
        .collect();
    // The first that is a disk, or else the first.
    usable.sort_by_key(|place| is_memory(place));
    usable.into_iter().next().unwrap_or(usual)
}

fn named_then_unlinked(dir: &Path, mode: Mode) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    for attempt in 0..100_u32 {
        let random = RandomState::new().hash_one(attempt);
        let path = dir.join(format!(".canter-{random:016x}-{attempt}"));
        match rustix::fs::open(&path, flags, mode) {
            Ok(fd) => {
                std::fs::remove_file(&path)?;
                return Ok(File::from(fd));
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(explain(dir, &error.into())),
        }
    }
    Err(explain(dir, &io::ErrorKind::AlreadyExists.into()))
}

fn explain(dir: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("temporary file in {}: {error}", dir.display()),
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn both_ways_leave_no_name_behind() {
        let dir = std::env::temp_dir().join(format!("canter-test-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for mut file in [
            unlinked(&dir).unwrap(),
            named_then_unlinked(&dir, Mode::RUSR | Mode::WUSR).unwrap(),
        ] {
            file.write_all(b"hello").unwrap();
            file.rewind().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{mode:o}");
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn a_file_system_is_not_filled_to_the_brim() {
        let dir = std::env::temp_dir();
        assert!(has_room(&dir, 1) && !has_room(&dir, 1 << 60));
        assert!(has_room(Path::new("/nowhere"), 1 << 60));
    }

    #[test]
    fn memory_is_told_from_disk() {
        // Both are there on every Linux that is served.
        assert!(!is_memory(Path::new("/proc")));
        assert_eq!(
            is_memory(&folder()),
            is_memory(Path::new("/var/tmp")) && is_memory(&std::env::temp_dir())
        );
    }

    #[test]
    fn a_missing_directory_is_named_in_the_error() {
        let error = unlinked(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"));
    }
}
