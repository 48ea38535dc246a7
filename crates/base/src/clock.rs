//! Owns the wall clock, the Gregorian calendar, and a timestamp in print, for what people read.
//! Leaves deadlines, and the clock that never goes back, to whoever waits.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The machine's wall clock, in milliseconds since 1970-01-01 UTC.
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

/// Appends `2026-02-03T04:05:06.789Z` (ISO 8601, UTC).
pub fn push_iso8601(out: &mut String, wall_ms: u64) {
    let (seconds, ms) = (wall_ms / 1000, wall_ms % 1000);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"
    );
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Counts in years that begin on 1 March, so that the leap day is the last day of a year, and in
/// eras of 400 years, which all have the same length.
pub fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_IN_ERA: u64 = 146_097;
    // 1 March of year 0 lies 719,468 days before 1 January 1970.
    let days = days_since_1970.saturating_add(719_468);
    let (era, day_of_era) = (days / DAYS_IN_ERA, days % DAYS_IN_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March come in groups of five with 153 days each.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`]: days from 1970-01-01 to a day of the Gregorian calendar; None for one that
/// there is not, such as 30 February, for one before 1970 and for one beyond the year 99,999.
pub fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin on 1 March, as there.
    let (year_from_march, month_from_march) = match month {
        1 | 2 => (year.checked_sub(1)?, month + 9),
        3..=12 => (year, month - 3),
        _ => return None,
    };
    if year > 99_999 || !(1..=31).contains(&day) {
        return None;
    }
    let leap_days = year_from_march / 4 - year_from_march / 100 + year_from_march / 400;
    let of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let days = (365 * year_from_march + leap_days + of_year).checked_sub(719_468)?;
    (civil(days) == (year, month, day)).then_some(days)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_iso_8601_in_utc() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_001, "2024-02-29T23:59:59.001Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let mut out = String::new();
            push_iso8601(&mut out, ms);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn every_day_of_nine_centuries_follows_the_day_before() {
        let (mut year, mut month, mut day) = civil(0);
        for days in 1..330_000 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                4 | 6 | 9 | 11 => 30,
                2 if leap => 29,
                2 => 28,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
            assert_eq!(civil(days), (year, month, day));
            assert_eq!(super::days(year, month, day), Some(days));
        }
    }

    #[test]
    fn b7_days_that_no_calendar_has_are_none() {
        for (year, month, day) in [
            (2026, 2, 30),
            (2025, 2, 29),
            (2100, 2, 29),
            (2026, 4, 31),
            (2026, 0, 1),
            (2026, 13, 1),
            (2026, 1, 0),
            (2026, 1, 32),
            (1969, 12, 31),
            (0, 1, 1),
            (u64::MAX, 1, 1),
            (2026, u64::MAX, u64::MAX),
        ] {
            assert_eq!(days(year, month, day), None, "{year}-{month}-{day}");
        }
        assert_eq!(days(2000, 2, 29), Some(11_016));
    }
}
