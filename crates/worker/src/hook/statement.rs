//! Owns what is known of a statement by its words, once for all requests, and which of its values tell
//! one run from another.
//! Leaves its runs to `request`.

use std::sync::atomic::{AtomicU32, Ordering};

use canter_insight::operations::What;
use canter_insight::statement::{Dialect, strip};
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

const READS: [&str; 5] = ["SELECT", "select", "(SELECT", "WITH", "with"];
/// Kinds of things, which Django asks for once in a process and then knows: repeats of these are no
/// fault of a request.
const KEPT: [&str; 2] = [
    "SELECT \"django_content_type\"",
    "SELECT `django_content_type`",
];
const ADDS: [&str; 2] = ["INSERT", "insert"];
const CHANGES: [&str; 4] = ["UPDATE", "update", "DELETE", "delete"];
const WRITES: [&str; 2] = ["MERGE", "REPLACE"];

/// A longer text is not kept: it is cut to its form without values.
pub(super) const MOST_KEPT: usize = 8 * 1024;
/// How deep lists of values are looked into.
const MOST_DEPTH: u32 = 3;

/// What a statement is for, as far as runs of it are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It asks: for all its values.
    Asks,
    /// It adds rows: others each time.
    Adds,
    /// It changes or deletes rows: in the ORM's words the last value says which.
    Changes,
    /// It writes in another way.
    Writes,
    /// It is counted.
    #[default]
    Else,
}

impl Purpose {
    fn of(text: &str) -> Self {
        let starts = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
        if starts(&READS) {
            return if starts(&KEPT) {
                Self::Else
            } else {
                Self::Asks
            };
        }
        let kinds = [
            (&ADDS[..], Self::Adds),
            (&CHANGES[..], Self::Changes),
            (&WRITES[..], Self::Writes),
        ];
        let found = kinds.into_iter().find(|(words, _)| starts(words));
        found.map_or(Self::Else, |(_, purpose)| purpose)
    }

    pub fn writes(self) -> bool {
        matches!(self, Self::Adds | Self::Changes | Self::Writes)
    }
}

/// A statement with the words that Django has it in.
#[pyclass(frozen, module = "canter._worker")]
pub(crate) struct Statement {
    pub sql: Py<PyString>,
    pub vendor: String,
    /// Equal for statements that differ in values only.
    pub name: u64,
    pub bits: u8,
    /// Of which kind it is for metrics.
    pub what: What,
    pub purpose: Purpose,
    /// Where it asks for several rows of one key: which of its values the key is made of.
    keys: Vec<u16>,
    /// The round in which the front was told of it last.
    told: AtomicU32,
}

impl Statement {
    pub fn read(sql: &Bound<'_, PyString>, vendor: &str) -> Self {
        // One that is no UTF-8 has no database either.
        let text = sql.to_string_lossy();
        let found = strip(text.as_bytes(), Dialect::of_vendor(vendor));
        let traits = found.traits;
        let kept = match text.len() {
            0..=MOST_KEPT => sql.clone(),
            _ => PyString::new(sql.py(), &found.text),
        };
        Self {
            sql: kept.unbind(),
            vendor: vendor.to_owned(),
            name: found.fingerprint,
            bits: found.traits.to_bits(),
            what: What::of(vendor, &found),
            purpose: Purpose::of(&text),
            keys: if traits.pages || traits.batches {
                found.keys
            } else {
                Vec::new()
            },
            told: AtomicU32::new(0),
        }
    }

    /// Whether it begins, keeps or undoes a savepoint, whose names Django counts up.
    pub fn is_savepoint(&self) -> bool {
        matches!(self.what.operation(), "SAVEPOINT" | "RELEASE" | "ROLLBACK")
    }

    /// Its text without values.
    pub fn text(&self, py: Python<'_>) -> String {
        let sql = self.sql.bind(py).to_string_lossy();
        strip(sql.as_bytes(), Dialect::of_vendor(&self.vendor)).text
    }

    /// Whether the front is yet to be told of it in this round; from now on it is.
    pub fn is_news(&self, round: u32) -> bool {
        self.told.swap(round, Ordering::Relaxed) != round
    }

    /// What tells a run, the request's `number`th, from another, all of it and that of its key: equal for equal
    /// ones, in this process. None where nothing is told apart, as with values that nobody can tell apart: a
    /// hash may raise anything.
    pub fn tell_apart(
        &self,
        params: &Bound<'_, PyAny>,
        many: &Bound<'_, PyAny>,
        number: u64,
    ) -> PyResult<Option<(u64, u64)>> {
        match self.read_values(params, many, number) {
            // Whatever else comes ends the thread's work, which is for the app.
            Err(error) if error.is_instance_of::<PyException>(params.py()) => Ok(None),
            read => read,
        }
    }

