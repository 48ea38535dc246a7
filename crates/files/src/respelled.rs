//! Names of files that a framework had to respell to put them into a field: owns undoing that. Leaves
//! which file is meant to `pointed`.
//!
//! Fields are latin-1 to WSGI (PEP 3333), names of files UTF-8. Django sends what fits latin-1 as that, and
//! all else as an encoded word (RFC 2047).

/// What may have been meant by a value that is not plain ASCII; nothing for any other.
pub(crate) fn respelled(value: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    if !value.is_ascii() {
        let text: String = value.iter().map(|&byte| char::from(byte)).collect();
        names.push(text.into_bytes());
    }
    names.extend(decode_words(value));
    names
}

/// Encoded words in UTF-8, one after the other; None for anything else.
fn decode_words(value: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    for word in value.split(|&byte| byte == b' ') {
        let inner = word.strip_prefix(b"=?")?.strip_suffix(b"?=")?;
        let mut parts = inner.splitn(3, |&byte| byte == b'?');
        let (charset, encoding, text) = (parts.next()?, parts.next()?, parts.next()?);
        if !charset.eq_ignore_ascii_case(b"utf-8") {
            return None;
        }
        decoded.extend(match encoding {
            b"b" | b"B" => base64(text)?,
            b"q" | b"Q" => quoted(text)?,
            _ => return None,
        });
    }
    Some(decoded)
}

/// RFC 4648, section 4, with its padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.split(|&byte| byte == b'=').next()?;
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for &digit in digits {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// RFC 2047, section 4.2.
fn quoted(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        out.push(match byte {
            b'_' => b' ',
            b'=' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `HttpResponse.headers` of Django 6.1 has them.
    #[test]
    fn b_names_that_django_respelled_are_read_back() {
        for (value, name) in [
            (&b"/srv/caf\xe9.txt"[..], "/srv/caf\u{e9}.txt"),
            (
                b"=?utf-8?b?L3Nydi/ml6XmnKwudHh0?=",
                "/srv/\u{65e5}\u{672c}.txt",
            ),
            (
                b"=?utf-8?q?/srv/long-name-of-a-file_=C5=82.txt?=",
                "/srv/long-name-of-a-file \u{142}.txt",
            ),
        ] {
            assert!(
                respelled(value).contains(&name.as_bytes().to_vec()),
                "{name}"
            );
        }
        for plain in [
            &b"/srv/a.txt"[..],
            b"",
            b"=?utf-8?b?????=",
            b"=?utf-8?b?abc?=",
            b"=?utf-8?b?a===?=",
            b"=?utf-8?q?=4?=",
            b"=?utf-8?q?=zz?=",
            b"=?koi8-r?b?QUJD?=",
            b"=?utf-8?x?QUJD?=",
            b"=?",
            b"=?=",
        ] {
            assert!(respelled(plain).is_empty(), "{}", plain.escape_ascii());
        }
    }
}
