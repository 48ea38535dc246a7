//! brotli (RFC 7932): owns the parameters and the calls of one stream. Leaves the work to `brotli`.

use std::io::{self, Write as _};

use brotli::CompressorWriter;

use crate::shape::Shape;
use crate::{Level, Pad};

/// 256 KiB; see the same of zstd.
const WINDOW_LOG: u32 = 18;

/// For a stream that lives long and says little at a time: the smallest tables there are.
const TRICKLE: (u32, u32) = (1, 16);

/// What the encoder hands over at a time.
const STEP: usize = 8 * 1024;

/// One stream.
pub(crate) struct Brotli {
    /// Its vector is exchanged for the caller's during each call, so that nothing is copied.
    encoder: CompressorWriter<Vec<u8>>,
    pad: Pad,
}

impl Brotli {
    pub fn new(level: Level, pad: Pad, shape: Shape) -> Self {
        let (quality, window) = match shape {
            Shape::Whole(_) | Shape::Stream => (level.of_brotli(), WINDOW_LOG),
            Shape::Trickle => TRICKLE,
        };
        Self {
            encoder: CompressorWriter::new(Vec::new(), STEP, quality, window),
            pad,
        }
    }

    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.lend(out, |encoder| encoder.write_all(bytes))
    }

    pub fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.lend(out, CompressorWriter::flush)
    }

    pub fn finish(mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if !self.pad.is_none() {
            // To a whole byte.
            self.flush(out)?;
            self.pad.write_brotli_block(out);
        }
        std::mem::swap(self.encoder.get_mut(), out);
        *out = self.encoder.into_inner();
        Ok(())
    }

    fn lend(
        &mut self,
        out: &mut Vec<u8>,
        step: impl FnOnce(&mut CompressorWriter<Vec<u8>>) -> io::Result<()>,
    ) -> io::Result<()> {
        std::mem::swap(self.encoder.get_mut(), out);
        let result = step(&mut self.encoder);
        std::mem::swap(self.encoder.get_mut(), out);
        result
    }
}
