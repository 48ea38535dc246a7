//! State that the client may have touched since the server was last asked, and the question.
//!
//! Owns the SQL of the probe and reading its answer (D1 to D14). When to ask is the relay's.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::Label;
use super::label::{AUTHORIZATION, ROLE, push_text};
use crate::sql::{Change, Flags, Seen};
use crate::wire::message;

/// What may have been touched.
#[derive(Debug, Default)]
pub(super) struct Pending {
    flags: Flags,
    /// Settings by name.
    names: BTreeMap<Box<str>, How>,
    /// All settings were RESET, and the client's own were not put back yet.
    reset_all: bool,
    /// How often what takes all prepared statements away was sent and may not have been carried out.
    discards: u32,
}

/// How a setting may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// A text says so.
    Set,
    /// Back to its start value.
    Reset,
    /// The server reported another value, whoever set it: a trigger, or the end of a transaction.
    Reported,
    /// It may be the name of one.
    Guess,
}

/// Kinds of state that need the server's word afterwards.
const ASKED: Flags = Flags::ANYTHING
    .with(Flags::SETTINGS)
    .with(Flags::RESET_ALL)
    .with(Flags::ROLE)
    .with(Flags::SESSION_AUTHORIZATION)
    .with(Flags::DISCARD_ALL)
    .with(Flags::SEQUENCE_WRITE)
    .with(Flags::SEQUENCE_READ)
    .with(Flags::DISCARD_SEQUENCES)
    .with(Flags::UNASKABLE)
    .with(Flags::FOREIGN);

/// Kinds after which any setting may have changed.
const ALL_SETTINGS: Flags = Flags::SETTINGS_UNKNOWN
    .with(Flags::RESET_ALL)
    .with(Flags::DISCARD_ALL)
    .with(Flags::SESSION_AUTHORIZATION)
    .with(Flags::FUNCTION);

/// Whether a session must remember that this was run.
pub(super) fn is_noted(seen: &Seen) -> bool {
    const NOTED: Flags = ASKED
        // DEALLOCATE among them.
        .with(Flags::RELEASING)
        .with(Flags::EXECUTE)
        .with(Flags::READING_LOCAL)
        .with(Flags::DATABASE)
        .with(Flags::SCHEMA);
    seen.flags.any(NOTED)
}

/// Whether any client has ever used `currval` or `lastval`: before, one that has called `nextval`
/// gives its server up as soon as somebody waits for one.
pub(crate) fn sequences_are_read() -> bool {
    SEQUENCES_ARE_READ.get()
}

thread_local! {
    static SEQUENCES_ARE_READ: Cell<bool> = const { Cell::new(false) };
}

/// Names one client may have seen; beyond it every setting is asked for.
const MOST_NAMES: usize = 256;

/// A kind of state that keeps a session on its server: the flag, its word, how to ask.
const KINDS: [(Flags, &str, &str); 5] = [
    (
        Flags::HOLD,
        "cursor with hold",
        "SELECT 1 FROM pg_catalog.pg_cursors WHERE is_holdable",
    ),
    (
        Flags::TEMP,
        "temporary table",
        // Relations, functions, types: what DISCARD TEMP would remove, by an index.
        "SELECT 1 FROM pg_catalog.pg_depend \
         WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
         AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()",
    ),
    (
        Flags::ADVISORY,
        "advisory lock",
        "SELECT 1 FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
         AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()",
    ),
    (
        Flags::PREPARE,
        "SQL PREPARE",
        "SELECT 1 FROM pg_catalog.pg_prepared_statements WHERE from_sql",
    ),
    (
        Flags::LISTEN,
        "LISTEN",
        "SELECT 1 FROM pg_catalog.pg_listening_channels()",
    ),
];

impl Pending {
    /// Takes in what running a text may touch.
    #[inline]
    pub(super) fn add(&mut self, seen: &Seen) {
        if seen.flags.any(ASKED.with(Flags::RELEASING)) {
            self.add_slow(seen);
        }
    }

