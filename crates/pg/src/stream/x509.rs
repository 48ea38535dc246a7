//! The little of a certificate (RFC 5280) that PostgreSQL's protocol needs and rustls does not
//! give: its common name, its dates, and the hash that SCRAM binds to. Bounded reading of DER;
//! leaves all trust to `verify`.

use canter_base::clock;
use ring::digest;

/// `tls-server-end-point` (RFC 5929 section 4.1): the certificate's hash by the hash function of
/// its signature, SHA-256 in the place of MD5 and SHA-1. `None` for signatures without one
/// (Ed25519), for which the RFC defines nothing.
pub fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let outer = Der(certificate).expect(SEQUENCE)?.0;
    let (_, rest) = outer.expect(SEQUENCE)?;
    let (algorithm, _) = rest.expect(SEQUENCE)?;
    let (oid, parameters) = algorithm.expect(OID)?;
    let algorithm = match oid.0 {
        RSA_PSS => hash_of_pss(parameters)?,
        oid => hash_of_signature(oid)?,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// The first common name of the subject.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let mut names = Tbs::of(certificate)?.subject;
    while let Some((set, rest)) = names.expect(SET) {
        names = rest;
        let mut pairs = set;
        while let Some((pair, rest)) = pairs.expect(SEQUENCE) {
            pairs = rest;
            let (oid, value) = pair.expect(OID)?;
            if oid.0 == COMMON_NAME {
                let (_, text, _) = value.next()?;
                // A NUL inside would let one name pass for another (CVE-2009-4034).
                let text = String::from_utf8(text.0.to_vec()).ok()?;
                return (!text.is_empty() && !text.contains('\0')).then_some(text);
            }
        }
    }
    None
}

/// Whether it names hosts or addresses as alternative names, which then count alone.
pub fn has_alternative_names(certificate: &[u8]) -> bool {
    let Some(mut rest) = Tbs::of(certificate).map(|tbs| tbs.after_subject) else {
        return true;
    };
    while let Some((tag, content, after)) = rest.next() {
        rest = after;
        if tag != EXTENSIONS {
            continue;
        }
        let Some((mut extensions, _)) = content.expect(SEQUENCE) else {
            return true;
        };
        while let Some((extension, after)) = extensions.expect(SEQUENCE) {
            extensions = after;
            if extension
                .expect(OID)
                .is_some_and(|(oid, _)| oid.0 == SUBJECT_ALT_NAME)
            {
                return true;
            }
        }
    }
    false
}

/// The first and last second (since 1970) at which it is valid.
pub fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    let (tag, from, rest) = Tbs::of(certificate)?.validity.next()?;
    let from = time(tag, from.0)?;
    let (tag, until, _) = rest.next()?;
    Some((from, time(tag, until.0)?))
}

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
/// 1.2.840.113549.1.1, RSA of PKCS #1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
/// 1.2.840.10045.4, ECDSA.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4];
/// 2.16.840.1.101.3.4.2, the hash functions of NIST.
const NIST_HASH: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];

fn hash_of_signature(oid: &[u8]) -> Option<&'static digest::Algorithm> {
    if let Some(rest) = oid.strip_prefix(RSA) {
        return match rest {
            [4 | 5 | 11] => Some(&digest::SHA256),
            [12] => Some(&digest::SHA384),
            [13] => Some(&digest::SHA512),
            _ => None,
        };
    }
    match oid.strip_prefix(ECDSA)? {
        [1] | [3, 2] => Some(&digest::SHA256),
        [3, 3] => Some(&digest::SHA384),
        [3, 4] => Some(&digest::SHA512),
        _ => None,
    }
}

/// RSASSA-PSS-params of RFC 4055: `[0]` names the hash, SHA-1 when it is left out.
fn hash_of_pss(parameters: Der<'_>) -> Option<&'static digest::Algorithm> {
    let (parameters, _) = parameters.expect(SEQUENCE)?;
    let Some((hash, _)) = parameters.expect(0xa0) else {
        return Some(&digest::SHA256);
    };
    let (oid, _) = hash.expect(SEQUENCE)?.0.expect(OID)?;
    match oid.0.strip_prefix(NIST_HASH) {
        Some([2]) => Some(&digest::SHA384),
        Some([3]) => Some(&digest::SHA512),
        Some([1]) | None => Some(&digest::SHA256),
        Some(_) => None,
    }
}

/// The fields of a `TBSCertificate` that are looked at.
struct Tbs<'a> {
    validity: Der<'a>,
    subject: Der<'a>,
    after_subject: Der<'a>,
}

