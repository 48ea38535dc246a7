//! Names under which responses can be purged together: owns reading them from `Surrogate-Key`,
//! `Cache-Tag` and `Cache-Groups` (RFC 9875). Finding what has them is left to the store.

use crate::key::{UrlParts, push, take};
use crate::lines::{Field, Lines};
use crate::structured::strings;

/// More tags than this one response does not get.
pub const MOST_TAGS: usize = 64;

/// The longest tag.
pub const LONGEST_TAG: usize = 256;

/// A tag as the app named it, for the whole site.
pub fn site_tag(name: &[u8]) -> Vec<u8> {
    [b"t", name].concat()
}

/// A group of RFC 9875, which is its origin's alone.
pub fn group_tag(url: &UrlParts<'_>, name: &[u8]) -> Vec<u8> {
    let scheme = url.scheme.as_str().as_bytes();
    [b"g", scheme, b"://", url.host, b"/", name].concat()
}

/// The tags of a response.
pub fn of(fields: &[Field<'_>], url: &UrlParts<'_>) -> Vec<Vec<u8>> {
    let spaced = fields
        .values("surrogate-key")
        .flat_map(|line| line.split(u8::is_ascii_whitespace));
    let commas = fields
        .values("cache-tag")
        .flat_map(|line| line.split(|&byte| byte == b','))
        .map(crate::text::trim);
    let mut tags: Vec<Vec<u8>> = spaced.chain(commas).filter(is_tag).map(site_tag).collect();
    tags.extend(
        groups(fields, "cache-groups")
            .iter()
            .map(|name| group_tag(url, name)),
    );
    tags.sort_unstable();
    tags.dedup();
    tags.truncate(MOST_TAGS);
    tags
}

/// The strings of a field of RFC 9875; none when it is not well formed.
pub(crate) fn groups(fields: &[Field<'_>], name: &str) -> Vec<Vec<u8>> {
    let joined = fields.values(name).collect::<Vec<_>>().join(&b", "[..]);
    let mut found = strings(&joined).unwrap_or_default();
    found.retain(|name| is_tag(&name.as_slice()));
    found
}

fn is_tag(tag: &&[u8]) -> bool {
    !tag.is_empty() && tag.len() <= LONGEST_TAG
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
        let tags = of(&fields, &url);
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
    fn d9_a_malformed_group_list_is_ignored_and_tags_are_bounded() {
        let key = Key::new(Scheme::Http, b"a", b"/", None);
        let url = UrlParts::read(key.url()).unwrap();
        let many = (0..200)
            .map(|n| format!("t{n}"))
            .collect::<Vec<_>>()
            .join(" ");
        let long = "x".repeat(LONGEST_TAG + 1);
        let fields: [Field<'_>; 3] = [
            (b"Cache-Groups", b"scripts"),
            (b"Surrogate-Key", many.as_bytes()),
            (b"Cache-Tag", long.as_bytes()),
        ];
        let tags = of(&fields, &url);
        assert_eq!(tags.len(), MOST_TAGS);
        assert!(tags.iter().all(|tag| tag.starts_with(b"tt")));
    }
}
