//! One pass over the tokens of a text: where statements begin and end, which calls and words in
//! them matter, and where the whole may run. Leaves the grammar of single commands to `command`.

use super::lex::{Kind, Lexer, Token};
use super::words::{self, Call};
use super::{Flags, Reset, Route, Seen, Verb};

/// A scan under way.
pub struct Scanner<'t> {
    pub lexer: Lexer<'t>,
    pub seen: Seen,
    /// Whether the statement may run on a replica, as far as it was read.
    pub reads: bool,
    /// The setting that the statement puts back, or all.
    pub reset: Option<Reset>,
    /// Whether it calls functions that nobody knows.
    calls: bool,
    verb: Verb,
    brackets: u32,
    /// How many `END` are due in the body of a function in SQL (`BEGIN ATOMIC`).
    bodies: u32,
    previous: Token<'t>,
    place: Place,
}

/// What a statement has held so far.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The kinds of the last tokens, four bits each, the last one lowest.
    kinds: u64,
    /// The last dot follows a schema other than `pg_catalog`.
    other_schema: bool,
    updates: bool,
    pg_settings: bool,
}

/// In `Place::kinds`: a keyword after which the name of a relation or an alias comes.
const DUE: u64 = 15;

impl Place {
    #[inline]
    fn push(&mut self, kind: Kind) {
        self.kinds = self.kinds << 4 | kind as u64;
    }

    /// Whether the identifier just read is qualified with a schema that is not PostgreSQL's own.
    fn elsewhere(&self) -> bool {
        self.kinds >> 4 & 15 == Kind::Dot as u64 && self.other_schema
    }

    /// Whether the identifier just read names a relation or an alias, so that a bracket after it
    /// makes no call. Nothing but a keyword or an alias can follow a closing bracket.
    fn is_relation(&self) -> bool {
        let mut kinds = self.kinds >> 4;
        while kinds & 15 == Kind::Dot as u64 {
            kinds >>= 8;
        }
        kinds & 15 == DUE || kinds & 15 == Kind::Close as u64
    }
}

impl<'t> Scanner<'t> {
    pub fn new(text: &'t [u8], conforming: bool) -> Self {
        let lexer = Lexer::new(text, conforming);
        let previous = Token {
            kind: Kind::End,
            text: &[],
        };
        Self {
            lexer,
            seen: Seen::default(),
            reads: false,
            reset: None,
            calls: false,
            verb: Verb::Other,
            brackets: 0,
            bodies: 0,
            previous,
            place: Place::default(),
        }
    }

    pub fn run(mut self) -> Seen {
        loop {
            let token = self.lexer.next();
            match token.kind {
                Kind::End => break,
                Kind::Semicolon => {}
                _ => self.statement(token),
            }
        }
        if self.lexer.torn {
            self.seen.flags |= Flags::UNSURE;
        }
        if self.lexer.backslash {
            self.seen.flags |= Flags::BACKSLASH;
        }
        if self.seen.flags.any(Flags::UNSURE) {
            self.seen.flags |= Flags::ANYTHING;
        }
        self.finish()
    }

    fn finish(mut self) -> Seen {
        let path = self
            .seen
            .settings
            .iter()
            .any(|setting| &*setting.name == "search_path");
        if path && self.lexer.mentions(b"pg_temp") {
            // From then on a plain `CREATE TABLE` makes a temporary one.
            self.seen.flags |= Flags::TEMP;
        }
        if self.seen.flags.any(Flags::UNSURE) {
            self.seen.resets = Vec::new();
        }
        if self.seen.statements != 1 {
            self.seen.begin = None;
            self.seen.prepared = None;
        } else if !self.seen.flags.any(Flags::UNSURE) {
            self.seen.route = match (self.seen.begin, self.reads, self.calls) {
                (Some(begin), ..) if begin.on_replica() => Route::BeginReadOnly,
                (None, true, false) => Route::Read,
                (None, true, true) => Route::ReadCalling,
                _ => Route::Primary,
            };
        }
        self.seen
    }

