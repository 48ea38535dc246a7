//! What a client of the crowd hears must be what PostgreSQL would say to it alone.
//!
//! Owns following that message by message. Where PostgreSQL may say one thing or another (a COPY that
//! is cancelled before or after it has read a `Sync`), all of them are followed.

use std::collections::VecDeque;

use super::super::driver::*;
use super::postgres::{Postgres, tags};
use crate::wire::Diagnostic;
use crate::wire::frame::Frame;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    /// This message.
    This(u8, Vec<u8>),
    /// Some error.
    AnyError,
}

/// One way in which it may have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
struct World {
    /// So many of the client's messages were read.
    read: usize,
    postgres: Postgres,
    /// As it was before the last of them.
    before: Postgres,
    due: VecDeque<Due>,
    /// The transaction state that the client was told last.
    told: u8,
    /// The server was lost and what had been sent to it is answered with errors.
    is_losing: bool,
    /// One of those was a COPY whose `Sync` may have been thrown away.
    lost_copy: bool,
    /// The transaction was lost with it.
    is_in_limbo: bool,
    /// No row has come since: what was told of parameters was the lost server's.
    has_lost: bool,
    /// Servers die in this run.
    may_lose: bool,
}

pub(crate) struct Hearing {
    client: usize,
    sent: Vec<(u8, Vec<u8>)>,
    worlds: Vec<World>,
    /// The time zone that it was told.
    timezone: String,
    /// The pooler may refuse what it has no server for.
    pub(crate) may_refuse: bool,
    /// Nothing more is to come: its session was ended.
    pub(crate) is_ended: bool,
    /// Errors of the pooler's own.
    pub(crate) losses: u32,
    pub(crate) log: Vec<String>,
}

/// Codes that the pooler says of a server that is gone.
const LOST: [&[u8; 5]; 3] = [b"08006", b"08P01", b"57P01"];

/// Codes that the pooler refuses a statement with when it has no server for it.
const REFUSED: [&[u8; 5]; 4] = [b"57014", b"53300", b"08006", b"57P03"];

fn copies((_, body): &(u8, Vec<u8>)) -> bool {
    body.windows(5).any(|part| part == b"stdin")
}

fn due_of(bytes: &[u8]) -> VecDeque<Due> {
    let mut due = VecDeque::new();
    let mut rest = bytes;
    while let Some(frame) = Frame::decode(rest).unwrap() {
        let body = frame.body_of(rest).unwrap().to_vec();
        if frame.tag != b'S' || body.is_empty() {
            due.push_back(Due::This(frame.tag, body));
        }
        rest = &rest[frame.total()..];
    }
    due
}

fn is_same(due: &Due, tag: u8, body: &[u8]) -> bool {
    match due {
        Due::AnyError => tag == b'E',
        Due::This(b'E', expected) => {
            let (expected, got) = (Diagnostic(expected), Diagnostic(body));
            tag == b'E' && expected.code() == got.code() && tags(expected.0) == tags(got.0)
        }
        Due::This(of, expected) => *of == tag && expected == body,
    }
}

impl Hearing {
    pub(crate) fn new(client: usize, may_lose: bool, start: &[(&str, &str)]) -> Self {
        let postgres = Postgres::starting_with(start);
        let world = World {
            read: 0,
            postgres: postgres.clone(),
            before: postgres,
            due: VecDeque::new(),
            told: b'I',
            is_losing: false,
            lost_copy: false,
            is_in_limbo: false,
            has_lost: false,
            may_lose,
        };
        Self {
            client,
            timezone: world.postgres.settings.timezone(),
            may_refuse: false,
            is_ended: false,
            sent: Vec::new(),
            worlds: vec![world],
            losses: 0,
            log: Vec::new(),
        }
    }

    /// The client says this.
    pub(crate) fn says(&mut self, bytes: &[u8]) {
        self.log.push(format!("says {}", show(bytes)));
        let said = due_of(bytes).into_iter().map(|due| match due {
            Due::This(tag, body) => (tag, body),
            Due::AnyError => unreachable!(),
        });
        self.sent.extend(said);
    }

