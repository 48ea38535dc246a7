//! Owns what a statement looks like without its values: spacing, lists drawn together, the hash,
//! and what can be seen of its purpose on the way.
//! Leaves finding the tokens to `lex`.

use super::{MOST_TEXT, Statement, Token, Traits};

/// FNV-1a, 64 bits: the same in every process and run, which a finding's name must be.
pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Adds bytes to an FNV-1a hash.
pub(crate) fn fnv(hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Start,
    Word,
    Value,
    Sign(u8),
    /// The sign of a number.
    Unary,
}

/// What stands between two brackets.
#[expect(clippy::struct_excessive_bools, reason = "independent marks")]
struct List {
    values: u32,
    /// A comma behind a value, written only when something else than a value follows.
    comma: bool,
    /// It holds something else, too.
    mixed: bool,
    /// It follows `IN` or the like, so that each value is one that is asked for.
    after_in: bool,
    /// It follows `ANY`: one value may be an array.
    after_any: bool,
    /// It may be one more row like the last: how much was written up to there, and the hash.
    again: Option<(usize, u64)>,
}

/// How deep lists are followed; deeper ones are written as they are.
const MOST_LISTS: usize = 16;

#[expect(clippy::struct_excessive_bools, reason = "independent marks")]
pub(super) struct Emitter {
    text: Vec<u8>,
    hash: u64,
    last: Last,
    lists: Vec<List>,
    /// A row of values has ended, here: another may follow.
    row: Option<(usize, u64)>,
    /// The comma behind it has come.
    row_comma: bool,
    first: Option<Verb>,
    before_list: bool,
    before_any: bool,
    compares: bool,
    compared: bool,
    orders: bool,
    limits: bool,
    for_seen: bool,
    /// An equals sign has come, and a value may follow.
    equals: bool,
    /// The word before was `LIMIT`.
    before_limit: bool,
    /// One row alone is wanted.
    single: bool,
    /// Where the name of a savepoint stands.
    savepoint: Savepoint,
    columns: Columns,
    /// What is called if a bracket follows.
    calls: Calls,
    /// Values that come apart from the text, so far.
    places: u16,
    /// Those of them that something must be equal to.
    keys: Vec<u16>,
    traits: Traits,
}

/// What a word does when it is a function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    Nothing,
    /// It answers differently each time.
    Volatile,
    /// It locks.
    Lock,
}

/// Where the name of a savepoint stands: Django counts these names up, so they are values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    Nowhere,
    /// Behind a `TO` that is still to come.
    AfterTo,
    /// Next, or behind the word `SAVEPOINT`.
    Next,
}

/// What is asked for by the outermost `SELECT`.
#[derive(Clone, Copy, Default)]
struct Columns {
    /// They are being listed, from this place in the text on.
    from: Option<usize>,
    /// Where the one under way begins, with the comma before it.
    at: usize,
    /// Tokens of it, as far as it is `table.column`.
    plain: u8,
    /// Some were left out.
    cut: bool,
}

/// Of longer lists of columns the rest is left out of the text, so that it shows the table and what is asked of it.
const MOST_COLUMNS: usize = 300;

/// Functions that answer differently each time, of all dialects.
const VOLATILE: [&str; 15] = [
    "clock_timestamp",
    "currval",
    "gen_random_uuid",
    "last_insert_id",
    "last_insert_rowid",
    "lastval",
    "newid",
    "nextval",
    "rand",
    "random",
    "randomblob",
    "setval",
    "sysdate",
    "uuid",
    "uuid_generate_v4",
];

fn called(word: &[u8]) -> Calls {
    let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
    let begins = |start: &str| {
        let head = word.get(..start.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    };
    if VOLATILE.iter().any(|it| is(it)) {
        Calls::Volatile
    } else if begins("pg_advisory") || begins("pg_try_advisory") || is("get_lock") {
        Calls::Lock
    } else {
        Calls::Nothing
    }
}

/// Of more keys than this the first are enough to tell runs apart.
const MOST_KEYS: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Reads,
    Writes,
    With,
    Other,
}

