//! Layers: where settings come from. Each layer turns its input into settings with their origin.
//!
//! Owns what a setting is and the check of one value; which layer wins is decided in `resolve.rs`.

pub(super) mod file;
pub(super) mod flags;
pub(super) mod platform;
pub(super) mod preset;
pub(super) mod variables;

use super::declare::Row;
use super::table::ROWS;
use crate::fault::Fault;

/// Where a value was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// Nobody set it, and the default is another on this platform.
    PlatformDefault(&'static str),
    /// A key in a file.
    File {
        /// The file as it was named.
        path: String,
        /// The line the key is on, from 1.
        line: usize,
        /// The key as it was spelled.
        key: String,
    },
    /// A variable that platforms set: `PORT`.
    Platform(&'static str),
    /// A `CANTER_*` variable.
    Variable(String),
    /// A flag as it was spelled.
    Flag(String),
}

impl Origin {
    /// One word for a program: `flag`.
    pub fn layer(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::PlatformDefault(_) => "platform default",
            Self::File { .. } => "file",
            Self::Platform(_) => "platform",
            Self::Variable(_) => "environment",
            Self::Flag(_) => "flag",
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => write!(formatter, "default"),
            Self::PlatformDefault(name) => write!(formatter, "platform {name}"),
            Self::File { path, line, key } => write!(formatter, "{path}:{line}, key `{key}`"),
            Self::Platform(name) => {
                write!(formatter, "environment variable `{name}`")
            }
            Self::Variable(name) => write!(formatter, "environment variable `{name}`"),
            Self::Flag(name) => write!(formatter, "flag `{name}`"),
        }
    }
}

/// A value some layer gives to an option, known to be one of its type.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The option.
    pub row: &'static Row,
    /// What was written; several for a list.
    pub texts: Vec<String>,
    /// Where.
    pub origin: Origin,
}

impl Setting {
    /// Checks the value here, so that no layer holds a bad one even when another layer wins.
    pub fn new(row: &'static Row, texts: Vec<String>, origin: Origin) -> Result<Self, Fault> {
        match (row.check)(&texts) {
            Ok(_) => Ok(Self { row, texts, origin }),
            Err((text, wrong)) => {
                let what = format!(
                    "invalid value `{text}` for `{}`: {}",
                    row.name(),
                    wrong.expected
                );
                let fault = Fault::usage(what).from(origin.to_string());
                Err(match wrong.hint {
                    Some(hint) => fault.hint(hint),
                    None => fault,
                })
            }
        }
    }
}

/// The option that answers to a name in flags and files, where `_` and `-` are the same.
pub fn row_named(name: &str) -> Option<&'static Row> {
    let name = name.replace('_', "-");
    ROWS.iter().find(|row| row.answers_to(&name))
}

/// The option of a `Config` field.
pub fn row_of(field: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.field == field)
}

/// Names to compare a mistyped one with.
pub fn known_names() -> Vec<String> {
    let gunicorn = ROWS
        .iter()
        .flat_map(|row| row.gunicorn)
        .map(|name| name.replace('_', "-"));
    ROWS.iter().map(Row::name).chain(gunicorn).collect()
}
