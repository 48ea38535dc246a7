//! Owns the two cheap questions about a process's memory: how much of it is resident, and how many
//! pages the calling thread was given. A walk over page tables, as `smaps_rollup` makes, is for others.
//! Leaves what follows from the answers to its callers.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;

/// Kilobytes in a page: 4 on x86-64, up to 64 on other machines.
fn page_kb() -> u64 {
    u64::try_from(rustix::param::page_size() / 1024).unwrap_or(4)
}

/// Pages that were given to the calling thread since it began, in kilobytes (getrusage(2),
/// `ru_minflt` of `RUSAGE_THREAD`). What it gives back does not count.
pub fn given_kb() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to writable memory of the size of a `rusage`, and all bits zero are a
    // valid one, should the call fail. The standard library and rustix have no getrusage.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    u64::try_from(usage.ru_minflt)
        .unwrap_or(0)
        .saturating_mul(page_kb())
}

/// The memory of the process that opened it, asked again and again.
#[derive(Debug)]
pub struct Statm(File);

impl Statm {
    /// Of this process.
    ///
    /// # Errors
    /// The system's own, as where no `/proc` is mounted.
    pub fn open() -> io::Result<Self> {
        File::open("/proc/self/statm").map(Self)
    }

    /// Resident memory that belongs to no file, in kilobytes (proc(5): resident without shared).
    pub fn anonymous_kb(&self) -> Option<u64> {
        let mut bytes = [0; 128];
        let len = rustix::io::pread(&self.0, &mut bytes, 0).ok()?;
        let text = std::str::from_utf8(bytes.get(..len)?).ok()?;
        let mut numbers = text.split(' ').map(str::parse::<u64>);
        let resident = numbers.nth(1)?.ok()?;
        let shared = numbers.next()?.ok()?;
        Some(resident.saturating_sub(shared).saturating_mul(page_kb()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d6_what_is_written_to_is_given_and_resident() {
        let statm = Statm::open().unwrap();
        let before = (given_kb(), statm.anonymous_kb().unwrap());
        let kept = std::hint::black_box(vec![1_u8; 32 << 20]);
        let after = (given_kb(), statm.anonymous_kb().unwrap());
        // With huge pages few are given, but not none.
        assert!(after.0 > before.0, "{before:?} {after:?}");
        assert!(after.1 > before.1 + 16_000, "{before:?} {after:?}");
        drop(kept);
    }
}
