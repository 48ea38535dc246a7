//! The few heads of messages we look into: names, tags, texts, states.
//!
//! Owns cutting them out of a body; every cut is checked. What they mean is the relay's.

use super::TxStatus;

/// Cuts the NUL-terminated string at the start of `rest` off.
#[inline]
pub fn take_cstr<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr::memchr(0, rest)?;
    let (text, after) = rest.split_at_checked(end)?;
    *rest = after.get(1..)?;
    Some(text)
}

/// `Parse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    /// Count and OIDs of the parameters, as sent.
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Decodes a whole body.
    pub fn decode(mut body: &'a [u8]) -> Option<Self> {
        let name = take_cstr(&mut body)?;
        let text = take_cstr(&mut body)?;
        let (count, oids) = body.split_first_chunk::<2>()?;
        let count = usize::from(u16::from_be_bytes(*count));
        (oids.len() == count * 4).then_some(Self {
            name,
            text,
            types: body,
        })
    }
}

/// The start of a `Bind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindHead<'a> {
    /// The portal it makes.
    pub portal: &'a [u8],
    /// The statement it binds.
    pub statement: &'a [u8],
    /// Bytes of the body that both names take.
    pub length: usize,
}

impl<'a> BindHead<'a> {
    /// Decodes the start of a body, which need not be whole.
    pub fn decode(body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        let portal = take_cstr(&mut rest)?;
        let statement = take_cstr(&mut rest)?;
        Some(Self {
            portal,
            statement,
            length: body.len() - rest.len(),
        })
    }
}

/// What a `Describe` or a `Close` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

impl<'a> Named<'a> {
    /// Decodes a whole body.
    pub fn decode(body: &'a [u8]) -> Option<Self> {
        let (&kind, mut rest) = body.split_first()?;
        let name = take_cstr(&mut rest)?;
        match kind {
            _ if !rest.is_empty() => None,
            b'S' => Some(Self::Statement(name)),
            b'P' => Some(Self::Portal(name)),
            _ => None,
        }
    }
}

/// The text of a `Query`.
pub fn query_text(mut body: &[u8]) -> Option<&[u8]> {
    let text = take_cstr(&mut body)?;
    body.is_empty().then_some(text)
}

/// The status of a `ReadyForQuery`.
pub fn ready_status(body: &[u8]) -> Option<TxStatus> {
    match body {
        [status] => TxStatus::from_byte(*status),
        _ => None,
    }
}

/// The tag of a `CommandComplete`.
pub fn command_tag(mut body: &[u8]) -> Option<&[u8]> {
    take_cstr(&mut body)
}

/// Name and value of a `ParameterStatus`; the value is in the session's `client_encoding`.
pub fn parameter_status(mut body: &[u8]) -> Option<(&str, &[u8])> {
    let name = std::str::from_utf8(take_cstr(&mut body)?).ok()?;
    Some((name, take_cstr(&mut body)?))
}

/// The columns of a `DataRow`; `None` inside for NULL.
pub fn columns(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_be_bytes(*count));
    let mut columns = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        if length < 0 {
            columns.push(None);
            rest = after;
        } else {
            let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
            columns.push(Some(value));
            rest = after;
        }
    }
    Some(columns)
}

/// The parameter values of a `Bind`, from what follows its names; ends at the first that is not
/// whole.
pub fn bound(rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = |rest: &mut &[u8]| -> Option<usize> {
        let (count, after) = rest.split_first_chunk::<2>()?;
        *rest = after;
        Some(usize::from(u16::from_be_bytes(*count)))
    };
    let mut rest = rest;
    let mut values = || {
        let formats = count(&mut rest)?;
        rest = rest.get(formats * 2..)?;
        count(&mut rest)
    };
    let mut left = values().unwrap_or(0);
    std::iter::from_fn(move || {
        while left > 0 {
            left -= 1;
            let (length, after) = rest.split_first_chunk::<4>()?;
            rest = after;
            if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
                let (value, after) = rest.split_at_checked(length)?;
                rest = after;
                return Some(value);
            }
        }
        None
    })
}
