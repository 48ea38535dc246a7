//! What a statement may do to the state of its session, told from its text alone: which kinds of
//! state to ask the server about afterwards, and whether the text may run on a replica. Lexical
//! and over-approximating: it may say too much, never too little, except for what functions and
//! triggers do inside the server. Leaves acting on it to the relay and to read routing.

mod clock;
mod command;
mod flags;
pub(crate) mod lex;
mod seen;
mod statement;
mod words;

pub use clock::tells_time;
pub use command::READING;
pub use flags::Flags;
pub use seen::{Begin, Change, Isolation, Reset, Route, Seen, Setting, Verb, Verbs};

/// Reads `text` (one simple query or one Parse, without its terminating NUL) as PostgreSQL's
/// lexer would with this value of `standard_conforming_strings`.
pub fn scan(text: &[u8], standard_conforming_strings: bool) -> Seen {
    statement::Scanner::new(text, standard_conforming_strings).run()
}

/// Whether `text` is a lone `SELECT` that cannot touch anything: what `scan` would find out with
/// more effort for most of what web applications say.
#[inline]
pub fn is_plain_read(text: &[u8]) -> bool {
    const WORD: &[u8] = b"select";
    let (Some(word), Some(next)) = (text.get(..WORD.len()), text.get(WORD.len())) else {
        return false;
    };
    word.eq_ignore_ascii_case(WORD) && next.is_ascii_whitespace() && calls_nothing(text)
}

/// Whether `text` is one statement with no function call in it, and no `INTO`.
#[inline]
pub fn calls_nothing(text: &[u8]) -> bool {
    let Some((_, all_but_last)) = text.split_last() else {
        return false;
    };
    let says_into = |at: usize| {
        let word = at.checked_sub(2).and_then(|from| text.get(from..from + 4));
        word.is_some_and(|word| word.eq_ignore_ascii_case(b"into"))
    };
    memchr::memchr2(b'(', b';', all_but_last).is_none()
        && !memchr::memchr2_iter(b't', b'T', text).any(says_into)
}

/// What a call of `name` touches that nobody can be asked about afterwards, or that has to do with
/// sequences.
pub fn call_touches(name: &[u8]) -> Flags {
    const KINDS: Flags = Flags::UNASKABLE
        .with(Flags::SEQUENCE_WRITE)
        .with(Flags::SEQUENCE_READ);
    match words::call(name, false) {
        words::Call::Touches(flags) => flags.only(KINDS),
        _ => Flags::NONE,
    }
}

#[cfg(test)]
mod tests;
