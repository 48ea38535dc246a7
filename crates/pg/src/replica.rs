//! Reading from replicas: which statement may leave the primary, and to which server it goes.
//!
//! Off unless replicas are configured. Owns the rules (H1 to H6), what is known of each replica and
//! what a visitor must see. Pure but for `probe`: times are passed in; leasing, sending and running
//! again are the session's.
//!
//! ```text
//! probe ─▶ history of the primary's LSN, lag of each replica
//! a read, what its visitor must see ─▶ choose ─▶ replica | primary (why)
//! 25006, 40001 of a replica ─▶ learned, run again on the primary
//! ```

mod ban;
mod choose;
mod floor;
mod group;
mod history;
mod learned;
mod lsn;
mod sample;
mod seal;
#[cfg(test)]
mod tests;
mod visit;

pub use choose::{Choice, Replicas, Why};
pub use floor::Floor;
pub(crate) use group::Group;
pub use learned::fingerprint;
pub use lsn::Lsn;
pub use sample::{Asked, Sample, is_healed_by_primary};
pub use seal::Seal;
pub(crate) use visit::Hook;
pub use visit::{Visit, Visits};

use std::time::Duration;

/// How replicas are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A replica further behind than this gets no reads.
    pub max_lag: Duration,
    /// Whether reads that call functions nobody knows may go to a replica, as long as they were
    /// not seen to fail there.
    pub unknown_functions: bool,
    /// How long a replica that failed gets no reads; doubles with each failure in a row.
    pub first_ban: Duration,
    /// The longest such time.
    pub longest_ban: Duration,
    /// How often every server is asked how far it is.
    pub probe_every: Duration,
    /// A replica that did not answer for so long gets no reads.
    pub longest_silence: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_lag: Duration::from_secs(10),
            unknown_functions: false,
            first_ban: Duration::from_secs(2),
            longest_ban: Duration::from_secs(120),
            probe_every: Duration::from_secs(1),
            longest_silence: Duration::from_secs(10),
        }
    }
}
