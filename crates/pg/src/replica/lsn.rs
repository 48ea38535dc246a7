//! A position in the write-ahead log. Only the type: parsing, printing, comparing.

use std::fmt;
use std::str::FromStr;

/// `16/B374D848`; later positions are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// `XLOG_BLCKSZ`, and the headers a page of the log can begin with (`xlog_internal.h`).
const PAGE: u64 = 8192;
const HEADERS: [u64; 2] = [24, 40];

impl Lsn {
    /// Where the last record before this position ends, if it is where the primary inserts next:
    /// on a page with no record yet that is behind the page's header, and no replica gets there
    /// before there is one.
    #[must_use]
    pub fn as_end(self) -> Self {
        let offset = self.0 % PAGE;
        if HEADERS.contains(&offset) {
            Self(self.0 - offset)
        } else {
            self
        }
    }
}

impl FromStr for Lsn {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (high, low) = text.split_once('/').ok_or(())?;
        let half = |digits: &str| {
            let hex =
                (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            if hex {
                u32::from_str_radix(digits, 16).map_err(|_| ())
            } else {
                Err(())
            }
        };
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h4_a_position_reads_prints_and_compares_as_in_postgresql() {
        for (text, value) in [
            ("0/0", 0),
            ("16/B374D848", 0x16_b374_d848),
            ("FFFFFFFF/ffffffff", u64::MAX),
        ] {
            let lsn: Lsn = text.parse().unwrap();
            assert_eq!(lsn, Lsn(value));
            assert_eq!(lsn.to_string(), text.to_uppercase());
        }
        assert!("1/0".parse::<Lsn>().unwrap() > "0/FFFFFFFF".parse().unwrap());
        for wrong in [
            "",
            "/",
            "1",
            "1/",
            "/1",
            "1/g",
            "1/123456789",
            "+1/1",
            "1/ 1",
            "1/1/1",
            "é/1",
        ] {
            assert_eq!(wrong.parse::<Lsn>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn h4_the_header_of_an_empty_page_is_not_waited_for() {
        assert_eq!(
            "0/3000028".parse::<Lsn>().unwrap().as_end(),
            "0/3000000".parse().unwrap()
        );
        assert_eq!(
            "0/3002018".parse::<Lsn>().unwrap().as_end(),
            "0/3002000".parse().unwrap()
        );
        assert_eq!(
            "0/3002020".parse::<Lsn>().unwrap().as_end(),
            "0/3002020".parse().unwrap()
        );
    }
}
