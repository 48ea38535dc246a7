//! Owns the budget of an HTTP/2 connection: a look at the head of every frame that comes (RFC 9113,
//! section 4.1), and an end to connections on which frames come that only attacks send in such
//! numbers. What library speaks HTTP/2 behind it, and what it has limits for, does not matter.
//! Leaves the meaning of frames to that library, and closing to the callers. Sans-IO.

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glitch {
    /// SETTINGS, PING, PRIORITY, empty DATA, `WINDOW_UPDATE`: more than any client needs.
    ControlFlood,
    /// More streams were reset than are opened in good faith (CVE-2023-44487).
    ResetFlood,
    /// A header block in too many CONTINUATION frames (CVE-2024-27316 and its kin).
    HeaderFlood,
    /// A header block that did not end in time.
    SlowHeader,
}

/// How much of what is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Over this time frames are counted, in ms.
    pub window_ms: u64,
    /// Control frames in a window.
    pub control: u32,
    /// Resets in a window.
    pub resets: u32,
    /// CONTINUATION frames of one header block.
    pub continuations: u32,
    /// How long a header block may take, in ms.
    pub header_ms: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            window_ms: 10_000,
            control: 1000,
            resets: 200,
            continuations: 8,
            header_ms: 10_000,
        }
    }
}

/// Of a connection in which a header block of a request may take `header_ms`.
#[derive(Debug)]
pub struct Frames {
    budget: Budget,
    /// Head of the next frame, as far as it has come.
    head: [u8; 9],
    have: usize,
    /// Bytes of the preface and of payloads still to be passed over.
    skip: usize,
    window_ms: u64,
    control: u32,
    resets: u32,
    continuations: u32,
    /// When the open header block began.
    block_ms: Option<u64>,
}

/// "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" (section 3.4).
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// Bytes sent to the client that excuse one `WINDOW_UPDATE`.
const PER_UPDATE: u64 = 4096;

impl Frames {
    /// Of a connection that begins with the client's preface.
    pub fn new(budget: Budget, now_ms: u64) -> Self {
        Self {
            budget,
            head: [0; 9],
            have: 0,
            skip: PREFACE,
            window_ms: now_ms,
            control: 0,
            resets: 0,
            continuations: 0,
            block_ms: None,
        }
    }

