//! Entity tags of encoded forms (RFC 9110, section 8.8.3): owns making one from the app's, and
//! finding the app's in one that comes back. Leaves comparing them to `canter_http`.
//!
//! A strong tag names bytes, so each form has its own: `"a"` becomes `"a~gzip"`. A weak one names
//! what the bytes mean and stays. Towards the app the end is taken off again, so that it recognises
//! what it has made.

use canter_http::coding::Coding;
use canter_http::etag::EntityTag;

const MARK: u8 = b'~';

/// The tag of the form that `etag`, which the app gave, has in `coding`. `exactly` says that the same
/// content is always encoded to the same bytes; otherwise the new tag is weak.
pub fn of_form(etag: &[u8], coding: Coding, exactly: bool) -> Vec<u8> {
    match EntityTag::parse(etag.trim_ascii()) {
        Some(tag) if !tag.is_weak && coding != Coding::Identity => {
            let start: &[u8] = if exactly { b"\"" } else { b"W/\"" };
            let name = coding.name().as_bytes();
            [start, tag.opaque, &[MARK], name, b"\""].concat()
        }
        _ => etag.to_vec(),
    }
}

/// The app's part of a tag that [`of_form`] made, and the form.
fn split<'a>(tag: &EntityTag<'a>) -> Option<(&'a [u8], Coding)> {
    let at = tag.opaque.iter().rposition(|&byte| byte == MARK)?;
    let (own, name) = (tag.opaque.get(..at)?, tag.opaque.get(at + 1..)?);
    let mut all = Coding::ENCODED.into_iter();
    let coding = all.find(|coding| coding.name().as_bytes() == name)?;
    Some((own, coding))
}

/// The tags of a condition as the app knows them; None where nothing changes.
///
/// `selected` is the form that this request would get: with `If-None-Match` of a read, a tag of any
/// other form says that the client has other bytes than these, and the app must not take them for
/// its own (RFC 9111, section 4.3.4). Where a condition is about the state (`If-Match`, or any with
/// an unsafe method), `selected` is None, and every form stands for the same state. The list never
/// becomes longer.
pub fn towards_the_app(list: &[u8], selected: Option<Coding>) -> Option<Vec<u8>> {
    if !list.contains(&MARK) {
        return None;
    }
    let mut out = Vec::with_capacity(list.len());
    let mut changed = false;
    for tag in EntityTag::list(list) {
        if !out.is_empty() {
            out.push(b',');
        }
        match split(&tag) {
            Some((own, coding)) if selected.is_none_or(|selected| selected == coding) => {
                changed = true;
                out.extend_from_slice(&[b"\"", own, b"\""].concat());
            }
            _ => {
                let start: &[u8] = if tag.is_weak { b"W/\"" } else { b"\"" };
                out.extend_from_slice(&[start, tag.opaque, b"\""].concat());
            }
        }
    }
    changed.then_some(out)
}

/// The tag in the client's `list` that stands for `etag`, which the app's 304 names: the client is
/// told the one it has.
pub fn in_the_clients_words(etag: &[u8], list: &[u8], selected: Coding) -> Option<Vec<u8>> {
    let own = EntityTag::parse(etag.trim_ascii()).filter(|tag| !tag.is_weak)?;
    let found = EntityTag::list(list).find(|tag| split(tag) == Some((own.opaque, selected)))?;
    let start: &[u8] = if found.is_weak { b"W/\"" } else { b"\"" };
    Some([start, found.opaque, b"\""].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Brotli, Gzip, Zstd};

    fn text(bytes: Option<Vec<u8>>) -> Option<String> {
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn each_form_has_a_tag_of_its_own_and_a_weak_one_stays() {
        for (etag, coding, exactly, expected) in [
            ("\"a\"", Gzip, true, "\"a~gzip\""),
            ("\"a\"", Brotli, true, "\"a~br\""),
            ("\"a\"", Zstd, false, "W/\"a~zstd\""),
            ("\"\"", Zstd, true, "\"~zstd\""),
            ("\"a~gzip\"", Gzip, true, "\"a~gzip~gzip\""),
            ("W/\"a\"", Gzip, true, "W/\"a\""),
            ("\"a\"", Coding::Identity, true, "\"a\""),
            ("a", Gzip, true, "a"),
        ] {
            let made = of_form(etag.as_bytes(), coding, exactly);
            assert_eq!(String::from_utf8(made).unwrap(), expected);
        }
    }

    #[test]
    fn what_comes_back_is_what_the_app_made() {
        for etag in ["\"a\"", "\"\"", "\"a~gzip\"", "\"a,b~c\"", "\"~\""] {
            for coding in Coding::ENCODED {
                for exactly in [true, false] {
                    let made = of_form(etag.as_bytes(), coding, exactly);
                    let back = towards_the_app(&made, Some(coding));
                    assert_eq!(text(back).as_deref(), Some(etag));
                    let told = in_the_clients_words(etag.as_bytes(), &made, coding);
                    assert_eq!(told, Some(made));
                }
            }
        }
    }

    #[test]
    fn only_the_form_that_would_be_sent_is_taken_for_the_apps_own() {
        let list = b"\"a~gzip\", W/\"b~br\", \"c\", W/\"d\"";
        assert_eq!(
            text(towards_the_app(list, Some(Gzip))).unwrap(),
            "\"a\",W/\"b~br\",\"c\",W/\"d\""
        );
        assert_eq!(
            text(towards_the_app(list, None)).unwrap(),
            "\"a\",\"b\",\"c\",W/\"d\""
        );
        assert_eq!(towards_the_app(list, Some(Zstd)), None);
        for same in [&b"\"a\""[..], b"*", b"", b"\"a~deflate\"", b"a~gzip"] {
            assert_eq!(towards_the_app(same, None), None);
        }
        assert_eq!(in_the_clients_words(b"\"a\"", b"\"a~gzip\"", Zstd), None);
        assert_eq!(in_the_clients_words(b"\"a\"", b"\"a\"", Gzip), None);
        assert_eq!(in_the_clients_words(b"W/\"a\"", b"\"a~gzip\"", Gzip), None);
    }
}
