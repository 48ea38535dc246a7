//! Questions that the pooler itself asks a server, and what a server says unasked while idle.

use std::io;

use super::Server;
use crate::stream::Idle;
use crate::wire::frame::Frame;
use crate::wire::message::{columns, parameter_status, ready_status};
use crate::wire::{SqlError, TxStatus, build};

/// No answer to one of our own questions is longer.
const LONGEST: usize = 64 * 1024;

/// A row as text; `None` inside for NULL.
pub(crate) type Row = Vec<Option<String>>;

impl Server {
    /// Runs a query of our own while no client has this server: its first row, or the server's
    /// error. After an outer `Err` the connection is of no use.
    pub(crate) async fn ask(&mut self, query: &str) -> io::Result<Result<Option<Row>, SqlError>> {
        let mut bytes = Vec::new();
        build::query(&mut bytes, query.as_bytes());
        self.busy = true;
        self.stream.write_all(&bytes).await?;
        bytes.clear();
        let (mut row, mut error, mut at) = (None, None, 0);
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let frame = Frame::decode(rest).map_err(|_| io::ErrorKind::InvalidData)?;
            let Some((frame, body)) = frame.and_then(|frame| Some((frame, frame.body_of(rest)?)))
            else {
                bytes.drain(..at);
                at = 0;
                self.read_more(&mut bytes).await?;
                continue;
            };
            match frame.tag {
                b'D' if row.is_none() => row = columns(body).map(own),
                b'E' => error = Some(SqlError::decode(body)),
                b'S' => {
                    let report = parameter_status(body).ok_or(io::ErrorKind::InvalidData)?;
                    self.reported(report);
                }
                b'Z' => {
                    let status = ready_status(body).ok_or(io::ErrorKind::InvalidData)?;
                    self.known.status = status;
                    self.busy = false;
                    return if status == TxStatus::Idle {
                        Ok(error.map_or(Ok(row), Err))
                    } else {
                        Err(io::ErrorKind::InvalidData.into())
                    };
                }
                _ => {}
            }
            at += frame.total();
        }
    }

    async fn read_more(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let mut more = [0; 4096];
        let read = self.stream.read(&mut more).await?;
        if read == 0 || bytes.len() + read > LONGEST {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(more.get(..read).unwrap_or_default());
        Ok(())
    }

    fn reported(&mut self, (name, value): (&str, &[u8])) {
        std::rc::Rc::make_mut(&mut self.known.params).report(name, value);
    }
}

/// Whether an idle server only said what may be said at any time (B10): a notice, a notification
/// or a changed parameter. Anything else, and half a message, is its last word.
pub(super) fn is_harmless(server: &mut Server) -> bool {
    let mut bytes = Vec::new();
    let mut more = [0; 4096];
    // A bound, should it talk faster than we listen.
    for _ in 0..16 {
        match server.stream.try_read(&mut more) {
            Ok(0) => return false,
            Ok(read) => bytes.extend_from_slice(more.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => return false,
        }
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let Ok(Some(frame)) = Frame::decode(rest) else {
            return false;
        };
        let Some(body) = frame.body_of(rest) else {
            return false;
        };
        match frame.tag {
            b'N' | b'A' => {}
            b'S' => match parameter_status(body) {
                Some(report) => server.reported(report),
                None => return false,
            },
            _ => return false,
        }
        rest = rest.get(frame.total()..).unwrap_or_default();
    }
    server.stream.idle() == Idle::Quiet
}

fn own(columns: Vec<Option<&[u8]>>) -> Vec<Option<String>> {
    let text = |column: &[u8]| String::from_utf8_lossy(column).into_owned();
    columns.into_iter().map(|column| column.map(text)).collect()
}