    #[cold]
    fn add_slow(&mut self, seen: &Seen) {
        self.flags = self.flags.with(seen.flags.without(Flags::FOREIGN));
        if seen.flags.any(Flags::SEQUENCE_READ) {
            SEQUENCES_ARE_READ.set(true);
        }
        self.reset_all |= seen.flags.any(Flags::RESET_ALL.with(Flags::DISCARD_ALL));
        let discards = seen
            .flags
            .any(Flags::DISCARD_ALL.with(Flags::DEALLOCATE_ALL));
        self.discards = self.discards.saturating_add(discards.into());
        for setting in &seen.settings {
            let how = match setting.change {
                Change::Set => How::Set,
                Change::Reset => How::Reset,
            };
            self.names.insert(setting.name.clone(), how);
        }
        if self.names.len() > MOST_NAMES {
            self.names.clear();
            self.flags = self.flags.with(Flags::SETTINGS_UNKNOWN);
        }
    }

    /// Takes in a text that is too long to be read.
    pub(super) fn add_anything(&mut self) {
        self.flags = self.flags.with(Flags::ANYTHING);
    }

    /// Takes in that the protocol takes away what may be a reason to stay.
    pub(super) fn add_release(&mut self, kind: Flags) {
        self.flags = self.flags.with(kind);
    }

    /// A setting was named in letters that only the server can read.
    pub(super) fn add_foreign(&mut self) {
        self.flags = self.flags.with(Flags::FOREIGN);
    }

    /// Whether the server must be asked before it is given back.
    #[inline]
    pub(super) fn is_due(&self, pins: Flags) -> bool {
        !self.flags.is_empty()
            && (self.flags.any(ASKED) || (!pins.is_empty() && self.flags.any(Flags::RELEASING)))
    }

