//! Owns when a certificate is due for renewal: when its authority suggests it (RFC 9773), else after
//! two thirds of its life. Reads of a certificate only what that takes.
//! Leaves getting a new one to `order`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, Der};

/// Lives this short are renewed in the middle, as authorities advise.
const SHORT: Duration = Duration::from_secs(10 * 24 * 3600);

/// When to get a new one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    Later(SystemTime),
}

/// What matters here of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    begins: SystemTime,
    ends: SystemTime,
    /// Nobody but its own key has signed it.
    is_own: bool,
    serial: Vec<u8>,
    /// The key that signed it, as the authority names it.
    signer: Option<Vec<u8>>,
}

impl Certificate {
    /// The first of a file; None when it cannot be read.
    pub fn read(path: &Path) -> Option<Self> {
        let first = CertificateDer::pem_file_iter(path).ok()?.next()?.ok()?;
        Self::parse(&first)
    }

    /// RFC 5280, section 4.1.
    fn parse(der: &[u8]) -> Option<Self> {
        let (mut outer, _) = take(der, SEQUENCE)?;
        let mut fields = next(&mut outer, SEQUENCE)?;
        let _version = next(&mut fields, 0xa0);
        let serial = next(&mut fields, 0x02)?.to_vec();
        let _algorithm = next(&mut fields, SEQUENCE)?;
        let issuer = next(&mut fields, SEQUENCE)?;
        let mut validity = next(&mut fields, SEQUENCE)?;
        let (begins, ends) = (time(&mut validity)?, time(&mut validity)?);
        let subject = next(&mut fields, SEQUENCE)?;
        let _key = next(&mut fields, SEQUENCE)?;
        let signer = next(&mut fields, 0xa3).and_then(signer);
        Some(Self {
            begins,
            ends,
            is_own: issuer == subject,
            serial,
            signer,
        })
    }

    /// How the authority knows it (RFC 9773, section 4.1).
    pub fn id(&self) -> Option<CertificateIdentifier<'static>> {
        let signer = self.signer.as_ref().filter(|_| !self.is_own)?;
        let id = CertificateIdentifier::new(
            Der::from_slice(signer.as_slice()),
            Der::from_slice(self.serial.as_slice()),
        );
        Some(id.into_owned())
    }

    /// A number from 0 to 1 that stays the same for this certificate and differs from site to site.
    fn share(&self) -> f64 {
        let sum = self.serial.iter().fold(0_u32, |sum, &byte| {
            sum.wrapping_mul(31).wrapping_add(u32::from(byte))
        });
        f64::from(sum % 1000) / 1000.0
    }
}

/// When this one is due.
pub(super) async fn find(account: &Account, certificate: Option<&Certificate>) -> Due {
    let Some(certificate) = certificate else {
        return Due::Now;
    };
    let own = by_age(certificate, SystemTime::now());
    let Some(id) = certificate.id() else {
        return own;
    };
    let Ok((info, again)) = account.renewal_info(&id).await else {
        return own;
    };
    let window = info.suggested_window;
    let (start, end) = (window.start.into(), window.end.into());
    by_window(certificate, (start, end), again, SystemTime::now())
}

/// At a time within the window that differs from site to site; or when the authority wants to be
/// asked again, for the window may move.
fn by_window(
    certificate: &Certificate,
    (start, end): (SystemTime, SystemTime),
    again: Duration,
    now: SystemTime,
) -> Due {
    let length = end.duration_since(start).unwrap_or_default();
    let chosen = start + length.mul_f64(certificate.share());
    if chosen <= now {
        return Due::Now;
    }
    Due::Later(chosen.min(now + again))
}

fn by_age(certificate: &Certificate, now: SystemTime) -> Due {
    let life = certificate.ends.duration_since(certificate.begins);
    let life = life.unwrap_or_default();
    let part = if life <= SHORT {
        life / 2
    } else {
        life / 3 * 2
    };
    let when = certificate.begins + part;
    if certificate.is_own || when <= now {
        Due::Now
    } else {
        Due::Later(when)
    }
}

const SEQUENCE: u8 = 0x30;

/// The content of the first element, which must have this tag, and what follows (X.690).
fn take(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, short], rest) = bytes.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(short - 0x80))?;
            let length = digits
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The same, moving on behind it.
fn next<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (content, rest) = take(bytes, tag)?;
    *bytes = rest;
    Some(content)
}

