//! Owns reading what an app gives to `start_response` (PEP 3333, "The `start_response()` Callable"):
//! checks it and writes it as a response message.
//! Leaves when it is sent to `answer`, and the last word on names and values to the front.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use canter_base::log::{Level, Value};
use canter_channel::MOST_RECORD;
use canter_channel::response::{Facts, Writer};
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

use crate::entry;

/// Heads longer than this are a mistake of the app; it leaves room in a record for a body.
const MOST_HEAD: usize = MOST_RECORD / 2;

/// What a client may have to be sent while the app is at work.
const MOST_HINTS: usize = 16 * 1024;

/// A response head, checked, as the bytes of a response message without body.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub message: Vec<u8>,
    /// As declared by the app, where it is a number.
    pub content_length: Option<u64>,
    /// Whether the app has declared any length.
    pub declares_length: bool,
    /// RFC 9110 6.4.1: no body with 204 and 304, hence no length to add.
    pub bodyless: bool,
}

impl Head {
    pub fn read(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Self> {
        let status = status.cast::<PyString>().map_err(|_| {
            PyTypeError::new_err(format!("status must be a str, not {}", type_name(status)))
        })?;
        let status = latin(status, "status")?;
        let (number, reason) = split_status(&status)?;
        let headers = headers.cast::<PyList>().map_err(|_| {
            PyTypeError::new_err(format!(
                "headers must be a list of tuples, not {}",
                type_name(headers)
            ))
        })?;
        let mut head = Self {
            message: Vec::with_capacity(512),
            bodyless: matches!(number, 204 | 304),
            ..Self::default()
        };
        let mut message = std::mem::take(&mut head.message);
        let mut writer = Writer::new(
            &mut message,
            &Facts {
                status: number,
                reason,
            },
        );
        for item in headers.iter() {
            head.add(&mut writer, &item)?;
        }
        if message.len() > MOST_HEAD {
            return Err(PyValueError::new_err(format!(
                "the response's headers have {} bytes, more than {MOST_HEAD}",
                message.len()
            )));
        }
        head.message = message;
        Ok(head)
    }

    /// The fields of a 103: what the app gives, as `start_response` takes it.
    pub fn read_hints(headers: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut head = Self::default();
        let mut message = Vec::with_capacity(256);
        let facts = Facts {
            status: 103,
            reason: b"",
        };
        let mut writer = Writer::new(&mut message, &facts);
        for item in headers.try_iter()? {
            head.add(&mut writer, &item?)?;
        }
        if message.len() > MOST_HINTS {
            return Err(PyValueError::new_err(format!(
                "the early hints have {} bytes, more than {MOST_HINTS}",
                message.len()
            )));
        }
        head.message = message;
        Ok(head)
    }

    /// Declares the length of a body that is known and too long for one record.
    pub fn add_content_length(&mut self, length: u64) {
        if self.declares_length || self.bodyless {
            return;
        }
        self.declares_length = true;
        // Built anew, for a field cannot be added to a message that was written to its end: its
        // number of fields stands at the front. 65535 fields are refused before.
        let text = length.to_string();
        let mut longer = Vec::with_capacity(self.message.len() + 40);
        if let Ok(response) = canter_channel::response::Response::read(&self.message) {
            let mut writer = Writer::new(&mut longer, &response.facts);
            let fields = response.fields();
            let added = (b"Content-Length".as_slice(), text.as_bytes());
            for (name, value) in fields.chain(std::iter::once(added)) {
                if writer.field(name, value).is_err() {
                    return;
                }
            }
            self.message = longer;
        }
    }

    fn add(&mut self, writer: &mut Writer<'_>, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let pair = item.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
        let Some(pair) = pair else {
            return Err(PyTypeError::new_err(format!(
                "each header must be a tuple of name and value, not {}",
                type_name(item)
            )));
        };
        let (name, value) = (pair.get_item(0)?, pair.get_item(1)?);
        let (Ok(name), Ok(value)) = (name.cast::<PyString>(), value.cast::<PyString>()) else {
            return Err(PyTypeError::new_err(format!(
                "a header's name and value must be str, not {} and {}",
                type_name(&name),
                type_name(&value)
            )));
        };
        let name = latin(name, "a header's name")?;
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err(PyValueError::new_err(format!(
                "a header's name must be a token (RFC 9110 5.1), not {:?}",
                String::from_utf8_lossy(&name)
            )));
        }
        let value = latin(value, "a header's value")?;
        if let Some(&byte) = value.iter().find(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(PyValueError::new_err(format!(
                "the value of header {} contains the byte {byte:#04x} (RFC 9110 5.5)",
                String::from_utf8_lossy(&name)
            )));
        }
        let value = without_space_around(&value);
        if is_hop_by_hop(&name) {
            warn_once(&name);
            // Fields it lists are not to be kept by a cache, so the front must see it; nobody else
            // does.
            if !lists_fields(&name, value) {
                return Ok(());
            }
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            self.declares_length = true;
            self.content_length = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok());
        }
        writer.field(&name, value).map_err(|_| {
            PyValueError::new_err(format!(
                "header {} is longer than 65535 bytes, or there are more headers than that",
                String::from_utf8_lossy(&name)
            ))
        })
    }
}

