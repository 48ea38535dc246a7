//! What the pooler is told by whoever composes it: limits, time-outs, hooks.
//! Leaves reading options and their names to the program.

use std::cell::Cell;
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
    /// Server connections to the default target's database, as its user, that stay open without
    /// use; zero opens none before it is needed.
    pub min_connections: u32,
    /// How long a client waits for a server connection before it gets an error; zero for ever.
    pub wait_timeout: Duration,
    /// How long it waits before it is told so; zero for never.
    pub wait_notify: Duration,
    /// The age at which a server connection is replaced, zero for a second; each one gets ±10 %.
    pub lifetime: Duration,
    /// How long a server connection may be idle; zero for ever.
    pub idle_timeout: Duration,
    /// How long opening one server connection may take, from DNS to the first `ReadyForQuery`.
    pub connect_timeout: Duration,
    /// How long a transaction may be idle; zero for ever.
    pub idle_transaction_timeout: Duration,
    /// How long a transaction may take; zero for ever.
    pub transaction_timeout: Duration,
    /// How long one query may run; zero for ever.
    pub query_timeout: Duration,
    /// How long a client may be connected without a statement; zero for ever. Not for those of the
    /// private door and the console, nor for those that keep a server.
    pub client_idle_timeout: Duration,
    /// The most sessions that may hold a server connection outside of transactions; `None` is half
    /// of the connections.
    pub pin_cap: Option<u32>,
    /// How long a pinned session may be idle, unless it listens or holds an advisory lock.
    pub pin_idle_timeout: Duration,
    /// The most prepared statements on one server connection.
    pub prepared: usize,
    /// Whether a lone `BEGIN` is answered here and sent with the first statement; never with replicas.
    pub defer_begin: bool,
    /// Whether a server forgets all of the session (`DISCARD ALL`) whenever it is given back (D13).
    pub reset_always: bool,
    /// The most clients at once, over all doors.
    pub max_clients: usize,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// Who may command on the console, beside the user of the default target.
    pub admin_users: Vec<String>,
    /// Who may look at the console.
    pub stats_users: Vec<String>,
    /// Whether clients of our own that ask much get a server for themselves while nobody else needs it.
    pub lend: bool,
    /// What was changed on the console since.
    pub live: Rc<Live>,
    /// Asked for a target's present contents when its password is refused (28P01).
    pub refresh: Option<Refresh>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: None,
            min_connections: 0,
            wait_timeout: Duration::from_secs(30),
            wait_notify: Duration::from_secs(5),
            lifetime: Duration::from_secs(3600),
            idle_timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(15),
            idle_transaction_timeout: Duration::ZERO,
            transaction_timeout: Duration::ZERO,
            query_timeout: Duration::ZERO,
            client_idle_timeout: Duration::ZERO,
            pin_cap: None,
            pin_idle_timeout: Duration::from_secs(300),
            prepared: 200,
            defer_begin: false,
            reset_always: false,
            max_clients: 10_000,
            login_timeout: Duration::from_secs(15),
            admin_users: Vec::new(),
            stats_users: Vec::new(),
            lend: true,
            live: Rc::default(),
            refresh: None,
        }
    }
}

/// Of a setting that may be left open: set to something or to nothing, or never changed.
type Changed<T> = Cell<Option<Option<T>>>;

/// Settings changed while the pooler runs; what was not keeps its value.
#[derive(Debug, Default)]
pub struct Live {
    pub(crate) connections: Changed<u32>,
    pub(crate) min_connections: Cell<Option<u32>>,
    pub(crate) wait_timeout: Cell<Option<Duration>>,
    pub(crate) wait_notify: Cell<Option<Duration>>,
    pub(crate) lifetime: Cell<Option<Duration>>,
    pub(crate) idle_timeout: Cell<Option<Duration>>,
    pub(crate) idle_transaction_timeout: Cell<Option<Duration>>,
    pub(crate) transaction_timeout: Cell<Option<Duration>>,
    pub(crate) query_timeout: Cell<Option<Duration>>,
    pub(crate) client_idle_timeout: Cell<Option<Duration>>,
    pub(crate) pin_cap: Changed<u32>,
    pub(crate) pin_idle_timeout: Cell<Option<Duration>>,
    pub(crate) max_clients: Cell<Option<usize>>,
    pub(crate) login_timeout: Cell<Option<Duration>>,
    pub(crate) prepared: Cell<Option<usize>>,
}

