//! Server connections as the console shows them. Leaves the table around them to `console`.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::time::Instant;

use super::one::Pool;
use super::{Connect, Link};

static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// What stays true of a server connection, but for the number of its statements.
#[derive(Debug)]
pub(crate) struct Facts {
    /// No other server connection of this process has it.
    pub(crate) id: u64,
    pub(crate) connected: SystemTime,
    /// `None` over a unix socket.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
    /// Protocol and cipher; empty without TLS.
    pub(crate) tls: String,
    /// Statements prepared on it when it was last given back.
    pub(crate) prepared: Cell<usize>,
    /// The beginning of what runs on it, or ran last.
    pub(crate) text: RefCell<Vec<u8>>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            id: LAST_ID.fetch_add(1, Ordering::Relaxed).wrapping_add(1),
            connected: SystemTime::now(),
            address: None,
            local: None,
            tls: String::new(),
            prepared: Cell::new(0),
            text: RefCell::default(),
        }
    }
}

/// A server connection at one moment.
pub(crate) struct ServerRow {
    pub(crate) facts: Rc<Facts>,
    pub(crate) pid: Option<i32>,
    /// When it was handed out, or given back.
    pub(crate) since: Instant,
    pub(crate) is_active: bool,
    pub(crate) is_cancelling: bool,
    /// It goes as soon as it is given back.
    pub(crate) closes: bool,
    /// The session that has it: its number and its application's name.
    pub(crate) client: Option<(i32, Box<str>)>,
}

impl<C: Connect> Pool<C> {
    /// Servers in use, then idle ones.
    pub(crate) fn server_rows(&self) -> Vec<ServerRow> {
        let now = Instant::now();
        let current = self.generation.get();
        let in_use = self.in_use.borrow();
        let active = in_use.iter().map(|(_, one)| ServerRow {
            facts: Rc::clone(&one.facts),
            pid: one.pid,
            since: one.since,
            is_active: true,
            is_cancelling: one.aim.as_ref().is_some_and(|aim| aim.is_firing()),
            closes: one.generation != current,
            client: one.seat().map(|seat| {
                let about = seat.handle.about();
                let name = about.map(|about| about.application.clone());
                (seat.id(), name.unwrap_or_default())
            }),
        });
        let mut rows: Vec<_> = active.collect();
        rows.extend(self.idle.borrow().iter().map(|held| ServerRow {
            facts: Rc::clone(&held.facts),
            pid: held.server.pid(),
            since: held.idle_since,
            is_active: false,
            is_cancelling: held.server.is_being_cancelled(),
            closes: held.generation != current || held.retire_at <= now,
            client: None,
        }));
        rows
    }

    /// Whether a server of an earlier generation is still there, or is being closed.
    pub(crate) fn has_outdated(&self) -> bool {
        let current = self.generation.get();
        let in_use = self.in_use.borrow();
        in_use.iter().any(|(_, one)| one.generation != current) || self.host.closing() > 0
    }

    /// Whether no server is left, nor is being closed.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.servers() == 0 && self.host.closing() == 0
    }
}
