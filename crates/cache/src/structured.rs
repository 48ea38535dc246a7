//! Structured fields (RFC 9651): owns reading a dictionary whole or not at all. Which keys mean
//! something is left to [`crate::directives`].

/// A value of a dictionary, as far as a cache directive can have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// `?1`, or a key alone.
    True,
    /// `?0`
    False,
    /// A whole number.
    Integer(i64),
    /// Anything else that is well formed.
    Other,
}

/// The members of a dictionary in their order; a key that comes twice has its last value
/// (section 4.2.2). None when anything is not as the grammar has it.
pub fn dictionary(field: &[u8]) -> Option<Vec<(Vec<u8>, Value)>> {
    let mut input = Input { rest: field };
    let mut members: Vec<(Vec<u8>, Value)> = Vec::new();
    input.skip(|byte| byte == b' ');
    while !input.rest.is_empty() {
        let key = input.key()?.to_vec();
        let value = if input.take(b'=') {
            if input.rest.first() == Some(&b'(') {
                input.inner_list()?;
                Value::Other
            } else {
                input.bare_item()?
            }
        } else {
            Value::True
        };
        input.parameters()?;
        let is_full = members.len() >= MOST_MEMBERS;
        match members.iter_mut().find(|(own, _)| *own == key) {
            Some(member) => member.1 = value,
            None if !is_full => members.push((key, value)),
            None => return None,
        }
        input.comma()?;
    }
    Some(members)
}

/// More directives than this are no cache policy.
const MOST_MEMBERS: usize = 64;

