//! Owns the bytes received and not yet used, in buffers that idle connections give back.
//! Leaves what they mean to the codec.

use std::cell::RefCell;

/// Room for most requests; a longer head makes it grow.
const FIRST: usize = 8 * 1024;
/// Buffers kept for the next connection that has something to read.
const KEPT: usize = 64;
/// Room left behind what is in a buffer whose client makes it wait.
const SPARE: usize = 256;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Received bytes. Holds no memory while it is empty and released.
#[derive(Default)]
pub(super) struct Buffer {
    /// Initialised throughout; only `start..end` was received.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// What was received and not consumed.
    pub fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// These bytes are used up. Whoever waits for the app then, or for the client to take the answer,
    /// holds no room for what comes next.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            self.release();
        }
    }

    /// Room to receive into; [`Buffer::received`] says how much came.
    pub fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = POOL
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| vec![0; FIRST]);
        }
        if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                self.bytes.resize(self.bytes.len() * 2, 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// This many bytes of [`Buffer::room`] were filled.
    pub fn received(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Gives the memory back when nothing is in it.
    pub fn release(&mut self) {
        if self.is_empty() && !self.bytes.is_empty() {
            give_back(std::mem::take(&mut self.bytes));
        }
    }

    /// Keeps little more than what is in it: whoever has to be waited for in the middle of a head
    /// may be one of thousands who never send the rest.
    pub fn settle(&mut self) {
        self.release();
        let filled = self.end - self.start;
        // A long head may have many beside it; a short one is not worth a copy each time.
        let most = if self.bytes.len() > FIRST {
            filled + 2 * SPARE
        } else {
            2 * (filled + SPARE) - 1
        };
        if self.bytes.len() > most {
            let mut few = Vec::with_capacity(filled + SPARE);
            few.extend_from_slice(self.filled());
            few.resize(filled + SPARE, 0);
            give_back(std::mem::replace(&mut self.bytes, few));
            (self.start, self.end) = (0, filled);
        }
    }

    /// The room in memory.
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// What it holds beyond what each connection may.
    pub fn beyond(&self) -> u64 {
        self.held().saturating_sub(FIRST) as u64
    }
}

fn give_back(bytes: Vec<u8>) {
    POOL.with_borrow_mut(|pool| {
        if bytes.len() == FIRST && pool.len() < KEPT {
            pool.push(bytes);
        }
    });
}

impl Drop for Buffer {
    fn drop(&mut self) {
        (self.start, self.end) = (0, 0);
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_and_an_empty_buffer_holds_none() {
        let mut buffer = Buffer::default();
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for round in 0..1000_usize {
            let room = buffer.room();
            let count = room.len().min(round * 7 % 1000 + 1);
            room[..count].fill(round as u8);
            expected.extend(std::iter::repeat_n(round as u8, count));
            buffer.received(count);
            let take = buffer.filled().len().min(round * 13 % 900);
            sent.extend_from_slice(&buffer.filled()[..take]);
            buffer.consume(take);
            if round % 3 == 0 {
                buffer.settle();
            }
        }
        sent.extend_from_slice(buffer.filled());
        assert_eq!(sent, expected);
        buffer.consume(usize::MAX / 2);
        buffer.release();
        assert!(buffer.bytes.is_empty());
    }

    #[test]
    fn s1_a_beginning_that_is_waited_for_costs_little_more_than_its_bytes() {
        let mut buffer = Buffer::default();
        buffer.room()[..40].fill(b'a');
        buffer.received(40);
        buffer.settle();
        assert!(buffer.filled() == [b'a'; 40] && buffer.held() <= 40 + SPARE);
        let mut sent = 40;
        while sent < 40_000 {
            let count = buffer.room().len().min(300);
            buffer.room()[..count].fill(b'b');
            buffer.received(count);
            sent += count;
            buffer.settle();
            assert!(buffer.held() <= (sent + 2 * SPARE).max(FIRST), "{sent}");
        }
        assert_eq!(buffer.filled().len(), sent);
    }
}
