//! A relay with a client and a server made of bytes.

use std::rc::Rc;

use crate::relay::{Io, Known, Label, Leaving, Lost, Params, Relay, Want};
use crate::wire::{SqlError, TxStatus, build};

/// How bytes are cut before the relay sees them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    Whole,
    Bytes,
    Random(u64),
}

pub(super) const CUTS: [Cut; 5] = [
    Cut::Whole,
    Cut::Bytes,
    Cut::Random(1),
    Cut::Random(2),
    Cut::Random(3),
];

/// xorshift64*: the same numbers on every machine.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// A part of so many bytes: all of them, any, or a few.
pub(crate) fn random_part(state: &mut u64, of: usize) -> usize {
    let mut below = |count: usize| random(state) as usize % count.max(1);
    match below(3) {
        0 => of,
        1 => 1 + below(of),
        _ => 1 + below(7),
    }
    .min(of)
}

impl Cut {
    fn next(&mut self, left: usize) -> usize {
        match self {
            Self::Whole => left,
            Self::Bytes => 1,
            Self::Random(state) => (random(state) as usize % 20 + 1).min(left),
        }
    }
}

pub(super) struct Driver {
    pub(super) relay: Relay,
    pub(super) known: Known,
    pub(super) leased: bool,
    /// How often a server was wanted, and given back.
    pub(super) leases: u32,
    /// How often it was closed since nobody knew what it would say.
    pub(super) closed: u32,
    pub(super) to_server: Vec<u8>,
    pub(super) to_client: Vec<u8>,
    pub(super) fatal: Option<SqlError>,
    pub(super) broken: Option<SqlError>,
    pub(super) left: bool,
    client_in: Vec<u8>,
    server_in: Vec<u8>,
    cut: Cut,
}

impl Driver {
    pub(super) fn new(cut: Cut) -> Self {
        Self::with(cut, &[], false)
    }

    pub(super) fn with(cut: Cut, start: &[(&str, &str)], defer_begin: bool) -> Self {
        let params = Params::new([("TimeZone", "UTC"), ("server_version", "16.1")]);
        let label = Label::new(start.iter().copied());
        let mut known = Known::new(Rc::clone(&params), 200);
        known.label = Rc::clone(&label);
        Self {
            relay: Relay::new("app", label, params, defer_begin),
            known,
            leased: false,
            leases: 0,
            closed: 0,
            to_server: Vec::new(),
            to_client: Vec::new(),
            fatal: None,
            broken: None,
            left: false,
            client_in: Vec::new(),
            server_in: Vec::new(),
            cut,
        }
    }

    pub(super) fn io(&mut self) -> (&mut Relay, Io<'_>) {
        let io = Io {
            known: self.leased.then_some(&mut self.known),
            to_server: &mut self.to_server,
            to_client: &mut self.to_client,
        };
        (&mut self.relay, io)
    }

