//! Which session gets which server connection, and when: last in, first out for idle servers;
//! first come, first served for who waits; one cap for each database server.
//! Leaves opening and logging in to `login`, and what is said on a server to `relay`.
//!
//! All pools of one database server (`Host`) share its cap and its turn. A server connection is
//! counted from before its socket is opened until the server has closed it (`Permit`).

mod backoff;
mod connect;
mod drive;
mod host;
mod idle;
mod lease;
mod look;
mod network;
mod one;
mod outlook;
mod pins;
mod registry;
mod size;
mod state;
mod stats;
mod tick;
mod wait;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::rc::Rc;

use crate::cancel::{Aim, Seat};
use crate::relay::Label;
use crate::target::{Target, TargetId};
use crate::wire::SqlError;

pub(crate) use look::{Facts, ServerRow};
pub(crate) use network::Network;
pub use pins::PinStats;
pub(crate) use stats::add;
pub use stats::{BOUNDS_US, Histogram, PoolStats};

pub(crate) type Pools = registry::Pools<Network>;
pub(crate) type Pool = one::Pool<Network>;
pub(crate) type Lease = lease::Lease<Network>;
pub(crate) type Wait = wait::Wait<Network>;
pub(crate) type Attached = one::Attached<Network>;
pub(crate) type PinTurn = pins::Turn<Network>;
pub(crate) use size::Limits;

/// What a pool is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) target: TargetId,
    pub(crate) database: Box<str>,
    pub(crate) user: Box<str>,
}

/// Who asks for a server, for the words of errors and the console.
#[derive(Debug, Clone)]
pub(crate) struct WaitInfo {
    /// `pid 4711 (shop)`; shared with the session, so that asking costs no allocation.
    pub(crate) client: Rc<str>,
    /// Where the server it gets is noted, so that a cancel request finds it.
    pub(crate) seat: Option<Rc<Seat>>,
}

/// How a pool gets server connections; the tests of its rules have one without sockets.
pub(crate) trait Connect: 'static {
    type Server: Link;

    /// Opens a connection and logs in.
    async fn connect(&self, target: &Rc<Target>, key: &PoolKey) -> Result<Self::Server, Refused>;

    /// Asks the server how many connections it has left for us, who are the processes `ours`;
    /// `None` when it would not say.
    async fn limits(&self, server: &mut Self::Server, ours: &[i32]) -> Option<Limits>;

    /// Every address the hosts of a target have now; `None` when that cannot be told.
    async fn addresses(&self, target: &Target) -> Option<Vec<IpAddr>>;

    /// The present contents of a target whose password was refused.
    async fn refresh(&self, target: TargetId) -> Option<Target>;
}

/// What a pool must know of a server connection.
pub(crate) trait Link: 'static {
    /// Whether it is as it was left; no system call unless something arrived.
    fn is_alive(&mut self) -> bool;
    /// The settings applied to it.
    fn label(&self) -> &Rc<Label>;
    /// The address at the other end.
    fn address(&self) -> Option<IpAddr>;
    /// The server process.
    fn pid(&self) -> Option<i32>;
    /// Whether a cancel request for it is under way: it must not reach the next client.
    fn is_being_cancelled(&self) -> bool;
    /// Waits until no cancel request is under way.
    async fn quiet(&self);
    /// How to cancel what runs on it.
    fn aim(&self) -> Option<Rc<Aim>>;
    /// What the console shows of it.
    fn facts(&self) -> Facts {
        Facts::default()
    }
    /// How many statements are prepared on it.
    fn prepared(&self) -> usize {
        0
    }
    /// Says goodbye and waits, within bounds, until the server has let go.
    async fn close(self: Box<Self>);
}

/// Why a server connection could not be had.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) why: Why,
    /// The server's own words, or ours when it could not be reached.
    pub(crate) error: SqlError,
}

/// What a pool does about a refused connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nobody there (yet), or not now: clients are held.
    Unreachable,
    /// 53300: the server is full; clients are held, and we make do with fewer.
    Full,
    /// 28P01: the password may have been rotated.
    Password,
    /// The server is there and will refuse again: clients are told.
    Final,
}
