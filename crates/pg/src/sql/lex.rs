//! PostgreSQL's tokens (scan.l), as far as they decide where a word, a string or a statement ends.
//! Owns strings, comments and identifiers; knows no statement.

use memchr::{memchr, memchr2, memmem};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bare identifier or keyword.
    Word,
    /// `"identifier"`
    Quoted,
    /// `U&"identifier"`
    Unicode,
    /// Any string literal, its prefix and continuations included.
    String,
    /// A number, as far as `e` or `x` could be taken for the prefix of a string.
    Number,
    /// `$1`
    Parameter,
    /// `.`
    Dot,
    /// `,`
    Comma,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `;`
    Semicolon,
    /// `=`
    Equals,
    /// One character of an operator, a bracket, a colon.
    Other,
    /// Nothing more.
    End,
}

/// One token, as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Token<'t> {
    pub kind: Kind,
    pub text: &'t [u8],
}

/// Walks over a text, token by token. `Copy`, so that a look ahead is a copy.
#[derive(Clone, Copy)]
pub struct Lexer<'t> {
    text: &'t [u8],
    at: usize,
    conforming: bool,
    /// The text ended inside a token, or has a byte that begins none.
    pub torn: bool,
    /// A plain string held a backslash.
    pub backslash: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Blank,
    Letter,
    Digit,
    Dollar,
    Quote,
    DoubleQuote,
    Single(Kind),
    Maybe,
    Wrong,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Wrong; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = class(byte as u8);
        byte += 1;
    }
    table
};

const fn class(byte: u8) -> Class {
    match byte {
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Blank,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        b'$' => Class::Dollar,
        b'\'' => Class::Quote,
        b'"' => Class::DoubleQuote,
        b'(' => Class::Single(Kind::Open),
        b')' => Class::Single(Kind::Close),
        b',' => Class::Single(Kind::Comma),
        b';' => Class::Single(Kind::Semicolon),
        b'=' => Class::Single(Kind::Equals),
        b'-' | b'/' | b'.' => Class::Maybe,
        b'[' | b']' | b':' | b'+' | b'*' | b'%' | b'^' | b'<' | b'>' | b'~' | b'!' | b'@'
        | b'#' | b'&' | b'|' | b'`' | b'?' => Class::Single(Kind::Other),
        _ => Class::Wrong,
    }
}

const IN_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(CLASSES[byte], Class::Letter | Class::Digit | Class::Dollar);
        byte += 1;
    }
    table
};

fn in_word(byte: u8) -> bool {
    IN_WORD[usize::from(byte)]
}

/// Names and most values are shorter than what a vector search pays for.
const SHORT: usize = 24;

impl<'t> Lexer<'t> {
    pub fn new(text: &'t [u8], conforming: bool) -> Self {
        Self {
            text,
            at: 0,
            conforming,
            torn: false,
            backslash: false,
        }
    }