/// The bytes of a str as ISO-8859-1 (PEP 3333, "Unicode Issues"). For ASCII they are borrowed.
fn latin<'a>(text: &'a Bound<'_, PyString>, what: &str) -> PyResult<Cow<'a, [u8]>> {
    // Lone surrogates fail here, other characters outside ISO-8859-1 below.
    let refuse = || PyValueError::new_err(format!("{what} has characters outside ISO-8859-1"));
    let utf8 = text.to_str().map_err(|_| refuse())?;
    if utf8.is_ascii() {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    let bytes: Result<Vec<u8>, _> = utf8.chars().map(u8::try_from).collect();
    bytes.map(Cow::Owned).map_err(|_| refuse())
}

/// RFC 9110 5.5: optional white space at either end is no part of a field's value.
fn without_space_around(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `NNN reason`, NNN from 200: interim responses are the server's business (RFC 9110 15.2).
fn split_status(status: &[u8]) -> PyResult<(u16, &[u8])> {
    let parse = || {
        let (digits, rest) = status.split_at_checked(3)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let reason = match rest {
            [] => rest,
            [b' ', reason @ ..] => reason,
            _ => return None,
        };
        // RFC 9112 4: visible bytes, spaces and tabs.
        let printable = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        (number >= 200 && reason.iter().all(printable)).then_some((number, reason))
    };
    parse().ok_or_else(|| {
        PyValueError::new_err(format!(
            "status must be like '200 OK', from 200 to 999, not {:?}",
            String::from_utf8_lossy(status)
        ))
    })
}

/// RFC 9110 5.6.2.
fn is_token(byte: u8) -> bool {
    const OTHERS: &[u8] = b"!#$%&'*+-.^_`|~";
    const TOKEN: [bool; 256] = {
        let (mut table, mut byte) = ([false; 256], 0);
        while byte < 256 {
            table[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut at = 0;
        while at < OTHERS.len() {
            table[OTHERS[at] as usize] = true;
            at += 1;
        }
        table
    };
    TOKEN[usize::from(byte)]
}

/// PEP 3333, "Other HTTP Features": an app must not use these.
fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether this is a `Connection` that names fields (RFC 9110 7.6.1).
fn lists_fields(name: &[u8], value: &[u8]) -> bool {
    let options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let is_field = |option: &[u8]| {
        !option.is_empty()
            && !option.eq_ignore_ascii_case(b"close")
            && !option.eq_ignore_ascii_case(b"keep-alive")
    };
    name.eq_ignore_ascii_case(b"connection") && options.into_iter().any(is_field)
}

/// PEP 3333 calls it an error, but apps in wide use send `Connection`; failing them would help
/// nobody, so the header is dropped, and said once for each name.
fn warn_once(name: &[u8]) {
    static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if warned.insert(name.clone()) {
        entry::write(
            Level::Warn,
            &format!(
                "the app sent the header {name}, which is the server's own (PEP 3333); dropped"
            ),
            "the app sent a header that is the server's own (PEP 3333); dropped",
            &[("header", Value::from(&name))],
        );
    }
}

pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .qualname()
        .map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

/// PEP 3333: a second call without `exc_info` is an error of the app.
pub(crate) fn called_twice() -> PyErr {
    PyAssertionError::new_err("start_response() was called twice without exc_info")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_field_reaches_the_front_when_it_names_fields() {
        for (name, value, names) in [
            ("Connection", "a, b", true),
            ("connection", "close, X-Hop", true),
            ("Connection", "close", false),
            ("Connection", "Keep-Alive , close", false),
            ("Connection", "", false),
            ("Keep-Alive", "timeout=5", false),
        ] {
            let found = lists_fields(name.as_bytes(), value.as_bytes());
            assert_eq!(found, names, "{name}: {value}");
        }
    }
}
