//! PostgreSQL as far as a pooler sees it: one session's state, and what each message is answered with.
//!
//! Owns the rules of the protocol (chapter "Message Flow"): errors skip up to `Sync`, COPY takes data
//! and ignores `Sync` and `Flush`, whatever else comes during COPY ends the connection.
//! Texts name who sent them (`1_2`: client 1, its message 2), and so do the answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::driver::*;
use super::prepared;
use super::settings::Settings;
use crate::wire::build;
use crate::wire::frame::Frame;
use crate::wire::message::{BindHead, Named, Parse, query_text, take_cstr};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state"
)]
pub(crate) struct Postgres {
    pub(crate) statements: BTreeMap<Vec<u8>, String>,
    /// Those of them that SQL has prepared.
    pub(super) of_sql: BTreeSet<Vec<u8>>,
    portals: BTreeMap<Vec<u8>, Portal>,
    pub(crate) settings: Settings,
    /// What runs next is cancelled.
    pub(crate) is_cancelled: bool,
    pub(super) channels: BTreeSet<String>,
    /// As they were before the transaction.
    committed: BTreeSet<String>,
    pub(super) is_open: bool,
    is_failed: bool,
    /// Outside of a block: something was run that is not committed.
    pub(super) is_amid: bool,
    pub(crate) skips: bool,
    pub(crate) copy: Option<Copy>,
    /// It ended the connection.
    pub(crate) is_dead: bool,
}

/// A statement that was bound.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Portal {
    text: String,
    parameter: String,
    /// So many rows of it were fetched.
    at: i32,
}

/// A COPY that waits for data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) table: String,
    pub(crate) is_simple: bool,
    /// Statements behind it in the same query.
    rest: VecDeque<String>,
}

pub(super) enum Ran {
    Done(Vec<u8>),
    Failed(&'static str, Vec<u8>),
    Copies(String),
}

impl Postgres {
    /// One that a client came to with these settings.
    pub(crate) fn starting_with(start: &[(&str, &str)]) -> Self {
        Self {
            settings: Settings::starting_with(start),
            ..Self::default()
        }
    }

    pub(crate) fn status(&self) -> u8 {
        match (self.is_failed, self.is_open) {
            (true, _) => b'E',
            (false, true) => b'T',
            (false, false) => b'I',
        }
    }

    /// In a transaction that failed, or in none.
    pub(crate) fn set_status(&mut self, is_failed: bool) {
        (self.is_open, self.is_failed) = (is_failed, is_failed);
        self.settings.ends(false);
        self.portals.clear();
    }

    /// Whether another client could have it: nothing is under way, nothing is left.
    pub(crate) fn is_clean(&self) -> bool {
        self.status() == b'I'
            && !self.skips
            && self.copy.is_none()
            && self.channels.is_empty()
            && self.of_sql.is_empty()
            && !self.settings.is_amid()
            && !self.is_dead
    }

    pub(crate) fn listens(&self) -> Option<&String> {
        self.channels.first()
    }

    fn fail(&mut self, code: &str, who: &str, out: &mut Vec<u8>) {
        self.is_failed |= self.is_open;
        if !self.is_open {
            self.settings.ends(false);
            self.is_amid = false;
        }
        out.extend(e(code, who));
    }

    /// The COPY under way fails: for its data, or by a cancel.
    pub(crate) fn fail_copy(&mut self, code: &str, out: &mut Vec<u8>) {
        let Some(copy) = self.copy.take() else {
            return;
        };
        self.fail(code, &copy.table, out);
        if copy.is_simple {
            self.ready(out);
        } else {
            self.skips = true;
        }
    }

    fn ready(&mut self, out: &mut Vec<u8>) {
        if self.status() == b'I' {
            self.commits();
        }
        out.extend(self.settings.tells().unwrap_or_default());
        out.extend(z(self.status()));
    }

