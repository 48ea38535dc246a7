//! Owns what is known of a statement by its words, once for all requests.
//! Leaves its runs to `request`.

use canter_insight::statement::{Dialect, strip};
use pyo3::prelude::*;
use pyo3::types::PyString;

const READS: [&str; 5] = ["SELECT", "select", "(SELECT", "WITH", "with"];
/// Kinds of things, which Django asks for once in a process and then knows: repeats of these are no
/// fault of a request.
const KEPT: [&str; 2] = [
    "SELECT \"django_content_type\"",
    "SELECT `django_content_type`",
];
const WRITES: [&str; 8] = [
    "INSERT", "UPDATE", "DELETE", "insert", "update", "delete", "MERGE", "REPLACE",
];

/// A statement with the words that Django has it in.
#[pyclass(frozen, module = "canter._worker")]
pub(crate) struct Statement {
    pub sql: Py<PyString>,
    pub vendor: String,
    /// Equal for statements that differ in values only.
    pub name: u64,
    pub bits: u8,
    /// Its values are looked at.
    pub is_compared: bool,
    pub is_write: bool,
}

impl Statement {
    /// The statement, and its text without values.
    pub fn read(sql: &Bound<'_, PyString>, vendor: &str) -> (Self, String) {
        // One that is no UTF-8 has no database either.
        let text = sql.to_string_lossy();
        let starts = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
        let found = strip(text.as_bytes(), Dialect::of_vendor(vendor));
        let statement = Self {
            sql: sql.clone().unbind(),
            vendor: vendor.to_owned(),
            name: found.fingerprint,
            bits: found.traits.to_bits(),
            is_compared: starts(&READS) && !starts(&KEPT),
            is_write: starts(&WRITES),
        };
        (statement, found.text)
    }
}
