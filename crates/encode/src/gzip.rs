//! gzip (RFC 1952): owns header and trailer around the deflated content, and its calls. Leaves
//! deflating to `flate2`.

use std::io;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::{Level, Pad};

/// One stream.
pub(crate) struct Gzip {
    deflate: Compress,
    crc: Crc,
    pad: Pad,
    has_begun: bool,
}

/// Magic, deflate; then flags, no time, no hint, a system that is not told.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HAS_NAME: u8 = 8;
const AFTER_FLAGS: [u8; 6] = [0, 0, 0, 0, 0, 255];

/// Room that each step has at least: what a flush needs fits in.
const ROOM: usize = 512;

impl Gzip {
    pub fn new(level: Level, pad: Pad) -> Self {
        Self {
            deflate: Compress::new(Compression::new(level.of_gzip()), false),
            crc: Crc::new(),
            pad,
            has_begun: false,
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        out.extend_from_slice(&MAGIC);
        out.push(if self.pad.is_none() { 0 } else { HAS_NAME });
        out.extend_from_slice(&AFTER_FLAGS);
        if !self.pad.is_none() {
            self.pad.write_gzip_name(out);
        }
    }

    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.begin(out);
        self.crc.update(bytes);
        self.run(bytes, FlushCompress::None, out)
    }

    pub fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.begin(out);
        self.run(&[], FlushCompress::Sync, out)
    }

    pub fn finish(mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.begin(out);
        self.run(&[], FlushCompress::Finish, out)?;
        out.extend_from_slice(&self.crc.sum().to_le_bytes());
        out.extend_from_slice(&self.crc.amount().to_le_bytes());
        Ok(())
    }

    fn run(&mut self, mut bytes: &[u8], flush: FlushCompress, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            out.reserve(ROOM.max(bytes.len() / 3));
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(bytes, out, flush)?;
            let taken = (self.deflate.total_in() - before) as usize;
            bytes = bytes.get(taken..).unwrap_or_default();
            let has_room = out.len() < out.capacity();
            let is_done = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                _ => bytes.is_empty() && has_room,
            };
            if is_done {
                return Ok(());
            }
        }
    }
}
