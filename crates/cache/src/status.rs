//! `Cache-Status` (RFC 9211): owns its text. What is told is decided elsewhere.

use std::fmt::{self, Display};

use crate::policy::Forward;
use crate::reason::Reason;

/// The name of this cache in the field.
pub const NAME: &str = "canter";

/// A tier below memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// A folder of this machine.
    Disk,
    /// What several machines share.
    Shared,
}

impl Tier {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Shared => "shared",
        }
    }
}

/// What the cache had to do with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStatus<'a> {
    /// It came from the store, without the app.
    pub hit: bool,
    /// Why the app was asked.
    pub forward: Option<Forward>,
    /// The status of the app's answer, where it is not the response's own: 304, or an error for
    /// which a stale copy was sent.
    pub forward_status: Option<u16>,
    /// For how many seconds it is fresh; negative when stale.
    pub ttl: Option<i64>,
    /// The app's answer was stored.
    pub stored: bool,
    /// One answer of the app was for several requests, this one among them.
    pub collapsed: bool,
    /// Why not.
    pub detail: Option<Reason>,
    /// Where it was found, when not in memory.
    pub tier: Option<Tier>,
    /// The key, only for who debugs.
    pub key: Option<&'a str>,
}

impl Display for CacheStatus<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(NAME)?;
        if self.hit {
            out.write_str("; hit")?;
        } else if let Some(forward) = self.forward {
            write!(out, "; fwd={}", forward.word())?;
        }
        if let Some(status) = self.forward_status {
            write!(out, "; fwd-status={status}")?;
        }
        if let Some(ttl) = self.ttl {
            write!(out, "; ttl={ttl}")?;
        }
        if self.stored {
            out.write_str("; stored")?;
        }
        if self.collapsed {
            out.write_str("; collapsed")?;
        }
        if let Some(key) = self.key {
            out.write_str("; key=\"")?;
            for byte in key.bytes().take(512) {
                match byte {
                    b'"' | b'\\' => write!(out, "\\{}", char::from(byte))?,
                    b' '..=b'~' => write!(out, "{}", char::from(byte))?,
                    _ => out.write_str("?")?,
                }
            }
            out.write_str("\"")?;
        }
        if let Some(detail) = self.detail {
            write!(out, "; detail={}", detail.word())?;
        } else if let Some(tier) = self.tier {
            write!(out, "; detail={}", tier.word())?;
        }
        Ok(())
    }
}

/// What the access log says of the cache: one word to count by, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brief {
    /// Of [`short_word`].
    pub word: &'static str,
    /// Why it is no hit, or where the page was found.
    pub detail: Option<&'static str>,
}

impl From<&CacheStatus<'_>> for Brief {
    fn from(status: &CacheStatus<'_>) -> Self {
        let detail = status.detail.map(Reason::word);
        Self {
            word: short_word(status),
            detail: detail.or_else(|| status.tier.map(Tier::word)),
        }
    }
}

/// The word that a CDN would say, for `X-Cache` and the log.
pub fn short_word(status: &CacheStatus<'_>) -> &'static str {
    match (status.hit, status.forward) {
        (true, _) if status.ttl.is_some_and(|ttl| ttl <= 0) => "STALE",
        (true, _) => "HIT",
        (_, Some(Forward::Stale)) if status.forward_status == Some(304) => "REVALIDATED",
        (_, Some(Forward::Stale)) => "EXPIRED",
        (_, Some(Forward::Bypass | Forward::Method) | None) => "BYPASS",
        // What will never be stored is no miss that another request could turn into a hit.
        (_, Some(_)) if status.detail.is_some() && !status.stored => "BYPASS",
        (_, Some(_)) => "MISS",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d7_the_field_is_as_rfc_9211_has_it() {
        let status = CacheStatus::default();
        for (status, text, word) in [
            (
                CacheStatus {
                    hit: true,
                    ttl: Some(41),
                    ..status
                },
                "canter; hit; ttl=41",
                "HIT",
            ),
            (
                CacheStatus {
                    hit: true,
                    ttl: Some(7),
                    tier: Some(Tier::Shared),
                    ..status
                },
                "canter; hit; ttl=7; detail=shared",
                "HIT",
            ),
            (
                CacheStatus {
                    hit: true,
                    ttl: Some(-3),
                    ..status
                },
                "canter; hit; ttl=-3",
                "STALE",
            ),
            (
                CacheStatus {
                    forward: Some(Forward::UriMiss),
                    ttl: Some(60),
                    stored: true,
                    collapsed: true,
                    ..status
                },
                "canter; fwd=uri-miss; ttl=60; stored; collapsed",
                "MISS",
            ),
            (
                CacheStatus {
                    forward: Some(Forward::UriMiss),
                    detail: Some(Reason::SetCookie),
                    ..status
                },
                "canter; fwd=uri-miss; detail=set-cookie",
                "BYPASS",
            ),
            (
                CacheStatus {
                    forward: Some(Forward::Stale),
                    forward_status: Some(304),
                    stored: true,
                    ..status
                },
                "canter; fwd=stale; fwd-status=304; stored",
                "REVALIDATED",
            ),
            (
                CacheStatus {
                    forward: Some(Forward::Bypass),
                    detail: Some(Reason::SessionCookie),
                    key: Some("a\"\\\u{e9}"),
                    ..status
                },
                "canter; fwd=bypass; key=\"a\\\"\\\\??\"; detail=session-cookie",
                "BYPASS",
            ),
        ] {
            assert_eq!(status.to_string(), text);
            assert_eq!(short_word(&status), word, "{text}");
        }
    }
}