    /// The next token; blanks and comments are passed over.
    #[inline]
    pub fn next(&mut self) -> Token<'t> {
        loop {
            let start = self.at;
            let Some(&byte) = self.text.get(start) else {
                return Token {
                    kind: Kind::End,
                    text: &[],
                };
            };
            self.at = start + 1;
            let kind = match CLASSES[usize::from(byte)] {
                Class::Blank => continue,
                Class::Letter => self.word(byte),
                Class::Single(kind) => kind,
                Class::DoubleQuote => self.quoted(Kind::Quoted),
                Class::Quote => self.string_after(0, !self.conforming, true),
                Class::Digit => self.number(),
                Class::Dollar => self.dollar(),
                Class::Maybe => match (byte, self.peek()) {
                    (b'-', Some(b'-')) => {
                        self.at = end_of_line(self.text, self.at);
                        continue;
                    }
                    (b'/', Some(b'*')) => {
                        self.comment();
                        continue;
                    }
                    (b'.', Some(b'0'..=b'9')) => self.number(),
                    (b'.', _) => Kind::Dot,
                    _ => Kind::Other,
                },
                Class::Wrong => {
                    self.torn = true;
                    Kind::Other
                }
            };
            let text = self.text.get(start..self.at).unwrap_or_default();
            return Token { kind, text };
        }
    }

    /// Where the next token is looked for.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Whether these bytes stand anywhere in the text.
    pub fn mentions(&self, bytes: &[u8]) -> bool {
        memmem::find(self.text, bytes).is_some()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// A word, or the prefix of a string that touches it (manual, 4.1.2.2, 4.1.2.3, 4.1.2.5).
    #[inline]
    fn word(&mut self, first: u8) -> Kind {
        let second = self.at;
        let rest = self.rest();
        self.at += rest
            .iter()
            .position(|&byte| !in_word(byte))
            .unwrap_or(rest.len());
        if self.at == second && matches!(self.peek(), Some(b'\'' | b'&')) {
            return self.prefixed(first | 0x20);
        }
        Kind::Word
    }

    fn prefixed(&mut self, prefix: u8) -> Kind {
        match (prefix, self.rest()) {
            (b'e', [b'\'', ..]) => self.string_after(1, true, false),
            (b'b' | b'x', [b'\'', ..]) => self.string_after(1, false, false),
            (b'n', [b'\'', ..]) => self.string_after(1, !self.conforming, true),
            (b'u', [b'&', b'\'', ..]) => self.string_after(2, false, false),
            (b'u', [b'&', b'"', ..]) => {
                self.at += 2;
                self.quoted(Kind::Unicode)
            }
            _ => Kind::Word,
        }
    }

    /// A string of which the opening quote ends `skip` bytes from here.
    fn string_after(&mut self, skip: usize, escapes: bool, plain: bool) -> Kind {
        self.at += skip;
        loop {
            match self.find(
                |byte| matches!(byte, b'\'' | b'\\'),
                |rest| memchr2(b'\'', b'\\', rest),
            ) {
                None => return self.cut(Kind::String),
                Some(offset) => self.at += offset + 1,
            }
            if self.text.get(self.at - 1) == Some(&b'\\') {
                self.backslash |= plain;
                self.at += usize::from(escapes);
            } else if self.peek() == Some(b'\'') {
                self.at += 1;
            } else if let Some(quote) = self.continued() {
                self.at = quote + 1;
            } else {
                return Kind::String;
            }
        }
    }

    /// Where the string goes on, if only blanks with a line's end among them, and `--` comments,
    /// lie between (manual, 4.1.2.1).
    fn continued(&self) -> Option<usize> {
        let mut at = self.at;
        let mut lines = false;
        loop {
            match self.text.get(at)? {
                b'\n' | b'\r' => lines = true,
                b' ' | b'\t' | 0x0b | 0x0c => {}
                b'-' if self.text.get(at + 1) == Some(&b'-') => {
                    at = end_of_line(self.text, at);
                    continue;
                }
                b'\'' if lines => return Some(at),
                _ => return None,
            }
            at += 1;
        }
    }

    /// How far it is to the next such byte.
    #[inline]
    fn find(
        &self,
        is: impl Fn(u8) -> bool,
        search: impl Fn(&[u8]) -> Option<usize>,
    ) -> Option<usize> {
        let rest = self.rest();
        if let Some(near) = rest.iter().take(SHORT).position(|&byte| is(byte)) {
            return Some(near);
        }
        search(rest.get(SHORT..)?).map(|far| SHORT + far)
    }

    #[inline]
    fn quoted(&mut self, kind: Kind) -> Kind {
        loop {
            match self.find(|byte| byte == b'"', |rest| memchr(b'"', rest)) {
                None => return self.cut(kind),
                Some(offset) => self.at += offset + 1,
            }
            if self.peek() != Some(b'"') {
                return kind;
            }
            self.at += 1;
        }
    }

    /// Digits, a fraction and an exponent; what follows a number that is none begins a new token.
    fn number(&mut self) -> Kind {
        self.digits();
        if let [b'.', next, ..] = self.rest()
            && *next != b'.'
        {
            self.at += 1;
            self.digits();
        }
        match self.rest() {
            [b'e' | b'E', b'0'..=b'9', ..] => self.at += 2,
            [b'e' | b'E', b'+' | b'-', b'0'..=b'9', ..] => self.at += 3,
            _ => return Kind::Number,
        }
        self.digits();
        Kind::Number
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    /// `$1`, `$tag$ .. $tag$` (manual, 4.1.2.4), or a lone dollar sign.
    fn dollar(&mut self) -> Kind {
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            self.digits();
            return Kind::Parameter;
        }
        let rest = self.rest();
        let tag = rest
            .iter()
            .take_while(|&&byte| in_word(byte) && byte != b'$')
            .count();
        if rest.get(tag) != Some(&b'$') {
            self.torn = true;
            return Kind::Other;
        }
        let delimiter = self
            .text
            .get(self.at - 1..=self.at + tag)
            .unwrap_or_default();
        let body = rest.get(tag + 1..).unwrap_or_default();
        match memmem::find(body, delimiter) {
            None => self.cut(Kind::String),
            Some(length) => {
                self.at += tag + 1 + length + delimiter.len();
                Kind::String
            }
        }
    }

    /// `/* .. */`, which nest (manual, 4.1.5).
    fn comment(&mut self) {
        self.at += 1;
        let mut depth = 1_usize;
        while depth > 0 {
            match memchr2(b'*', b'/', self.rest()) {
                None => {
                    self.cut(Kind::End);
                    return;
                }
                Some(offset) => self.at += offset,
            }
            match self.rest() {
                [b'*', b'/', ..] => {
                    depth -= 1;
                    self.at += 2;
                }
                [b'/', b'*', ..] => {
                    depth += 1;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
    }

    /// The text ends inside a token of this kind.
    fn cut(&mut self, kind: Kind) -> Kind {
        self.at = self.text.len();
        self.torn = true;
        kind
    }
}

impl<'t> Token<'t> {
    /// Whether it is the bare word `word`, given in lower case.
    pub fn is(&self, word: &[u8]) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// The identifier without its quotes, as it was written.
    pub fn identifier(&self) -> Option<&'t [u8]> {
        let quotes = match self.kind {
            Kind::Word => return Some(self.text),
            Kind::Quoted => 1,
            Kind::Unicode => 3,
            _ => return None,
        };
        self.text.get(quotes..)?.strip_suffix(b"\"")
    }

    /// What a string literal says, when it is written without anything to undo.
    pub fn literal(&self) -> Option<&'t [u8]> {
        if self.kind != Kind::String {
            return None;
        }
        let inner = match self.text {
            [b'\'', inner @ .., b'\''] | [b'e' | b'E', b'\'', inner @ .., b'\''] => inner,
            [b'$', b'$', inner @ .., b'$', b'$'] => return Some(inner),
            _ => return None,
        };
        memchr2(b'\'', b'\\', inner).is_none().then_some(inner)
    }
}

fn end_of_line(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    memchr2(b'\n', b'\r', rest).map_or(text.len(), |offset| from + offset)
}
