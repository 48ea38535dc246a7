//! The grammar of single commands, as far as it decides what they touch. Each looks ahead on a
//! copy of the lexer; the words of the statement are read again by `statement`.

use super::lex::{Kind, Lexer, Token};
use super::statement::{Scanner, verb};
use super::{Begin, Change, Flags, Isolation, Reset, Verb};

impl Scanner<'_> {
    /// Notes what the command touches by its name and its first words.
    pub fn command(&mut self, verb: Verb) {
        self.reads = matches!(verb, Verb::Select | Verb::Values | Verb::Table | Verb::With);
        let flags = match verb {
            Verb::Set => return self.set(),
            Verb::Reset => return self.reset(),
            Verb::Show => return self.reads = self.shows_the_same_everywhere(),
            Verb::Explain => return self.explain(),
            Verb::Begin | Verb::Start => {
                self.seen.begin = begin(self.lexer, verb);
                Flags::BEGIN
            }
            Verb::Commit | Verb::End => ending(self.lexer, Flags::COMMIT),
            Verb::Rollback | Verb::Abort => ending(self.lexer, Flags::ROLLBACK),
            Verb::Savepoint | Verb::Release => Flags::SAVEPOINT,
            Verb::Prepare => self.prepare(),
            Verb::Execute => {
                self.prepared_name(self.lexer.clone().next());
                Flags::EXECUTE
            }
            Verb::Deallocate => self.deallocate(),
            Verb::Declare => declare(self.lexer),
            Verb::Discard => return self.discard(),
            Verb::Close => Flags::CLOSE,
            Verb::Listen => Flags::LISTEN,
            Verb::Unlisten => Flags::UNLISTEN,
            Verb::Notify => Flags::NOTIFY,
            Verb::Load => Flags::LOAD,
            Verb::Do => Flags::DO | Flags::ANYTHING,
            Verb::Call => Flags::CALL | Flags::ANYTHING,
            Verb::Create | Verb::Alter => Flags::SCHEMA | database(self.lexer),
            Verb::Drop => Flags::SCHEMA | Flags::DROP | database(self.lexer),
            Verb::Import => Flags::SCHEMA,
            _ => Flags::NONE,
        };
        self.seen.flags |= flags;
    }

    fn prepare(&mut self) -> Flags {
        let mut ahead = self.lexer;
        let name = ahead.next();
        if name.is(b"transaction") && ahead.next().kind == Kind::String {
            return Flags::TWO_PHASE;
        }
        self.prepared_name(name);
        Flags::PREPARE
    }

    fn deallocate(&mut self) -> Flags {
        let mut ahead = self.lexer;
        let mut name = ahead.next();
        if name.is(b"prepare") {
            let next = ahead.next();
            if !matches!(next.kind, Kind::End | Kind::Semicolon) {
                name = next;
            }
        }
        if name.is(b"all") {
            return Flags::DEALLOCATE_ALL;
        }
        self.prepared_name(name);
        Flags::DEALLOCATE
    }

    fn prepared_name(&mut self, token: Token<'_>) {
        self.seen.prepared = folded_name(token);
        self.pooler_name(token);
    }

    /// Statements of all clients have such names on servers.
    pub fn pooler_name(&mut self, token: Token<'_>) {
        let name = folded_name(token);
        if name.is_some_and(|name| name.starts_with("canter_")) {
            self.seen.flags |= Flags::POOLERS;
        }
    }

    fn discard(&mut self) {
        let what = self.lexer.clone().next();
        self.seen.flags |= if what.is(b"all") {
            Flags::DISCARD_ALL | Flags::RESET_ALL | Flags::SETTINGS_UNKNOWN
        } else if what.is(b"plans") {
            Flags::DISCARD_PLANS
        } else if what.is(b"sequences") {
            Flags::DISCARD_SEQUENCES
        } else {
            Flags::DISCARD_TEMP
        };
    }

    /// `SHOW` of what differs between a primary and its replicas is a question to this server.
    fn shows_the_same_everywhere(&self) -> bool {
        let name = self.lexer.clone().next();
        ![&b"transaction_read_only"[..], b"in_hot_standby", b"all"]
            .iter()
            .any(|word| name.is(word))
    }

    /// `EXPLAIN [ANALYZE] [VERBOSE] statement`, `EXPLAIN (options) statement`.
    fn explain(&mut self) {
        let mut ahead = self.lexer;
        let mut token = ahead.next();
        if token.kind == Kind::Open {
            let first = ahead.next();
            if first.kind == Kind::Open || is_query(verb(first)) {
                token = first;
            } else {
                token = after_bracket(&mut ahead);
            }
        }
        while token.is(b"analyze") || token.is(b"analyse") || token.is(b"verbose") {
            token = ahead.next();
        }
        while token.kind == Kind::Open {
            token = ahead.next();
        }
        match verb(token) {
            Verb::Execute => {
                self.seen.flags |= Flags::EXECUTE;
                self.pooler_name(ahead.next());
            }
            Verb::Create => self.seen.flags |= Flags::SCHEMA,
            inner => self.reads = is_query(inner),
        }
    }

    /// `SET` and everything that may follow it.
    fn set(&mut self) {
        let mut ahead = self.lexer;
        let mut token = ahead.next();
        let mut local = false;
        if (token.is(b"local") || token.is(b"session")) && !is_assigned(ahead) {
            let next = ahead.clone().next();
            let own =
                token.is(b"session") && (next.is(b"authorization") || next.is(b"characteristics"));
            if !own {
                local = token.is(b"local");
                token = ahead.next();
            }
        }
        if !is_assigned(ahead) && (token.is(b"transaction") || token.is(b"constraints")) {
            local = true;
        }
        if local {
            self.seen.flags |= Flags::SETTINGS_LOCAL | reading(token, ahead);
            return;
        }
        if token.is(b"session") && ahead.clone().next().is(b"characteristics") {
            for name in ["isolation", "read_only", "deferrable"] {
                self.seen.setting(
                    format!("default_transaction_{name}").as_bytes(),
                    Change::Set,
                );
            }
            return;
        }
        self.named_setting(token, ahead, Change::Set);
    }

    fn reset(&mut self) {
        let mut ahead = self.lexer;
        let token = ahead.next();
        if token.is(b"all") {
            self.seen.flags |= Flags::RESET_ALL | Flags::SETTINGS_UNKNOWN;
            self.reset = Some(Reset::default());
        } else if token.is(b"transaction") && !is_assigned(ahead) {
            self.seen.flags |= Flags::SETTINGS_LOCAL;
        } else {
            self.named_setting(token, ahead, Change::Reset);
        }
    }

    /// One of the names with a grammar of their own, or any other; `DEFAULT` makes it a reset.
    fn named_setting(&mut self, token: Token<'_>, mut ahead: Lexer<'_>, mut change: Change) {
        let next = ahead.clone().next();
        let name: &[u8] = if token.is(b"time") && next.is(b"zone") {
            ahead.next();
            b"timezone"
        } else if token.is(b"session") && next.is(b"authorization") {
            ahead.next();
            b"session_authorization"
        } else if token.is(b"xml") && next.is(b"option") {
            ahead.next();
            b"xmloption"
        } else if token.is(b"names") {
            b"client_encoding"
        } else if token.is(b"schema") {
            b"search_path"
        } else {
            return self.dotted_setting(token, ahead, change);
        };
        let value = ahead.next();
        let bare = matches!(value.kind, Kind::End | Kind::Semicolon);
        if value.is(b"default") || value.is(b"local") || bare {
            change = Change::Reset;
        }
        self.changes(name, change);
    }

    fn dotted_setting(&mut self, token: Token<'_>, mut ahead: Lexer<'_>, mut change: Change) {
        let mut name = Vec::new();
        let mut part = token;
        loop {
            match part.kind {
                Kind::Word | Kind::Quoted if name.len() < NAME_MOST => {
                    name.extend_from_slice(part.identifier().unwrap_or_default());
                }
                _ => {
                    self.seen.flags |= Flags::SETTINGS_UNKNOWN;
                    return;
                }
            }
            part = ahead.next();
            if part.kind != Kind::Dot {
                break;
            }
            name.push(b'.');
            part = ahead.next();
        }
        let value = if part.is(b"to") || part.kind == Kind::Equals {
            ahead.next()
        } else {
            part
        };
        if value.is(b"default") {
            change = Change::Reset;
        }
        self.changes(&name, change);
    }

    fn changes(&mut self, name: &[u8], change: Change) {
        if change == Change::Reset
            && let Ok(name) = std::str::from_utf8(name)
        {
            self.reset = Some(Reset {
                name: Some(name.to_ascii_lowercase().into()),
                ..Reset::default()
            });
        }
        self.seen.setting(name, change);
    }

    /// `set_config(name, value, is_local)`, with the lexer behind the bracket.
    pub fn set_config(&mut self) {
        let mut ahead = self.lexer;
        let (mut name, mut name_tokens, mut simple) = (None, 0, true);
        let (mut depth, mut argument) = (0_usize, 0);
        let mut token = ahead.next();
        for _ in 0..SET_CONFIG_TOKENS {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close | Kind::Semicolon | Kind::End if depth == 0 => break,
                Kind::Close => depth -= 1,
                Kind::Comma if depth == 0 => argument += 1,
                _ => {}
            }
            if argument == 0 {
                // The name alone, or with a cast to text behind it.
                simple &= match name_tokens {
                    0 => true,
                    1 | 2 => token.text == b":",
                    _ => name_tokens == 3 && token.is(b"text"),
                };
                name = name.or(token.literal());
                name_tokens += 1;
            }
            token = ahead.next();
            if argument == 2 {
                break;
            }
        }
        if token.is(b"true") && ahead.next().kind == Kind::Close {
            let known = name.filter(|name| simple && !reads(name));
            self.seen.flags |= Flags::SETTINGS_LOCAL;
            if known.is_none() {
                self.seen.flags |= Flags::READING_LOCAL;
            }
            return;
        }
        match name {
            Some(name) if simple => self.seen.setting(name, Change::Set),
            _ => self.seen.flags |= Flags::SETTINGS_UNKNOWN,
        }
    }
}

