//! Owns those rules of HTTP/2 (RFC 9113) whose breach has an error code of its own, which the library
//! behind does not tell apart, or which it does not look at: sizes of frames, frames on streams
//! that the client has ended, header blocks that are no HPACK, pseudo-fields in trailers. Remembers which
//! streams are malformed, and nothing but them (section 8.1.1): those end, and no other.
//! Leaves cutting bytes into frames and what too many are to `frames`, header blocks to `hpack`, and
//! everything else to the library. Sans-IO.

use std::collections::VecDeque;

use crate::hpack::{Table, Walk};

/// A rule that was broken, by its error code (section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// `PROTOCOL_ERROR`.
    Protocol,
    /// `FLOW_CONTROL_ERROR`.
    FlowControl,
    /// `STREAM_CLOSED`.
    StreamClosed,
    /// `FRAME_SIZE_ERROR`.
    FrameSize,
    /// `COMPRESSION_ERROR`.
    Compression,
}

impl Breach {
    /// The code in GOAWAY.
    pub fn code(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::FlowControl => 3,
            Self::StreamClosed => 5,
            Self::FrameSize => 6,
            Self::Compression => 9,
        }
    }
}

/// The head of a frame (section 4.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameHead {
    /// Bytes of its payload.
    pub length: u32,
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The stream it is on.
    pub stream: u32,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// Also ACK.
const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const HAS_PRIORITY: u8 = 32;

const INITIAL_WINDOW_SIZE: u16 = 4;
const LARGEST_WINDOW: u32 = 0x7fff_ffff;
/// Streams that the client has ended lately and that are remembered; more than may be open. And those that are
/// malformed and have not been asked about.
const REMEMBERED: usize = 128;

/// What is known of a connection from the frames that came on it.
#[derive(Debug, Default)]
pub struct Rules {
    /// The highest stream that the client has opened.
    highest: u32,
    /// Streams on which it may send nothing more: it ended or reset them.
    ended: VecDeque<u32>,
    frame: FrameHead,
    /// Bytes of the frame's payload that have come.
    at: u32,
    /// Bytes of padding at its end.
    padding: u32,
    /// The setting that is being read.
    setting: [u8; 6],
    /// The header block that has begun and not ended.
    block: Option<Walk>,
    /// What the header blocks that have ended left of the table.
    table: Table,
    /// Streams whose request is malformed, and that have not been asked about.
    malformed: Vec<u32>,
    /// Those whose trailers are, the latest of them.
    bad_trailers: VecDeque<u32>,
}

impl Rules {
    /// The highest stream that the client has opened; 0 for none.
    pub fn highest(&self) -> u32 {
        self.highest
    }

    /// Whether the request of this stream is malformed. Each that the library behind hands over is asked about
    /// once, in the order in which they were opened.
    pub fn take_malformed(&mut self, stream: u32) -> bool {
        let is_malformed = self.malformed.contains(&stream);
        // Those before it have been refused by the library itself.
        self.malformed.retain(|one| *one > stream);
        is_malformed
    }

    /// Whether the trailers of this stream are malformed; to be asked once they have come.
    pub fn take_bad_trailers(&mut self, stream: u32) -> bool {
        let at = self.bad_trailers.iter().position(|one| *one == stream);
        at.and_then(|at| self.bad_trailers.remove(at)).is_some()
    }

