//! Owns bytes on their way to a client that is slower than the app: memory first, then an
//! unlinked temporary file. When that cannot be written, a full disk say, what comes stays in
//! memory, and the app should be asked to pause.
//! Leaves sending them, and asking, to `conn`.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::temp;

/// Read back from the file at a time.
const READ_BACK: usize = 64 * 1024;

/// A queue of bytes.
#[derive(Default)]
pub(crate) struct Spool {
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
    /// Why, the first time.
    trouble: Option<io::Error>,
    troubled: bool,
}

impl Spool {
    /// Adds bytes at the end, in memory while no more than `limit` are there.
    pub fn push(&mut self, bytes: Vec<u8>, limit: usize, dir: &Path) {
        if bytes.is_empty() {
            return;
        }
        let fits = self.in_memory == 0 || self.in_memory + bytes.len() <= limit;
        if !self.is_overflowing() && self.in_file() == 0 && fits {
            self.in_memory += bytes.len();
            self.memory.push_back(bytes);
        } else if self.is_overflowing() {
            self.overflow.push_back(bytes);
        } else if let Err(error) = self.write(&bytes, dir) {
            if !std::mem::replace(&mut self.troubled, true) {
                self.trouble = Some(error);
            }
            self.overflow.push_back(bytes);
        }
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
        }
        file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// The next bytes to send; empty when there are none.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn front(&mut self) -> io::Result<&[u8]> {
        if self.memory.is_empty() && self.in_file() > 0 {
            let len = READ_BACK.min(usize::try_from(self.in_file()).unwrap_or(READ_BACK));
            let mut bytes = vec![0; len];
            if let Some(file) = &self.file {
                file.read_exact_at(&mut bytes, self.read)?;
            }
            self.read += len as u64;
            self.in_memory = len;
            self.memory.push_back(bytes);
        }
        if self.memory.is_empty()
            && let Some(bytes) = self.overflow.pop_front()
        {
            self.in_memory = bytes.len();
            self.memory.push_back(bytes);
        }
        let first = self.memory.front().map_or(&[][..], Vec::as_slice);
        Ok(first.get(self.sent..).unwrap_or_default())
    }

    /// This many bytes of [`Spool::front`] were sent.
    pub fn consume(&mut self, count: usize) {
        self.sent += count;
        self.in_memory = self.in_memory.saturating_sub(count);
        if self
            .memory
            .front()
            .is_some_and(|first| first.len() <= self.sent)
        {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_through_memory_and_file() {
        let dir = std::env::temp_dir();
        let (mut spool, mut sent, mut expected) = (Spool::default(), Vec::new(), Vec::new());
        let mut random = 7_u32;
        for round in 0..2000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if round < 1500 && random & 0x100 == 0 {
                let bytes: Vec<u8> = (0..(random >> 9) % 3000)
                    .map(|i| (i ^ round) as u8)
                    .collect();
                expected.extend_from_slice(&bytes);
                spool.push(bytes, 4000, &dir);
            } else {
                let front = spool.front().unwrap();
                let count = front.len().min((random >> 9) as usize % 5000);
                sent.extend_from_slice(&front[..count]);
                spool.consume(count);
            }
        }
        while !spool.is_empty() {
            let front = spool.front().unwrap();
            sent.extend_from_slice(front);
            let count = front.len();
            spool.consume(count);
        }
        assert!(spool.file.is_some() && sent == expected);
    }

    #[test]
    fn without_a_file_bytes_leave_in_order_all_the_same() {
        let mut spool = Spool::default();
        let nowhere = Path::new("/nowhere/at/all");
        for byte in 0..10 {
            spool.push(vec![byte; 10], 25, nowhere);
        }
        assert!(spool.is_overflowing() && spool.take_trouble().is_some());
        assert!(spool.take_trouble().is_none());
        let mut sent = Vec::new();
        while !spool.is_empty() {
            let front = spool.front().unwrap().to_vec();
            spool.consume(front.len());
            sent.extend(front);
        }
        let expected: Vec<u8> = (0..10).flat_map(|byte| [byte; 10]).collect();
        assert!(sent == expected && !spool.is_overflowing());
    }
}
