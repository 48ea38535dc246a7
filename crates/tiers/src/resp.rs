//! The protocol of Valkey and Redis (RESP3): owns writing commands and reading replies, within
//! bounds. Leaves sockets to `link`, and what replies mean to `shared`.
//!
//! Our own, for we need a dozen of its commands on one connection and must bound every length: the
//! crates for it bring sixty others.

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// A number; of a boolean 0 or 1.
    Int(i64),
    /// Text or bytes.
    Text(Vec<u8>),
    /// What the server refused.
    Error(Vec<u8>),
    /// Several; a map is its keys and values in turn.
    List(Vec<Value>),
    /// What nobody asked for: a message of a channel.
    Push(Vec<Value>),
}

impl Value {
    /// Its bytes, where it has any.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What is in it.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) | Self::Push(items) => items,
            _ => &[],
        }
    }

    /// A number, also where it is written as text.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            Self::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }
}

/// What came is no reply, or larger than anything we ask for.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

/// The longest line.
const LONGEST_LINE: usize = 64 * 1024;
/// The longest text.
pub const LONGEST: usize = 8 << 20;
/// The most values of one reply, lists in lists included.
const MOST_VALUES: usize = 8 * 1024;
/// How deep lists may lie in each other.
const DEEPEST: u8 = 4;

/// Writes a command.
pub fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads the reply at the beginning and how long it is; None when more of it must come.
///
/// It is looked at once without copying anything: a long one comes in many pieces, and copying all
/// that is there at each of them would cost its square.
pub fn read(bytes: &[u8]) -> Result<Option<(Value, usize)>, Broken> {
    for copies in [false, true] {
        let mut reading = Reading {
            rest: bytes,
            values: 0,
            copies,
        };
        match reading.value(0)? {
            Some(value) if copies => return Ok(Some((value, bytes.len() - reading.rest.len()))),
            Some(_) => {}
            None => break,
        }
    }
    Ok(None)
}

/// A reply on its way.
struct Reading<'a> {
    rest: &'a [u8],
    /// How many it has had.
    values: usize,
    /// Texts are copied; otherwise they are empty.
    copies: bool,
}

impl Reading<'_> {
    fn text(&self, bytes: &[u8]) -> Vec<u8> {
        let kept = if self.copies { bytes } else { b"" };
        kept.to_vec()
    }

    fn value(&mut self, depth: u8) -> Result<Option<Value>, Broken> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(Broken);
        }
        let Some((kind, line)) = line(&mut self.rest)? else {
            return Ok(None);
        };
        let number = || {
            let text = std::str::from_utf8(line).map_err(|_| Broken)?;
            text.parse::<i64>().map_err(|_| Broken)
        };
        Ok(Some(match kind {
            b'_' => Value::Nil,
            b'+' | b',' | b'(' => Value::Text(self.text(line)),
            b'-' => Value::Error(self.text(line)),
            b':' => Value::Int(number()?),
            b'#' => Value::Int(i64::from(line == b"t")),
            b'$' | b'=' | b'!' => {
                let length = number()?;
                if length < 0 {
                    return Ok(Some(Value::Nil));
                }
                let Some(text) = self.bulk(length)? else {
                    return Ok(None);
                };
                match kind {
                    b'!' => Value::Error(text),
                    _ => Value::Text(text),
                }
            }
            b'*' | b'~' | b'%' | b'>' => {
                let count = number()?;
                if count < 0 {
                    return Ok(Some(Value::Nil));
                }
                let count = usize::try_from(count).map_err(|_| Broken)?;
                if count > MOST_VALUES || depth == DEEPEST {
                    return Err(Broken);
                }
                let count = if kind == b'%' { count * 2 } else { count };
                let mut items = Vec::new();
                for _ in 0..count {
                    match self.value(depth + 1)? {
                        Some(item) => items.push(item),
                        None => return Ok(None),
                    }
                }
                match kind {
                    b'>' => Value::Push(items),
                    _ => Value::List(items),
                }
            }
            _ => return Err(Broken),
        }))
    }

    /// A text of so many bytes, and the end of its line.
    fn bulk(&mut self, length: i64) -> Result<Option<Vec<u8>>, Broken> {
        let length = usize::try_from(length).map_err(|_| Broken)?;
        if length > LONGEST {
            return Err(Broken);
        }
        let Some((text, after)) = self.rest.split_at_checked(length) else {
            return Ok(None);
        };
        let Some((end, after)) = after.split_at_checked(2) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(Broken);
        }
        self.rest = after;
        Ok(Some(self.text(text)))
    }
}

/// The first byte of a line and what follows it.
fn line<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, Broken> {
    let bytes = *rest;
    let looked_at = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let Some(end) = looked_at.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= LONGEST_LINE {
            Err(Broken)
        } else {
            Ok(None)
        };
    };
    let (line, after) = bytes.split_at(end);
    *rest = after.get(2..).unwrap_or_default();
    let (kind, line) = line.split_first().ok_or(Broken)?;
    Ok(Some((*kind, line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn a_command_is_a_list_of_texts() {
        let mut out = Vec::new();
        command(&mut out, &[b"GET", b"a\r\nb"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn replies_are_read_whole_and_byte_by_byte() {
        let rows: [(&str, Value); 9] = [
            ("+OK\r\n", text("OK")),
            ("-ERR no\r\n", Value::Error(b"ERR no".to_vec())),
            (":-7\r\n", Value::Int(-7)),
            ("$-1\r\n", Value::Nil),
            ("_\r\n", Value::Nil),
            ("$5\r\na\r\nbc\r\n", text("a\r\nbc")),
            (
                "*2\r\n:1\r\n$1\r\nx\r\n",
                Value::List(vec![Value::Int(1), text("x")]),
            ),
            (
                "%1\r\n+k\r\n#t\r\n",
                Value::List(vec![text("k"), Value::Int(1)]),
            ),
            (
                ">2\r\n+message\r\n+c\r\n",
                Value::Push(vec![text("message"), text("c")]),
            ),
        ];
        for (bytes, expected) in rows {
            let bytes = bytes.as_bytes();
            let with_more = [bytes, b"+more\r\n"].concat();
            assert_eq!(read(&with_more), Ok(Some((expected, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(
                    read(&bytes[..cut]),
                    Ok(None),
                    "{cut} of {}",
                    bytes.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn what_is_no_reply_or_too_large_is_refused() {
        let deep = "*1\r\n".repeat(9);
        let long = "+".repeat(LONGEST_LINE + 1);
        let many = format!("*2\r\n{0}{0}", format!("*5000\r\n{}", "_\r\n".repeat(5000)));
        for wrong in [
            "HTTP/1.1 200 OK\r\n",
            "$99999999999\r\n",
            "*99999999\r\n",
            "$1\r\nab\r\n",
            ":x\r\n",
            "\r\n",
            &deep,
            &long,
            &many,
        ] {
            assert_eq!(read(wrong.as_bytes()), Err(Broken), "{wrong:.20}");
        }
    }
}
