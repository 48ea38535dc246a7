//! A text too long to be kept: which of its words touch what nobody can be asked about afterwards,
//! seen while it passes. Those of a query count at once, those of a statement that is prepared when it
//! is bound.
//!
//! Owns finding them in pieces of a text. It does not tell a string from a command, so that a string
//! may count as one; what any text may touch is noted without it.

use super::Relay;
use super::request::Message;
use crate::sql::{self, Flags, Seen};
use crate::wire::frame::Frame;

/// The longest word that means anything here.
const LONGEST: usize = 48;

/// Where the reading of a text stands.
#[derive(Debug)]
pub(super) struct Skim {
    /// The last word, in lower case.
    word: [u8; LONGEST],
    /// How much of it there is; more than fits is no word we know.
    length: usize,
    /// It is over, so that a bracket makes it a call.
    word_is_over: bool,
    /// What the word before it waits for.
    after: After,
    comment: Comment,
    /// No word of the statement has come yet.
    begins: bool,
    /// Whether that was so before a sign that may begin a comment.
    began: bool,
    previous: u8,
    /// What was found so far.
    found: Flags,
    /// The beginning of the text.
    shown: Box<[u8]>,
    text: Text,
}

/// What becomes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// It is run.
    Query,
    /// It is prepared.
    Statement,
    /// It was prepared, all of it, and may be run.
    Prepared,
}

/// What a word waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Reset,
    Deallocate,
    Load,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comment {
    No,
    Line,
    Block,
}

impl Skim {
    fn new(bytes: &[u8], text: Text) -> Self {
        const SHOWN: usize = 200;
        Self {
            word: [0; LONGEST],
            length: 0,
            word_is_over: true,
            after: After::Nothing,
            comment: Comment::No,
            begins: true,
            began: true,
            previous: b' ',
            found: Flags::NONE,
            shown: bytes.get(..SHOWN).unwrap_or(bytes).into(),
            text,
        }
    }

    /// What the words touch that end in these bytes, as far as it is news.
    fn read(&mut self, bytes: &[u8]) -> Flags {
        let mut found = Flags::NONE;
        for &byte in bytes {
            if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 {
                if self.word_is_over {
                    self.word_is_over = false;
                    self.length = 0;
                }
                if let Some(place) = self.word.get_mut(self.length) {
                    *place = byte.to_ascii_lowercase();
                }
                self.length = self.length.saturating_add(1);
            } else {
                if !self.word_is_over {
                    self.word_is_over = true;
                    found |= self.word_ends();
                }
                found |= self.sign(byte);
            }
            self.previous = byte;
        }
        let news = found.without(self.found);
        self.found |= found;
        news
    }

    fn word(&self) -> &[u8] {
        self.word.get(..self.length).unwrap_or_default()
    }

    fn word_ends(&mut self) -> Flags {
        let begins = self.begins && self.comment == Comment::No;
        let mut found = Flags::NONE;
        self.after = match (self.word(), self.after) {
            (b"all", After::Reset) => {
                found = Flags::RESET_ALL | Flags::SETTINGS_UNKNOWN;
                After::Nothing
            }
            (b"all", After::Deallocate) => {
                found = Flags::DEALLOCATE_ALL;
                After::Nothing
            }
            (b"e", After::Load) => After::Load,
            (b"reset", _) => After::Reset,
            (b"deallocate", _) | (b"prepare", After::Deallocate) => After::Deallocate,
            (b"load", _) if begins => After::Load,
            (b"create" | b"alter" | b"drop" | b"import", _) if begins => {
                found = Flags::SCHEMA;
                After::Nothing
            }
            _ => After::Nothing,
        };
        self.begins &= !begins;
        found
    }

