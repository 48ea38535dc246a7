//! Reads whole messages of a server during the login, in bounded memory whatever it sends.
//! Leaves their meaning to the login, and the stream with nothing left over.

use std::io;

use crate::stream::Stream;

/// PostgreSQL's own login messages are far below; its libpq bounds errors to 30 000 bytes.
const MAX_MESSAGE: usize = 65_536;
/// One read.
const CHUNK: usize = 4096;

/// A stream and what was read from it ahead.
pub(super) struct Messages {
    pub(super) stream: Stream,
    buffer: Vec<u8>,
    at: usize,
}

/// A message of the server.
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
}

impl Messages {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            at: 0,
        }
    }

    /// Whether nothing read ahead is left.
    pub(super) fn is_drained(&self) -> bool {
        self.at == self.buffer.len()
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next message. `InvalidData` means that no PostgreSQL server talks like this.
    pub(super) async fn next(&mut self) -> io::Result<Message> {
        let header = self.fill(5).await?;
        let (&tag, length) = header.split_first().ok_or(io::ErrorKind::InvalidData)?;
        let length = length
            .first_chunk()
            .copied()
            .map(u32::from_be_bytes)
            .unwrap_or_default();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !tag.is_ascii_alphanumeric() || !(4..=MAX_MESSAGE).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let whole = self.fill(length + 1).await?;
        let body = whole.get(5..).unwrap_or_default().to_vec();
        self.at += length + 1;
        if self.is_drained() {
            self.buffer.clear();
            self.at = 0;
        }
        Ok(Message { tag, body })
    }

    /// Reads until `count` bytes wait, and shows them.
    async fn fill(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.at < count {
            if self.at > 0 {
                self.buffer.drain(..self.at);
                self.at = 0;
            }
            let end = self.buffer.len();
            self.buffer.resize(end + CHUNK, 0);
            let read = self
                .stream
                .read(self.buffer.get_mut(end..).unwrap_or_default())
                .await;
            self.buffer.truncate(end + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self
            .buffer
            .get(self.at..self.at + count)
            .unwrap_or_default())
    }
}
