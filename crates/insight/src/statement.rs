//! Owns what an SQL statement is without its values: one pass over any bytes, for every dialect
//! that Django speaks. Nothing between quotes and no number ever comes out.
//! Leaves what equal statements mean to `rules`.

mod emit;
mod lex;
mod shape;

use emit::Emitter;
use lex::{Lexer, Token};
pub use shape::shape;

/// Whose SQL it is. Where dialects disagree on where a string ends, this decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `PostgreSQL`: dollar quotes, `E''`, nested comments.
    Postgres,
    /// `SQLite`.
    Sqlite,
    /// `MySQL` and `MariaDB`: backslashes escape, double quotes hold strings.
    Mysql,
    /// Oracle: `q'[...]'`.
    Oracle,
    /// Another one: where it is not sure that a string has ended, the rest is taken for its part.
    Unknown,
}

impl Dialect {
    /// By the word that Django's backends call themselves.
    pub fn of_vendor(vendor: &str) -> Self {
        match vendor {
            "postgresql" => Self::Postgres,
            "sqlite" => Self::Sqlite,
            "mysql" => Self::Mysql,
            "oracle" => Self::Oracle,
            _ => Self::Unknown,
        }
    }
}

/// What a statement does, as far as a repeat of it is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent marks")]
pub struct Traits {
    /// It only reads.
    pub reads: bool,
    /// It changes rows.
    pub writes: bool,
    /// It locks the rows it reads (`FOR UPDATE`, `FOR SHARE`).
    pub locks: bool,
    /// It goes through a result in pieces: by `OFFSET`, or in order from a value on.
    pub pages: bool,
    /// It asks for several values at once, or writes several rows.
    pub batches: bool,
    /// Something in it must be equal to a value that is not in the text.
    pub keyed: bool,
    /// It may answer differently each time, whatever was written (`nextval()`, `random()`).
    pub volatile: bool,
}

impl Traits {
    /// As one byte for the way between processes.
    pub fn to_bits(self) -> u8 {
        let flags = [
            self.reads,
            self.writes,
            self.locks,
            self.pages,
            self.batches,
            self.keyed,
            self.volatile,
        ];
        flags
            .iter()
            .rev()
            .fold(0, |bits, flag| bits << 1 | u8::from(*flag))
    }

    /// Reads what [`Traits::to_bits`] wrote; other bits mean nothing.
    pub fn from_bits(bits: u8) -> Self {
        let has = |place: u8| bits >> place & 1 == 1;
        Self {
            reads: has(0),
            writes: has(1),
            locks: has(2),
            pages: has(3),
            batches: has(4),
            keyed: has(5),
            volatile: has(6),
        }
    }
}

/// A statement without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Equal for statements that differ in values, space, comments and case only.
    pub fingerprint: u64,
    /// For people; cut where it is very long.
    pub text: String,
    /// What it does.
    pub traits: Traits,
    /// Of the values that come apart from the text, by number from 0 on, those that something must be
    /// equal to.
    pub keys: Vec<u16>,
}

/// The most bytes of a statement's text that are kept.
pub const MOST_TEXT: usize = 600;

/// The most bytes of a statement that are looked at: what lies behind is nearly always values.
const MOST_READ: usize = 64 * 1024;

/// Takes the values out of a statement. Total: any bytes give a result.
pub fn strip(sql: &[u8], dialect: Dialect) -> Statement {
    let sql = sql.get(..sql.len().min(MOST_READ)).unwrap_or_default();
    let mut emitter = Emitter::new();
    let mut lexer = Lexer::new(sql, dialect);
    while let Some(token) = lexer.next() {
        emitter.take(token);
    }
    emitter.finish()
}

/// A hash of several texts in order, the same in every process.
pub fn fnv_text(parts: &[&str]) -> u64 {
    let parts = parts.iter();
    parts.fold(emit::FNV_START, |hash, part| {
        // A zero between them: no text has one.
        emit::fnv(hash, part.bytes().chain([0]))
    })
}

#[cfg(test)]
mod tests;