    pub(super) fn commits(&mut self) {
        self.portals.clear();
        self.settings.ends(true);
        self.is_amid = false;
    }

    /// Reads one message.
    pub(crate) fn read(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) {
        if self.copy.is_some() {
            return self.read_copy(tag, body, out);
        }
        match tag {
            b'S' => {
                self.skips = false;
                self.ready(out);
            }
            b'X' => self.is_dead = true,
            b'H' | b'd' | b'c' | b'f' => {}
            _ if self.skips => {}
            b'Q' => {
                self.statements.remove(&b""[..]);
                self.portals.remove(&b""[..]);
                let text = std::str::from_utf8(query_text(body).unwrap()).unwrap();
                let texts = text.split(';').map(|text| text.trim().to_owned());
                self.run_all(texts.filter(|text| !text.is_empty()).collect(), out);
            }
            b'F' => {
                if self.is_failed {
                    self.fail("25P02", "", out);
                } else {
                    out.extend(message(b'V', b"\0\0\0\x01v"));
                }
                self.ready(out);
            }
            _ => {
                if let Err((code, who)) = self.step(tag, body, out) {
                    self.fail(code, &who, out);
                    self.skips = true;
                }
            }
        }
    }

    fn read_copy(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) {
        match tag {
            b'd' if body.starts_with(b"bad") => self.fail_copy("22P02", out),
            b'd' | b'S' | b'H' => {}
            b'c' => {
                let Some(copy) = self.copy.take() else {
                    return;
                };
                out.extend(c(&format!("COPY {}", copy.table)));
                if copy.is_simple {
                    self.run_all(copy.rest, out);
                }
            }
            b'f' => self.fail_copy("57014", out),
            _ => {
                out.extend(message(
                    b'E',
                    b"SFATAL\0VFATAL\0C08P01\0Msynchronization was lost\0\0",
                ));
                self.is_dead = true;
            }
        }
    }

    fn run_all(&mut self, mut texts: VecDeque<String>, out: &mut Vec<u8>) {
        self.is_amid |= texts.len() > 1;
        if texts.is_empty() {
            out.extend_from_slice(build::EMPTY_QUERY);
        }
        while let Some(text) = texts.pop_front() {
            match self.run(&text, "") {
                Ran::Done(done) => out.extend(done),
                Ran::Failed(code, before) => {
                    out.extend(before);
                    self.fail(code, who(&text), out);
                    break;
                }
                Ran::Copies(table) => {
                    out.extend(message(b'G', b"\0\0\0"));
                    self.copy = Some(Copy {
                        table,
                        is_simple: true,
                        rest: texts,
                    });
                    return;
                }
            }
        }
        self.ready(out);
    }

