//! One connection of the model server: bytes in and out of a real socket, cut anywhere.
//!
//! Owns its greeting, cancel requests and the ends a server may come to. What it answers is the
//! model's that the relay is tried with, too.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use crate::relay::tests::crowd::postgres::Server;
use crate::wire::startup::{First, decode};
use crate::wire::{BackendKey, SqlError, TxStatus, build};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    New,
    Cancels(BackendKey),
    Up,
    /// The server has closed it.
    Over,
}

pub(super) struct Line {
    socket: UnixStream,
    /// Arrived, and not yet taken by the server.
    pub(super) arrived: Vec<u8>,
    pub(super) stage: Stage,
    pub(super) key: BackendKey,
    pub(super) server: Server,
    /// Who had it last.
    pub(super) owner: Option<usize>,
    /// The pooler has closed it.
    pub(super) is_left: bool,
}

impl Line {
    pub(super) fn new(socket: UnixStream, number: usize) -> Self {
        socket.set_nonblocking(true).unwrap();
        let pid = i32::try_from(number).unwrap() + 1;
        Self {
            socket,
            arrived: Vec::new(),
            stage: Stage::New,
            key: BackendKey::new(pid, &pid.to_be_bytes()).unwrap(),
            server: Server::default(),
            owner: None,
            is_left: false,
        }
    }

    /// A server process is behind it.
    pub(super) fn is_up(&self) -> bool {
        self.stage == Stage::Up && !self.is_left
    }

    /// Takes what has arrived out of the socket.
    pub(super) fn receive(&mut self) {
        let mut part = [0; 4096];
        while !self.is_left && self.stage != Stage::Over {
            match self.socket.read(&mut part) {
                Ok(0) => self.is_left = true,
                Ok(count) => self.arrived.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.is_left = true,
            }
        }
    }

    pub(super) fn can_work(&self) -> bool {
        match self.stage {
            Stage::New => self.is_left || !self.arrived.is_empty(),
            Stage::Cancels(_) => true,
            Stage::Up => !self.arrived.is_empty() || self.server.can_read() || self.is_left,
            Stage::Over => false,
        }
    }

    pub(super) fn can_say(&self) -> bool {
        self.stage != Stage::Over && !self.server.output.is_empty()
    }

    /// Reads a first packet.
    pub(super) fn opens(&mut self, refuses: bool) {
        let Ok(Some((first, length))) = decode(&self.arrived) else {
            assert!(self.is_left, "half of a first packet");
            return self.dies();
        };
        self.arrived.drain(..length);
        match first {
            First::Cancel(key) => self.stage = Stage::Cancels(key),
            First::Startup(_) if refuses => {
                SqlError::fatal("57P03", "the database system is starting up")
                    .encode(&mut self.server.output);
                let _ = self.socket.write(&self.server.output);
                self.dies();
            }
            First::Startup(_) => {
                self.stage = Stage::Up;
                let out = &mut self.server.output;
                out.extend_from_slice(build::AUTHENTICATION_OK);
                for (name, value) in [("server_version", "16.0"), ("TimeZone", "UTC")] {
                    build::parameter_status(out, name, value);
                }
                build::backend_key_data(out, &self.key);
                build::ready(out, TxStatus::Idle);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Takes so much of what has arrived, and reads one message, which is returned.
    pub(super) fn works(&mut self, part: usize, owner: Option<usize>) -> Vec<u8> {
        self.server.input.extend(self.arrived.drain(..part));
        if self.server.can_read() {
            let message = self.server.next().to_vec();
            self.server.read(owner);
            return message;
        }
        if self.is_left && self.arrived.is_empty() {
            self.dies();
        }
        Vec::new()
    }

    /// Sends so much of what it has said.
    pub(super) fn says(&mut self, part: usize) {
        match self.socket.write(&self.server.output[..part]) {
            Ok(count) => drop(self.server.output.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.server.output.clear(),
        }
    }

    /// The end of the process, and of its connection.
    pub(super) fn dies(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        self.stage = Stage::Over;
        self.server.postgres.is_dead = true;
    }
}
