//! Owns bytes on their way to a client that is slower than the app: memory first, then an
//! unlinked temporary file. When that cannot be written, a full disk say, what comes stays in
//! memory, and the app should be asked to pause.
//! Leaves sending them, and asking, to `conn`.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use canter_shield::budget::{Budget, Share};
use canter_sys::temp;

use crate::closing;

/// A piece up to this length goes to memory whatever the budget says: a head, mostly.
const SMALL: usize = 8 * 1024;

/// What is to be sent next.
pub(crate) enum Next<'a> {
    /// Nothing, for now.
    Nothing,
    /// These bytes.
    Bytes(&'a [u8]),
    /// A part of a file: where it begins and how long it is.
    File(&'a File, u64, u64),
}

/// A queue of bytes.
pub(crate) struct Spool {
    /// Of the memory that all clients have together.
    share: Share,
    /// Before anything in the file, in order.
    memory: VecDeque<Vec<u8>>,
    /// Bytes in `memory`, less what was sent of the first part.
    in_memory: usize,
    /// Sent of the first part.
    sent: usize,
    file: Option<File>,
    written: u64,
    read: u64,
    /// After anything in the file: there was no room for it there.
    overflow: VecDeque<Vec<u8>>,
    /// Of the memory for files, where they are memory.
    file_share: Option<Share>,
    /// Why, the first time.
    trouble: Option<io::Error>,
    troubled: bool,
}

impl Spool {
    /// An empty queue that takes its memory from `budget`.
    pub fn new(budget: &Rc<Budget>) -> Self {
        Self {
            share: budget.share(),
            memory: VecDeque::new(),
            in_memory: 0,
            sent: 0,
            file: None,
            written: 0,
            read: 0,
            overflow: VecDeque::new(),
            file_share: budget.files().map(Budget::share),
            trouble: None,
            troubled: false,
        }
    }

    /// Adds bytes at the end, in memory while no more than `limit` are there and all clients
    /// together leave room for them.
    pub fn push(&mut self, bytes: Vec<u8>, limit: usize, dir: &Path) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        let fits = self.in_memory == 0 || self.in_memory + len <= limit;
        if !self.is_overflowing() && self.in_file() == 0 && fits && self.take(len) {
            self.in_memory += len;
            self.memory.push_back(bytes);
        } else if self.is_overflowing() {
            self.share.force(len as u64);
            self.overflow.push_back(bytes);
        } else if let Err(error) = self.write(&bytes, dir) {
            if !std::mem::replace(&mut self.troubled, true) {
                self.trouble = Some(error);
            }
            self.share.force(len as u64);
            self.overflow.push_back(bytes);
        }
    }

    /// Adds bytes at the end that memory is not to hold.
    pub fn spill(&mut self, bytes: Vec<u8>, dir: &Path) {
        if let Err(error) = self.write(&bytes, dir) {
            self.trouble = Some(error);
            self.share.force(bytes.len() as u64);
            self.overflow.push_back(bytes);
        }
    }

    fn take(&mut self, len: usize) -> bool {
        if self.share.grow(len as u64) {
            return true;
        }
        let small = len <= SMALL && self.in_memory == 0;
        if small {
            self.share.force(len as u64);
        }
        small
    }

    /// A write that fails half-way counts as none.
    fn write(&mut self, bytes: &[u8], dir: &Path) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(temp::unlinked(dir)?),
        };
        if self.read == self.written {
            // All was sent: start over, so that a long stream does not grow the file.
            file.set_len(0)?;
            (self.read, self.written) = (0, 0);
            if let Some(share) = &mut self.file_share {
                share.shrink(share.bytes());
            }
        }
        if let Some(share) = &mut self.file_share
            && !share.grow(bytes.len() as u64)
        {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // A disk that others use as well is not filled to the brim.
        if self.written >> 20 != (self.written + bytes.len() as u64) >> 20
            && !temp::has_room(dir, bytes.len() as u64)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// What is to be sent next; [`Spool::consume`] says how much of it was.
    pub fn next(&mut self) -> Next<'_> {
        if self.memory.is_empty()
            && self.in_file() == 0
            && let Some(bytes) = self.overflow.pop_front()
        {
            self.in_memory = bytes.len();
            self.memory.push_back(bytes);
        }
        match (self.memory.front(), &self.file) {
            (Some(first), _) => Next::Bytes(first.get(self.sent..).unwrap_or_default()),
            (None, Some(file)) if self.written > self.read => {
                Next::File(file, self.read, self.written - self.read)
            }
            _ => Next::Nothing,
        }
    }

    /// This many bytes of [`Spool::next`] were sent.
    pub fn consume(&mut self, count: usize) {
        let Some(first) = self.memory.front() else {
            self.read = (self.read + count as u64).min(self.written);
            return;
        };
        self.sent += count;
        self.in_memory = self.in_memory.saturating_sub(count);
        if first.len() <= self.sent {
            self.share.shrink(first.len() as u64);
            self.memory.pop_front();
            self.sent = 0;
        }
    }

    /// Whether everything was sent.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.in_file() == 0 && !self.is_overflowing()
    }

    /// Whether bytes are in memory because the file had no room: more should not come now.
    pub fn is_overflowing(&self) -> bool {
        !self.overflow.is_empty()
    }

    /// The first time the file could not be written, once.
    pub fn take_trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    /// Bytes in the temporary file that are still to be sent.
    pub fn in_file(&self) -> u64 {
        self.written - self.read
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            closing::close(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as a client would that takes up to `most` bytes at a time.
    fn send(spool: &mut Spool, most: usize, sent: &mut Vec<u8>) -> usize {
        let count = match spool.next() {
            Next::Nothing => 0,
            Next::Bytes(bytes) => {
                let count = bytes.len().min(most);
                sent.extend_from_slice(&bytes[..count]);
                count
            }
            Next::File(file, at, len) => {
                let mut bytes = vec![0; most.min(len as usize)];
                file.read_exact_at(&mut bytes, at).unwrap();
                sent.extend_from_slice(&bytes);
                bytes.len()
            }
        };
        spool.consume(count);
        count
    }

    fn through(budget: u64, limit: usize) -> (Spool, bool) {
        let dir = std::env::temp_dir();
        let budget = Budget::new(budget);
        let (mut spool, mut sent, mut expected) = (Spool::new(&budget), Vec::new(), Vec::new());
        let mut random = 7_u32;
        for round in 0..2000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if round < 1500 && random & 0x100 == 0 {
                let len = (random >> 9) % 20_000;
                let bytes: Vec<u8> = (0..len).map(|i| (i ^ round) as u8).collect();
                expected.extend_from_slice(&bytes);
                spool.push(bytes, limit, &dir);
            } else {
                send(&mut spool, 1 + (random >> 9) as usize % 30_000, &mut sent);
            }
            assert!(budget.taken() <= budget.most() + SMALL as u64);
        }
        while send(&mut spool, usize::MAX, &mut sent) > 0 {}
        assert!(sent == expected && spool.is_empty() && budget.taken() == 0);
        let used_file = spool.file.is_some();
        (spool, used_file)
    }

    #[test]
    fn s6_a_file_that_is_memory_counts_as_such() {
        let (budget, dir) = (Budget::with_files(10, Some(30_000)), std::env::temp_dir());
        let mut spool = Spool::new(&budget);
        for _ in 0..5 {
            spool.push(vec![0; 10_000], 10_000, &dir);
        }
        assert_eq!(budget.files().map(|files| files.taken()), Some(30_000));
        assert!(spool.is_overflowing() && spool.take_trouble().is_some());
        drop(spool);
        assert_eq!(budget.files().map(|files| files.taken()), Some(0));
    }

    #[test]
    fn bytes_leave_in_order_through_memory_and_file() {
        assert!(through(1 << 30, 40_000).1);
    }

    #[test]
    fn a_budget_that_others_have_used_up_leads_to_the_file() {
        assert!(through(0, 1 << 30).1);
        assert!(!through(1 << 40, 1 << 40).1);
    }

    #[test]
    fn without_a_file_bytes_leave_in_order_all_the_same() {
        let budget = Budget::new(1 << 20);
        let mut spool = Spool::new(&budget);
        let nowhere = Path::new("/nowhere/at/all");
        for byte in 0..10 {
            spool.push(vec![byte; 10], 25, nowhere);
        }
        assert!(spool.is_overflowing() && spool.take_trouble().is_some());
        assert!(spool.take_trouble().is_none());
        let mut sent = Vec::new();
        while send(&mut spool, usize::MAX, &mut sent) > 0 {}
        let expected: Vec<u8> = (0..10).flat_map(|byte| [byte; 10]).collect();
        assert!(sent == expected && !spool.is_overflowing() && budget.taken() == 0);
    }
}
