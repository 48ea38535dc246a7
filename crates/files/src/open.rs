//! Opening a file below a root and nowhere else, whatever links say: owns `openat2` and what is
//! done where the system does not have it. Leaves names to `name`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat2};
use rustix::io::Errno;

/// Never waits, not even for the other end of a named pipe.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// By which one state of a file is told from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub device: u64,
    pub inode: u64,
    pub length: u64,
    /// Nanoseconds since 1970.
    pub modified_ns: i128,
}

impl Identity {
    /// As the system knows the open file now.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&fstat(file)?))
    }

    /// Whole seconds since 1970.
    pub fn modified(&self) -> u64 {
        u64::try_from(self.modified_ns / 1_000_000_000).unwrap_or(0)
    }
}

/// Whether a time is one that makers of images give all files, so that these are the same bytes on each
/// machine: none later than the first of ZIP archives, 1980-01-01 in any zone.
pub(crate) fn is_constant(modified: u64) -> bool {
    modified <= 315_532_800 + 86_400
}

impl From<&Stat> for Identity {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_lossless,
        clippy::cast_sign_loss,
        reason = "the types of these members differ between systems"
    )]
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            length: stat.st_size as u64,
            modified_ns: stat.st_mtime as i128 * 1_000_000_000 + stat.st_mtime_nsec as i128,
        }
    }
}

/// What a name leads to.
pub(crate) enum Opened {
    /// A regular file.
    File(File, Identity),
    /// A directory.
    Directory,
}

/// Opens `name` below `root`. The root itself may be a link, as deployments make them; it is looked
/// up anew each time.
///
/// # Errors
/// `NotFound` for what is not there, leads outside or is no file; the system's own otherwise.
pub(crate) fn open_below(root: &Path, name: &[u8]) -> io::Result<Opened> {
    let directory = open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if name.is_empty() {
        return Ok(Opened::Directory);
    }
    let name = Path::new(std::ffi::OsStr::from_bytes(name));
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let fd = match openat2(&directory, name, READ, Mode::empty(), within) {
        Ok(fd) => fd,
        // An absolute link may lead back below the root, and a rename may have come between. A
        // system or sandbox may not know the call.
        Err(Errno::XDEV | Errno::AGAIN | Errno::NOSYS | Errno::PERM) => {
            open_and_compare(&directory, root, name)?
        }
        Err(error) => return Err(error.into()),
    };
    let file = File::from(fd);
    let stat = fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let identity = Identity::from(&stat);
            Ok(Opened::File(file, identity))
        }
        FileType::Directory => Ok(Opened::Directory),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Opens first and asks then where it has led: whatever is renamed meanwhile, the file that is sent
/// is the one that was compared.
fn open_and_compare(directory: &OwnedFd, root: &Path, name: &Path) -> io::Result<OwnedFd> {
    let fd = open(root.join(name), READ, Mode::empty())?;
    let real = |fd: std::os::fd::BorrowedFd<'_>| {
        std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
    };
    let (root, file) = (real(directory.as_fd())?, real(fd.as_fd())?);
    if file.starts_with(&root) {
        Ok(fd)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("canter-open-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("root/sub")).unwrap();
        std::fs::write(path.join("secret"), "secret").unwrap();
        std::fs::write(path.join("root/sub/a"), "hello").unwrap();
        path
    }

    fn opens(root: &Path, name: &str) -> bool {
        let plain = matches!(open_below(root, name.as_bytes()), Ok(Opened::File(..)));
        let directory = open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let compared = open_and_compare(&directory, root, Path::new(name)).is_ok();
        assert_eq!(plain, compared, "the two ways differ on {name}");
        plain
    }

    #[test]
    fn links_may_lead_about_below_the_root_and_not_out_of_it() {
        let path = folder("links");
        let root = path.join("root");
        symlink("sub/a", root.join("relative")).unwrap();
        symlink(root.join("sub/a"), root.join("absolute")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(path.join("secret"), root.join("out-absolute")).unwrap();
        symlink("..", root.join("sub/up")).unwrap();
        symlink(&path, root.join("parent")).unwrap();
        symlink("/proc/self/root/etc/passwd", root.join("magic")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink(&root, path.join("current")).unwrap();
        for (name, opened) in [
            ("sub/a", true),
            ("relative", true),
            ("absolute", true),
            ("sub/up/sub/a", true),
            ("out", false),
            ("out-absolute", false),
            ("parent/secret", false),
            ("../secret", false),
            ("magic", false),
            ("loop", false),
            ("none", false),
        ] {
            assert_eq!(opens(&root, name), opened, "{name}");
        }
        assert!(opens(&path.join("current"), "sub/a"));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_opened_and_not_waited_for() {
        let path = folder("kinds");
        let root = path.join("root");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe"),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(open_below(&root, b"pipe").is_err());
        assert!(matches!(open_below(&root, b"sub"), Ok(Opened::Directory)));
        assert!(matches!(open_below(&root, b""), Ok(Opened::Directory)));
        assert!(open_below(&root, b"sub/a/b").is_err());
        std::fs::remove_dir_all(path).unwrap();
    }
}
