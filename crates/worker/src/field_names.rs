//! Owns the way from a field's name on the wire to its key in environ (PEP 3333, "environ
//! Variables"): upper case, `-` becomes `_`, `HTTP_` in front of all but two.
//! Leaves values and repeated fields to `environ`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use pyo3::prelude::*;
use pyo3::types::PyString;

/// Names come from clients: past this many distinct ones a key is made anew each time.
const MOST_NAMES: usize = 512;

/// Longer names are nobody's habit, and could make what is remembered large.
const LONGEST_REMEMBERED: usize = 64;

/// Always remembered, so that nobody can crowd them out with made-up names.
const COMMON: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "content-length",
    "content-type",
    "cookie",
    "dnt",
    "expect",
    "forwarded",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "te",
    "traceparent",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-csrftoken",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
];

/// The keys made so far.
pub(crate) struct FieldNames {
    keys: HashMap<Box<[u8]>, Py<PyString>, BuildHasherDefault<Fnv>>,
}

impl FieldNames {
    pub fn new(py: Python<'_>) -> Self {
        let mut names = Self {
            keys: HashMap::default(),
        };
        for name in COMMON {
            names.key(py, name.as_bytes());
        }
        names
    }

    /// The key for a name in lower case. None for a name with an underscore, which could pass for
    /// one with a dash; the front drops such fields, so this is the second lock on that door.
    pub fn key<'py>(&mut self, py: Python<'py>, name: &[u8]) -> Option<Bound<'py, PyString>> {
        if let Some(key) = self.keys.get(name) {
            return Some(key.bind(py).clone());
        }
        if name.contains(&b'_') {
            return None;
        }
        let text = key_text(name);
        if self.keys.len() >= MOST_NAMES || name.len() > LONGEST_REMEMBERED {
            return Some(PyString::new(py, &text));
        }
        let key = PyString::intern(py, &text);
        self.keys.insert(name.into(), key.clone().unbind());
        Some(key)
    }
}

fn key_text(name: &[u8]) -> String {
    let upper = name.iter().map(|&byte| match byte {
        b'-' => '_',
        _ => char::from(byte.to_ascii_uppercase()),
    });
    match name {
        b"content-type" | b"content-length" => upper.collect(),
        _ => "HTTP_".chars().chain(upper).collect(),
    }
}

/// FNV-1a: a few nanoseconds on short names. That a client can make names collide costs nothing
/// worth having, for the table is small and bounded.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_usize(&mut self, _length: usize) {
        // The length of a slice is hashed before its bytes; the bytes alone tell names apart.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