    /// Whether nothing was touched.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.flags.is_empty()
    }

    /// Whether any of these was touched.
    #[inline]
    pub(super) fn has(&self, flags: Flags) -> bool {
        self.flags.any(flags)
    }

    /// Whether prepared statements may all be about to go.
    #[inline]
    pub(super) fn discards(&self) -> bool {
        self.discards > 0
    }

    /// They are gone.
    pub(super) fn discarded(&mut self) {
        self.discards = self.discards.saturating_sub(1);
    }

    /// Whether custom settings may be set whose names nobody knows.
    pub(super) fn is_unsure(&self) -> bool {
        self.flags
            .any(Flags::SETTINGS_UNKNOWN.with(Flags::FUNCTION))
    }

    /// Whether the names of settings may be among the parameters of a statement.
    #[inline]
    pub(super) fn wants_names(&self) -> bool {
        self.flags.any(Flags::SETTINGS_UNKNOWN)
    }

    /// Takes in what may be the name of a custom setting: the server lists none of them, so each
    /// is asked for. Asking for one that is none does no harm.
    pub(super) fn add_candidate(&mut self, value: &[u8], is_utf8: bool) {
        if !is_custom_name(value) {
            return;
        }
        if !is_utf8 && !value.is_ascii() {
            self.add_foreign();
        } else if let Ok(name) = std::str::from_utf8(value)
            && self.names.len() < MOST_NAMES
        {
            self.names
                .entry(name.to_ascii_lowercase().into())
                .or_insert(How::Guess);
        }
    }

    /// The server reported a change of a setting while it worked for the client (D1): who set it need
    /// not be seen in a text.
    pub(super) fn add_reported(&mut self, name: &str) {
        const FIXED: [&str; 4] = [
            "server_version",
            "server_encoding",
            "integer_datetimes",
            "in_hot_standby",
        ];
        if FIXED.contains(&name) {
            return;
        }
        if matches!(name, "is_superuser" | AUTHORIZATION) {
            self.flags = self.flags.with(Flags::ROLE);
            return;
        }
        self.flags = self.flags.with(Flags::SETTINGS);
        self.names
            .entry(name.to_ascii_lowercase().into())
            .or_insert(How::Reported);
    }

    /// Kinds of state that nobody can be asked about and that are there now (D12).
    pub(super) fn unaskable(&self) -> Flags {
        self.flags.only(
            Flags::UNASKABLE
                .with(Flags::SEQUENCE_WRITE)
                .with(Flags::FOREIGN),
        )
    }

    /// Whether some of a client's start-up values may be due again.
    pub(super) fn resets(&self, start: &Label) -> bool {
        self.reset_all && !start.is_empty()
            || self
                .names
                .iter()
                .any(|(name, how)| *how == How::Reset && start.get(name).is_some())
    }

    /// The SQL that gives a client its start-up role back after a RESET (D6), unless it has another
    /// one: RESET may have been rolled back. `user` is who the server logged in as. RESET ALL leaves
    /// roles alone.
    pub(super) fn restore_roles(&self, start: &Label, user: &str, out: &mut Vec<u8>) {
        for (name, none) in [(AUTHORIZATION, user), (ROLE, "none")] {
            let reset = self.names.get(name) == Some(&How::Reset);
            let (true, Some(value)) =
                (reset || self.flags.any(Flags::DISCARD_ALL), start.get(name))
            else {
                continue;
            };
            if !out.is_empty() {
                out.push(b';');
            }
            out.extend_from_slice(b"SELECT pg_catalog.set_config(");
            push_text(out, name);
            out.push(b',');
            push_text(out, value);
            out.extend_from_slice(b",false) WHERE pg_catalog.current_setting(");
            push_text(out, name);
            out.extend_from_slice(b") OPERATOR(pg_catalog.=) ");
            push_text(out, none);
        }
    }

    /// The SQL that puts them back; they then count as set.
    pub(super) fn restore(&mut self, start: &Label) -> Vec<u8> {
        let mut sql = Vec::new();
        if self.reset_all {
            start.restore(start.plain_names(), &mut sql);
        } else {
            let reset = self
                .names
                .iter()
                .filter(|(_, how)| **how == How::Reset)
                .map(|(name, _)| &**name);
            start.restore(reset, &mut sql);
        }
        self.are_restored(start);
        self.is_restored(Some(AUTHORIZATION), start);
        sql
    }

    /// The client's own start-up values, but for roles, were put back: they count as set.
    fn are_restored(&mut self, start: &Label) {
        self.reset_all = false;
        for name in start.plain_names() {
            if let Some(how) = self.names.get_mut(name) {
                *how = How::Set;
            }
        }
    }

    /// What belongs behind a RESET of this name, or of all, was sent behind it.
    pub(super) fn is_restored(&mut self, name: Option<&str>, start: &Label) {
        let Some(name) = name else {
            return self.are_restored(start);
        };
        let with: &[&str] = match name {
            AUTHORIZATION => &[AUTHORIZATION, ROLE],
            _ => &[name],
        };
        for name in with {
            if start.get(name).is_some()
                && let Some(how) = self.names.get_mut(*name)
            {
                *how = How::Set;
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The question, and what it asks. `custom` are the dotted names ever set by this client:
    /// the server does not list them. In another encoding than UTF-8 it asks for UTF-8 in ASCII.
    pub(super) fn question<'a>(
        &mut self,
        pins: Flags,
        custom: impl Iterator<Item = &'a str>,
        is_utf8: bool,
    ) -> (Vec<u8>, Asked) {
        let all = self.flags.any(ALL_SETTINGS);
        let mut parts: Vec<Vec<u8>> = Vec::new();
        if all {
            parts.push(
                b"SELECT 's',name,setting FROM pg_catalog.pg_settings \
                  WHERE source OPERATOR(pg_catalog.=) 'session'"
                    .to_vec(),
            );
            for name in custom {
                // An empty one is still set, unless all were RESET.
                let how = if self.flags.any(Flags::RESET_ALL) {
                    How::Guess
                } else {
                    How::Set
                };
                let known = self.names.entry(name.into()).or_insert(how);
                if *known == How::Guess {
                    *known = how;
                }
            }
        }
        let roles = all || self.flags.any(Flags::ROLE);
        for name in [ROLE, AUTHORIZATION].into_iter().filter(|_| roles) {
            self.names.insert(name.into(), How::Set);
        }
        for (name, how) in &self.names {
            let mut part = Vec::new();
            // A plain name that was RESET counts only while it is set for the session.
            let was_set = !matches!(how, How::Reset | How::Reported);
            if !was_set && !name.contains('.') && !is_role(name) {
                part.extend_from_slice(b"SELECT 's',");
                push_text(&mut part, name);
                part.extend_from_slice(
                    b",(SELECT setting FROM pg_catalog.pg_settings \
                       WHERE source OPERATOR(pg_catalog.=) 'session' \
                       AND pg_catalog.lower(name) OPERATOR(pg_catalog.=) ",
                );
                push_text(&mut part, name);
                part.push(b')');
            } else if !all || name.contains('.') || is_role(name) {
                // Text against the name's own type: `name` would cut long ones off.
                let set: &[u8] = match how {
                    How::Set | How::Reported => b"SELECT 's',",
                    How::Reset | How::Guess => b"SELECT 'g',",
                };
                part.extend_from_slice(set);
                push_text(&mut part, name);
                part.extend_from_slice(b",pg_catalog.current_setting(");
                push_text(&mut part, name);
                part.extend_from_slice(b",true)");
            } else {
                continue;
            }
            parts.push(part);
        }
        let asked = self.asked_kinds(pins);
        for (flag, word, sql) in KINDS {
            if asked.any(flag) {
                parts.push(format!("SELECT 'p','{word}',EXISTS({sql})::pg_catalog.text").into());
            }
        }
        let mut sql = parts.join(&b" UNION ALL "[..]);
        if !is_utf8 && !sql.is_empty() {
            sql = [
                b"SELECT k,pg_catalog.encode(pg_catalog.convert_to(n,'UTF8'),'hex'),\
                  pg_catalog.encode(pg_catalog.convert_to(v,'UTF8'),'hex') FROM (",
                &*sql,
                b") AS q(k,n,v)",
            ]
            .concat();
        }
        (sql, Asked { all, kinds: asked })
    }

    fn asked_kinds(&self, pins: Flags) -> Flags {
        let mut asked = self.flags.only(Flags::ASKABLE);
        if self.flags.any(Flags::FUNCTION) {
            asked = Flags::ASKABLE;
        }
        if self.flags.any(Flags::RELEASING.with(Flags::ANYTHING)) {
            asked = asked.with(pins.only(Flags::ASKABLE));
        }
        asked
    }
}

/// What a probe asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// Every setting, so that those not in the answer are gone.
    pub(super) all: bool,
    /// These kinds of pins.
    pub(super) kinds: Flags,
}