    /// The client hears this.
    pub(crate) fn hears(&mut self, tag: u8, body: &[u8]) {
        self.log
            .push(format!("hears {} {}", char::from(tag), show(body)));
        for client in tags(body) {
            assert_eq!(
                client,
                self.client,
                "another's {}: {:#?}",
                show(body),
                self.log
            );
        }
        assert!(!self.is_ended, "more after the end: {:#?}", self.log);
        if tag == b'S'
            && let Some(value) = body.strip_prefix(b"TimeZone\0")
        {
            let value = value.strip_suffix(b"\0").unwrap();
            self.timezone = String::from_utf8(value.to_vec()).unwrap();
        }
        if matches!(tag, b'N' | b'A' | b'S') {
            return;
        }
        if tag == b'E' && body.starts_with(b"SFATAL\0") {
            let code = Diagnostic(body).code();
            let may_end = self.may_lose();
            let is_known = LOST.contains(&&code) && may_end || self.has_copied();
            assert!(is_known, "it is ended with {}: {:#?}", show(body), self.log);
            self.is_ended = true;
            return;
        }
        let is_loss = tag == b'E' && LOST.contains(&&Diagnostic(body).code());
        self.losses += u32::from(is_loss);
        let mut next = Vec::new();
        for world in std::mem::take(&mut self.worlds) {
            if self.may_refuse && tag == b'E' && REFUSED.contains(&&Diagnostic(body).code()) {
                world.clone().refuses(&self.sent, (tag, body), &mut next);
            }
            world.explore(&self.sent, (tag, body), is_loss, &mut next);
        }
        if tag == b'Z' {
            let knows = |world: &World| {
                world.is_in_limbo
                    || world.is_losing
                    || world.has_lost
                    || world.postgres.settings.was_reset
                    || world.postgres.settings.timezone() == self.timezone
            };
            let is_any = !next.is_empty();
            next.retain(knows);
            assert!(
                !is_any || !next.is_empty(),
                "it was told {}: {:#?}",
                self.timezone,
                self.log
            );
        }
        let mut worlds: Vec<World> = Vec::new();
        for world in next {
            if !worlds.contains(&world) {
                worlds.push(world);
            }
        }
        assert!(
            !worlds.is_empty(),
            "nobody would say {} {}: {:#?}",
            char::from(tag),
            show(body),
            self.log
        );
        self.worlds = worlds;
    }

    /// What comes before the first `ReadyForQuery`.
    pub(crate) fn is_greeted_with(&mut self, tag: u8, body: &[u8]) {
        let name = b"TimeZone\0";
        if tag == b'S' && body.starts_with(name) {
            let expected = self.worlds[0].postgres.settings.timezone();
            let value = body[name.len()..].strip_suffix(b"\0");
            assert_eq!(value, Some(expected.as_bytes()), "{:#?}", self.log);
        }
    }

    /// Whether servers die in this run.
    pub(crate) fn may_lose(&self) -> bool {
        self.worlds.iter().any(|world| world.may_lose)
    }

    /// Whether there may have been a COPY from it.
    pub(crate) fn has_copied(&self) -> bool {
        self.sent.iter().any(copies)
    }

    /// All that it said is answered.
    pub(crate) fn is_over(&self) -> bool {
        let mut worlds = self.worlds.clone();
        worlds.iter_mut().any(|world| world.runs_dry(&self.sent))
    }
}

impl World {
    fn explore(
        mut self,
        sent: &[(u8, Vec<u8>)],
        heard: (u8, &[u8]),
        is_loss: bool,
        next: &mut Vec<Self>,
    ) {
        let (tag, body) = heard;
        if is_loss {
            self.clone().loses(sent, next);
        }
        if let Some(due) = self.due.front() {
            if is_same(due, tag, body) {
                self.due.pop_front();
                self.has_lost |= self.is_losing || self.is_in_limbo;
                self.has_lost &= tag != b'D';
                self.postgres.settings.was_reset &= tag != b'D';
                if tag == b'Z' {
                    self.told = body[0];
                }
                next.push(self);
            }
            return;
        }
        if tag == b'E' && self.postgres.copy.is_some() {
            let mut cancelled = self.clone();
            let mut out = Vec::new();
            cancelled.postgres.fail_copy("57014", &mut out);
            cancelled.due = due_of(&out);
            cancelled.explore(sent, heard, false, next);
        }
        for world in self.reads(sent) {
            world.explore(sent, heard, is_loss, next);
        }
    }

