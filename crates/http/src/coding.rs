//! Content codings (RFC 9110, section 12.5.3): owns reading Accept-Encoding and choosing among the
//! forms that are there. Making them is left to others.

use crate::scan::trim_ows;

/// A form in which content can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952
    Gzip,
    /// RFC 7932
    Brotli,
    /// RFC 8878
    Zstd,
}

impl Coding {
    /// Every one that changes the content.
    pub const ENCODED: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// The name on the wire; `identity` is never sent.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// What is added to the name of a file in this form.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Identity => "",
            Self::Gzip => ".gz",
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        // `x-gzip` is the same (RFC 9110, section 8.4.1.3).
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        let all = [Self::Identity, Self::Gzip, Self::Brotli, Self::Zstd];
        all.into_iter()
            .find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}

/// How welcome each coding is, in thousandths; zero is not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    identity: u16,
    gzip: u16,
    brotli: u16,
    zstd: u16,
    /// Content as it is was refused, by name or with all that is not named.
    refuses_identity: bool,
}

/// Below every weight that can be written: as a last resort.
const LAST: u16 = 0;

impl Accepted {
    /// Without the field every coding would do; nothing tells that the client can undo one, so
    /// content is sent as it is.
    pub const NOTHING_SAID: Self = Self {
        identity: 1000,
        gzip: 0,
        brotli: 0,
        zstd: 0,
        refuses_identity: false,
    };

    /// Reads the values of Accept-Encoding, one for each line.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut said = [None; 4];
        let mut others = None;
        let elements = lines
            .into_iter()
            .flat_map(|line| line.split(|&byte| byte == b','));
        for element in elements {
            let mut parts = element.split(|&byte| byte == b';').map(trim_ows);
            let name = parts.next().unwrap_or_default();
            let Some(weight) = weight(parts) else {
                continue;
            };
            if name == b"*" {
                others = others.or(Some(weight));
            } else if let Some(coding) = Coding::parse(name)
                && let Some(slot) = said.get_mut(coding as usize)
            {
                *slot = slot.or(Some(weight));
            }
        }
        let [identity, gzip, brotli, zstd] = said;
        let other = others.unwrap_or(0);
        Self {
            identity: identity.unwrap_or(LAST),
            gzip: gzip.unwrap_or(other),
            brotli: brotli.unwrap_or(other),
            zstd: zstd.unwrap_or(other),
            refuses_identity: identity.or(others) == Some(0),
        }
    }

    /// Whether content as it is was refused (RFC 9110, section 12.5.3).
    pub const fn refuses_identity(self) -> bool {
        self.refuses_identity
    }

    /// The coding to make, of those in `order`: the most welcome one, of equals the first; None where
    /// content as it is is more welcome, or nothing else is.
    pub fn prefer(self, order: &[Coding]) -> Option<Coding> {
        let mut best = None;
        let mut most = self.identity.max(1);
        for &coding in order {
            let weight = self.weight(coding);
            if weight > most || (weight == most && best.is_none()) {
                (best, most) = (Some(coding), weight);
            }
        }
        best
    }

    fn weight(self, coding: Coding) -> u16 {
        match coding {
            Coding::Identity => self.identity,
            Coding::Gzip => self.gzip,
            Coding::Brotli => self.brotli,
            Coding::Zstd => self.zstd,
        }
    }

    /// The index of the form to send: the most welcome one, of equals the shortest. Where nothing
    /// that is there is welcome, the first, which is the content as it is: better than a refusal
    /// (RFC 9110, section 12.4.1, allows it).
    pub fn choose(self, forms: impl IntoIterator<Item = (Coding, u64)>) -> usize {
        let mut best = (0, 0, u64::MAX);
        for (at, (coding, length)) in forms.into_iter().enumerate() {
            let weight = self.weight(coding);
            if weight > best.1 || (weight == best.1 && weight > 0 && length < best.2) {
                best = (at, weight, length);
            }
        }
        best.0
    }
}

/// The weight among the parameters (RFC 9110, section 12.4.2); None where it breaks the grammar.
fn weight<'a>(parameters: impl Iterator<Item = &'a [u8]>) -> Option<u16> {
    for parameter in parameters {
        if let [b'q' | b'Q', rest @ ..] = parameter
            && let Some(value) = trim_ows(rest).strip_prefix(b"=")
        {
            return thousandths(trim_ows(value));
        }
    }
    Some(1000)
}

fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, digits) = match value {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (*whole, digits),
        _ => return None,
    };
    let mut sum = u16::from(whole - b'0') * 1000;
    let mut unit = 100;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        sum += u16::from(digit - b'0') * unit;
        unit /= 10;
    }
    (sum <= 1000).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: [(Coding, u64); 4] = [
        (Coding::Identity, 100),
        (Coding::Gzip, 30),
        (Coding::Brotli, 20),
        (Coding::Zstd, 25),
    ];

    fn chosen(value: &str) -> Coding {
        let accepted = Accepted::parse([value.as_bytes()]);
        FORMS[accepted.choose(FORMS)].0
    }

    #[test]
    fn the_most_welcome_form_is_chosen_and_of_equals_the_shortest() {
        use Coding::{Brotli, Gzip, Identity, Zstd};
        for (value, expected) in [
            ("gzip, deflate, br, zstd", Brotli),
            ("gzip, deflate", Gzip),
            ("x-gzip", Gzip),
            ("GZIP", Gzip),
            ("zstd, gzip", Zstd),
            ("gzip;q=1.0, br;q=0.5", Gzip),
            ("gzip;q=0.5,br;q=0.501", Brotli),
            ("gzip ; q = 0.5 , zstd; Q=1", Zstd),
            // Section 12.5.3: zero means not acceptable.
            ("gzip;q=0", Identity),
            ("gzip;q=0.000, br;q=0", Identity),
            ("*", Brotli),
            ("*, br;q=0", Zstd),
            ("*;q=0", Identity),
            ("gzip, *;q=0", Gzip),
            ("identity", Identity),
            ("identity;q=1, gzip;q=0.5", Identity),
            ("identity;q=0.5, gzip;q=1", Gzip),
            ("identity;q=0, gzip", Gzip),
            // Nothing else is there: as it is.
            ("identity;q=0", Identity),
            ("", Identity),
            ("deflate", Identity),
            ("gzip2, notgzip, gzip-not", Identity),
            // Not by the grammar: as if not said.
            ("gzip;q=2", Identity),
            ("gzip;q=1.001", Identity),
            ("gzip;q=0.1234", Identity),
            ("gzip;q=-1", Identity),
            ("gzip;q=", Identity),
            ("gzip;q=.5, zstd", Zstd),
            // The first word counts.
            ("gzip;q=0, gzip", Identity),
        ] {
            assert_eq!(chosen(value), expected, "{value}");
        }
    }

    #[test]
    fn lines_are_one_list_and_no_line_is_no_wish() {
        let two = Accepted::parse([&b"gzip;q=0.1"[..], b"zstd"]);
        assert_eq!(two.choose(FORMS), 3);
        assert_eq!(Accepted::NOTHING_SAID.choose(FORMS), 0);
        let empty: [&[u8]; 0] = [];
        assert_eq!(Accepted::parse(empty).choose(FORMS), 0);
    }

    #[test]
    fn a_form_that_gained_nothing_is_not_sent() {
        let forms = [(Coding::Identity, 10), (Coding::Gzip, 30)];
        let accepted = Accepted::parse([&b"identity, gzip"[..]]);
        assert_eq!(accepted.choose(forms), 0);
    }
}
