//! Owns the front as a whole: what all connections share, starting, draining, stopping.
//! Leaves single connections to `conn` and the runtime to the composition.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use canter_http::Reject;
use canter_shield::budget::Budget;
use tokio::task::JoinHandle;

use crate::access::AccessLog;
use crate::app::App;
use crate::clock::DateClock;
use crate::guard::Guard;
use crate::helper::Helper;
use crate::listener::Listener;
use crate::pages::flight::Flights;
use crate::settings::Settings;
use crate::table::Table;

/// How often connections are looked at for time limits.
const SWEEP: Duration = Duration::from_millis(250);
/// How often an idle connection is looked for while there is no room for another.
const LOOK_FOR_IDLE: Duration = Duration::from_millis(20);

/// What all connections of the front share.
pub(crate) struct Shared<A: App> {
    pub settings: Settings,
    pub app: A,
    pub table: Rc<Table>,
    pub guard: Rc<Guard>,
    /// Memory for bodies on their way, of all clients together.
    pub memory: Rc<Budget>,
    pub clock: DateClock,
    pub helper: Helper,
    /// Pages that are fetched for several.
    pub flights: Rc<Flights<A::Call>>,
    pub access: Option<Rc<AccessLog>>,
    draining: Cell<bool>,
    rejects: RefCell<HashMap<Reject, u64>>,
}

impl<A: App> Shared<A> {
    pub fn new(settings: Settings, app: A, access: Option<Rc<AccessLog>>) -> Self {
        Self {
            table: Table::new(settings.max_connections),
            guard: Guard::new(settings.guard.clone()),
            memory: Budget::with_files(settings.memory, settings.file_memory),
            settings,
            app,
            clock: DateClock::new(),
            helper: Helper::default(),
            flights: Rc::default(),
            access,
            draining: Cell::new(false),
            rejects: RefCell::default(),
        }
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Waits until there is room for another connection: the one idle longest is closed for it, as
    /// soon as any is idle.
    pub async fn room(&self) {
        while !self.table.has_room() {
            // Those that become idle meanwhile do not say so.
            self.close_one(LOOK_FOR_IDLE).await;
        }
    }

    /// Closes the connection that has been idle longest, and waits until one has left, but no
    /// longer than `limit`.
    pub async fn close_one(&self, limit: Duration) {
        let before = self.table.len();
        self.table.close_oldest_idle();
        let left = std::future::poll_fn(|cx| {
            if self.table.len() < before {
                return Poll::Ready(());
            }
            self.table.wake_on_leave(cx);
            Poll::Pending
        });
        let _ = tokio::time::timeout(limit, left).await;
    }

    pub fn count_reject(&self, reject: Reject) {
        *self.rejects.borrow_mut().entry(reject).or_default() += 1;
    }
}

/// The running front.
pub struct Server<A: App> {
    shared: Rc<Shared<A>>,
    accepting: Vec<JoinHandle<()>>,
}

impl<A: App> Server<A> {
    /// Starts accepting. Call inside a local runtime.
    pub fn start(
        settings: Settings,
        listeners: Vec<Listener>,
        app: A,
        access: Option<Rc<AccessLog>>,
    ) -> Self {
        let shared = Rc::new(Shared::new(settings, app, access));
        let accepting = listeners
            .into_iter()
            .map(|listener| tokio::task::spawn_local(listener.run(Rc::clone(&shared))))
            .collect();
        tokio::task::spawn_local(sweep(Rc::clone(&shared)));
        Self { shared, accepting }
    }

    /// From now on every response says `Connection: close`; connections are still accepted.
    pub fn drain(&self) {
        self.shared.draining.set(true);
    }

    /// Accepts no more, closes idle connections, and waits until the others are done.
    pub async fn stop(&mut self) {
        self.drain();
        for task in self.accepting.drain(..) {
            task.abort();
            // The listening socket closes with the task.
            let _ = task.await;
        }
        let table = &self.shared.table;
        table.close_idle();
        std::future::poll_fn(|cx| {
            if table.is_empty() {
                return Poll::Ready(());
            }
            table.wake_on_leave(cx);
            Poll::Pending
        })
        .await;
    }

    /// Client connections now.
    pub fn connections(&self) -> usize {
        self.shared.table.len()
    }
}

async fn sweep<A: App>(shared: Rc<Shared<A>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        shared.table.sweep(Instant::now());
        if let Some(insight) = &shared.settings.insight {
            let connections = u32::try_from(shared.table.len()).unwrap_or(u32::MAX);
            insight.connections.set(connections);
        }
    }
}
