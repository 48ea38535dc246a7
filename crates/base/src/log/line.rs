//! One log line as text: escaping and the three forms. No clock, no output.

use std::fmt::Write as _;

use super::{Format, Level, Settings};
use crate::clock::push_iso8601;

/// The value of a field. Text is capped and escaped, so that nothing from outside can grow a line
/// without bound, forge another one, or steer a terminal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Text of any origin.
    Text(&'a str),
    /// Lines meant for reading, such as a traceback: kept as lines in the human form.
    Block(&'a str),
    /// A count, an id or a number of milliseconds.
    Whole(i64),
    /// The same, when it is never negative.
    Count(u64),
    /// A ratio or a time with a fraction.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

macro_rules! from {
    ($($from:ty => $variant:ident $(as $to:ty)?;)+) => {
        $(impl From<$from> for Value<'_> {
            fn from(value: $from) -> Self {
                #[allow(clippy::cast_lossless)]
                Self::$variant(value $(as $to)?)
            }
        })+
    };
}

from! {
    i32 => Whole as i64;
    i64 => Whole;
    u8 => Count as u64;
    u16 => Count as u64;
    u32 => Count as u64;
    u64 => Count;
    usize => Count as u64;
    f64 => Number;
    bool => Flag;
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

/// Longest text of one field, in bytes.
const TEXT_CAP: usize = 2048;

/// Longest block, in bytes: a deep traceback.
const BLOCK_CAP: usize = 32 * 1024;

/// Appends the line with its newline.
pub fn render(
    out: &mut String,
    settings: Settings,
    wall_ms: u64,
    level: Level,
    message: &str,
    fields: &[(&str, Value<'_>)],
) {
    match settings.format {
        Format::Human => human(out, settings.colour, wall_ms, level, message, fields),
        Format::Json => json(out, wall_ms, level, message, fields),
        Format::Logfmt => logfmt(out, wall_ms, level, message, fields),
    }
}

fn human(
    out: &mut String,
    colour: bool,
    wall_ms: u64,
    level: Level,
    message: &str,
    fields: &[(&str, Value<'_>)],
) {
    let (level_colour, dim, plain) = match (colour, level) {
        (false, _) => ("", "", ""),
        (true, Level::Error) => ("\x1b[31m", "\x1b[2m", "\x1b[0m"),
        (true, Level::Warn) => ("\x1b[33m", "\x1b[2m", "\x1b[0m"),
        (true, Level::Info) => ("\x1b[32m", "\x1b[2m", "\x1b[0m"),
        (true, Level::Debug) => ("\x1b[2m", "\x1b[2m", "\x1b[0m"),
    };
    out.push_str(dim);
    push_iso8601(out, wall_ms);
    let _ = write!(out, "{plain} {level_colour}{:<5}{plain} ", level.word());
    push_visible(out, cap(message, BLOCK_CAP), "\\n");
    for (key, value) in fields {
        if let Value::Block(_) = value {
            continue;
        }
        let _ = write!(out, " {dim}{key}={plain}");
        push_plain(out, value);
    }
    out.push('\n');
    for (_, value) in fields {
        if let Value::Block(text) = value {
            for line in cap(text, BLOCK_CAP).lines() {
                out.push_str("    ");
                push_visible(out, line, "\\n");
                out.push('\n');
            }
        }
    }
}

fn logfmt(
    out: &mut String,
    wall_ms: u64,
    level: Level,
    message: &str,
    fields: &[(&str, Value<'_>)],
) {
    out.push_str("time=");
    push_iso8601(out, wall_ms);
    let _ = write!(out, " level={} msg=", level.word());
    push_logfmt_value(out, cap(message, BLOCK_CAP));
    for (key, value) in fields {
        let _ = write!(out, " {key}=");
        push_plain(out, value);
    }
    out.push('\n');
}

fn json(out: &mut String, wall_ms: u64, level: Level, message: &str, fields: &[(&str, Value<'_>)]) {
    out.push_str("{\"time\":\"");
    push_iso8601(out, wall_ms);
    let _ = write!(out, "\",\"level\":\"{}\",\"message\":", level.word());
    push_json_string(out, cap(message, BLOCK_CAP));
    for (key, value) in fields {
        out.push(',');
        push_json_string(out, key);
        out.push(':');
        match value {
            Value::Text(text) => push_json_string(out, cap(text, TEXT_CAP)),
            Value::Block(text) => push_json_string(out, cap(text, BLOCK_CAP)),
            // JSON has no word for infinity or not-a-number (RFC 8259 section 6).
            Value::Number(number) if !number.is_finite() => out.push_str("null"),
            number => push_number(out, number),
        }
    }
    out.push_str("}\n");
}

/// A value in the human form and in logfmt.
fn push_plain(out: &mut String, value: &Value<'_>) {
    match value {
        Value::Text(text) => push_logfmt_value(out, cap(text, TEXT_CAP)),
        Value::Block(text) => push_logfmt_value(out, cap(text, BLOCK_CAP)),
        number => push_number(out, number),
    }
}

fn push_number(out: &mut String, value: &Value<'_>) {
    let _ = match value {
        Value::Whole(number) => write!(out, "{number}"),
        Value::Count(number) => write!(out, "{number}"),
        Value::Number(number) => write!(out, "{number}"),
        Value::Flag(flag) => write!(out, "{flag}"),
        Value::Text(_) | Value::Block(_) => Ok(()),
    };
}

/// Appends a JSON string with its quotes (RFC 8259 section 7).
pub fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // JSON allows the rest, but a terminal or an old script may read them as line ends.
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            character => out.push(character),
        }
    }
    out.push('"');
}

/// Appends a logfmt value: bare when it needs no quotes.
pub fn push_logfmt_value(out: &mut String, text: &str) {
    let bare = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '"' | '=' | '\\');
    if !text.is_empty() && text.chars().all(bare) {
        out.push_str(text);
    } else {
        push_json_string(out, text);
    }
}

/// Text with control characters made visible; tabs stay.
fn push_visible(out: &mut String, text: &str, newline: &str) {
    for character in text.chars() {
        match character {
            '\n' => out.push_str(newline),
            '\t' => out.push('\t'),
            control if control.is_control() => out.extend(control.escape_default()),
            character => out.push(character),
        }
    }
}

/// The first bytes of a text, cut between characters.
fn cap(text: &str, most: usize) -> &str {
    // A character has at most four bytes, so a border is near.
    let border = (0..=most.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    border.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Format, message: &str, fields: &[(&str, Value<'_>)]) -> String {
        let mut out = String::new();
        let settings = Settings {
            level: Level::Info,
            format,
            colour: false,
            patience: std::time::Duration::ZERO,
        };
        render(&mut out, settings, 0, Level::Warn, message, fields);
        out
    }

    #[test]
    fn each_form_carries_time_level_message_and_fields() {
        let fields = [
            ("worker", Value::from(3_u32)),
            ("path", Value::from("/a b")),
        ];
        for (format, expected) in [
            (
                Format::Human,
                "1970-01-01T00:00:00.000Z warn  slow worker=3 path=\"/a b\"\n",
            ),
            (
                Format::Logfmt,
                "time=1970-01-01T00:00:00.000Z level=warn msg=slow worker=3 path=\"/a b\"\n",
            ),
            (
                Format::Json,
                "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"warn\",\"message\":\"slow\",\
                 \"worker\":3,\"path\":\"/a b\"}\n",
            ),
        ] {
            assert_eq!(line(format, "slow", &fields), expected);
        }
    }

    #[test]
    fn nothing_from_outside_can_end_a_line_or_reach_the_terminal() {
        let evil = "x\n1970 error forged\r\x1b[2J\u{85}\u{9b}\u{2028}\"\\=";
        for format in [Format::Human, Format::Logfmt, Format::Json] {
            let text = line(format, evil, &[("path", Value::from(evil))]);
            let body = text.strip_suffix('\n').unwrap();
            assert!(
                !body.contains(|c: char| c.is_control()),
                "{format:?}: {text:?}"
            );
        }
    }

    #[test]
    fn a_block_keeps_its_lines_for_people_and_stays_one_line_for_programs() {
        let fields = [
            ("stack", Value::Block("a\n  b\n")),
            ("id", Value::from("7")),
        ];
        assert_eq!(
            line(Format::Human, "stuck", &fields),
            "1970-01-01T00:00:00.000Z warn  stuck id=7\n    a\n      b\n"
        );
        assert!(
            line(Format::Json, "stuck", &fields)
                .ends_with("\"stack\":\"a\\n  b\\n\",\"id\":\"7\"}\n")
        );
        assert_eq!(line(Format::Logfmt, "stuck", &fields).lines().count(), 1);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let long = "é".repeat(TEXT_CAP);
        let text = line(Format::Logfmt, "m", &[("path", Value::from(long.as_str()))]);
        assert!(text.len() < TEXT_CAP + 100 && text.ends_with("é\n"));
        assert_eq!(cap("aé", 2), "a");
    }

    #[test]
    fn a_number_that_json_cannot_write_is_null() {
        let text = line(Format::Json, "m", &[("ratio", Value::from(f64::NAN))]);
        assert!(text.ends_with("\"ratio\":null}\n"));
    }

    #[test]
    fn colour_adds_no_words() {
        let mut out = String::new();
        let settings = Settings {
            level: Level::Info,
            format: Format::Human,
            colour: true,
            patience: std::time::Duration::ZERO,
        };
        render(
            &mut out,
            settings,
            0,
            Level::Warn,
            "m",
            &[("a", Value::from(1))],
        );
        for code in ["\x1b[33m", "\x1b[2m", "\x1b[0m"] {
            out = out.replace(code, "");
        }
        assert_eq!(out, line(Format::Human, "m", &[("a", Value::from(1))]));
    }
}
