//! zstd (RFC 8878): owns the parameters and the calls of one stream. Leaves the work to the reference
//! library.

use std::io;

use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

use crate::shape::Shape;
use crate::{Level, Pad};

/// 256 KiB: what a page repeats lies nearer. A client must take up to 8 MB (RFC 9659), but for each
/// answer that is under way this much is held here.
const WINDOW_LOG: u32 = 18;

/// Of a stream whose length is not known the tables would be made for the longest there is.
const TABLE_LOG: u32 = 16;

/// 32 KiB, and tables to match: for a stream that lives long and says little at a time.
const TRICKLE_LOG: u32 = 15;

/// One stream.
pub(crate) struct Zstd {
    encoder: Encoder<'static>,
    pad: Pad,
}

/// Room that each step has at least.
const ROOM: usize = 512;

impl Zstd {
    pub fn new(level: Level, pad: Pad, shape: Shape) -> io::Result<Self> {
        let mut encoder = Encoder::new(level.of_zstd())?;
        let (window, tables) = match shape {
            // Small content has small tables of itself.
            Shape::Whole(length) => {
                encoder.set_pledged_src_size(Some(length))?;
                (WINDOW_LOG, None)
            }
            Shape::Stream => (WINDOW_LOG, Some(TABLE_LOG)),
            Shape::Trickle => (TRICKLE_LOG, Some(TRICKLE_LOG)),
        };
        encoder.set_parameter(CParameter::WindowLog(window))?;
        if let Some(tables) = tables {
            encoder.set_parameter(CParameter::HashLog(tables))?;
            encoder.set_parameter(CParameter::ChainLog(tables))?;
        }
        Ok(Self { encoder, pad })
    }

    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            with_room(out, (bytes.len() - input.pos()) / 3, |out| {
                self.encoder.run(&mut input, out)
            })?;
        }
        Ok(())
    }

    pub fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while with_room(out, 0, |out| self.encoder.flush(out))? > 0 {}
        Ok(())
    }

    pub fn finish(mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while with_room(out, 0, |out| self.encoder.finish(out, true))? > 0 {}
        if !self.pad.is_none() {
            self.pad.write_zstd_frame(out);
        }
        Ok(())
    }
}

/// Writes behind what `out` holds.
fn with_room(
    out: &mut Vec<u8>,
    more: usize,
    step: impl FnOnce(&mut OutBuffer<'_, Vec<u8>>) -> io::Result<usize>,
) -> io::Result<usize> {
    out.reserve(ROOM.max(more));
    let at = out.len();
    step(&mut OutBuffer::around_pos(out, at))
}
