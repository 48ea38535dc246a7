//! Owns cutting SQL into tokens: where strings, numbers, comments and names begin and end.
//! Leaves what is written of them to `emit`.

use super::Dialect;

/// A piece of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name without quotes.
    Word(&'a [u8]),
    /// A name in quotes, without them.
    Name(&'a [u8]),
    /// A value.
    Value,
    /// The number 1.
    One,
    /// The place of a value that comes apart from the text.
    Place,
    /// An operator or a bracket, one byte at a time.
    Sign(u8),
}

pub(super) struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
    dialect: Dialect,
}

impl<'a> Lexer<'a> {
    pub fn new(sql: &'a [u8], dialect: Dialect) -> Self {
        Self {
            sql,
            at: 0,
            dialect,
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.sql.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'a [u8] {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn since(&self, from: usize) -> &'a [u8] {
        self.sql
            .get(from..self.at.min(self.sql.len()))
            .unwrap_or_default()
    }

    pub fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let byte = *self.sql.get(self.at)?;
        Some(match byte {
            b'\'' => self.string(self.dialect == Dialect::Mysql),
            b'"' if matches!(self.dialect, Dialect::Mysql | Dialect::Unknown) => {
                self.quoted(b'"', self.dialect == Dialect::Mysql);
                Token::Value
            }
            b'"' | b'`' => self.name(byte),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() => self.number(),
            b'%' => self.percent(),
            b'?' => self.one(Token::Place),
            b'$' => self.dollar(),
            b':' => self.colon(),
            b'@' if self.peek(1) == b'@' || !is_word(self.peek(1)) => self.one(Token::Sign(b'@')),
            b'@' => {
                self.at += 1;
                self.word();
                Token::Place
            }
            _ if is_word(byte) => self.word_or_prefix(),
            _ => self.one(Token::Sign(byte)),
        })
    }

    fn one(&mut self, token: Token<'a>) -> Token<'a> {
        self.at += 1;
        token
    }

    /// White space and comments.
    fn skip_blanks(&mut self) {
        loop {
            let start = self.at;
            while self.peek(0).is_ascii_whitespace() || (self.peek(0) == 0x0b) {
                self.at += 1;
            }
            let begins_line = self.at == 0 || self.since(start).contains(&b'\n');
            match (self.peek(0), self.peek(1)) {
                (b'-', b'-') => self.skip_line(),
                // Elsewhere in a line it is an operator of PostgreSQL.
                (b'#', _) if begins_line || self.dialect == Dialect::Mysql => self.skip_line(),
                (b'/', b'*') => self.skip_comment(),
                _ => return,
            }
        }
    }

    fn skip_line(&mut self) {
        let end = self.rest().iter().position(|byte| *byte == b'\n');
        self.at = end.map_or(self.sql.len(), |end| self.at + end);
    }

    fn skip_comment(&mut self) {
        self.at += 2;
        let mut depth = 1_u32;
        while depth > 0 && self.at < self.sql.len() {
            match (self.peek(0), self.peek(1)) {
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                }
                // Only PostgreSQL counts them.
                (b'/', b'*') if self.dialect == Dialect::Postgres => {
                    depth += 1;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
    }

    /// From a quote to its end; doubled quotes stay inside. True when the end was found for sure.
    fn quoted(&mut self, quote: u8, escapes: bool) {
        self.at += 1;
        while self.at < self.sql.len() {
            let (byte, next) = (self.peek(0), self.peek(1));
            if byte == b'\\' && escapes {
                self.at += 2;
            } else if byte == b'\\' && next == quote && self.dialect == Dialect::Unknown {
                // Whether the string ends here cannot be known: nothing of the rest is shown.
                self.at = self.sql.len();
            } else if byte != quote {
                self.at += 1;
            } else if next == quote {
                self.at += 2;
            } else {
                self.at += 1;
                return;
            }
        }
    }

    fn string(&mut self, escapes: bool) -> Token<'a> {
        self.quoted(b'\'', escapes);
        Token::Value
    }

    fn name(&mut self, quote: u8) -> Token<'a> {
        let from = self.at + 1;
        self.quoted(quote, false);
        let inside = self.since(from);
        Token::Name(inside.strip_suffix(&[quote]).unwrap_or(inside))
    }

    /// Digits with all that may belong to them: `1.5e-3`, `0xff`, `1_000`.
    fn number(&mut self) -> Token<'a> {
        let from = self.at;
        while self.at < self.sql.len() {
            let byte = self.peek(0);
            let is_exponent_sign = matches!(byte, b'+' | b'-')
                && matches!(self.sql.get(self.at - 1), Some(b'e' | b'E'))
                && self.peek(1).is_ascii_digit();
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || is_exponent_sign) {
                break;
            }
            self.at += 1;
        }
        match self.since(from) {
            b"1" => Token::One,
            _ => Token::Value,
        }
    }

