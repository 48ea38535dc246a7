//! What of an entry a purge can name: owns those names, and that each of them has bytes of its own to be hashed by.
//! Leaves what is removed to `purge`, and how names are remembered to `recent` and `several`.

use crate::key::UrlParts;

/// What purges name of an entry, one by one. A purge with a name means the entries with that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    Url(&'a [u8]),
    Path(Option<&'a [u8]>, &'a [u8]),
    Host(&'a [u8]),
    Tag(&'a [u8]),
}

impl<'a> Name<'a> {
    /// For hashing: another name has other parts, and they do not run together.
    pub fn parts(self) -> [&'a [u8]; 4] {
        match self {
            Self::Url(url) => [b"u", b"", b"\0", url],
            Self::Path(Some(host), path) => [b"p", host, b"\0", path],
            Self::Path(None, path) => [b"a", b"", b"\0", path],
            Self::Host(host) => [b"h", b"", b"\0", host],
            Self::Tag(tag) => [b"t", b"", b"\0", tag],
        }
    }
}

/// All names of something stored.
pub(crate) fn names<'a>(
    url: &'a [u8],
    tags: impl Iterator<Item = &'a [u8]>,
) -> impl Iterator<Item = Name<'a>> {
    let parts = UrlParts::read(url).map(|parts| {
        [
            Name::Path(Some(parts.host), parts.path),
            Name::Path(None, parts.path),
            Name::Host(parts.host),
        ]
    });
    std::iter::once(Name::Url(url))
        .chain(parts.into_iter().flatten())
        .chain(tags.map(Name::Tag))
}
