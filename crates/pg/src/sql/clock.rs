//! Constants that stand for the time at which they are read: a statement keeps what they meant when it
//! was prepared (PostgreSQL manual, 8.5.1.4 "Special Values").

const WORDS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];

/// Whether a constant in `text` may be one of `'now'`, `'today'`, `'tomorrow'` and `'yesterday'`, alone or with
/// more around it. A column of that name counts, too; a call of `now()` does not. Not seen is one that is
/// written with escapes.
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
        let is_one = WORDS.iter().any(|known| word.eq_ignore_ascii_case(known));
        is_one && behind.trim_ascii_start().first() != Some(&b'(')
    })
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
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
        ] {
            assert!(tells_time(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "select now()",
            "select now () - interval '1 day'",
            "select known, nowhere, snow, todays, to_day, t from tomorrows",
            "select current_date",
        ] {
            assert!(!tells_time(text.as_bytes()), "{text}");
        }
    }
}
