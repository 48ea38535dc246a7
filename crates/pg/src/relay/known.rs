//! What is known of a server connection beyond its socket: parameters, label, statements.
//!
//! Owns the bookkeeping; each [`crate::server::Server`] carries one and lends it to the relay of
//! the session that leases it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::shape::Shape;
use super::{Label, Statement};
use crate::wire::TxStatus;

/// Settings that decide what the constants of a text mean. A server reports each of them.
const READING: [&str; 5] = [
    "client_encoding",
    "standard_conforming_strings",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
];

/// What a server reported with `ParameterStatus`, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params {
    all: Vec<(Box<str>, Box<str>)>,
    /// `standard_conforming_strings` is off.
    backslashes: bool,
    /// Tells apart what decides how a text is read.
    reading: u64,
    encoding: Encoding,
}

/// What `client_encoding` means for whoever reads the bytes of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Encoding {
    #[default]
    Utf8,
    /// Another one, in which a byte of ASCII is a character of ASCII.
    Other,
    /// One in which it may be the second half of a character: never a quote, but a backslash.
    Shifting,
}

impl Encoding {
    fn of(name: &str) -> Self {
        match name {
            "UTF8" => Self::Utf8,
            "BIG5" | "GBK" | "GB18030" | "JOHAB" | "SHIFT_JIS_2004" | "SJIS" | "UHC" => {
                Self::Shifting
            }
            _ => Self::Other,
        }
    }
}

impl Params {
    /// Of what a login saw.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(all: impl IntoIterator<Item = (N, V)>) -> Rc<Self> {
        let mut params = Self::default();
        for (name, value) in all {
            params.set(name.as_ref(), value.as_ref());
        }
        Rc::new(params)
    }

    /// Takes a report in; whether anything changed.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        let changed = self.put(name, value);
        if changed && READING.contains(&name) {
            self.read_otherwise();
        }
        changed
    }

    fn read_otherwise(&mut self) {
        let read = READING.map(|name| self.get(name));
        self.reading = BuildHasherDefault::<DefaultHasher>::default().hash_one(read);
    }

    /// A number that is the same for equal values of all that decides how a text is read: constants
    /// in it are turned into values when it is prepared, not when it is run.
    #[inline]
    pub(super) fn reading(&self) -> u64 {
        self.reading
    }

    fn put(&mut self, name: &str, value: &str) -> bool {
        match name {
            "standard_conforming_strings" => self.backslashes = value == "off",
            "client_encoding" => self.encoding = Encoding::of(value),
            _ => {}
        }
        match self.all.iter_mut().find(|(known, _)| &**known == name) {
            Some((_, known)) if &**known == value => return false,
            Some((_, known)) => *known = value.into(),
            None => self.all.push((name.into(), value.into())),
        }
        true
    }

    /// Takes a server's report in. In another encoding than UTF-8 only ASCII can be read: any other
    /// value is nobody's to tell again.
    pub fn report(&mut self, name: &str, value: &[u8]) {
        let text = std::str::from_utf8(value).ok();
        if let Some(text) = text.filter(|text| self.is_utf8() || text.is_ascii()) {
            self.set(name, text);
        } else {
            self.all.retain(|(known, _)| &**known != name);
            self.read_otherwise();
        }
    }

    /// Whether texts of the session are in UTF-8.
    #[inline]
    pub fn is_utf8(&self) -> bool {
        self.encoding == Encoding::Utf8
    }

    /// Whether in this text a backslash may be the second half of a character, which the server
    /// reads before anything else.
    #[cold]
    pub fn may_hide(&self, text: &[u8]) -> bool {
        self.encoding == Encoding::Shifting && text.contains(&b'\\') && !text.is_ascii()
    }

    /// Names and values that can be told in the session's encoding, in the order of the server.
    pub fn tellable(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_utf8 = self.is_utf8();
        self.iter()
            .filter(move |(_, value)| is_utf8 || value.is_ascii())
    }

    /// The value of a parameter; case matters.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all
            .iter()
            .find(|(known, _)| &**known == name)
            .map(|(_, value)| &**value)
    }

    /// Whether a backslash in a plain string is only a backslash.
    #[inline]
    pub fn is_conforming(&self) -> bool {
        !self.backslashes
    }

    /// Names and values in the order of the server.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// What is known of a server connection.
#[derive(Debug)]
pub struct Known {
    /// What it reported last.
    pub params: Rc<Params>,
    /// What is set on it beyond its own start values.
    pub label: Rc<Label>,
    /// The statements prepared on it.
    pub prepared: Prepared,
    /// What its last `ReadyForQuery` said.
    pub status: TxStatus,
    /// Something was left on it that nobody carried away: it must be cleaned with `DISCARD ALL`
    /// before anyone else gets it. The session that leaves does so, or closes it.
    pub soiled: bool,
    /// No client has had it yet.
    pub(super) is_new: bool,
    /// Custom settings may be set on it that the server lists nowhere, by the session of this
    /// number: for every other one all are RESET first.
    pub(super) unsure: Option<u64>,
    /// What was sent of a segment that may have to be sent again (C10).
    pub(super) replay: Vec<u8>,
}

impl Known {
    /// Of a connection that just logged in; `most` statements may be prepared on it.
    pub fn new(params: Rc<Params>, most: usize) -> Self {
        Self {
            params,
            label: Label::empty(),
            prepared: Prepared::new(most),
            status: TxStatus::Idle,
            soiled: false,
            is_new: true,
            unsure: None,
            replay: Vec::new(),
        }
    }
}

