//! What a purge may name, and which stored responses it means. Finding these is left to whoever keeps
//! them, remembering purges to [`super::recent`].

use crate::entry::Entry;
use crate::key::{Key, LONGEST_URL, UrlParts};
use crate::store::name::{Name, names};
use crate::store::several::Several;
use crate::tags::LONGEST_TAG;

/// What to purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// One URL, whatever else is in the key and whatever it varies on.
    Url(Key),
    /// A path with any query, on this host or on all.
    Path {
        /// In lower case; None for every host.
        host: Option<Vec<u8>>,
        /// The path as the app gets it.
        path: Vec<u8>,
    },
    /// All paths that begin so.
    Prefix {
        /// In lower case; None for every host.
        host: Option<Vec<u8>>,
        /// How the path begins, as the app gets it.
        path: Vec<u8>,
    },
    /// A whole host.
    Host(Vec<u8>),
    /// A tag, as [`crate::tags`] writes it.
    Tag(Vec<u8>),
    /// More than were remembered singly.
    Several(Several),
    /// Everything.
    Everything,
}

impl Purge {
    /// Whether an entry is meant.
    pub fn means(&self, entry: &Entry) -> bool {
        self.means_stored(entry.url(), entry.tags())
    }

    /// The same of what has this URL side of a key and these tags.
    pub(crate) fn means_stored<'a>(
        &self,
        url: &'a [u8],
        tags: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        match self {
            Self::Everything => true,
            Self::Prefix { host, path } => UrlParts::read(url).is_some_and(|parts| {
                host.as_deref().is_none_or(|host| host == parts.host)
                    && parts.path.starts_with(path)
            }),
            Self::Several(several) => names(url, tags).any(|name| several.has(name)),
            named => {
                let own = named.name();
                names(url, tags).any(|name| Some(name) == own)
            }
        }
    }

    /// Adds what it names to several; false where that is no single thing.
    pub fn add_to(&self, several: &mut Several) -> bool {
        if let Self::Several(own) = self {
            several.merge(own);
            return true;
        }
        let name = self.name();
        if let Some(name) = name {
            several.add(name);
        }
        name.is_some()
    }

    /// What it names, where that is one thing.
    pub(crate) fn name(&self) -> Option<Name<'_>> {
        match self {
            Self::Url(key) => Some(Name::Url(key.url())),
            Self::Path { host, path } => Some(Name::Path(host.as_deref(), path)),
            Self::Host(host) => Some(Name::Host(host)),
            Self::Tag(tag) => Some(Name::Tag(tag)),
            Self::Prefix { .. } | Self::Several(_) | Self::Everything => None,
        }
    }

    /// Whether nothing can be stored that it means, because it names something too long for that.
    pub fn names_nothing(&self) -> bool {
        match self {
            Self::Url(key) => key.url().len() > LONGEST_URL,
            Self::Path { path, .. } | Self::Prefix { path, .. } => path.len() > LONGEST_URL,
            Self::Host(host) => host.len() > LONGEST_URL,
            // The site's own have a letter before them, groups their origin.
            Self::Tag(tag) => tag.len() > LONGEST_TAG + LONGEST_URL,
            Self::Several(_) | Self::Everything => false,
        }
    }
}