    fn statement(&mut self, mut token: Token<'t>) {
        self.brackets = 0;
        self.bodies = 0;
        self.calls = false;
        self.place = Place::default();
        while token.kind == Kind::Open {
            self.brackets += 1;
            token = self.lexer.next();
        }
        self.previous = Token {
            kind: Kind::Open,
            ..token
        };
        self.verb = verb(token);
        self.seen.statements = self.seen.statements.saturating_add(1);
        self.seen.verbs.push(self.verb);
        self.reset = None;
        self.command(self.verb);
        let reset = self.reset.take();
        while self.take(token) {
            token = self.lexer.next();
        }
        if let Some(reset) = reset
            && self.seen.resets.len() <= Seen::RESETS_MOST
        {
            self.seen.resets.push(Reset {
                statement: self.seen.statements - 1,
                end: self.lexer.at(),
                is_closed: token.kind == Kind::Semicolon,
                ..reset
            });
        }
        if self.place.updates && self.place.pg_settings {
            // A rule turns `UPDATE pg_settings` into set_config.
            self.seen.flags |= Flags::SETTINGS_UNKNOWN;
        }
    }

    /// False when the token ends the statement.
    #[inline]
    fn take(&mut self, token: Token<'t>) -> bool {
        match token.kind {
            Kind::Word => {
                self.place.push(Kind::Word);
                self.name(token.text);
                if is_interesting(token.text) {
                    self.keyword(token);
                }
                self.previous = token;
                return true;
            }
            Kind::Quoted => self.name(token.text.get(1..).unwrap_or_default()),
            Kind::Unicode => self.spelled(token),
            Kind::Dot => self.place.other_schema = !is_catalog(self.previous),
            Kind::Open => {
                self.brackets = self.brackets.saturating_add(1);
                if let Some(name) = self.previous.identifier() {
                    self.call(name);
                }
            }
            Kind::Close => {
                if self.brackets == 0 {
                    self.seen.flags |= Flags::UNSURE;
                }
                self.brackets = self.brackets.saturating_sub(1);
            }
            Kind::Semicolon => {
                if self.brackets == 0 && self.bodies == 0 {
                    return false;
                }
                self.inner_statement();
            }
            Kind::End => {
                if self.brackets > 0 || self.bodies > 0 {
                    self.seen.flags |= Flags::UNSURE;
                }
                return false;
            }
            _ => {}
        }
        self.place.push(token.kind);
        self.previous = token;
        true
    }

    /// Inside the body of a rule or a function. Should the nesting be misread, what looks like a
    /// part of the body is a statement of its own: its command is noted, though not counted.
    fn inner_statement(&mut self) {
        let mut ahead = self.lexer;
        let verb = verb(ahead.next());
        let lexer = std::mem::replace(&mut self.lexer, ahead);
        let reads = self.reads;
        if verb != Verb::End {
            self.command(verb);
        }
        self.reads = reads;
        self.lexer = lexer;
    }

    /// One of the few words that matter anywhere.
    fn keyword(&mut self, token: Token<'t>) {
        let mut folded = [0; 10];
        let Some(folded) = folded.get_mut(..token.text.len()) else {
            return;
        };
        folded.copy_from_slice(token.text);
        folded.make_ascii_lowercase();
        match &*folded {
            b"as" | b"with" | b"recursive" | b"table" | b"references" | b"function"
            | b"procedure" | b"aggregate" | b"copy" | b"prepare" | b"ordinality" => {
                self.due();
            }
            b"on" if self.verb == Verb::Create => self.due(),
            b"execute" => {
                self.due();
                if self.verb == Verb::Create && self.previous.is(b"as") {
                    self.seen.flags |= Flags::EXECUTE;
                    self.pooler_name(self.lexer.clone().next());
                }
            }
            b"into" => {
                self.due();
                self.reads = false;
            }
            b"update" => {
                self.place.updates = true;
                self.reads = false;
            }
            b"insert" | b"delete" | b"merge" => self.reads = false,
            b"share" if self.previous.is(b"for") || self.previous.is(b"key") => self.reads = false,
            b"temp" | b"temporary" if self.makes_temporary() => {
                self.seen.flags |= Flags::TEMP;
                self.reads = false;
            }
            b"atomic" if self.verb == Verb::Create && self.previous.is(b"begin") => {
                self.bodies = self.bodies.max(1);
            }
            b"case" if self.bodies > 0 && !self.labelled() => {
                self.bodies = self.bodies.saturating_add(1);
            }
            b"end" if !self.labelled() => self.bodies = self.bodies.saturating_sub(1),
            b"stdin" | b"stdout" if self.verb == Verb::Copy => {
                if self.previous.is(b"from") {
                    self.seen.flags |= Flags::COPY_IN;
                } else if self.previous.is(b"to") {
                    self.seen.flags |= Flags::COPY_OUT;
                }
            }
            _ => {}
        }
    }