impl Emitter {
    pub fn new() -> Self {
        Self {
            text: Vec::with_capacity(256),
            hash: FNV_START,
            last: Last::Start,
            lists: Vec::new(),
            row: None,
            row_comma: false,
            first: None,
            before_list: false,
            before_any: false,
            compares: false,
            compared: false,
            orders: false,
            limits: false,
            for_seen: false,
            equals: false,
            before_limit: false,
            single: false,
            savepoint: Savepoint::Nowhere,
            columns: Columns::default(),
            calls: Calls::Nothing,
            places: 0,
            keys: Vec::new(),
            traits: Traits::default(),
        }
    }

    pub fn take(&mut self, token: Token<'_>) {
        if self.columns.from.is_some() && self.lists.is_empty() {
            self.column(token);
        }
        match token {
            Token::Word(word) => self.word(word),
            Token::Name(name) => self.name(name),
            Token::Value => self.value(),
            Token::One => {
                self.single |= self.before_limit;
                self.value();
            }
            Token::Place => {
                if self.equals && self.keys.len() < MOST_KEYS {
                    self.keys.push(self.places);
                }
                self.places = self.places.saturating_add(1);
                self.value();
            }
            Token::Sign(b'(' | b'[') => self.open(token),
            Token::Sign(b')' | b']') => self.close(token),
            Token::Sign(b',') => self.comma(),
            Token::Sign(sign) => self.sign(sign),
        }
    }

