//! Names under which responses can be purged together: owns reading them from `Surrogate-Key`,
//! `Cache-Tag` and `Cache-Groups` (RFC 9875). Finding what has them is left to the store.

use crate::key::{UrlParts, push, take};
use crate::lines::{Field, Lines};
use crate::structured::strings;

/// All tags of one response, in bytes, with what stands before each.
pub const MOST_TAG_BYTES: usize = 32 * 1024;

/// The longest tag.
pub const LONGEST_TAG: usize = 1024;

/// A tag as the app named it, for the whole site.
pub fn site_tag(name: &[u8]) -> Vec<u8> {
    [b"t", name].concat()
}

/// A group of RFC 9875, which is its origin's alone.
pub fn group_tag(url: &UrlParts<'_>, name: &[u8]) -> Vec<u8> {
    let scheme = url.scheme.as_str().as_bytes();
    [b"g", scheme, b"://", url.host, b"/", name].concat()
}

/// The tags of a response; None when they are too many or too long: what a purge might miss is not kept.
pub fn of(fields: &[Field<'_>], url: &UrlParts<'_>) -> Option<Vec<Vec<u8>>> {
    let spaced = fields
        .values("surrogate-key")
        .flat_map(|line| line.split(u8::is_ascii_whitespace));
    let commas = fields
        .values("cache-tag")
        .flat_map(|line| line.split(|&byte| byte == b','))
        .map(crate::text::trim);
    let mut tags: Vec<Vec<u8>> = spaced.chain(commas).filter(is_some).map(site_tag).collect();
    tags.extend(
        groups(fields, "cache-groups")
            .iter()
            .map(|name| group_tag(url, name)),
    );
    tags.sort_unstable();
    tags.dedup();
    let bytes: usize = tags.iter().map(|tag| tag.len() + 4).sum();
    let longest = LONGEST_TAG + url.host.len() + "ghttps:///".len();
    (bytes <= MOST_TAG_BYTES && tags.iter().all(|tag| tag.len() <= longest)).then_some(tags)
}

/// The strings of a field of RFC 9875; none when it is not well formed.
pub(crate) fn groups(fields: &[Field<'_>], name: &str) -> Vec<Vec<u8>> {
    let joined = fields.values(name).collect::<Vec<_>>().join(&b", "[..]);
    let mut found = strings(&joined).unwrap_or_default();
    found.retain(|name| is_some(&name.as_slice()));
    found
}

fn is_some(tag: &&[u8]) -> bool {
    !tag.is_empty()
}

/// From the form that [`write`] gives.
pub(crate) fn each(tags: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = tags;
    std::iter::from_fn(move || {
        let (tag, after) = take(rest)?;
        rest = after;
        Some(tag)
    })
}

/// In the form an entry holds.
pub(crate) fn write(tags: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for tag in tags {
        push(&mut out, tag);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, Scheme};

    #[test]
    fn d9_tags_come_from_three_fields_and_groups_stay_with_their_origin() {
        let key = Key::new(Scheme::Https, b"a.example", b"/", None);
        let url = UrlParts::read(key.url()).unwrap();
        let fields: [Field<'_>; 4] = [
            (b"Surrogate-Key", b"one  two"),
            (b"Cache-Tag", b"two, three x ,"),
            (b"Cache-Groups", b"\"scripts\""),
            (b"cache-groups", b"\"two\";q"),
        ];
        let tags = of(&fields, &url).unwrap();
        let expected = [
            "ghttps://a.example/scripts",
            "ghttps://a.example/two",
            "tone",
            "tthree x",
            "ttwo",
        ];
        assert_eq!(tags, expected.map(|tag| tag.as_bytes().to_vec()));
        let other = Key::new(Scheme::Https, b"b.example", b"/", None);
        let other = UrlParts::read(other.url()).unwrap();
        assert_ne!(group_tag(&url, b"x"), group_tag(&other, b"x"));
    }

    #[test]
    fn d9_a_malformed_group_list_is_ignored_and_no_tag_is_left_out() {
        let key = Key::new(Scheme::Http, b"a", b"/", None);
        let url = UrlParts::read(key.url()).unwrap();
        let many = (0..200)
            .map(|n| format!("t{n}"))
            .collect::<Vec<_>>()
            .join(" ");
        let long = "x".repeat(LONGEST_TAG + 100);
        let fields: [Field<'_>; 2] = [
            (b"Cache-Groups", b"scripts"),
            (b"Surrogate-Key", many.as_bytes()),
        ];
        let tags = of(&fields, &url).unwrap();
        assert_eq!(tags.len(), 200);
        assert!(tags.iter().all(|tag| tag.starts_with(b"tt")));
        assert_eq!(of(&[(b"Cache-Tag", long.as_bytes())], &url), None);
        let many = (0..4000).map(|n| format!("{n:08}")).collect::<Vec<_>>();
        let many = many.join(" ");
        assert_eq!(of(&[(b"Surrogate-Key", many.as_bytes())], &url), None);
    }
}
