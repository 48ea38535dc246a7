//! The pooler as its composer sees it: targets, doors, requests that end, statistics, stopping.
//! Leaves every decision to the parts it puts together.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::access::Access;
use crate::bill::{self, Bills};
use crate::cancel::Registry;
use crate::console::{self, Order};
use crate::door::Door;
use crate::pool::{PoolStats, Pools};
use crate::replica::{Group, Hook};
use crate::session::Idlers;
use crate::settings::{Owner, Settings};
use crate::target::{Target, TargetId};

/// How long servers have to say goodbye when the pooler stops.
const LAST_CLOSE: Duration = Duration::from_secs(5);

/// Every door, session and server connection of one process; cheap to clone.
#[derive(Clone)]
pub struct Pooler(pub(crate) Rc<Shared>);

/// What the parts of a pooler share.
pub(crate) struct Shared {
    pub(crate) settings: Rc<Settings>,
    pub(crate) pools: Pools,
    pub(crate) sessions: Rc<Registry>,
    pub(crate) default_target: RefCell<Option<TargetId>>,
    pub(crate) draining: Cell<bool>,
    /// By the target of their primary.
    pub(crate) replicas: RefCell<HashMap<TargetId, Rc<Group>>>,
    /// Which requests sessions work for.
    pub(crate) visits: Hook,
    /// Who hears what requests cost here.
    pub(crate) bills: bill::Hook,
    /// Clients connected, those that are still logging in counted.
    pub(crate) clients: Cell<usize>,
    pub(crate) doors: RefCell<Vec<AbortHandle>>,
    /// Who may come in at them; passwords may be those of the default target.
    pub(crate) accesses: RefCell<Vec<Rc<Access>>>,
    pub(crate) console: console::Shared,
    pub(crate) minutes: console::Minutes,
    pub(crate) idlers: Idlers,
}

impl Shared {
    /// The target of sessions that name none.
    pub(crate) fn default_target(&self) -> Option<Rc<Target>> {
        let id = *self.default_target.borrow();
        self.pools.target(id?)
    }
}

/// What the pooler did and does.
#[derive(Debug, Clone, Default)]
pub struct PoolerStats {
    /// Clients connected.
    pub clients: u64,
    /// Clients refused since the start, because there were too many.
    pub clients_refused: u64,
    /// Cancel requests forwarded since the start.
    pub cancels: u64,
    /// One entry for each (target, database, user).
    pub pools: Vec<PoolStats>,
}

impl Pooler {
    /// A pooler with no door and no target; call inside a local runtime.
    pub fn new(settings: Settings) -> Self {
        let settings = Rc::new(settings);
        Self(Rc::new(Shared {
            pools: Pools::new(&settings),
            settings,
            sessions: Rc::new(Registry::new()),
            default_target: RefCell::new(None),
            draining: Cell::new(false),
            replicas: RefCell::default(),
            visits: Hook::default(),
            bills: bill::Hook::default(),
            clients: Cell::new(0),
            doors: RefCell::default(),
            accesses: RefCell::default(),
            console: console::Shared::default(),
            minutes: console::Minutes::default(),
            idlers: Idlers::default(),
        }))
    }

    /// Makes a target known; equal contents give an equal id. `None` when there are too many.
    pub fn register(&self, target: Target) -> Option<TargetId> {
        self.0.pools.register(target)
    }

    /// The target of sessions that name none.
    pub fn set_default(&self, target: TargetId) {
        *self.0.default_target.borrow_mut() = Some(target);
        // Its password is what clients of a door without users of its own are asked for.
        if let Some(target) = self.0.pools.target(target) {
            for access in self.0.accesses.borrow().iter() {
                access.set_target(&target);
            }
        }
        self.0.pools.keep(target);
    }

    /// The target of sessions that name none.
    pub fn default_id(&self) -> Option<TargetId> {
        *self.0.default_target.borrow()
    }

    /// Takes over the limits and time-outs of these settings; what was changed on the console is
    /// forgotten. The rest of them counts from the start alone.
    pub fn retune(&self, settings: &Settings) {
        let before = self.0.settings.connections();
        self.0.settings.retune(settings);
        if settings.connections != before {
            self.0.pools.tell_connections(settings.connections);
        }
        self.0.pools.fill();
        self.0.idlers.keep(&self.0);
    }

    /// Tries at once what failed lately.
    pub fn retry(&self) {
        self.0.pools.retry();
    }

    /// Whether none of the databases that were tried can be used now.
    pub fn is_out(&self) -> bool {
        let groups = self.0.replicas.borrow();
        let is_replica = |id| groups.values().any(|group| group.has(id));
        self.0.pools.are_out(is_replica)
    }

    /// Forgets which could not be used: the settings may be others now.
    pub fn expect_well(&self) {
        self.0.pools.expect_well();
    }

    /// Accepts clients at a door.
    pub fn open(&self, door: Door) -> io::Result<()> {
        self.0.minutes.keep(&self.0);
        self.0.idlers.keep(&self.0);
        door.open(&self.0)
    }

    /// The request of this owner is over: open transactions are rolled back, servers given back.
    pub fn request_ended(&self, owner: Owner) {
        self.0.sessions.request_ended(owner);
    }

    /// Nobody waits for this owner's request any more: its running SQL is cancelled.
    pub fn request_gone(&self, owner: Owner) {
        self.0.sessions.request_gone(owner);
    }

    /// From now on says what sessions of the private door cost.
    pub fn set_bills(&self, bills: Rc<Bills>) {
        self.0.bills.set(bills);
    }

    /// What the pooler did and does.
    pub fn stats(&self) -> PoolerStats {
        PoolerStats {
            pools: self.0.pools.stats(),
            ..self.0.sessions.stats()
        }
    }

    /// Stops handing out server connections of a database (all when `None`) until `resume`.
    pub fn pause(&self, database: Option<&str>) {
        self.0.pools.pause(database);
    }

    /// Undoes `pause`.
    pub fn resume(&self, database: Option<&str>) {
        self.0.pools.resume(database);
    }

    /// Replaces every server connection: idle ones now, leased ones when they come back.
    pub fn reconnect(&self, database: Option<&str>) {
        self.0.pools.reconnect(database);
    }

    /// Refuses new clients of a database.
    pub fn disable(&self, database: &str) {
        self.0.pools.bar(database, true);
    }

    /// Undoes `disable`.
    pub fn enable(&self, database: &str) {
        self.0.pools.bar(database, false);
    }

    /// Cancels what runs, fails who waits and replaces every server connection.
    pub fn kill(&self, database: Option<&str>) {
        self.0.pools.kill(database);
    }

    /// The next order of an administrator that only the program can carry out. Until this is asked
    /// for, such orders are refused.
    pub async fn order(&self) -> Order {
        self.0.console.orders.next().await
    }

    /// Closes the doors and waits until all clients have left by themselves; the console's are told
    /// to go when they are the last.
    pub async fn all_left(&self) {
        self.close_doors();
        self.0.sessions.clients_left().await;
    }

    fn close_doors(&self) {
        self.0.draining.set(true);
        for door in self.0.doors.take() {
            door.abort();
        }
    }

    /// Closes the doors, lets transactions finish, tells idle clients 57P01, and closes whatever is
    /// left after `grace`.
    pub async fn drain(&self, grace: Duration) {
        self.close_doors();
        self.0.sessions.drain(grace).await;
        // Servers that do not answer are closed by the end of the process.
        let _ = timeout(LAST_CLOSE, self.0.pools.close_all()).await;
    }
}
