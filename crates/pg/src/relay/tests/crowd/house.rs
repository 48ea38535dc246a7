//! The pool of a crowd, and the sockets between: what the session's loop does around the relay.
//!
//! Owns when what happens, at random, and what must be so when a server goes back.

use std::collections::VecDeque;
use std::rc::Rc;

use super::super::driver::*;
use super::hearing::Hearing;
use super::postgres::Server;
use super::talk::{Piece, Talker};
use crate::relay::{Io, Known, Label, Lost, Params, Relay, Want, share_from};
use crate::wire::frame::Frame;
use crate::wire::{SqlError, TxStatus, build};

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Risks {
    cancels: bool,
    leaves: bool,
    dies: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Lives,
    /// Its server is cleaned; whether it is cancelled already.
    Leaves {
        is_cancelled: bool,
    },
    Gone,
}

pub(super) struct Client {
    pub(super) relay: Relay,
    pub(super) life: Life,
    pub(super) server: Option<usize>,
    pub(super) waits: bool,
    pub(super) said: VecDeque<Piece>,
    pub(super) input: Vec<u8>,
    pub(super) server_in: Vec<u8>,
    pub(super) to_server: Vec<u8>,
    pub(super) answers: Vec<u8>,
    pub(super) hearing: Hearing,
}

pub(super) struct Slot {
    pub(super) server: Server,
    pub(super) known: Known,
    pub(super) owner: Option<usize>,
}

pub(super) struct Crowd {
    pub(super) state: u64,
    pub(super) risks: Risks,
    pub(super) params: Rc<Params>,
    pub(super) clients: Vec<Client>,
    pub(super) slots: Vec<Slot>,
    pub(super) queue: VecDeque<usize>,
    pub(super) closed: u32,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// A client says something.
    Say(usize),
    /// What is for its server goes out.
    Send(usize),
    /// A server reads a message.
    Work(usize),
    /// A client's session reads what its server said.
    Hear(usize),
    /// It reads that it is gone.
    Eof(usize),
}

impl Slot {
    fn new(params: &Rc<Params>) -> Self {
        Self {
            server: Server::default(),
            known: Known::new(Rc::clone(params), 3),
            owner: None,
        }
    }
}

fn notice(words: &str) -> Vec<u8> {
    message(
        b'N',
        format!("SNOTICE\0VNOTICE\0C00000\0M{words}\0\0").as_bytes(),
    )
}