/// Whether the text is a list of items that are strings, and which (for RFC 9875). None when it is
/// not well formed.
pub fn strings(field: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut input = Input { rest: field };
    let mut found = Vec::new();
    input.skip(|byte| byte == b' ');
    while !input.rest.is_empty() {
        if input.rest.first() != Some(&b'"') || found.len() >= MOST_MEMBERS {
            return None;
        }
        found.push(input.string()?);
        input.parameters()?;
        input.comma()?;
    }
    Some(found)
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, byte: u8) -> bool {
        let is = self.rest.first() == Some(&byte);
        if is {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        is
    }

    /// Takes bytes as long as they fit.
    fn skip(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let count = self.rest.iter().take_while(|&&byte| fits(byte)).count();
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or_default();
        self.rest = rest;
        taken
    }

    fn skip_ows(&mut self) {
        self.skip(crate::text::is_ows);
    }

    /// After a member: the end, or a comma with another member behind it.
    fn comma(&mut self) -> Option<()> {
        self.skip_ows();
        if self.rest.is_empty() {
            return Some(());
        }
        if !self.take(b',') {
            return None;
        }
        self.skip_ows();
        (!self.rest.is_empty()).then_some(())
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let begins = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'*';
        self.rest.first().filter(|byte| begins(byte))?;
        Some(self.skip(|byte| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'_' | b'-' | b'.' | b'*')
        }))
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(|byte| byte == b' ');
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn inner_list(&mut self) -> Option<()> {
        self.take(b'(').then_some(())?;
        loop {
            self.skip(|byte| byte == b' ');
            if self.take(b')') {
                return Some(());
            }
            self.bare_item()?;
            self.parameters()?;
            matches!(self.rest.first(), Some(b' ' | b')')).then_some(())?;
        }
    }

    fn bare_item(&mut self) -> Option<Value> {
        match *self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(|_| Value::Other),
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => {
                self.skip(|byte| crate::text::is_token_byte(byte) || matches!(byte, b':' | b'/'));
                Some(Value::Other)
            }
            b':' => self.bytes(),
            b'?' => {
                self.next();
                match self.next()? {
                    b'1' => Some(Value::True),
                    b'0' => Some(Value::False),
                    _ => None,
                }
            }
            b'@' => {
                self.next();
                match self.number()? {
                    Value::Integer(_) => Some(Value::Other),
                    _ => None,
                }
            }
            b'%' => self.display_string(),
            _ => None,
        }
    }

    /// At most 15 digits, or 12 and 3 behind a point (section 4.2.4).
    fn number(&mut self) -> Option<Value> {
        let negative = self.take(b'-');
        let digits = self.skip(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        if self.take(b'.') {
            let fraction = self.skip(|byte| byte.is_ascii_digit());
            let fits = digits.len() <= 12 && (1..=3).contains(&fraction.len());
            return fits.then_some(Value::Other);
        }
        let sum = digits
            .iter()
            .fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(Value::Integer(if negative { -sum } else { sum }))
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        self.take(b'"').then_some(())?;
        let mut out = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(out),
                b'\\' => match self.next()? {
                    byte @ (b'"' | b'\\') => out.push(byte),
                    _ => return None,
                },
                byte @ 0x20..=0x7e => out.push(byte),
                _ => return None,
            }
        }
    }

    fn bytes(&mut self) -> Option<Value> {
        self.take(b':').then_some(())?;
        self.skip(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.take(b':').then_some(Value::Other)
    }

    fn display_string(&mut self) -> Option<Value> {
        let opening = self.next()? == b'%' && self.next()? == b'"';
        opening.then_some(())?;
        let mut out = Vec::new();
        loop {
            match self.next()? {
                b'"' => return String::from_utf8(out).ok().map(|_| Value::Other),
                b'%' => out.push(self.hex()? << 4 | self.hex()?),
                byte @ 0x20..=0x7e => out.push(byte),
                _ => return None,
            }
        }
    }

    fn hex(&mut self) -> Option<u8> {
        match self.next()? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_read_as_rfc_9651_section_4_2_2_has_it() {
        let int = Value::Integer;
        for (text, expected) in [
            ("max-age=60", Some(&[("max-age", int(60))][..])),
            ("a, b=?0", Some(&[("a", Value::True), ("b", Value::False)])),
            ("a=1, a=2", Some(&[("a", int(2))])),
            (
                "a;x=1;y=\"z\", b",
                Some(&[("a", Value::True), ("b", Value::True)]),
            ),
            ("a=(1 \"x\";q tok)", Some(&[("a", Value::Other)])),
            ("a=1.5", Some(&[("a", Value::Other)])),
            ("a=-15", Some(&[("a", int(-15))])),
            ("a=\"x\\\"y\"", Some(&[("a", Value::Other)])),
            ("a=:aGk=:", Some(&[("a", Value::Other)])),
            ("a=@1659578233", Some(&[("a", Value::Other)])),
            ("a=%\"f%c3%bc\"", Some(&[("a", Value::Other)])),
            (
                "  a  ,\tb ",
                Some(&[("a", Value::True), ("b", Value::True)]),
            ),
            ("", Some(&[])),
            ("a,", None),
            ("a b", None),
            ("MaX-age=1", None),
            ("max-age=1, &&&&&", None),
            ("max-age =1", None),
            ("max-age= 1", None),
            ("a=", None),
            ("a=1234567890123456", None),
            ("a=1.2345", None),
            ("a=\"x", None),
            ("a=?2", None),
            ("a=(1", None),
            ("a=@1.5", None),
            ("a=%\"%C3\"", None),
            ("a=\u{fc}", None),
        ] {
            let found = dictionary(text.as_bytes());
            let expected = expected.map(|members| {
                let owned = members.iter();
                owned
                    .map(|(key, value)| (key.as_bytes().to_vec(), *value))
                    .collect::<Vec<_>>()
            });
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_list_of_strings_has_nothing_else() {
        let found = strings(b"\"scripts\", \"a\\\\b\";x=1").unwrap();
        assert_eq!(found, [b"scripts".to_vec(), b"a\\b".to_vec()]);
        assert_eq!(strings(b""), Some(Vec::new()));
        for wrong in [&b"scripts"[..], b"\"a\",", b"\"a\" \"b\"", b"(\"a\")"] {
            assert_eq!(strings(wrong), None);
        }
    }
}