    /// A frame begins.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn begin(&mut self, frame: FrameHead) -> Result<(), Breach> {
        (self.frame, self.at, self.padding) = (frame, 0, 0);
        let fits = match frame.kind {
            SETTINGS if frame.flags & END_STREAM != 0 => frame.length == 0,
            SETTINGS => frame.length.is_multiple_of(6),
            PING => frame.length == 8,
            PRIORITY => frame.length == 5,
            RST_STREAM | WINDOW_UPDATE => frame.length == 4,
            GOAWAY => frame.length >= 8,
            _ => true,
        };
        if !fits {
            return Err(Breach::FrameSize);
        }
        // A header block stands alone (section 6.10), and only servers promise (section 8.4).
        let cuts = self.block.is_some() && frame.kind != CONTINUATION;
        // Whoever goes says so of the whole connection (section 6.8).
        let is_misplaced = frame.kind == GOAWAY && frame.stream != 0;
        if cuts || is_misplaced || frame.kind == PUSH_PROMISE {
            return Err(Breach::Protocol);
        }
        // Of the client's own; the library knows what to say of others (section 5.1.1).
        let opens = frame.stream % 2 == 1;
        match frame.kind {
            HEADERS if opens => {
                let is_new = frame.stream > self.highest;
                if !is_new && self.ended.contains(&frame.stream) {
                    return Err(Breach::StreamClosed);
                }
                self.highest = self.highest.max(frame.stream);
                self.block = Some(Walk::new(!is_new, self.table));
            }
            DATA if frame.stream <= self.highest && self.ended.contains(&frame.stream) => {
                return Err(Breach::StreamClosed);
            }
            _ => {}
        }
        let ends = match frame.kind {
            HEADERS | DATA => frame.flags & END_STREAM != 0,
            RST_STREAM => true,
            _ => false,
        };
        if ends && opens && frame.stream <= self.highest {
            self.end_stream(frame.stream);
        }
        Ok(())
    }

    /// A part of its payload. Where it is of a malformed request the library behind may be given something
    /// else, as long as that.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn payload(&mut self, bytes: &mut [u8]) -> Result<(), Breach> {
        let length = bytes.len() as u32;
        match self.frame.kind {
            HEADERS | CONTINUATION => self.block_part(bytes)?,
            SETTINGS => self.settings(bytes)?,
            _ => {}
        }
        self.at = self.at.saturating_add(length);
        Ok(())
    }

    /// All of its payload has come.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn end(&mut self) -> Result<(), Breach> {
        let ends_block = matches!(self.frame.kind, HEADERS | CONTINUATION)
            && self.frame.flags & END_HEADERS != 0;
        if ends_block && let Some(block) = self.block.take() {
            let is_trailers = block.is_trailers();
            let (table, is_malformed) = block.end()?;
            self.table = table;
            if is_malformed && is_trailers {
                // Nobody asks about those of a stream that has ended by itself.
                if self.bad_trailers.len() == REMEMBERED {
                    self.bad_trailers.pop_front();
                }
                self.bad_trailers.push_back(self.frame.stream);
            } else if is_malformed {
                // More than may be open: the library has refused them itself, again and again.
                if self.malformed.len() == REMEMBERED {
                    return Err(Breach::Protocol);
                }
                self.malformed.push(self.frame.stream);
            }
        }
        Ok(())
    }

    fn end_stream(&mut self, stream: u32) {
        if self.ended.contains(&stream) {
            return;
        }
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(stream);
    }

    /// Passes the fragment in a HEADERS or CONTINUATION frame on, without what is around it
    /// (section 6.2).
    fn block_part(&mut self, bytes: &mut [u8]) -> Result<(), Breach> {
        let Some(block) = &mut self.block else {
            return Ok(());
        };
        let has = |flag| self.frame.kind == HEADERS && self.frame.flags & flag != 0;
        let padded = u32::from(has(PADDED));
        if padded == 1
            && self.at == 0
            && let Some(&length) = bytes.first()
        {
            self.padding = u32::from(length);
        }
        let from = padded + if has(HAS_PRIORITY) { 5 } else { 0 };
        let to = self.frame.length.saturating_sub(self.padding);
        let within = |at: u32| at.saturating_sub(self.at) as usize;
        let end = within(to).min(bytes.len());
        block.feed(bytes.get_mut(within(from)..end).unwrap_or_default())
    }

    fn settings(&mut self, bytes: &[u8]) -> Result<(), Breach> {
        for (index, &byte) in (self.at as usize..).zip(bytes) {
            if let Some(place) = self.setting.get_mut(index % 6) {
                *place = byte;
            }
            if index % 6 == 5 {
                let [high, low, value @ ..] = self.setting;
                if u16::from_be_bytes([high, low]) == INITIAL_WINDOW_SIZE
                    && u32::from_be_bytes(value) > LARGEST_WINDOW
                {
                    return Err(Breach::FlowControl);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, flags, stream and payload of a frame.
    type Sent<'a> = (u8, u8, u32, &'a [u8]);

    /// Runs frames through the rules, cut into pieces.
    fn run(frames: &[Sent<'_>]) -> Result<(), Breach> {
        let results: Vec<_> = [1, 2, 5, 10_000]
            .into_iter()
            .map(|size| {
                let mut rules = Rules::default();
                frames.iter().try_for_each(|&(kind, flags, stream, bytes)| {
                    let length = bytes.len() as u32;
                    rules.begin(FrameHead {
                        length,
                        kind,
                        flags,
                        stream,
                    })?;
                    let mut bytes = bytes.to_vec();
                    bytes
                        .chunks_mut(size)
                        .try_for_each(|part| rules.payload(part))?;
                    rules.end()
                })
            })
            .collect();
        assert!(results.iter().all(|result| *result == results[0]));
        results[0]
    }

    /// ":method: GET" and a literal field "a: b".
    const BLOCK: &[u8] = &[0x82, 0, 1, b'a', 1, b'b'];

    #[test]
    fn h8_what_clients_do_passes() {
        let settings = [0, 4, 0x7f, 255, 255, 255, 0, 3, 0, 0, 0, 100];
        let padded = [&[2, 0, 0, 0, 0, 9][..], BLOCK, &[0xff, 0xff]].concat();
        assert_eq!(
            run(&[
                (SETTINGS, 0, 0, &settings),
                (SETTINGS, 1, 0, &[]),
                (HEADERS, END_HEADERS | END_STREAM, 1, BLOCK),
                (HEADERS, PADDED | HAS_PRIORITY, 3, &padded),
                (CONTINUATION, END_HEADERS, 3, BLOCK),
                (DATA, 0, 3, b"body"),
                (HEADERS, END_HEADERS | END_STREAM, 3, &BLOCK[1..]),
                (WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]),
                (RST_STREAM, 0, 3, &[0; 4]),
            ]),
            Ok(())
        );
    }

    #[test]
    fn h8_each_breach_has_its_code() {
        let open = (HEADERS, END_HEADERS, 1, BLOCK);
        let ended = (HEADERS, END_HEADERS | END_STREAM, 1, BLOCK);
        let window = [0, 4, 0x80, 0, 0, 0];
        let cases: &[(&[Sent<'_>], Breach)] = &[
            (&[(SETTINGS, 1, 0, &[0; 6])], Breach::FrameSize),
            (&[(SETTINGS, 0, 0, &[0; 5])], Breach::FrameSize),
            (&[(PING, 0, 0, &[0; 7])], Breach::FrameSize),
            (&[(PRIORITY, 0, 1, &[0; 4])], Breach::FrameSize),
            (&[(WINDOW_UPDATE, 0, 0, &[0; 3])], Breach::FrameSize),
            (&[open, (RST_STREAM, 0, 1, &[0; 3])], Breach::FrameSize),
            (&[(SETTINGS, 0, 0, &window)], Breach::FlowControl),
            (&[ended, (DATA, 0, 1, b"x")], Breach::StreamClosed),
            (&[ended, ended], Breach::StreamClosed),
            (
                &[open, (RST_STREAM, 0, 1, &[0; 4]), ended],
                Breach::StreamClosed,
            ),
            (&[(HEADERS, END_HEADERS, 1, &[0x40])], Breach::Compression),
            (
                &[(HEADERS, END_STREAM, 1, BLOCK), (DATA, 0, 1, b"x")],
                Breach::Protocol,
            ),
            (&[(GOAWAY, 0, 1, &[0; 8])], Breach::Protocol),
            (&[open, (PUSH_PROMISE, 0, 1, &[0; 4])], Breach::Protocol),
            (
                &[open, (HEADERS, END_HEADERS | END_STREAM, 1, &[0x82])],
                Breach::Protocol,
            ),
        ];
        for (frames, breach) in cases {
            assert_eq!(run(frames), Err(*breach), "{frames:?}");
        }
    }

    #[test]
    fn h8_a_stream_that_was_never_opened_is_left_to_the_library() {
        let later = (HEADERS, END_HEADERS | END_STREAM, 9, BLOCK);
        let earlier = (HEADERS, END_HEADERS | END_STREAM, 5, &BLOCK[1..]);
        assert_eq!(run(&[later, earlier, (DATA, 0, 11, b"x")]), Ok(()));
    }

    /// Passes a header block to them.
    fn open(rules: &mut Rules, stream: u32, block: &[u8]) -> Result<(), Breach> {
        let (kind, flags, length) = (HEADERS, END_HEADERS, block.len() as u32);
        rules.begin(FrameHead {
            length,
            kind,
            flags,
            stream,
        })?;
        rules.payload(&mut block.to_vec())?;
        rules.end()
    }

    #[test]
    fn h8_a_malformed_request_is_told_of_by_its_stream_and_no_other() {
        let (good, bad) = (BLOCK, &[0x82, 0, 1, b'A', 1, b'b'][..]);
        let mut rules = Rules::default();
        for (stream, block) in [(1, good), (3, bad), (5, good), (7, bad)] {
            assert_eq!(open(&mut rules, stream, block), Ok(()));
        }
        let found = [1, 3, 5, 7, 3].map(|stream| rules.take_malformed(stream));
        assert_eq!(found, [false, true, false, true, false]);
        // Trailers, with the highest stream another.
        for (stream, block) in [(9, good), (11, good), (9, &bad[1..]), (11, &good[1..])] {
            assert_eq!(open(&mut rules, stream, block), Ok(()));
        }
        assert_eq!(
            [9, 11].map(|stream| rules.take_malformed(stream)),
            [false; 2]
        );
        let found = [11, 9, 9].map(|stream| rules.take_bad_trailers(stream));
        assert_eq!(found, [false, true, false]);
        for stream in (13..1013).step_by(2) {
            assert_eq!(
                open(&mut rules, stream, good).and_then(|()| open(&mut rules, stream, &bad[1..])),
                Ok(())
            );
        }
        assert_eq!(rules.bad_trailers.len(), REMEMBERED);
        // Those that nobody asks about are not remembered for ever.
        let ended = (1013..)
            .step_by(2)
            .position(|stream| open(&mut rules, stream, bad).is_err());
        assert_eq!(ended, Some(REMEMBERED));
    }

    #[test]
    fn h8_what_is_remembered_is_bounded() {
        let mut rules = Rules::default();
        for stream in (1..10_000).step_by(2) {
            let frame = FrameHead {
                length: 0,
                kind: HEADERS,
                flags: END_HEADERS | END_STREAM,
                stream,
            };
            assert_eq!(rules.begin(frame).and_then(|()| rules.end()), Ok(()));
        }
        assert_eq!((rules.ended.len(), rules.highest()), (REMEMBERED, 9999));
    }
}