    /// A token of what the outermost `SELECT` asks for.
    fn column(&mut self, token: Token<'_>) {
        let begun = self.columns;
        self.columns.plain = match (token, begun.plain) {
            (Token::Word(_) | Token::Name(_), plain @ (0 | 2)) => plain + 1,
            (Token::Sign(b'.'), 1) => 2,
            _ => u8::MAX,
        };
        let is_over = matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(b"from"));
        if !is_over && token != Token::Sign(b',') {
            return;
        }
        let from = begun.from.unwrap_or_default();
        if begun.plain == 3 && begun.at.saturating_sub(from) >= MOST_COLUMNS {
            self.text.truncate(begun.at);
            self.columns.cut = true;
        }
        if is_over && self.columns.cut {
            self.write(", …".as_bytes());
        }
        self.columns.from = begun.from.filter(|_| !is_over);
        self.columns.at = self.text.len();
        self.columns.plain = 0;
    }

    pub fn finish(self) -> Statement {
        let mut traits = self.traits;
        match self.first {
            Some(Verb::Reads | Verb::With) => traits.reads = !traits.writes,
            Some(Verb::Writes) => traits.writes = true,
            Some(Verb::Other) | None => traits.writes = false,
        }
        traits.pages |= self.compared && self.orders && self.limits && !self.single;
        traits.keyed = !self.keys.is_empty();
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        if text.len() > MOST_TEXT {
            let mut end = MOST_TEXT;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('…');
        }
        Statement {
            fingerprint: self.hash,
            keys: self.keys,
            text: text
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
            traits,
        }
    }

    fn push(&mut self, bytes: &[u8], spaced: bool, fold: bool) {
        if spaced {
            self.hash = fnv(self.hash, [b' ']);
            self.write(b" ");
        }
        let folded = bytes.iter().map(|byte| {
            if fold {
                byte.to_ascii_lowercase()
            } else {
                *byte
            }
        });
        self.hash = fnv(self.hash, folded);
        self.write(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.text.len() <= MOST_TEXT {
            self.text.extend_from_slice(bytes);
        }
    }

    /// Whether a space belongs before a word or value.
    fn is_spaced(&self) -> bool {
        !matches!(
            self.last,
            Last::Start | Last::Unary | Last::Sign(b'(' | b'[' | b'.' | b':')
        )
    }

    /// Something that is neither a value nor a row comes: commas that were held back are written.
    fn not_a_row(&mut self) {
        let mut comma = std::mem::take(&mut self.row_comma);
        if let Some(list) = self.lists.last_mut() {
            comma |= std::mem::take(&mut list.comma);
            list.mixed = true;
        }
        if comma {
            self.push(b",", false, false);
            self.last = Last::Sign(b',');
        }
        self.row = None;
    }

    fn word(&mut self, word: &[u8]) {
        self.not_a_row();
        if self.is_savepoint(word) {
            return self.value();
        }
        let is_first = self.first.is_none();
        self.notice(word);
        self.compares = false;
        self.equals = false;
        let spaced = self.is_spaced();
        self.push(word, spaced, true);
        self.last = Last::Word;
        if is_first && self.first == Some(Verb::Reads) && self.lists.is_empty() {
            self.columns.from = Some(self.text.len());
            self.columns.at = self.text.len();
        }
    }

    /// Whether a word is the name of a savepoint.
    fn is_savepoint(&mut self, word: &[u8]) -> bool {
        let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
        let before = self.savepoint;
        self.savepoint = match before {
            Savepoint::Nowhere if self.first.is_some() => Savepoint::Nowhere,
            Savepoint::Nowhere if is("savepoint") || is("release") => Savepoint::Next,
            Savepoint::Nowhere if is("rollback") => Savepoint::AfterTo,
            Savepoint::AfterTo if is("to") => Savepoint::Next,
            Savepoint::Next if is("savepoint") => Savepoint::Next,
            Savepoint::Next | Savepoint::Nowhere => Savepoint::Nowhere,
            Savepoint::AfterTo => Savepoint::AfterTo,
        };
        before == Savepoint::Next && self.savepoint == Savepoint::Nowhere
    }

    /// What the words tell of the statement's purpose.
    fn notice(&mut self, word: &[u8]) {
        let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
        let writes = is("insert") || is("update") || is("delete") || is("replace") || is("merge");
        if self.first.is_none() {
            self.first = Some(match () {
                () if is("select") || is("values") || is("table") => Verb::Reads,
                () if is("with") => Verb::With,
                () if writes => Verb::Writes,
                () => Verb::Other,
            });
        } else if writes && self.first == Some(Verb::With) && !self.for_seen {
            self.traits.writes = true;
        }
        if self.for_seen && (is("update") || is("share") || is("key") || is("no")) {
            self.traits.locks = true;
        }
        self.for_seen = is("for");
        self.before_list = is("in") || is("array");
        self.before_any = is("any") || is("all") || is("unnest");
        self.orders |= is("order");
        self.before_limit = is("limit");
        self.limits |= self.before_limit || is("fetch");
        self.calls = called(word);
        self.traits.pages |= is("offset");
    }

    fn name(&mut self, name: &[u8]) {
        self.not_a_row();
        if self.savepoint == Savepoint::Next {
            self.savepoint = Savepoint::Nowhere;
            return self.value();
        }
        self.for_seen = false;
        self.before_list = false;
        self.before_any = false;
        self.before_limit = false;
        self.calls = Calls::Nothing;
        self.compares = false;
        self.equals = false;
        let spaced = self.is_spaced();
        let is_plain = name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if is_plain && !name.is_empty() {
            self.push(name, spaced, false);
        } else if name.iter().copied().all(is_usual) && name.len() <= MOST_NAME {
            self.push(b"\"", spaced, false);
            self.push(name, false, false);
            self.push(b"\"", false, false);
        } else {
            // Whatever this is, it may be a value.
            self.push(b"?", spaced, false);
        }
        self.last = Last::Word;
    }

    fn value(&mut self) {
        if self.row_comma {
            self.not_a_row();
        }
        self.row = None;
        self.compared |= std::mem::take(&mut self.compares);
        self.equals = false;
        self.before_limit = false;
        if let Some(list) = self.lists.last_mut() {
            list.values = list.values.saturating_add(1);
            if std::mem::take(&mut list.comma) && !list.mixed {
                // One value stands for the whole list.
                self.last = Last::Value;
                return;
            }
        }
        let spaced = self.is_spaced();
        self.push(b"?", spaced, false);
        self.last = Last::Value;
    }

    fn open(&mut self, token: Token<'_>) {
        let sign = if token == Token::Sign(b'[') {
            b'['
        } else {
            b'('
        };
        match std::mem::replace(&mut self.calls, Calls::Nothing) {
            Calls::Volatile if self.last == Last::Word => self.traits.volatile = true,
            Calls::Lock if self.last == Last::Word => self.traits.locks = true,
            _ => {}
        }
        self.equals = false;
        let again = self.row.filter(|_| self.row_comma);
        self.not_a_row();
        let joins = self.last == Last::Word && !self.before_list || sign == b'[';
        let spaced = self.is_spaced() && !joins;
        self.push(&[sign], spaced, false);
        self.last = Last::Sign(sign);
        self.lists.truncate(MOST_LISTS);
        self.lists.push(List {
            values: 0,
            comma: false,
            mixed: false,
            after_in: self.before_list,
            after_any: self.before_any,
            again,
        });
        self.before_list = false;
        self.before_any = false;
    }

    fn close(&mut self, token: Token<'_>) {
        let sign = if token == Token::Sign(b']') {
            b']'
        } else {
            b')'
        };
        let list = self.lists.pop();
        if let Some(outer) = self.lists.last_mut() {
            outer.mixed = true;
        }
        let row = list.filter(|list| !list.mixed && list.values > 0);
        if let Some(list) = &row {
            self.traits.batches |= list.after_in && list.values > 1 || list.after_any;
            if let Some((text, hash)) = list.again {
                self.traits.batches = true;
                self.text.truncate(text);
                self.hash = hash;
                self.row = Some((text, hash));
                self.row_comma = false;
                self.last = Last::Sign(sign);
                return;
            }
        }
        self.push(&[sign], false, false);
        self.last = Last::Sign(sign);
        self.row_comma = false;
        self.row = row.map(|_| (self.text.len(), self.hash));
    }

    fn comma(&mut self) {
        if self.row.is_some() {
            self.row_comma = true;
            return;
        }
        if self.last == Last::Value
            && let Some(list) = self.lists.last_mut()
            && !list.mixed
        {
            list.comma = true;
            return;
        }
        self.not_a_row();
        self.push(b",", false, false);
        self.last = Last::Sign(b',');
    }

    fn sign(&mut self, sign: u8) {
        self.not_a_row();
        // Not `->`, `@>`, `<>` and the like.
        let follows = matches!(self.last, Last::Sign(last) if is_operator(last));
        self.compares = match sign {
            b'<' | b'>' => !follows,
            b'=' => self.compares,
            _ => false,
        };
        self.equals = sign == b'=' && !follows;
        self.calls = Calls::Nothing;
        if matches!(sign, b'-' | b'+')
            && matches!(self.last, Last::Sign(b'=' | b'<' | b'>' | b'(' | b','))
        {
            let spaced = self.is_spaced();
            self.push(&[sign], spaced, false);
            self.last = Last::Unary;
            return;
        }
        let spaced = match sign {
            b'.' | b';' | b':' => false,
            b'*' if self.last == Last::Sign(b'(') => false,
            _ => self.is_spaced() && !follows && self.last != Last::Sign(b','),
        };
        let bytes: &[u8] = match sign {
            b':' => b"::",
            _ => &[sign],
        };
        self.push(
            bytes,
            spaced || (sign == b'*' && self.last == Last::Sign(b',')),
            false,
        );
        self.last = Last::Sign(sign);
    }
}

/// Longer than the names of any database.
const MOST_NAME: usize = 128;

/// What names consist of that need quotes.
fn is_usual(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_ -.$".contains(&byte) || byte >= 0x80
}

fn is_operator(sign: u8) -> bool {
    b"<>=!|&+-*/%~^#@".contains(&sign)
}
