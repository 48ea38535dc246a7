//! Owns memory shared between two processes: a sealed memfd and its mapping.
//! Leaves the meaning of the bytes to `canter-channel`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of a whole memfd, unmapped on drop.
///
/// The file is sealed against shrinking and growing, so that the other process cannot turn an
/// access here into a `SIGBUS` by truncating it.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory that stays where it is for the life of the value; all
// access goes through raw pointers or atomics whose users state their own protocol.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` hands out a raw pointer and a length, nothing else.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes a zeroed memfd of `len` bytes, seals its size, and maps it.
    ///
    /// # Errors
    /// The system's own when it refuses the file, the seals or the mapping.
    pub fn create(name: &str, len: usize) -> io::Result<(OwnedFd, Self)> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, len as u64)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mapping = Self::map(&fd, len)?;
        Ok((fd, mapping))
    }

    /// Maps a memfd made by [`Mapping::create`] in another process.
    ///
    /// # Errors
    /// `InvalidData` when the file has another length or may still be resized.
    pub fn open(fd: impl AsFd, len: usize) -> io::Result<Self> {
        let sealed = fcntl_get_seals(&fd)?.contains(SealFlags::SHRINK | SealFlags::GROW);
        if !sealed || u64::try_from(fstat(&fd)?.st_size) != Ok(len as u64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not the shared memory expected",
            ));
        }
        Self::map(fd, len)
    }

    fn map(fd: impl AsFd, len: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing that Rust
        // knows of. Safe code cannot map memory.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    /// The first byte of the mapping. Valid for [`Mapping::len`] bytes while `self` lives.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The length of the mapping in bytes.
    #[allow(clippy::len_without_is_empty)] // an empty mapping cannot be made
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `len` are those of the mapping made in `map`, unmapped only here.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_one_file_see_the_same_bytes() {
        let (fd, first) = Mapping::create("test", 4096).unwrap();
        let second = Mapping::open(&fd, 4096).unwrap();
        // SAFETY: both mappings are 4096 bytes long and live to the end of the test.
        unsafe {
            first.start().as_ptr().add(7).write(42);
            assert_eq!(second.start().as_ptr().add(7).read(), 42);
        }
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        let (fd, _mapping) = Mapping::create("test", 4096).unwrap();
        assert!(Mapping::open(&fd, 8192).is_err());
    }

    #[test]
    fn the_other_side_cannot_truncate_the_file() {
        let (fd, _mapping) = Mapping::create("test", 4096).unwrap();
        assert!(ftruncate(&fd, 0).is_err());
    }
}
