//! What the scanner reports of one text. Plain data; no text is kept but the few names asked for.

use super::Flags;

/// What one text (a simple query, or one Parse) was seen to contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Everything it may touch.
    pub flags: Flags,
    /// How many statements, empty ones not counted. 0: nothing but blanks and comments.
    pub statements: u32,
    /// The command of each statement, the first few of them.
    pub verbs: Verbs,
    /// Where the whole text may run.
    pub route: Route,
    /// Set when the text is a single plain `BEGIN` or `START TRANSACTION` whose options are all
    /// known, so that it can be sent later, or not at all.
    pub begin: Option<Begin>,
    /// The settings it changes for the session, as far as the text names them; see
    /// [`Flags::SETTINGS_UNKNOWN`]. Each name once, folded to lower case.
    pub settings: Vec<Setting>,
    /// The `RESET`s of the text, in order.
    pub resets: Vec<Reset>,
    /// The name in a single `PREPARE`, `EXECUTE` or `DEALLOCATE`, as PostgreSQL would fold it.
    pub prepared: Option<Box<str>>,
}

impl Seen {
    /// Notes a change of the setting `name` as somebody wrote it.
    pub(super) fn setting(&mut self, name: &[u8], change: Change) {
        if !name.is_ascii() {
            self.flags |= Flags::FOREIGN;
        }
        let Ok(name) = std::str::from_utf8(name) else {
            self.flags |= Flags::SETTINGS_UNKNOWN;
            return;
        };
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => {
                self.flags |= Flags::SETTINGS_LOCAL;
                return;
            }
            "seed" => {
                self.flags |= Flags::SETSEED;
                return;
            }
            "role" => self.flags |= Flags::ROLE,
            "session_authorization" => {
                self.flags |= Flags::SESSION_AUTHORIZATION | Flags::ROLE;
                self.keep("role", change);
            }
            _ => {}
        }
        self.keep(&name, change);
    }

    /// The name that the text takes away, if it is a single `DEALLOCATE` of one.
    pub fn deallocates(&self) -> Option<&str> {
        let is_one = self.flags.any(Flags::DEALLOCATE) && self.statements == 1;
        self.prepared.as_deref().filter(|_| is_one)
    }

    fn keep(&mut self, name: &str, change: Change) {
        self.flags |= Flags::SETTINGS;
        if let Some(known) = self.settings.iter_mut().find(|known| &*known.name == name) {
            known.change = change;
        } else if self.settings.len() < Self::SETTINGS_MOST {
            self.settings.push(Setting {
                name: name.into(),
                change,
            });
        } else {
            self.flags |= Flags::SETTINGS_UNKNOWN;
        }
    }

    /// With more `RESET`s than these none is of use to anybody: one more is kept, to tell.
    pub const RESETS_MOST: usize = 64;
    /// So many names are kept; with more, `Flags::SETTINGS_UNKNOWN` is set too.
    pub const SETTINGS_MOST: usize = 8;
}

/// A statement that puts settings back to what they were at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// The setting, in lower case; `None` for all.
    pub name: Option<Box<str>>,
    /// Its number among the statements of the text, from 0.
    pub statement: u32,
    /// Where it ends in the text: behind its semicolon.
    pub end: usize,
    /// Whether it has one.
    pub is_closed: bool,
}

/// One setting of the session that a text changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Lower case, `a.b` for a custom one; `timezone`, `role`, `session_authorization`, ...
    pub name: Box<str>,
    /// To a value, or back to what it was at the start.
    pub change: Change,
}

/// What happens to a setting; the last word in a text counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `SET`, `set_config`.
    Set,
    /// `RESET`, `SET .. TO DEFAULT`: the client's own start-up value is due.
    Reset,
}

/// A transaction's options, as far as it names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begin {
    /// `ISOLATION LEVEL ..`
    pub isolation: Option<Isolation>,
    /// `READ ONLY` or `READ WRITE`
    pub read_only: Option<bool>,
    /// `[NOT] DEFERRABLE`
    pub deferrable: Option<bool>,
}

impl Begin {
    /// Whether such a transaction may run on a replica; serializable ones may not (13.2.3).
    pub fn on_replica(self) -> bool {
        self.read_only == Some(true) && self.isolation != Some(Isolation::Serializable)
    }
}