/// How a statement stands on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// It is not there.
    Absent,
    /// It is there.
    Ready,
    /// Its `Parse` was sent in this segment (a number of the session) and is not answered.
    Sent(u64),
    /// Likewise, and what takes it away again was sent behind it.
    Going(u64),
    /// It is there, but its plan is of no use any more (C10).
    Stale,
}

/// What shape its result has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nobody asked yet.
    Nothing,
    /// It is asked for.
    Asked,
    /// The server said so; `None` where it has none, or more columns than PostgreSQL allows.
    Shape(Option<Shape>),
}

#[derive(Debug)]
struct Entry {
    statement: Rc<Statement>,
    used: u64,
    stands: Stands,
    found: Found,
    /// `Parse`s that were sent and are not answered.
    unanswered: u32,
    /// When the last one was sent.
    since: Instant,
}

/// The statements prepared on one server connection, the least recently used one known.
#[derive(Debug)]
pub struct Prepared {
    entries: HashMap<u64, Entry>,
    clock: u64,
    most: usize,
}

impl Prepared {
    fn new(most: usize) -> Self {
        Self {
            entries: HashMap::new(),
            clock: 0,
            most,
        }
    }

    /// How it stands; it then counts as used.
    #[inline]
    pub(super) fn touch(&mut self, statement: &Statement) -> Stands {
        self.clock += 1;
        match self.entries.get_mut(&statement.id()) {
            Some(entry) => {
                entry.used = self.clock;
                entry.stands
            }
            None => Stands::Absent,
        }
    }

    /// Its `Parse` is sent in this segment.
    pub(super) fn sent(&mut self, statement: &Rc<Statement>, segment: u64) {
        self.clock += 1;
        let before = self.entries.get(&statement.id());
        let entry = Entry {
            statement: Rc::clone(statement),
            used: self.clock,
            stands: Stands::Sent(segment),
            found: Found::Nothing,
            unanswered: before.map_or(0, |before| before.unanswered) + 1,
            since: Instant::now(),
        };
        self.entries.insert(statement.id(), entry);
    }

    /// A `Parse` of it was answered.
    pub(super) fn is_there(&mut self, statement: &Statement) {
        let Some(entry) = self.entries.get_mut(&statement.id()) else {
            return;
        };
        entry.unanswered = entry.unanswered.saturating_sub(1);
        if entry.unanswered == 0 {
            entry.stands = match entry.stands {
                Stands::Going(_) => Stands::Stale,
                Stands::Sent(_) => Stands::Ready,
                other => other,
            };
        }
    }

    /// What takes it away was sent: it is closed before its next use, whatever comes of that.
    pub(super) fn goes(&mut self, statement: &Statement) {
        if let Some(entry) = self.entries.get_mut(&statement.id()) {
            entry.stands = match entry.stands {
                Stands::Sent(segment) | Stands::Going(segment) => Stands::Going(segment),
                _ => Stands::Stale,
            };
        }
    }

    /// Its plan turned out stale.
    pub(super) fn now(&mut self, statement: &Statement, stands: Stands) {
        if let Some(entry) = self.entries.get_mut(&statement.id()) {
            entry.stands = stands;
        }
    }

    /// What is known of its shape.
    #[inline]
    pub(super) fn found(&self, statement: &Statement) -> Found {
        let entry = self.entries.get(&statement.id());
        entry.map_or(Found::Nothing, |entry| entry.found)
    }

    /// This is known of its shape.
    pub(super) fn finds(&mut self, statement: &Statement, found: Found) {
        if let Some(entry) = self.entries.get_mut(&statement.id()) {
            entry.found = found;
        }
    }

    /// It is there, to be closed before its next use.
    pub(super) fn is_stale(&mut self, statement: &Rc<Statement>) {
        self.remove(statement);
        self.sent(statement, 0);
        self.is_there(statement);
        self.now(statement, Stands::Stale);
    }

    /// It is not prepared after all, or no more.
    pub(super) fn remove(&mut self, statement: &Statement) {
        self.entries.remove(&statement.id());
    }

    /// None is prepared any more.
    pub fn clear(&mut self) {
        self.entries = HashMap::new();
    }

    /// So many may be prepared from now on.
    pub fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// Whether another one would take the place of one that is there.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= self.most
    }

    /// Whether it was prepared longer ago.
    pub(super) fn is_older(&self, statement: &Statement, than: Duration) -> bool {
        let entry = self.entries.get(&statement.id());
        entry.is_some_and(|entry| entry.since.elapsed() > than)
    }

    /// How many are prepared.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Their names on the server, and whether they are there for certain.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let is_ready = |entry: &Entry| entry.stands == Stands::Ready;
        let entries = self.entries.values();
        entries.map(move |entry| (entry.statement.name(), is_ready(entry)))
    }

    /// Takes out those that are too many, the least recently used first (C7). Called between
    /// transactions only: to close a statement closes its portals too.
    pub(super) fn evict(&mut self) -> Vec<Rc<Statement>> {
        let excess = self.entries.len().saturating_sub(self.most);
        if excess == 0 {
            return Vec::new();
        }
        let mut oldest: Vec<_> = self
            .entries
            .iter()
            .map(|(id, one)| (one.used, *id))
            .collect();
        oldest.sort_unstable();
        oldest
            .into_iter()
            .take(excess)
            .filter_map(|(_, id)| self.entries.remove(&id))
            .map(|entry| entry.statement)
            .collect()
    }
}
