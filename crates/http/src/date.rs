//! HTTP dates (RFC 9110, section 5.6.7): owns their text forms. Telling the time and caching the
//! text for a second are left to the caller.

/// How many bytes [`format_date`] writes.
pub const DATE_LENGTH: usize = 29;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const LONG_DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The last second of the year 9999, beyond which the form has no room.
const LATEST: u64 = 253_402_300_799;

/// Writes seconds since 1970 as an IMF-fixdate, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
/// A time after the year 9999 is written as its last second.
pub fn format_date(unix_seconds: u64) -> [u8; DATE_LENGTH] {
    let seconds = unix_seconds.min(LATEST);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    let weekday = DAYS[(days % 7) as usize].as_bytes();
    let month = MONTHS[month as usize - 1].as_bytes();
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[0..3].copy_from_slice(weekday);
    text[5..7].copy_from_slice(&two_digits(day));
    text[8..11].copy_from_slice(month);
    text[12..14].copy_from_slice(&two_digits(year / 100));
    text[14..16].copy_from_slice(&two_digits(year % 100));
    text[17..19].copy_from_slice(&two_digits(second / 3600));
    text[20..22].copy_from_slice(&two_digits(second / 60 % 60));
    text[23..25].copy_from_slice(&two_digits(second % 60));
    text
}

/// Reads any of the three forms a recipient must accept, as seconds since 1970; `None` for
/// anything else, for a time before 1970 and for a date that does not exist. The name of the day
/// is required and not compared with the date.
///
/// `now` decides the century of the two-digit years of the RFC 850 form: a date that seems more
/// than 50 years ahead is the most recent past year with those digits.
pub fn parse_date(text: &[u8], now_unix_seconds: u64) -> Option<u64> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.is_ascii())?;
    if let Some((day_name, rest)) = text.split_once(", ") {
        if DAYS.contains(&day_name) {
            // 06 Nov 1994 08:49:37 GMT
            let [day, month, year, time, "GMT"] = words(rest)? else {
                return None;
            };
            return seconds(four_digits(year)?, month, number(day, 2)?, time);
        }
        if LONG_DAYS.contains(&day_name) {
            // 06-Nov-94 08:49:37 GMT
            let (date, rest) = rest.split_once(' ')?;
            let time = rest.strip_suffix(" GMT")?;
            let mut parts = date.split('-');
            let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some() {
                return None;
            }
            let (this_year, ..) = civil_from_days(now_unix_seconds.min(LATEST) / 86_400);
            let mut year = this_year / 100 * 100 + number(year, 2)?;
            if year > this_year + 50 {
                year -= 100;
            }
            return seconds(year, month, number(day, 2)?, time);
        }
        return None;
    }
    // Sun Nov  6 08:49:37 1994
    let (day_name, rest) = text.split_at_checked(4)?;
    if !DAYS.contains(&day_name.strip_suffix(' ')?) || rest.len() != 20 {
        return None;
    }
    let (month, rest) = rest.split_at_checked(4)?;
    let (day, rest) = rest.split_at_checked(3)?;
    let day = day.strip_suffix(' ')?;
    let day = day
        .strip_prefix(' ')
        .map_or_else(|| number(day, 2), |day| number(day, 1))?;
    let (time, year) = rest.split_once(' ')?;
    seconds(four_digits(year)?, month.strip_suffix(' ')?, day, time)
}

fn words(text: &str) -> Option<[&str; 5]> {
    let mut parts = text.split(' ');
    let words = [
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
    ];
    parts.next().is_none().then_some(words)
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let right = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    right.then(|| text.parse().ok()).flatten()
}

fn four_digits(year: &str) -> Option<u64> {
    number(year, 4)
}

fn seconds(year: u64, month: &str, day: u64, time: &str) -> Option<u64> {
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let mut parts = time.split(':');
    let (hour, minute, second) = (
        number(parts.next()?, 2)?,
        number(parts.next()?, 2)?,
        number(parts.next()?, 2)?,
    );
    // Second 60 is a leap second (RFC 9110, section 5.6.7).
    if parts.next().is_some() || year < 1970 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_from_civil(year, month, day);
    // A day that does not exist, such as 30 Feb, comes back as another one.
    (civil_from_days(days) == (year, month, day))
        .then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The usual arithmetic on years that start in March, so that the leap day is the last one. The
/// clock of `canter-base` has it too: this crate imports none of ours.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_469)
}

fn two_digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: u64 = 784_111_777;
    const NOW: u64 = 1_790_000_000;

    #[test]
    fn the_three_forms_of_the_rfc_are_the_same_second() {
        assert_eq!(&format_date(EXAMPLE), b"Sun, 06 Nov 1994 08:49:37 GMT");
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(text.as_bytes(), NOW), Some(EXAMPLE), "{text}");
        }
    }

    #[test]
    fn format_and_parse_agree_over_all_years() {
        for seconds in (0..LATEST).step_by(86_400 * 13 + 12_347) {
            assert_eq!(parse_date(&format_date(seconds), NOW), Some(seconds));
        }
        assert_eq!(&format_date(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&format_date(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(&format_date(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "0",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 30 Feb 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994  08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-94-1 08:49:37 GMT",
            "Sun Nov 06 08:49:37 199",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun Nov\u{e9} 6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(text.as_bytes(), NOW), None, "{text}");
        }
    }
}