impl Live {
    /// Takes over what is set now, all of it.
    fn take(&self, new: &Settings) {
        self.connections.set(Some(new.connections));
        self.min_connections.set(Some(new.min_connections));
        self.wait_timeout.set(Some(new.wait_timeout));
        self.wait_notify.set(Some(new.wait_notify));
        self.transaction_timeout.set(Some(new.transaction_timeout));
        self.lifetime.set(Some(new.lifetime));
        self.idle_timeout.set(Some(new.idle_timeout));
        let idle_transaction = Some(new.idle_transaction_timeout);
        self.idle_transaction_timeout.set(idle_transaction);
        self.query_timeout.set(Some(new.query_timeout));
        self.client_idle_timeout.set(Some(new.client_idle_timeout));
        self.pin_cap.set(Some(new.pin_cap));
        self.pin_idle_timeout.set(Some(new.pin_idle_timeout));
        self.max_clients.set(Some(new.max_clients));
        self.login_timeout.set(Some(new.login_timeout));
        self.prepared.set(Some(new.prepared));
    }
}

/// The values that hold now.
impl Settings {
    /// Takes over the limits and time-outs of `new`; the rest stays as it was.
    pub(crate) fn retune(&self, new: &Settings) {
        self.live.take(new);
    }

    pub(crate) fn connections(&self) -> Option<u32> {
        self.live.connections.get().unwrap_or(self.connections)
    }

    pub(crate) fn min_connections(&self) -> u32 {
        let live = self.live.min_connections.get();
        live.unwrap_or(self.min_connections)
    }

    pub(crate) fn wait_timeout(&self) -> Duration {
        self.live.wait_timeout.get().unwrap_or(self.wait_timeout)
    }

    pub(crate) fn wait_notify(&self) -> Duration {
        self.live.wait_notify.get().unwrap_or(self.wait_notify)
    }

    pub(crate) fn transaction_timeout(&self) -> Duration {
        let live = self.live.transaction_timeout.get();
        live.unwrap_or(self.transaction_timeout)
    }

    /// How long a client waits at most.
    pub(crate) fn patience(&self) -> Duration {
        match self.wait_timeout() {
            Duration::ZERO => Duration::MAX,
            limit => limit,
        }
    }

    pub(crate) fn lifetime(&self) -> Duration {
        self.live.lifetime.get().unwrap_or(self.lifetime)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.live.idle_timeout.get().unwrap_or(self.idle_timeout)
    }

    pub(crate) fn idle_transaction_timeout(&self) -> Duration {
        let live = self.live.idle_transaction_timeout.get();
        live.unwrap_or(self.idle_transaction_timeout)
    }

    pub(crate) fn query_timeout(&self) -> Duration {
        self.live.query_timeout.get().unwrap_or(self.query_timeout)
    }

    pub(crate) fn client_idle_timeout(&self) -> Duration {
        let live = self.live.client_idle_timeout.get();
        live.unwrap_or(self.client_idle_timeout)
    }

    pub(crate) fn pin_cap(&self) -> Option<u32> {
        self.live.pin_cap.get().unwrap_or(self.pin_cap)
    }

    pub(crate) fn pin_idle_timeout(&self) -> Duration {
        let live = self.live.pin_idle_timeout.get();
        live.unwrap_or(self.pin_idle_timeout)
    }

    pub(crate) fn max_clients(&self) -> usize {
        self.live.max_clients.get().unwrap_or(self.max_clients)
    }

    pub(crate) fn prepared(&self) -> usize {
        self.live.prepared.get().unwrap_or(self.prepared)
    }

    pub(crate) fn login_timeout(&self) -> Duration {
        self.live.login_timeout.get().unwrap_or(self.login_timeout)
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
