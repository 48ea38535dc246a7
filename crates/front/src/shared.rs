//! Owns what all connections of the front share: its parts, how short memory is, whether it drains, and
//! making room for another connection.
//! Leaves starting and stopping to `server`.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use canter_shield::budget::Budget;
use canter_shield::pressure::Level;

use crate::access::AccessLog;
use crate::app::App;
use crate::clock::DateClock;
use crate::guard::Guard;
use crate::helper::Helper;
use crate::pages::flight::Flights;
use crate::settings::Settings;
use crate::steps::hints::Learned;
use crate::table::{Slow, Table};

/// How often an idle connection is looked for while there is no room for another.
const LOOK_FOR_IDLE: Duration = Duration::from_millis(20);

/// Times the slowest pace, below which a connection may have to leave while there is no room for
/// another.
const SLOW: u64 = 16;

/// How long a connection stays idle while memory is short.
const IDLE_UNDER_PRESSURE: Duration = Duration::from_secs(5);
/// The longest body that is taken when there is next to none: that of a form.
const SMALL_BODY: u64 = 8 * 1024;

/// What all connections of the front share.
pub(crate) struct Shared<A: App> {
    pub settings: Settings,
    pub app: A,
    pub table: Rc<Table>,
    pub guard: Rc<Guard>,
    /// Memory for bodies on their way, of all clients together.
    pub memory: Rc<Budget>,
    /// Bytes of bodies that were announced and will go to files, and have not come.
    pub promised: Rc<Budget>,
    pub clock: DateClock,
    pub helper: Rc<Helper>,
    /// Links that answers had, for those who ask next.
    pub learned: Learned,
    /// Pages that are fetched for several.
    pub flights: Rc<Flights<A::Call>>,
    pub access: Option<Rc<AccessLog>>,
    draining: Cell<bool>,
    /// How short memory is.
    pressure: Cell<Level>,
}

impl<A: App> Shared<A> {
    pub fn new(settings: Settings, app: A, access: Option<Rc<AccessLog>>) -> Self {
        let helper = Rc::new(Helper::default());
        Self {
            table: Table::new(settings.max_connections),
            guard: Guard::new(settings.guard.clone()),
            memory: Budget::with_files(settings.memory, settings.file_memory),
            promised: Budget::new(u64::MAX),
            settings,
            app,
            clock: DateClock::new(),
            flights: Rc::new(Flights::new(Rc::clone(&helper))),
            helper,
            learned: Learned::default(),
            access,
            draining: Cell::new(false),
            pressure: Cell::default(),
        }
    }

    /// From now on every response says `Connection: close`.
    pub fn drain(&self) {
        self.draining.set(true);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Why requests would not be answered now.
    pub fn hindrance(&self) -> Option<&'static str> {
        let stopping = self.is_draining().then_some("the server is stopping");
        stopping.or_else(|| self.app.hindrance())
    }

    /// How short memory is.
    pub fn pressure(&self) -> Level {
        self.pressure.get()
    }

    /// Memory is as short as this from now on.
    pub fn press(&self, level: Level) {
        let before = self.pressure.replace(level);
        // What bodies may take of it; the rest goes to files.
        let part = match level {
            Level::Calm => 1,
            Level::Tight => 4,
            Level::Critical => 16,
        };
        self.memory.resize(self.settings.memory / part);
        if let (Some(files), Some(most)) = (self.memory.files(), self.settings.file_memory) {
            files.resize(most / part);
        }
        if before == Level::Calm && level > before {
            self.table.close_idle();
        }
    }

    /// How long an idle connection is kept.
    pub fn idle_limit(&self, is_used: bool) -> Duration {
        let limit = self.settings.idle_limit(is_used);
        match self.pressure() {
            Level::Calm => limit,
            Level::Tight | Level::Critical => limit.min(IDLE_UNDER_PRESSURE),
        }
    }

    /// Whether a body of this many bytes, if that is known, may be received now.
    pub fn takes_body(&self, announced: Option<u64>) -> bool {
        let most = match self.pressure() {
            Level::Calm => return true,
            Level::Tight => self.settings.body_memory as u64,
            Level::Critical => SMALL_BODY,
        };
        announced.is_some_and(|announced| announced <= most)
    }

    /// Waits until there is room for another connection: the one idle longest is closed for it, as
    /// soon as any is idle, or else one of a slow client.
    pub async fn room(&self) {
        while !self.table.has_room() {
            // Those that become idle meanwhile do not say so.
            self.close_one(LOOK_FOR_IDLE).await;
        }
    }

    /// Closes the connection that has been idle longest, or else that of a slow client, and waits
    /// until one has left, but no longer than `limit`.
    pub async fn close_one(&self, limit: Duration) {
        let before = self.table.len();
        if !self.table.close_oldest_idle() {
            let pace = &self.settings.pace;
            let slow = Slow {
                grace: Duration::from_millis(pace.grace_ms),
                pace: pace.least.saturating_mul(SLOW),
            };
            self.table.close_slowest(&slow, Instant::now());
        }
        let left = std::future::poll_fn(|cx| {
            if self.table.len() < before {
                return Poll::Ready(());
            }
            self.table.wake_on_leave(cx);
            Poll::Pending
        });
        let _ = tokio::time::timeout(limit, left).await;
    }
}
