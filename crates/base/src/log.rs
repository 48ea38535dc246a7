//! The log of the program itself: levels, fields, three forms, one write for each line.
//!
//! Owns how a line looks and the one place it goes (standard error), without ever waiting for
//! whoever reads there. What is worth saying is
//! decided at the edge of the program; library code returns instead. The access log is the front's.

use std::io::Stderr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock;

mod line;
mod sink;

pub use line::{Value, push_json_string, push_logfmt_value, render};
use sink::Sink;

/// How important a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// A person should look at it.
    Warn,
    /// A start, a stop or a change.
    Info,
    /// A decision, for whoever looks for a reason.
    Debug,
}

impl Level {
    /// From the most to the least important.
    pub const ALL: &[Self] = &[Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// The level as it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For reading.
    Human,
    /// One JSON object on each line.
    Json,
    /// `key=value` pairs.
    Logfmt,
}

impl Format {
    /// The form as it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
            Self::Logfmt => "logfmt",
        }
    }
}

/// How this process logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The least important level that is written.
    pub level: Level,
    /// The form of a line.
    pub format: Format,
    /// Whether `Human` lines are coloured; only right when standard error is a terminal.
    pub colour: bool,
    /// How long a line of which a part was taken may wait for the rest: none where an event loop logs. What is
    /// longer than a pipe holds (64 KiB, pipe(7)) outruns any reader.
    pub patience: Duration,
}

/// A fault may be logged before options are known.
const UNTIL_INIT: Settings = Settings {
    level: Level::Info,
    format: Format::Human,
    colour: false,
    patience: Duration::ZERO,
};

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Beside `SETTINGS`, so that a message nobody wants costs one relaxed load.
static LEVEL: AtomicU8 = AtomicU8::new(UNTIL_INIT.level as u8);

/// Sets how this process logs. The first call counts: the log does not change under its readers.
pub fn init(settings: Settings) {
    let settings = SETTINGS.get_or_init(|| settings);
    LEVEL.store(settings.level as u8, Ordering::Relaxed);
}

/// The form of a line in this process.
pub fn format() -> Format {
    SETTINGS.get().unwrap_or(&UNTIL_INIT).format
}

/// Whether a message of this level is written.
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Writes one line. Use the macros `error!`, `warn!`, `info!` and `debug!`.
pub fn write(level: Level, message: &str, fields: &[(&str, Value<'_>)]) {
    let settings = SETTINGS.get().unwrap_or(&UNTIL_INIT);
    let now = clock::wall_ms();
    let mut line = String::with_capacity(160);
    render(&mut line, *settings, now, level, message, fields);
    send(&line, *settings);
}

/// Writes whole lines as they are, such as an entry for people with a traceback below it.
pub fn put(lines: &str) {
    let settings = SETTINGS.get().unwrap_or(&UNTIL_INIT);
    send(lines, *settings);
}

fn send(lines: &str, settings: Settings) {
    // A log that cannot be written is no reason to stop serving.
    let mut sink = SINK.lock().unwrap_or_else(PoisonError::into_inner);
    let sink = sink.get_or_insert_with(|| Sink::new(std::io::stderr(), settings.patience));
    sink.put(lines.as_bytes(), |dropped| {
        let mut line = String::with_capacity(160);
        let fields = [("lines", Value::from(dropped))];
        render(
            &mut line,
            settings,
            clock::wall_ms(),
            Level::Warn,
            DROPPED,
            &fields,
        );
        line
    });
}

const DROPPED: &str = "lines of this log were dropped: nobody took them in time";

static SINK: Mutex<Option<Sink<Stderr>>> = Mutex::new(None);

/// Logs a message with fields: `info!("worker is ready", worker = 3, pid = pid)`.
///
/// The message is a fixed sentence, so that lines can be searched for it; what varies is a field.
#[macro_export]
macro_rules! log_at {
    ($level:ident, $message:expr $(, $key:ident = $value:expr)* $(,)?) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::write(
                $crate::log::Level::$level,
                $message,
                &[$((stringify!($key), $crate::log::Value::from($value))),*],
            );
        }
    };
}

/// Logs that something failed.
#[macro_export]
macro_rules! error { ($($rest:tt)+) => { $crate::log_at!(Error, $($rest)+) }; }

/// Logs what a person should look at.
#[macro_export]
macro_rules! warn { ($($rest:tt)+) => { $crate::log_at!(Warn, $($rest)+) }; }

/// Logs a start, a stop or a change.
#[macro_export]
macro_rules! info { ($($rest:tt)+) => { $crate::log_at!(Info, $($rest)+) }; }

/// Logs a decision.
#[macro_export]
macro_rules! debug { ($($rest:tt)+) => { $crate::log_at!(Debug, $($rest)+) }; }