impl Crowd {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        // Each text is there once: for half of the seeds that is often.
        share_from(if (seed / 4).is_multiple_of(2) { 1 } else { 5 });
        let risks = Risks {
            cancels: !seed.is_multiple_of(4),
            leaves: seed % 4 > 1,
            dies: seed % 4 > 2,
        };
        let params = Params::new([("TimeZone", "UTC"), ("server_version", "16.1")]);
        let clients = 2 + seed as usize % 2;
        let clients = (0..clients).map(|number| {
            let mut talker = Talker::new(number, seed.is_multiple_of(5));
            let mut said = VecDeque::new();
            for _ in 0..4 + random(&mut state) % 8 {
                said.extend(talker.phrase(&mut state));
            }
            said.extend(talker.last_words());
            let mut relay = Relay::new(
                "app",
                Label::empty(),
                Rc::clone(&params),
                random(&mut state).is_multiple_of(2),
            );
            relay.served_by(Some(std::num::NonZeroUsize::MIN));
            Client {
                relay,
                life: Life::Lives,
                server: None,
                waits: false,
                said,
                input: Vec::new(),
                server_in: Vec::new(),
                to_server: Vec::new(),
                answers: Vec::new(),
                hearing: Hearing::new(number, risks.dies, &[]),
            }
        });
        let clients = clients.collect();
        let slots = (0..=seed % 3 % 2).map(|_| Slot::new(&params)).collect();
        Self {
            state,
            risks,
            params,
            clients,
            slots,
            queue: VecDeque::new(),
            closed: 0,
        }
    }

    /// Errors of lost servers that were heard.
    pub(super) fn losses(&self) -> u32 {
        self.clients
            .iter()
            .map(|client| client.hearing.losses)
            .sum()
    }

    fn random(&mut self, below: usize) -> usize {
        random(&mut self.state) as usize % below.max(1)
    }

    fn part(&mut self, of: usize) -> usize {
        random_part(&mut self.state, of)
    }

    pub(super) fn relay(&mut self, client: usize) -> (&mut Relay, Io<'_>) {
        let Client {
            relay,
            server,
            to_server,
            answers,
            ..
        } = &mut self.clients[client];
        let io = Io {
            known: server.map(|slot| &mut self.slots[slot].known),
            to_server,
            to_client: answers,
        };
        (relay, io)
    }

    /// Nothing more comes to it unless it says more.
    fn is_calm(&self, client: usize) -> bool {
        let client = &self.clients[client];
        let is_read = |slot: usize| {
            let server = &self.slots[slot].server;
            server.output.is_empty() && !server.can_read() && !server.postgres.is_dead
        };
        !client.waits && client.to_server.is_empty() && client.server.is_none_or(is_read)
    }

    fn acts(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            if client.life == Life::Lives && !client.said.is_empty() {
                let waits = matches!(client.said.front(), Some(Piece::Waits));
                if !waits || self.is_calm(number) {
                    acts.push(Act::Say(number));
                }
            }
            let Some(slot) = client.server else {
                continue;
            };
            let server = &self.slots[slot].server;
            if !client.to_server.is_empty() && !server.postgres.is_dead {
                acts.push(Act::Send(number));
            }
            if !server.output.is_empty() {
                acts.push(Act::Hear(number));
            } else if server.postgres.is_dead {
                acts.push(Act::Eof(number));
            }
        }
        for (number, slot) in self.slots.iter().enumerate() {
            if slot.server.can_read() {
                acts.push(Act::Work(number));
            }
        }
        acts
    }

    pub(super) fn run(&mut self) {
        loop {
            self.happens();
            let acts = self.acts();
            if acts.is_empty() {
                if self.runs_out_of_patience() {
                    continue;
                }
                break;
            }
            match acts[self.random(acts.len())] {
                Act::Say(client) => self.say(client),
                Act::Send(client) => self.send(client),
                Act::Work(slot) => self.work(slot),
                Act::Hear(client) => self.hear(client),
                Act::Eof(client) => {
                    self.lose(client, &SqlError::error("08006", "gone"));
                }
            }
        }
        for client in 0..self.clients.len() {
            let Client {
                life,
                hearing,
                relay,
                server,
                waits,
                input,
                ..
            } = &self.clients[client];
            match life {
                Life::Lives => {
                    assert!(!waits && input.is_empty(), "it waits: {:#?}", hearing.log);
                    assert!(
                        hearing.is_over(),
                        "something is not answered: {:#?}",
                        hearing.log
                    );
                    assert!(relay.is_settled() && !relay.is_client_busy());
                    assert!(server.is_none(), "its server is kept: {:#?}", hearing.log);
                }
                Life::Leaves { .. } => panic!("it cannot be cleaned: {:#?}", hearing.log),
                Life::Gone => assert!(server.is_none()),
            }
        }
        for slot in &self.slots {
            assert!(slot.owner.is_none() && slot.server.is_clean());
        }
    }

    /// What nobody asked for.
    fn happens(&mut self) {
        let slot = self.random(self.slots.len());
        let client = self.random(self.clients.len());
        let risks = self.risks;
        match self.random(100) {
            0..4 if risks.cancels && self.slots[slot].owner.is_some() => {
                let Slot { server, owner, .. } = &mut self.slots[slot];
                server.cancel(*owner);
            }
            4 if risks.dies && self.random(3) == 0 => {
                let output = self.slots[slot].server.output.len();
                let heard = self.random(output + 1);
                let server = &mut self.slots[slot].server;
                server.output.truncate(heard);
                server.postgres.is_dead = true;
                if self.slots[slot].owner.is_none() {
                    self.slots[slot] = Slot::new(&self.params);
                }
            }
            5 if risks.leaves
                && self.random(4) == 0
                && self.clients[client].life == Life::Lives =>
            {
                if self.random(2) == 0 {
                    let said = &mut self.clients[client].said;
                    said.retain(|piece| matches!(piece, Piece::Goes(_)));
                    said.push_back(Piece::Says(build::TERMINATE.to_vec()));
                } else {
                    self.leaves(client, true);
                }
            }
            6 => {
                let value = ["on", "off"][self.random(2)];
                let mut out = Vec::new();
                build::parameter_status(&mut out, "in_hot_standby", value);
                let server = &mut self.slots[slot].server;
                if !server.postgres.is_dead && server.can_read() && !server.ignores_next() {
                    server.output.extend(out);
                }
            }
            7 | 8 => {
                let server = &mut self.slots[slot].server;
                if let Some(channel) = server.postgres.listens()
                    && server.may_notify()
                {
                    server
                        .output
                        .extend(message(b'A', format!("\0\0\0\x01{channel}\0\0").as_bytes()));
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, client: usize) {
        let piece = self.clients[client].said.pop_front();
        match piece {
            Some(Piece::Says(bytes)) if bytes.is_empty() => {}
            Some(Piece::Says(bytes)) => {
                // What is left of it was announced with its beginning.
                if bytes[0] != b'X' {
                    self.clients[client].hearing.says(&bytes);
                }
                self.clients[client].said.push_front(Piece::Goes(bytes));
            }
            Some(Piece::Goes(mut bytes)) => {
                let part = self.part(bytes.len());
                let rest = bytes.split_off(part);
                let client = &mut self.clients[client];
                client.input.extend(bytes);
                if !rest.is_empty() {
                    client.said.push_front(Piece::Goes(rest));
                }
            }
            Some(Piece::Waits) | None => {}
        }
        self.turn(client);
    }

    fn send(&mut self, client: usize) {
        let part = self.part(self.clients[client].to_server.len());
        let sent: Vec<u8> = self.clients[client].to_server.drain(..part).collect();
        if let Some(slot) = self.clients[client].server {
            self.slots[slot].server.input.extend(sent);
        }
        self.turn(client);
    }

    fn work(&mut self, slot: usize) {
        let noisy = self.random(12) == 0;
        let Slot { server, owner, .. } = &mut self.slots[slot];
        if noisy
            && !server.ignores_next()
            && let Some(owner) = owner
        {
            server.output.extend(notice(&format!("to {owner}_0")));
        }
        let next = show(server.next());
        if let Some(owner) = owner {
            let log = &mut self.clients[*owner].hearing.log;
            log.push(format!("    server {slot} reads {next}"));
        }
        server.read(*owner);
    }

    fn hear(&mut self, client: usize) {
        let Some(slot) = self.clients[client].server else {
            return;
        };
        let part = self.part(self.slots[slot].server.output.len());
        let heard = self.slots[slot].server.output.drain(..part);
        self.clients[client].server_in.extend(heard);
        let input = std::mem::take(&mut self.clients[client].server_in);
        let (relay, mut io) = self.relay(client);
        match relay.server_sent(&input, &mut io) {
            Ok(used) => {
                self.clients[client].server_in = input[used..].to_vec();
                self.turn(client);
            }
            Err(broken) => {
                let server = &self.slots[slot].server;
                assert!(
                    server.postgres.is_dead || server.has_failed_copy,
                    "{}: {:#?}",
                    broken.0.message,
                    self.clients[client].hearing.log
                );
                self.lose(client, &broken.0);
            }
        }
    }

    /// Its server is gone.
    fn lose(&mut self, client: usize, error: &SqlError) {
        self.close(client);
        if self.clients[client].life == Life::Lives {
            let (relay, mut io) = self.relay(client);
            match relay.lost(error, &mut io) {
                Lost::Lives => self.turn(client),
                // It hears no more than that.
                Lost::Ends(_) | Lost::Cut => self.clients[client].life = Life::Gone,
            }
        } else {
            self.clients[client].life = Life::Gone;
        }
        self.serve();
    }

    /// One round of the session's loop.
    fn turn(&mut self, number: usize) {
        loop {
            match self.clients[number].life {
                Life::Lives => {}
                Life::Leaves { .. } => return self.clean(number),
                Life::Gone => return,
            }
            if self.clients[number].waits {
                return;
            }
            let bytes = std::mem::take(&mut self.clients[number].input);
            let (relay, mut io) = self.relay(number);
            let taken = relay.client_sent(&bytes, &mut io);
            self.tell(number);
            let taken = match taken {
                Ok(taken) => taken,
                // Requests amid the data of a COPY.
                Err(error) => {
                    assert!(
                        self.clients[number].hearing.has_copied(),
                        "{}",
                        error.message
                    );
                    return self.leaves(number, true);
                }
            };
            self.clients[number].input = bytes[taken.used..].to_vec();
            match taken.want {
                Want::Server => {
                    assert!(self.clients[number].server.is_none());
                    self.queue.push_back(number);
                    self.clients[number].waits = true;
                    return self.serve();
                }
                Want::Leave => return self.leaves(number, false),
                Want::Bytes(_) | Want::Answers => {}
            }
            let client = &self.clients[number];
            let Some(slot) = client.server else {
                return;
            };
            let may_release = client.relay.may_release(&self.slots[slot].known);
            if !may_release || !client.to_server.is_empty() || !client.server_in.is_empty() {
                return;
            }
            if client.relay.is_in_doubt() {
                self.close(number);
            } else {
                self.give_back(number);
            }
            self.clients[number].relay.detach();
            self.serve();
            if self.clients[number].input.is_empty() {
                return;
            }
        }
    }

    fn tell(&mut self, number: usize) {
        let client = &mut self.clients[number];
        while let Some(frame) = Frame::decode(&client.answers).unwrap() {
            let Some(body) = frame.body_of(&client.answers).map(<[u8]>::to_vec) else {
                return;
            };
            client.answers.drain(..frame.total());
            client.hearing.hears(frame.tag, &body);
        }
    }

    /// Whoever waits longest gets a free server.
    pub(super) fn serve(&mut self) {
        while let Some(slot) = self.slots.iter().position(|slot| slot.owner.is_none()) {
            let Some(client) = self.queue.pop_front() else {
                return;
            };
            if self.clients[client].life != Life::Lives {
                continue;
            }
            let slot_of = &mut self.slots[slot];
            slot_of.owner = Some(client);
            slot_of.server.has_failed_copy = false;
            self.clients[client].server = Some(slot);
            self.clients[client].waits = false;
            let (relay, mut io) = self.relay(client);
            relay.attach(&mut io);
            self.turn(client);
        }
    }

    pub(super) fn close(&mut self, client: usize) {
        let Client {
            server,
            server_in,
            to_server,
            ..
        } = &mut self.clients[client];
        server_in.clear();
        to_server.clear();
        if let Some(slot) = server.take() {
            self.slots[slot] = Slot::new(&self.params);
            self.closed += 1;
        }
    }

    pub(super) fn give_back(&mut self, client: usize) {
        let Client {
            server,
            hearing,
            relay,
            server_in,
            to_server,
            ..
        } = &mut self.clients[client];
        let Some(slot) = server.take() else {
            return;
        };
        let Slot {
            server,
            known,
            owner,
        } = &mut self.slots[slot];
        *owner = None;
        if server.postgres.is_dead {
            self.slots[slot] = Slot::new(&self.params);
            return;
        }
        assert!(relay.is_settled() && server_in.is_empty() && to_server.is_empty());
        assert_eq!(known.status, TxStatus::Idle);
        let log = &hearing.log;
        assert!(
            server.is_clean(),
            "{:?} {}: {log:#?}",
            server.postgres,
            show(&server.output)
        );
        let there = &server.postgres.statements;
        for (name, is_ready) in known.prepared.names() {
            assert!(
                !is_ready || there.contains_key(name),
                "it has no {}: {log:#?}",
                show(name)
            );
        }
        for name in there.keys().filter(|name| !name.is_empty()) {
            let is_known = known.prepared.names().any(|(known, _)| known == name);
            assert!(is_known, "nobody knows of {}: {log:#?}", show(name));
        }
    }
}
