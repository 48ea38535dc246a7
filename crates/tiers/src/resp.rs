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
/// The most items of one list.
const MOST_ITEMS: usize = 16 * 1024;
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
pub fn read(bytes: &[u8]) -> Result<Option<(Value, usize)>, Broken> {
    let mut rest = bytes;
    let value = value(&mut rest, 0)?;
    Ok(value.map(|value| (value, bytes.len() - rest.len())))
}

fn value(rest: &mut &[u8], depth: u8) -> Result<Option<Value>, Broken> {
    let Some((kind, line)) = line(rest)? else {
        return Ok(None);
    };
    let number = || {
        let text = std::str::from_utf8(line).map_err(|_| Broken)?;
        text.parse::<i64>().map_err(|_| Broken)
    };
    Ok(Some(match kind {
        b'_' => Value::Nil,
        b'+' | b',' | b'(' => Value::Text(line.to_vec()),
        b'-' => Value::Error(line.to_vec()),
        b':' => Value::Int(number()?),
        b'#' => Value::Int(i64::from(line == b"t")),
        b'$' | b'=' | b'!' => {
            let length = number()?;
            if length < 0 {
                return Ok(Some(Value::Nil));
            }
            let length = usize::try_from(length).map_err(|_| Broken)?;
            if length > LONGEST {
                return Err(Broken);
            }
            let Some((text, after)) = rest.split_at_checked(length) else {
                return Ok(None);
            };
            let Some((end, after)) = after.split_at_checked(2) else {
                return Ok(None);
            };
            if end != b"\r\n" {
                return Err(Broken);
            }
            *rest = after;
            match kind {
                b'!' => Value::Error(text.to_vec()),
                _ => Value::Text(text.to_vec()),
            }
        }
        b'*' | b'~' | b'%' | b'>' => {
            let count = number()?;
            if count < 0 {
                return Ok(Some(Value::Nil));
            }
            let count = usize::try_from(count).map_err(|_| Broken)?;
            if count > MOST_ITEMS || depth == DEEPEST {
                return Err(Broken);
            }
            let count = if kind == b'%' { count * 2 } else { count };
            let mut items = Vec::new();
            for _ in 0..count {
                match value(rest, depth + 1)? {
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
        for wrong in [
            "HTTP/1.1 200 OK\r\n",
            "$99999999999\r\n",
            "*99999999\r\n",
            "$1\r\nab\r\n",
            ":x\r\n",
            "\r\n",
            &deep,
            &long,
        ] {
            assert_eq!(read(wrong.as_bytes()), Err(Broken), "{wrong:.20}");
        }
    }
}