/// Longer names are not looked at; the server truncates them at 63 bytes a part.
const NAME_MOST: usize = 200;
/// So far a `set_config` is read for its third argument; keeps a text of nested ones linear.
const SET_CONFIG_TOKENS: usize = 48;

/// Whether a word just read is the name of a setting: `SET local.x = 1`, `SET session TO ..`.
fn is_assigned(ahead: Lexer<'_>) -> bool {
    let next = ahead.clone().next();
    matches!(next.kind, Kind::Dot | Kind::Equals) || next.is(b"to")
}

/// Whether this setting decides how a text is read.
fn reads(name: &[u8]) -> bool {
    const REPORTED: [&str; 5] = [
        "timezone",
        "datestyle",
        "intervalstyle",
        "standard_conforming_strings",
        "client_encoding",
    ];
    let mut all = REPORTED.iter().chain(&READING);
    all.any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// Settings that decide what a text means when it is prepared, beside those that a server reports:
/// where names are looked for, who looks, what constants mean. In lower case.
pub const READING: [&str; 10] = [
    "array_nulls",
    "backslash_quote",
    "lc_monetary",
    "restrict_nonsystem_relation_kind",
    "role",
    "search_path",
    "session_authorization",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmloption",
];

/// `SET LOCAL` of such a setting, or of one with a grammar of its own that is such.
fn reading(token: Token<'_>, ahead: Lexer<'_>) -> Flags {
    let next = ahead.clone().next();
    let special = token.is(b"time") && next.is(b"zone")
        || token.is(b"session") && next.is(b"authorization")
        || token.is(b"xml") && next.is(b"option")
        || token.is(b"names")
        || token.is(b"schema");
    let named = token
        .identifier()
        .is_none_or(|name| reads(name) || !name.is_ascii());
    if special || named || token.kind == Kind::Unicode {
        Flags::READING_LOCAL
    } else {
        Flags::NONE
    }
}

fn is_query(verb: Verb) -> bool {
    matches!(verb, Verb::Select | Verb::Values | Verb::Table | Verb::With)
}

fn after_bracket<'t>(ahead: &mut Lexer<'t>) -> Token<'t> {
    loop {
        match ahead.next().kind {
            Kind::Close => return ahead.next(),
            Kind::Semicolon | Kind::End => {
                return Token {
                    kind: Kind::End,
                    text: &[],
                };
            }
            _ => {}
        }
    }
}