    /// What may come of its reading one more message.
    fn reads(mut self, sent: &[(u8, Vec<u8>)]) -> Vec<Self> {
        let Some((tag, body)) = sent.get(self.read) else {
            return Vec::new();
        };
        self.read += 1;
        let mut worlds = Vec::new();
        if self.is_losing {
            let mut another = self.clone();
            (another.is_losing, another.lost_copy) = (false, false);
            another.read -= 1;
            worlds.append(&mut another.reads(sent));
            if *tag == b'S' && self.lost_copy {
                worlds.push(self.clone());
            }
            self.lost_copy &= !matches!(tag, b'c' | b'f');
            self.answers_lost(*tag, false);
            worlds.push(self);
            return worlds;
        }
        if self.is_in_limbo {
            self.reads_in_limbo(*tag, body, &mut worlds);
            return worlds;
        }
        if self.may_lose && self.told != b'I' {
            // The server was lost before this message, without a word.
            let mut lost = self.clone();
            lost.postgres.copy = None;
            lost.postgres.forget_of_sql();
            lost.postgres.set_status(true);
            lost.is_in_limbo = true;
            lost.reads_in_limbo(*tag, body, &mut worlds);
        }
        self.before = self.postgres.clone();
        if matches!(tag, b'Q' | b'E') {
            // It may be cancelled.
            let mut cancelled = self.clone();
            let mut out = Vec::new();
            cancelled.postgres.is_cancelled = true;
            cancelled.postgres.read(*tag, body, &mut out);
            cancelled.postgres.is_cancelled = false;
            cancelled.due = due_of(&out);
            let is_error = |due: &Due| matches!(due, Due::This(b'E', body) if Diagnostic(body).code() == *b"57014");
            if cancelled.due.iter().any(is_error) {
                worlds.push(cancelled);
            }
        }
        let mut out = Vec::new();
        self.postgres.read(*tag, body, &mut out);
        self.due = due_of(&out);
        if self.postgres.is_dead {
            // The pooler says it in its own words.
            self.due.clear();
            self.postgres = self.before.clone();
            self.read -= 1;
            return worlds;
        }
        worlds.push(self);
        worlds
    }

    /// There is no server for a message, and it is refused.
    fn refuses(mut self, sent: &[(u8, Vec<u8>)], heard: (u8, &[u8]), next: &mut Vec<Self>) {
        if self.told == b'E' || self.is_losing || self.is_in_limbo {
            return;
        }
        while self.due.is_empty()
            && let Some((tag, _)) = sent.get(self.read)
        {
            self.read += 1;
            if matches!(tag, b'H' | b'd' | b'c' | b'f') || self.postgres.skips && *tag != b'S' {
                continue;
            }
            // Or what was before it is answered without a word.
            let mut later = self.clone();
            later.read -= 1;
            for world in later.reads(sent) {
                if world.due.is_empty() {
                    world.refuses(sent, heard, next);
                }
            }
            if self.told == b'T' {
                // The BEGIN went nowhere yet, and its transaction fails.
                self.is_in_limbo = true;
                self.postgres.set_status(true);
            }
            self.answers_lost(*tag, false);
            self.explore(sent, heard, false, next);
            return;
        }
    }

    /// A message that went down with its server.
    fn answers_lost(&mut self, tag: u8, was_told: bool) {
        let ready = Due::This(b'Z', vec![self.postgres.status()]);
        match tag {
            b'H' | b'd' | b'c' | b'f' => {}
            _ if self.postgres.skips && tag != b'S' => {}
            b'Q' | b'F' | b'S' => {
                if !was_told && !self.postgres.skips {
                    self.due.push_back(Due::AnyError);
                }
                self.postgres.skips = false;
                self.due.push_back(ready);
            }
            _ => {
                self.postgres.skips = true;
                if !was_told {
                    self.due.push_back(Due::AnyError);
                }
            }
        }
    }

