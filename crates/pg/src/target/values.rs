//! Values of keywords: numbers, switches and words from a list. A wrong one is never a default.

use std::time::Duration;

use super::TargetError;

/// One of the words in `rows`; the first of them when nothing was given.
pub(super) fn word<T: Copy + Default>(
    given: Option<&str>,
    keyword: &str,
    rows: &[(&str, T)],
) -> Result<T, TargetError> {
    let Some(given) = given else {
        return Ok(rows.first().map_or_else(T::default, |&(_, value)| value));
    };
    rows.iter()
        .find(|(word, _)| *word == given)
        .map(|&(_, value)| value)
        .ok_or_else(|| {
            let words: Vec<&str> = rows.iter().map(|&(word, _)| word).collect();
            TargetError::new(format!("{keyword} must be one of {}", words.join(", ")))
        })
}

/// A whole number as libpq reads one; `None` when nothing was given.
pub(super) fn decimal(keyword: &str, given: Option<&str>) -> Result<Option<i32>, TargetError> {
    given
        .map(|text| {
            text.trim()
                .parse::<i32>()
                .map_err(|_| TargetError::new(format!("{keyword} must be a whole number")))
        })
        .transpose()
}

/// Negative numbers mean zero to libpq, and zero the system's value.
pub(super) fn number(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// Seconds; zero and less stand for no bound.
pub(super) fn seconds(keyword: &str, given: Option<&str>) -> Result<Option<Duration>, TargetError> {
    let seconds = decimal(keyword, given)?
        .map(number)
        .filter(|&seconds| seconds > 0);
    Ok(seconds.map(|seconds| Duration::from_secs(u64::from(seconds))))
}

/// 0 or 1.
pub(super) fn flag(keyword: &str, given: Option<&str>, default: bool) -> Result<bool, TargetError> {
    match given {
        None => Ok(default),
        Some("1") => Ok(true),
        Some("0") => Ok(false),
        Some(_) => Err(TargetError::new(format!("{keyword} must be 0 or 1"))),
    }
}