impl<'a> Tbs<'a> {
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let (outer, _) = Der(certificate).expect(SEQUENCE)?;
        let (mut tbs, _) = outer.expect(SEQUENCE)?;
        if let Some((_, rest)) = tbs.expect(VERSION) {
            tbs = rest;
        }
        let (_serial, rest) = tbs.expect(INTEGER)?;
        let (_signature, rest) = rest.expect(SEQUENCE)?;
        let (_issuer, rest) = rest.expect(SEQUENCE)?;
        let (validity, rest) = rest.expect(SEQUENCE)?;
        let (subject, after_subject) = rest.expect(SEQUENCE)?;
        Some(Self {
            validity,
            subject,
            after_subject,
        })
    }
}

/// Bytes of DER, read from the front.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: tag, content, what follows.
    fn next(self) -> Option<(u8, Der<'a>, Der<'a>)> {
        let (&[tag, short], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match short {
            0..=0x7f => (usize::from(short), rest),
            0x81..=0x84 => {
                let (long, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
                let length = long
                    .iter()
                    .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
                (usize::try_from(length).ok()?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((tag, Der(content), Der(rest)))
    }

    /// The next element's content and what follows, if it has this tag.
    fn expect(self, wanted: u8) -> Option<(Der<'a>, Der<'a>)> {
        self.next()
            .filter(|(tag, ..)| *tag == wanted)
            .map(|(_, content, rest)| (content, rest))
    }
}

const DAYS_IN_2000_YEARS: u64 = 5 * 146_097;

/// RFC 5280 section 4.1.2.5: always in UTC, to the second, with a `Z`.
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let parts: Vec<u64> = rest.chunks(2).map(number).collect::<Option<_>>()?;
    let &[month, day, hour @ 0..24, minute @ 0..60, second @ 0..=60] = parts.as_slice() else {
        return None;
    };
    // Some hold since long before 1970, which is as good as since then. Calendars repeat after 400 years.
    let days = clock::days(year + 2000, month, day)?.saturating_sub(DAYS_IN_2000_YEARS);
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(
        names: Vec<String>,
        common: &str,
        kind: &'static rcgen::SignatureAlgorithm,
    ) -> Vec<u8> {
        let key = KeyPair::generate_for(kind).unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2050, 1, 1);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a9_scram_binds_to_the_hash_of_the_certificates_signature() {
        for (kind, hash) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(&digest::SHA256)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(&digest::SHA384)),
            (&rcgen::PKCS_ED25519, None),
        ] {
            let der = certificate(vec![], "x", kind);
            let expected = hash.map(|hash| digest::digest(hash, &der).as_ref().to_vec());
            assert_eq!(end_point(&der), expected);
        }
        let pss =
            |parameters: &[u8]| hash_of_pss(Der(parameters)).map(digest::Algorithm::output_len);
        assert_eq!(pss(&[0x30, 0]), Some(32));
        let sha512 = [
            0x30, 15, 0xa0, 13, 0x30, 11, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3,
        ];
        assert_eq!(pss(&sha512), Some(64));
        assert_eq!(
            hash_of_signature(&[RSA, &[13]].concat()).map(digest::Algorithm::output_len),
            Some(64)
        );
    }

    #[test]
    fn a9_names_and_dates_of_a_certificate_are_read() {
        let der = certificate(vec![], "db.example.com", &rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(common_name(&der).as_deref(), Some("db.example.com"));
        assert!(!has_alternative_names(&der));
        assert_eq!(validity(&der), Some((1_709_164_800, 2_524_608_000)));
        let der = certificate(vec!["x".into()], "y", &rcgen::PKCS_ECDSA_P256_SHA256);
        assert!(has_alternative_names(&der));
    }

    #[test]
    fn b7_a_day_that_there_is_not_is_no_date() {
        for (tag, text, seconds) in [
            (UTC_TIME, "240229000000Z", Some(1_709_164_800)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            // Before 1970 is as good as then.
            (UTC_TIME, "500101000001Z", Some(1)),
            (GENERALIZED_TIME, "00000101000000Z", Some(0)),
            (UTC_TIME, "260230000000Z", None),
            (UTC_TIME, "250229000000Z", None),
            (GENERALIZED_TIME, "20260431000000Z", None),
            (GENERALIZED_TIME, "20261301000000Z", None),
            (GENERALIZED_TIME, "20260100000000Z", None),
        ] {
            assert_eq!(time(tag, text.as_bytes()), seconds, "{text}");
        }
    }

    #[test]
    fn i4_no_bytes_upset_the_reader() {
        let der = certificate(vec!["a".into()], "b", &rcgen::PKCS_ECDSA_P256_SHA256);
        let check = |bytes: &[u8]| {
            let _ = (end_point(bytes), common_name(bytes), validity(bytes));
            let _ = has_alternative_names(bytes);
        };
        for at in 0..der.len() {
            check(&der[..at]);
            for byte in [0, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[at] = byte;
                check(&changed);
            }
        }
    }
}