    fn sign(&mut self, byte: u8) -> Flags {
        match (byte, self.comment) {
            (b'\n', Comment::Line) => self.comment = Comment::No,
            (b'/', Comment::Block) if self.previous == b'*' => self.comment = Comment::No,
            (b'(', _) => {
                let touches = sql::call_touches(self.word());
                self.length = 0;
                self.after = After::Nothing;
                return touches;
            }
            (_, Comment::Line | Comment::Block) | (b' ' | b'\t' | b'\r' | b'\n', _) => {}
            (b'-', _) if self.previous == b'-' => {
                (self.comment, self.begins) = (Comment::Line, self.began);
            }
            (b'*', _) if self.previous == b'/' => {
                (self.comment, self.begins) = (Comment::Block, self.began);
            }
            (b'-' | b'/', _) => {
                self.began = self.begins;
                self.begins = false;
            }
            (b';', _) => {
                self.begins = true;
                self.after = After::Nothing;
            }
            (b'\'' | b'$', _) if self.after == After::Load => {
                self.after = After::Nothing;
                return Flags::LOAD;
            }
            _ => {
                self.begins = false;
                self.after = After::Nothing;
            }
        }
        if !byte.is_ascii_whitespace() {
            // What follows is no bracket of this word.
            self.length = 0;
        }
        Flags::NONE
    }
}

impl Relay {
    /// A text too long to be kept begins: of a `Query`, or of a `Parse` without a name.
    pub(super) fn skim(&mut self, message: Message<'_>) {
        // Before that of a `Parse` there is the end of a name that is none.
        let (text, begin) = match message.frame.tag {
            b'P' => (Text::Statement, Frame::HEADER + 1),
            _ => (Text::Query, Frame::HEADER),
        };
        let bytes = message.whole().get(begin..).unwrap_or_default();
        self.skim = Some(Box::new(Skim::new(bytes, text)));
        self.skim_on(bytes);
        if message.is_whole() {
            self.skim_ends();
        }
    }

    /// More of it passes.
    pub(super) fn skim_on(&mut self, bytes: &[u8]) {
        let Some(mut skim) = self.skim.take() else {
            return;
        };
        if skim.text != Text::Prepared {
            let flags = skim.read(bytes);
            if skim.text == Text::Query && !flags.is_empty() {
                self.note_skimmed(flags, &skim);
                self.hold_back_after_reset();
            }
        }
        self.skim = Some(skim);
    }

    /// All of it has passed. What was prepared may yet be run.
    pub(super) fn skim_ends(&mut self) {
        match &mut self.skim {
            Some(skim) if skim.text == Text::Statement => skim.text = Text::Prepared,
            Some(skim) if skim.text == Text::Prepared => {}
            _ => self.skim = None,
        }
    }

    /// The unnamed statement that passed unread is bound.
    pub(super) fn note_long(&mut self) {
        self.note_anything();
        if let Some(skim) = self.skim.take() {
            if skim.text == Text::Prepared {
                self.note_skimmed(skim.found, &skim);
            }
            self.skim = Some(skim);
        }
    }

    fn note_skimmed(&mut self, flags: Flags, skim: &Skim) {
        let seen = Seen {
            flags,
            ..Seen::default()
        };
        self.note(&seen, &skim.shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_long_text_are_found_however_it_is_cut() {
        let rows = [
            (
                "select 1; RESET/**/ALL;",
                Flags::RESET_ALL | Flags::SETTINGS_UNKNOWN,
            ),
            ("-- why\nLoad 'x'", Flags::LOAD),
            ("/* load */ load E'x'", Flags::LOAD),
            ("select setSeed (0.5)", Flags::SETSEED),
            ("x; deallocate prepare all", Flags::DEALLOCATE_ALL),
            ("; select dblink_connect('a', 'b')", Flags::HIDDEN),
            ("insert into t values (nextval('s'))", Flags::SEQUENCE_WRITE),
            ("select lastval()", Flags::SEQUENCE_READ),
            ("a;create table t ()", Flags::SCHEMA),
            (
                "insert into t values ('a heavy load', 'create')",
                Flags::NONE,
            ),
            ("insert into setseed values (1)", Flags::NONE),
            ("select setseed, all; reset x", Flags::NONE),
            ("a - b; load", Flags::NONE),
        ];
        for (text, expected) in rows {
            for cut in [1, 3, text.len()] {
                let mut skim = Skim::new(text.as_bytes(), Text::Query);
                let mut found = Flags::NONE;
                for part in text.as_bytes().chunks(cut) {
                    found |= skim.read(part);
                }
                found |= skim.read(b"\0");
                assert_eq!(found, expected, "{text} in pieces of {cut}");
            }
        }
    }
}
