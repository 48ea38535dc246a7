//! Which stored responses a purge means: owns the words for it and remembering the latest, so that
//! what was made before a purge is not stored after it.

use std::collections::VecDeque;

use crate::entry::Entry;
use crate::key::{Key, UrlParts};

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
    /// Everything.
    Everything,
}

impl Purge {
    /// Whether an entry is meant.
    pub fn means(&self, entry: &Entry) -> bool {
        self.means_parts(entry.url(), || entry.tags().any(|tag| self.is_tag(tag)))
    }

    fn is_tag(&self, tag: &[u8]) -> bool {
        matches!(self, Self::Tag(own) if own == tag)
    }

    fn means_parts(&self, url: &[u8], has_tag: impl FnOnce() -> bool) -> bool {
        let of_host = |host: &Option<Vec<u8>>, parts: &UrlParts<'_>| {
            host.as_deref().is_none_or(|host| host == parts.host)
        };
        let parts = UrlParts::read(url);
        match (self, parts) {
            (Self::Everything, _) => true,
            (Self::Url(key), _) => key.url() == url,
            (Self::Tag(_), _) => has_tag(),
            (Self::Path { host, path }, Some(parts)) => of_host(host, &parts) && parts.path == path,
            (Self::Prefix { host, path }, Some(parts)) => {
                of_host(host, &parts) && parts.path.starts_with(path)
            }
            (Self::Host(host), Some(parts)) => parts.host == host,
            (_, None) => false,
        }
    }
}

/// The latest purges, with the number of each.
#[derive(Debug, Default)]
pub(super) struct Latest {
    purges: VecDeque<Purge>,
    /// The number of the next.
    next: u64,
}

/// A moment between purges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark(u64);

impl Latest {
    const MOST: usize = 64;

    pub fn mark(&self) -> Mark {
        Mark(self.next)
    }

    pub fn add(&mut self, purge: &Purge) {
        if self.purges.len() == Self::MOST {
            self.purges.pop_front();
        }
        self.purges.push_back(purge.clone());
        self.next += 1;
    }

    /// Whether something that was begun at `mark` has been purged since. Who began before all that
    /// is remembered is told so, too.
    pub fn hit(&self, mark: Mark, entry: &Entry) -> bool {
        let since = self.next.saturating_sub(mark.0);
        let since = usize::try_from(since).unwrap_or(usize::MAX);
        since > self.purges.len() || self.purges.iter().rev().take(since).any(|p| p.means(entry))
    }
}
