//! What a page rule lets the cache do, and the settings of the cache as a whole: owns the values
//! that [`crate::policy`] reads. Finding the rule for a path is left to the caller.

/// Whose word counts for how long a response is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The app's, where it says anything; else the rule's.
    #[default]
    Respect,
    /// The rule's, whatever lifetime the app states. What must never be stored is not.
    Override,
    /// Nothing is stored or served from the cache.
    Bypass,
}

/// Statuses and the time to live of their responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusTtl {
    /// The first status.
    pub from: u16,
    /// The last one.
    pub to: u16,
    /// In seconds; zero is not to store them.
    pub ttl: u32,
}

/// A page rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Which rule it is, for the count of entries; zero is no rule.
    pub id: u32,
    /// Whose word counts.
    pub mode: Mode,
    /// How long pages are fresh, in seconds.
    pub ttl: Option<u32>,
    /// How long after that a copy may be served while another is got, in seconds.
    pub grace: Option<u32>,
    /// How long after that a copy may be served when the app fails, in seconds.
    pub stale_if_error: Option<u32>,
    /// What browsers are told in place of what the app said, in seconds.
    pub browser_ttl: Option<u32>,
    /// Times to live of certain statuses, before `ttl`.
    pub status_ttl: Vec<StatusTtl>,
    /// How many entries the rule may have at most; zero is no limit of its own.
    pub most_entries: usize,
}

impl Rule {
    /// The time to live that the rule has for a status. Statuses that tell of an error that the
    /// next request may not have (RFC 9110, section 15) get none, whatever the rule says.
    pub fn ttl_of(&self, status: u16) -> Option<u32> {
        if is_transient(status) {
            return None;
        }
        let of_status = self
            .status_ttl
            .iter()
            .find(|row| (row.from..=row.to).contains(&status));
        if let Some(row) = of_status {
            return Some(row.ttl).filter(|&ttl| ttl > 0);
        }
        match status {
            200 | 203 | 300 | 301 | 308 => self.ttl,
            // What is not there may be made in the next minute.
            204 | 404 | 410 => self.ttl.map(|ttl| ttl.min(60)),
            _ => None,
        }
    }
}

/// Errors that one request can bring about for all the others (CPDoS): those of the server, and
/// those about how the request was made.
pub(crate) const fn is_transient(status: u16) -> bool {
    status >= 500
        || matches!(
            status,
            400 | 401 | 403 | 405 | 406 | 407 | 408 | 411..=417 | 421..=431
        )
}

/// How the cache as a whole behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "settings, each on or off")]
pub struct Settings {
    /// Guess a lifetime from Last-Modified, as RFC 9111 allows in section 4.2.2. Off: a page that
    /// says nothing is not stored.
    pub heuristics: bool,
    /// Clients may ask around the cache with `no-cache`, `max-age` and the like. Off: they cannot
    /// make the app work.
    pub obey_clients: bool,
    /// Store pages with a nonce in their Content-Security-Policy.
    pub store_nonces: bool,
    /// The app runs with DEBUG.
    pub debug: bool,
    /// Without a rule or a directive: how long after it went stale a copy may be served when the
    /// app fails, in seconds.
    pub stale_if_error: u32,
    /// The same for the time while another is got, for pages of a rule.
    pub grace: u32,
    /// The largest body that is stored, in bytes.
    pub largest_body: u64,
    /// The largest block of fields that is stored, in bytes.
    pub largest_head: usize,
    /// Lifetimes that a rule gives are shortened by up to this many hundredths, so that what was
    /// stored together is not made anew together.
    pub jitter_percent: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heuristics: false,
            obey_clients: false,
            store_nonces: false,
            debug: false,
            stale_if_error: 86_400,
            grace: 60,
            largest_body: 1 << 20,
            largest_head: 16 * 1024,
            jitter_percent: 5,
        }
    }
}

impl Settings {
    /// As RFC 9111 lets a cache behave that nobody attacks. No option leads here: the tests of the
    /// policy show with it that what must never be stored is not then, either.
    pub fn rfc() -> Self {
        Self {
            heuristics: true,
            obey_clients: true,
            store_nonces: true,
            ..Self::default()
        }
    }
}
