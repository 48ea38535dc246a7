//! Encoding: owns the one interface that all codings have, as a stream and at once. Leaves each
//! coding to its file, and which one to take to `policy`.

use std::io;

use crate::brotli_stream::Brotli;
use crate::gzip::Gzip;
use crate::shape::Shape;
use crate::zstd_stream::Zstd;
use crate::{Coding, Level, Pad};

/// An answer on its way through a coding. What comes out is added to the end of the vector that each
/// call is given; until [`Encoder::flush`] some of it may be kept back. It may move between threads.
pub struct Encoder(Stream);

enum Stream {
    Identity,
    Gzip(Box<Gzip>),
    Brotli(Box<Brotli>),
    Zstd(Zstd),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Encoder")
    }
}

impl Encoder {
    /// Begins a stream.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(coding: Coding, level: Level, pad: Pad) -> io::Result<Self> {
        Self::of_shape(coding, level, pad, Shape::Stream)
    }

    /// Begins a stream that lives long and says little at a time, such as one of events: it takes a
    /// fraction of the memory.
    ///
    /// # Errors
    /// As [`Encoder::new`].
    pub fn trickle(coding: Coding, level: Level, pad: Pad) -> io::Result<Self> {
        Self::of_shape(coding, level, pad, Shape::Trickle)
    }

    fn of_shape(coding: Coding, level: Level, pad: Pad, shape: Shape) -> io::Result<Self> {
        Ok(Self(match coding {
            Coding::Identity => Stream::Identity,
            Coding::Gzip => Stream::Gzip(Box::new(Gzip::new(level, pad))),
            Coding::Brotli => Stream::Brotli(Box::new(Brotli::new(level, pad, shape))),
            Coding::Zstd => Stream::Zstd(Zstd::new(level, pad, shape)?),
        }))
    }

    /// Bytes that a stream takes while it is under way, whatever passes through it.
    pub fn memory(coding: Coding, level: Level, is_trickle: bool) -> u64 {
        level.memory(coding, is_trickle)
    }

    /// Takes more of the content in.
    ///
    /// # Errors
    /// The coding's library failed: what was sent cannot be gone on with.
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.0 {
            Stream::Identity => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Stream::Gzip(stream) => stream.write(bytes, out),
            Stream::Brotli(stream) => stream.write(bytes, out),
            Stream::Zstd(stream) => stream.write(bytes, out),
        }
    }

    /// Gives out all that was taken in, so that the client can decode it.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.0 {
            Stream::Identity => Ok(()),
            Stream::Gzip(stream) => stream.flush(out),
            Stream::Brotli(stream) => stream.flush(out),
            Stream::Zstd(stream) => stream.flush(out),
        }
    }

    /// Ends the stream. One that is dropped instead has no end, and no decoder takes it for whole.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        match self.0 {
            Stream::Identity => Ok(()),
            Stream::Gzip(stream) => stream.finish(out),
            Stream::Brotli(stream) => stream.finish(out),
            Stream::Zstd(stream) => stream.finish(out),
        }
    }
}

/// Encodes the whole of some content.
///
/// # Errors
/// As [`Encoder::write`].
pub fn encode(content: &[u8], coding: Coding, level: Level, pad: Pad) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(content.len() / 3 + pad.overhead(coding) + 64);
    let shape = Shape::Whole(content.len() as u64);
    let mut encoder = Encoder::of_shape(coding, level, pad, shape)?;
    encoder.write(content, &mut out)?;
    encoder.finish(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