    pub(super) fn run(&mut self, text: &str, parameter: &str) -> Ran {
        let words: Vec<_> = text.split_whitespace().collect();
        let who = who(text);
        match words[..] {
            ["rollback", "to", name] | ["release" | "savepoint", name]
                if !self.is_failed || words.len() == 3 =>
            {
                return self.run_savepoint(words[0], name);
            }
            ["commit" | "rollback" | "COMMIT" | "ROLLBACK"] => {
                let failed = std::mem::take(&mut self.is_failed);
                let was_open = std::mem::take(&mut self.is_open);
                self.portals.clear();
                self.is_amid = false;
                let commits = !failed && text.eq_ignore_ascii_case("commit");
                self.settings.ends(commits);
                if !commits && was_open {
                    self.channels = std::mem::take(&mut self.committed);
                }
                return Ran::Done(c(if commits { "COMMIT" } else { "ROLLBACK" }));
            }
            _ if self.is_failed => return Ran::Failed("25P02", Vec::new()),
            _ => self.settings.begins(),
        }
        match words[..] {
            ["begin" | "BEGIN"] => {
                if !self.is_open {
                    self.committed = self.channels.clone();
                }
                self.is_open = true;
                return Ran::Done(c("BEGIN"));
            }
            ["hang", _] if self.is_cancelled => return Ran::Failed("57014", Vec::new()),
            ["fail", _] => return Ran::Failed("22012", Vec::new()),
            ["copy", table, direction, _] => return Self::run_copy(table, direction, who),
            ["listen", channel] => {
                self.channels.insert(channel.to_owned());
                return Ran::Done(c("LISTEN"));
            }
            ["unlisten", _] => {
                self.channels.clear();
                return Ran::Done(c("UNLISTEN"));
            }
            _ => {}
        }
        if let Some(ran) = self.run_prepared(text) {
            return ran;
        }
        let kept = [
            ("LISTEN", !self.channels.is_empty()),
            ("SQL PREPARE", !self.of_sql.is_empty()),
        ];
        if let Some(done) = self.settings.run(text, &kept) {
            return Ran::Done(done);
        }
        let is_known = ["select '", "hang ", "rows "]
            .iter()
            .any(|word| text.starts_with(word));
        if text.contains("superuser_reserved") {
            let limits = ["100", "3", "0", "0", "-1", "0", "-1", "0"];
            return Ran::Done([row(&limits), c("SELECT 1")].concat());
        }
        assert!(is_known, "{text}");
        Ran::Done(
            [
                row(&[who, parameter, &self.settings.shown()]),
                c(&format!("SELECT {who} {parameter}")),
            ]
            .concat(),
        )
    }

    fn run_copy(table: &str, direction: &str, who: &str) -> Ran {
        let fails = table.starts_with('m');
        if direction == "from" {
            return if fails {
                Ran::Failed("42P01", Vec::new())
            } else {
                Ran::Copies(table[1..].to_owned())
            };
        }
        let begun = [message(b'H', b"\0\0\0"), message(b'd', who.as_bytes())].concat();
        if fails {
            return Ran::Failed("22012", begun);
        }
        let done = [message(b'c', b""), c(&format!("COPY {who}"))].concat();
        Ran::Done([begun, done].concat())
    }

    fn run_savepoint(&mut self, verb: &str, name: &str) -> Ran {
        if !self.is_open {
            return Ran::Failed("25P01", Vec::new());
        }
        let is_there = match verb {
            "savepoint" => {
                self.settings.saves(name);
                true
            }
            _ => self.settings.returns_to(name, verb == "release"),
        };
        if !is_there {
            return Ran::Failed("3B001", Vec::new());
        }
        self.is_failed = false;
        Ran::Done(c(&verb.to_ascii_uppercase()))
    }

    fn describe(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), (&'static str, String)> {
        let nothing = |code| (code, String::new());
        match Named::decode(body).unwrap() {
            Named::Statement(name) => {
                let text = self.statements.get(name).ok_or(nothing("26000"))?;
                if self.is_failed && !is_end(text) {
                    return Err(nothing("25P02"));
                }
                out.extend_from_slice(build::NO_PARAMETERS);
                out.extend(prepared::shape(text));
            }
            Named::Portal(name) => {
                let portal = self.portals.get(name).ok_or(nothing("34000"))?;
                out.extend(prepared::shape(&portal.text));
            }
        }
        Ok(())
    }

