//! Owns the budget of an HTTP/2 connection: a look at the head of every frame that comes (RFC 9113,
//! section 4.1), and an end to connections on which frames come that only attacks send in such
//! numbers. What library speaks HTTP/2 behind it, and what it has limits for, does not matter.
//! Leaves the rules that single frames break to `conform`, the rest of their meaning to the library,
//! and closing to the callers. Sans-IO.

use crate::conform::{
    Breach, CONTINUATION, DATA, END_HEADERS, FrameHead, GOAWAY, HEADERS, RST_STREAM, Rules,
    WINDOW_UPDATE,
};

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
    /// A frame that broke a rule.
    Breach(Breach),
}

impl Glitch {
    /// The code in GOAWAY (section 7): `ENHANCE_YOUR_CALM`, or that of the rule.
    pub fn code(self) -> u32 {
        match self {
            Self::ControlFlood | Self::ResetFlood | Self::HeaderFlood | Self::SlowHeader => 11,
            Self::Breach(breach) => breach.code(),
        }
    }
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
    rules: Rules,
    /// In a frame's payload; else in the preface or between frames.
    in_frame: bool,
    is_leaving: bool,
}

/// "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" (section 3.4).
const PREFACE: usize = 24;
/// Where in the head of a frame its type stands, and one that is not given out (section 11.2).
const KIND_AT: usize = 3;
const UNKNOWN: u8 = 0xff;

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
            rules: Rules::default(),
            in_frame: false,
            is_leaving: false,
        }
    }

    /// Whether the client has said that it goes.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// The highest stream that the client has opened; 0 for none.
    pub fn highest_stream(&self) -> u32 {
        self.rules.highest()
    }

    /// Whether the request of this stream is malformed and to be refused (section 8.1.1): to be asked once, for
    /// each that the library behind hands over, as they come.
    pub fn take_malformed(&mut self, stream: u32) -> bool {
        self.rules.take_malformed(stream)
    }

    /// Whether the trailers of this stream are malformed, which makes its request so; to be asked once they have
    /// come.
    pub fn take_bad_trailers(&mut self, stream: u32) -> bool {
        self.rules.take_bad_trailers(stream)
    }

    /// Looks at bytes that came. `sent` are the bytes sent to the client in this window or ever:
    /// a large response needs its window updated often.
    ///
    /// A GOAWAY is turned into a frame of a type that nobody knows: the library would close a
    /// connection at once on which nothing is under way, while the client may still ask whether it
    /// lives (section 6.8 ends no connection). [`Frames::is_leaving`] tells of it. And in a field of a malformed
    /// request what the library would close it over becomes something harmless.
    ///
    /// # Errors
    /// [`Glitch`]: close the connection.
    pub fn feed(&mut self, mut bytes: &mut [u8], sent: u64, now_ms: u64) -> Result<(), Glitch> {
        if now_ms.saturating_sub(self.window_ms) >= self.budget.window_ms {
            (self.window_ms, self.control, self.resets) = (now_ms, 0, 0);
        }
        while !bytes.is_empty() {
            let (skipped, rest) = bytes.split_at_mut(self.skip.min(bytes.len()));
            self.skip -= skipped.len();
            bytes = rest;
            if self.in_frame {
                self.rules.payload(skipped).map_err(Glitch::Breach)?;
                self.end_frame()?;
            }
            let wanted = (self.head.len() - self.have).min(bytes.len());
            let (came, rest) = bytes.split_at_mut(wanted);
            bytes = rest;
            if let Some(room) = self.head.get_mut(self.have..self.have + wanted) {
                room.copy_from_slice(came);
            }
            let kind = KIND_AT.checked_sub(self.have);
            if let Some(kind) = kind.and_then(|at| came.get_mut(at))
                && *kind == GOAWAY
            {
                *kind = UNKNOWN;
                self.is_leaving = true;
            }
            self.have += wanted;
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
        let [high, middle, low, kind, flags, stream @ ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = length as usize;
        let head = FrameHead {
            length,
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        };
        self.rules.begin(head).map_err(Glitch::Breach)?;
        self.in_frame = true;
        self.count(head, sent, now_ms)?;
        self.end_frame()
    }

    /// The frame is over if nothing is missing of it.
    fn end_frame(&mut self) -> Result<(), Glitch> {
        if self.skip > 0 {
            return Ok(());
        }
        self.in_frame = false;
        self.rules.end().map_err(Glitch::Breach)
    }

    fn count(&mut self, head: FrameHead, sent: u64, now_ms: u64) -> Result<(), Glitch> {
        let FrameHead {
            length,
            kind,
            flags,
            ..
        } = head;
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
        let stream = u8::from(kind != GOAWAY);
        let mut bytes = vec![len[1], len[2], len[3], kind, flags, 0, 0, 0, stream];
        // In a header block, an entry of the static table.
        bytes.resize(9 + payload, 0x90);
        bytes
    }

    fn on_stream(stream: u8, mut frame: Vec<u8>) -> Vec<u8> {
        frame[7..9].copy_from_slice(&[stream >> 7, stream << 1 | 1]);
        frame
    }

    /// The first glitch of a connection with these frames, cut into pieces of every size.
    fn first(frames: &[Vec<u8>], sent: u64) -> Option<Glitch> {
        let bytes = [vec![0; PREFACE], frames.concat()].concat();
        let results: Vec<_> = [1, 2, 3, 9, 10, 1000, bytes.len()]
            .iter()
            .map(|size| {
                let mut scan = Frames::new(Budget::default(), 0);
                bytes
                    .clone()
                    .chunks_mut(*size)
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
        for stream in 0..150 {
            let request = [
                frame(HEADERS, 4, 60),
                frame(0, 0, 5000),
                frame(0, 1, 1),
                frame(8, 0, 4),
            ];
            frames.extend(request.map(|frame| on_stream(stream, frame)));
        }
        let request = [frame(HEADERS, 0, 100), frame(CONTINUATION, 4, 100)];
        frames.extend(request.map(|frame| on_stream(150, frame)));
        assert_eq!(first(&frames, 0), None);
        let download = vec![frame(8, 0, 4); 3000];
        assert_eq!(first(&download, 100_000_000), None);
    }

    #[test]
    fn h1_h3_h6_floods_are_found_however_they_are_cut() {
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
        scan.feed(&mut [0; PREFACE], 0, 0).unwrap();
        scan.feed(&mut frame(HEADERS, 0, 10), 0, 100).unwrap();
        assert_eq!(scan.check(10_000), Ok(()));
        assert_eq!(scan.check(10_200), Err(Glitch::SlowHeader));
        scan.feed(&mut frame(CONTINUATION, 4, 10), 0, 9000).unwrap();
        assert_eq!(scan.check(100_000), Ok(()));
    }

    #[test]
    fn h8_a_frame_that_breaks_a_rule_ends_the_connection_however_it_is_cut() {
        let closed = [frame(HEADERS, 5, 60), frame(0, 0, 10)];
        let found = first(&closed, 0).unwrap();
        assert_eq!(found, Glitch::Breach(Breach::StreamClosed));
        assert_eq!((found.code(), Glitch::ResetFlood.code()), (5, 11));
        let broken = first(&[frame(HEADERS, 0, 60), frame(9, 4, 0)], 0);
        assert_eq!(broken, None);
        let ping = first(&[frame(6, 0, 7)], 0);
        assert_eq!(ping, Some(Glitch::Breach(Breach::FrameSize)));
    }

    #[test]
    fn a_client_that_says_it_goes_is_heard_and_not_cut_off() {
        let bytes = [vec![0; PREFACE], frame(7, 0, 8), frame(6, 0, 8)].concat();
        for size in [1, 3, 4, 100] {
            let mut scan = Frames::new(Budget::default(), 0);
            let mut passed = bytes.clone();
            for piece in passed.chunks_mut(size) {
                assert_eq!(scan.feed(piece, 0, 0), Ok(()));
            }
            assert!(scan.is_leaving());
            assert_eq!([passed[PREFACE + 3], passed[PREFACE + 20]], [UNKNOWN, 6]);
        }
    }

    #[test]
    fn a_new_window_forgives() {
        let mut scan = Frames::new(Budget::default(), 0);
        scan.feed(&mut [0; PREFACE], 0, 0).unwrap();
        for second in 0..100 {
            for _ in 0..90 {
                scan.feed(&mut frame(6, 0, 8), 0, second * 1000).unwrap();
            }
        }
    }
}