    fn read_values(
        &self,
        params: &Bound<'_, PyAny>,
        many: &Bound<'_, PyAny>,
        number: u64,
    ) -> PyResult<Option<(u64, u64)>> {
        let row = match self.purpose {
            Purpose::Asks => return self.values(params).map(Some),
            // Rows that come together are written as they should be.
            Purpose::Adds | Purpose::Changes if many.is_truthy()? => None,
            Purpose::Adds => Some(number),
            Purpose::Changes => last(params).map(|it| one(&it, MOST_DEPTH)).transpose()?,
            Purpose::Writes | Purpose::Else => None,
        };
        Ok(row.map(|row| (row, row)))
    }

    fn values(&self, params: &Bound<'_, PyAny>) -> PyResult<(u64, u64)> {
        let value = value_of(params)?;
        if self.keys.is_empty() {
            return Ok((value, value));
        }
        // By name they are in no order.
        let Some(items) = items(params) else {
            return Ok((value, value));
        };
        let keys = self.keys.iter();
        let keys = keys.filter_map(|at| items.get(usize::from(*at)).cloned());
        Ok((value, mixed(keys, MOST_DEPTH)?))
    }
}

/// Which savepoint the connection is in, or, without one, whether in a transaction that the app has begun itself:
/// then 1. 0 outside, and in one that Django begins for its own call.
pub(super) fn savepoint(connection: &Bound<'_, PyAny>) -> PyResult<u64> {
    let py = connection.py();
    let names = connection.getattr(intern!(py, "savepoint_ids"))?;
    // Blocks that need none have None in the place of a name.
    for name in items(&names).unwrap_or_default().iter().rev() {
        if let Ok(name) = name.cast::<PyString>() {
            return Ok(name.hash()?.cast_unsigned() as u64);
        }
    }
    // Not in Django before 4.0.
    let blocks = connection.getattr_opt(intern!(py, "atomic_blocks"))?;
    let outermost = blocks.and_then(|blocks| items(&blocks)?.into_iter().next());
    let Some(outermost) = outermost else {
        return Ok(0);
    };
    let is_own = outermost.getattr_opt(intern!(py, "savepoint"))?;
    Ok(is_own
        .map(|it| it.is_truthy())
        .transpose()?
        .map_or(0, u64::from))
}

fn value_of(params: &Bound<'_, PyAny>) -> PyResult<u64> {
    if params.is_none() {
        return Ok(0);
    }
    one(params, MOST_DEPTH)
}

fn items<'py>(value: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    if let Ok(list) = value.cast::<PyList>() {
        return Some(list.iter().collect());
    }
    Some(value.cast::<PyTuple>().ok()?.iter().collect())
}

fn last<'py>(value: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if let Ok(list) = value.cast::<PyList>() {
        return list.get_item(list.len().checked_sub(1)?).ok();
    }
    let tuple = value.cast::<PyTuple>().ok()?;
    tuple.get_item(tuple.len().checked_sub(1)?).ok()
}

fn mixed<'py>(values: impl Iterator<Item = Bound<'py, PyAny>>, depth: u32) -> PyResult<u64> {
    let mut sum = 1_u64;
    for value in values {
        // Odd, and without a pattern: each value counts at its own place.
        sum = (sum.rotate_left(23) ^ one(&value, depth)?).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    Ok(sum)
}

fn one(value: &Bound<'_, PyAny>, depth: u32) -> PyResult<u64> {
    if depth > 0 {
        if let Ok(tuple) = value.cast::<PyTuple>() {
            return mixed(tuple.iter(), depth - 1);
        }
        if let Ok(list) = value.cast::<PyList>() {
            return mixed(list.iter(), depth - 1);
        }
    }
    match value.hash() {
        // Python has -1 for a failure, so that numbers -1 and -2 have this one both.
        Ok(-2) => Ok(value.repr()?.hash()?.cast_unsigned() as u64),
        Ok(hash) => Ok(hash.cast_unsigned() as u64),
        Err(error) if error.is_instance_of::<PyTypeError>(value.py()) => {
            Ok(value.repr()?.hash()?.cast_unsigned() as u64)
        }
        Err(error) => Err(error),
    }
}