/// The four levels of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// As `ReadCommitted` in PostgreSQL.
    ReadUncommitted,
    /// The server's usual one.
    ReadCommitted,
    /// One snapshot for the whole transaction.
    RepeatableRead,
    /// Refused on a replica by PostgreSQL.
    Serializable,
}

/// Where a text may run, when it comes outside of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// Anything else: the primary.
    #[default]
    Primary,
    /// One statement that only reads, with functions known to be harmless.
    Read,
    /// One statement that reads, but calls functions that nobody knows.
    ReadCalling,
    /// A single `BEGIN READ ONLY`.
    BeginReadOnly,
}

/// The commands of the first statements of a text, without allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbs {
    list: [Verb; Verbs::MOST],
    len: u8,
}

impl Verbs {
    /// So many are kept; `Seen::statements` tells whether there were more.
    pub const MOST: usize = 7;

    /// The kept ones, in order.
    pub fn as_slice(&self) -> &[Verb] {
        self.list.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The only one of a text with one statement.
    pub fn first(&self) -> Option<Verb> {
        self.as_slice().first().copied()
    }

    pub(super) fn push(&mut self, verb: Verb) {
        if let Some(place) = self.list.get_mut(usize::from(self.len)) {
            *place = verb;
            self.len += 1;
        }
    }
}

macro_rules! verbs {
    ($($verb:ident = $word:literal,)*) => {
        /// The command that a statement begins with.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is the SQL command of that name")]
        pub enum Verb {
            /// None of the others.
            #[default]
            Other,
            $($verb),*
        }

        impl Verb {
            const WORDS: &[(&[u8], Verb)] = &[$(($word, Verb::$verb)),*];

            /// The command that begins with this word.
            pub(super) fn of(word: &[u8]) -> Verb {
                let Some(first) = word.first() else { return Verb::Other };
                let from = usize::from(FIRST[usize::from(first & 31)]);
                let words = Self::WORDS.get(from..).unwrap_or_default();
                words
                    .iter()
                    .take_while(|(known, _)| known.first().is_some_and(|f| *f == first | 0x20))
                    .find(|(known, _)| known.eq_ignore_ascii_case(word))
                    .map_or(Verb::Other, |(_, verb)| *verb)
            }
        }
    };
}

/// Where the words with a first letter begin; the list below is sorted.
const FIRST: [u8; 32] = {
    let mut first = [u8::MAX; 32];
    let mut at = Verb::WORDS.len();
    while at > 0 {
        at -= 1;
        first[(Verb::WORDS[at].0[0] & 31) as usize] = at as u8;
    }
    first
};

verbs! {
    Abort = b"abort",
    Alter = b"alter",
    Analyze = b"analyze",
    Begin = b"begin",
    Call = b"call",
    Checkpoint = b"checkpoint",
    Close = b"close",
    Cluster = b"cluster",
    Comment = b"comment",
    Commit = b"commit",
    Copy = b"copy",
    Create = b"create",
    Deallocate = b"deallocate",
    Declare = b"declare",
    Delete = b"delete",
    Discard = b"discard",
    Do = b"do",
    Drop = b"drop",
    End = b"end",
    Execute = b"execute",
    Explain = b"explain",
    Fetch = b"fetch",
    Grant = b"grant",
    Import = b"import",
    Insert = b"insert",
    Listen = b"listen",
    Load = b"load",
    Lock = b"lock",
    Merge = b"merge",
    Move = b"move",
    Notify = b"notify",
    Prepare = b"prepare",
    Reassign = b"reassign",
    Refresh = b"refresh",
    Reindex = b"reindex",
    Release = b"release",
    Reset = b"reset",
    Revoke = b"revoke",
    Rollback = b"rollback",
    Savepoint = b"savepoint",
    Security = b"security",
    Select = b"select",
    Set = b"set",
    Show = b"show",
    Start = b"start",
    Table = b"table",
    Truncate = b"truncate",
    Unlisten = b"unlisten",
    Update = b"update",
    Vacuum = b"vacuum",
    Values = b"values",
    With = b"with",
}
