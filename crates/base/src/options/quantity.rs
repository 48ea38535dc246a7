//! Quantities with units: sizes, durations and file modes. Owns their grammar and printing.

use std::time::Duration;

use super::value::{Value, Wrong};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// As an index into memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// `MB` is a million bytes and `MiB` is 2^20 (IEC 80000-13), so nobody has to guess.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl Value for Size {
    const KIND: &'static str = "SIZE";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let (number, unit) = split(text);
        let factor = match unit {
            "" => Some(1),
            unit => SIZE_UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, factor)| *factor),
        };
        factor
            .and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| {
                Wrong::expected("expected a size such as `64MB`, `512KiB` or `8190` (bytes)")
            })
    }

    fn show(&self) -> String {
        let unit = SIZE_UNITS
            .iter()
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match unit {
            Some(("B", _)) | None => self.0.to_string(),
            Some((name, factor)) => format!("{}{name}", self.0 / factor),
        }
    }
}

/// Milliseconds in each unit; a bare number is seconds, as in Gunicorn.
const DURATION_UNITS: &[(&str, u64)] = &[
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
    ("", 1_000),
];

impl Value for Duration {
    const KIND: &'static str = "DURATION";
    const SEPARATOR: Option<char> = Some(',');

    fn parse(text: &str) -> Result<Self, Wrong> {
        duration_ms(text).map(Self::from_millis).ok_or_else(|| {
            Wrong::expected("expected a duration such as `30s`, `500ms`, `2m` or `30` (seconds)")
        })
    }

    fn show(&self) -> String {
        let ms = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        DURATION_UNITS
            .iter()
            .find(|(_, factor)| ms > 0 && ms.is_multiple_of(*factor))
            .map_or("0s".to_owned(), |(unit, factor)| {
                format!("{}{unit}", ms / factor)
            })
    }
}

fn duration_ms(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if (1..=3).contains(&fraction.len()) => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse::<u64>().ok()?;
    let part = thousandths.checked_mul(*factor)? / 1000;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(*factor)?
        .checked_add(part)
        .filter(|ms| *ms <= LONGEST_MS)
}

/// A year: longer is a slip of the keyboard, and sums of two stay far from overflow.
const LONGEST_MS: u64 = 366 * 24 * 3_600_000;

/// The number in front and the unit behind it, with or without a blank between.
fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// File permission bits, written in octal as for `chmod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Value for Mode {
    const KIND: &'static str = "OCTAL";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let octal = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        octal
            .then(|| u32::from_str_radix(digits, 8).ok())
            .flatten()
            .filter(|mode| *mode <= 0o777)
            .map(Self)
            .ok_or_else(|| Wrong::expected("expected permission bits in octal such as `027`"))
    }

    fn show(&self) -> String {
        format!("{:03o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_units_and_show_the_largest_that_is_exact() {
        for (text, bytes, shown) in [
            ("8190", 8190, "8190"),
            ("64MB", 64_000_000, "64MB"),
            ("64 mb", 64_000_000, "64MB"),
            ("512KiB", 524_288, "512KiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("0", 0, "0"),
            ("12B", 12, "12"),
        ] {
            let size = Size::parse(text).unwrap();
            assert_eq!(
                (size.0, Value::show(&size).as_str()),
                (bytes, shown),
                "{text}"
            );
        }
        for bad in [
            "",
            "MB",
            "1.5MB",
            "12QB",
            "-1",
            "99999999999999999999",
            "18446744073709551615GB",
        ] {
            assert!(Size::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bare_duration_is_seconds() {
        for (text, ms, shown) in [
            ("30", 30_000, "30s"),
            ("30s", 30_000, "30s"),
            ("500ms", 500, "500ms"),
            ("1.5", 1_500, "1500ms"),
            ("2m", 120_000, "2m"),
            ("90s", 90_000, "90s"),
            ("1h", 3_600_000, "1h"),
            ("0", 0, "0s"),
            ("0.5ms", 0, "0s"),
        ] {
            let duration = <Duration as Value>::parse(text).unwrap();
            assert_eq!(duration.as_millis(), ms, "{text}");
            assert_eq!(Value::show(&duration), shown, "{text}");
        }
        for bad in [
            "",
            "s",
            "1.",
            ".5",
            "1.2345s",
            "30 sec",
            "-1",
            "1e3",
            "9999999999999h",
            "1.2.3",
        ] {
            assert!(<Duration as Value>::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_octal() {
        for (text, mode) in [("022", 0o22), ("0o660", 0o660), ("7", 7)] {
            assert_eq!(Mode::parse(text).unwrap().0, mode, "{text}");
        }
        for bad in ["", "18", "0o", "1777", "-1", "rw"] {
            assert!(Mode::parse(bad).is_err(), "{bad}");
        }
    }
}
