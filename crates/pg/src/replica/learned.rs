//! Statements that failed on a replica and ran on the primary: they are not tried again (H2).
//! Owns the fingerprint, a hash of a text without its literals, and a bounded set of them.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crate::sql::lex::{Kind, Lexer};

/// What is remembered; the oldest is forgotten first.
#[derive(Debug, Default)]
pub struct Learned {
    hasher: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

/// Sixteen bytes each, or a little more.
const MOST: usize = 4096;

impl Learned {
    /// This text belongs on the primary.
    pub fn add(&mut self, text: &[u8]) {
        let fingerprint = fingerprint(text, &self.hasher);
        if !self.known.insert(fingerprint) {
            return;
        }
        self.order.push_back(fingerprint);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether a text that differs only in its literals was learned. Costs nothing while nothing is.
    pub fn has(&self, text: &[u8]) -> bool {
        !self.known.is_empty() && self.known.contains(&fingerprint(text, &self.hasher))
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.known.len()
    }
}

/// Equal for texts that differ in strings, numbers, parameters, blanks, comments, the case of bare
/// words, and how many literals stand in a row (`IN (1, 2, 3)`).
pub fn fingerprint(text: &[u8], hasher: &RandomState) -> u64 {
    let mut lexer = Lexer::new(text, true);
    let mut hash = hasher.build_hasher();
    let mut last = Kind::End;
    let mut comma = false;
    loop {
        let token = lexer.next();
        let literal = matches!(token.kind, Kind::String | Kind::Number | Kind::Parameter);
        if comma && !(literal && last == Kind::Number) {
            hash.write_u8(b',');
        }
        if token.kind == Kind::Comma && last == Kind::Number {
            // Part of a row of literals, if another one follows.
            comma = true;
            continue;
        }
        if literal {
            if !comma {
                hash.write_u8(b'?');
            }
        } else {
            hash.write_usize(token.text.len());
            if token.kind == Kind::Word {
                token
                    .text
                    .iter()
                    .for_each(|byte| hash.write_u8(byte.to_ascii_lowercase()));
            } else {
                hash.write(token.text);
            }
        }
        if token.kind == Kind::End {
            return hash.finish();
        }
        comma = false;
        last = if literal { Kind::Number } else { token.kind };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h2_a_fingerprint_is_the_text_without_its_literals() {
        let hasher = RandomState::new();
        let of = |text: &str| fingerprint(text.as_bytes(), &hasher);
        let one = of("SELECT f(1) FROM t WHERE a IN (1, 2, 3) AND b = 'x'");
        for same in [
            "select F ( 22 ) FROM t WHERE a IN ('y') AND b = $1 -- again",
            "SELECT f(/* */ 1.5) FROM t WHERE a IN (1,2) AND b = E'\\''",
        ] {
            assert_eq!(one, of(same), "{same}");
        }
        for other in [
            "SELECT f(1) FROM t WHERE a IN (1, 2, 3) AND b = c",
            "SELECT g(1) FROM t WHERE a IN (1, 2, 3) AND b = 'x'",
            "SELECT f(1), FROM t WHERE a IN (1, 2, 3) AND b = 'x'",
            "SELECT f(1 2) FROM t WHERE a IN (1, 2, 3) AND b = 'x'",
            "SELECT f(1) FROM \"T\" WHERE a IN (1, 2, 3) AND b = 'x'",
            "SELECT f(1) FROM tWHERE a IN (1, 2, 3) AND b = 'x'",
        ] {
            assert_ne!(one, of(other), "{other}");
        }
        assert_ne!(of("SELECT 1,"), of("SELECT 1"));
        assert_eq!(of("SELECT 1, a"), of("SELECT 2, a"));
        assert_ne!(of("SELECT 1, a"), of("SELECT 2 a"));
    }

    #[test]
    fn h2_what_is_learned_is_bounded_and_forgotten_in_order() {
        let mut learned = Learned::default();
        assert!(!learned.has(b"SELECT f(1)"));
        learned.add(b"SELECT f(1)");
        learned.add(b"SELECT f(2)");
        assert_eq!(learned.len(), 1);
        assert!(learned.has(b"SELECT f(3)"));
        for n in 0..MOST {
            learned.add(format!("SELECT f{n}_(1)").as_bytes());
        }
        assert_eq!(learned.len(), MOST);
        assert!(!learned.has(b"SELECT f(3)"));
    }
}
