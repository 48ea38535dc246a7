//! Constants that stand for the time at which they are read: a statement keeps what they meant when it
//! was prepared (PostgreSQL manual, 8.5.1.4 "Special Values").

const WORDS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];

/// Whether a constant in `text` may be one of `'now'`, `'today'`, `'tomorrow'` and `'yesterday'`, alone or with
/// more around it, or a `time with time zone`. A column of that name counts, too; a call of `now()` does not. Not
/// seen is one that is written with escapes.
pub fn tells_time(text: &[u8]) -> bool {
    let is_first = |byte: &u8| matches!(byte | 0x20, b'n' | b't' | b'y');
    let mut starts = text.iter().enumerate().filter(|(_, byte)| is_first(byte));
    starts.any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        if before.is_some_and(|before| is_of_word(*before)) {
            return false;
        }
        let rest = text.get(at..).unwrap_or_default();
        let end = rest.iter().position(|byte| !is_of_word(*byte));
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        let behind = behind.trim_ascii_start();
        // A time without its zone has that of today, which differs in summer.
        let has_zone =
            || behind.first() == Some(&b'(') || behind.to_ascii_lowercase().starts_with(b"with");
        let is_one = |known: &&[u8]| word.eq_ignore_ascii_case(known);
        is_one(&&b"timetz"[..])
            || is_one(&&b"time"[..]) && has_zone()
            || WORDS.iter().any(is_one) && behind.first() != Some(&b'(')
    })
}

/// Digits are not: `'today12:00'` is one.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c1_words_for_the_time_are_found_as_constants_not_as_calls() {
        for text in [
            "select 'now'::timestamptz",
            "select timestamp 'Today 12:00'",
            "select $$tomorrow$$::date",
            "select a from b where c > E'YESTERDAY'",
            "now",
            "select now from clocks",
            "select 'today12:00'::timestamp, '12:00today'::timestamp",
            "select '10:00'::timetz",
            "select time with time zone '10:00'",
            "select cast('10:00' as time(3) with time zone)",
        ] {
            assert!(tells_time(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "select now()",
            "select now () - interval '1 day'",
            "select known, nowhere, snow, todays, to_day, t from tomorrows",
            "select current_date, timestamptz '2026-01-01', time '10:00'",
        ] {
            assert!(!tells_time(text.as_bytes()), "{text}");
        }
    }
}