/// A question that was sent, and what came of it.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) sql: Vec<u8>,
    pub(super) asked: Asked,
    pub(super) answer: Answer,
    /// How often it was sent.
    pub(super) tries: u8,
}

/// What a server answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Names and values come as hexadecimal digits.
    in_hex: bool,
    settings: Vec<(Box<str>, Option<Box<str>>)>,
    /// The kinds of state there are.
    pub(super) pins: Flags,
}

impl Answer {
    /// None yet.
    pub(super) fn new(is_utf8: bool) -> Self {
        Self {
            in_hex: !is_utf8,
            ..Self::default()
        }
    }

    /// As if nothing had come yet.
    pub(super) fn forget(&mut self) {
        *self = Self::new(!self.in_hex);
    }

    /// Takes in one `DataRow`; whether it made sense.
    pub(super) fn add(&mut self, row: &[u8]) -> bool {
        if !self.in_hex {
            return message::columns(row).is_some_and(|columns| self.add_columns(&columns));
        }
        let Some((kind, rest)) = message::columns(row).and_then(|columns| {
            let (&kind, rest) = columns.split_first()?;
            Some((
                kind,
                rest.iter()
                    .map(|digits| digits.map_or(Some(None), |digits| unhex(digits).map(Some)))
                    .collect::<Option<Vec<_>>>()?,
            ))
        }) else {
            return false;
        };
        let rest = rest.iter().map(Option::as_deref);
        self.add_columns(&std::iter::once(kind).chain(rest).collect::<Vec<_>>())
    }

