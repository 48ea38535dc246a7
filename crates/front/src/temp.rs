//! Owns temporary files: made unlinked, readable by nobody else, gone with their descriptor.
//! Leaves how much may be written to the callers.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// A file without a name in `dir`.
///
/// # Errors
/// The system's own, with the directory named.
pub(crate) fn unlinked(dir: &Path) -> io::Result<File> {
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

fn named_then_unlinked(dir: &Path, mode: Mode) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    for attempt in 0..100_u32 {
        let random = crate::request::random();
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
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn a_missing_directory_is_named_in_the_error() {
        let error = unlinked(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"));
    }
}
