//! Which answer may be encoded, and with what: owns the decision, from what the request wishes and
//! what the answer's head says. Does no encoding.

use canter_http::KnownName;
use canter_http::coding::{Accepted, Coding};
use canter_http::media_type::is_compressible;

/// Of equals the first: zstd costs the least for what it gains, gzip the most.
const ORDER: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

/// What a site wants encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Content that is shorter stays as it is: it fits into a packet or two either way.
    pub minimum: u64,
    /// Types beside those that are known to gain, in lower case; `image/*` is all of a kind.
    pub types: Vec<String>,
}

/// What a request says about codings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// `Accept-Encoding`
    pub accepted: Accepted,
}

impl Wish {
    /// Without the field.
    pub const NONE: Self = Self {
        accepted: Accepted::NOTHING_SAID,
    };

    /// The coding that content gets if any is used.
    pub fn coding(self) -> Option<Coding> {
        self.accepted.prefer(&ORDER)
    }
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, and another request would change nothing.
    Leave,
    /// It is sent as it is, but another request might have got another form: `Vary` is due.
    Vary,
    /// It is sent in this form, with `Vary`.
    Encode(Coding),
}

/// What the head of an answer says that matters here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// `Content-Type`
    pub content_type: Option<&'a [u8]>,
    /// The length of the content where all of it is there, else what `Content-Length` says.
    pub length: Option<u64>,
    /// `Content-Length`
    pub stated: Option<u64>,
    /// `ETag`
    pub etag: Option<&'a [u8]>,
    /// It has a coding already, or a field that names its very bytes: a digest (RFC 9530), a range.
    pub is_fixed: bool,
    /// `no-transform` (RFC 9111, section 5.2.2.6)
    pub no_transform: bool,
    /// Anybody may get the same: it holds no secret of one client (RFC 9111, sections 5.2.2.9 and
    /// 5.2.2.10).
    pub is_public: bool,
}

impl<'a> Answer<'a> {
    /// Reads the fields of an answer. `length` is the length of the body, where all of it is there.
    pub fn read(
        status: u16,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        length: Option<u64>,
    ) -> Self {
        let mut answer = Self {
            status,
            length,
            ..Self::default()
        };
        for (name, value) in fields {
            answer.see(name, value);
        }
        answer.length = length.or(answer.stated);
        answer
    }

    /// Whether it comes little by little and for long: server-sent events.
    pub fn is_trickle(&self) -> bool {
        let kind = self.content_type.unwrap_or_default();
        let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    }

    fn see(&mut self, name: &[u8], value: &'a [u8]) {
        match KnownName::classify(name) {
            KnownName::ContentType => self.content_type = Some(value),
            KnownName::ContentLength => {
                let text = std::str::from_utf8(value).ok();
                let stated = text.and_then(|text| text.trim().parse().ok());
                // What is wrong, or said twice, is left for whoever checks it.
                let is_wrong = stated.is_none() || self.stated.is_some();
                self.is_fixed |= is_wrong || self.length.is_some_and(|own| stated != Some(own));
                self.stated = stated;
            }
            KnownName::Etag => self.etag = Some(value),
            KnownName::ContentEncoding => {
                self.is_fixed |= !value.trim_ascii().eq_ignore_ascii_case(b"identity");
            }
            KnownName::ContentRange => self.is_fixed = true,
            KnownName::CacheControl => {
                for directive in value.split(|&byte| byte == b',') {
                    let name = directive.split(|&byte| byte == b'=').next();
                    let name = name.unwrap_or_default().trim_ascii();
                    let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
                    self.no_transform |= is(b"no-transform");
                    self.is_public |= is(b"public") || is(b"s-maxage");
                }
            }
            KnownName::Other => {
                let names: [&[u8]; 4] =
                    [b"content-digest", b"repr-digest", b"digest", b"content-md5"];
                self.is_fixed |= names.iter().any(|known| name.eq_ignore_ascii_case(known));
            }
            _ => {}
        }
    }
}