    fn add_columns(&mut self, columns: &[Option<&[u8]>]) -> bool {
        let text = |value: &[u8]| Some(Box::from(std::str::from_utf8(value).ok()?));
        match columns {
            [Some(tag @ (b"s" | b"g")), Some(name), value] => {
                let Some(name) = text(name) else {
                    return false;
                };
                let value = match value {
                    Some(value) => match text(value) {
                        Some(value) => Some(value),
                        None => return false,
                    },
                    None => None,
                };
                // A custom setting that was RESET is empty for ever, as is one that another client
                // had; one that was SET to nothing is what its client wants.
                let value: Option<Box<str>> = value;
                let counts = *tag == b"s" || value.as_deref() != Some("");
                self.settings.push((name, value.filter(|_| counts)));
            }
            [Some(b"p"), Some(word), Some(value)] => {
                let kind = KINDS.iter().find(|(_, known, _)| known.as_bytes() == *word);
                if let (Some((flag, _, _)), b"true") = (kind, *value) {
                    self.pins = self.pins.with(*flag);
                }
            }
            _ => return false,
        }
        true
    }

    /// The label after it. `user` is who the server logged in as.
    pub(super) fn label(&self, before: &Label, all: bool, user: &str) -> Label {
        let mut label = if all {
            Label::default()
        } else {
            before.clone()
        };
        for (name, value) in &self.settings {
            let value = value.as_deref().filter(|value| match &**name {
                ROLE => *value != "none",
                AUTHORIZATION => *value != user,
                _ => true,
            });
            label.set(name, value);
        }
        label
    }
}

/// The words for a set of kinds.
pub(super) fn words(pins: Flags) -> impl Iterator<Item = &'static str> {
    const UNASKABLE: [(Flags, &str); 6] = [
        (
            Flags::FOREIGN,
            "setting named in another encoding than UTF-8",
        ),
        (Flags::LOAD, "LOAD"),
        (Flags::SETSEED, "setseed"),
        (Flags::REPLICATION, "replication slot or origin"),
        (
            Flags::HIDDEN,
            "a function that keeps state in the server process",
        ),
        (Flags::SEQUENCE_WRITE, "sequence"),
    ];
    let asked = KINDS.iter().map(|(flag, word, _)| (*flag, *word));
    asked
        .chain(UNASKABLE)
        .filter(move |(flag, _)| pins.any(*flag))
        .map(|(_, word)| word)
}

/// The bytes that hexadecimal digits stand for.
fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    });
    bytes.collect()
}

/// Whether it is two or more identifiers with dots between: how a custom setting is called.
pub(super) fn is_custom_name(value: &[u8]) -> bool {
    const LONGEST: usize = 200;
    let is_part = |part: &[u8]| {
        let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || *b >= 0x80;
        part.first().is_some_and(|first| !first.is_ascii_digit()) && part.iter().all(fits)
    };
    value.len() <= LONGEST
        && value.contains(&b'.')
        && value.split(|byte| *byte == b'.').all(is_part)
}

/// Whether the server lists it nowhere and it must be asked for by name.
fn is_role(name: &str) -> bool {
    name == ROLE || name == AUTHORIZATION
}