    fn execute(
        &mut self,
        mut body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), (&'static str, String)> {
        let nothing = |code| (code, String::new());
        let portal = take_cstr(&mut body).unwrap();
        if !self.is_failed {
            self.settings.begins();
        }
        let found = self.portals.get_mut(portal).ok_or(nothing("34000"))?;
        let most = i32::from_be_bytes(body.try_into().unwrap());
        if let Some(tag) = found.text.clone().strip_prefix("rows ")
            && !self.is_failed
        {
            found.fetch(tag, most, &self.settings, out);
            self.is_amid = true;
            return Ok(());
        }
        let (text, parameter) = (found.text.clone(), found.parameter.clone());
        let ran = self.run(&text, &parameter);
        self.is_amid |= self.settings.is_amid();
        match ran {
            Ran::Done(done) => out.extend(done),
            Ran::Failed(code, before) => {
                out.extend(before);
                return Err((code, who(&text).to_owned()));
            }
            Ran::Copies(table) => {
                out.extend(message(b'G', b"\0\0\0"));
                self.copy = Some(Copy {
                    table,
                    is_simple: false,
                    rest: VecDeque::new(),
                });
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        tag: u8,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), (&'static str, String)> {
        let nothing = |code| (code, String::new());
        match tag {
            b'P' => {
                let parse = Parse::decode(body).unwrap();
                let text = std::str::from_utf8(parse.text).unwrap();
                if parse.name.is_empty() {
                    self.statements.remove(&b""[..]);
                }
                if self.is_failed && !is_end(text) {
                    return Err(nothing("25P02"));
                }
                if text.starts_with("bad") {
                    return Err(("42601", who(text).to_owned()));
                }
                if self.statements.contains_key(parse.name) {
                    return Err(nothing("42P05"));
                }
                self.statements.insert(parse.name.to_vec(), text.to_owned());
                out.extend_from_slice(PARSED);
            }
            b'B' => {
                let head = BindHead::decode(body).unwrap();
                let text = self.statements.get(head.statement);
                let text = text.ok_or(nothing("26000"))?.clone();
                if self.is_failed && !is_end(&text) {
                    return Err(nothing("25P02"));
                }
                if !head.portal.is_empty() && self.portals.contains_key(head.portal) {
                    return Err(nothing("42P03"));
                }
                // One parameter or none behind no formats, and no formats behind it.
                let parameter = &body[head.length + 2..body.len() - 2];
                let parameter = parameter.get(6..).unwrap_or_default();
                let parameter = String::from_utf8(parameter.to_vec()).unwrap();
                let portal = Portal {
                    text,
                    parameter,
                    at: 0,
                };
                self.portals.insert(head.portal.to_vec(), portal);
                out.extend_from_slice(BOUND);
            }
            b'D' => self.describe(body, out)?,
            b'C' => {
                match Named::decode(body).unwrap() {
                    Named::Statement(name) => drop(self.forget(name)),
                    Named::Portal(name) => drop(self.portals.remove(name)),
                }
                out.extend_from_slice(CLOSED);
            }
            b'E' => self.execute(body, out)?,
            other => panic!("{other}"),
        }
        Ok(())
    }
}

impl Portal {
    /// The next of its three rows.
    fn fetch(&mut self, tag: &str, most: i32, settings: &Settings, out: &mut Vec<u8>) {
        let left = 3 - self.at;
        let count = if most > 0 { most.min(left) } else { left };
        for _ in 0..count {
            self.at += 1;
            let number = self.at.to_string();
            out.extend(row(&[tag, &self.parameter, &number, &settings.shown()]));
        }
        if most > 0 && count == most {
            out.extend(message(b's', b""));
        } else {
            out.extend(c(&format!("SELECT {count}")));
        }
    }
}

/// Whether it may run in a transaction that failed.
fn is_end(text: &str) -> bool {
    matches!(text, "commit" | "rollback") || text.starts_with("rollback to ")
}

/// Who sent a text, if it says so.
pub(crate) fn who(text: &str) -> &str {
    let is_part = |b: char| b.is_ascii_digit() || b == '_';
    let parts = text.split(|b| !is_part(b));
    let is_tag = |part: &&str| {
        part.split_once('_')
            .is_some_and(|(client, _)| !client.is_empty())
    };
    parts.into_iter().find(is_tag).unwrap_or_default()
}

/// A server at the other end of a connection: answers when it is called for.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) postgres: Postgres,
    /// What was sent to it and is not read yet.
    pub(crate) input: Vec<u8>,
    held: Vec<u8>,
    /// What it said and nobody has heard yet.
    pub(crate) output: Vec<u8>,
    /// A COPY has failed since somebody got it.
    pub(crate) has_failed_copy: bool,
}

impl Server {
    /// A message is there to be read.
    pub(crate) fn can_read(&self) -> bool {
        let frame = Frame::decode(&self.input).unwrap();
        !self.postgres.is_dead && frame.is_some_and(|frame| frame.body_of(&self.input).is_some())
    }