impl Policy {
    /// Decides.
    pub fn judge(&self, wish: Wish, answer: &Answer<'_>) -> Verdict {
        match answer.status {
            // Neither has content; a 304 stands for an answer that may have been encoded.
            0..200 | 204 | 205 => return Verdict::Leave,
            304 => return Verdict::Vary,
            _ => {}
        }
        let is_part = answer.status == 206;
        if answer.no_transform || (answer.is_fixed && !is_part) {
            return Verdict::Leave;
        }
        // A client that refuses content as it is gets what it can read, whatever it gains.
        let must = wish.accepted.refuses_identity() && !is_part;
        if !must && !self.gains(answer) {
            return Verdict::Leave;
        }
        match wish.coding() {
            Some(coding) if !is_part => Verdict::Encode(coding),
            _ => Verdict::Vary,
        }
    }

    /// Whether an answer is left as it is whatever its fields say: it is too short to gain.
    pub fn leaves(&self, wish: Wish, status: u16, length: Option<u64>) -> bool {
        status != 304
            && length.is_some_and(|length| length < self.minimum)
            && !wish.accepted.refuses_identity()
    }

    fn gains(&self, answer: &Answer<'_>) -> bool {
        let is_long = answer.length.is_none_or(|length| length >= self.minimum);
        let kind = answer.content_type.unwrap_or_default();
        is_long && self.has_type(&String::from_utf8_lossy(kind))
    }

    fn has_type(&self, content_type: &str) -> bool {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let kind = kind.to_ascii_lowercase();
        is_compressible(&kind)
            || self
                .types
                .iter()
                .any(|known| match known.strip_suffix('*') {
                    Some(start) => kind.starts_with(start),
                    None => *known == kind,
                })
    }
}

