//! Owns what is told of one request that has ended.
//! Leaves where it comes from to the front, and what follows from it to `site`.

use crate::operations::Row;
use crate::phases::Phases;
use crate::statement::Traits;

/// The name of a statement or of a place in the app's code: a hash of its text.
pub type Name = u64;

/// Why the app asks for a statement again and again at a place, as far as the frames of its ORM tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeat {
    /// Its values alone tell.
    #[default]
    Unknown,
    /// It follows a relation from a row, so that each run is another row's, whatever the values: several rows may
    /// have one in common.
    Relation,
    /// It writes one row of several that could be written at once.
    Write,
}

impl Repeat {
    /// As one byte for the way between processes.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Relation => 1,
            Self::Write => 2,
        }
    }

    /// Reads what [`Repeat::to_byte`] wrote; nothing is known by other bytes.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Relation,
            2 => Self::Write,
            _ => Self::Unknown,
        }
    }
}

/// What helps against a statement at a place of a route: another route may come to the same line with rows of
/// another model.
#[derive(Clone, Copy, Debug)]
pub struct Advice<'a> {
    /// The method and the pattern of the route, as in its [`Observation`].
    pub route: (&'static str, &'a str),
    /// The statement.
    pub statement: Name,
    /// The place.
    pub place: Name,
    /// Why it is repeated.
    pub repeat: Repeat,
    /// For people.
    pub text: &'a str,
}

/// The same statement at the same place, in one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The statement's fingerprint.
    pub statement: Name,
    /// Where the app asked for it.
    pub place: Name,
    /// How often.
    pub count: u32,
    /// With how many different values.
    pub distinct: u32,
    /// How often with values that had been asked for before, with nothing written since.
    pub repeats: u32,
    /// In the database, all together, in microseconds.
    pub total_us: u64,
    /// The longest one.
    pub max_us: u64,
    /// With the Python between one statement and the next.
    pub price_us: u64,
}

/// One request that has ended.
#[derive(Clone, Debug, Default)]
pub struct Observation<'a> {
    /// `GET`, or `OTHER` for methods nobody knows.
    pub method: &'static str,
    /// The pattern of the address; empty where the app does not tell.
    pub route: &'a str,
    /// The status of the response; 499 when the client had left.
    pub status: u16,
    /// Whether the client's connection is encrypted.
    pub https: bool,
    /// Where the time went.
    pub phases: Phases,
    /// Statements.
    pub queries: u32,
    /// Statements that were written.
    pub writes: u32,
    /// Within a transaction between statements, in microseconds: a connection was held for nothing.
    pub held_us: u64,
    /// Kilobytes by which it made its process grow; negative where that has shrunk.
    pub grown_kb: i64,
    /// Whether its answer was that of the same address a moment before; None where that is not known.
    pub same: Option<bool>,
    /// The statements by group.
    pub groups: &'a [Group],
    /// How long each took, by kind.
    pub times: [&'a [Row]; 2],
    /// How often the app had been loaded when the worker that ran it was; None where nobody tells.
    pub release: Option<u32>,
}

/// A statement's text, told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Without values.
    pub text: String,
    /// What it does.
    pub traits: Traits,
}

/// A place in the app's code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as the app was told of it.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The function.
    pub function: String,
    /// What the line says.
    pub source: String,
}

impl Place {
    /// Reads `file \n line \n function \n source`; parts that are missing are empty.
    pub fn read(text: &str) -> Self {
        let mut parts = text.splitn(4, '\n').map(clean);
        Self {
            file: parts.next().unwrap_or_default(),
            line: parts.next().unwrap_or_default().parse().unwrap_or(0),
            function: parts.next().unwrap_or_default(),
            source: parts.next().unwrap_or_default(),
        }
    }
}

/// No control characters, and not without end.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
