//! One client of the crowd at a real socket: it writes, reads and leaves when it likes.
//!
//! Owns its greeting and the session's task. What it may hear is judged by the relay's crowd.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;

use socket2::SockRef;
use tokio::task::JoinHandle;

use crate::relay::tests::crowd::hearing::Hearing;
use crate::relay::tests::crowd::talk::Piece;
use crate::wire::BackendKey;
use crate::wire::frame::Frame;

pub(super) struct Client {
    /// `None` when it has left.
    socket: Option<UnixStream>,
    pub(super) key: BackendKey,
    pub(super) said: VecDeque<Piece>,
    input: Vec<u8>,
    pub(super) hearing: Hearing,
    pub(super) is_greeted: bool,
    /// Somebody cancelled what it does.
    pub(super) is_cancelled: bool,
    /// It was closed without a word, which costs it what it said.
    pub(super) is_cut: bool,
    pub(super) session: JoinHandle<()>,
}

impl Client {
    pub(super) fn new(
        socket: UnixStream,
        key: BackendKey,
        said: VecDeque<Piece>,
        hearing: Hearing,
        session: JoinHandle<()>,
    ) -> Self {
        socket.set_nonblocking(true).unwrap();
        Self {
            socket: Some(socket),
            key,
            said,
            input: Vec::new(),
            hearing,
            is_greeted: false,
            is_cancelled: false,
            is_cut: false,
            session,
        }
    }

    pub(super) fn has_left(&self) -> bool {
        self.socket.is_none()
    }

    /// There is something to be read, or the end.
    pub(super) fn can_hear(&self) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        !self.is_cut
            && SockRef::from(socket)
                .peek(&mut [MaybeUninit::uninit()])
                .is_ok()
    }

    /// Whether it may say the next piece without waiting.
    pub(super) fn may_say(&self) -> bool {
        let waits = matches!(self.said.front(), Some(Piece::Waits) | None);
        !self.has_left() && self.is_greeted && !self.is_over() && !waits
    }

    /// Its session has ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_cut || self.hearing.is_ended
    }

    /// Says so much of the next piece, all of which it is known for from now on.
    pub(super) fn says(&mut self, part: impl FnOnce(usize) -> usize) {
        let bytes = match self.said.pop_front() {
            Some(Piece::Says(bytes)) if bytes.is_empty() => return,
            Some(Piece::Says(bytes)) => {
                self.hearing.says(&bytes);
                bytes
            }
            Some(Piece::Goes(bytes)) => bytes,
            Some(Piece::Waits) | None => return,
        };
        let part = part(bytes.len());
        let Some(socket) = &mut self.socket else {
            return;
        };
        let count = match socket.write(&bytes[..part]) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // It reads of its end.
            Err(_) => bytes.len(),
        };
        if count < bytes.len() {
            self.said.push_front(Piece::Goes(bytes[count..].to_vec()));
        }
    }

    /// Reads so much.
    pub(super) fn hears(&mut self, most: usize) {
        let mut part = vec![0; most];
        let Some(socket) = &mut self.socket else {
            return;
        };
        let count = match socket.read(&mut part) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => 0,
        };
        if count == 0 {
            self.is_cut = true;
            let may_be =
                self.hearing.is_ended || self.hearing.may_lose() || self.hearing.has_copied();
            assert!(may_be, "it was closed: {:#?}", self.hearing.log);
        }
        self.input.extend_from_slice(&part[..count]);
        while let Some(frame) = Frame::decode(&self.input).unwrap() {
            let Some(body) = frame.body_of(&self.input).map(<[u8]>::to_vec) else {
                return;
            };
            self.input.drain(..frame.total());
            if self.is_greeted || frame.tag == b'E' {
                self.hearing.hears(frame.tag, &body);
            } else {
                self.is_greeted = frame.tag == b'Z';
                self.hearing.is_greeted_with(frame.tag, &body);
            }
        }
    }

    /// It goes without a word, or behind what it says at the last.
    pub(super) fn leaves(&mut self, last: &[u8]) {
        if let Some(mut socket) = self.socket.take() {
            let _ = socket.write(last);
        }
        self.said.clear();
    }
}