    /// Looks at bytes that came. `sent` are the bytes sent to the client in this window or ever:
    /// a large response needs its window updated often.
    ///
    /// # Errors
    /// [`Glitch`]: close the connection.
    pub fn feed(&mut self, mut bytes: &[u8], sent: u64, now_ms: u64) -> Result<(), Glitch> {
        if now_ms.saturating_sub(self.window_ms) >= self.budget.window_ms {
            (self.window_ms, self.control, self.resets) = (now_ms, 0, 0);
        }
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = (self.head.len() - self.have).min(bytes.len());
            if let (Some(room), Some(came)) = (
                self.head.get_mut(self.have..self.have + wanted),
                bytes.get(..wanted),
            ) {
                room.copy_from_slice(came);
            }
            self.have += wanted;
            bytes = bytes.get(wanted..).unwrap_or_default();
            if self.have == self.head.len() {
                self.have = 0;
                self.frame(sent, now_ms)?;
            }
        }
        self.check(now_ms)
    }

    /// Whether a header block has been open for too long; to be asked now and then, too.
    ///
    /// # Errors
    /// [`Glitch::SlowHeader`].
    pub fn check(&self, now_ms: u64) -> Result<(), Glitch> {
        let began = self.block_ms.unwrap_or(now_ms);
        if now_ms.saturating_sub(began) > self.budget.header_ms {
            return Err(Glitch::SlowHeader);
        }
        Ok(())
    }

    fn frame(&mut self, sent: u64, now_ms: u64) -> Result<(), Glitch> {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = length as usize;
        match kind {
            HEADERS => {
                self.continuations = 0;
                self.block_ms = (flags & END_HEADERS == 0).then_some(now_ms);
            }
            CONTINUATION => {
                self.continuations += 1;
                if self.continuations > self.budget.continuations {
                    return Err(Glitch::HeaderFlood);
                }
                if flags & END_HEADERS != 0 {
                    self.block_ms = None;
                }
            }
            RST_STREAM => {
                self.resets += 1;
                if self.resets > self.budget.resets {
                    return Err(Glitch::ResetFlood);
                }
            }
            DATA if length > 0 => {}
            _ => {
                self.control += 1;
                let excused = if kind == WINDOW_UPDATE {
                    u32::try_from(sent / PER_UPDATE).unwrap_or(u32::MAX)
                } else {
                    0
                };
                if self.control > self.budget.control.saturating_add(excused) {
                    return Err(Glitch::ControlFlood);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let len = (payload as u32).to_be_bytes();
        let mut bytes = vec![len[1], len[2], len[3], kind, flags, 0, 0, 0, 1];
        bytes.resize(9 + payload, 7);
        bytes
    }

    /// The first glitch of a connection with these frames, cut into pieces of every size.
    fn first(frames: &[Vec<u8>], sent: u64) -> Option<Glitch> {
        let bytes = [vec![0; PREFACE], frames.concat()].concat();
        let results: Vec<_> = [1, 2, 3, 9, 10, 1000, bytes.len()]
            .iter()
            .map(|size| {
                let mut scan = Frames::new(Budget::default(), 0);
                bytes
                    .chunks(*size)
                    .find_map(|piece| scan.feed(piece, sent, 5).err())
            })
            .collect();
        assert!(
            results.iter().all(|result| *result == results[0]),
            "{results:?}"
        );
        results[0]
    }

    #[test]
    fn what_clients_do_passes() {
        let mut frames = vec![frame(4, 0, 18), frame(8, 0, 4)];
        for _ in 0..150 {
            frames.extend([
                frame(HEADERS, 4, 60),
                frame(0, 0, 5000),
                frame(0, 1, 1),
                frame(8, 0, 4),
            ]);
        }
        frames.extend([frame(HEADERS, 0, 100), frame(CONTINUATION, 4, 100)]);
        assert_eq!(first(&frames, 0), None);
        let download = vec![frame(8, 0, 4); 3000];
        assert_eq!(first(&download, 100_000_000), None);
    }

    #[test]
    fn floods_are_found_however_they_are_cut() {
        for (kind, payload, glitch) in [
            (4, 0, Glitch::ControlFlood),
            (6, 8, Glitch::ControlFlood),
            (2, 5, Glitch::ControlFlood),
            (0, 0, Glitch::ControlFlood),
            (8, 4, Glitch::ControlFlood),
            (77, 1, Glitch::ControlFlood),
            (3, 4, Glitch::ResetFlood),
            (9, 10, Glitch::HeaderFlood),
        ] {
            assert_eq!(
                first(&vec![frame(kind, 0, payload); 1100], 0),
                Some(glitch),
                "{kind}"
            );
        }
    }

    #[test]
    fn a_header_block_must_end_in_time() {
        let mut scan = Frames::new(Budget::default(), 0);
        scan.feed(&[0; PREFACE], 0, 0).unwrap();
        scan.feed(&frame(HEADERS, 0, 10), 0, 100).unwrap();
        assert_eq!(scan.check(10_000), Ok(()));
        assert_eq!(scan.check(10_200), Err(Glitch::SlowHeader));
        scan.feed(&frame(CONTINUATION, 4, 10), 0, 9000).unwrap();
        assert_eq!(scan.check(100_000), Ok(()));
    }

    #[test]
    fn a_new_window_forgives() {
        let mut scan = Frames::new(Budget::default(), 0);
        scan.feed(&[0; PREFACE], 0, 0).unwrap();
        for second in 0..100 {
            for _ in 0..90 {
                scan.feed(&frame(6, 0, 8), 0, second * 1000).unwrap();
            }
        }
    }
}
