//! What the pooler is told by whoever composes it: limits, time-outs, hooks.
//! Leaves reading options and their names to the program.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::target::{Target, TargetId};

/// A hook that gives the present contents of a target whose password was refused.
pub type Refresh = Rc<dyn Fn(TargetId) -> Pin<Box<dyn Future<Output = Option<Target>>>>>;

/// How a pooler behaves.
#[derive(Clone)]
pub struct Settings {
    /// The most server connections to one database server, over all databases and users, opening
    /// and closing ones counted. `None` asks the server what is left for us.
    pub connections: Option<u32>,
    /// How long a client waits for a server connection before it gets an error.
    pub wait_timeout: Duration,
    /// The age at which a server connection is replaced; each one gets ±10 %.
    pub lifetime: Duration,
    /// How long a server connection may be idle.
    pub idle_timeout: Duration,
    /// How long opening one server connection may take, from DNS to the first `ReadyForQuery`.
    pub connect_timeout: Duration,
    /// How long a transaction may be idle; zero for ever.
    pub idle_transaction_timeout: Duration,
    /// How long one query may run; zero for ever.
    pub query_timeout: Duration,
    /// The most sessions that may hold a server connection outside of transactions; `None` is half
    /// of the connections.
    pub pin_cap: Option<u32>,
    /// How long a pinned session may be idle.
    pub pin_idle_timeout: Duration,
    /// The most prepared statements on one server connection.
    pub prepared: usize,
    /// Whether a lone `BEGIN` is answered here and sent with the first statement.
    pub defer_begin: bool,
    /// The most clients at once, over all doors.
    pub max_clients: usize,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// Asked for a target's present contents when its password is refused (28P01).
    pub refresh: Option<Refresh>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: None,
            wait_timeout: Duration::from_secs(30),
            lifetime: Duration::from_secs(3600),
            idle_timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(15),
            idle_transaction_timeout: Duration::ZERO,
            query_timeout: Duration::ZERO,
            pin_cap: None,
            pin_idle_timeout: Duration::from_secs(300),
            prepared: 200,
            defer_begin: false,
            max_clients: 10_000,
            login_timeout: Duration::from_secs(15),
            refresh: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("connections", &self.connections)
            .field("wait_timeout", &self.wait_timeout)
            .finish_non_exhaustive()
    }
}

/// Who a session of the private door belongs to: a process, and a thread in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The process at the other end of the socket.
    pub pid: u32,
    /// The thread (`canter.thread`), 0 when it did not say.
    pub tid: u64,
}