/// The key identifier of the authority's key (RFC 5280, section 4.2.1.1).
fn signer(extensions: &[u8]) -> Option<Vec<u8>> {
    const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
    let (mut list, _) = take(extensions, SEQUENCE)?;
    while let Some(mut extension) = next(&mut list, SEQUENCE) {
        if next(&mut extension, 0x06)? != AUTHORITY_KEY {
            continue;
        }
        let _critical = next(&mut extension, 0x01);
        let value = next(&mut extension, 0x04)?;
        let (content, _) = take(value, SEQUENCE)?;
        return take(content, 0x80).map(|(id, _)| id.to_vec());
    }
    None
}

/// `UTCTime` or `GeneralizedTime`, always in UTC and with seconds (RFC 5280, section 4.1.2.5).
fn time(bytes: &mut &[u8]) -> Option<SystemTime> {
    let (text, century) = match next(bytes, 0x17) {
        Some(text) => (text, None),
        None => (next(bytes, 0x18)?, Some(())),
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = if century.is_some() {
        (number(text.get(..4)?)?, text.get(4..)?)
    } else {
        let year = number(text.get(..2)?)?;
        (year + if year < 50 { 2000 } else { 1900 }, text.get(2..)?)
    };
    let part = |at: usize| number(rest.get(at..at + 2)?);
    let (month, day) = (part(0)?, part(2)?);
    let seconds = part(4)? * 3600 + part(6)? * 60 + part(8)?;
    let days = days_from_civil(year, month, day)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(days * 86_400 + seconds))
}

fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// Days since 1970, in the Gregorian calendar.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin in March have their leap day at the end.
    let (year, month) = match month {
        1 | 2 => (year.checked_sub(1)?, month + 9),
        3..=12 => (year, month - 3),
        _ => return None,
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400;
    let in_year = (153 * month + 2) / 5 + day.checked_sub(1)?;
    (days + in_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn certificate(life: Duration) -> Certificate {
        let begins = SystemTime::UNIX_EPOCH + DAY * 20_000;
        Certificate {
            begins,
            ends: begins + life,
            is_own: false,
            serial: vec![0, 250],
            signer: Some(vec![1, 2]),
        }
    }

    #[test]
    fn without_a_suggestion_it_is_due_late_in_its_life() {
        for (days, due) in [(90, 60), (6, 3), (45, 30)] {
            let certificate = certificate(DAY * days);
            let at = certificate.begins + DAY * due;
            assert_eq!(by_age(&certificate, at - DAY), Due::Later(at));
            assert_eq!(by_age(&certificate, at), Due::Now);
        }
        let own = Certificate {
            is_own: true,
            ..certificate(DAY * 4000)
        };
        assert_eq!(by_age(&own, own.begins), Due::Now);
    }

    #[test]
    fn a_suggested_window_is_kept_to() {
        let certificate = certificate(DAY * 90);
        let start = certificate.begins + DAY * 40;
        let window = (start, start + DAY * 4);
        let at = start + DAY;
        let hour = Duration::from_secs(3600);
        let due = |now| by_window(&certificate, window, hour * 6, now);
        assert_eq!(due(start - DAY), Due::Later(start - DAY + hour * 6));
        assert_eq!(due(at - hour), Due::Later(at));
        assert_eq!(due(at), Due::Now);
        // Revoked in a hurry: the window is over.
        let past = (certificate.begins, certificate.begins);
        assert_eq!(by_window(&certificate, past, hour, start), Due::Now);
    }

    #[test]
    fn a_certificate_is_read_as_far_as_needed() {
        let made = rcgen::generate_simple_self_signed(["example.org".to_owned()]).unwrap();
        let read = Certificate::parse(made.cert.der()).unwrap();
        assert!(read.is_own && read.ends > read.begins && read.id().is_none());
        assert!(!read.serial.is_empty());
        let der: &[u8] = made.cert.der();
        for cut in 0..der.len() {
            let _ = Certificate::parse(&der[..cut]);
            let mut broken = der.to_vec();
            broken[cut] ^= 0x55;
            let _ = Certificate::parse(&broken);
        }
    }

    #[test]
    fn dates_are_days() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 21), 20_778),
        ] {
            assert_eq!(days_from_civil(date.0, date.1, date.2), Some(days));
        }
    }
}