    /// The client sends.
    pub(super) fn client(&mut self, mut bytes: &[u8]) -> &mut Self {
        let mut cut = self.cut;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(cut.next(bytes.len()));
            self.client_in.extend_from_slice(now);
            bytes = later;
            self.turn();
        }
        self.cut = cut;
        self
    }

    /// The server sends.
    pub(super) fn server(&mut self, mut bytes: &[u8]) -> &mut Self {
        let mut cut = self.cut;
        while !bytes.is_empty() && self.broken.is_none() {
            let (now, later) = bytes.split_at(cut.next(bytes.len()));
            self.server_in.extend_from_slice(now);
            bytes = later;
            let input = std::mem::take(&mut self.server_in);
            let (relay, mut io) = self.io();
            match relay.server_sent(&input, &mut io) {
                Ok(used) => {
                    assert!(used <= input.len());
                    self.server_in = input[used..].to_vec();
                }
                Err(broken) => self.broken = Some(broken.0),
            }
            self.turn();
        }
        self.cut = cut;
        self
    }

    fn turn(&mut self) {
        loop {
            if self.fatal.is_some() || self.left {
                return;
            }
            let input = std::mem::take(&mut self.client_in);
            let (relay, mut io) = self.io();
            match relay.client_sent(&input, &mut io) {
                Ok(taken) => {
                    assert!(taken.used <= input.len());
                    self.client_in = input[taken.used..].to_vec();
                    match taken.want {
                        Want::Server => {
                            assert!(!self.leased);
                            self.attach();
                            continue;
                        }
                        Want::Leave => self.left = true,
                        Want::Bytes(_) | Want::Answers => {}
                    }
                }
                Err(error) => self.fatal = Some(error),
            }
            if self.leased && self.relay.may_release(&self.known) {
                self.leased = false;
                self.closed += u32::from(self.relay.is_in_doubt());
                self.relay.detach();
            }
            return;
        }
    }

    pub(super) fn attach(&mut self) {
        self.leased = true;
        self.leases += 1;
        let (relay, mut io) = self.io();
        relay.attach(&mut io);
    }

    /// The server dies.
    pub(super) fn lose(&mut self, error: &SqlError) -> Lost {
        self.leased = false;
        self.server_in.clear();
        self.to_server.clear();
        let (relay, mut io) = self.io();
        let lives = relay.lost(error, &mut io);
        self.turn();
        lives
    }

    pub(super) fn leave(&mut self) -> Leaving {
        let (relay, mut io) = self.io();
        relay.leave(&mut io)
    }

    /// What went to the server since the last time.
    #[track_caller]
    pub(super) fn sent(&mut self, expected: &[u8]) -> &mut Self {
        let sent = std::mem::take(&mut self.to_server);
        assert_eq!(show(&sent), show(expected), "to the server, {:?}", self.cut);
        self
    }

    /// What went to the client since the last time.
    #[track_caller]
    pub(super) fn told(&mut self, expected: &[u8]) -> &mut Self {
        let told = std::mem::take(&mut self.to_client);
        assert_eq!(show(&told), show(expected), "to the client, {:?}", self.cut);
        self
    }

    /// The SQL of the one query that went to the server since the last time.
    #[track_caller]
    pub(super) fn sql(&mut self) -> String {
        let sent = std::mem::take(&mut self.to_server);
        assert_eq!(sent.first(), Some(&b'Q'), "{}", show(&sent));
        let end = sent.len() - 1;
        String::from_utf8(sent[5..end].to_vec()).unwrap()
    }

    /// Nothing but the relay's own question is left, which says that no more is to come.
    #[track_caller]
    pub(super) fn doubt_ends(&mut self) -> &mut Self {
        let question = [&close('S', "canter_start"), SYNC].concat();
        let sent = std::mem::take(&mut self.to_server);
        assert!(sent.ends_with(&question), "{}", show(&sent));
        self.held();
        let told = self.to_client.len();
        self.server(&[CLOSED, &z(b'I')].concat());
        assert_eq!(self.to_client.len(), told, "it is told of it");
        assert_eq!(self.closed, 0);
        self.released()
    }

    #[track_caller]
    pub(super) fn released(&mut self) -> &mut Self {
        assert!(!self.leased, "the server is still held");
        self
    }

    #[track_caller]
    pub(super) fn held(&mut self) -> &mut Self {
        assert!(self.leased, "the server was given back");
        self
    }
}

pub(super) fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn made(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

pub(super) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    made(|out| build::message(out, tag, |out| out.extend_from_slice(body)))
}

pub(super) fn q(text: &str) -> Vec<u8> {
    made(|out| build::query(out, text.as_bytes()))
}

pub(super) fn c(tag: &str) -> Vec<u8> {
    made(|out| build::command_complete(out, tag.as_bytes()))
}

pub(super) fn z(status: u8) -> Vec<u8> {
    made(|out| build::ready(out, TxStatus::from_byte(status).unwrap()))
}

/// A command that was done, and readiness.
pub(super) fn cz(tag: &str, status: u8) -> Vec<u8> {
    [c(tag), z(status)].concat()
}

pub(super) fn e(code: &str, words: &str) -> Vec<u8> {
    made(|out| SqlError::error(code, words).encode(out))
}

pub(super) fn row(columns: &[&str]) -> Vec<u8> {
    let mut body = (columns.len() as u16).to_be_bytes().to_vec();
    for column in columns {
        body.extend_from_slice(&(column.len() as u32).to_be_bytes());
        body.extend_from_slice(column.as_bytes());
    }
    message(b'D', &body)
}

pub(super) fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

pub(super) fn bind(portal: &str, name: &str) -> Vec<u8> {
    message(b'B', format!("{portal}\0{name}\0\0\0\0\0\0\0").as_bytes())
}

pub(super) fn describe(kind: char, name: &str) -> Vec<u8> {
    message(b'D', format!("{kind}{name}\0").as_bytes())
}

pub(super) fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', format!("{kind}{name}\0").as_bytes())
}

pub(super) fn execute(portal: &str) -> Vec<u8> {
    message(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
}

pub(super) const SYNC: &[u8] = build::SYNC;
pub(super) const PARSED: &[u8] = build::PARSE_COMPLETE;
pub(super) const BOUND: &[u8] = build::BIND_COMPLETE;
pub(super) const CLOSED: &[u8] = build::CLOSE_COMPLETE;

/// The name the relay gave the statement in the first `Parse` of these bytes.
pub(super) fn server_name(sent: &[u8]) -> String {
    let at = sent.iter().position(|b| *b == b'c').unwrap();
    let end = sent[at..].iter().position(|b| *b == 0).unwrap();
    String::from_utf8(sent[at..at + end].to_vec()).unwrap()
}