    /// `%s` and `%(name)s` of Python's drivers; `%%` and the operator are a sign.
    fn percent(&mut self) -> Token<'a> {
        if self.peek(1) == b's' && !is_word(self.peek(2)) {
            self.at += 2;
            return Token::Place;
        }
        if self.peek(1) == b'('
            && let Some(end) = self.rest().iter().position(|byte| *byte == b')')
            && self.peek(end + 1) == b's'
        {
            self.at += end + 2;
            return Token::Place;
        }
        self.at += if self.peek(1) == b'%' { 2 } else { 1 };
        Token::Sign(b'%')
    }

    /// `$1`, or a string between `$tag$` and `$tag$`.
    fn dollar(&mut self) -> Token<'a> {
        let rest = self.rest();
        let tag = rest
            .iter()
            .skip(1)
            .take_while(|byte| is_word(**byte) && **byte != b'$');
        let len = tag.count();
        if self.peek(1).is_ascii_digit() {
            self.at += 1 + len;
            return Token::Place;
        }
        if self.peek(1 + len) != b'$' || matches!(self.dialect, Dialect::Sqlite | Dialect::Mysql) {
            self.at += 1 + len;
            return Token::Value;
        }
        let (tag, behind) = rest.split_at(len + 2);
        let end = behind.windows(tag.len()).position(|window| window == tag);
        self.at = end.map_or(self.sql.len(), |end| self.at + 2 * tag.len() + end);
        Token::Value
    }

    /// `:name` is the place of a value, `::` a cast.
    fn colon(&mut self) -> Token<'a> {
        if self.peek(1) == b':' {
            self.at += 2;
            return Token::Sign(b':');
        }
        self.at += 1;
        if !is_word(self.peek(0)) {
            return Token::Sign(b':');
        }
        self.word();
        Token::Place
    }

    fn word(&mut self) -> &'a [u8] {
        let from = self.at;
        while is_word(self.peek(0)) && self.at < self.sql.len() {
            self.at += 1;
        }
        self.since(from)
    }

    /// A word, unless it says what kind of string follows: `E'…'`, `X'…'`, `N'…'`, `U&'…'`.
    fn word_or_prefix(&mut self) -> Token<'a> {
        let word = self.word();
        if word.eq_ignore_ascii_case(b"u") && self.peek(0) == b'&' && self.peek(1) == b'\'' {
            self.at += 1;
            return self.string(false);
        }
        if self.peek(0) != b'\'' {
            return Token::Word(word);
        }
        match word {
            b"e" | b"E" => self.string(true),
            b"b" | b"B" | b"x" | b"X" | b"n" | b"N" => self.string(self.dialect == Dialect::Mysql),
            b"q" | b"Q" | b"nq" | b"NQ" | b"Nq" | b"nQ" if self.dialect == Dialect::Oracle => {
                self.oracle_string()
            }
            // `_utf8'…'`, `DATE'…'`: the string is the next token.
            _ => Token::Word(word),
        }
    }

    /// `q'[…]'`: to the bracket that fits, or the byte itself, and the quote behind it.
    fn oracle_string(&mut self) -> Token<'a> {
        let close = match self.peek(1) {
            b'[' => b']',
            b'(' => b')',
            b'{' => b'}',
            b'<' => b'>',
            other => other,
        };
        self.at = (self.at + 2).min(self.sql.len());
        let end = self
            .rest()
            .windows(2)
            .position(|pair| pair == [close, b'\'']);
        self.at = end.map_or(self.sql.len(), |end| self.at + end + 2);
        Token::Value
    }
}

/// Letters, digits, `_`, `$`, and every byte beyond ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}