/// `Vary` with Accept-Encoding in it; None where it is there already, or everything is (RFC 9110,
/// section 12.5.5).
pub fn vary<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut joined = Vec::new();
    for line in lines {
        for name in line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding") {
                return None;
            }
            if !name.is_empty() {
                joined.extend_from_slice(name);
                joined.extend_from_slice(b", ");
            }
        }
    }
    joined.extend_from_slice(b"Accept-Encoding");
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTML: (&[u8], &[u8]) = (b"content-type", b"text/html; charset=utf-8");

    fn judge(accepts: &str, status: u16, fields: &[(&[u8], &[u8])], length: u64) -> Verdict {
        let policy = Policy {
            minimum: 500,
            types: vec!["application/x-own".into(), "chemical/*".into()],
        };
        let wish = Wish {
            accepted: Accepted::parse([accepts.as_bytes()]),
        };
        let answer = Answer::read(status, fields.iter().copied(), Some(length));
        policy.judge(wish, &answer)
    }

    #[test]
    fn the_most_welcome_coding_is_taken_and_of_equals_the_cheapest() {
        use Coding::{Brotli, Gzip, Zstd};
        for (accepts, expected) in [
            ("gzip, deflate, br, zstd", Verdict::Encode(Zstd)),
            ("gzip, deflate, br", Verdict::Encode(Brotli)),
            ("gzip", Verdict::Encode(Gzip)),
            ("*", Verdict::Encode(Zstd)),
            ("gzip;q=1, zstd;q=0.9", Verdict::Encode(Gzip)),
            ("identity, gzip", Verdict::Encode(Gzip)),
            // RFC 9110, section 12.5.3
            ("identity, gzip;q=0.5", Verdict::Vary),
            ("gzip;q=0", Verdict::Vary),
            ("*;q=0", Verdict::Vary),
            ("gzip, *;q=0", Verdict::Encode(Gzip)),
            ("zstd;q=0, br;q=0, *", Verdict::Encode(Gzip)),
            ("", Verdict::Vary),
            ("deflate, compress", Verdict::Vary),
        ] {
            assert_eq!(judge(accepts, 200, &[HTML], 9000), expected, "{accepts}");
        }
    }

    #[test]
    fn what_gains_nothing_is_left_alone() {
        for (status, fields, length) in [
            (200, [(&b"content-type"[..], &b"image/png"[..])], 9000),
            (200, [(b"content-type", b"application/zip")], 9000),
            (200, [(b"x", b"y")], 9000),
            (200, [HTML], 499),
            (204, [HTML], 9000),
            (205, [HTML], 9000),
        ] {
            assert_eq!(judge("gzip", status, &fields, length), Verdict::Leave);
        }
        for kind in [&b"application/json"[..], b"image/svg+xml", b"TEXT/CSS"] {
            let fields = [(&b"Content-Type"[..], kind)];
            assert_eq!(
                judge("gzip", 200, &fields, 500),
                Verdict::Encode(Coding::Gzip)
            );
        }
        for kind in [&b"application/x-own"[..], b"chemical/x-pdb;v=1"] {
            let fields = [(&b"Content-Type"[..], kind)];
            assert_eq!(
                judge("gzip", 404, &fields, 500),
                Verdict::Encode(Coding::Gzip)
            );
        }
    }

    #[test]
    fn what_says_that_its_bytes_are_final_is_left_alone() {
        for field in [
            (&b"Content-Encoding"[..], &b"br"[..]),
            (b"Content-Encoding", b"aws-chunked"),
            (b"Cache-Control", b"private, No-Transform"),
            (b"Content-Digest", b"sha-256=:x:"),
            (b"Repr-Digest", b"sha-256=:x:"),
            (b"Digest", b"x"),
            (b"Content-MD5", b"x"),
            (b"Content-Range", b"bytes 0-1/2"),
            (b"Content-Length", b"8999"),
            (b"Content-Length", b"9000, 9000"),
        ] {
            assert_eq!(judge("gzip", 200, &[HTML, field], 9000), Verdict::Leave);
        }
        let identity: (&[u8], &[u8]) = (b"Content-Encoding", b"identity");
        let verdict = judge("gzip", 200, &[HTML, identity], 9000);
        assert_eq!(verdict, Verdict::Encode(Coding::Gzip));
    }

    #[test]
    fn a_part_and_word_of_no_change_only_vary() {
        let range: (&[u8], &[u8]) = (b"Content-Range", b"bytes 0-1/2");
        assert_eq!(judge("gzip", 206, &[HTML, range], 9000), Verdict::Vary);
        assert_eq!(judge("gzip", 304, &[], 0), Verdict::Vary);
        let image: (&[u8], &[u8]) = (b"Content-Type", b"image/png");
        assert_eq!(judge("gzip", 206, &[image, range], 9000), Verdict::Leave);
    }

    #[test]
    fn who_refuses_content_as_it_is_gets_it_encoded_whatever_it_gains() {
        let image: (&[u8], &[u8]) = (b"Content-Type", b"image/png");
        for accepts in ["gzip, identity;q=0", "gzip, *;q=0"] {
            assert_eq!(
                judge(accepts, 200, &[image], 10),
                Verdict::Encode(Coding::Gzip)
            );
        }
        // Nothing else is left to send.
        assert_eq!(judge("identity;q=0", 200, &[HTML], 9000), Verdict::Vary);
        assert_eq!(judge("*;q=0", 200, &[HTML], 9000), Verdict::Vary);
        // It did not say that it refuses it.
        let verdict = judge("identity;q=0.1, gzip", 200, &[image], 10);
        assert_eq!(verdict, Verdict::Leave);
    }

    #[test]
    fn a_public_answer_is_known_by_its_directives() {
        let public =
            |value: &[u8]| Answer::read(200, [(&b"Cache-Control"[..], value)], None).is_public;
        assert!(public(b"Public, max-age=3") && public(b"max-age=1 , s-maxage=60"));
        assert!(!public(b"private") && !public(b"max-age=60") && !public(b"no-store, xpublic"));
    }

    #[test]
    fn vary_gets_the_name_once() {
        let merged = |lines: &[&[u8]]| vary(lines.iter().copied());
        assert_eq!(merged(&[]).unwrap(), b"Accept-Encoding");
        assert_eq!(
            merged(&[b"Cookie,", b" Accept-Language"]).unwrap(),
            b"Cookie, Accept-Language, Accept-Encoding"
        );
        assert_eq!(merged(&[b"Cookie, accept-ENCODING"]), None);
        assert_eq!(merged(&[b"Cookie", b", *"]), None);
    }
}