    /// The next message.
    pub(crate) fn next(&self) -> &[u8] {
        let frame = Frame::decode(&self.input).unwrap();
        frame.map_or(&[], |frame| &self.input[..frame.total()])
    }

    /// The next message is what a COPY that failed has left unread.
    pub(crate) fn ignores_next(&self) -> bool {
        self.postgres.copy.is_none()
            && matches!(self.input.first(), Some(b'd' | b'c' | b'f' | b'H'))
    }

    /// Between transactions others may be heard of.
    pub(crate) fn may_notify(&self) -> bool {
        let postgres = &self.postgres;
        self.held.is_empty()
            && postgres.copy.is_none()
            && postgres.status() == b'I'
            && !postgres.is_dead
    }

    /// Reads one message.
    pub(crate) fn read(&mut self, owner: Option<usize>) {
        let frame = Frame::decode(&self.input).unwrap().unwrap();
        let body = frame.body_of(&self.input).unwrap().to_vec();
        self.input.drain(..frame.total());
        // What a COPY that failed has left unread is ignored, whosever turn it is.
        let is_ignored = self.postgres.copy.is_none() && matches!(frame.tag, b'd' | b'c' | b'f');
        for who in tags(&body) {
            assert!(
                is_ignored || Some(who) == owner,
                "of {who} on the server of {owner:?}: {}",
                show(&body)
            );
        }
        let (was_skipping, was_copying) = (self.postgres.skips, self.postgres.copy.is_some());
        self.postgres.read(frame.tag, &body, &mut self.held);
        let copies = self.postgres.copy.is_some();
        self.has_failed_copy |= was_copying && !copies && frame.tag != b'c';
        let calls = matches!(frame.tag, b'S' | b'Q' | b'F' | b'H') || self.postgres.is_dead;
        if calls || was_copying || copies || self.postgres.skips != was_skipping {
            self.output.append(&mut self.held);
        }
    }

    pub(crate) fn cancel(&mut self, owner: Option<usize>) {
        if self.postgres.copy.is_none() && self.can_read() {
            self.postgres.is_cancelled = true;
            self.read(owner);
            self.postgres.is_cancelled = false;
        } else if self.postgres.copy.is_some() && !self.postgres.is_dead {
            self.has_failed_copy = true;
            self.postgres.fail_copy("57014", &mut self.held);
            self.output.append(&mut self.held);
        }
    }

    /// Nothing is under way and nobody left anything. What a COPY that failed has not read is ignored.
    pub(crate) fn is_clean(&self) -> bool {
        self.is_clean_behind(&[])
    }

    /// The same with bytes that have arrived and were not taken yet.
    pub(crate) fn is_clean_behind(&self, arrived: &[u8]) -> bool {
        let input = [&self.input, arrived].concat();
        let mut input = &input[..];
        while let Some(frame) = Frame::decode(input).unwrap() {
            if !matches!(frame.tag, b'd' | b'c' | b'f' | b'H') || input.len() < frame.total() {
                return false;
            }
            input = &input[frame.total()..];
        }
        input.is_empty()
            && self.held.is_empty()
            && self.output.is_empty()
            && self.postgres.is_clean()
    }
}

/// The clients that are named in a message.
pub(crate) fn tags(body: &[u8]) -> Vec<usize> {
    let text = String::from_utf8_lossy(body);
    let parts = text.split(|b: char| !b.is_ascii_digit() && b != '_');
    let named = parts.filter_map(|part| part.split_once('_'));
    named
        .filter_map(|(client, _)| client.parse().ok())
        .collect()
}