/// `COMMIT`, `ROLLBACK` and what may follow.
fn ending(mut ahead: Lexer<'_>, whole: Flags) -> Flags {
    let mut token = ahead.next();
    if token.is(b"prepared") {
        return Flags::TWO_PHASE;
    }
    if token.is(b"work") || token.is(b"transaction") {
        token = ahead.next();
    }
    if token.is(b"to") {
        return Flags::SAVEPOINT;
    }
    if token.is(b"and") && ahead.next().is(b"chain") {
        return whole | Flags::CHAIN;
    }
    whole
}

/// `DECLARE name .. CURSOR [WITH | WITHOUT HOLD] FOR`.
fn declare(mut ahead: Lexer<'_>) -> Flags {
    ahead.next();
    loop {
        let token = ahead.next();
        if token.is(b"cursor") {
            break;
        }
        if token.kind != Kind::Word {
            return Flags::CURSOR;
        }
    }
    if ahead.next().is(b"with") && ahead.next().is(b"hold") {
        return Flags::HOLD;
    }
    Flags::CURSOR
}

fn database(mut ahead: Lexer<'_>) -> Flags {
    if ahead.next().is(b"database") {
        Flags::DATABASE
    } else {
        Flags::NONE
    }
}

/// The options of a `BEGIN`, if each is known and none is given twice.
fn begin(mut ahead: Lexer<'_>, verb: Verb) -> Option<Begin> {
    let mut begin = Begin::default();
    let mut token = ahead.next();
    if token.is(b"transaction") || verb == Verb::Begin && token.is(b"work") {
        token = ahead.next();
    } else if verb == Verb::Start {
        return None;
    }
    loop {
        let once = if matches!(token.kind, Kind::End | Kind::Semicolon) {
            return Some(begin);
        } else if token.is(b"isolation") {
            begin.isolation.replace(isolation(&mut ahead)?).is_none()
        } else if token.is(b"read") {
            let what = ahead.next();
            let only = what.is(b"only");
            begin.read_only.replace(only).is_none() && (only || what.is(b"write"))
        } else if token.is(b"deferrable") {
            begin.deferrable.replace(true).is_none()
        } else if token.is(b"not") && ahead.next().is(b"deferrable") {
            begin.deferrable.replace(false).is_none()
        } else {
            false
        };
        if !once {
            return None;
        }
        token = ahead.next();
        if token.kind == Kind::Comma {
            token = ahead.next();
            if token.kind != Kind::Word {
                return None;
            }
        }
    }
}

fn isolation(ahead: &mut Lexer<'_>) -> Option<Isolation> {
    ahead.next().is(b"level").then_some(())?;
    let first = ahead.next();
    if first.is(b"serializable") {
        return Some(Isolation::Serializable);
    }
    let second = ahead.next();
    if first.is(b"repeatable") && second.is(b"read") {
        Some(Isolation::RepeatableRead)
    } else if first.is(b"read") && second.is(b"committed") {
        Some(Isolation::ReadCommitted)
    } else if first.is(b"read") && second.is(b"uncommitted") {
        Some(Isolation::ReadUncommitted)
    } else {
        None
    }
}

/// An identifier as PostgreSQL keeps it: folded unless quoted, and cut to 63 bytes.
fn folded_name(token: Token<'_>) -> Option<Box<str>> {
    let name = std::str::from_utf8(token.identifier()?).ok()?;
    let mut name = match token.kind {
        Kind::Word => name.to_ascii_lowercase(),
        Kind::Quoted => name.replace("\"\"", "\""),
        _ => return None,
    };
    while name.len() > 63 {
        name.pop();
    }
    Some(name.into())
}