    /// The error is heard that says that the server is gone.
    fn loses(mut self, sent: &[(u8, Vec<u8>)], next: &mut Vec<Self>) {
        let copy = self.postgres.copy.take();
        let last = self.read.checked_sub(1).and_then(|last| sent.get(last));
        let (mut tag, is_new) = match (&self.due.is_empty(), last) {
            (false, Some((tag, _))) => (*tag, false),
            _ if copy.is_some() => (b'd', false),
            _ => match sent.get(self.read) {
                Some((tag, _)) => (*tag, true),
                // Its segment has no end yet.
                None => (b'E', false),
            },
        };
        if !self.due.is_empty() {
            self.postgres = self.before.clone();
            self.postgres.copy = None;
        }
        self.postgres.forget_of_sql();
        if is_new && last.is_some_and(|(tag, _)| !matches!(tag, b'S' | b'Q' | b'F')) {
            // Or a segment that has no end yet, all of which was answered.
            let mut open = self.clone();
            open.is_losing = true;
            open.is_in_limbo = open.told != b'I';
            open.postgres.set_status(open.is_in_limbo);
            open.postgres.skips = true;
            next.push(open);
        }
        if is_new {
            self.read += 1;
            if matches!(tag, b'H' | b'd' | b'c' | b'f') {
                return self.loses(sent, next);
            }
        }
        if let Some(copy) = &copy {
            tag = if copy.is_simple { b'Q' } else { b'E' };
        } else if self.before.copy.is_some() && !is_new {
            tag = if self.before.copy.as_ref().is_some_and(|copy| copy.is_simple) {
                b'Q'
            } else {
                b'E'
            };
        }
        // Such a Sync may have been thrown away as ignored.
        self.lost_copy = sent[..self.read].iter().any(copies);
        if self.lost_copy && is_new && tag == b'S' {
            self.clone().loses(sent, next);
        }
        self.due.clear();
        self.is_losing = true;
        self.is_in_limbo = self.told != b'I';
        self.postgres.set_status(self.is_in_limbo);
        self.answers_lost(tag, true);
        next.push(self);
    }

    /// The pooler plays a transaction that failed.
    fn reads_in_limbo(mut self, tag: u8, body: &[u8], worlds: &mut Vec<Self>) {
        self.has_lost = true;
        let ready = |status| Due::This(b'Z', vec![status]);
        let done = due_of(&c("ROLLBACK")).remove(0).unwrap();
        let is_end = body.starts_with(b"commit\0") || body.starts_with(b"rollback\0");
        match tag {
            b'Q' if body == b"\0" && !self.postgres.skips => {
                self.due = due_of(&[crate::wire::build::EMPTY_QUERY, &z(b'E')].concat());
            }
            _ if self.postgres.skips && tag != b'S' => {}
            b'Q' if is_end => {
                self.is_in_limbo = false;
                self.postgres.set_status(false);
                self.due.extend([done, ready(b'I')]);
            }
            b'Q' | b'F' => self.due.extend([Due::AnyError, ready(b'E')]),
            b'S' => {
                self.postgres.skips = false;
                self.due.push_back(ready(b'E'));
            }
            b'P' | b'B' | b'D' | b'E' | b'C' => {
                let mut fails = self.clone();
                fails.postgres.skips = true;
                fails.due.push_back(Due::AnyError);
                worlds.push(fails);
                // As PostgreSQL would, or as in a portal that nobody has seen.
                let mut out = Vec::new();
                let ends = tag == b'E';
                self.postgres.read(tag, body, &mut out);
                self.due = due_of(&out);
                if ends {
                    self.postgres.skips = false;
                    self.is_in_limbo = false;
                    self.postgres.set_status(false);
                    self.due = [done].into();
                }
            }
            _ => {}
        }
        worlds.push(self);
    }

    /// Whether it can read all that was sent without a word.
    fn runs_dry(&mut self, sent: &[(u8, Vec<u8>)]) -> bool {
        if !self.due.is_empty() {
            return false;
        }
        if self.read == sent.len() {
            return true;
        }
        self.clone()
            .reads(sent)
            .iter_mut()
            .any(|world| world.runs_dry(sent))
    }
}