    /// Whether the word before says that `temp` is not just a name.
    fn makes_temporary(&self) -> bool {
        [&b"create"[..], b"replace", b"local", b"global", b"into"]
            .iter()
            .any(|word| self.previous.is(word))
    }

    /// Whether the next word can only be a name.
    fn labelled(&self) -> bool {
        self.previous.kind == Kind::Dot || self.previous.is(b"as")
    }

    /// The word just read announces a relation or an alias.
    fn due(&mut self) {
        self.place.kinds |= DUE;
    }

    /// An identifier in Unicode escapes, which could spell any name.
    fn spelled(&mut self, token: Token<'t>) {
        self.name(token.identifier().unwrap_or_default());
        if token.text.contains(&b'\\') {
            self.seen.flags |= Flags::ANYTHING;
            self.reads = false;
        }
    }

    #[inline]
    fn name(&mut self, name: &[u8]) {
        if let [b'p' | b'P', b'g' | b'G', b'_', rest @ ..] = name {
            self.catalog(rest);
        }
    }

    /// Names of PostgreSQL's own: temporary schemas, and what tells of this very server.
    fn catalog(&mut self, name: &[u8]) {
        let begins = |with: &[u8]| {
            name.get(..with.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        if begins(b"temp") {
            self.seen.flags |= Flags::TEMP;
            self.reads = false;
        } else if begins(b"settings") {
            self.place.pg_settings = true;
            self.reads = false;
        } else if begins(b"stat") && !begins(b"statistic") && !begins(b"stats")
            || begins(b"locks")
            || begins(b"cursors")
            || begins(b"prepared_")
            || begins(b"replication_")
        {
            self.reads = false;
        }
    }

    fn call(&mut self, name: &[u8]) {
        match words::call(name, self.place.elsewhere()) {
            Call::Harmless => {}
            Call::SetConfig => {
                self.reads = false;
                self.set_config();
            }
            Call::Touches(flags) => {
                self.reads = false;
                self.seen.flags |= flags;
            }
            Call::Unknown if self.place.is_relation() => {}
            Call::Unknown => {
                self.calls = true;
                self.seen.flags |= Flags::FUNCTION;
            }
        }
    }
}

/// The command that a token begins.
pub fn verb(token: Token<'_>) -> Verb {
    if token.kind == Kind::Word {
        Verb::of(token.text)
    } else {
        Verb::Other
    }
}

fn is_catalog(token: Token<'_>) -> bool {
    token
        .identifier()
        .is_some_and(|name| name.eq_ignore_ascii_case(b"pg_catalog"))
}

/// By the first letter: a bit for each length that a keyword with a meaning here has.
const LENGTHS: [u16; 32] = {
    let mut lengths = [0; 32];
    let mut at = 0;
    while at < KEYWORDS.len() {
        let word = KEYWORDS[at].as_bytes();
        lengths[(word[0] & 31) as usize] |= 1 << word.len();
        at += 1;
    }
    lengths
};

const KEYWORDS: [&str; 26] = [
    "as",
    "with",
    "recursive",
    "table",
    "references",
    "function",
    "procedure",
    "aggregate",
    "copy",
    "prepare",
    "on",
    "ordinality",
    "execute",
    "into",
    "update",
    "insert",
    "delete",
    "merge",
    "share",
    "temp",
    "temporary",
    "atomic",
    "case",
    "end",
    "stdin",
    "stdout",
];

#[inline]
fn is_interesting(word: &[u8]) -> bool {
    let Some(first) = word.first() else {
        return false;
    };
    word.len() < 16 && LENGTHS[usize::from(first & 31)] >> word.len() & 1 != 0
}
