//! Buffers that sessions borrow while bytes are in flight.
//!
//! Owns the ones at rest: a bounded stack for each thread. An idle session holds none.

use std::cell::RefCell;

/// Bytes of a borrowed buffer.
pub(super) const SIZE: usize = 16 << 10;
/// Bytes of the buffer that what a client sent waits in for a server. With many who wait, larger ones
/// would be in nobody's cache when their turn comes.
const SMALL: usize = 256;
/// Buffers kept at rest; more are given back to the allocator.
const KEPT: usize = 128;

thread_local! {
    static READING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static WAITING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static WRITING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that were read and not yet dealt with.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// All of it initialized; empty while none is borrowed.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// What was read.
    pub(super) fn data(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// So many bytes were dealt with. Borrowed again when the next ones come.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// So many bytes are to be dealt with again; false when they are not there any more.
    pub(super) fn put_back(&mut self, count: usize) -> bool {
        let start = self.start.checked_sub(count);
        self.start = start.unwrap_or(self.start);
        start.is_some()
    }

    /// Room to read into: at least one byte, and room for `needed` bytes of data in all.
    pub(super) fn room(&mut self, needed: usize) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = READING
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| vec![0; SIZE]);
        }
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        if self.start > 0
            && (self.end == self.bytes.len() || self.start + needed > self.bytes.len())
        {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if needed > self.bytes.len() || self.end == self.bytes.len() {
            // In steps: what a length announces may never come.
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes were read into the room.
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// What is there has to wait: in a small buffer, if it fits.
    pub(super) fn settle(&mut self) {
        let length = self.data().len();
        if self.bytes.len() != SIZE || length > SMALL {
            return;
        }
        let mut small = WAITING
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| vec![0; SMALL]);
        if let Some(place) = small.get_mut(..length) {
            place.copy_from_slice(self.data());
        }
        (self.start, self.end) = (0, length);
        keep(&READING, std::mem::replace(&mut self.bytes, small));
    }

    /// Gives the buffer back, when nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            (self.start, self.end) = (0, 0);
            let bytes = std::mem::take(&mut self.bytes);
            keep(
                if bytes.len() == SMALL {
                    &WAITING
                } else {
                    &READING
                },
                bytes,
            );
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.consume(usize::MAX >> 1);
        self.rest();
    }
}

/// Bytes to be written.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    start: usize,
    /// TLS holds bytes that were written.
    pub(super) flushing: bool,
}

impl Output {
    /// What is to be written.
    pub(super) fn data(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where to append.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = WRITING
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| Vec::with_capacity(SIZE));
        }
        &mut self.bytes
    }

    /// So many bytes were written.
    pub(super) fn wrote(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.bytes.len() {
            self.clear();
        } else if self.start > SIZE * 4 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Throws away what was to be written.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Gives the buffer back, when nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && self.bytes.capacity() > 0 {
            self.clear();
            keep(&WRITING, std::mem::take(&mut self.bytes));
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.clear();
        self.rest();
    }
}

/// Keeps a buffer for the next one who needs it; one that grew goes back to the allocator (B8).
fn keep(kept: &'static std::thread::LocalKey<RefCell<Vec<Vec<u8>>>>, buffer: Vec<u8>) {
    // Nor is one that began small.
    if buffer.capacity() > SIZE * 2 || buffer.len() > SMALL && buffer.capacity() < SIZE {
        return;
    }
    // At the end of the thread there is nobody to keep it for.
    let _ = kept.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < KEPT {
            kept.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b8_a_buffer_grows_with_what_came_and_not_with_what_was_announced() {
        let mut input = Input::default();
        assert_eq!(input.room(1 << 30).len(), SIZE * 2);
        input.filled(SIZE * 2);
        assert_eq!(input.room(1 << 30).len(), SIZE * 2);
        input.consume(SIZE * 2);
        input.rest();
        assert_eq!(input.room(1).len(), SIZE, "one that grew is not kept");
    }

    #[test]
    fn g1_what_waits_moves_to_a_small_buffer_and_grows_out_of_it() {
        let mut input = Input::default();
        input.room(1)[..5].copy_from_slice(b"abcde");
        input.filled(5);
        input.consume(2);
        input.settle();
        assert_eq!((input.data(), input.bytes.len()), (&b"cde"[..], SMALL));
        while input.data().len() < SMALL {
            let room = input.room(1);
            room[0] = b'f';
            input.filled(1);
        }
        assert_eq!(input.room(1).len(), SMALL, "it has doubled");
        assert!(input.data().starts_with(b"cdef"));
        input.consume(SMALL);
        input.rest();
        assert_eq!(input.room(1).len(), SIZE, "one that has grown is not kept");
        input.filled(SMALL + 1);
        input.settle();
        assert_eq!(input.bytes.len(), SIZE, "more than a small one holds");
    }

    #[test]
    fn e5_what_was_dealt_with_can_be_put_back_until_more_is_read() {
        let mut input = Input::default();
        input.room(1)[..5].copy_from_slice(b"abcde");
        input.filled(5);
        input.consume(2);
        input.consume(3);
        assert!(input.is_empty());
        assert!(input.put_back(3));
        assert_eq!(input.data(), b"cde");
        input.consume(3);
        input.room(1)[..5].copy_from_slice(b"fghij");
        input.filled(5);
        input.consume(2);
        assert!(!input.put_back(5), "the first three are gone");
        assert_eq!(input.data(), b"hij");
    }

    #[test]
    fn input_keeps_its_bytes_when_it_moves_them() {
        let mut input = Input::default();
        let room = input.room(1);
        room[..5].copy_from_slice(b"abcde");
        input.filled(5);
        input.consume(3);
        assert!(input.room(SIZE).len() >= SIZE - 2);
        assert_eq!(input.data(), b"de");
    }
}
