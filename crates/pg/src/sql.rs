//! What a statement may do to the state of its session, told from its text alone: which kinds of
//! state to ask the server about afterwards, and whether the text may run on a replica. Lexical
//! and over-approximating: it may say too much, never too little, except for what functions and
//! triggers do inside the server. Leaves acting on it to the relay and to read routing.

mod command;
mod flags;
pub(crate) mod lex;
mod seen;
mod statement;
mod words;

pub use flags::Flags;
pub use seen::{Begin, Change, Isolation, Route, Seen, Setting, Verb, Verbs};

/// Reads `text` (one simple query or one Parse, without its terminating NUL) as PostgreSQL's
/// lexer would with this value of `standard_conforming_strings`.
pub fn scan(text: &[u8], standard_conforming_strings: bool) -> Seen {
    statement::Scanner::new(text, standard_conforming_strings).run()
}

#[cfg(test)]
mod tests;
